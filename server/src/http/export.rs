//! All samples of selected series as lines of JSON or as an OpenMetrics page, whatever their age.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use exposition::print::{OPENMETRICS_CONTENT_TYPE, push_series};
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use model::number::push_float_general;
use model::sample::{Timestamp, is_stale};
use model::storage::{Columns, Order, Queryable, SelectHints, Series, StorageError};

use super::Api;
use super::envelope::{ApiError, ErrorType};
use super::lines::{JSON_LINES, SeriesLine};
use super::params::Params;
use super::streamed::{self, BodyWriter, Gone};
use crate::access::Access;

/// Exports at a time; others wait.
pub const EXPORTS_MAX: usize = 4;
/// Samples of one line; a longer series has several.
const LINE_SAMPLES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    JsonLines,
    OpenMetrics,
}

pub(super) async fn export(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    params.whole()?;
    let form = match params.get("format") {
        "" | "jsonl" => Form::JsonLines,
        "openmetrics" => Form::OpenMetrics,
        other => {
            return Err(ApiError::parameter("format", format!("expected jsonl or openmetrics, got {other:?}")));
        }
    };
    let selectors = params.selectors().map_err(|error| ApiError::parameter("match[]", error))?;
    if selectors.is_empty() {
        return Err(ApiError::new(ErrorType::BadData, "no match[] parameter provided"));
    }
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    let content_type = if form == Form::JsonLines { JSON_LINES } else { OPENMETRICS_CONTENT_TYPE };
    let Ok(slot) = Arc::clone(&api.export_slots).acquire_owned().await else {
        return Err(ApiError::new(ErrorType::Unavailable, "the server is stopping"));
    };
    let body = streamed::body(move |out| {
        let _slot = slot;
        let view = access.view(&*api.db);
        match write(&view, &selectors, (start, end), form, out) {
            Ok(()) => Ok(()),
            Err(Stopped::Gone) => Err(Gone),
            Err(Stopped::Storage(error)) => {
                out.fail(&error.to_string());
                Ok(())
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

enum Stopped {
    Gone,
    Storage(StorageError),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Stopped::Gone
    }
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Self {
        Stopped::Storage(error)
    }
}

/// A series that several selectors accept comes once: each leaves out what one before it has taken.
fn write(
    storage: &dyn Queryable,
    selectors: &[Vec<Matcher>],
    (start, end): (Timestamp, Timestamp),
    form: Form,
    out: &mut BodyWriter,
) -> Result<(), Stopped> {
    let querier = storage.querier(start, end)?;
    let mut columns = Columns::default();
    for (index, matchers) in selectors.iter().enumerate() {
        let mut set = querier.select(Order::ByLabels, &SelectHints::default(), matchers)?;
        while let Some(series) = set.advance()? {
            let labels = series.labels();
            let accepts = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(&labels));
            if selectors[..index].iter().any(accepts) {
                continue;
            }
            columns.clear();
            series.read(&mut columns)?;
            match form {
                Form::JsonLines => write_lines(&*series, &columns, out)?,
                Form::OpenMetrics => write_samples(&*series, &columns, out)?,
            }
        }
    }
    if form == Form::OpenMetrics {
        out.text("# EOF\n")?;
    }
    Ok(())
}

fn write_lines(series: &dyn Series, columns: &Columns, out: &mut BodyWriter) -> Result<(), Gone> {
    let labels = series.labels();
    let mut from = 0;
    while from < columns.len() {
        let to = columns.len().min(from + LINE_SAMPLES_MAX);
        SeriesLine::of(&labels, columns, from..to).push(out.buffer());
        out.checkpoint()?;
        from = to;
    }
    Ok(())
}

/// Stale markers and native histograms have no form in this format.
fn write_samples(series: &dyn Series, columns: &Columns, out: &mut BodyWriter) -> Result<(), Gone> {
    let labels = series.labels();
    let name = labels.metric_name().unwrap_or("").to_owned();
    let own = labels.filtered(|label| label != METRIC_NAME.as_bytes());
    let mut line = String::new();
    push_series(&mut line, &name, "", &own);
    let named = line.len();
    for (index, timestamp) in columns.timestamps.iter().enumerate() {
        if is_stale(columns.values[index]) || columns.histogram_at(index).is_some() {
            continue;
        }
        line.truncate(named);
        line.push(' ');
        push_float_general(&mut line, columns.values[index]);
        line.push_str(&format!(" {}\n", *timestamp as f64 / 1000.0));
        out.text(&line)?;
    }
    Ok(())
}

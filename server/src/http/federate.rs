//! Federation: the latest samples of selected series as a metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use exposition::family::{FamilySample, MetricFamily};
use exposition::print;
use model::labels::{INSTANCE, Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::metadata::MetricType;
use model::sample::{Timestamp, is_stale};
use model::storage::{Columns, Order, Queryable, SelectHints, StorageError};
use tsdb::Db;

use super::Api;
use super::params::Params;

pub(super) async fn federate(State(api): State<Arc<Api>>, params: Params) -> Response {
    let selectors = match params.selectors() {
        Ok(selectors) => selectors,
        Err(error) => return error.into_response(),
    };
    let now = Timestamp(api.clock.now_ms());
    let from = now - api.engine.config().lookback.as_millis() + 1;
    let external = api.config.read().external_labels.clone();
    let db = Arc::clone(&api.db);
    let joined = tokio::task::spawn_blocking(move || page(&db, &selectors, from, now, &external));
    match joined.await {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, print::TEXT_CONTENT_TYPE)], page).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Families by name, untyped, each sample with its time; series that have ended are left out.
fn page(
    db: &Db,
    selectors: &[Vec<Matcher>],
    from: Timestamp,
    now: Timestamp,
    external: &Labels,
) -> Result<String, StorageError> {
    let querier = db.querier(from, now)?;
    let mut latest: BTreeMap<Labels, (i64, f64)> = BTreeMap::new();
    let mut columns = Columns::default();
    for matchers in selectors {
        let mut set = querier.select(Order::Any, &SelectHints::default(), matchers)?;
        while let Some(series) = set.advance()? {
            columns.clear();
            series.read(&mut columns)?;
            // Native histograms have no form in this format.
            let last = columns.len().checked_sub(1).filter(|last| columns.histogram_at(*last).is_none());
            if let Some(last) = last
                && !is_stale(columns.values[last])
            {
                latest.insert(series.labels(), (columns.timestamps[last], columns.values[last]));
            }
        }
    }
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for (labels, (timestamp, value)) in latest {
        let Some(name) = labels.metric_name() else { continue };
        let mut builder = labels.to_builder();
        builder.delete(METRIC_NAME);
        for (label, value) in external.iter() {
            if builder.get(label).is_none() {
                builder.set(label, value);
            }
        }
        let family =
            families.entry(name.to_owned()).or_insert_with(|| MetricFamily::new(name, "", MetricType::Unknown));
        let labels = builder.build();
        family.samples.push(FamilySample { suffix: "", labels, value, timestamp: Some(timestamp) });
    }
    let mut out = String::new();
    for family in families.values() {
        print::push_header(&mut out, &family.name, "", MetricType::Unknown);
        for sample in &family.samples {
            push_line(&mut out, &family.name, sample);
        }
    }
    Ok(out)
}

/// A series without an instance says so, or the scraping server would add its own.
fn push_line(out: &mut String, name: &str, sample: &FamilySample) {
    let mut series = String::new();
    print::push_series(&mut series, name, "", &sample.labels);
    if sample.labels.get(INSTANCE).is_none() {
        match series.pop() {
            Some('}') => series.push_str(",instance=\"\"}"),
            Some(last) => {
                series.push(last);
                series.push_str("{instance=\"\"}");
            }
            None => {}
        }
    }
    out.push_str(&series);
    out.push(' ');
    model::number::push_float_general(out, sample.value);
    if let Some(timestamp) = sample.timestamp {
        out.push_str(&format!(" {timestamp}"));
    }
    out.push('\n');
}

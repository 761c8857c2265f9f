//! Federation: the latest samples of selected series as a metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use exposition::structured::{ClassicHistogram, Family, Metric, MetricValue, push_protobuf, push_text};
use model::histogram::ResetHint;
use model::labels::{INSTANCE, Labels};
use model::matcher::Matcher;
use model::metadata::MetricType;
use model::sample::{Timestamp, is_stale};
use model::storage::{Columns, Order, Queryable, SelectHints, Series, StorageError};

use super::Api;
use super::negotiate::{PageFormat, Wanted};
use super::params::Params;
use crate::access::Access;

pub(super) async fn federate(
    State(api): State<Arc<Api>>,
    access: Access,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let selectors = match params.whole().map_err(|error| error.text()).and_then(|()| params.any_selectors()) {
        Ok(selectors) => selectors,
        Err(error) => return (StatusCode::BAD_REQUEST, error + "\n").into_response(),
    };
    let wanted = Wanted::new(&headers, &[PageFormat::Text, PageFormat::Protobuf]);
    let now = Timestamp(api.clock.now_ms());
    let from = now - api.engine.config().lookback.as_millis();
    let external = api.config.read().external_labels.clone();
    let db = Arc::clone(&api.db);
    let joined = tokio::task::spawn_blocking(move || {
        let families = families(&access.view(&*db), &selectors, from, now, &external)?;
        Ok::<_, StorageError>(page(&families, wanted))
    });
    match joined.await {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, wanted.content_type())], page).into_response(),
        Ok(Err(StorageError::NotReady)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", StorageError::NotReady)).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn page(families: &[Family], wanted: Wanted) -> Vec<u8> {
    if wanted.format == PageFormat::Protobuf {
        let mut page = Vec::new();
        families.iter().for_each(|family| push_protobuf(family, wanted.escaping, &mut page));
        return page;
    }
    let mut page = String::new();
    families.iter().for_each(|family| push_text(family, wanted.escaping, &mut page));
    page.into_bytes()
}

/// The latest sample of each series, untyped or a histogram; families by name, and apart where one name has both.
/// Series that have ended are left out.
fn families(
    storage: &dyn Queryable,
    selectors: &[Vec<Matcher>],
    from: Timestamp,
    now: Timestamp,
    external: &Labels,
) -> Result<Vec<Family>, StorageError> {
    let querier = storage.querier(from, now)?;
    let mut latest: BTreeMap<Labels, (MetricType, MetricValue, i64)> = BTreeMap::new();
    let mut columns = Columns::default();
    for matchers in selectors {
        let mut set = querier.select(Order::Any, &SelectHints::default(), matchers)?;
        while let Some(series) = set.advance()? {
            if let Some(last) = last_of(&*series, &mut columns)? {
                latest.insert(series.labels(), last);
            }
        }
    }
    let mut families: BTreeMap<(String, &'static str), Family> = BTreeMap::new();
    for (labels, (metric_type, value, timestamp)) in latest {
        let Some(name) = labels.metric_name() else { continue };
        let family = families.entry((name.to_owned(), metric_type.as_str())).or_insert_with(|| Family {
            name: name.to_owned(),
            help: String::new(),
            metric_type,
            metrics: Vec::new(),
        });
        let mut metric = Metric::new(&labels, value, Some(timestamp));
        // A series without an instance says so, or the scraping server would add its own.
        let added: BTreeMap<&str, &str> = [(INSTANCE, "")].into_iter().chain(external.iter()).collect();
        let added = added.into_iter().filter(|(name, _)| !labels.contains(name));
        metric.labels.extend(added.map(|(name, value)| (name.to_owned(), value.to_owned())));
        family.metrics.push(metric);
    }
    Ok(families.into_values().collect())
}

/// The last sample of a series, unless it marks its end.
fn last_of(series: &dyn Series, columns: &mut Columns) -> Result<Option<(MetricType, MetricValue, i64)>, StorageError> {
    columns.clear();
    series.read(columns)?;
    let Some(last) = columns.len().checked_sub(1) else { return Ok(None) };
    let (value, timestamp) = (columns.values[last], columns.timestamps[last]);
    if is_stale(value) {
        return Ok(None);
    }
    let Some(histogram) = columns.histogram_at(last) else {
        return Ok(Some((MetricType::Unknown, MetricValue::Number(value), timestamp)));
    };
    let metric_type = match histogram.reset_hint {
        ResetHint::Gauge => MetricType::GaugeHistogram,
        _ => MetricType::Histogram,
    };
    let value = match histogram.uses_custom_buckets() {
        true => MetricValue::Histogram(ClassicHistogram::from_custom_buckets(histogram)),
        false => MetricValue::Native(Arc::clone(histogram)),
    };
    Ok(Some((metric_type, value, timestamp)))
}

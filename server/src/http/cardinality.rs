//! Where series come from: counts by metric, label and pair, and how they have grown since a time.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Order, Queryable, SelectHints, StorageError};
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, ErrorType, success};
use super::params::Params;
use crate::access::Access;

/// Entries of each list where none is asked for.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 10_000;
/// Pairs of labels that are counted one by one.
const PAIRS_MAX: usize = 5_000_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cardinality {
    series: u64,
    /// Series at the time `since`, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    series_before: Option<u64>,
    by_metric_name: Vec<Entry>,
    by_label_name: Vec<Entry>,
    by_label_value_pair: Vec<Entry>,
}

#[derive(Serialize, Debug, PartialEq)]
struct Entry {
    name: String,
    /// Series; for a label's name, those that have it.
    series: u64,
    /// Values of a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<u64>,
    /// Series more than at the time `since`; negative for fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<i64>,
}

/// Counts of the series with a sample in one range.
#[derive(Default)]
struct Counts {
    series: u64,
    metrics: HashMap<String, u64>,
    labels: HashMap<String, u64>,
    pairs: HashMap<(String, String), u64>,
}

pub(super) async fn show(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let limit = match params.limit("limit")? {
        0 => LIMIT,
        limit => limit.min(LIMIT_MAX),
    };
    let now = params.time("time")?.unwrap_or(Timestamp(api.clock.now_ms()));
    let since = params.time("since")?;
    let selectors = params.selectors().map_err(|error| ApiError::parameter("match[]", error))?;
    let lookback = api.engine.config().lookback.as_millis();
    let db = Arc::clone(&api.db);
    let internal = |text: String| ApiError::new(ErrorType::Internal, text);
    let joined = tokio::task::spawn_blocking(move || {
        let db = access.view(&*db);
        let counts = count(&db, &selectors, now, lookback)?;
        let before = since.map(|since| count(&db, &selectors, since, lookback)).transpose()?;
        Ok::<_, StorageError>(shown(&counts, before.as_ref(), limit))
    });
    let result = joined.await.map_err(|error| internal(error.to_string()))?;
    Ok(success(result?))
}

/// Counts the series with a sample within the lookback before `at`.
fn count(
    storage: &dyn Queryable,
    selectors: &[Vec<Matcher>],
    at: Timestamp,
    lookback: i64,
) -> Result<Counts, StorageError> {
    let querier = storage.querier(at - lookback, at)?;
    let hints = SelectHints { function: "series".into(), ..SelectHints::default() };
    // Every series has a name.
    let all = [Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").map(|matcher| vec![matcher]).unwrap_or_default()];
    let selectors = if selectors.is_empty() { &all[..] } else { selectors };
    let mut seen = std::collections::HashSet::new();
    let mut counts = Counts::default();
    for matchers in selectors {
        let mut set = querier.select(Order::Any, &hints, matchers)?;
        while let Some(series) = set.advance()? {
            let labels = series.labels();
            if selectors.len() > 1 && !seen.insert(labels.clone()) {
                continue;
            }
            counts.series += 1;
            for (name, value) in labels.iter() {
                if name == METRIC_NAME {
                    *counts.metrics.entry(value.to_owned()).or_default() += 1;
                }
                *counts.labels.entry(name.to_owned()).or_default() += 1;
                let key = (name.to_owned(), value.to_owned());
                if counts.pairs.len() < PAIRS_MAX || counts.pairs.contains_key(&key) {
                    *counts.pairs.entry(key).or_default() += 1;
                }
            }
        }
    }
    Ok(counts)
}

fn shown(counts: &Counts, before: Option<&Counts>, limit: usize) -> Cardinality {
    let growth = |now: u64, before: Option<u64>| before.map(|before| now.cast_signed() - before.cast_signed());
    let top = |mut entries: Vec<Entry>| {
        entries.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
        entries.truncate(limit);
        entries
    };
    let mut values: HashMap<&str, u64> = HashMap::new();
    counts.pairs.keys().for_each(|(name, _)| *values.entry(name).or_default() += 1);
    let known = |map: Option<&HashMap<String, u64>>, name: &str| map.map(|map| map.get(name).copied().unwrap_or(0));
    let metrics = counts.metrics.iter().map(|(name, &series)| Entry {
        name: name.clone(),
        series,
        values: None,
        growth: growth(series, known(before.map(|b| &b.metrics), name)),
    });
    let labels = counts.labels.iter().map(|(name, &series)| Entry {
        name: name.clone(),
        series,
        values: Some(values.get(name.as_str()).copied().unwrap_or(0)),
        growth: growth(series, known(before.map(|b| &b.labels), name)),
    });
    let pairs = counts.pairs.iter().map(|(pair, &series)| Entry {
        name: format!("{}={}", pair.0, pair.1),
        series,
        values: None,
        growth: growth(series, before.map(|before| before.pairs.get(pair).copied().unwrap_or(0))),
    });
    Cardinality {
        series: counts.series,
        series_before: before.map(|before| before.series),
        by_metric_name: top(metrics.collect()),
        by_label_name: top(labels.collect()),
        by_label_value_pair: top(pairs.collect()),
    }
}

#[cfg(test)]
mod tests {
    use model::labels;
    use model::storage::{Appendable as _, NewValue};

    use tsdb::Db;

    use super::*;

    #[test]
    fn growth_is_told_by_metric_label_and_pair() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path(), tsdb::Config::default()).unwrap();
        let mut appender = db.appender();
        for (name, pod, time) in [("a", "1", 1000), ("a", "1", 9000), ("a", "2", 9000), ("b", "2", 9000)] {
            let labels = labels! { "__name__" => name, "pod" => pod };
            appender.append(&labels, Timestamp(time), NewValue::Float(1.0)).unwrap();
        }
        appender.commit().unwrap();
        let counts = count(&db, &[], Timestamp(9000), 500).unwrap();
        let before = count(&db, &[], Timestamp(1000), 500).unwrap();
        let shown = shown(&counts, Some(&before), 10);
        assert_eq!((shown.series, shown.series_before), (3, Some(1)));
        let entry =
            |name: &str, series, values, growth| Entry { name: name.into(), series, values, growth: Some(growth) };
        assert_eq!(shown.by_metric_name, [entry("a", 2, None, 1), entry("b", 1, None, 1)]);
        assert_eq!(shown.by_label_name, [entry("__name__", 3, Some(2), 2), entry("pod", 3, Some(2), 2)]);
        assert_eq!(shown.by_label_value_pair[0], entry("__name__=a", 2, None, 1));
    }
}

//! The server's own metrics as JSON, in the form that protocol buffers give `io.prometheus.client.MetricFamily`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use exposition::parse::series::{labels_of, unescape_help};
use exposition::parse::{Entry, Format, Parser};
use model::labels::Labels;
use model::metadata::MetricType;
use model::pattern::Pattern;
use serde_json::{Map, Value, json};

use super::Api;
use super::envelope::{ApiError, ErrorType, success};
use super::params::Params;

pub(super) async fn list(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let bad = |error| ApiError::new(ErrorType::BadData, format!("invalid metric_name_pattern: {error}"));
    let pattern = match params.get("metric_name_pattern") {
        "" => None,
        text => Some(Pattern::new(text).map_err(bad)?),
    };
    let failed = |text: String| ApiError::new(ErrorType::Internal, format!("error gathering self metrics: {text}"));
    let page = api.registry.text().map_err(|error| failed(error.to_string()))?;
    let families = families(&page).map_err(failed)?;
    let is_wanted = |family: &Value| {
        let name = family["name"].as_str().unwrap_or("");
        pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
    };
    Ok(success(families.into_iter().filter(is_wanted).collect::<Vec<_>>()))
}

#[derive(Default)]
struct Family {
    help: String,
    metric_type: MetricType,
    /// By labels without `le` and `quantile`.
    metrics: BTreeMap<Labels, Map<String, Value>>,
}

fn families(page: &str) -> Result<Vec<Value>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut parser = Parser::text(page);
    while let Some(entry) = parser.advance("").map_err(|error| error.to_string())? {
        match entry {
            Entry::Help { name, text } => {
                families.entry(name.to_owned()).or_default().help = unescape_help(text, Format::Text).into_owned();
            }
            Entry::Type { name, metric_type } => families.entry(name.to_owned()).or_default().metric_type = metric_type,
            Entry::Unit { .. } | Entry::Histogram(_) => {}
            Entry::Sample(line) => {
                let labels = labels_of(line.series).map_err(|error| error.to_string())?;
                add(&mut families, &labels, line.value);
            }
        }
    }
    Ok(families.into_iter().map(|(name, family)| family.into_json(&name)).collect())
}

fn add(families: &mut BTreeMap<String, Family>, labels: &Labels, value: f64) {
    let name = labels.metric_name().unwrap_or("");
    let part = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)));
    let part = part.filter(|(base, _)| {
        let known = families.get(*base).map(|family| family.metric_type);
        matches!(known, Some(MetricType::Histogram | MetricType::Summary))
    });
    let (family, suffix) = part.unwrap_or((name, ""));
    let family = families.entry(family.to_owned()).or_default();
    let own = labels.filtered(|label| !matches!(label, b"__name__" | b"le" | b"quantile"));
    let metric = family.metrics.entry(own).or_default();
    let mut set = |key: &str, value: Value| drop(metric.insert(key.to_owned(), value));
    match (suffix, labels.get("le"), labels.get("quantile")) {
        ("_sum", ..) => set("sampleSum", number(value)),
        // 64-bit integers are texts in this form of JSON.
        ("_count", ..) => set("sampleCount", value.to_string().into()),
        ("_bucket", Some(bound), _) => {
            let bound = bound.parse().map_or(Value::Null, number);
            let bucket = json!({"cumulativeCount": value.to_string(), "upperBound": bound});
            push(metric, "bucket", bucket);
        }
        (_, _, Some(quantile)) => {
            let quantile = quantile.parse().map_or(Value::Null, number);
            push(metric, "quantile", json!({"quantile": quantile, "value": number(value)}));
        }
        _ => set("value", number(value)),
    }
}

fn push(metric: &mut Map<String, Value>, key: &str, item: Value) {
    if let Value::Array(list) = metric.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(item);
    }
}

/// Numbers that JSON does not have are texts.
fn number(value: f64) -> Value {
    let name = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    serde_json::Number::from_f64(value).map_or_else(|| name.into(), Value::Number)
}

impl Family {
    fn into_json(self, name: &str) -> Value {
        let (kind, key) = match self.metric_type {
            MetricType::Counter => ("COUNTER", "counter"),
            MetricType::Gauge => ("GAUGE", "gauge"),
            MetricType::Histogram => ("HISTOGRAM", "histogram"),
            MetricType::Summary => ("SUMMARY", "summary"),
            _ => ("UNTYPED", "untyped"),
        };
        let metrics = self.metrics.into_iter().map(|(labels, value)| {
            let labels: Vec<Value> = labels.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut metric = Map::new();
            if !labels.is_empty() {
                metric.insert("label".into(), labels.into());
            }
            metric.insert(key.into(), value.into());
            Value::Object(metric)
        });
        json!({"name": name, "help": self.help, "type": kind, "metric": metrics.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_families() {
        let page = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# TYPE h histogram\n\
            h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n";
        let shown = families(page).unwrap();
        assert_eq!(
            shown[0],
            json!({"name": "a_total", "help": "Help.", "type": "COUNTER",
                "metric": [{"label": [{"name": "x", "value": "1"}], "counter": {"value": 2.0}}]})
        );
        assert_eq!(
            shown[1]["metric"][0]["histogram"],
            json!({"sampleCount": "3", "sampleSum": 4.5, "bucket": [
                {"cumulativeCount": "1", "upperBound": 1.0}, {"cumulativeCount": "3", "upperBound": "Infinity"},
            ]})
        );
    }
}

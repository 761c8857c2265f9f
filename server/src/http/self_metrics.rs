//! The server's own metrics as JSON, in the form that protocol buffers give `io.prometheus.client.MetricFamily`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use exposition::structured::{Family, MetricValue, families_of};
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
    let mut families = families_of(&page).map_err(failed)?;
    families.retain(|family| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&family.name)));
    // Upstream's come sorted.
    families.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(success(families.iter().map(shown).collect::<Vec<_>>()))
}

/// A family as JSON.
fn shown(family: &Family) -> Value {
    let (kind, key) = match family.metric_type {
        MetricType::Counter => ("COUNTER", "counter"),
        MetricType::Gauge => ("GAUGE", "gauge"),
        MetricType::Histogram => ("HISTOGRAM", "histogram"),
        MetricType::Summary => ("SUMMARY", "summary"),
        _ => ("UNTYPED", "untyped"),
    };
    let metrics = family.metrics.iter().map(|metric| {
        let pair = |(name, value): &(String, String)| json!({"name": name, "value": value});
        let labels: Vec<Value> = metric.labels.iter().map(pair).collect();
        let mut shown = Map::new();
        if !labels.is_empty() {
            shown.insert("label".into(), labels.into());
        }
        shown.insert(key.into(), value_of(&metric.value));
        Value::Object(shown)
    });
    json!({"name": family.name, "help": family.help, "type": kind, "metric": metrics.collect::<Vec<_>>()})
}

/// 64-bit integers are texts in this form of JSON.
fn value_of(value: &MetricValue) -> Value {
    match value {
        MetricValue::Number(value) => json!({"value": number(*value)}),
        MetricValue::Histogram(histogram) => {
            let bucket = |(bound, count): &(f64, f64)| json!({"cumulativeCount": count.to_string(), "upperBound": number(*bound)});
            let buckets: Vec<Value> = histogram.buckets.iter().map(bucket).collect();
            json!({
                "sampleCount": histogram.count.to_string(), "sampleSum": number(histogram.sum), "bucket": buckets,
            })
        }
        MetricValue::Summary(summary) => {
            let quantile =
                |(quantile, value): &(f64, f64)| json!({"quantile": number(*quantile), "value": number(*value)});
            let quantiles: Vec<Value> = summary.quantiles.iter().map(quantile).collect();
            json!({
                "sampleCount": summary.count.to_string(), "sampleSum": number(summary.sum), "quantile": quantiles,
            })
        }
        // Own metrics have no native histograms.
        MetricValue::Native(histogram) => json!({"sampleSum": number(histogram.sum)}),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_families() {
        let page = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# TYPE h histogram\n\
            h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n";
        let shown = families_of(page).unwrap().iter().map(shown).collect::<Vec<_>>();
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

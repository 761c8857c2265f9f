//! Answers as `promtool` prints them: for people, or as JSON.

use clap::ValueEnum;
use serde_json::Value;

use super::say;

/// What answers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A line each.
    #[default]
    Promql,
    /// As the API gives them.
    Json,
}

impl Format {
    /// A query's result.
    pub(super) fn print_result(self, data: &Value) {
        match self {
            Self::Promql => lines_of(data).iter().for_each(|line| say(line)),
            Self::Json => print_json(&without_exponents(data)),
        }
    }

    /// Label sets.
    pub(super) fn print_series(self, data: &Value) {
        match self {
            Self::Promql => items(data).for_each(|labels| say(&label_set(labels))),
            Self::Json => print_json(data),
        }
    }

    /// A label's values.
    pub(super) fn print_values(self, data: &Value) {
        match self {
            Self::Promql => items(data).filter_map(Value::as_str).for_each(say),
            Self::Json => print_json(data),
        }
    }
}

/// As Go's encoder writes it, which escapes what HTML would take for its own.
fn print_json(value: &Value) {
    say(&value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
}

/// A query's result whose floats have all their digits, as upstream's client prints them.
fn without_exponents(data: &Value) -> Value {
    fn point(point: &mut Value) {
        if let Some(text) = point[1].as_str() {
            point[1] = float(text).into();
        }
    }
    let mut result = data["result"].clone();
    match data["resultType"].as_str() {
        Some("vector") => each(&mut result, |sample| sample.get_mut("value").into_iter().for_each(point)),
        Some("matrix") => {
            each(&mut result, |series| series.get_mut("values").into_iter().for_each(|all| each(all, point)))
        }
        Some("scalar") => point(&mut result),
        _ => {}
    }
    result
}

fn each(list: &mut Value, change: impl FnMut(&mut Value)) {
    list.as_array_mut().into_iter().flatten().for_each(change);
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `labels => value @[time]`
fn lines_of(data: &Value) -> Vec<String> {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("vector") => items(result)
            .map(|sample| {
                let point = if sample["histogram"].is_array() { &sample["histogram"] } else { &sample["value"] };
                format!("{} => {}", metric(&sample["metric"]), point_of(point))
            })
            .collect(),
        Some("matrix") => items(result)
            .flat_map(|series| {
                let points = items(&series["values"]).chain(items(&series["histograms"])).map(point_of);
                std::iter::once(format!("{} =>", metric(&series["metric"]))).chain(points).collect::<Vec<_>>()
            })
            .collect(),
        Some("scalar") => vec![format!("scalar: {}", point_of(result))],
        _ => vec![result[1].as_str().unwrap_or("").to_owned()],
    }
}

/// `value @[time]`
fn point_of(point: &Value) -> String {
    let value = match &point[1] {
        Value::String(text) => float(text),
        histogram => histogram_of(histogram),
    };
    format!("{value} @[{}]", point[0])
}

/// All digits, without an exponent.
fn float(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => value.to_string(),
        _ => text.to_owned(),
    }
}

fn histogram_of(histogram: &Value) -> String {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let buckets: Vec<String> = items(&histogram["buckets"])
        .map(|bucket| {
            // Which ends belong to it: 0 the upper, 1 the lower, 2 none, 3 both.
            let ends = bucket[0].as_u64().unwrap_or(0);
            let (open, close) =
                (if matches!(ends, 1 | 3) { '[' } else { '(' }, if matches!(ends, 0 | 3) { ']' } else { ')' });
            let text = |index: usize| bucket[index].as_str().unwrap_or("");
            format!("{open}{},{}{close}:{}", text(1), text(2), float(text(3)))
        })
        .collect();
    let (count, sum) = (number(&histogram["count"]), number(&histogram["sum"]));
    format!("Count: {count:.6}, Sum: {sum:.6}, Buckets: [{}]", buckets.join(" "))
}

/// Pairs in the order of their text.
fn pairs<'a>(labels: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let pair =
        |(name, value): (&String, &Value)| format!("{name}={}", model::quote::quote(value.as_str().unwrap_or("")));
    let mut pairs: Vec<String> = labels.map(pair).collect();
    pairs.sort_unstable();
    pairs.join(", ")
}

/// All labels in braces, the name among them.
fn label_set(labels: &Value) -> String {
    format!("{{{}}}", pairs(labels.as_object().into_iter().flatten()))
}

/// `name{label="value"}`
fn metric(labels: &Value) -> String {
    let Some(map) = labels.as_object() else { return "{}".to_owned() };
    let name = map.get("__name__").and_then(Value::as_str).unwrap_or("");
    let others = pairs(map.iter().filter(|(label, _)| *label != "__name__"));
    match (name, others.is_empty()) {
        (name, true) if !name.is_empty() => name.to_owned(),
        _ => format!("{name}{{{others}}}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_printed_as_upstream_prints_them() {
        let histogram =
            json!({"count": "3", "sum": "4.5", "buckets": [[3, "-0.001", "0.001", "1"], [0, "1", "2", "2"]]});
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [1.5, "1e+21"]},
            {"metric": {"__name__": "h"}, "histogram": [2, histogram]},
            {"metric": {}, "value": [3, "+Inf"]},
        ]});
        assert_eq!(
            lines_of(&vector),
            [
                "up{job=\"a\\\"b\"} => 1000000000000000000000 @[1.5]",
                "h => Count: 3.000000, Sum: 4.500000, Buckets: [[-0.001,0.001]:1 (1,2]:2] @[2]",
                "{} => +Inf @[3]",
            ]
        );
        let matrix =
            json!({"resultType": "matrix", "result": [{"metric": {"a": "1"}, "values": [[1, "2"], [2, "NaN"]]}]});
        assert_eq!(lines_of(&matrix), ["{a=\"1\"} =>", "2 @[1]", "NaN @[2]"]);
        assert_eq!(lines_of(&json!({"resultType": "scalar", "result": [1, "2"]})), ["scalar: 2 @[1]"]);
        assert_eq!(without_exponents(&vector)[0]["value"], json!([1.5, "1000000000000000000000"]));
        assert_eq!(without_exponents(&vector)[1], vector["result"][1]);
        assert_eq!(without_exponents(&matrix), matrix["result"]);
        assert_eq!(lines_of(&json!({"resultType": "string", "result": [1, "x"]})), ["x"]);
    }
}

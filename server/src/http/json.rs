//! Query results as JSON, written by hand: numbers as Go writes them, nothing built in between.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};
use model::labels::Labels;
use model::number::{push_float, push_float_exponent};
use model::sample::{Timestamp, Value};
use promql::QueryValue;

/// `{"resultType":...,"result":...}`
pub(super) fn query_data(value: &QueryValue, limit: usize) -> (String, bool) {
    let mut out = format!(r#"{{"resultType":"{}","result":"#, value.type_name());
    let mut truncated = false;
    match value {
        QueryValue::Scalar { timestamp, value } => push_float_point(&mut out, *timestamp, *value),
        QueryValue::String { timestamp, value } => {
            out.push('[');
            push_timestamp(&mut out, *timestamp);
            out.push(',');
            push_string(&mut out, value);
            out.push(']');
        }
        QueryValue::Vector { timestamp, samples } => {
            let shown = shown(samples, limit, &mut truncated);
            push_list(&mut out, shown, |out, sample| {
                out.push_str(r#"{"metric":"#);
                push_labels(out, &sample.labels);
                match &sample.value {
                    Value::Float(value) => {
                        out.push_str(r#","value":"#);
                        push_float_point(out, *timestamp, *value);
                    }
                    Value::Histogram(histogram) => {
                        out.push_str(r#","histogram":"#);
                        push_histogram_point(out, *timestamp, histogram);
                    }
                }
                out.push('}');
            });
        }
        QueryValue::Matrix(series) => {
            let shown = shown(series, limit, &mut truncated);
            push_list(&mut out, shown, |out, series| {
                out.push_str(r#"{"metric":"#);
                push_labels(out, &series.labels);
                if !series.floats.is_empty() {
                    out.push_str(r#","values":"#);
                    push_list(out, &series.floats, |out, (at, value)| push_float_point(out, *at, *value));
                }
                if !series.histograms.is_empty() {
                    out.push_str(r#","histograms":"#);
                    push_list(out, &series.histograms, |out, (at, value)| push_histogram_point(out, *at, value));
                }
                out.push('}');
            });
        }
    }
    out.push('}');
    (out, truncated)
}

fn shown<'a, T>(all: &'a [T], limit: usize, truncated: &mut bool) -> &'a [T] {
    if limit > 0 && all.len() > limit {
        *truncated = true;
        return &all[..limit];
    }
    all
}

fn push_list<T>(out: &mut String, items: &[T], mut push: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, value);
    }
    out.push('}');
}

fn push_string(out: &mut String, text: &str) {
    // Serialising a string into memory cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Seconds, with three digits after the point unless they are all zero.
fn push_timestamp(out: &mut String, timestamp: Timestamp) {
    let ms = timestamp.0;
    let (sign, magnitude) = if ms < 0 { ("-", ms.unsigned_abs()) } else { ("", ms as u64) };
    out.push_str(sign);
    out.push_str(&(magnitude / 1000).to_string());
    if !magnitude.is_multiple_of(1000) {
        out.push_str(&format!(".{:03}", magnitude % 1000));
    }
}

/// A quoted number, with an exponent where it is very small or very large.
fn push_value(out: &mut String, value: f64) {
    out.push('"');
    let magnitude = value.abs();
    if magnitude != 0.0 && value.is_finite() && !(1e-6..1e21).contains(&magnitude) {
        push_float_exponent(out, value);
    } else {
        push_float(out, value);
    }
    out.push('"');
}

fn push_float_point(out: &mut String, timestamp: Timestamp, value: f64) {
    out.push('[');
    push_timestamp(out, timestamp);
    out.push(',');
    push_value(out, value);
    out.push(']');
}

fn push_histogram_point(out: &mut String, timestamp: Timestamp, histogram: &FloatHistogram) {
    out.push('[');
    push_timestamp(out, timestamp);
    out.push_str(r#",{"count":"#);
    push_value(out, histogram.count);
    out.push_str(r#","sum":"#);
    push_value(out, histogram.sum);
    let buckets: Vec<Bucket> = buckets(histogram).into_iter().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.push_str(r#","buckets":"#);
        push_list(out, &buckets, |out, bucket| {
            out.push_str(&format!("[{},", bucket.rule));
            for (i, number) in [bucket.lower, bucket.upper, bucket.count].into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_value(out, number);
            }
            out.push(']');
        });
    }
    out.push_str("}]");
}

/// Rule: 0 open at the left, 1 open at the right, 2 open at both, 3 closed at both ends.
struct Bucket {
    rule: u8,
    lower: f64,
    upper: f64,
    count: f64,
}

/// All buckets from the lowest to the highest.
fn buckets(histogram: &FloatHistogram) -> Vec<Bucket> {
    let mut all = Vec::new();
    for (index, count) in indexed(&histogram.negative_spans, &histogram.negative).into_iter().rev() {
        let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
        all.push(Bucket { rule: 1, lower: -upper, upper: -lower, count });
    }
    if histogram.zero_count != 0.0 {
        let width = histogram.zero_threshold;
        all.push(Bucket { rule: 3, lower: -width, upper: width, count: histogram.zero_count });
    }
    for (index, count) in indexed(&histogram.positive_spans, &histogram.positive) {
        let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
        let lowest_custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA && index == 0;
        let rule = if lowest_custom { 3 } else { 0 };
        all.push(Bucket { rule, lower, upper, count });
    }
    all
}

fn indexed(spans: &[Span], counts: &[f64]) -> Vec<(i32, f64)> {
    let mut counts = counts.iter();
    let mut all = Vec::new();
    let mut index = 0;
    for span in spans {
        index += span.offset;
        for _ in 0..span.length {
            all.extend(counts.next().map(|count| (index, *count)));
            index += 1;
        }
    }
    all
}

/// The upper bound of a bucket.
fn bound(histogram: &FloatHistogram, index: i32) -> f64 {
    if histogram.schema != CUSTOM_BUCKETS_SCHEMA {
        return 2_f64.powf(f64::from(index) * 2_f64.powi(-histogram.schema));
    }
    match usize::try_from(index) {
        Err(_) => f64::NEG_INFINITY,
        Ok(index) => histogram.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;
    use promql::VectorSample;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let point = |ms, value| {
            let mut out = String::new();
            push_float_point(&mut out, Timestamp(ms), value);
            out
        };
        assert_eq!(point(1_435_781_451_780, 1.0), r#"[1435781451.780,"1"]"#);
        assert_eq!(point(1000, f64::INFINITY), r#"[1,"+Inf"]"#);
        assert_eq!(point(-1500, 1e-7), r#"[-1.500,"1e-07"]"#);
        assert_eq!(point(0, 1e21), r#"[0,"1e+21"]"#);
        assert_eq!(point(0, 1e20), r#"[0,"100000000000000000000"]"#);
    }

    #[test]
    fn a_limit_cuts_and_tells() {
        let sample = |job: &str| VectorSample { labels: labels! { "job" => job }, value: Value::Float(1.0) };
        let value = QueryValue::Vector { timestamp: Timestamp(1000), samples: vec![sample("a"), sample("b")] };
        let (data, truncated) = query_data(&value, 1);
        assert_eq!(data, r#"{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1,"1"]}]}"#);
        assert!(truncated);
        assert_eq!(query_data(&QueryValue::Matrix(vec![]), 0).0, r#"{"resultType":"matrix","result":[]}"#);
    }
}

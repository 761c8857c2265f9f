//! Query results as JSON, written by hand: numbers as Go writes them, nothing built in between.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};
use model::labels::Labels;
use model::number::{push_float, push_float_exponent};
use model::sample::{Timestamp, Value};
use promql::QueryValue;

use super::streamed::{BodyWriter, Gone};

/// Where an answer is written: memory, or a connection that can go away.
pub(super) trait Sink {
    /// Appends a text.
    ///
    /// # Errors
    /// If nobody reads any more.
    fn text(&mut self, text: &str) -> Result<(), Gone>;
}

impl Sink for String {
    fn text(&mut self, text: &str) -> Result<(), Gone> {
        self.push_str(text);
        Ok(())
    }
}

impl Sink for BodyWriter {
    fn text(&mut self, text: &str) -> Result<(), Gone> {
        BodyWriter::text(self, text)
    }
}

/// Points that a result has, all series together: what its JSON's size grows with.
pub(super) fn point_count(value: &QueryValue) -> usize {
    match value {
        QueryValue::Scalar { .. } | QueryValue::String { .. } => 1,
        QueryValue::Vector { samples, .. } => samples.len(),
        QueryValue::Matrix(series) => series.iter().map(|series| series.floats.len() + series.histograms.len()).sum(),
    }
}

/// `{"resultType":...,"result":...` without the closing brace; whether `limit` cut it.
pub(super) fn write_data(out: &mut impl Sink, value: &QueryValue, limit: usize) -> Result<bool, Gone> {
    out.text(r#"{"resultType":""#)?;
    out.text(value.type_name())?;
    out.text(r#"","result":"#)?;
    match value {
        QueryValue::Scalar { timestamp, value } => {
            let mut point = String::new();
            push_float_point(&mut point, *timestamp, *value);
            out.text(&point)?;
            Ok(false)
        }
        QueryValue::String { timestamp, value } => {
            let mut point = String::from("[");
            push_timestamp(&mut point, *timestamp);
            point.push(',');
            push_string(&mut point, value);
            point.push(']');
            out.text(&point)?;
            Ok(false)
        }
        QueryValue::Vector { timestamp, samples } => write_list(out, samples, limit, |out, sample| {
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
        }),
        QueryValue::Matrix(series) => write_list(out, series, limit, |out, series| {
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
        }),
    }
}

/// A list written element by element, at most `limit` of them if that is not 0; whether some were left out.
fn write_list<T>(
    out: &mut impl Sink,
    items: &[T],
    limit: usize,
    mut push: impl FnMut(&mut String, &T),
) -> Result<bool, Gone> {
    let is_cut = limit > 0 && items.len() > limit;
    let shown = if is_cut { &items[..limit] } else { items };
    let mut element = String::from("[");
    for item in shown {
        push(&mut element, item);
        out.text(&element)?;
        element.clear();
        element.push(',');
    }
    out.text(if shown.is_empty() { "[]" } else { "]" })?;
    Ok(is_cut)
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
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // Serialising a string into memory cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Seconds, with three digits after the point unless they are all zero.
fn push_timestamp(out: &mut String, timestamp: Timestamp) {
    let ms = timestamp.0;
    let (sign, magnitude) = if ms < 0 { ("-", ms.unsigned_abs()) } else { ("", ms as u64) };
    out.push_str(sign);
    out.push_str(itoa::Buffer::new().format(magnitude / 1000));
    let rest = magnitude % 1000;
    if rest != 0 {
        out.push_str(if rest < 10 {
            ".00"
        } else if rest < 100 {
            ".0"
        } else {
            "."
        });
        out.push_str(itoa::Buffer::new().format(rest));
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
        assert_eq!(point(1007, 0.5), r#"[1.007,"0.5"]"#);
        assert_eq!(point(1070, 0.5), r#"[1.070,"0.5"]"#);
        assert_eq!(point(0, 1e20), r#"[0,"100000000000000000000"]"#);
    }

    #[test]
    fn a_limit_cuts_and_tells() {
        let sample = |job: &str| VectorSample { labels: labels! { "job" => job }, value: Value::Float(1.0) };
        let value = QueryValue::Vector { timestamp: Timestamp(1000), samples: vec![sample("a"), sample("b")] };
        let written = |value: &QueryValue, limit| {
            let mut out = String::new();
            let is_cut = write_data(&mut out, value, limit).unwrap();
            (out, is_cut)
        };
        let one = r#"{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1,"1"]}]"#;
        assert_eq!(written(&value, 1), (one.to_owned(), true));
        assert_eq!(written(&value, 2).0.matches("metric").count(), 2);
        let none = r#"{"resultType":"matrix","result":[]"#;
        assert_eq!(written(&QueryValue::Matrix(vec![]), 0), (none.to_owned(), false));
    }
}

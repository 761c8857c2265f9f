//! Query results as JSON, written by hand: numbers as Go writes them, nothing built in between.
//!
//! Series are taken apart as they are written: what was written takes no memory any more.

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::number::{append_float, push_float_exponent};
use model::sample::{Timestamp, Value};
use promql::histogram::{Bucket, filled_buckets};
use promql::{MatrixSeries, QueryValue, VectorSample};

use super::streamed::{BodyWriter, Gone};

/// After so many points of a series there may be enough to be sent.
const POINTS_BETWEEN_CHECKPOINTS: usize = 256;

/// Where an answer is written: memory, or a connection that can go away.
pub(super) trait Sink {
    /// Where to write next.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Sends on what was written, if it is worth it.
    ///
    /// # Errors
    /// If nobody reads any more.
    fn checkpoint(&mut self) -> Result<(), Gone>;

    /// Breaks the answer off, so that nobody takes it for a whole one.
    fn fail(&mut self, reason: &str) -> Gone;
}

impl Sink for Vec<u8> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }

    fn checkpoint(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    fn fail(&mut self, _reason: &str) -> Gone {
        Gone
    }
}

impl Sink for BodyWriter {
    fn buffer(&mut self) -> &mut Vec<u8> {
        BodyWriter::buffer(self)
    }

    fn checkpoint(&mut self) -> Result<(), Gone> {
        BodyWriter::checkpoint(self)
    }

    fn fail(&mut self, reason: &str) -> Gone {
        BodyWriter::fail(self, reason);
        Gone
    }
}

/// Points that a result has, all series together: what its JSON's size grows with.
pub(super) fn point_count(value: &QueryValue) -> usize {
    match value {
        QueryValue::Scalar { .. } | QueryValue::String { .. } => 1,
        QueryValue::Vector { samples, .. } => samples.len(),
        QueryValue::Matrix(series) => series.iter().map(|series| series.floats.len() + series.histograms.len()).sum(),
        QueryValue::Spilled(matrix) => matrix.points_max(),
    }
}

/// `{"resultType":...,"result":...` without the closing brace; whether `limit` cut it.
pub(super) fn write_data(out: &mut impl Sink, value: QueryValue, limit: usize) -> Result<bool, Gone> {
    let buffer = out.buffer();
    buffer.extend_from_slice(br#"{"resultType":""#);
    buffer.extend_from_slice(value.type_name().as_bytes());
    buffer.extend_from_slice(br#"","result":"#);
    match value {
        QueryValue::Scalar { timestamp, value } => {
            append_float_point(buffer, timestamp, value);
            Ok(false)
        }
        QueryValue::String { timestamp, value } => {
            buffer.push(b'[');
            append_timestamp(buffer, timestamp);
            buffer.push(b',');
            append_string(buffer, &value);
            buffer.push(b']');
            Ok(false)
        }
        QueryValue::Vector { timestamp, samples } => {
            write_list(out, samples.into_iter(), limit, |out, sample| write_sample(out, timestamp, &sample))
        }
        QueryValue::Matrix(series) => write_list(out, series.into_iter(), limit, write_series),
        QueryValue::Spilled(matrix) => write_list(out, matrix.into_series(), limit, |out, series| match series {
            Ok(series) => write_series(out, series),
            Err(error) => Err(out.fail(&error.to_string())),
        }),
    }
}

/// A list written element by element, at most `limit` of them if that is not 0; whether some were left out.
pub(super) fn write_list<S: Sink, T>(
    out: &mut S,
    items: impl ExactSizeIterator<Item = T>,
    limit: usize,
    mut write: impl FnMut(&mut S, T) -> Result<(), Gone>,
) -> Result<bool, Gone> {
    let is_cut = limit > 0 && items.len() > limit;
    let shown = if is_cut { limit } else { items.len() };
    out.buffer().push(b'[');
    for (i, item) in items.take(shown).enumerate() {
        if i > 0 {
            out.buffer().push(b',');
        }
        write(out, item)?;
        out.checkpoint()?;
    }
    out.buffer().push(b']');
    Ok(is_cut)
}

fn write_sample(out: &mut impl Sink, timestamp: Timestamp, sample: &VectorSample) -> Result<(), Gone> {
    let out = out.buffer();
    out.extend_from_slice(br#"{"metric":"#);
    append_labels(out, &sample.labels);
    match &sample.value {
        Value::Float(value) => {
            out.extend_from_slice(br#","value":"#);
            append_float_point(out, timestamp, *value);
        }
        Value::Histogram(histogram) => {
            out.extend_from_slice(br#","histogram":"#);
            append_histogram_point(out, timestamp, histogram);
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_series(out: &mut impl Sink, series: MatrixSeries) -> Result<(), Gone> {
    out.buffer().extend_from_slice(br#"{"metric":"#);
    append_labels(out.buffer(), &series.labels);
    if !series.floats.is_empty() {
        out.buffer().extend_from_slice(br#","values":"#);
        write_points(out, &series.floats, |out, (at, value)| append_float_point(out, *at, *value))?;
    }
    if !series.histograms.is_empty() {
        out.buffer().extend_from_slice(br#","histograms":"#);
        write_points(out, &series.histograms, |out, (at, value)| append_histogram_point(out, *at, value))?;
    }
    out.buffer().push(b'}');
    Ok(())
}

fn write_points<T>(out: &mut impl Sink, points: &[T], append: impl Fn(&mut Vec<u8>, &T)) -> Result<(), Gone> {
    out.buffer().push(b'[');
    for (i, some) in points.chunks(POINTS_BETWEEN_CHECKPOINTS).enumerate() {
        if i > 0 {
            out.buffer().push(b',');
        }
        append_list(out.buffer(), some, &append);
        out.checkpoint()?;
    }
    out.buffer().push(b']');
    Ok(())
}

/// The items with commas between.
fn append_list<T>(out: &mut Vec<u8>, items: &[T], append: impl Fn(&mut Vec<u8>, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append(out, item);
    }
}

pub(super) fn append_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append_string(out, name);
        out.push(b':');
        append_string(out, value);
    }
    out.push(b'}');
}

pub(super) fn append_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Serialising a string into memory cannot fail.
    out.extend_from_slice(&serde_json::to_vec(text).unwrap_or_default());
}

/// Seconds, with three digits after the point unless they are all zero.
fn append_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    let magnitude = timestamp.0.unsigned_abs();
    if timestamp.0 < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / 1000).as_bytes());
    let rest = magnitude % 1000;
    if rest != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }
}

/// A quoted number, with an exponent where it is very small or very large.
fn append_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    let magnitude = value.abs();
    if magnitude != 0.0 && value.is_finite() && !(1e-6..1e21).contains(&magnitude) {
        let mut text = String::new();
        push_float_exponent(&mut text, value);
        out.extend_from_slice(text.as_bytes());
    } else {
        append_float(out, value);
    }
    out.push(b'"');
}

fn append_float_point(out: &mut Vec<u8>, timestamp: Timestamp, value: f64) {
    out.push(b'[');
    append_timestamp(out, timestamp);
    out.push(b',');
    append_value(out, value);
    out.push(b']');
}

fn append_histogram_point(out: &mut Vec<u8>, timestamp: Timestamp, histogram: &FloatHistogram) {
    out.push(b'[');
    append_timestamp(out, timestamp);
    out.extend_from_slice(br#",{"count":"#);
    append_value(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    append_value(out, histogram.sum);
    let buckets: Vec<Bucket> = filled_buckets(histogram).collect();
    if !buckets.is_empty() {
        out.extend_from_slice(br#","buckets":["#);
        append_list(out, &buckets, append_bucket);
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

/// Begins with the rule: 0 open at the left, 1 open at the right, 2 open at both, 3 closed at both ends.
fn append_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    let rule = match (bucket.lower_included, bucket.upper_included) {
        (false, true) => b'0',
        (true, false) => b'1',
        (false, false) => b'2',
        (true, true) => b'3',
    };
    out.extend_from_slice(&[b'[', rule]);
    for number in [bucket.lower, bucket.upper, bucket.count] {
        out.push(b',');
        append_value(out, number);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;
    use model::labels;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let point = |ms, value| {
            let mut out = Vec::new();
            append_float_point(&mut out, Timestamp(ms), value);
            String::from_utf8(out).unwrap()
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
    fn buckets_have_the_bounds_of_the_engine_and_end_at_the_zero_bucket() {
        let span = |offset| vec![Span { offset, length: 1 }];
        let histogram = FloatHistogram {
            schema: 1,
            count: 4.0,
            sum: 2.5,
            zero_threshold: 0.6,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 1, length: 1 }],
            positive: vec![1.0, 0.0, 1.0],
            negative_spans: span(2),
            negative: vec![1.0],
            ..FloatHistogram::default()
        };
        let mut out = Vec::new();
        append_histogram_point(&mut out, Timestamp(1500), &histogram);
        let expected = concat!(
            r#"[1.500,{"count":"4","sum":"2.5","buckets":[[1,"-2","-1.414213562373095","1"],[3,"-0.6","0.6","1"],"#,
            r#"[0,"0.6","0.7071067811865475","1"],[0,"1.414213562373095","2","1"]]}]"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_long_series_is_whole_whatever_is_sent_between() {
        let floats: Vec<_> = (0..2500).map(|i| (Timestamp(i * 1000), i as f64 / 4.0)).collect();
        let value = QueryValue::Matrix(vec![MatrixSeries { floats, ..MatrixSeries::default() }]);
        let mut out = Vec::new();
        write_data(&mut out, value, 0).unwrap();
        out.push(b'}');
        let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let points = parsed["result"][0]["values"].as_array().unwrap();
        assert_eq!((points.len(), &points[2499]), (2500, &serde_json::json!([2499, "624.75"])));
    }

    #[test]
    fn a_limit_cuts_and_tells() {
        let sample = |job: &str| VectorSample { labels: labels! { "job" => job }, value: Value::Float(1.0) };
        let value = QueryValue::Vector { timestamp: Timestamp(1000), samples: vec![sample("a"), sample("b")] };
        let written = |value: &QueryValue, limit| {
            let mut out = Vec::new();
            let is_cut = write_data(&mut out, value.clone(), limit).unwrap();
            (String::from_utf8(out).unwrap(), is_cut)
        };
        let one = r#"{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1,"1"]}]"#;
        assert_eq!(written(&value, 1), (one.to_owned(), true));
        assert_eq!(written(&value, 2).0.matches("metric").count(), 2);
        let none = r#"{"resultType":"matrix","result":[]"#;
        assert_eq!(written(&QueryValue::Matrix(vec![]), 0), (none.to_owned(), false));
    }
}

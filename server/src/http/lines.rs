//! Series as lines of JSON: `{"metric":{...},"timestamps":[ms,...],"values":[...]}`, as other stores of this kind export
//! and import them. Native histograms stand in `histograms`, beside `histogram_timestamps`, field by field: nothing is
//! lost.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint, Span};
use model::labels::Labels;
use model::sample::{STALE_NAN, is_stale};
use model::storage::Columns;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The content type of such lines.
pub(super) const JSON_LINES: &str = "application/jsonl";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesLine {
    pub(super) metric: BTreeMap<String, String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub(super) timestamps: Vec<i64>,
    #[serde(default)]
    pub(super) values: Vec<Number>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) histogram_timestamps: Vec<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) histograms: Vec<HistogramFields>,
}

/// A number, or a text for one that JSON does not have: `NaN`, `+Inf`, `-Inf`, and `stale` for the end of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if is_stale(value) => serializer.serialize_str("stale"),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("+Inf"),
            _ => serializer.serialize_str("-Inf"),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or one of \"NaN\", \"+Inf\", \"-Inf\", \"stale\"")]
        enum Form {
            Number(f64),
            Text(String),
            /// Others write this for what is no number.
            Null(()),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Number(value)),
            Form::Null(()) => Ok(Number(f64::NAN)),
            Form::Text(text) => match text.as_str() {
                "NaN" => Ok(Number(f64::NAN)),
                "+Inf" | "Inf" | "Infinity" => Ok(Number(f64::INFINITY)),
                "-Inf" | "-Infinity" => Ok(Number(f64::NEG_INFINITY)),
                "stale" => Ok(Number(STALE_NAN)),
                other => Err(serde::de::Error::custom(format!("{other:?} is no number"))),
            },
        }
    }
}

/// A native histogram: its buckets' counts absolute, spans as pairs of offset and length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistogramFields {
    schema: i32,
    count: Number,
    sum: Number,
    #[serde(default)]
    zero_threshold: f64,
    zero_count: Number,
    #[serde(default)]
    positive_spans: Vec<(i32, u32)>,
    #[serde(default)]
    positive: Vec<Number>,
    #[serde(default)]
    negative_spans: Vec<(i32, u32)>,
    #[serde(default)]
    negative: Vec<Number>,
    #[serde(default)]
    custom_values: Vec<Number>,
    #[serde(default)]
    hint: Hint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

impl From<&FloatHistogram> for HistogramFields {
    fn from(histogram: &FloatHistogram) -> Self {
        let spans = |spans: &[Span]| spans.iter().map(|span| (span.offset, span.length)).collect();
        let numbers = |values: &[f64]| values.iter().copied().map(Number).collect();
        Self {
            schema: histogram.schema,
            count: Number(histogram.count),
            sum: Number(histogram.sum),
            zero_threshold: histogram.zero_threshold,
            zero_count: Number(histogram.zero_count),
            positive_spans: spans(&histogram.positive_spans),
            positive: numbers(&histogram.positive),
            negative_spans: spans(&histogram.negative_spans),
            negative: numbers(&histogram.negative),
            custom_values: numbers(&histogram.custom_values),
            hint: match histogram.reset_hint {
                ResetHint::Unknown => Hint::Unknown,
                ResetHint::Reset => Hint::Reset,
                ResetHint::NotReset => Hint::NotReset,
                ResetHint::Gauge => Hint::Gauge,
            },
        }
    }
}

impl From<&HistogramFields> for FloatHistogram {
    fn from(fields: &HistogramFields) -> Self {
        let spans = |spans: &[(i32, u32)]| spans.iter().map(|&(offset, length)| Span { offset, length }).collect();
        let numbers = |values: &[Number]| values.iter().map(|number| number.0).collect();
        FloatHistogram {
            schema: fields.schema,
            count: fields.count.0,
            sum: fields.sum.0,
            zero_threshold: fields.zero_threshold,
            zero_count: fields.zero_count.0,
            positive_spans: spans(&fields.positive_spans),
            positive: numbers(&fields.positive),
            negative_spans: spans(&fields.negative_spans),
            negative: numbers(&fields.negative),
            custom_values: numbers(&fields.custom_values),
            reset_hint: match fields.hint {
                Hint::Unknown => ResetHint::Unknown,
                Hint::Reset => ResetHint::Reset,
                Hint::NotReset => ResetHint::NotReset,
                Hint::Gauge => ResetHint::Gauge,
            },
        }
    }
}

impl SeriesLine {
    /// Some of a series' samples.
    pub(super) fn of(labels: &Labels, columns: &Columns, range: Range<usize>) -> Self {
        let mut line = Self {
            metric: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            timestamps: Vec::new(),
            values: Vec::new(),
            histogram_timestamps: Vec::new(),
            histograms: Vec::new(),
        };
        for index in range {
            let timestamp = columns.timestamps[index];
            match columns.histogram_at(index).map(Arc::as_ref) {
                Some(histogram) => {
                    line.histogram_timestamps.push(timestamp);
                    line.histograms.push(histogram.into());
                }
                None => {
                    line.timestamps.push(timestamp);
                    line.values.push(Number(columns.values[index]));
                }
            }
        }
        line
    }

    /// Appends the line.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        // Texts and numbers always have a form in JSON, and a vector grows.
        let _written = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_went() {
        let labels = Labels::from_pairs([("__name__", "m"), ("a", "\"ä\n")]).unwrap();
        let mut columns = Columns::default();
        for (index, value) in [0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, STALE_NAN, -0.0].into_iter().enumerate()
        {
            columns.push_float(index as i64, value);
        }
        let histogram = FloatHistogram {
            schema: 3,
            count: 4.0,
            sum: f64::NAN,
            positive_spans: vec![Span { offset: -2, length: 1 }],
            positive: vec![4.0],
            reset_hint: ResetHint::Gauge,
            ..FloatHistogram::default()
        };
        columns.push_histogram(9, Arc::new(histogram));
        let line = SeriesLine::of(&labels, &columns, 0..7);
        let mut text = Vec::new();
        line.push(&mut text);
        let read: SeriesLine = serde_json::from_slice(&text).unwrap();
        assert_eq!(read.values.len(), 6);
        assert_eq!(read.timestamps, line.timestamps);
        assert!(is_stale(read.values[4].0) && !is_stale(read.values[1].0) && read.values[5].0.is_sign_negative());
        let histogram = FloatHistogram::from(&read.histograms[0]);
        assert_eq!(
            (histogram.schema, histogram.reset_hint, &histogram.positive[..]),
            (3, ResetHint::Gauge, &[4.0][..])
        );
        let mut again = Vec::new();
        read.push(&mut again);
        assert_eq!(again, text);
    }
}

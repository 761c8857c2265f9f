//! Native histograms between the wire and the model.

use model::histogram::{FloatHistogram, Histogram as Native, IntHistogram, ResetHint as Hint, Span};
use model::storage::NewValue;

use super::messages::{BucketSpan, Count, Histogram, ResetHint, ZeroCount};

/// A native histogram of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// With integer counts.
    Int(IntHistogram),
    /// With float counts.
    Float(FloatHistogram),
}

impl Decoded {
    /// As the storage takes it.
    pub fn as_value(&self) -> NewValue<'_> {
        match self {
            Decoded::Int(histogram) => NewValue::IntHistogram(histogram),
            Decoded::Float(histogram) => NewValue::FloatHistogram(histogram),
        }
    }

    /// One of the same kind and layout without observations, where a count of zero began.
    pub fn zero(&self) -> Self {
        match self {
            Decoded::Int(histogram) => Decoded::Int(empty(histogram)),
            Decoded::Float(histogram) => Decoded::Float(empty(histogram)),
        }
    }
}

fn empty<B: model::histogram::BucketNumber>(histogram: &Native<B>) -> Native<B> {
    Native {
        reset_hint: Hint::Reset,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        custom_values: histogram.custom_values.clone(),
        ..Native::default()
    }
}

impl From<&Histogram> for Decoded {
    fn from(wire: &Histogram) -> Self {
        let spans = |spans: &[BucketSpan]| -> Vec<Span> {
            spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
        };
        let reset_hint = match wire.reset_hint() {
            ResetHint::Unknown => Hint::Unknown,
            ResetHint::Yes => Hint::Reset,
            ResetHint::No => Hint::NotReset,
            ResetHint::Gauge => Hint::Gauge,
        };
        let (positive_spans, negative_spans) = (spans(&wire.positive_spans), spans(&wire.negative_spans));
        let custom_values = wire.custom_values.clone();
        if let Some(Count::Float(count)) = wire.count {
            let zero_count = match wire.zero_count {
                Some(ZeroCount::Float(count)) => count,
                _ => 0.0,
            };
            return Decoded::Float(FloatHistogram {
                reset_hint,
                schema: wire.schema,
                zero_threshold: wire.zero_threshold,
                zero_count,
                count,
                sum: wire.sum,
                positive_spans,
                negative_spans,
                positive: wire.positive_counts.clone(),
                negative: wire.negative_counts.clone(),
                custom_values,
            });
        }
        let count = match wire.count {
            Some(Count::Int(count)) => count,
            _ => 0,
        };
        let zero_count = match wire.zero_count {
            Some(ZeroCount::Int(count)) => count,
            _ => 0,
        };
        Decoded::Int(IntHistogram {
            reset_hint,
            schema: wire.schema,
            zero_threshold: wire.zero_threshold,
            zero_count,
            count,
            sum: wire.sum,
            positive_spans,
            negative_spans,
            positive: wire.positive_deltas.clone(),
            negative: wire.negative_deltas.clone(),
            custom_values,
        })
    }
}

fn wire_spans(spans: &[Span]) -> Vec<BucketSpan> {
    spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect()
}

fn wire_hint(hint: Hint) -> i32 {
    let hint = match hint {
        Hint::Unknown => ResetHint::Unknown,
        Hint::Reset => ResetHint::Yes,
        Hint::NotReset => ResetHint::No,
        Hint::Gauge => ResetHint::Gauge,
    };
    hint.into()
}

/// What both kinds share.
fn wire_frame<B: model::histogram::BucketNumber>(histogram: &Native<B>, timestamp: i64) -> Histogram {
    Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: wire_spans(&histogram.negative_spans),
        positive_spans: wire_spans(&histogram.positive_spans),
        reset_hint: wire_hint(histogram.reset_hint),
        timestamp,
        custom_values: histogram.custom_values.clone(),
        ..Histogram::default()
    }
}

/// A float histogram on its way out, at `timestamp` in ms.
pub fn from_float(histogram: &FloatHistogram, timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::Float(histogram.count)),
        zero_count: Some(ZeroCount::Float(histogram.zero_count)),
        negative_counts: histogram.negative.clone(),
        positive_counts: histogram.positive.clone(),
        ..wire_frame(histogram, timestamp)
    }
}

/// An integer histogram on its way out, at `timestamp` in ms.
pub fn from_int(histogram: &IntHistogram, timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(histogram.count)),
        zero_count: Some(ZeroCount::Int(histogram.zero_count)),
        negative_deltas: histogram.negative.clone(),
        positive_deltas: histogram.positive.clone(),
        ..wire_frame(histogram, timestamp)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn both_kinds_come_back_from_the_wire() {
        let int = IntHistogram {
            schema: 3,
            count: 6,
            sum: 4.5,
            zero_count: 1,
            zero_threshold: 0.01,
            positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
            positive: vec![1, 1, 0],
            reset_hint: Hint::NotReset,
            ..IntHistogram::default()
        };
        let bytes = from_int(&int, 7).encode_to_vec();
        let wire = Histogram::decode(bytes.as_slice()).unwrap();
        assert_eq!((Decoded::from(&wire), wire.timestamp), (Decoded::Int(int.clone()), 7));
        let float = FloatHistogram { custom_values: vec![1.0, 2.0], schema: -53, ..int.to_float() };
        let bytes = from_float(&float, 8).encode_to_vec();
        let wire = Histogram::decode(bytes.as_slice()).unwrap();
        assert_eq!(Decoded::from(&wire), Decoded::Float(float));
    }
}

//! Starts for series that tell none (feature `st-synthesis`): the first value of a series is kept back as the place where
//! its counting begins, and taken off all that follow; after a reset counting begins anew.
//!
//! Histograms whose layout changes count as reset: upstream goes on where the new layout is coarser.

use std::collections::HashMap;

use model::histogram::{FloatHistogram, IntHistogram, Span};
use model::sample::{Timestamp, is_stale};
use model::storage::NewValue;

/// What is remembered of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// When its counting began, in milliseconds since the epoch.
    start: i64,
    counted: Counted,
}

#[derive(Debug, Clone, PartialEq)]
enum Counted {
    Float {
        previous: f64,
        first: f64,
    },
    /// Without a first one nothing is taken off.
    Histogram {
        previous: Box<FloatHistogram>,
        first: Option<Box<FloatHistogram>>,
    },
}

/// A value counted from its series' start.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Adjusted {
    Float(f64),
    Int(Box<IntHistogram>),
    FloatHistogram(Box<FloatHistogram>),
}

impl Adjusted {
    pub(super) fn as_new_value(&self) -> NewValue<'_> {
        match self {
            Adjusted::Float(value) => NewValue::Float(*value),
            Adjusted::Int(histogram) => NewValue::IntHistogram(histogram),
            Adjusted::FloatHistogram(histogram) => NewValue::FloatHistogram(histogram),
        }
    }
}

impl Origin {
    /// Counting begins with this value. A stale marker is none to begin with.
    pub(super) fn begin(value: NewValue<'_>, at: Timestamp) -> Option<Self> {
        let counted = match value {
            NewValue::Float(value) if is_stale(value) => return None,
            NewValue::Float(value) => Counted::Float { previous: value, first: value },
            NewValue::IntHistogram(histogram) => Counted::of(histogram.to_float())?,
            NewValue::FloatHistogram(histogram) => Counted::of(histogram.clone())?,
        };
        Some(Self { start: at.0, counted })
    }

    /// The next value, counted from the start, and the start; `None` where values of another kind begin, or an end.
    pub(super) fn advance(&mut self, value: NewValue<'_>, at: Timestamp) -> Option<(i64, Adjusted)> {
        let adjusted = match (&mut self.counted, value) {
            (Counted::Float { previous, first }, NewValue::Float(value)) if !is_stale(value) => {
                if value < *previous {
                    // Somewhere between both: the latest guess claims least.
                    (*first, self.start) = (0.0, at.0 - 1);
                }
                *previous = value;
                Adjusted::Float(value - *first)
            }
            (Counted::Histogram { .. }, NewValue::IntHistogram(histogram)) if !is_stale(histogram.sum) => {
                match self.taken_off(histogram.to_float(), at) {
                    Some(difference) => Adjusted::Int(Box::new(with_counts_of(histogram, &difference))),
                    None => Adjusted::Int(Box::new(histogram.clone())),
                }
            }
            (Counted::Histogram { .. }, NewValue::FloatHistogram(histogram)) if !is_stale(histogram.sum) => {
                let difference = self.taken_off(histogram.clone(), at);
                Adjusted::FloatHistogram(Box::new(difference.unwrap_or_else(|| histogram.clone())))
            }
            _ => return None,
        };
        Some((self.start, adjusted))
    }

    /// What of a histogram was counted since the start, if that is not all of it.
    fn taken_off(&mut self, now: FloatHistogram, at: Timestamp) -> Option<FloatHistogram> {
        let Counted::Histogram { previous, first } = &mut self.counted else { return None };
        if is_reset(previous, &now) {
            (*first, self.start) = (None, at.0 - 1);
        }
        let difference = first.as_ref().map(|first| difference(&now, first));
        **previous = now;
        difference
    }
}

impl Counted {
    fn of(histogram: FloatHistogram) -> Option<Self> {
        let first = Box::new(histogram);
        (!is_stale(first.sum)).then(|| Counted::Histogram { previous: first.clone(), first: Some(first) })
    }
}

/// Buckets by index.
fn buckets<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0;
    let indices = spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    });
    indices.zip(counts.iter().copied())
}

fn is_reset(before: &FloatHistogram, now: &FloatHistogram) -> bool {
    let shrinks = |spans_before, before, spans_now, counts_now| {
        let now: HashMap<i64, f64> = buckets(spans_now, counts_now).collect();
        buckets(spans_before, before).any(|(index, count)| now.get(&index).copied().unwrap_or(0.0) < count)
    };
    before.schema != now.schema
        || before.zero_threshold.to_bits() != now.zero_threshold.to_bits()
        || before.custom_values != now.custom_values
        || now.count < before.count
        || now.zero_count < before.zero_count
        || shrinks(&before.positive_spans, &before.positive, &now.positive_spans, &now.positive)
        || shrinks(&before.negative_spans, &before.negative, &now.negative_spans, &now.negative)
}

/// `now` without `first`, which has the same layout and no bucket that is fuller.
fn difference(now: &FloatHistogram, first: &FloatHistogram) -> FloatHistogram {
    let rest = |spans_now, counts_now, spans_first, counts_first| -> Vec<f64> {
        let first: HashMap<i64, f64> = buckets(spans_first, counts_first).collect();
        buckets(spans_now, counts_now).map(|(index, count)| count - first.get(&index).unwrap_or(&0.0)).collect()
    };
    FloatHistogram {
        zero_count: now.zero_count - first.zero_count,
        count: now.count - first.count,
        sum: now.sum - first.sum,
        positive: rest(&now.positive_spans, &now.positive, &first.positive_spans, &first.positive),
        negative: rest(&now.negative_spans, &now.negative, &first.negative_spans, &first.negative),
        ..now.clone()
    }
}

/// `layout` with whole counts; buckets as differences.
fn with_counts_of(layout: &IntHistogram, counts: &FloatHistogram) -> IntHistogram {
    let deltas = |absolute: &[f64]| {
        let mut before = 0;
        absolute.iter().map(|count| *count as i64 - std::mem::replace(&mut before, *count as i64)).collect()
    };
    IntHistogram {
        zero_count: counts.zero_count as u64,
        count: counts.count as u64,
        sum: counts.sum,
        positive: deltas(&counts.positive),
        negative: deltas(&counts.negative),
        ..layout.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_counted_from_the_first() {
        let mut origin = Origin::begin(NewValue::Float(10.0), Timestamp(1000)).unwrap();
        let mut next = |value: f64, at: i64| origin.advance(NewValue::Float(value), Timestamp(at));
        assert_eq!(next(12.5, 2000), Some((1000, Adjusted::Float(2.5))));
        assert_eq!(next(12.5, 3000), Some((1000, Adjusted::Float(2.5))));
        assert_eq!(next(4.0, 4000), Some((3999, Adjusted::Float(4.0))));
        assert_eq!(next(5.0, 5000), Some((3999, Adjusted::Float(5.0))));
        assert_eq!(next(model::sample::STALE_NAN, 6000), None);
    }

    #[test]
    fn histograms_are_counted_from_the_first() {
        let histogram = |offset: i32, counts: &[i64]| {
            let mut before = 0;
            IntHistogram {
                schema: 1,
                count: counts.iter().sum::<i64>() as u64,
                sum: counts.iter().sum::<i64>() as f64,
                positive_spans: vec![Span { offset, length: counts.len() as u32 }],
                positive: counts.iter().map(|count| count - std::mem::replace(&mut before, *count)).collect(),
                ..IntHistogram::default()
            }
        };
        let first = histogram(2, &[1, 2]);
        let mut origin = Origin::begin(NewValue::IntHistogram(&first), Timestamp(1000)).unwrap();
        let mut next = |histogram: &IntHistogram, at| match origin.advance(NewValue::IntHistogram(histogram), at) {
            Some((start, Adjusted::Int(adjusted))) => {
                assert!(adjusted.validate().is_ok());
                (start, adjusted.count, adjusted.to_float().positive)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(next(&histogram(1, &[4, 1, 5]), Timestamp(2000)), (1000, 7, vec![4.0, 0.0, 3.0]));
        assert_eq!(next(&histogram(2, &[1, 9]), Timestamp(3000)), (2999, 10, vec![1.0, 9.0]), "a bucket is gone");
        assert_eq!(next(&histogram(2, &[2, 9]), Timestamp(4000)), (2999, 11, vec![2.0, 9.0]));
    }
}

//! Native histograms: sparse buckets in spans, exponential or with custom bounds.
//!
//! One type, generic over the number a bucket holds. Integer histograms keep each bucket as the difference to the one
//! before it ([`Histogram<i64>`], as exposed and stored); float ones keep absolute counts ([`Histogram<f64>`], as
//! PromQL computes with). Layout and meaning: Prometheus' `model/histogram` and the native-histogram specification.

mod resolution;

use std::fmt::Debug;

pub use resolution::{Resolution, custom_float, custom_int};

/// Bounds are `2^(n * 2^-schema)`; lower schemas have wider buckets.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The finest exponential schema.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// The schema of histograms whose upper bounds are listed one by one.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Gap to the previous span in buckets; for the first span, the index of its first bucket.
    pub offset: i32,
    /// How many buckets follow each other.
    pub length: u32,
}

/// What is known about a counter reset between this histogram and the one before it in the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Nothing is known: compare the two to find out.
    #[default]
    Unknown,
    /// A reset happened.
    Reset,
    /// No reset happened.
    NotReset,
    /// Not a counter at all.
    Gauge,
}

/// A bucket's number.
pub trait BucketNumber: Copy + Debug + PartialEq + Default + Send + Sync + 'static {
    /// How the zero bucket and the total are counted beside such buckets.
    type Count: Copy + Debug + PartialEq + Default + Send + Sync + 'static;

    /// The absolute count of a bucket, from its stored number and the absolute count of the bucket before it.
    fn absolute(self, previous: f64) -> f64;
    /// A total as a float.
    fn count_as_float(count: Self::Count) -> f64;
}

impl BucketNumber for i64 {
    type Count = u64;

    fn absolute(self, previous: f64) -> f64 {
        previous + self as f64
    }

    fn count_as_float(count: u64) -> f64 {
        count as f64
    }
}

impl BucketNumber for f64 {
    type Count = f64;

    fn absolute(self, _previous: f64) -> f64 {
        self
    }

    fn count_as_float(count: f64) -> f64 {
        count
    }
}

/// A native histogram whose buckets hold `B`.
///
/// Invariants, checked by [`Histogram::validate`]: `positive.len()` is the sum of `positive_spans`' lengths, likewise
/// negative; spans after the first have offsets >= 0; custom bounds rise strictly and there are no negative or zero
/// buckets beside them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram<B: BucketNumber> {
    /// Hint about a counter reset before this sample.
    pub reset_hint: ResetHint,
    /// Bucket layout: -4..=8 exponential, -53 custom bounds.
    pub schema: i32,
    /// Width of the zero bucket: it holds observations in `[-zero_threshold, zero_threshold]`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: B::Count,
    /// All observations.
    pub count: B::Count,
    /// Sum of all observations; the stale marker ends the series.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Numbers of the positive buckets, in order.
    pub positive: Vec<B>,
    /// Numbers of the negative buckets, in order of rising distance from zero.
    pub negative: Vec<B>,
    /// Upper bounds of custom buckets, without +Inf; empty for exponential schemas.
    pub custom_values: Vec<f64>,
}

/// Integer counts, buckets as differences.
pub type IntHistogram = Histogram<i64>;
/// Float counts, buckets absolute.
pub type FloatHistogram = Histogram<f64>;

/// What is wrong with a histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// The schema is neither exponential nor custom.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets: got {0}"
    )]
    UnknownSchema(i32),
    /// The spans promise another number of buckets than there are.
    #[error(
        "{side} side: spans need {needed} buckets, have {have} buckets: histogram spans specify different number of buckets than provided"
    )]
    SpansBucketsMismatch {
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets the spans describe.
        needed: usize,
        /// Buckets given.
        have: usize,
    },
    /// A span after the first has a negative offset.
    #[error("{side} side: span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeSpanOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// Counted from 1.
        number: usize,
        /// The offset.
        offset: i32,
    },
    /// A bucket has a negative count.
    #[error(
        "{side} side: bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    NegativeBucketCount {
        /// `positive` or `negative`.
        side: &'static str,
        /// Counted from 1.
        number: usize,
        /// The count.
        count: f64,
    },
    /// The total is not what the buckets add up to.
    #[error(
        "{observations} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Sum over all buckets.
        observations: f64,
        /// The total given.
        count: f64,
    },
    /// Custom bounds are missing, unsorted, or stand beside parts that they exclude.
    #[error("custom buckets: {0}")]
    CustomBuckets(&'static str),
}

impl<B: BucketNumber> Histogram<B> {
    /// Whether the buckets' bounds are listed in `custom_values`.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The same histogram with absolute float counts.
    pub fn to_float(&self) -> FloatHistogram {
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: B::count_as_float(self.zero_count),
            count: B::count_as_float(self.count),
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive: absolute(&self.positive),
            negative: absolute(&self.negative),
            custom_values: self.custom_values.clone(),
        }
    }

    /// Whether both are the same by bits: NaN sums compare equal, reset hints are not looked at.
    pub fn equals(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.zero_count == other.zero_count
            && self.count == other.count
            && self.sum.to_bits() == other.sum.to_bits()
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.positive == other.positive
            && self.negative == other.negative
            && self.custom_values == other.custom_values
    }

    /// Checks the invariants of the type.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let exponential = (EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&self.schema);
        if !exponential && !self.uses_custom_buckets() {
            return Err(HistogramError::UnknownSchema(self.schema));
        }
        check_spans("positive", &self.positive_spans, self.positive.len())?;
        check_spans("negative", &self.negative_spans, self.negative.len())?;
        let positive = sum_of_buckets("positive", &absolute(&self.positive))?;
        let negative = sum_of_buckets("negative", &absolute(&self.negative))?;
        if self.uses_custom_buckets() {
            self.check_custom_buckets()?;
        } else if !self.custom_values.is_empty() {
            return Err(HistogramError::CustomBuckets("bounds given for an exponential schema"));
        }
        self.check_count(positive + negative + B::count_as_float(self.zero_count))
    }

    fn check_custom_buckets(&self) -> Result<(), HistogramError> {
        let bounds = &self.custom_values;
        let fault = if bounds.windows(2).any(|w| w[0] >= w[1]) || bounds.iter().any(|b| b.is_nan()) {
            "upper bounds must rise strictly"
        } else if bounds.last() == Some(&f64::INFINITY) {
            "the last bound must not be +Inf, which is implied"
        } else if B::count_as_float(self.zero_count) != 0.0 || self.zero_threshold != 0.0 {
            "there must be no zero bucket"
        } else if !self.negative.is_empty() || !self.negative_spans.is_empty() {
            "there must be no negative buckets"
        } else if span_end(&self.positive_spans) > bounds.len() as i64 + 1 {
            "there are more buckets than bounds"
        } else {
            return Ok(());
        };
        Err(HistogramError::CustomBuckets(fault))
    }

    /// Observations of NaN are in no bucket, so the total may exceed the buckets when the sum is NaN. Float counts may
    /// differ by rounding.
    fn check_count(&self, observations: f64) -> Result<(), HistogramError> {
        let count = B::count_as_float(self.count);
        let close = (observations - count).abs() <= 1e-9 * observations.abs().max(count.abs());
        if close || (self.sum.is_nan() && observations <= count) {
            return Ok(());
        }
        Err(HistogramError::CountMismatch { observations, count })
    }
}

fn absolute<B: BucketNumber>(numbers: &[B]) -> Vec<f64> {
    let mut previous = 0.0;
    numbers
        .iter()
        .map(|n| {
            previous = n.absolute(previous);
            previous
        })
        .collect()
}

/// One past the index of the last bucket that the spans reach.
fn span_end(spans: &[Span]) -> i64 {
    spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum()
}

fn check_spans(side: &'static str, spans: &[Span], have: usize) -> Result<(), HistogramError> {
    if let Some((i, span)) = spans.iter().enumerate().skip(1).find(|(_, s)| s.offset < 0) {
        return Err(HistogramError::NegativeSpanOffset { side, number: i + 1, offset: span.offset });
    }
    let needed: usize = spans.iter().map(|s| s.length as usize).sum();
    if needed != have {
        return Err(HistogramError::SpansBucketsMismatch { side, needed, have });
    }
    Ok(())
}

fn sum_of_buckets(side: &'static str, counts: &[f64]) -> Result<f64, HistogramError> {
    match counts.iter().position(|&c| c < 0.0) {
        Some(i) => Err(HistogramError::NegativeBucketCount { side, number: i + 1, count: counts[i] }),
        None => Ok(counts.iter().sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> IntHistogram {
        IntHistogram {
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 2,
            count: 12,
            sum: 18.4,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
            positive: vec![1, 1, -1, 0],
            negative_spans: vec![Span { offset: 0, length: 2 }],
            negative: vec![2, 1],
            ..IntHistogram::default()
        }
    }

    #[test]
    fn differences_become_absolute_counts() {
        let float = example().to_float();
        assert_eq!(float.positive, [1.0, 2.0, 1.0, 1.0]);
        assert_eq!(float.negative, [2.0, 3.0]);
        assert_eq!(float.validate(), Ok(()));
        assert_eq!(example().validate(), Ok(()));
    }

    #[test]
    fn each_broken_invariant_is_named() {
        let broken = |change: fn(&mut IntHistogram)| {
            let mut histogram = example();
            change(&mut histogram);
            histogram.validate().unwrap_err()
        };
        assert_eq!(broken(|h| h.schema = 9), HistogramError::UnknownSchema(9));
        assert!(matches!(broken(|h| h.count = 13), HistogramError::CountMismatch { .. }));
        assert!(matches!(broken(|h| h.positive[0] = -1), HistogramError::NegativeBucketCount { number: 1, .. }));
        assert!(matches!(
            broken(|h| h.positive_spans[1].offset = -1),
            HistogramError::NegativeSpanOffset { side: "positive", number: 2, offset: -1 }
        ));
        assert!(matches!(
            broken(|h| h.negative_spans[0].length = 3),
            HistogramError::SpansBucketsMismatch { side: "negative", needed: 3, have: 2 }
        ));
        assert!(matches!(broken(|h| h.custom_values = vec![1.0]), HistogramError::CustomBuckets(_)));
    }

    #[test]
    fn custom_bounds_rise_and_exclude_zero_and_negative_buckets() {
        let custom = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 3.0,
            sum: 4.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive: vec![1.0, 1.0, 1.0],
            custom_values: vec![1.0, 2.0],
            ..FloatHistogram::default()
        };
        assert_eq!(custom.validate(), Ok(()));
        let mut unsorted = custom.clone();
        unsorted.custom_values = vec![2.0, 1.0];
        assert!(unsorted.validate().is_err());
        let mut short = custom;
        short.custom_values = vec![1.0];
        assert_eq!(short.validate(), Err(HistogramError::CustomBuckets("there are more buckets than bounds")));
    }
}

//! Histograms' dense buckets as the sparse ones of native histograms.

use model::histogram::{
    CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, IntHistogram, ResetHint, Span,
};
use model::sample::STALE_NAN;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};

/// Width of the zero bucket: OTLP's is of observations that are zero, or too small to tell.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets that are cheaper than a new span.
const GAP_MAX: i64 = 2;
/// The point says that there is no value: the series ends.
const NO_RECORDED_VALUE: u32 = 1;

/// Whether a point ends its series.
pub(super) fn is_stale(flags: u32) -> bool {
    flags & NO_RECORDED_VALUE != 0
}

/// An exponential histogram as a native one.
///
/// # Errors
/// If its buckets are wider than any schema has.
pub(super) fn exponential(point: &ExponentialHistogramDataPoint, hint: ResetHint) -> Result<IntHistogram, String> {
    if point.scale < EXPONENTIAL_SCHEMA_MIN {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {EXPONENTIAL_SCHEMA_MIN}, was {}",
            point.scale
        ));
    }
    let down = point.scale.saturating_sub(EXPONENTIAL_SCHEMA_MAX).clamp(0, 31);
    let side = |buckets: Option<&Buckets>| match buckets {
        // Bucket 0 holds (1, base] there, and here bucket 1 does.
        Some(buckets) => sparse(&merged(&buckets.bucket_counts, i64::from(buckets.offset), down), 1),
        None => (Vec::new(), Vec::new()),
    };
    let (positive_spans, positive) = side(point.positive.as_ref());
    let (negative_spans, negative) = side(point.negative.as_ref());
    let mut histogram = IntHistogram {
        reset_hint: hint,
        schema: point.scale.min(EXPONENTIAL_SCHEMA_MAX),
        zero_threshold: ZERO_THRESHOLD,
        zero_count: point.zero_count,
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        positive,
        negative_spans,
        negative,
        custom_values: Vec::new(),
    };
    if is_stale(point.flags) {
        histogram = IntHistogram { sum: STALE_NAN, schema: histogram.schema, ..IntHistogram::default() };
    }
    Ok(histogram)
}

/// A histogram with explicit bounds as a native one with custom buckets.
pub(super) fn explicit(point: &HistogramDataPoint, hint: ResetHint) -> IntHistogram {
    if is_stale(point.flags) {
        return IntHistogram { sum: STALE_NAN, schema: CUSTOM_BUCKETS_SCHEMA, ..IntHistogram::default() };
    }
    let counts: Vec<(i64, u64)> = (0..).zip(point.bucket_counts.iter().copied()).collect();
    let (positive_spans, positive) = sparse(&counts, 0);
    IntHistogram {
        reset_hint: hint,
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        positive,
        custom_values: point.explicit_bounds.clone(),
        ..IntHistogram::default()
    }
}

/// Buckets by index, `2^down` neighbours merged into one.
pub(super) fn merged(counts: &[u64], offset: i64, down: i32) -> Vec<(i64, u64)> {
    let mut merged: Vec<(i64, u64)> = Vec::with_capacity(counts.len());
    for (index, &count) in (offset..).zip(counts) {
        let index = index >> down;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// Spans, and counts as differences; empty buckets at the ends and in long gaps are left out.
fn sparse(counts: &[(i64, u64)], shift: i64) -> (Vec<Span>, Vec<i64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut deltas = Vec::new();
    let (mut next, mut previous) = (0, 0_i64);
    for &(index, count) in counts.iter().filter(|(_, count)| *count != 0) {
        let index = index + shift;
        let gap = index - next;
        let short = |gap: i64| i32::try_from(gap).unwrap_or(i32::MAX);
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    deltas.push(-previous);
                    previous = 0;
                }
                span.length += short(gap).cast_unsigned() + 1;
            }
            _ => spans.push(Span { offset: short(gap), length: 1 }),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - previous);
        previous = count;
        next = index + 1;
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(10.0),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn buckets_are_moved_by_one_and_gaps_left_out() {
        let histogram = exponential(&point(3, -2, &[0, 2, 0, 3, 0, 0, 0, 1]), ResetHint::Unknown).unwrap();
        assert_eq!(histogram.validate(), Ok(()));
        assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 3 }, Span { offset: 3, length: 1 }]);
        assert_eq!(histogram.positive, [2, -2, 3, -2]);
        let finer = exponential(&point(10, 4, &[1, 1, 1, 1, 5]), ResetHint::Gauge).unwrap();
        assert_eq!((finer.schema, finer.reset_hint), (8, ResetHint::Gauge));
        assert_eq!(
            (&finer.positive_spans[..], &finer.positive[..]),
            (&[Span { offset: 2, length: 2 }][..], &[4, 1][..])
        );
        assert!(
            exponential(&point(-5, 0, &[1]), ResetHint::Unknown).unwrap_err().contains("Scale must be >= -4, was -5")
        );
    }

    #[test]
    fn explicit_bounds_become_custom_buckets() {
        let point = HistogramDataPoint {
            count: 6,
            sum: Some(2.0),
            bucket_counts: vec![0, 1, 2, 3],
            explicit_bounds: vec![1.0, 2.0, 3.0],
            ..HistogramDataPoint::default()
        };
        let histogram = explicit(&point, ResetHint::Unknown);
        assert_eq!(histogram.validate(), Ok(()));
        assert_eq!(
            (histogram.positive_spans[0], &histogram.positive[..]),
            (Span { offset: 1, length: 3 }, &[1, 1, 1][..])
        );
        let stale = explicit(&HistogramDataPoint { flags: 1, ..point }, ResetHint::Unknown);
        assert!(model::sample::is_stale(stale.sum));
    }
}

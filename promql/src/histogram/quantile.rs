//! Quantiles and fractions of native histograms.

use model::histogram::FloatHistogram;

use super::Bucket;
use super::bounds;

/// What NaN observations did to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanNote {
    /// The rank falls among them.
    ResultIsNan,
    /// They count as the greatest.
    SkewedHigher,
    /// They belong to no fraction.
    Excluded,
}

/// The `q`-quantile.
pub(crate) fn quantile(q: f64, h: &FloatHistogram) -> (f64, Option<NanNote>) {
    match () {
        () if q < 0.0 => return (f64::NEG_INFINITY, None),
        () if q > 1.0 => return (f64::INFINITY, None),
        () if h.count == 0.0 || q.is_nan() => return (f64::NAN, None),
        () => {}
    }
    // NaN observations are in no bucket: then ranks only count from below.
    let forward = h.sum.is_nan() || q < 0.5;
    let buckets: Vec<Bucket> = if forward { bounds::all(h).collect() } else { bounds::all(h).rev().collect() };
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    let mut buckets = buckets.into_iter();
    let (mut bucket, mut count) =
        (Bucket { lower: 0.0, upper: 0.0, lower_included: true, upper_included: true, count: 0.0 }, 0.0);
    for next in buckets.by_ref() {
        bucket = next;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    if h.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else {
        one_sided_zero_bucket(h, &mut bucket, false);
    }
    count = count.min(h.count);
    if count < rank {
        let nan = h.sum.is_nan();
        return if nan { (f64::NAN, Some(NanNote::ResultIsNan)) } else { (bucket.upper, None) };
    }
    rank = if forward { rank - (count - bucket.count) } else { count - rank };
    if h.sum.is_nan() {
        // Upstream goes through the rest to see whether NaNs were observed, and then looks at the last bucket.
        for next in buckets {
            bucket = next;
            count += bucket.count;
        }
    }
    let note = (h.sum.is_nan() && count < h.count).then_some(NanNote::SkewedHigher);
    (inside(h, &bucket, rank / bucket.count), note)
}

/// A zero bucket of a histogram with buckets on one side only lies on that side. `touching`: also one of no width.
fn one_sided_zero_bucket(h: &FloatHistogram, bucket: &mut Bucket, touching: bool) -> bool {
    let inner = bucket.lower < 0.0 && bucket.upper > 0.0;
    let zero = inner || (touching && bucket.lower <= 0.0 && bucket.upper >= 0.0);
    if zero {
        match (h.negative.is_empty(), h.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
    zero
}

/// The value that far into the bucket.
fn inside(h: &FloatHistogram, bucket: &Bucket, fraction: f64) -> f64 {
    if h.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        return (lower + (upper - lower) * fraction).exp2();
    }
    -(upper + (lower - upper) * (1.0 - fraction)).exp2()
}

/// Which part of the observations lies between `lower` and `upper`.
pub(crate) fn fraction(lower: f64, upper: f64, h: &FloatHistogram) -> (f64, Option<NanNote>) {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let mut note = None;
    let mut count = h.count;
    if h.sum.is_nan() {
        count = bounds::all(h).map(|b| b.count).sum();
        note = (count < h.count).then_some(NanNote::Excluded);
    }
    let rank = |value| rank_of(value, h).map_or(count, |rank: f64| rank.min(count));
    ((rank(upper) - rank(lower)) / h.count, note)
}

/// How many observations are at or below `value`; `None` if all buckets are.
fn rank_of(value: f64, h: &FloatHistogram) -> Option<f64> {
    let mut rank = 0.0;
    for mut bucket in bounds::all(h) {
        let zero = one_sided_zero_bucket(h, &mut bucket, true);
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            let linear = h.uses_custom_buckets() || zero;
            if linear && bucket.lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(rank + bucket.count * bucket.fraction_below(value, linear));
        }
        rank += bucket.count;
    }
    None
}

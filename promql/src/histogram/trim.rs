//! `</` and `>/`: the part of a histogram below or above a value.

use model::histogram::FloatHistogram;

use super::bounds::{self, Bucket};
use super::compact;

/// What is kept of a bucket, and the value its observations are taken to have.
type Kept = (f64, f64);

/// Keeps what lies below `value` (`upper`) or above it; the sum is estimated anew if anything goes.
pub(crate) fn trimmed(h: &FloatHistogram, value: f64, upper: bool) -> FloatHistogram {
    let mut result = h.clone();
    let custom = h.uses_custom_buckets();
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let mut side = |spans: &[model::histogram::Span], counts: &mut [f64], positive: bool| {
        let indices: Vec<i32> = bounds::indexed(spans, counts).map(|(index, _)| index).collect();
        let mut filled = false;
        for (index, kept) in indices.into_iter().zip(counts.iter_mut()).filter(|(_, kept)| **kept != 0.0) {
            filled = true;
            let (low, high) = (bounds::bound(h, index - 1), bounds::bound(h, index));
            let (lower, upper_bound) = if positive { (low, high) } else { (-high, -low) };
            let bucket = Bucket { lower, upper: upper_bound, lower_included: true, upper_included: true, count: *kept };
            let (keep, middle) = trim_bucket(&bucket, value, upper, positive, custom);
            count += keep;
            sum += middle * keep;
            changed |= keep != *kept;
            *kept = keep;
        }
        filled
    };
    let has_positive = side(&h.positive_spans, &mut result.positive, true);
    let has_negative = side(&h.negative_spans, &mut result.negative, false);
    if h.zero_count > 0.0 {
        let (keep, middle) = trim_zero(h, value, upper, (has_negative, has_positive));
        changed |= keep != h.zero_count;
        result.zero_count = keep;
        count += keep;
        sum += middle * keep;
    }
    if changed {
        (result.count, result.sum) = (count, sum);
        compact(&mut result);
    }
    result
}

fn trim_bucket(b: &Bucket, value: f64, upper: bool, positive: bool, custom: bool) -> Kept {
    let whole = if upper { b.upper <= value } else { b.lower >= value };
    if whole {
        return (b.count, middle(b.lower, b.upper, positive, custom));
    }
    let outside = if upper { b.lower >= value } else { b.upper <= value };
    if outside {
        return (0.0, 0.0);
    }
    if b.lower == f64::NEG_INFINITY || b.upper == f64::INFINITY {
        return trim_endless(b, value, upper);
    }
    let below = b.count * b.fraction_below(value, custom);
    if upper {
        (below, middle(b.lower, value, positive, custom))
    } else {
        (b.count - below, middle(value, b.upper, positive, custom))
    }
}

/// A bucket without an end: how its observations are spread is not known.
fn trim_endless(b: &Bucket, value: f64, upper: bool) -> Kept {
    if b.lower == f64::NEG_INFINITY {
        // With a positive upper bound the observations are taken to begin at 0.
        let from_zero = b.upper > 0.0 && b.upper.is_finite();
        return match (upper, from_zero) {
            (true, true) if value > 0.0 => (b.count * value / b.upper, value / 2.0),
            (true, _) if b.upper <= 0.0 => (b.count, value),
            (false, true) if value >= 0.0 => (b.count * (1.0 - value / b.upper), f64::midpoint(value, b.upper)),
            _ => (0.0, 0.0),
        };
    }
    if upper { (0.0, 0.0) } else { (b.count, value) }
}

fn trim_zero(h: &FloatHistogram, value: f64, upper: bool, (has_negative, has_positive): (bool, bool)) -> Kept {
    let low = if has_positive && !has_negative { 0.0 } else { -h.zero_threshold };
    let high = if has_negative && !has_positive { 0.0 } else { h.zero_threshold };
    let whole = (h.zero_count, f64::midpoint(low, high));
    match (upper, value <= low, value >= high) {
        (true, true, _) | (false, false, true) => (0.0, 0.0),
        (true, _, true) | (false, true, _) => whole,
        (true, ..) => (h.zero_count * (value - low) / (high - low), f64::midpoint(low, value)),
        (false, ..) => (h.zero_count * (high - value) / (high - low), f64::midpoint(value, high)),
    }
}

/// The value the observations between two bounds are taken to have.
fn middle(low: f64, high: f64, positive: bool, linear: bool) -> f64 {
    match (low.is_infinite(), high.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if high > 0.0 => high / 2.0,
        (true, false) => high,
        (false, true) => low,
        (false, false) if linear => f64::midpoint(low, high),
        (false, false) => {
            let mean = (low * high).abs().sqrt();
            if positive { mean } else { -mean }
        }
    }
}

//! Arithmetic of native histograms in float form.

mod bounds;
mod over;
mod quantile;
mod reset;
mod trim;
mod wide;

use model::histogram::{FloatHistogram, Span};
use model::number::print_float_general;

pub use self::bounds::Bucket;
pub(crate) use self::over::{average, change, extended_increase, increase, resets, since_zero, smoothed_value, sum};
pub(crate) use self::quantile::{NanNote, fraction, quantile};
pub(crate) use self::reset::{is_reset, keep_totals, stored_hint};
pub(crate) use self::trim::trimmed;
pub(crate) use self::wide::Accumulator;
use self::wide::Wide;
use crate::function::HistogramPart;
use crate::kernel::kahan::Sum;

/// One has exponential buckets, the other custom ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// A sum or difference, and what was odd about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Combined {
    pub(crate) histogram: FloatHistogram,
    /// One said that its counter was reset, the other that it was not.
    pub(crate) collision: bool,
    /// Custom bounds differed and were cut down to those in common.
    pub(crate) reconciled: bool,
}

/// `a + b`
pub(crate) fn add(a: &FloatHistogram, b: &FloatHistogram) -> Result<Combined, Incompatible> {
    combine(a, b, 1.0)
}

/// `a - b`
pub(crate) fn subtract(a: &FloatHistogram, b: &FloatHistogram) -> Result<Combined, Incompatible> {
    combine(a, b, -1.0)
}

fn combine(a: &FloatHistogram, b: &FloatHistogram, sign: f64) -> Result<Combined, Incompatible> {
    let mut wide = Wide::of(a);
    let odd = wide.add(b, sign)?;
    Ok(Combined { histogram: wide.finish(), collision: odd.collision, reconciled: odd.reconciled })
}

/// Multiplies all counts and the sum. A negative factor makes a gauge of it.
pub(crate) fn scale(h: &mut FloatHistogram, factor: f64) {
    h.zero_count *= factor;
    h.count *= factor;
    h.sum *= factor;
    h.positive.iter_mut().chain(&mut h.negative).for_each(|count| *count *= factor);
    if factor < 0.0 {
        h.reset_hint = model::histogram::ResetHint::Gauge;
    }
}

/// A scaled copy.
pub(crate) fn scaled(h: &FloatHistogram, factor: f64) -> FloatHistogram {
    let mut copy = h.clone();
    scale(&mut copy, factor);
    copy
}

/// A copy with everything divided; division by zero leaves no buckets.
pub(crate) fn divided(h: &FloatHistogram, divisor: f64) -> FloatHistogram {
    let mut copy = h.clone();
    copy.zero_count /= divisor;
    copy.count /= divisor;
    copy.sum /= divisor;
    if divisor == 0.0 {
        (copy.positive, copy.negative) = (Vec::new(), Vec::new());
        (copy.positive_spans, copy.negative_spans) = (Vec::new(), Vec::new());
        return copy;
    }
    copy.positive.iter_mut().chain(&mut copy.negative).for_each(|count| *count /= divisor);
    if divisor < 0.0 {
        copy.reset_hint = model::histogram::ResetHint::Gauge;
    }
    compact(&mut copy);
    copy
}

/// Drops empty buckets and joins spans that touch.
pub(crate) fn compact(h: &mut FloatHistogram) {
    (h.positive_spans, h.positive) = compacted(&h.positive_spans, &h.positive);
    (h.negative_spans, h.negative) = compacted(&h.negative_spans, &h.negative);
}

fn compacted(spans: &[Span], counts: &[f64]) -> (Vec<Span>, Vec<f64>) {
    from_indexed(bounds::indexed(spans, counts).filter(|(_, count)| *count != 0.0))
}

/// Counts from the first filled bucket to the last, those between without a gap, and the index of the first.
pub(crate) fn without_gaps(spans: &[Span], counts: &[f64]) -> (i32, Vec<f64>) {
    let filled: Vec<(i32, f64)> = bounds::indexed(spans, counts).filter(|(_, count)| *count != 0.0).collect();
    let (Some((first, _)), Some((last, _))) = (filled.first(), filled.last()) else { return (0, Vec::new()) };
    let mut all = vec![0.0; last.abs_diff(*first) as usize + 1];
    for (index, count) in &filled {
        all[index.abs_diff(*first) as usize] = *count;
    }
    (*first, all)
}

/// Spans and counts of buckets given in rising order.
fn from_indexed(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span { offset: index - next, length: 1 }),
        }
        counts.push(count);
        next = index + 1;
    }
    (spans, counts)
}

/// Whether both are the same: the same buckets, empty ones included, all numbers the same by bits.
pub(crate) fn equal(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let same_buckets = |a_spans: &[Span], a_counts: &[f64], b_spans: &[Span], b_counts: &[f64]| {
        a_counts.len() == b_counts.len()
            && bounds::indexed(a_spans, a_counts)
                .zip(bounds::indexed(b_spans, b_counts))
                .all(|(x, y)| x.0 == y.0 && x.1.to_bits() == y.1.to_bits())
    };
    a.schema == b.schema
        && a.count.to_bits() == b.count.to_bits()
        && a.sum.to_bits() == b.sum.to_bits()
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && a.zero_count.to_bits() == b.zero_count.to_bits()
        && same_buckets(&a.positive_spans, &a.positive, &b.positive_spans, &b.positive)
        && same_buckets(&a.negative_spans, &a.negative, &b.negative_spans, &b.negative)
}

/// The filled buckets from the lowest on, as the HTTP API lists them.
pub fn filled_buckets(h: &FloatHistogram) -> impl Iterator<Item = Bucket> {
    bounds::all(h).filter(|bucket| bucket.count != 0.0)
}

/// `{count:3, sum:4.5, (1,2]:3}`
pub fn print(h: &FloatHistogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", print_float_general(h.count), print_float_general(h.sum));
    for bucket in bounds::unclipped(h).filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_included { '[' } else { '(' };
        let close = if bucket.upper_included { ']' } else { ')' };
        let [low, high, count] = [bucket.lower, bucket.upper, bucket.count].map(print_float_general);
        text.push_str(&format!(", {open}{low},{high}{close}:{count}"));
    }
    text.push('}');
    text
}

/// A number that describes the histogram.
pub(crate) fn part(part: HistogramPart, h: &FloatHistogram) -> f64 {
    match part {
        HistogramPart::Avg => h.sum / h.count,
        HistogramPart::Count => h.count,
        HistogramPart::Sum => h.sum,
        HistogramPart::Stdvar => variance(h),
        HistogramPart::Stddev => variance(h).sqrt(),
    }
}

/// Estimated from one value per bucket: the arithmetic middle of custom ones, the geometric of exponential ones.
fn variance(h: &FloatHistogram) -> f64 {
    let mean = h.sum / h.count;
    let mut squares = Sum::default();
    for bucket in bounds::all(h).filter(|bucket| bucket.count != 0.0) {
        let middle = if h.uses_custom_buckets() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt() * bucket.upper.signum()
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    (squares.sum + squares.lost) / h.count
}

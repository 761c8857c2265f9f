//! The bounds of buckets, and walks over all buckets of a histogram.

use model::histogram::{FloatHistogram, Span};

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether observations of the lower bound itself are in it.
    pub lower_included: bool,
    /// Whether observations of the upper bound itself are in it.
    pub upper_included: bool,
    /// Observations in it.
    pub count: f64,
}

impl Bucket {
    /// Which part of the bucket's width lies at or below `value`, which is inside its finite bounds: linear, or on a
    /// logarithmic scale as exponential buckets are spaced.
    pub(crate) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, value_log] = [self.lower, self.upper, value].map(|v| v.abs().log2());
        if value > 0.0 { (value_log - lower) / (upper - lower) } else { 1.0 - (value_log - upper) / (lower - upper) }
    }
}

/// `2^(1/2)`, `2^(1/4)`, ... `2^(1/256)`. The first is rounded down: upstream's bounds come of that, to the last bit.
const ROOTS: [f64; 8] = [
    std::f64::consts::SQRT_2.next_down(),
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_7,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The upper bound of exponential bucket `index`: `2^(index * 2^-schema)`.
pub(crate) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let exponent = if schema < 0 { index.saturating_mul(1 << -schema.max(-30)) } else { index >> schema.min(30) };
    let part = if schema > 0 { index & ((1 << schema.min(30)) - 1) } else { 0 };
    // The last finite bucket ends at the largest float, the one after it at infinity.
    if exponent == 1024 && part == 0 {
        return f64::MAX;
    }
    let bits = (1..=schema).zip(ROOTS).filter(|(bit, _)| part >> (schema - bit) & 1 == 1);
    bits.fold(1.0, |product, (_, root)| product * root) * f64::from(exponent).exp2()
}

/// The upper bound of bucket `index`, of either kind.
pub(crate) fn bound(h: &FloatHistogram, index: i32) -> f64 {
    bound_of(h.schema, &h.custom_values, index)
}

pub(crate) fn bound_of(schema: i32, custom: &[f64], index: i32) -> f64 {
    if schema != model::histogram::CUSTOM_BUCKETS_SCHEMA {
        return exponential_bound(index, schema);
    }
    match usize::try_from(index) {
        Err(_) => f64::NEG_INFINITY,
        Ok(index) => custom.get(index).copied().unwrap_or(f64::INFINITY),
    }
}

/// Counts with the index of their bucket.
pub(crate) fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut start = 0;
    let indices = spans.iter().flat_map(move |span| {
        let first = start + span.offset;
        start = first + span.length as i32;
        first..start
    });
    indices.zip(counts.iter().copied())
}

fn positive(h: &FloatHistogram, index: i32, count: f64) -> Bucket {
    let (lower, upper) = (bound(h, index - 1), bound(h, index));
    let custom = h.uses_custom_buckets();
    Bucket { lower, upper, lower_included: custom && index == 0, upper_included: true, count }
}

fn negative(h: &FloatHistogram, index: i32, count: f64) -> Bucket {
    let (lower, upper) = (-bound(h, index), -bound(h, index - 1));
    Bucket { lower, upper, lower_included: true, upper_included: false, count }
}

/// All buckets from the lowest on, with their own bounds.
pub(crate) fn unclipped(h: &FloatHistogram) -> impl Iterator<Item = Bucket> {
    let mut below: Vec<Bucket> =
        indexed(&h.negative_spans, &h.negative).map(|(index, count)| negative(h, index, count)).collect();
    below.reverse();
    let zero = (h.zero_count != 0.0).then_some(Bucket {
        lower: -h.zero_threshold,
        upper: h.zero_threshold,
        lower_included: true,
        upper_included: true,
        count: h.zero_count,
    });
    let above: Vec<Bucket> =
        indexed(&h.positive_spans, &h.positive).map(|(index, count)| positive(h, index, count)).collect();
    below.into_iter().chain(zero).chain(above)
}

/// All buckets from the lowest on; those that reach into the zero bucket end at its threshold. A zero bucket with less
/// than nothing in it is left out.
pub(crate) fn all(h: &FloatHistogram) -> impl DoubleEndedIterator<Item = Bucket> {
    let threshold = h.zero_threshold;
    let is_zero = |bucket: &Bucket| bucket.lower == -threshold && bucket.upper == threshold;
    let buckets: Vec<Bucket> = unclipped(h)
        .filter(|bucket| bucket.count > 0.0 || h.uses_custom_buckets() || !is_zero(bucket))
        .map(|mut bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            } else if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        })
        .collect();
    buckets.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_upstream_to_the_last_bit() {
        let check =
            |index, schema, expected: f64| assert_eq!(exponential_bound(index, schema), expected, "{index} {schema}");
        check(-1, 1, 0.7071067811865475);
        check(1, 1, 2.0 * 0.7071067811865475);
        check(3, 1, 2.82842712474619);
        check(-1, 2, 0.8408964152537144);
        check(7, 3, 1.8340080864093422);
        check(10, 8, 1.0274459491187635);
        check(5, 0, 32.0);
        check(3, -2, 4096.0);
        check(1024, 0, f64::MAX);
        check(1025, 0, f64::INFINITY);
        check(2048, 1, f64::MAX);
    }
}

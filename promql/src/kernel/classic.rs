//! Quantiles and fractions of classic histograms: cumulative counts by upper bound.

/// Relative differences between neighbouring counts that only rounding can have made.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// A bucket: how many observations are at or below the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) bound: f64,
    pub(crate) count: f64,
}

/// Where counts fell although they must rise, and were raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Raised {
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) max_difference: f64,
}

/// Sorts by bound and joins equal bounds; `false` if there is no bucket for everything.
fn prepare(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// Whether two numbers differ by rounding only.
pub(crate) fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (difference, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

fn raise(buckets: &mut [Bucket]) -> Option<Raised> {
    let mut raised: Option<Raised> = None;
    let mut previous = buckets.first()?.count;
    for bucket in buckets.iter_mut().skip(1) {
        let count = bucket.count;
        if count == previous {
            continue;
        }
        if almost_equal(previous, count, SMALL_DIFFERENCE) {
            bucket.count = previous;
        } else if count < previous {
            bucket.count = previous;
            let so_far =
                raised.get_or_insert(Raised { lowest: bucket.bound, highest: bucket.bound, max_difference: 0.0 });
            so_far.lowest = so_far.lowest.min(bucket.bound);
            so_far.highest = so_far.highest.max(bucket.bound);
            so_far.max_difference = so_far.max_difference.max(previous - count);
        } else {
            previous = count;
        }
    }
    raised
}

/// The `q`-quantile, and where the counts had to be raised.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Raised>) {
    match () {
        () if q.is_nan() => return (f64::NAN, None),
        () if q < 0.0 => return (f64::NEG_INFINITY, None),
        () if q > 1.0 => return (f64::INFINITY, None),
        () if !prepare(buckets) => return (f64::NAN, None),
        () => {}
    }
    let raised = raise(buckets);
    (quantile_of(q, buckets), raised)
}

fn quantile_of(q: f64, buckets: &[Bucket]) -> f64 {
    let highest = buckets.len() - 1;
    let observations = buckets[highest].count;
    if highest == 0 || observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let at = buckets[..highest].partition_point(|b| !reaches(b.count, rank));
    if at == highest {
        return buckets[highest - 1].bound;
    }
    let Bucket { bound: end, mut count } = buckets[at];
    if at == 0 && end <= 0.0 {
        return end;
    }
    let mut start = 0.0;
    if at > 0 {
        start = buckets[at - 1].bound;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    start + (end - start) * (rank / count)
}

/// Whether a count is at least the rank; NaN is not.
fn reaches(count: f64, rank: f64) -> bool {
    count >= rank
}

/// Which part of the observations lies between `lower` and `upper`.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, count) - rank_of(lower, buckets, count)) / count
}

/// How many observations are at or below `value`.
fn rank_of(value: f64, buckets: &[Bucket], count: f64) -> f64 {
    // Without a bound below zero, all observations are taken to be positive.
    let mut start = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        if start >= value {
            break;
        }
        if bucket.bound > value {
            rank = if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - start) / (bucket.bound - start)
            };
            return rank.min(count);
        }
        rank = bucket.count;
        start = bucket.bound;
    }
    rank.min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    #[test]
    fn quantiles_are_interpolated_in_their_bucket() {
        let all = [(1.0, 10.0), (f64::INFINITY, 30.0), (2.0, 20.0)];
        let check = |q: f64, expected: f64| assert_eq!(quantile(q, &mut buckets(&all)).0, expected, "{q}");
        check(1.0 / 6.0, 0.5);
        check(0.5, 1.5);
        check(0.9, 2.0);
        assert!(quantile(0.5, &mut buckets(&[(1.0, 1.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_raised() {
        let mut falling = buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 12.0)]);
        let (_, raised) = quantile(0.5, &mut falling);
        assert_eq!(raised, Some(Raised { lowest: 2.0, highest: 2.0, max_difference: 2.0 }));
    }

    #[test]
    fn fractions_are_differences_of_ranks() {
        let all = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        let check = |lower, upper, expected| assert_eq!(fraction(lower, upper, &mut buckets(&all)), expected);
        check(0.0, 1.0, 0.5);
        check(0.5, 1.5, 0.5);
        check(f64::NEG_INFINITY, f64::INFINITY, 1.0);
        check(3.0, 2.0, 0.0);
    }
}

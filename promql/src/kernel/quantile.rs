//! The quantile of a list of values.

use std::cmp::Ordering;

/// By value; NaN is the smallest.
pub(crate) fn by_value(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    }
}

/// The `q`-quantile of `values`, which are sorted on the way. Between two ranks the value lies between theirs;
/// NaN for no values or a NaN `q`, an infinity for a `q` beyond 0 and 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(by_value);
    quantile_of_sorted(q, values)
}

/// As [`quantile`], of values sorted [by value](by_value).
pub(crate) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min((values.len() - 1) as f64);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_interpolated() {
        let check = |q: f64, values: &[f64], expected: f64| {
            let found = quantile(q, &mut values.to_vec());
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{q} of {values:?}: {found}");
        };
        check(0.5, &[3.0, 1.0, 2.0], 2.0);
        check(0.8, &[0.0, 1.0, 2.0], 1.6);
        check(0.0, &[f64::NAN, 1.0], f64::NAN);
        check(1.0, &[f64::NAN, 1.0], 1.0);
        check(-1.0, &[1.0], f64::NEG_INFINITY);
        check(1.1, &[1.0], f64::INFINITY);
        check(0.5, &[], f64::NAN);
        check(f64::NAN, &[1.0], f64::NAN);
    }
}

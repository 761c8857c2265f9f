//! Compensated sums and means of many windows at a time. Each is added up in its own order, one value after the other,
//! so that the results are those of one window after the other bit by bit; side by side they do not wait for each other.

use super::kahan::{Mean, Sum};

/// Windows worked on together.
const LANES: usize = 8;

/// What to make of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    Sum,
    Mean,
}

/// Folds every window, given as first index and one past the last, none of them empty.
pub(crate) fn fold(fold: Fold, values: &[f64], windows: &[(usize, usize)], mut visit: impl FnMut(usize, f64)) {
    let mut groups = windows.chunks_exact(LANES);
    for (group, chunk) in groups.by_ref().enumerate() {
        let folded = together(fold, values, chunk);
        for (lane, (value, (from, to))) in folded.iter().zip(chunk).enumerate() {
            let value = value.unwrap_or_else(|| alone(fold, &values[*from..*to]));
            visit(group * LANES + lane, value);
        }
    }
    let rest = groups.remainder();
    for (i, (from, to)) in rest.iter().enumerate() {
        visit(windows.len() - rest.len() + i, alone(fold, &values[*from..*to]));
    }
}

fn alone(fold: Fold, window: &[f64]) -> f64 {
    match fold {
        Fold::Sum => {
            let mut sum = Sum::default();
            window.iter().for_each(|v| sum.add(*v));
            sum.total()
        }
        Fold::Mean => {
            let mut mean = Mean::default();
            window.iter().for_each(|v| mean.add(*v));
            mean.value()
        }
    }
}

/// The folds of [`LANES`] windows; `None` where a sum becomes infinite on its way, which a mean has to go around.
fn together(fold: Fold, values: &[f64], windows: &[(usize, usize)]) -> [Option<f64>; LANES] {
    let shortest = windows.iter().map(|(from, to)| to - from).min().unwrap_or(0);
    let lanes: [&[f64]; LANES] = std::array::from_fn(|lane| &values[windows[lane].0..windows[lane].0 + shortest]);
    // A mean begins with its first value, a sum with nothing.
    let (mut sum, skipped) = match fold {
        Fold::Sum => ([0.0; LANES], 0),
        Fold::Mean => (lanes.map(|lane| lane[0]), 1),
    };
    let mut lost = [0.0; LANES];
    let mut infinite = sum.map(f64::is_infinite);
    #[allow(clippy::needless_range_loop, reason = "all lanes are indexed by it")]
    for k in skipped..shortest {
        for lane in 0..LANES {
            let (before, value) = (sum[lane], lanes[lane][k]);
            let after = before + value;
            let (larger, smaller) = if before.abs() >= value.abs() { (before, value) } else { (value, before) };
            let compensated = lost[lane] + ((larger - after) + smaller);
            infinite[lane] |= after.is_infinite();
            lost[lane] = if after.is_infinite() { 0.0 } else { compensated };
            sum[lane] = after;
        }
    }
    std::array::from_fn(|lane| {
        let (from, to) = windows[lane];
        let mut total = Sum { sum: sum[lane], lost: lost[lane] };
        let mut overflows = infinite[lane];
        for value in &values[from + shortest..to] {
            total.add(*value);
            overflows |= total.sum.is_infinite();
        }
        match fold {
            Fold::Sum => Some(total.total()),
            Fold::Mean if overflows => None,
            Fold::Mean => {
                let count = (to - from) as f64;
                Some(total.sum / count + total.lost / count)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_by_side_is_as_one_after_the_other() {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for round in 0..40 {
            let values: Vec<f64> = (0..300)
                .map(|_| match next() % 40 {
                    0 if round > 20 => f64::INFINITY,
                    1 if round > 30 => f64::NAN,
                    2 if round > 10 => f64::MAX,
                    3 => -0.0,
                    4 => 1e100,
                    5 => -1e100,
                    _ => next() as f64 / 7.0 - 1e8,
                })
                .collect();
            let windows: Vec<(usize, usize)> =
                (0..61).map(|i| (i * 4, (i * 4 + 1 + next() as usize % 60).min(values.len()))).collect();
            for kind in [Fold::Sum, Fold::Mean] {
                let mut seen = 0;
                fold(kind, &values, &windows, |i, found| {
                    assert_eq!(i, seen);
                    seen += 1;
                    let expected = alone(kind, &values[windows[i].0..windows[i].1]);
                    let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
                    assert!(same, "{kind:?} of {:?}: {found} instead of {expected}", windows[i]);
                });
                assert_eq!(seen, windows.len());
            }
        }
    }
}

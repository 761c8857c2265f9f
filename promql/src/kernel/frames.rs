//! Windows over a series of floats alone: where each begins and ends is found once, so that kernels run over plain slices.

use super::kahan;
use super::quantile::{by_value, quantile_of_sorted};
use super::sliding::{Moments, Sums};

/// The samples of a window: the first index, and one past the last.
pub(crate) type Frame = (usize, usize);

/// Windows of fewer values are looked at: that is as fast, and rounds as upstream does.
const SLIDING_MIN: usize = 16;

/// The frames of `count` windows, given by their excluded start and included end, neither of which moves back.
pub(crate) fn frames(times: &[i64], count: usize, bounds: impl Fn(usize) -> (i64, i64)) -> Vec<Frame> {
    let (mut from, mut to) = (0, 0);
    (0..count)
        .map(|i| {
            let (start, end) = bounds(i);
            while to < times.len() && times[to] <= end {
                to += 1;
            }
            while from < to && times[from] <= start {
                from += 1;
            }
            (from, to)
        })
        .collect()
}

/// Writes what `kernel` makes of every frame that is not empty.
pub(crate) fn fill(frames: &[Frame], out: &mut [f64], mut kernel: impl FnMut(usize, Frame) -> f64) {
    for (i, &(from, to)) in frames.iter().enumerate() {
        if from < to {
            out[i] = kernel(i, (from, to));
        }
    }
}

/// For each value how many neighbours before it in the series differ as `counts` has it.
pub(crate) fn running_count(values: &[f64], counts: impl Fn(f64, f64) -> bool) -> Vec<u32> {
    let mut sum = 0;
    let pairs = values.iter().zip(values.get(1..).unwrap_or_default());
    let rest = pairs.map(|(a, b)| {
        sum += u32::from(counts(*a, *b));
        sum
    });
    std::iter::once(0).chain(rest).take(values.len()).collect()
}

/// Sums, or means: as differences of running sums where that tells the same, else value by value.
pub(crate) fn sums(values: &[f64], frames: &[Frame], mean: bool, out: &mut [f64]) {
    let sums = Sums::new(values);
    fill(frames, out, |_, (from, to)| {
        let count = (to - from) as f64;
        match sums.of(from, to) {
            Some(sum) if mean && to - from >= SLIDING_MIN => sum / count,
            _ if mean => kahan::mean(&values[from..to]),
            Some(sum) => sum,
            None => kahan::sum(&values[from..to]),
        }
    });
}

/// Population variances, or deviations.
pub(crate) fn variances(values: &[f64], frames: &[Frame], root: bool, out: &mut [f64]) {
    let is_wide = frames.iter().any(|(from, to)| to - from >= SLIDING_MIN);
    let moments = is_wide.then(|| Moments::new(values));
    fill(frames, out, |_, (from, to)| {
        let sliding = moments.as_ref().filter(|_| to - from >= SLIDING_MIN).and_then(|m| m.variance(from, to));
        let variance = sliding.unwrap_or_else(|| kahan::variance(&values[from..to]));
        if root { variance.sqrt() } else { variance }
    });
}

/// Quantiles: the values of the window are kept sorted while it slides.
pub(crate) fn quantiles(values: &[f64], frames: &[Frame], q: impl Fn(usize) -> f64, out: &mut [f64]) {
    let (mut sorted, mut held): (Vec<f64>, Frame) = (Vec::new(), (0, 0));
    fill(frames, out, |i, (from, to)| {
        if from >= held.1 {
            sorted.clear();
            held = (from, from);
        }
        let place = |sorted: &[f64], value: &f64| sorted.partition_point(|v| by_value(v, value).is_lt());
        for gone in &values[held.0..from] {
            sorted.remove(place(&sorted, gone));
        }
        if sorted.is_empty() {
            sorted.extend_from_slice(&values[from..to]);
            sorted.sort_unstable_by(by_value);
        } else {
            for new in &values[held.1..to] {
                sorted.insert(place(&sorted, new), *new);
            }
        }
        held = (from, to);
        quantile_of_sorted(q(i), &sorted)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64) -> Vec<f64> {
        let mut state = seed;
        (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = (state >> 40) as f64 / 7.0 - 1_000_000.0;
                match (seed % 4, state >> 59) {
                    (0, 0) => f64::NAN,
                    (0, 1) => f64::INFINITY,
                    (1, 2) => 1e100,
                    (1, 3) => -1e100,
                    (2, _) => (state >> 62) as f64 * 0.1,
                    _ => number,
                }
            })
            .collect()
    }

    #[test]
    fn sliding_is_as_looking_at_every_window() {
        let same = |found: f64, expected: f64, tolerance: f64| {
            found.to_bits() == expected.to_bits()
                || (found.is_nan() && expected.is_nan())
                || (found - expected).abs() <= tolerance * expected.abs()
        };
        for seed in 1..40 {
            let values = numbers(seed);
            let times: Vec<i64> = (0..values.len() as i64).map(|i| i * 10 + (i % 3)).collect();
            let width = (seed as i64 * 37) % 600;
            let frames = frames(&times, 320, |i| (i as i64 * 10 - width, i as i64 * 10));
            let mut outs = vec![vec![-7.0; frames.len()]; 4];
            sums(&values, &frames, false, &mut outs[0]);
            sums(&values, &frames, true, &mut outs[1]);
            variances(&values, &frames, false, &mut outs[2]);
            quantiles(&values, &frames, |_| 0.3, &mut outs[3]);
            for (i, &(from, to)) in frames.iter().enumerate() {
                let window: Vec<f64> = times
                    .iter()
                    .zip(&values)
                    .filter(|(t, _)| **t > i as i64 * 10 - width && **t <= i as i64 * 10)
                    .map(|(_, v)| *v)
                    .collect();
                assert_eq!(to - from, window.len());
                if window.is_empty() {
                    assert_eq!(outs[0][i], -7.0);
                    continue;
                }
                assert!(same(outs[0][i], kahan::sum(&window), 0.0), "{} {}", outs[0][i], kahan::sum(&window));
                assert!(same(outs[1][i], kahan::mean(&window), 3e-16));
                assert!(
                    same(outs[2][i], kahan::variance(&window), 1e-13),
                    "{seed} {} {}",
                    outs[2][i],
                    kahan::variance(&window)
                );
                assert!(same(outs[3][i], super::super::quantile::quantile(0.3, &mut window.clone()), 0.0));
            }
        }
    }

    #[test]
    fn neighbours_are_counted() {
        assert_eq!(running_count(&[1.0, 1.0, 2.0, 0.0], |a, b| a != b), [0, 0, 1, 2]);
        assert!(running_count(&[], |_, _| true).is_empty());
    }
}

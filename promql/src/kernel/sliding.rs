//! Windows that slide over one series, with state carried from one to the next. The results are those of looking at
//! every sample of every window, bit by bit: where that could not be kept, the windows are looked at.

use std::collections::VecDeque;

/// Sums of windows as differences of running sums, for series whose sums are exact whatever their order.
#[derive(Debug)]
pub(crate) struct ExactSums {
    /// `sums[i]` is the sum of the first `i` values.
    sums: Vec<f64>,
}

/// Up to here every whole number has a float of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Below this many values, looking at each is as fast.
const VALUES_MIN: usize = 16;

impl ExactSums {
    /// Whether all values are whole numbers, and so small that no sum of them is rounded.
    pub(crate) fn apply_to(values: &[f64]) -> bool {
        let mut size = 0.0;
        values.len() >= VALUES_MIN
            && values.iter().all(|value| {
                size += value.abs();
                // A negative zero is left to the other way: it may be the sign of a sum. NaN and infinities fail too.
                value.trunc() == *value && !(*value == 0.0 && value.is_sign_negative()) && size <= WHOLE_MAX
            })
    }

    /// `None` unless they [apply](Self::apply_to).
    pub(crate) fn new(values: &[f64]) -> Option<Self> {
        if !Self::apply_to(values) {
            return None;
        }
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for &value in values {
            sum += value;
            sums.push(sum);
        }
        Some(Self { sums })
    }

    /// The sum of `count` values from index `first` on.
    pub(crate) fn of(&self, first: usize, count: usize) -> f64 {
        self.sums[first + count] - self.sums[first]
    }
}

/// The greatest (or least) value of windows that never move back.
#[derive(Debug)]
pub(crate) struct Extreme<'a> {
    values: &'a [f64],
    greatest: bool,
    /// Indices of values that can still win, the best first; of equal ones all, in order.
    candidates: VecDeque<usize>,
    /// One past the last value seen.
    seen: usize,
}

impl<'a> Extreme<'a> {
    pub(crate) fn new(values: &'a [f64], greatest: bool) -> Self {
        Self { values, greatest, candidates: VecDeque::new(), seen: 0 }
    }

    /// The extreme of `count > 0` values from index `first` on: the first of equal ones; NaN only if all are.
    pub(crate) fn of(&mut self, first: usize, count: usize) -> f64 {
        let end = first + count;
        self.seen = self.seen.max(first);
        while self.seen < end {
            let value = self.values[self.seen];
            if !value.is_nan() {
                while let Some(last) = self.candidates.back() {
                    let beaten = if self.greatest { self.values[*last] < value } else { self.values[*last] > value };
                    if !beaten {
                        break;
                    }
                    self.candidates.pop_back();
                }
                self.candidates.push_back(self.seen);
            }
            self.seen += 1;
        }
        while self.candidates.front().is_some_and(|best| *best < first) {
            self.candidates.pop_front();
        }
        self.values[self.candidates.front().copied().unwrap_or(end - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::kahan::{Mean, Sum};

    /// The same values, looked at one by one.
    fn naive(window: &[f64], greatest: bool) -> f64 {
        let better = |new: f64, best: f64| if greatest { new > best } else { new < best };
        window.iter().skip(1).fold(window[0], |best, v| if better(*v, best) || best.is_nan() { *v } else { best })
    }

    fn numbers(seed: u64, whole: bool) -> Vec<f64> {
        let mut state = seed;
        (0..200)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = (state >> 40) as f64;
                match (whole, state >> 61) {
                    (false, 0) => f64::NAN,
                    (false, 1) => -0.0,
                    (false, 2) => 0.0,
                    (false, _) => number / 7.0 - 1_000_000.0,
                    (true, _) => number - 8_000_000.0,
                }
            })
            .collect()
    }

    #[test]
    fn extremes_are_those_of_every_window() {
        for seed in 1..20 {
            let values = numbers(seed, false);
            for greatest in [true, false] {
                let mut extreme = Extreme::new(&values, greatest);
                let mut first = 0;
                for end in 1..=values.len() {
                    // Windows grow and shrink, and sometimes jump ahead.
                    first = first.max(end.saturating_sub(1 + (end * seed as usize) % 23));
                    let expected = naive(&values[first..end], greatest);
                    assert_eq!(extreme.of(first, end - first).to_bits(), expected.to_bits(), "{first}..{end}");
                }
            }
        }
    }

    #[test]
    fn exact_sums_are_those_of_every_window() {
        for seed in 1..20 {
            let values = numbers(seed, true);
            let sums = ExactSums::new(&values).unwrap();
            for (first, end) in (1..=values.len()).map(|end| (end.saturating_sub(1 + end % 37), end)) {
                let (mut sum, mut mean) = (Sum::default(), Mean::default());
                values[first..end].iter().for_each(|v| {
                    sum.add(*v);
                    mean.add(*v);
                });
                let found = sums.of(first, end - first);
                assert_eq!(found.to_bits(), sum.total().to_bits());
                assert_eq!((found / (end - first) as f64).to_bits(), mean.value().to_bits());
            }
        }
        assert!(ExactSums::new(&numbers(1, false)).is_none());
        assert!(ExactSums::new(&[WHOLE_MAX / 8.0; 20]).is_none(), "sums would be rounded");
    }
}

//! Windows that slide over one series, with state carried from one to the next. Sums and extremes are those of looking at
//! every sample of every window, bit by bit; means and variances differ by what rounding takes in the looking. Where
//! neither could be kept, the windows are looked at.

use std::collections::VecDeque;

use super::double::Double;
use super::frames::running_count;

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

/// Sums of windows of any values.
#[derive(Debug)]
pub(crate) enum Sums {
    Exact(ExactSums),
    Running(RunningSums),
}

impl Sums {
    pub(crate) fn new(values: &[f64]) -> Self {
        ExactSums::new(values).map_or_else(|| Sums::Running(RunningSums::new(values)), Sums::Exact)
    }

    /// The sum of the values from index `from` up to `to`; `None` if they have to be looked at.
    #[inline]
    pub(crate) fn of(&self, from: usize, to: usize) -> Option<f64> {
        match self {
            Sums::Exact(sums) => Some(sums.of(from, to - from)),
            Sums::Running(sums) => sums.of(from, to),
        }
    }
}

/// Running sums in twice the precision.
///
/// Their differences are rounded once, as compensated sums are but for errors of the second order: 2^-17 units in the
/// last place or less, wherever [`RunningSums::of`] gives any.
#[derive(Debug)]
pub(crate) struct RunningSums {
    sums: Vec<Double>,
    /// How many of the first `i` values are infinite or NaN; these are left out of the sums.
    unfit: Vec<u32>,
    /// Of all values.
    total_size: f64,
}

impl RunningSums {
    fn new(values: &[f64]) -> Self {
        let (mut sum, mut unfit, mut total_size) = (Double::default(), 0, 0.0);
        let mut this = Self {
            sums: Vec::with_capacity(values.len() + 1),
            unfit: Vec::with_capacity(values.len() + 1),
            total_size: 0.0,
        };
        this.sums.push(sum);
        this.unfit.push(unfit);
        for &value in values {
            if value.is_finite() {
                sum = sum.plus_float(value);
                total_size += value.abs();
            } else {
                unfit += 1;
            }
            this.sums.push(sum);
            this.unfit.push(unfit);
        }
        Self { total_size, ..this }
    }

    fn of(&self, from: usize, to: usize) -> Option<f64> {
        if self.unfit[from] != self.unfit[to] {
            return None;
        }
        let sum = self.sums[to].minus(self.sums[from]).value();
        let (all, count) = (self.sums.len() as f64, (to - from) as f64);
        // What the running sums lost, and what compensated ones lose, both against the sum.
        let least = (all * TWO_TO_MINUS_34).max(count * count * TWO_TO_MINUS_36) * self.total_size;
        (sum.abs() > least).then_some(sum)
    }
}

const TWO_TO_MINUS_34: f64 = 1.0 / (1_u64 << 34) as f64;
const TWO_TO_MINUS_36: f64 = 1.0 / (1_u64 << 36) as f64;
const TWO_TO_MINUS_54: f64 = 1.0 / (1_u64 << 54) as f64;
/// Below it squares lose digits.
const SQUARE_MIN: f64 = 1e-200;

/// Running sums of distances from some value of the series, and of their squares.
#[derive(Debug)]
pub(crate) struct Moments {
    /// Sum and sum of squares of the first `i`.
    sums: Vec<(Double, Double)>,
    /// How many values differ from the one before; NaN and infinities always do.
    changes: Vec<u32>,
    unfit: Vec<u32>,
}

impl Moments {
    pub(crate) fn new(values: &[f64]) -> Self {
        let origin = values.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
        let (mut sum, mut squares, mut unfit) = (Double::default(), Double::default(), 0);
        let mut this = Self {
            sums: Vec::with_capacity(values.len() + 1),
            changes: running_count(values, |a, b| a != b || !a.is_finite()),
            unfit: Vec::with_capacity(values.len() + 1),
        };
        this.sums.push((sum, squares));
        this.unfit.push(unfit);
        for &value in values {
            if value.is_finite() {
                let distance = Double::difference(value, origin);
                sum = sum.plus(distance);
                squares = squares.plus(distance.square());
            } else {
                unfit += 1;
            }
            this.sums.push((sum, squares));
            this.unfit.push(unfit);
        }
        this
    }

    /// The population variance of the values from index `from` up to `to`, of which there is at least one; `None` if
    /// they have to be looked at.
    pub(crate) fn variance(&self, from: usize, to: usize) -> Option<f64> {
        if self.unfit[from] != self.unfit[to] {
            return None;
        }
        if self.changes[from] == self.changes[to - 1] {
            return Some(0.0);
        }
        let ((sum_to, squares_to), (sum_from, squares_from)) = (self.sums[to], self.sums[from]);
        let count = (to - from) as f64;
        let mean_part = sum_to.minus(sum_from).square().over(count);
        let spread = squares_to.minus(squares_from).minus(mean_part);
        let total = self.sums[self.sums.len() - 1].1.high;
        let least = total * self.sums.len() as f64 * TWO_TO_MINUS_54;
        (spread.value() > least.max(SQUARE_MIN)).then(|| spread.over(count).value())
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

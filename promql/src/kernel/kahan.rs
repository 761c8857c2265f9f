//! Compensated summation, as Kahan and Neumaier have it.

/// A running sum and what rounding took from it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl Sum {
    pub(crate) fn new(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }

    /// The sum with `value` added.
    #[inline]
    pub(crate) fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        // With infinities the compensation would be NaN; there is nothing to compensate then.
        let lost = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.lost + ((self.sum - sum) + value)
        } else {
            self.lost + ((value - sum) + self.sum)
        };
        Self { sum, lost }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        *self = self.plus(value);
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A running mean: of the sum as long as that does not overflow, incremental from then on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::new(value);
            return;
        }
        if !self.incremental {
            let next = self.sum.plus(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let kept = (self.count - 1.0) / self.count;
        let scaled = Sum { sum: kept * self.sum.sum, lost: kept * self.sum.lost };
        self.sum = scaled.plus(value / self.count);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.sum.sum + self.sum.lost
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}

/// The sum of values in their order.
pub(crate) fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|v| sum.add(*v));
    sum.total()
}

/// The mean of values in their order.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::default();
    values.iter().for_each(|v| mean.add(*v));
    mean.value()
}

/// The population variance of values in their order.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for &value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_takes_is_given_back() {
        let values = [1e100, 1.0, -1e100, 1.0];
        let mut sum = Sum::default();
        values.iter().for_each(|v| sum.add(*v));
        assert_eq!(sum.total(), 2.0);
        let mut mean = Mean::default();
        [f64::MAX, f64::MAX, f64::MAX].iter().for_each(|v| mean.add(*v));
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15, "the sum overflows, the mean does not");
        let mut infinite = Sum::default();
        [1.0, f64::INFINITY, 5.0].iter().for_each(|v| infinite.add(*v));
        assert_eq!(infinite.total(), f64::INFINITY);
    }
}

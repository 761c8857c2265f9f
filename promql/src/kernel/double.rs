//! Numbers of twice the precision, as the unevaluated sum of two floats: running sums that keep what rounding takes.

/// `high + low`, with `low` at most half a unit in the last place of `high`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Double {
    pub(crate) high: f64,
    pub(crate) low: f64,
}

/// The sum of two floats, exactly.
#[inline]
fn two_sum(a: f64, b: f64) -> Double {
    let high = a + b;
    let of_b = high - a;
    Double { high, low: (a - (high - of_b)) + (b - of_b) }
}

/// Both halves of a float's digits.
#[inline]
fn halves(a: f64) -> (f64, f64) {
    let scaled = 134_217_729.0 * a;
    let upper = scaled - (scaled - a);
    (upper, a - upper)
}

/// The product of two floats, exactly as long as it neither overflows nor comes near the smallest floats.
#[inline]
fn two_product(a: f64, b: f64) -> Double {
    let high = a * b;
    let ((a_upper, a_lower), (b_upper, b_lower)) = (halves(a), halves(b));
    let low = ((a_upper * b_upper - high) + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower;
    Double { high, low }
}

impl Double {
    /// `a - b`, exactly.
    #[inline]
    pub(crate) fn difference(a: f64, b: f64) -> Self {
        two_sum(a, -b)
    }

    #[inline]
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = two_sum(self.high, other.high);
        let low = sum.low + (self.low + other.low);
        let high = sum.high + low;
        Self { high, low: low - (high - sum.high) }
    }

    #[inline]
    pub(crate) fn plus_float(self, value: f64) -> Self {
        self.plus(Self { high: value, low: 0.0 })
    }

    #[inline]
    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    #[inline]
    pub(crate) fn square(self) -> Self {
        let product = two_product(self.high, self.high);
        let low = product.low + 2.0 * self.high * self.low;
        let high = product.high + low;
        Self { high, low: low - (high - product.high) }
    }

    #[inline]
    pub(crate) fn over(self, divisor: f64) -> Self {
        let high = self.high / divisor;
        let product = two_product(high, divisor);
        let low = ((self.high - product.high) - product.low + self.low) / divisor;
        Self { high, low }
    }

    /// The nearest float.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        self.high + self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_takes_is_kept() {
        let tenth = Double::difference(0.1, 0.0);
        assert_eq!(tenth.plus_float(1e16).plus_float(-1e16).value(), 0.1);
        let third = Double { high: 1.0, low: 0.0 }.over(3.0);
        assert_eq!(third.plus(third).plus(third).value(), 1.0);
        let wide = Double { high: 1.0, low: 1e-20 };
        assert_eq!(wide.square().minus(Double { high: 1.0, low: 0.0 }).value(), 2e-20);
    }
}

//! Binary operators between two floats.

use crate::ast::BinaryOp;

/// The value of an arithmetic operator.
#[inline]
pub(crate) fn compute(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::NAN,
    }
}

/// The answer of a comparison.
#[inline]
pub(crate) fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::Less => a < b,
        BinaryOp::GreaterOrEqual => a >= b,
        BinaryOp::LessOrEqual => a <= b,
        _ => false,
    }
}

/// What an operator makes of two numbers: comparisons give 1 or 0.
pub(crate) fn scalar(op: BinaryOp, a: f64, b: f64) -> f64 {
    if op.is_comparison() { f64::from(u8::from(compare(op, a, b))) } else { compute(op, a, b) }
}

/// Go's `math.Max`: NaN wins, but infinity wins over it.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () => a.max(b),
    }
}

/// Go's `math.Min`: NaN wins, but minus infinity wins over it.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

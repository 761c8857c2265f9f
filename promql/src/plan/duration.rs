//! Duration expressions to milliseconds, once the query's step and range are known.

use super::QueryTimes;
use crate::ast::{BinaryOp, DurationExpr, DurationNode, Length, Shift};
use crate::error::{BadRequest, Error};
use crate::token::Span;

/// Upstream's bound of a duration, in seconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// Resolves lengths of one query.
pub(super) struct Lengths {
    pub(super) times: QueryTimes,
}

impl Lengths {
    /// A range or step, which must be above zero.
    pub(super) fn positive(&self, length: &Length) -> Result<i64, Error> {
        match length {
            Length::Fixed(ms) => Ok((*ms).max(1)),
            Length::Computed(expr) => self.computed(expr, false).map(|ms| ms.max(1)),
        }
    }

    /// An offset, which may be anything; 0 if there is none.
    pub(super) fn offset(&self, shift: &Shift) -> Result<i64, Error> {
        match &shift.offset {
            None => Ok(0),
            Some(Length::Fixed(ms)) => Ok(*ms),
            Some(Length::Computed(expr)) => self.computed(expr, true),
        }
    }

    fn computed(&self, expr: &DurationExpr, may_be_negative: bool) -> Result<i64, Error> {
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return Err(self.fault(expr.span, "duration is NaN or infinite"));
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(self.fault(expr.span, "duration must be greater than 0"));
        }
        if !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) {
            return Err(self.fault(expr.span, "duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, Error> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        Ok(match &expr.node {
            DurationNode::Literal(number) => number.value,
            DurationNode::Step => seconds(self.times.step),
            DurationNode::QueryRange => seconds(self.times.end - self.times.start),
            DurationNode::Minus(inner) => -self.seconds(inner)?,
            DurationNode::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationNode::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationNode::Arithmetic(op, a, b) => {
                let (a, b) = (self.seconds(a)?, self.seconds(b)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Pow => a.powf(b),
                    BinaryOp::Mod if b == 0.0 => return Err(self.fault(expr.span, "modulo by zero")),
                    BinaryOp::Mod => a % b,
                    _ if b == 0.0 => return Err(self.fault(expr.span, "division by zero")),
                    _ => a / b,
                }
            }
        })
    }

    fn fault(&self, span: Span, message: &'static str) -> Error {
        Error::BadRequest(BadRequest::Duration { start: span.start, end: span.end, message })
    }
}

//! Expressions whose value is a number per step.

use super::{Context, drain, open};
use crate::ast::ValueType;
use crate::error::Error;
use crate::function::{Apply, Clock};
use crate::kernel::arithmetic;
use crate::plan::{Node, NodeKind};
use crate::value::Steps;

/// A number at every step.
#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    /// The same everywhere.
    Same(f64),
    /// One per step.
    Each(Vec<f64>),
}

impl Numbers {
    #[inline]
    pub(crate) fn at(&self, i: usize) -> f64 {
        match self {
            Numbers::Same(value) => *value,
            Numbers::Each(values) => values[i],
        }
    }

    pub(crate) fn all(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..count).map(|i| self.at(i))
    }

    fn map(self, map: impl Fn(f64) -> f64) -> Self {
        match self {
            Numbers::Same(value) => Numbers::Same(map(value)),
            Numbers::Each(values) => Numbers::Each(values.into_iter().map(map).collect()),
        }
    }

    fn with(self, other: Numbers, count: usize, combine: impl Fn(f64, f64) -> f64) -> Self {
        match (&self, &other) {
            (Numbers::Same(a), Numbers::Same(b)) => Numbers::Same(combine(*a, *b)),
            _ => Numbers::Each((0..count).map(|i| combine(self.at(i), other.at(i))).collect()),
        }
    }
}

/// The values of a scalar expression.
pub(crate) fn evaluate(ctx: &Context<'_>, node: &Node, steps: Steps) -> Result<Numbers, Error> {
    debug_assert!(node.value_type == ValueType::Scalar, "the checker lets only scalars come here");
    match &node.kind {
        NodeKind::Number(value) | NodeKind::Folded { value, .. } => Ok(Numbers::Same(*value)),
        NodeKind::StepInvariant(child) => {
            let value = evaluate(ctx, child, Steps::once(steps.start))?;
            Ok(Numbers::Same(value.at(0)))
        }
        NodeKind::Negate(child) => Ok(evaluate(ctx, child, steps)?.map(|v| -v)),
        NodeKind::Binary(binary) => {
            let lhs = evaluate(ctx, &binary.lhs, steps)?;
            let rhs = evaluate(ctx, &binary.rhs, steps)?;
            Ok(lhs.with(rhs, steps.count, |a, b| arithmetic::scalar(binary.op, a, b)))
        }
        NodeKind::Call { function, args } => call(ctx, function.apply, args, steps),
        _ => Ok(Numbers::Same(f64::NAN)),
    }
}

fn call(ctx: &Context<'_>, apply: Apply, args: &[Node], steps: Steps) -> Result<Numbers, Error> {
    match (apply, args) {
        (Apply::Clock(Clock::Time), _) => {
            Ok(Numbers::Each((0..steps.count).map(|i| steps.at(i) as f64 / 1000.0).collect()))
        }
        (Apply::Clock(Clock::Pi), _) => Ok(Numbers::Same(std::f64::consts::PI)),
        (Apply::Scalar, [vector]) => only_float(ctx, vector, steps),
        (Apply::MaxOf, [a, b]) => {
            Ok(evaluate(ctx, a, steps)?.with(evaluate(ctx, b, steps)?, steps.count, arithmetic::max))
        }
        (Apply::MinOf, [a, b]) => {
            Ok(evaluate(ctx, a, steps)?.with(evaluate(ctx, b, steps)?, steps.count, arithmetic::min))
        }
        // The other clocks are constants of the plan.
        _ => Ok(Numbers::Same(f64::NAN)),
    }
}

/// The one float of a vector; NaN where there is none or more.
fn only_float(ctx: &Context<'_>, vector: &Node, steps: Steps) -> Result<Numbers, Error> {
    let mut values = vec![f64::NAN; steps.count];
    let mut found = vec![0_u8; steps.count];
    let mut operator = open(ctx, vector, steps)?;
    for column in drain(operator.as_mut())? {
        for i in 0..steps.count {
            let Some(value) = column.points.float(i) else { continue };
            values[i] = if found[i] == 0 { value } else { f64::NAN };
            found[i] = 1;
        }
    }
    Ok(Numbers::Each(values))
}

//! How many series a part of a plan can have at most, told by what its selectors select: that is looked up once, and
//! nothing is read for it.

use super::{Context, scan, selector_range};
use crate::ast::{AggregateOp, Extension, ValueType};
use crate::error::Error;
use crate::plan::{Aggregate, Binary, Node, NodeKind};
use crate::value::Steps;

/// Whether the left side is known to have fewer series than the right one.
pub(super) fn left_is_smaller(ctx: &Context<'_>, binary: &Binary, steps: Steps) -> Result<bool, Error> {
    let left = series(ctx, &binary.lhs, steps)?;
    if left == Some(0) {
        return Ok(true);
    }
    let right = series(ctx, &binary.rhs, steps)?;
    Ok(left.zip(right).is_some_and(|(left, right)| left < right))
}

/// The most series that the node can have; `None` if that is not easily told.
fn series(ctx: &Context<'_>, node: &Node, steps: Steps) -> Result<Option<usize>, Error> {
    let selected = |select, before, window| {
        let range = selector_range(select, steps, before, 0);
        scan::select(ctx, select, range, steps.interval, window).map(|series| Some(series.len()))
    };
    match &node.kind {
        NodeKind::Select(select) if select.extension == Extension::None => selected(select, ctx.settings.lookback, 0),
        NodeKind::Range(range) if range.select.extension == Extension::None => {
            selected(&range.select, range.range, range.range)
        }
        NodeKind::StepInvariant(child) => series(ctx, child, Steps::once(steps.start)),
        NodeKind::Negate(child) => series(ctx, child, steps),
        NodeKind::Call { function, args } if function.keeps_labels() => {
            let mut vectors = args.iter().filter(|arg| arg.value_type != ValueType::Scalar);
            vectors.next().map_or(Ok(None), |arg| series(ctx, arg, steps))
        }
        NodeKind::Aggregate(aggregate) if is_one(aggregate) => Ok(Some(1)),
        NodeKind::Aggregate(aggregate) => series(ctx, &aggregate.child, steps),
        NodeKind::Binary(binary) => match (binary.lhs.value_type, binary.rhs.value_type) {
            (ValueType::Vector, ValueType::Scalar) => series(ctx, &binary.lhs, steps),
            (ValueType::Scalar, ValueType::Vector) => series(ctx, &binary.rhs, steps),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Whether all series go into one group.
fn is_one(aggregate: &Aggregate) -> bool {
    let many = aggregate.op.selects_series() || aggregate.op == AggregateOp::CountValues;
    !aggregate.without && aggregate.grouping.is_empty() && !many
}

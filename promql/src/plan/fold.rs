//! Scalar expressions of constants, computed once when the query is planned.

use super::{Node, NodeKind};
use crate::ast::ValueType;
use crate::function::{Apply, Clock};
use crate::kernel::arithmetic;

/// Folds the largest constant parts of a plan.
pub(super) fn fold(node: &mut Node) {
    if node.value_type == ValueType::Scalar
        && !matches!(node.kind, NodeKind::Number(_))
        && let Some(value) = constant(node)
    {
        let (value_type, span) = (node.value_type, node.span);
        let original = std::mem::replace(node, Node::new(NodeKind::Number(value), value_type, span));
        node.kind = NodeKind::Folded { value, original: Box::new(original) };
        return;
    }
    node.children_mut().into_iter().for_each(fold);
}

/// The value of a scalar that is the same whenever and on whatever data it is evaluated.
fn constant(node: &Node) -> Option<f64> {
    match &node.kind {
        NodeKind::Number(value) | NodeKind::Folded { value, .. } => Some(*value),
        NodeKind::StepInvariant(child) => constant(child),
        NodeKind::Negate(child) => constant(child).map(|value| -value),
        NodeKind::Binary(binary) => Some(arithmetic::scalar(binary.op, constant(&binary.lhs)?, constant(&binary.rhs)?)),
        NodeKind::Call { function, args } => match (function.apply, args.as_slice()) {
            (Apply::Clock(Clock::Pi), _) => Some(std::f64::consts::PI),
            (Apply::MaxOf, [a, b]) => Some(arithmetic::max(constant(a)?, constant(b)?)),
            (Apply::MinOf, [a, b]) => Some(arithmetic::min(constant(a)?, constant(b)?)),
            _ => None,
        },
        _ => None,
    }
}

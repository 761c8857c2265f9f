//! Sides of joins and set operators that need not be evaluated if the other side is empty.
//!
//! Only sides that can neither fail nor have anything to tell: selectors, and counts of them. As with matchers that are
//! pushed down, the samples of a side that is skipped are not counted, so nothing is skipped where counts are looked at.

use super::{Binary, Node, NodeKind};
use crate::ast::{AggregateOp, BinaryOp, Extension, ValueType};

/// Marks the sides wherever that cannot be seen in the result.
pub(super) fn mark(node: &mut Node) {
    if let NodeKind::Binary(binary) = &mut node.kind {
        binary.skippable = skippable(binary);
    }
    node.children_mut().into_iter().for_each(mark);
}

fn skippable(binary: &Binary) -> (bool, bool) {
    let fills = binary.matching.fill_left.is_some() || binary.matching.fill_right.is_some();
    let vectors = [&binary.lhs, &binary.rhs].iter().all(|side| side.value_type == ValueType::Vector);
    if !vectors || fills {
        return (false, false);
    }
    let (left, right) = (is_quiet(&binary.lhs), is_quiet(&binary.rhs));
    match binary.op {
        BinaryOp::Or => (false, false),
        // What is on the left stays without anything on the right.
        BinaryOp::Unless => (false, right),
        _ => (left, right),
    }
}

fn is_quiet(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Select(select) => select.extension == Extension::None,
        NodeKind::Aggregate(aggregate) => {
            matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group) && is_quiet(&aggregate.child)
        }
        NodeKind::StepInvariant(child) => is_quiet(child),
        _ => false,
    }
}

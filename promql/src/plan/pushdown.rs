//! Matchers of one side of `and` and `unless` that hold for the other side too: fewer series are read there.
//!
//! Only between plain selectors. Everywhere else a series that is filtered out could have been a fault or a warning of
//! the query, as two of a kind on the "one" side of a join are; a set operator on selectors has neither. But the samples
//! that are not read are not counted either, which upstream does: nothing is pushed down where counts are looked at.

use model::labels::METRIC_NAME;
use model::matcher::Matcher;

use super::{Binary, Node, NodeKind, Select};
use crate::ast::{BinaryOp, Matching};

/// Pushes matchers down wherever that cannot be seen in the result.
pub(super) fn push_down(node: &mut Node) {
    if let NodeKind::Binary(binary) = &mut node.kind {
        through(binary);
    }
    node.children_mut().into_iter().for_each(push_down);
}

fn through(binary: &mut Binary) {
    if !matches!(binary.op, BinaryOp::And | BinaryOp::Unless) {
        return;
    }
    let (Some(left), Some(right)) = (select(&mut binary.lhs), select(&mut binary.rhs)) else { return };
    // What is on the right only matters where the left side has a series of the same labels.
    add(right, left, &binary.matching);
    if binary.op == BinaryOp::And {
        add(left, right, &binary.matching);
    }
}

fn select(node: &mut Node) -> Option<&mut Select> {
    match &mut node.kind {
        NodeKind::Select(select) => Some(select),
        _ => None,
    }
}

/// Adds to `into` those matchers of `from` that are about labels both sides share.
fn add(into: &mut Select, from: &Select, matching: &Matching) {
    let shared = |name: &str| match matching.on {
        true => matching.labels.iter().any(|label| label == name),
        false => name != METRIC_NAME && !matching.labels.iter().any(|label| label == name),
    };
    let same = |a: &Matcher, b: &Matcher| a.name() == b.name() && a.op() == b.op() && a.value() == b.value();
    for matcher in from.matchers.iter().filter(|m| shared(m.name())) {
        if !into.matchers.iter().chain(&into.pushed).any(|known| same(known, matcher)) {
            into.pushed.push(matcher.clone());
        }
    }
}

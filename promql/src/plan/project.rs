//! Which labels of each selector's series are looked at: the others are never built.
//!
//! What an operator wants of its argument is told from the top down. The result wants all labels; an aggregation the ones
//! it groups by, a join on some labels these. In between, operators that make one series of each pass on what is wanted
//! of them. But they also fail if two of their series come to have the same labels, as happens when names are dropped:
//! series with some labels only may look the same though they are not. So they pass it on only where the plan alone
//! tells that their series differ, and do not look then.

use std::collections::BTreeSet;

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};

use super::{Aggregate, Binary, Cut, Node, NodeKind};
use crate::ast::{AggregateOp, BinaryOp, Cardinality, ValueType};
use crate::function::Apply;
use crate::value::METADATA_LABELS;

/// Tells all selectors below `root` which labels are wanted; whether any need not have all.
pub(super) fn mark(root: &mut Node) -> bool {
    visit(root, None)
}

/// As [`mark`], for a node of whose series only `wanted` is looked at.
fn visit(node: &mut Node, wanted: Option<Cut>) -> bool {
    let wanted = wanted.map(|cut| Cut { unchecked: cut.unchecked || checks(node), ..cut });
    let wanted = wanted.filter(|cut| !cut.unchecked || differ(node));
    match &mut node.kind {
        NodeKind::Select(select) => set(&mut select.cut, wanted),
        NodeKind::Range(range) => set(&mut range.select.cut, wanted),
        NodeKind::Subquery(subquery) => visit(&mut subquery.child, wanted),
        NodeKind::StepInvariant(child) | NodeKind::Negate(child) => visit(child, wanted),
        NodeKind::Aggregate(aggregate) => through_aggregate(aggregate),
        NodeKind::Binary(binary) => through_binary(binary, wanted),
        NodeKind::Call { function, args } => {
            let of_vectors = match function.apply {
                Apply::Absent | Apply::AbsentOverTime | Apply::Scalar => Some(only(&[])),
                _ if function.keeps_labels() => wanted,
                _ => None,
            };
            let of = |arg: &Node| of_vectors.clone().filter(|_| arg.value_type != ValueType::Scalar);
            // All of them are to be told.
            args.iter_mut().fold(false, |cuts, arg| {
                let wanted = of(arg);
                visit(arg, wanted) | cuts
            })
        }
        NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => false,
    }
}

fn set(cut: &mut Option<Cut>, wanted: Option<Cut>) -> bool {
    *cut = wanted;
    cut.is_some()
}

fn only(names: &[&[String]]) -> Cut {
    let metadata = METADATA_LABELS.map(str::to_owned);
    let names: BTreeSet<&String> = names.iter().copied().flatten().chain(&metadata).collect();
    Cut { names: names.into_iter().cloned().collect(), unchecked: false }
}

fn through_aggregate(aggregate: &mut Aggregate) -> bool {
    let folds = !aggregate.without && !aggregate.op.selects_series();
    let wanted = folds.then(|| only(&[&aggregate.grouping]));
    let param = aggregate.param.as_mut().is_some_and(|param| visit(param, None));
    visit(&mut aggregate.child, wanted) | param
}

fn through_binary(binary: &mut Binary, wanted: Option<Cut>) -> bool {
    let Binary { op, lhs, rhs, matching, .. } = binary;
    let is_vector = |side: &Node| side.value_type == ValueType::Vector;
    let (left, right) = match (is_vector(lhs), is_vector(rhs)) {
        (true, true) if !matching.on => (None, None),
        (true, true) => {
            let matched = || Some(only(&[&matching.labels]));
            let with_included = || Some(only(&[&matching.labels, &matching.include]));
            match (op, matching.card) {
                (BinaryOp::Or, _) => (None, None),
                // Of the right side only counts what it has a match for.
                (BinaryOp::And | BinaryOp::Unless, _) => (None, matched()),
                (_, Cardinality::OneToOne) => (matched(), matched()),
                // The side of the many hands on all its labels.
                (_, Cardinality::ManyToOne) => (None, with_included()),
                (_, Cardinality::OneToMany) => (with_included(), None),
                (_, Cardinality::ManyToMany) => (None, None),
            }
        }
        (true, false) => (wanted, None),
        (false, true) => (None, wanted),
        (false, false) => (None, None),
    };
    visit(lhs, left) | visit(rhs, right)
}

/// Whether the operator fails if two of its series have the same labels, or joins those that do.
fn checks(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Select(_) | NodeKind::Range(_) | NodeKind::StepInvariant(_) => false,
        NodeKind::Aggregate(_) | NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => false,
        NodeKind::Subquery(_) | NodeKind::Negate(_) | NodeKind::Binary(_) => true,
        NodeKind::Call { .. } => true,
    }
}

/// Whether no two series of the node have the same labels even without those that say what the metric is, as far as the
/// plan tells: the name is the same for all, and nothing came together but by grouping.
pub(super) fn differ(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Select(select) => has_one_name(&select.matchers),
        NodeKind::Range(range) => has_one_name(&range.select.matchers),
        NodeKind::Subquery(subquery) => differ(&subquery.child),
        NodeKind::StepInvariant(child) | NodeKind::Negate(child) => differ(child),
        NodeKind::Call { function, args } => {
            function.keeps_labels() && args.iter().all(|arg| arg.value_type == ValueType::Scalar || differ(arg))
        }
        NodeKind::Binary(binary) => {
            let scalar = |side: &Node| side.value_type == ValueType::Scalar;
            match (scalar(&binary.lhs), scalar(&binary.rhs)) {
                (true, false) => differ(&binary.rhs),
                (false, true) => differ(&binary.lhs),
                _ => false,
            }
        }
        NodeKind::Aggregate(aggregate) => {
            let names = aggregate.op.selects_series() || aggregate.op == AggregateOp::CountValues;
            !names && (aggregate.without || !aggregate.grouping.iter().any(|name| name == METRIC_NAME))
        }
        NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => true,
    }
}

fn has_one_name(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty())
}

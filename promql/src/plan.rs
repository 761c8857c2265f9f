//! The plan of a query: the syntax tree with every time and length resolved, and the parts that do not depend on the
//! step marked, so that they run once.

mod build;
mod duration;
mod fold;
mod order;
mod project;
mod pushdown;
mod skip;
mod step_invariant;

use model::labels::NameScheme;
use model::matcher::Matcher;

pub(crate) use build::{Leave, build};

use crate::ast::{AggregateOp, BinaryOp, Extension, Matching, ValueType};
use crate::function::Function;
use crate::token::Span;

/// The times a query asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryTimes {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// 0 for an instant query.
    pub(crate) step: i64,
}

/// A node of the plan.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its place in the plan, parents first, from 0.
    pub(crate) id: usize,
    pub(crate) kind: NodeKind,
    pub(crate) value_type: ValueType,
    pub(crate) span: Span,
}

/// What a node does.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Number(f64),
    /// A scalar expression of constants, computed when the query is planned.
    Folded {
        value: f64,
        original: Box<Node>,
    },
    Text(Text),
    Select(Select),
    Range(RangeSelect),
    Subquery(Box<Subquery>),
    /// Evaluated once, at the first step.
    StepInvariant(Box<Node>),
    Call {
        function: &'static Function,
        args: Vec<Node>,
    },
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Node>),
}

/// A text.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) value: String,
    /// As written, if it is no UTF-8: no label may be called so.
    pub(crate) bytes: Option<String>,
}

impl Text {
    /// The text as the name of a label; else as the fault shows it, in quotes or plain.
    pub(crate) fn label_name(&self) -> Result<&str, (String, String)> {
        match &self.bytes {
            Some(literal) => Err((literal.clone(), literal.clone())),
            None if NameScheme::Utf8.label_name_is_valid(&self.value) => Ok(&self.value),
            None => Err((model::quote::quote(&self.value), self.value.clone())),
        }
    }
}

/// Series to select, and at which time.
#[derive(Debug, Clone)]
pub(crate) struct Select {
    pub(crate) matchers: Vec<Matcher>,
    /// What the other side of a set operator asks for too.
    pub(crate) pushed: Vec<Matcher>,
    /// Which labels are looked at, if not all.
    pub(crate) cut: Option<Cut>,
    pub(crate) offset: i64,
    pub(crate) at: Option<i64>,
    pub(crate) extension: Extension,
    /// Function or aggregation applied to it, as a hint for storage.
    pub(crate) applied: &'static str,
    /// Only counts and sums of histograms are looked at: their buckets are dropped once resets are found.
    pub(crate) totals_only: bool,
}

/// Some labels of series: no others are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Their names, sorted; those that say what the metric is are always among them.
    pub(crate) names: Vec<String>,
    /// Whether something above takes for granted that the series differ without these, as they do if all of them have
    /// the same metric name and none has a type or unit.
    pub(crate) unchecked: bool,
}

/// Series to select with a range of samples.
#[derive(Debug, Clone)]
pub(crate) struct RangeSelect {
    pub(crate) select: Select,
    pub(crate) range: i64,
}

/// An expression at many steps, as a range.
#[derive(Debug, Clone)]
pub(crate) struct Subquery {
    pub(crate) child: Node,
    pub(crate) range: i64,
    pub(crate) step: Option<i64>,
    pub(crate) offset: i64,
    pub(crate) at: Option<i64>,
}

/// An aggregation.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) child: Node,
    pub(crate) param: Option<Node>,
    /// Sorted.
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
}

/// A binary operation.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Node,
    pub(crate) rhs: Node,
    pub(crate) return_bool: bool,
    /// Meaningful between vectors.
    pub(crate) matching: Matching,
    /// Whether the left and the right side need not be evaluated if the other one turns out to be empty.
    pub(crate) skippable: (bool, bool),
    /// Whether either side may be the one that is held while the other streams by: the result is the same.
    pub(crate) either_held: bool,
}

impl Select {
    /// The time looked at when the expression is evaluated at `time`.
    pub(crate) fn reference(&self, time: i64) -> i64 {
        self.at.unwrap_or(time).saturating_sub(self.offset)
    }
}

impl Subquery {
    /// The end of the range when the expression is evaluated at `time`.
    pub(crate) fn reference(&self, time: i64) -> i64 {
        self.at.unwrap_or(time).saturating_sub(self.offset)
    }
}

/// A plan with the number of its nodes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) nodes: usize,
    /// Whether some selector has not all its labels built.
    pub(crate) cuts: bool,
}

impl Node {
    pub(crate) fn new(kind: NodeKind, value_type: ValueType, span: Span) -> Self {
        Self { id: 0, kind, value_type, span }
    }

    /// What stands right below it. A folded node has nothing below: it is not evaluated.
    pub(crate) fn children(&self) -> Vec<&Node> {
        match &self.kind {
            NodeKind::Number(_)
            | NodeKind::Folded { .. }
            | NodeKind::Text(_)
            | NodeKind::Select(_)
            | NodeKind::Range(_) => Vec::new(),
            NodeKind::Subquery(subquery) => vec![&subquery.child],
            NodeKind::StepInvariant(child) | NodeKind::Negate(child) => vec![child],
            NodeKind::Call { args, .. } => args.iter().collect(),
            NodeKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.child]).collect(),
            NodeKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        }
    }

    /// As [`Node::children`].
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.kind {
            NodeKind::Number(_)
            | NodeKind::Folded { .. }
            | NodeKind::Text(_)
            | NodeKind::Select(_)
            | NodeKind::Range(_) => Vec::new(),
            NodeKind::Subquery(subquery) => vec![&mut subquery.child],
            NodeKind::StepInvariant(child) | NodeKind::Negate(child) => vec![child],
            NodeKind::Call { args, .. } => args.iter_mut().collect(),
            NodeKind::Aggregate(aggregate) => aggregate.param.iter_mut().chain([&mut aggregate.child]).collect(),
            NodeKind::Binary(binary) => {
                let Binary { lhs, rhs, .. } = binary.as_mut();
                vec![lhs, rhs]
            }
        }
    }

    /// Whether its series have not all their labels, so that different ones may look the same.
    pub(crate) fn is_cut(&self) -> bool {
        match &self.kind {
            NodeKind::Select(select) => select.cut.is_some(),
            NodeKind::Range(range) => range.select.cut.is_some(),
            NodeKind::Subquery(subquery) => subquery.child.is_cut(),
            NodeKind::StepInvariant(child) | NodeKind::Negate(child) => child.is_cut(),
            // The rest of the arguments are scalars.
            NodeKind::Call { function, args } => {
                function.keeps_labels() && args.iter().any(|arg| arg.value_type != ValueType::Scalar && arg.is_cut())
            }
            NodeKind::Binary(binary) => {
                let sides = [&binary.lhs, &binary.rhs];
                let vectors = || sides.iter().filter(|side| side.value_type == ValueType::Vector);
                vectors().count() == 1 && vectors().any(|side| side.is_cut())
            }
            NodeKind::Aggregate(_) | NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => false,
        }
    }

    /// Its text; empty if it is none.
    pub(crate) fn text(&self) -> &str {
        match &self.kind {
            NodeKind::Text(text) => &text.value,
            _ => "",
        }
    }

    /// Itself, or what it marks as step-invariant.
    pub(crate) fn inner(&self) -> &Node {
        match &self.kind {
            NodeKind::StepInvariant(child) => child,
            _ => self,
        }
    }
}

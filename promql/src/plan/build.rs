//! Syntax tree to plan.

use super::duration::Lengths;
use super::step_invariant::{Built, Wrap};
use super::{Aggregate, Binary, Node, NodeKind, Plan, QueryTimes, RangeSelect, Select, Subquery, Text};
use super::{fold, order, project, pushdown, skip};
use crate::ast::{self, At, Expr, ValueType, VectorSelector};
use crate::error::Error;
use crate::function::{Apply, Clock, Function, HistogramPart, Window};
use crate::token::Span;

/// What a plan may leave out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// Series that cannot be seen in the result. Not if samples are counted: upstream reads these.
    pub(crate) series: bool,
    /// Labels that nothing looks at. Not once a fault was met: its text may name them.
    pub(crate) labels: bool,
}

/// Builds the plan of `expr` for these times.
pub(crate) fn build(expr: &Expr, times: QueryTimes, leave: Leave) -> Result<Plan, Error> {
    let builder = Builder { times, lengths: Lengths { times } };
    let mut root = builder.node(expr, Path::default())?.wrapped();
    fold::fold(&mut root);
    order::mark(&mut root);
    if leave.series {
        pushdown::push_down(&mut root);
        skip::mark(&mut root);
    }
    let cuts = leave.labels && project::mark(&mut root);
    let mut nodes = 0;
    number(&mut root, &mut nodes);
    Ok(Plan { root, nodes, cuts })
}

fn number(node: &mut Node, next: &mut usize) {
    node.id = *next;
    *next += 1;
    node.children_mut().into_iter().for_each(|child| number(child, next));
}

/// What stands above a node.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    /// The function or aggregation right above; empty behind operators.
    applied: &'static str,
    /// Whether a function above only looks at counts and sums of histograms.
    totals: bool,
    /// Whether something above looks at their buckets, or repeats samples.
    buckets: bool,
}

impl Path {
    fn below(self, applied: &'static str) -> Self {
        Self { applied, ..self }
    }

    fn below_call(self, function: &'static Function) -> Self {
        let mut path = self.below(function.name);
        match function.apply {
            Apply::Histogram(HistogramPart::Avg | HistogramPart::Count | HistogramPart::Sum) => path.totals = true,
            Apply::Quantile | Apply::Quantiles | Apply::Fraction => path.buckets = true,
            _ => {}
        }
        path
    }
}

struct Builder {
    times: QueryTimes,
    lengths: Lengths,
}

impl Builder {
    fn node(&self, expr: &Expr, path: Path) -> Result<Built, Error> {
        let (span, value_type) = (expr.span(), expr.value_type());
        let built = |kind, wrap| Ok(Built { node: Node::new(kind, value_type, span), wrap });
        match expr {
            Expr::Number(number) => built(NodeKind::Number(number.value), Wrap::Constant),
            Expr::String(text) => {
                let text = Text { value: text.value.clone(), bytes: text.bytes.clone() };
                built(NodeKind::Text(text), Wrap::Constant)
            }
            Expr::Selector(selector) => {
                let select = self.select(selector, path)?;
                let wrap = if select.at.is_some() { Wrap::Invariant } else { Wrap::No };
                built(NodeKind::Select(select), wrap)
            }
            Expr::Range(range) => {
                let select = self.select(&range.selector, path)?;
                let wrap = if select.at.is_some() { Wrap::Constant } else { Wrap::No };
                let range = self.lengths.positive(&range.range)?;
                built(NodeKind::Range(RangeSelect { select, range }), wrap)
            }
            Expr::Subquery(subquery) => {
                let subquery = self.subquery(subquery, path)?;
                let wrap = if subquery.at.is_some() { Wrap::Constant } else { Wrap::No };
                built(NodeKind::Subquery(Box::new(subquery)), wrap)
            }
            Expr::Call(call) => self.call(call, path),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, path),
            Expr::Binary(binary) => self.binary(binary, span, value_type, path),
            Expr::Unary(unary) => {
                let child = self.node(&unary.expr, path)?;
                if !unary.negative {
                    return Ok(child);
                }
                built(NodeKind::Negate(Box::new(child.node)), child.wrap)
            }
            Expr::Paren(paren) => self.node(&paren.expr, path),
        }
    }

    fn at(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Timestamp(ms) => ms,
            At::Start => self.times.start,
            At::End => self.times.end,
        })
    }

    fn select(&self, selector: &VectorSelector, path: Path) -> Result<Select, Error> {
        Ok(Select {
            matchers: selector.matchers.clone(),
            pushed: Vec::new(),
            cut: None,
            offset: self.lengths.offset(&selector.shift)?,
            at: self.at(selector.shift.at),
            extension: selector.extension,
            applied: path.applied,
            totals_only: path.totals && !path.buckets,
        })
    }

    fn subquery(&self, subquery: &ast::Subquery, path: Path) -> Result<Subquery, Error> {
        let child = self.node(&subquery.expr, Path { buckets: true, ..path.below("") })?;
        // Inside a subquery, whatever does not depend on the step is marked, even what is cheap to repeat.
        let child = if child.wrap == Wrap::No { child.node } else { child.invariant() };
        Ok(Subquery {
            child,
            range: self.lengths.positive(&subquery.range)?,
            step: subquery.step.as_ref().map(|step| self.lengths.positive(step)).transpose()?,
            offset: self.lengths.offset(&subquery.shift)?,
            at: self.at(subquery.shift.at),
        })
    }

    /// Numbers of the query itself are constants of its plan.
    fn clock(&self, clock: Clock) -> Option<f64> {
        let QueryTimes { start, end, step } = self.times;
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match clock {
            Clock::Start => Some(seconds(start)),
            Clock::End => Some(seconds(end)),
            Clock::Range => Some(seconds(end - start)),
            Clock::Step => Some(if start == end { 0.0 } else { seconds(step) }),
            Clock::Pi | Clock::Time => None,
        }
    }

    fn call(&self, call: &ast::Call, path: Path) -> Result<Built, Error> {
        let function = call.function;
        let (span, value_type) = (call.span, function.returns);
        if let Apply::Clock(clock) = function.apply
            && let Some(number) = self.clock(clock)
        {
            let node = Node::new(NodeKind::Number(number), value_type, span);
            return Ok(Built { node, wrap: Wrap::Constant });
        }
        let args =
            call.args.iter().map(|arg| self.node(arg, path.below_call(function))).collect::<Result<Vec<_>, _>>()?;
        let on_selector = args.iter().all(|arg| matches!(arg.node.kind, NodeKind::Select(_)) && arg.wrap != Wrap::No);
        let invariant = match function.apply {
            Apply::Timestamp => on_selector,
            apply => !depends_on_step(apply) && args.iter().all(|arg| arg.wrap != Wrap::No),
        };
        let args = if invariant {
            args.into_iter().map(|arg| arg.node).collect()
        } else {
            args.into_iter().map(Built::wrapped).collect()
        };
        let node = Node::new(NodeKind::Call { function, args }, value_type, span);
        Ok(Built { node, wrap: if invariant { Wrap::Invariant } else { Wrap::No } })
    }

    fn aggregate(&self, aggregate: &ast::Aggregate, path: Path) -> Result<Built, Error> {
        let child = self.node(&aggregate.expr, path.below(aggregate.op.as_str()))?;
        let param = aggregate.param.as_ref().map(|param| self.node(param, path.below(""))).transpose()?;
        let mut grouping = aggregate.grouping.clone();
        grouping.sort();
        let kind = NodeKind::Aggregate(Box::new(Aggregate {
            op: aggregate.op,
            child: child.node,
            param: param.map(|param| param.node),
            grouping,
            without: aggregate.without,
        }));
        let node = Node::new(kind, ValueType::Vector, aggregate.span);
        // As upstream: the parameter has no say in this.
        Ok(Built { node, wrap: child.wrap })
    }

    fn binary(&self, binary: &ast::Binary, span: Span, value_type: ValueType, path: Path) -> Result<Built, Error> {
        let path = Path { buckets: path.buckets || binary.op.is_trim(), ..path.below("") };
        let (lhs, rhs) = (self.node(&binary.lhs, path)?, self.node(&binary.rhs, path)?);
        let invariant = lhs.wrap != Wrap::No && rhs.wrap != Wrap::No;
        let (lhs, rhs) = if invariant { (lhs.node, rhs.node) } else { (lhs.wrapped(), rhs.wrapped()) };
        let kind = NodeKind::Binary(Box::new(Binary {
            op: binary.op,
            lhs,
            rhs,
            return_bool: binary.return_bool,
            matching: binary.vector_matching().cloned().unwrap_or_default(),
            skippable: (false, false),
            either_held: false,
        }));
        let wrap = if invariant { Wrap::Invariant } else { Wrap::No };
        Ok(Built { node: Node::new(kind, value_type, span), wrap })
    }
}

/// Whether the value can change with the step even if the arguments do not.
fn depends_on_step(apply: Apply) -> bool {
    match apply {
        Apply::Clock(Clock::Pi) => false,
        Apply::Clock(_) | Apply::Timestamp | Apply::Window(Window::PredictLinear) | Apply::Calendar(_) => true,
        _ => false,
    }
}

//! Subqueries: an expression at many steps, whose values are the samples of a range.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::labels::Labels;
use model::storage::Columns;

use super::meter::Worked;
use super::unique;
use super::window::{self, Call};
use super::{Batch, BoxOperator, Context, Lazy, Operator, Settings, drain, open};
use crate::ast::ValueType;
use crate::error::Error;
use crate::function::Apply;
use crate::kernel::window::{Bounds, Samples};
use crate::plan::{Node, NodeKind, Subquery};
use crate::value::{Column, Point, Points, Steps};

/// The steps at which the inner expression is evaluated so that all windows of the outer ones are filled.
pub(crate) fn inner_steps(settings: Settings, subquery: &Subquery, steps: Steps) -> Steps {
    let interval = subquery.step.unwrap_or(settings.default_subquery_step).max(1);
    let before = subquery.reference(steps.start).saturating_sub(subquery.range);
    let end = subquery.reference(steps.last());
    // The first multiple of the interval after the start of the first window.
    let mut start = interval * (before / interval);
    if start <= before {
        start += interval;
    }
    Steps::range(start, end, interval)
}

/// The values of a series as samples.
pub(super) fn samples(points: &Points, steps: Steps) -> Columns {
    let mut columns = Columns::default();
    for i in 0..points.len() {
        match points.get(i) {
            None => {}
            Some(Point::Float(value)) => columns.push_float(steps.at(i), value),
            Some(Point::Histogram(histogram)) => {
                // A step may skip samples or meet one twice: what was known about resets between neighbours is not
                // known any more.
                let known = matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset);
                let histogram = if known {
                    let mut copy = (**histogram).clone();
                    copy.reset_hint = ResetHint::Unknown;
                    Arc::new(copy)
                } else {
                    Arc::clone(histogram)
                };
                columns.push_histogram(steps.at(i), histogram);
            }
        }
    }
    columns
}

/// A range function over a subquery.
pub(super) fn over<'q>(
    ctx: &'q Context<'q>,
    subquery: &'q Subquery,
    call: Call,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let inner = ctx.check_steps(inner_steps(ctx.settings, subquery, steps))?;
    let mut child = open(ctx, &subquery.child, inner)?;
    if may_repeat(&subquery.child) {
        child = Box::new(Lazy::new(move || unique::merged(drain(child.as_mut())?)));
    }
    let bounds = move |i: usize| {
        let end = subquery.reference(steps.at(i));
        Bounds { start: end.saturating_sub(subquery.range), end, before: 0, after: 0, time: steps.at(i) }
    };
    let id = call.id;
    let work = move |column: Column| {
        let columns = samples(&column.points, inner);
        let labels = || Ok((column.labels.clone(), column.drop_name));
        window::apply(ctx, &call, &Samples::of(&columns), steps, bounds, labels)
    };
    Ok(Box::new(Windowed { ctx, id, child, work }))
}

/// Whether series with the same labels can come, at different steps: their samples belong to one range.
fn may_repeat(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Binary(binary) => {
            let scalar = |side: &Node| side.value_type == ValueType::Scalar;
            match (scalar(&binary.lhs), scalar(&binary.rhs)) {
                (false, false) => true,
                (true, false) => may_repeat(&binary.rhs),
                (_, true) => may_repeat(&binary.lhs),
            }
        }
        NodeKind::Call { function, args } => match function.apply {
            Apply::Info => true,
            // Windows over something that repeats have joined it.
            Apply::Window(_) | Apply::LabelReplace | Apply::LabelJoin => false,
            _ => args.iter().filter(|arg| arg.value_type == ValueType::Vector).any(may_repeat),
        },
        NodeKind::Aggregate(aggregate) => aggregate.op.selects_series() && may_repeat(&aggregate.child),
        NodeKind::Negate(child) => may_repeat(child),
        _ => false,
    }
}

/// Runs windows over every series, in parallel.
struct Windowed<'q, F> {
    ctx: &'q Context<'q>,
    id: usize,
    child: BoxOperator<'q>,
    work: F,
}

impl<F> Operator for Windowed<'_, F>
where
    F: Fn(Column) -> Result<Worked, Error> + Sync + Send,
{
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let Some(batch) = self.child.next()? else { return Ok(None) };
        self.ctx.check()?;
        let work = &self.work;
        let worked = self.ctx.parallel(batch, || (), |(), column| work(column).map(Some))?;
        self.ctx.settle(self.id, worked).map(Some)
    }
}

/// All series of a subquery with their samples, for a query whose result it is.
pub(super) fn evaluate(
    ctx: &Context<'_>,
    subquery: &Subquery,
    steps: Steps,
) -> Result<Vec<(Labels, bool, Columns)>, Error> {
    let inner = ctx.check_steps(inner_steps(ctx.settings, subquery, steps))?;
    let mut child = open(ctx, &subquery.child, inner)?;
    let mut columns = drain(child.as_mut())?;
    if may_repeat(&subquery.child) {
        columns = unique::merged(columns)?;
    }
    Ok(columns
        .into_iter()
        .map(|column| {
            let found = samples(&column.points, inner);
            (column.labels, column.drop_name, found)
        })
        .filter(|(_, _, found)| !found.is_empty())
        .collect())
}

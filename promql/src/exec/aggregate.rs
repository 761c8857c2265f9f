//! Aggregations: series fold into groups as they arrive, so that memory is groups × steps.

mod count_values;
mod state;

use std::collections::HashMap;

use model::labels::Labels;

use self::state::{Seen, State};
use super::matching::{Chooser, Signature};
use super::{BoxOperator, Context, Lazy, open as open_node, ranking, scalar};
use crate::ast::AggregateOp;
use crate::error::Error;
use crate::exec::budget::Charge;
use crate::exec::scalar::Numbers;
use crate::notes::{HistogramUse, Note};
use crate::plan::Aggregate;
use crate::token::Span;
use crate::value::{Column, Steps};

pub(super) fn open<'q>(
    ctx: &'q Context<'q>,
    aggregate: &'q Aggregate,
    span: Span,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    if aggregate.op.selects_series() {
        return ranking::open_ranking(ctx, aggregate, span, steps);
    }
    if aggregate.op == AggregateOp::CountValues {
        return count_values::open_count(ctx, aggregate, steps);
    }
    Ok(Box::new(Lazy::new(move || folded(ctx, aggregate, steps))))
}

/// One output series in the making.
struct Group {
    labels: Labels,
    drop_name: bool,
    state: State,
    _charge: Charge,
}

fn folded(ctx: &Context<'_>, aggregate: &Aggregate, steps: Steps) -> Result<Vec<Column>, Error> {
    let quantile = parameter(ctx, aggregate, steps)?;
    let chooser = Chooser::grouping(&aggregate.grouping, aggregate.without);
    let mut places: HashMap<Signature, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut signature = Signature::new();
    let mut seen = Seen::default();
    let mut child = open_node(ctx, &aggregate.child, steps)?;
    while let Some(batch) = child.next()? {
        ctx.check()?;
        for column in batch {
            chooser.signature_into(&column.labels, &mut signature);
            let at = match places.get(&signature) {
                Some(at) => *at,
                None => {
                    groups.push(new_group(ctx, aggregate.op, &chooser, &column, steps)?);
                    places.insert(signature.clone(), groups.len() - 1);
                    groups.len() - 1
                }
            };
            let group = &mut groups[at];
            group.drop_name |= column.drop_name;
            group.state.fold(&column.points, column.labels.metric_name().unwrap_or_default(), &mut seen);
        }
    }
    let mut columns = Vec::with_capacity(groups.len());
    for group in groups {
        let points = group.state.finish(&quantile, steps.count, &mut seen);
        if points.any_present() {
            columns.push(ctx.column(group.labels, group.drop_name, points)?);
        }
    }
    note(ctx, aggregate, seen);
    Ok(columns)
}

fn new_group(
    ctx: &Context<'_>,
    op: AggregateOp,
    chooser: &Chooser,
    column: &Column,
    steps: Steps,
) -> Result<Group, Error> {
    let count = steps.count as u64;
    Ok(Group {
        labels: chooser.labels(&column.labels),
        drop_name: column.drop_name,
        state: State::new(op, steps.count),
        _charge: ctx.budget.charge(count * 16)?,
    })
}

/// The `q` of `quantile`.
fn parameter(ctx: &Context<'_>, aggregate: &Aggregate, steps: Steps) -> Result<Numbers, Error> {
    let Some(param) = aggregate.param.as_ref() else { return Ok(Numbers::Same(f64::NAN)) };
    let numbers = scalar::evaluate(ctx, param, steps)?;
    let (mut lowest, mut highest, mut nan) = (f64::INFINITY, f64::NEG_INFINITY, false);
    for q in numbers.all(steps.count) {
        (lowest, highest, nan) = (lowest.min(q), highest.max(q), nan || q.is_nan());
    }
    for (bad, q) in [(nan, f64::NAN), (highest > 1.0, highest), (lowest < 0.0, lowest)] {
        if bad {
            ctx.note(&Note::QuantileOutOfRange(q), param.span);
        }
    }
    Ok(numbers)
}

fn note(ctx: &Context<'_>, aggregate: &Aggregate, seen: Seen) {
    let span = aggregate.child.span;
    if seen.histogram_ignored {
        ctx.note(&Note::HistogramIgnoredInAggregation { aggregation: aggregate.op.as_str() }, span);
    }
    if seen.mixed {
        ctx.note(&Note::MixedFloatsHistogramsInAggregation, span);
    }
    if seen.reconciled {
        ctx.note(&Note::CustomBucketsReconciled(HistogramUse::Aggregation), span);
    }
    if seen.collision {
        ctx.note(&Note::CounterResetCollision(HistogramUse::Aggregation), span);
    }
    for metric in &seen.incompatible {
        ctx.note(&Note::MixedExponentialCustom { metric }, span);
    }
}

//! `absent` and `absent_over_time`: 1 where nothing is.

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::matcher::MatchOp;

use super::unique::StepSet;
use super::{BoxOperator, Context, Lazy, open};
use crate::error::Error;
use crate::plan::{Node, NodeKind, Select};
use crate::value::{Column, Points, Steps};

/// The vector whose absence is asked for, and what its labels would be.
pub(super) fn open_absent<'q>(
    ctx: &'q Context<'q>,
    arg: &'q Node,
    child: impl FnOnce() -> Result<BoxOperator<'q>, Error> + 'q,
    steps: Steps,
) -> BoxOperator<'q> {
    Box::new(Lazy::new(move || {
        let mut present = StepSet::new(steps.count);
        let mut operator = child()?;
        while let Some(batch) = operator.next()? {
            for column in &batch {
                present.insert_present(&column.points);
            }
        }
        let mut points = Points::absent(steps.count);
        for i in (0..steps.count).filter(|i| !present.contains(*i)) {
            points.floats[i] = 1.0;
        }
        if !points.any_present() {
            return Ok(Vec::<Column>::new());
        }
        Ok(vec![ctx.column(labels(arg), true, points)?])
    }))
}

pub(super) fn of_vector<'q>(ctx: &'q Context<'q>, arg: &'q Node, steps: Steps) -> BoxOperator<'q> {
    open_absent(ctx, arg, move || open(ctx, arg, steps), steps)
}

/// The labels that the selector's matchers fix.
fn labels(arg: &Node) -> Labels {
    match &arg.inner().kind {
        NodeKind::Select(select) => fixed_labels(select),
        NodeKind::Range(range) => fixed_labels(&range.select),
        _ => Labels::empty(),
    }
}

fn fixed_labels(select: &Select) -> Labels {
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in select.matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.delete(matcher.name());
        }
    }
    builder.build()
}

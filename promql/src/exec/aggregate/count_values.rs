//! `count_values`: how often each value occurs.

use std::collections::HashMap;

use model::labels::Labels;
use model::number::print_float;

use super::super::matching::Chooser;
use super::super::{BoxOperator, Context, Lazy, open as open_node};
use crate::error::{Error, Fault};
use crate::histogram;
use crate::plan::{Aggregate, NodeKind};
use crate::value::{Column, Point, Points, Steps};

pub(super) fn open_count<'q>(
    ctx: &'q Context<'q>,
    aggregate: &'q Aggregate,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let label = match aggregate.param.as_ref().map(|param| &param.kind) {
        Some(NodeKind::Text(text)) => text.label_name().map_err(|(quoted, _)| Fault::LabelName(quoted))?,
        _ => "",
    };
    let mut grouping = aggregate.grouping.clone();
    if !aggregate.without {
        grouping.push(label.to_owned());
    }
    let chooser = Chooser::grouping(&grouping, aggregate.without);
    Ok(Box::new(Lazy::new(move || counted(ctx, aggregate, label, &chooser, steps))))
}

fn counted(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    label: &str,
    chooser: &Chooser,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    let mut counts: HashMap<Labels, Points> = HashMap::new();
    let mut order: Vec<Labels> = Vec::new();
    let mut child = open_node(ctx, &aggregate.child, steps)?;
    while let Some(batch) = child.next()? {
        ctx.check()?;
        for column in batch {
            // The value only changes now and then: its labels are made once per run of equal values.
            let mut last: Option<(String, Labels)> = None;
            for i in 0..steps.count {
                let Some(point) = column.points.get(i) else { continue };
                let value = match point {
                    Point::Float(value) => print_float(value),
                    Point::Histogram(h) => histogram::print(h),
                };
                let labels = match &last {
                    Some((known, labels)) if *known == value => labels.clone(),
                    _ => {
                        let mut builder = column.labels.to_builder();
                        builder.set(label, &value);
                        let labels = chooser.labels(&builder.build());
                        last = Some((value, labels.clone()));
                        labels
                    }
                };
                let points = counts.entry(labels.clone()).or_insert_with(|| {
                    order.push(labels);
                    Points::absent(steps.count)
                });
                points.floats[i] = points.float(i).unwrap_or(0.0) + 1.0;
            }
        }
    }
    order
        .into_iter()
        .filter_map(|labels| counts.remove(&labels).map(|points| ctx.column(labels, false, points)))
        .collect()
}

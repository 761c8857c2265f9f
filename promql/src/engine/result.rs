//! From columns to the value of a query.

use model::labels::Labels;
use model::sample::{Timestamp, Value};

use crate::ast::ValueType;
use crate::error::Error;
use crate::exec::budget::Charge;
use crate::exec::{Context, RangeSeries, drain, open, range_series, scalar, unique};
use crate::plan::Node;
use crate::spill::{Spill, SpillBuilder, matrix_series};
use crate::value::{Column, MatrixSeries, Point, QueryValue, Steps, VectorSample, without_metadata};

/// The value at one time; series of a range vector may wait in a file if `spill` says so.
pub(super) fn instant(ctx: &Context<'_>, plan: &Node, time: i64, spill: Option<&Spill>) -> Result<QueryValue, Error> {
    let timestamp = Timestamp(time);
    let steps = Steps::once(time);
    match plan.value_type {
        ValueType::String => {
            let value = plan.inner().text().to_owned();
            Ok(QueryValue::String { timestamp, value })
        }
        ValueType::Scalar => {
            let numbers = scalar::evaluate(ctx, plan, steps)?;
            Ok(QueryValue::Scalar { timestamp, value: numbers.at(0) })
        }
        ValueType::Vector => {
            let samples = columns(ctx, plan, steps)?.into_iter().filter_map(vector_sample).collect();
            Ok(QueryValue::Vector { timestamp, samples })
        }
        ValueType::Matrix => {
            if let Some(spill) = spill {
                let mut builder = SpillBuilder::new(spill, steps);
                range_series(ctx, plan.inner(), time, &mut |series| {
                    let (series, charge) = finished(ctx, series);
                    builder.push_samples(series, charge)
                })?;
                return Ok(QueryValue::Spilled(builder.finish()?));
            }
            let (mut series, mut charges) = (Vec::new(), Vec::new());
            range_series(ctx, plan.inner(), time, &mut |found| {
                let (found, charge) = finished(ctx, found);
                series.push(found);
                charges.push(charge);
                Ok(())
            })?;
            Ok(QueryValue::Matrix(series))
        }
    }
}

/// A series of a range vector as the result has it, and what it weighs.
fn finished(ctx: &Context<'_>, found: RangeSeries) -> (MatrixSeries, Charge) {
    let RangeSeries { labels, drop_name, floats, histograms, charge } = found;
    let series = MatrixSeries {
        labels: named(labels, drop_name, ctx),
        floats: floats.into_iter().map(|(t, v)| (Timestamp(t), v)).collect(),
        histograms: histograms.into_iter().map(|(t, h)| (Timestamp(t), h)).collect(),
    };
    (series, charge)
}

/// The values at many times; in any order, unless `spill` says that they may wait in a file.
pub(super) fn range(ctx: &Context<'_>, plan: &Node, steps: Steps, spill: Option<&Spill>) -> Result<QueryValue, Error> {
    if plan.value_type == ValueType::Scalar {
        let numbers = scalar::evaluate(ctx, plan, steps)?;
        let floats = (0..steps.count).map(|i| (Timestamp(steps.at(i)), numbers.at(i))).collect();
        let series = MatrixSeries { labels: Labels::empty(), floats, histograms: Vec::new() };
        return Ok(QueryValue::Matrix(vec![series]));
    }
    if let Some(spill) = spill {
        let mut builder = SpillBuilder::new(spill, steps);
        let mut operator = open(ctx, plan, steps)?;
        while let Some(batch) = operator.next()? {
            for mut column in batch {
                column.labels = named(std::mem::take(&mut column.labels), column.drop_name, ctx);
                builder.push(column)?;
            }
        }
        return Ok(QueryValue::Spilled(builder.finish()?));
    }
    let columns = columns(ctx, plan, steps)?.into_iter();
    let mut series: Vec<MatrixSeries> =
        columns.map(|column| matrix_series(column.labels, &column.points, steps)).collect();
    series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
    Ok(QueryValue::Matrix(series))
}

/// All series, with the names gone that were to go, those with the same labels joined.
fn columns(ctx: &Context<'_>, plan: &Node, steps: Steps) -> Result<Vec<Column>, Error> {
    let mut columns = drain(open(ctx, plan, steps)?.as_mut())?;
    for column in &mut columns {
        column.labels = named(std::mem::take(&mut column.labels), column.drop_name, ctx);
    }
    unique::merged(columns)
}

fn named(labels: Labels, drop_name: bool, ctx: &Context<'_>) -> Labels {
    if drop_name && ctx.settings.delayed_names { without_metadata(&labels) } else { labels }
}

fn vector_sample(column: Column) -> Option<VectorSample> {
    let value = match column.points.get(0)? {
        Point::Float(value) => Value::Float(value),
        Point::Histogram(histogram) => Value::Histogram(histogram.clone()),
    };
    Some(VectorSample { labels: column.labels, value })
}

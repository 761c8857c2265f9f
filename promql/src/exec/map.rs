//! Operators that change each series by itself.

use std::sync::Arc;

use super::unique::{self, Within};
use super::{Batch, BoxOperator, Context, Operator};
use crate::error::Error;
use crate::histogram;
use crate::plan::Node;
use crate::value::{ABSENT, Column, Points, Steps};

/// Applies a function to every series, in parallel.
pub(super) struct Map<'q, F> {
    ctx: &'q Context<'q>,
    child: BoxOperator<'q>,
    map: F,
}

impl<'q, F> Map<'q, F>
where
    F: Fn(Column) -> Result<Option<Column>, Error> + Sync + Send,
{
    pub(super) fn new(ctx: &'q Context<'q>, child: BoxOperator<'q>, map: F) -> Self {
        Self { ctx, child, map }
    }
}

impl<F> Operator for Map<'_, F>
where
    F: Fn(Column) -> Result<Option<Column>, Error> + Sync + Send,
{
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let Some(batch) = self.child.next()? else { return Ok(None) };
        self.ctx.check()?;
        let map = &self.map;
        self.ctx.parallel(batch, || (), |(), column| map(column)).map(Some)
    }
}

/// A step-invariant part: evaluated at the first step, its value repeated at all.
pub(super) fn broadcast<'q>(ctx: &'q Context<'q>, child: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let operator = super::open(ctx, child, Steps::once(steps.start))?;
    Ok(Box::new(Map::new(ctx, operator, move |mut column: Column| {
        if steps.count > 1 {
            column.points = repeat(&column.points, steps.count);
            column.charge = ctx.charge(&column.points)?;
        }
        Ok(Some(column))
    })))
}

fn repeat(points: &Points, count: usize) -> Points {
    match points.histogram(0) {
        Some(histogram) => {
            Points { floats: vec![ABSENT; count], histograms: Some(vec![Some(Arc::clone(histogram)); count]) }
        }
        None => Points { floats: vec![points.floats[0]; count], histograms: None },
    }
}

/// `-a`
pub(super) fn negate<'q>(ctx: &'q Context<'q>, child: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let operator = super::open(ctx, child, steps)?;
    let negated = Map::new(ctx, operator, move |mut column: Column| {
        for i in 0..column.points.len() {
            if let Some(value) = column.points.float(i) {
                column.points.floats[i] = -value;
            } else if let Some(histogram) = column.points.histogram(i) {
                let negated = histogram::scaled(histogram, -1.0);
                column.points.set_histogram(i, Arc::new(negated));
            }
        }
        (column.labels, column.drop_name) = ctx.nameless(&column.labels);
        Ok(Some(column))
    });
    Ok(unique::checked_each(ctx, child, Box::new(negated), Within::Step))
}

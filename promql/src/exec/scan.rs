//! Selecting series and decoding each once.

use std::sync::{Arc, PoisonError};

use model::sample::Timestamp;
use model::storage::{Columns, Order, SelectHints, Series};

use super::meter::Worked;
use super::{BATCH_SERIES, Batch, Context, Operator, SelectedSeries, batch_size};
use crate::error::Error;
use crate::histogram;
use crate::plan::Select;
use crate::value::Steps;

/// What a series that was selected weighs before it is read: a box with refs and a few pointers.
const SERIES_BYTES: usize = 128;

/// The series of a selector over the closed time span `range`; equal selections are made once.
pub(super) fn select(
    ctx: &Context<'_>,
    select: &Select,
    range: (i64, i64),
    step: i64,
    window: i64,
) -> Result<SelectedSeries, Error> {
    let key = format!("{:?} {:?} {range:?}", select.matchers, select.pushed);
    if let Some(found) = ctx.selected.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(found));
    }
    let hints = SelectHints {
        range: Some((Timestamp(range.0), Timestamp(range.1))),
        step_ms: step,
        window_ms: window,
        function: select.applied.to_owned(),
        limit: 0,
    };
    let all;
    let matchers = if select.pushed.is_empty() {
        &select.matchers
    } else {
        all = [select.matchers.as_slice(), &select.pushed].concat();
        &all
    };
    let mut set = ctx.querier.select(Order::Any, &hints, matchers)?;
    let mut series = Vec::new();
    while let Some(one) = set.advance()? {
        series.push(one);
        if series.len() % BATCH_SERIES == 0 {
            ctx.check()?;
        }
    }
    let annotations = set.annotations();
    ctx.storage_annotations.lock().unwrap_or_else(PoisonError::into_inner).merge(annotations);
    let bytes = series.len() * SERIES_BYTES;
    ctx.keep(ctx.budget.charge(bytes as u64)?);
    let series = Arc::new(series);
    ctx.selected.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&series));
    Ok(series)
}

/// Decodes series batch by batch and makes a column of each.
pub(super) struct Scan<'q, F> {
    ctx: &'q Context<'q>,
    /// The node whose meter takes note.
    id: usize,
    series: SelectedSeries,
    totals_only: bool,
    next: usize,
    batch: usize,
    work: F,
}

impl<'q, F> Scan<'q, F>
where
    F: Fn(&dyn Series, &Columns) -> Result<Worked, Error> + Sync + Send,
{
    pub(super) fn new(
        ctx: &'q Context<'q>,
        id: usize,
        select: &Select,
        series: SelectedSeries,
        steps: Steps,
        work: F,
    ) -> Self {
        Self { ctx, id, series, totals_only: select.totals_only, next: 0, batch: batch_size(steps), work }
    }
}

impl<F> Operator for Scan<'_, F>
where
    F: Fn(&dyn Series, &Columns) -> Result<Worked, Error> + Sync + Send,
{
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.next >= self.series.len() {
            return Ok(None);
        }
        let end = (self.next + self.batch).min(self.series.len());
        let batch: Vec<usize> = (self.next..end).collect();
        self.next = end;
        let (ctx, series, work, totals_only) = (self.ctx, &self.series, &self.work, self.totals_only);
        let worked = ctx.parallel(batch, Columns::default, |scratch, i| {
            ctx.check()?;
            scratch.clear();
            series[i].read(scratch)?;
            if totals_only {
                histogram::keep_totals(scratch);
            }
            work(series[i].as_ref(), scratch).map(Some)
        })?;
        ctx.settle(self.id, worked).map(Some)
    }
}

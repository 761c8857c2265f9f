//! Selecting series and decoding each once.

use std::sync::{Arc, PoisonError};

use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::{Columns, Order, SelectHints, Series};

use super::meter::Worked;
use super::{BATCH_SERIES, Batch, Context, Operator, SelectedSeries, batch_size};
use crate::error::{Error, Fault};
use crate::histogram;
use crate::plan::Select;
use crate::value::{METADATA_LABELS, Steps};

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

/// The labels of a series that are looked at.
///
/// # Errors
/// If the plan took for granted what the series tells otherwise; without labels left out there may be no fault.
pub(super) fn labels(select: &Select, series: &dyn Series) -> Result<Labels, Error> {
    let Some(cut) = &select.cut else { return Ok(series.labels()) };
    let labels = series.labels_of(&cut.names);
    let [_, type_label, unit_label] = METADATA_LABELS;
    if cut.unchecked && (labels.contains(type_label) || labels.contains(unit_label)) {
        return Err(Fault::SameLabels.into());
    }
    Ok(labels)
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

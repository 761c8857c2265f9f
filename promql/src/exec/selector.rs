//! Instant-vector selectors: at each step the latest sample, if it is not older than the lookback.

use model::sample::is_stale;
use model::storage::Columns;

use super::meter::{Load, Worked};
use super::scan::{self, Scan};
use super::{BoxOperator, Context, selector_range, window};
use crate::ast::Extension;
use crate::error::Error;
use crate::plan::{Node, Select};
use crate::value::{Points, Steps, histogram_samples};

/// What to take of the latest sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Its value.
    Value,
    /// Its time in seconds.
    Timestamp,
    /// Its start timestamp in seconds; 0 if it has none.
    Start,
}

pub(super) fn open<'q>(
    ctx: &'q Context<'q>,
    node: &'q Node,
    select: &'q Select,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    if select.extension == Extension::Smoothed {
        return window::smoothed_selector(ctx, node, select, steps);
    }
    taking(ctx, node.id, select, steps, Take::Value)
}

/// The selector, with the values or the times of its samples. Times are of another kind: the name goes.
pub(super) fn taking<'q>(
    ctx: &'q Context<'q>,
    id: usize,
    select: &'q Select,
    steps: Steps,
    take: Take,
) -> Result<BoxOperator<'q>, Error> {
    let lookback = ctx.settings.lookback;
    let range = selector_range(select, steps, lookback, 0);
    let series = scan::select(ctx, select, range, steps.interval, 0)?;
    let per_step = ctx.settings.per_step || take != Take::Value;
    Ok(Box::new(Scan::new(ctx, id, select, series, steps, move |series, columns| {
        let mut points = Points::absent(steps.count);
        let seen = latest(select, steps, lookback, columns, take, &mut points);
        if seen == 0 {
            return Ok(Worked::default());
        }
        if per_step {
            count_steps(ctx, id, &points);
        }
        let (labels, drop_name) = match take {
            Take::Value => (scan::labels(select, series)?, false),
            Take::Timestamp | Take::Start => ctx.nameless(&scan::labels(select, series)?),
        };
        let column = Some(ctx.column(labels, drop_name, points)?);
        Ok(Worked { column, load: Load { seen, read: seen, ..Load::default() } })
    })))
}

/// Counts the samples that a series has at each step.
fn count_steps(ctx: &Context<'_>, id: usize, points: &Points) {
    let Some(meter) = ctx.meters.get(id) else { return };
    let mut loads = meter.loads();
    loads.seen_per_step.resize(points.len(), 0);
    for (i, count) in loads.seen_per_step.iter_mut().enumerate() {
        *count += points.samples_at(i);
    }
}

/// Fills `points` and returns how many samples that took.
pub(super) fn latest(
    select: &Select,
    steps: Steps,
    lookback: i64,
    columns: &Columns,
    take: Take,
    points: &mut Points,
) -> u64 {
    if take == Take::Value && columns.histograms.is_empty() {
        return latest_floats(select, steps, lookback, columns, &mut points.floats);
    }
    let times = &columns.timestamps;
    let mut after = 0;
    let mut seen = 0;
    for i in 0..steps.count {
        let reference = select.reference(steps.at(i));
        // One past the latest sample at or before the reference.
        while after < times.len() && times[after] <= reference {
            after += 1;
        }
        let Some(at) = after.checked_sub(1) else { continue };
        if times[at] <= reference.saturating_sub(lookback) || is_stale(columns.values[at]) {
            continue;
        }
        match (take, columns.histogram_at(at)) {
            (Take::Timestamp, _) => {
                points.floats[i] = times[at] as f64 / 1000.0;
                seen += 1;
            }
            (Take::Start, _) => {
                points.floats[i] = columns.start_at(at) as f64 / 1000.0;
                seen += 1;
            }
            (Take::Value, Some(histogram)) => {
                seen += histogram_samples(histogram);
                points.set_histogram(i, histogram.clone());
            }
            (Take::Value, None) => {
                points.floats[i] = columns.values[at];
                seen += 1;
            }
        }
    }
    seen
}

/// The usual case of [`latest`]: values of a series without histograms.
fn latest_floats(select: &Select, steps: Steps, lookback: i64, columns: &Columns, out: &mut [f64]) -> u64 {
    let (times, values) = (columns.timestamps.as_slice(), columns.values.as_slice());
    let mut after = 0;
    let mut seen = 0;
    for (i, point) in out.iter_mut().enumerate() {
        let reference = select.reference(steps.at(i));
        while after < times.len() && times[after] <= reference {
            after += 1;
        }
        let Some(at) = after.checked_sub(1) else { continue };
        let (time, value) = (times[at], values[at]);
        if time > reference.saturating_sub(lookback) && !is_stale(value) {
            *point = value;
            seen += 1;
        }
    }
    seen
}

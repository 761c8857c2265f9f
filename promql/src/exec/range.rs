//! Range vectors as the result of a query.

use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::storage::Columns;

use super::{BATCH_SERIES, Context, scan, selector_range, subquery};
use crate::ast::Extension;
use crate::error::{Error, Fault, Limit};
use crate::exec::budget::Charge;
use crate::kernel::extended;
use crate::kernel::window::{Bounds, Samples, Window};
use crate::plan::{Node, NodeKind, RangeSelect};
use crate::value::{Steps, histogram_samples};

/// A series with the samples of one range.
#[derive(Debug)]
pub(crate) struct RangeSeries {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<(i64, f64)>,
    pub(crate) histograms: Vec<(i64, Arc<FloatHistogram>)>,
    /// What it weighs in the query's budget.
    pub(crate) charge: Charge,
}

/// Takes the series of a range vector one by one.
type Taker<'a> = dyn FnMut(RangeSeries) -> Result<(), Error> + 'a;

/// Gives the series of a range selector or subquery, evaluated at `time`, to `take`.
pub(crate) fn range_series(ctx: &Context<'_>, node: &Node, time: i64, take: &mut Taker<'_>) -> Result<(), Error> {
    let steps = Steps::once(time);
    match &node.kind {
        NodeKind::Range(range) => of_selector(ctx, node.id, range, steps, take),
        NodeKind::Subquery(subquery) => {
            for (labels, drop_name, columns) in subquery::evaluate(ctx, subquery, steps)? {
                let all = Bounds { start: i64::MIN, end: i64::MAX, ..Bounds::default() };
                let series = collect(ctx, labels, drop_name, &columns, all, Extension::None)?;
                series.map_or(Ok(()), &mut *take)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn of_selector(
    ctx: &Context<'_>,
    id: usize,
    range: &RangeSelect,
    steps: Steps,
    take: &mut Taker<'_>,
) -> Result<(), Error> {
    let select = &range.select;
    let lookback = ctx.settings.lookback;
    let (before, after) = match select.extension {
        Extension::None => (0, 0),
        Extension::Anchored => (lookback, 0),
        Extension::Smoothed => (lookback, lookback),
    };
    let span = selector_range(select, steps, range.range.saturating_add(before), after);
    let series = scan::select(ctx, select, span, 0, range.range)?;
    let end = select.reference(steps.start);
    let bounds = Bounds { start: end.saturating_sub(range.range), end, before, after, time: steps.start };
    let mut seen = 0;
    for batch in series.chunks(BATCH_SERIES) {
        let found = ctx.parallel(batch.iter().collect(), Columns::default, |scratch, series| {
            ctx.check()?;
            scratch.clear();
            series.read(scratch)?;
            collect(ctx, scan::labels(select, series.as_ref())?, false, scratch, bounds, select.extension)
        })?;
        for series in found {
            seen += series.samples();
            take(series)?;
        }
        let max = ctx.settings.max_samples;
        if seen > max {
            return Err(Error::Limit(Limit::Samples { max }));
        }
    }
    if let Some(meter) = ctx.meters.get(id) {
        let mut loads = meter.loads();
        (loads.seen, loads.read, loads.out) = (seen, seen, seen);
        if ctx.settings.per_step {
            (loads.seen_per_step, loads.read_per_step) = (vec![seen], vec![seen]);
        }
    }
    Ok(())
}

impl RangeSeries {
    fn samples(&self) -> u64 {
        self.floats.len() as u64 + self.histograms.iter().map(|(_, h)| histogram_samples(h)).sum::<u64>()
    }
}

fn collect(
    ctx: &Context<'_>,
    labels: Labels,
    drop_name: bool,
    columns: &Columns,
    bounds: Bounds,
    extension: Extension,
) -> Result<Option<RangeSeries>, Error> {
    let samples = Samples::of(columns);
    let mut found = None;
    samples.each(1, |_| bounds, |_, w| found = Some(of_window(w, extension)));
    let Some((floats, histograms)) = found else { return Ok(None) };
    if extension != Extension::None && !histograms.is_empty() {
        let word = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
        return Err(Fault::Other(format!("{word} modifier is not supported with histograms")).into());
    }
    if floats.is_empty() && histograms.is_empty() {
        return Ok(None);
    }
    let mut series = RangeSeries { labels, drop_name, floats, histograms, charge: Charge::default() };
    series.charge = ctx.budget.charge(series.samples() * 16)?;
    Ok(Some(series))
}

type Collected = (Vec<(i64, f64)>, Vec<(i64, Arc<FloatHistogram>)>);

fn of_window(w: &Window<'_>, extension: Extension) -> Collected {
    let floats = match extension {
        Extension::None => w.float_times.iter().copied().zip(w.floats.iter().copied()).collect(),
        _ => extended::with_bounds(w, extension == Extension::Smoothed),
    };
    (floats, w.histogram_times.iter().copied().zip(w.histograms.iter().cloned()).collect())
}

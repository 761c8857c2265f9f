//! What each node of a plan did: series, points, bytes, time, and the samples it looked at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::sample::is_stale;

use super::{Batch, BoxOperator, Context, Operator};
use crate::error::{Error, Limit};
use crate::value::{Column, Points};

/// Of one node.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) series: AtomicU64,
    /// Points of its result; histograms count by their size.
    pub(crate) points: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Time spent in it and in what stands below it.
    pub(crate) nanos: AtomicU64,
    loads: Mutex<Loads>,
    /// Whether its result is counted step by step.
    stepwise: bool,
    steps: Mutex<StepCounts>,
}

/// What a result has at each step.
#[derive(Debug, Default, Clone)]
pub(crate) struct StepCounts {
    /// Series with a point.
    pub(crate) series: Vec<u32>,
    /// What their points count for; empty if that is one each.
    pub(crate) samples: Vec<u64>,
}

impl StepCounts {
    fn add(&mut self, points: &Points) {
        self.series.resize(points.len(), 0);
        if points.histograms.is_some() && self.samples.is_empty() {
            self.samples = self.series.iter().map(|count| u64::from(*count)).collect();
        }
        if points.histograms.is_none() {
            self.series
                .iter_mut()
                .zip(&points.floats)
                .for_each(|(count, value)| *count += u32::from(!is_stale(*value)));
        } else {
            let present = (0..points.len()).map(|i| u32::from(points.is_present(i)));
            self.series.iter_mut().zip(present).for_each(|(count, present)| *count += present);
        }
        self.samples.iter_mut().enumerate().for_each(|(i, count)| *count += points.samples_at(i));
    }

    /// What the points of step `i` count for.
    pub(crate) fn samples_at(&self, i: usize) -> u64 {
        let series = || self.series.get(i).map_or(0, |count| u64::from(*count));
        self.samples.get(i).copied().unwrap_or_else(series)
    }
}

/// Samples that a node looked at in storage or in a subquery.
#[derive(Debug, Default, Clone)]
pub(crate) struct Loads {
    /// Points that the windows gave.
    pub(crate) out: u64,
    /// The most samples held at a time if series are worked on one by one: the window, and the points so far.
    pub(crate) peak: u64,
    /// Each sample as often as a window held it.
    pub(crate) seen: u64,
    /// Each sample once.
    pub(crate) read: u64,
    /// The same per step, if that is asked for.
    pub(crate) seen_per_step: Vec<u64>,
    pub(crate) read_per_step: Vec<u64>,
}

/// What one series added.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Samples of the fullest window and of the last one.
    pub(crate) widest: u64,
    pub(crate) last: u64,
    pub(crate) seen: u64,
    pub(crate) read: u64,
}

/// A series worked on: what came of it, if anything, and what it took.
#[derive(Debug, Default)]
pub(crate) struct Worked {
    pub(crate) column: Option<Column>,
    pub(crate) load: Load,
}

impl Meter {
    /// One whose node's result is counted step by step, if `stepwise`.
    pub(crate) fn new(stepwise: bool) -> Self {
        Self { stepwise, ..Self::default() }
    }

    pub(crate) fn steps(&self) -> MutexGuard<'_, StepCounts> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Takes note of series in their order, and gives the columns that came of them.
    ///
    /// # Errors
    /// If more samples were held than allowed.
    pub(crate) fn settle(&self, worked: Vec<Worked>, max: u64) -> Result<Batch, Error> {
        let mut loads = self.loads();
        let mut batch = Batch::with_capacity(worked.len());
        for Worked { column, load } in worked {
            loads.peak = loads.peak.max(loads.out + load.widest);
            loads.seen += load.seen;
            loads.read += load.read;
            if let Some(column) = column {
                loads.out += column.points.samples();
                batch.push(column);
            }
            loads.peak = loads.peak.max(loads.out + load.last);
        }
        if loads.peak > max { Err(Error::Limit(Limit::Samples { max })) } else { Ok(batch) }
    }
}

/// An operator whose output is counted.
struct Metered<'q> {
    ctx: &'q Context<'q>,
    meter: &'q Meter,
    child: BoxOperator<'q>,
}

/// The operator, with what it yields and how long that takes noted for node `id`.
pub(super) fn metered<'q>(ctx: &'q Context<'q>, id: usize, child: BoxOperator<'q>) -> BoxOperator<'q> {
    match ctx.meters.get(id) {
        Some(meter) => Box::new(Metered { ctx, meter, child }),
        None => child,
    }
}

impl Operator for Metered<'_> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let started = self.ctx.now();
        let batch = self.child.next();
        self.meter.nanos.fetch_add(self.ctx.now().saturating_sub(started), Ordering::Relaxed);
        let Some(batch) = batch? else { return Ok(None) };
        let points: u64 = batch.iter().map(|column| column.points.samples()).sum();
        let bytes: u64 = batch.iter().map(|column| column.points.bytes()).sum();
        if self.meter.stepwise {
            let mut steps = self.meter.steps();
            batch.iter().for_each(|column| steps.add(&column.points));
        }
        self.meter.series.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.meter.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = self.meter.points.fetch_add(points, Ordering::Relaxed) + points;
        // Upstream holds the whole result of every node: it would fail here at the latest.
        let max = self.ctx.settings.max_samples;
        if held > max { Err(Error::Limit(Limit::Samples { max })) } else { Ok(Some(batch)) }
    }
}

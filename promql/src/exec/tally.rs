//! Counting the samples in the windows of one series.

use super::Context;
use super::meter::Load;
use crate::kernel::frames::Frame;
use crate::kernel::window::{Samples, Window};
use crate::value::{Steps, histogram_samples};

pub(super) struct Tally {
    load: Load,
    steps: usize,
    /// What the histograms up to each one weigh; empty without histograms.
    weights: Vec<u64>,
    /// One past the last float and histogram that were in a window.
    reached: (usize, usize),
    per_step: Option<PerStep>,
}

struct PerStep {
    seen: Vec<u64>,
    read: Vec<u64>,
}

impl Tally {
    pub(super) fn new(samples: &Samples<'_>, steps: Steps, per_step: bool) -> Self {
        let mut weights = Vec::new();
        if !samples.histograms().is_empty() {
            weights.push(0);
            let mut sum = 0;
            weights.extend(samples.histograms().iter().map(|h| {
                sum += histogram_samples(h);
                sum
            }));
        }
        let zeros = || vec![0; steps.count];
        let per_step = per_step.then(|| PerStep { seen: zeros(), read: zeros() });
        Self { load: Load::default(), steps: steps.count, weights, reached: (0, 0), per_step }
    }

    fn weight(&self, from: usize, to: usize) -> u64 {
        if self.weights.is_empty() || from >= to { 0 } else { self.weights[to] - self.weights[from] }
    }

    /// Counts the window of step `i`. Of what it holds, that was read anew which no window before it held.
    pub(super) fn add(&mut self, i: usize, w: &Window<'_>) {
        let floats = (w.first_float, w.first_float + w.floats.len());
        let histograms = (w.first_histogram, w.first_histogram + w.histograms.len());
        let seen = w.floats.len() as u64 + self.weight(histograms.0, histograms.1);
        let fresh = floats.1.saturating_sub(floats.0.max(self.reached.0)) as u64;
        let read = fresh + self.weight(histograms.0.max(self.reached.1), histograms.1);
        self.reached = (self.reached.0.max(floats.1), self.reached.1.max(histograms.1));
        self.load.seen += seen;
        self.load.read += read;
        self.load.widest = self.load.widest.max(seen);
        if i + 1 == self.steps {
            self.load.last = seen;
        }
        if let Some(per_step) = &mut self.per_step {
            per_step.seen[i] += seen;
            per_step.read[i] += read;
        }
    }

    /// Counts all windows of a series of floats, as [`Tally::add`] would one by one.
    pub(super) fn add_frames(&mut self, frames: &[Frame]) {
        let (mut seen, mut read, mut widest, mut reached) = (0, 0, 0, 0);
        for &(from, to) in frames {
            let count = to - from;
            seen += count;
            widest = widest.max(count);
            read += to.saturating_sub(from.max(reached));
            reached = reached.max(to);
        }
        let last = frames.last().map_or(0, |(from, to)| to - from);
        self.load = Load { seen: seen as u64, read: read as u64, widest: widest as u64, last: last as u64 };
        if let Some(per_step) = &mut self.per_step {
            let mut reached = 0;
            for (i, &(from, to)) in frames.iter().enumerate() {
                per_step.seen[i] += (to - from) as u64;
                per_step.read[i] += to.saturating_sub(from.max(reached)) as u64;
                reached = reached.max(to);
            }
        }
    }

    pub(super) fn finish(self, ctx: &Context<'_>, id: usize) -> Load {
        if let (Some(per_step), Some(meter)) = (self.per_step, ctx.meters.get(id)) {
            let mut loads = meter.loads();
            loads.seen_per_step.resize(self.steps, 0);
            loads.read_per_step.resize(self.steps, 0);
            loads.seen_per_step.iter_mut().zip(&per_step.seen).for_each(|(sum, n)| *sum += n);
            loads.read_per_step.iter_mut().zip(&per_step.read).for_each(|(sum, n)| *sum += n);
        }
        self.load
    }
}

//! What a group keeps per step while series fold into it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::sample::is_stale;

use crate::ast::AggregateOp;
use crate::exec::scalar::Numbers;
use crate::histogram::Accumulator;
use crate::kernel::kahan::{Mean, Sum};
use crate::kernel::quantile::quantile;
use crate::value::{ABSENT, Point, Points};

/// What was met on the way, told once for the aggregation.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) histogram_ignored: bool,
    pub(super) mixed: bool,
    pub(super) reconciled: bool,
    pub(super) collision: bool,
    /// Metrics whose histograms did not go with the others.
    pub(super) incompatible: BTreeSet<String>,
}

/// A group's values, one per step.
pub(super) enum State {
    Sum(Summed<Sums>),
    Avg(Summed<Means>),
    /// How many points there are; 0 is none.
    Count(Vec<f64>),
    /// Whether there is a point.
    Group(Vec<bool>),
    /// The best float so far.
    Best {
        values: Vec<f64>,
        max: bool,
    },
    /// Count, mean, and sum of squared distances from it.
    Variance {
        moments: Vec<[f64; 3]>,
        root: bool,
    },
    /// All floats.
    Quantile(Vec<Vec<f64>>),
}

/// Floats and histograms added up; both at the same step is a fault.
pub(super) struct Summed<F> {
    floats: F,
    histograms: Vec<Option<Accumulator>>,
}

/// What floats come to, step by step.
pub(super) trait Floats {
    /// Takes in a series: one value per step, [`ABSENT`] where there is none.
    fn fold(&mut self, values: &[f64]);

    /// At step `i`; `None` if no series had a float there.
    fn value(&self, i: usize) -> Option<f64>;
}

/// Compensated sums, in columns: [`ABSENT`] before the first float.
pub(super) struct Sums {
    sums: Vec<f64>,
    lost: Vec<f64>,
}

impl Floats for Sums {
    fn fold(&mut self, values: &[f64]) {
        for ((sum, lost), value) in self.sums.iter_mut().zip(&mut self.lost).zip(values) {
            if !is_stale(*value) {
                let before = if is_stale(*sum) { 0.0 } else { *sum };
                let after = Sum { sum: before, lost: *lost }.plus(*value);
                (*sum, *lost) = (after.sum, after.lost);
            }
        }
    }

    fn value(&self, i: usize) -> Option<f64> {
        let (sum, lost) = (self.sums[i], self.lost[i]);
        (!is_stale(sum)).then(|| Sum { sum, lost }.total())
    }
}

/// Means; `None` before the first float.
pub(super) struct Means(Vec<Option<Mean>>);

impl Floats for Means {
    fn fold(&mut self, values: &[f64]) {
        for (mean, value) in self.0.iter_mut().zip(values).filter(|(_, value)| !is_stale(**value)) {
            mean.get_or_insert_with(Mean::default).add(*value);
        }
    }

    fn value(&self, i: usize) -> Option<f64> {
        self.0[i].map(|mean| mean.value())
    }
}

impl State {
    pub(super) fn new(op: AggregateOp, count: usize) -> Self {
        match op {
            AggregateOp::Sum => {
                let floats = Sums { sums: vec![ABSENT; count], lost: vec![0.0; count] };
                State::Sum(Summed { floats, histograms: Vec::new() })
            }
            AggregateOp::Avg => State::Avg(Summed { floats: Means(vec![None; count]), histograms: Vec::new() }),
            AggregateOp::Count => State::Count(vec![0.0; count]),
            AggregateOp::Group => State::Group(vec![false; count]),
            AggregateOp::Max | AggregateOp::Min => {
                State::Best { values: vec![ABSENT; count], max: op == AggregateOp::Max }
            }
            AggregateOp::Quantile => State::Quantile(vec![Vec::new(); count]),
            _ => State::Variance { moments: vec![[0.0; 3]; count], root: op == AggregateOp::Stddev },
        }
    }

    /// Takes in a series.
    pub(super) fn fold(&mut self, points: &Points, metric: &str, seen: &mut Seen) {
        match self {
            State::Sum(sums) => sums.fold(points, metric, seen),
            State::Avg(means) => means.fold(points, metric, seen),
            State::Count(counts) => {
                for (i, count) in counts.iter_mut().enumerate() {
                    *count += f64::from(u8::from(points.is_present(i)));
                }
            }
            State::Group(present) => present.iter_mut().enumerate().for_each(|(i, p)| *p |= points.is_present(i)),
            State::Best { values, max } => {
                let max = *max;
                each_float(points, seen, |i, value| {
                    let best = values[i];
                    // NaN gives way to anything; so does ABSENT, being one.
                    if best.is_nan() || (max && value > best) || (!max && value < best) {
                        values[i] = value;
                    }
                });
            }
            State::Variance { moments, .. } => each_float(points, seen, |i, value| {
                let [count, mean, squares] = &mut moments[i];
                *count += 1.0;
                let delta = value - *mean;
                *mean += delta / *count;
                *squares += delta * (value - *mean);
            }),
            State::Quantile(values) => each_float(points, seen, |i, value| values[i].push(value)),
        }
    }

    /// The group's points.
    pub(super) fn finish(self, q: &Numbers, count: usize, seen: &mut Seen) -> Points {
        let floats = match self {
            State::Sum(sums) => return sums.finish(count, seen, |h| h.sum()),
            State::Avg(means) => return means.finish(count, seen, |h| h.mean()),
            State::Count(counts) => counts.into_iter().map(|c| if c > 0.0 { c } else { ABSENT }).collect(),
            State::Group(present) => present.into_iter().map(|p| if p { 1.0 } else { ABSENT }).collect(),
            State::Best { values, .. } => values,
            State::Variance { moments, root } => moments
                .into_iter()
                .map(|[count, _, squares]| match (count > 0.0, root) {
                    (false, _) => ABSENT,
                    (true, true) => (squares / count).sqrt(),
                    (true, false) => squares / count,
                })
                .collect(),
            State::Quantile(values) => values
                .into_iter()
                .enumerate()
                .map(|(i, mut all)| if all.is_empty() { ABSENT } else { quantile(q.at(i), &mut all) })
                .collect(),
        };
        Points { floats, histograms: None }
    }
}

/// Visits the floats; histograms are left out and noted.
fn each_float(points: &Points, seen: &mut Seen, mut visit: impl FnMut(usize, f64)) {
    for i in 0..points.len() {
        match points.get(i) {
            Some(Point::Float(value)) => visit(i, value),
            Some(Point::Histogram(_)) => seen.histogram_ignored = true,
            None => {}
        }
    }
}

impl<F: Floats> Summed<F> {
    fn fold(&mut self, points: &Points, metric: &str, seen: &mut Seen) {
        self.floats.fold(&points.floats);
        if points.histograms.is_none() {
            return;
        }
        let count = points.len();
        if self.histograms.is_empty() {
            self.histograms.resize_with(count, || None);
        }
        for (i, sum) in self.histograms.iter_mut().enumerate() {
            let Some(histogram) = points.histogram(i) else { continue };
            match sum {
                None => *sum = Some(Accumulator::new(histogram)),
                Some(sum) => match sum.add(histogram) {
                    Ok(reconciled) => seen.reconciled |= reconciled,
                    Err(_) => {
                        seen.incompatible.insert(metric.to_owned());
                    }
                },
            }
        }
    }

    fn finish(
        self,
        count: usize,
        seen: &mut Seen,
        combined: impl Fn(Accumulator) -> Option<model::histogram::FloatHistogram>,
    ) -> Points {
        let mut points = Points::absent(count);
        let mut histograms = self.histograms;
        histograms.resize_with(count, || None);
        for (i, histogram) in histograms.into_iter().enumerate() {
            match (self.floats.value(i), histogram) {
                (Some(_), Some(_)) => seen.mixed = true,
                (Some(sum), None) => points.floats[i] = sum,
                (None, Some(sum)) => {
                    seen.collision |= sum.has_collision();
                    if let Some(histogram) = combined(sum) {
                        points.set_histogram(i, Arc::new(histogram));
                    }
                }
                (None, None) => {}
            }
        }
        points
    }
}

//! `rate`, `increase`, `delta`, `irate`, `idelta`, `resets`, `changes`.

use model::histogram::FloatHistogram;

use super::start::{self, Starts};
use super::window::{Flags, Output, Window};
use crate::histogram;

/// What the samples are, and what is wanted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Only rises, but for resets.
    pub(crate) counter: bool,
    /// Divided by time.
    pub(crate) per_second: bool,
}

/// For each sample how many counter resets lie before it in the series: equal counts mean none between.
pub(crate) fn resets_before(floats: &[f64], starts: Starts<'_>) -> Vec<u32> {
    let mut resets = 0;
    let mut previous = f64::NEG_INFINITY;
    floats
        .iter()
        .enumerate()
        .map(|(i, &value)| {
            resets += u32::from(value < previous || (i > 0 && starts.reset_before(i)));
            previous = value;
            resets
        })
        .collect()
}

/// The increase over the window, extrapolated to its bounds where the samples come close to them.
///
/// `resets` is from [`resets_before`]; `histogram_resets` says of each histogram whether a reset lies before it.
pub(crate) fn extrapolated(
    w: &Window<'_>,
    kind: Kind,
    resets: &[u32],
    histogram_resets: &[bool],
    flags: &mut Flags,
) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    if !w.histograms.is_empty() {
        return extrapolated_histogram(w, kind, histogram_resets, flags);
    }
    let (Some(&first), Some(&last)) = (w.floats.first(), w.floats.last()) else { return Output::None };
    let count = w.floats.len();
    let starts = w.float_starts;
    let mut increase = last - first;
    if kind.counter {
        let resets = &resets[w.first_float..w.first_float + count];
        if resets[0] != resets[count - 1] {
            for i in (1..count).filter(|i| resets[*i] != resets[i - 1]) {
                increase += w.floats[i - 1];
            }
        }
        flags.start_overlap |= starts.overlap();
    }
    if let Some(start) = starts.first_behind(w.start).filter(|_| kind.counter) {
        return ((increase + first) * factor_since(w, w.float_times, kind, start)).into();
    }
    if count < 2 {
        return Output::None;
    }
    let zero = (kind.counter && increase > 0.0 && first >= 0.0).then(|| first / increase);
    (increase * factor((w.start, w.end), w.float_times, kind, zero)).into()
}

/// [`extrapolated`] over a series of floats without start timestamps, window by window.
///
/// Where samples come at even distances, windows mostly lie in the same way around theirs: what follows from that alone
/// is kept from one to the next.
pub(crate) struct Extrapolation<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// From [`super::frames::running_count`]; empty if it is no counter.
    pub(crate) resets: &'a [u32],
    pub(crate) kind: Kind,
    /// Before the first sample, between first and last, after the last, and how many there are.
    placed: (i64, i64, i64, usize),
    sampled: f64,
    to_start: f64,
    /// If nothing limits how far the start is reached back to.
    factor: f64,
}

impl<'a> Extrapolation<'a> {
    pub(crate) fn new(times: &'a [i64], values: &'a [f64], resets: &'a [u32], kind: Kind) -> Self {
        Self { times, values, resets, kind, placed: (0, 0, 0, 0), sampled: 0.0, to_start: 0.0, factor: 0.0 }
    }

    /// The samples from `from` up to `to`, in the window after `start` up to `end`; `None` for a single one.
    #[inline]
    pub(crate) fn of(&mut self, (from, to): (usize, usize), (start, end): (i64, i64)) -> Option<f64> {
        if to - from < 2 {
            return None;
        }
        let (first, last) = (self.values[from], self.values[to - 1]);
        let mut increase = last - first;
        if self.kind.counter && self.resets[from] != self.resets[to - 1] {
            for i in (from + 1..to).filter(|i| self.resets[*i] != self.resets[i - 1]) {
                increase += self.values[i - 1];
            }
        }
        let (first_time, last_time) = (self.times[from], self.times[to - 1]);
        let placed = (first_time - start, last_time - first_time, end - last_time, to - from);
        if placed != self.placed {
            self.place(placed, (start, end), &self.times[from..to]);
        }
        // Counters do not go below 0. The product tells without a division that this is no limit, unless it is close.
        let is_far = first * self.sampled > increase * self.to_start * (1.0 + 1e-9);
        if self.kind.counter && increase > 0.0 && first >= 0.0 && !is_far {
            let zero = Some(first / increase);
            return Some(increase * factor((start, end), &self.times[from..to], self.kind, zero));
        }
        Some(increase * self.factor)
    }

    fn place(&mut self, placed: (i64, i64, i64, usize), window: (i64, i64), times: &[i64]) {
        self.placed = placed;
        self.sampled = placed.1 as f64 / 1000.0;
        let average = self.sampled / (placed.3 - 1) as f64;
        self.to_start = placed.0 as f64 / 1000.0;
        if self.to_start >= average * 1.1 {
            self.to_start = average / 2.0;
        }
        self.factor = factor(window, times, self.kind, None);
    }
}

/// By how much to multiply the increase since `start`, at which the counter was 0: nothing is extrapolated before it.
fn factor_since(w: &Window<'_>, times: &[i64], kind: Kind, start: i64) -> f64 {
    let (first, last) = (times[0], times[times.len() - 1]);
    // Of a single sample the distance to others is not known: nothing is extrapolated at all.
    let gaps = (times.len() - 1).max(1) as f64;
    let average = (last - first) as f64 / 1000.0 / gaps;
    let mut to_end = (w.end - last) as f64 / 1000.0;
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    let sampled = (last - start) as f64 / 1000.0;
    let factor = (sampled + 0.0 + to_end) / sampled;
    if kind.per_second { factor / seconds(w) } else { factor }
}

/// By how much to multiply the increase between the first and last sample. `zero` is the first value over the
/// increase: how far before the first sample, in sampled intervals, a counter was 0.
#[inline]
fn factor((start, end): (i64, i64), times: &[i64], kind: Kind, zero: Option<f64>) -> f64 {
    let (first, last) = (times[0], times[times.len() - 1]);
    let sampled = (last - first) as f64 / 1000.0;
    let average = sampled / (times.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = (first - start) as f64 / 1000.0;
    let mut to_end = (end - last) as f64 / 1000.0;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if let Some(zero) = zero {
        to_start = to_start.min(sampled * zero);
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if kind.per_second { factor / ((end - start) as f64 / 1000.0) } else { factor }
}

/// The length of the window.
pub(crate) fn seconds(w: &Window<'_>) -> f64 {
    (w.end - w.start) as f64 / 1000.0
}

fn extrapolated_histogram(w: &Window<'_>, kind: Kind, resets: &[bool], flags: &mut Flags) -> Output {
    let starts = w.histogram_starts;
    let several = w.histograms.len() > 1;
    let mut increase = None;
    if several {
        let resets = kind.counter.then(|| &resets[w.first_histogram..w.first_histogram + w.histograms.len()]);
        flags.start_overlap |= kind.counter && starts.overlap();
        increase = histogram::increase(w.histograms, resets, flags);
        if increase.is_none() {
            return Output::None;
        }
    }
    if let Some(start) = starts.first_behind(w.start).filter(|_| kind.counter) {
        let first = &w.histograms[0];
        let Some(mut since) = histogram::since_zero(increase, first, flags) else { return Output::None };
        histogram::scale(&mut since, factor_since(w, w.histogram_times, kind, start));
        return Output::Histogram(since);
    }
    let Some(mut increase) = increase else { return Output::None };
    let first = w.histograms[0].count;
    let zero = (kind.counter && increase.count > 0.0 && first >= 0.0).then(|| first / increase.count);
    histogram::scale(&mut increase, factor((w.start, w.end), w.histogram_times, kind, zero));
    Output::Histogram(increase)
}

/// The last two samples of the window, by time.
fn last_two<'w>(w: &Window<'w>) -> Option<[Neighbour<'w>; 2]> {
    let floats = (0..w.floats.len()).rev().take(2).map(|i| Neighbour::float(w, i));
    let histograms = (0..w.histograms.len()).rev().take(2).map(|i| Neighbour::histogram(w, i));
    let mut latest: Vec<Neighbour<'_>> = floats.chain(histograms).collect();
    latest.sort_by_key(|sample| sample.place.1);
    let b = latest.pop()?;
    let a = latest.pop()?;
    Some([a, b])
}

/// A sample among others.
#[derive(Clone, Copy)]
struct Neighbour<'a> {
    /// Start timestamp, and time.
    place: (i64, i64),
    value: Either<'a>,
}

#[derive(Clone, Copy)]
enum Either<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

impl<'a> Neighbour<'a> {
    fn float(w: &Window<'a>, i: usize) -> Self {
        Self { place: (w.float_starts.at(i), w.float_times[i]), value: Either::Float(w.floats[i]) }
    }

    fn histogram(w: &Window<'a>, i: usize) -> Self {
        let place = (w.histogram_starts.at(i), w.histogram_times[i]);
        Self { place, value: Either::Histogram(&w.histograms[i]) }
    }
}

/// The change between the last two samples.
pub(crate) fn instant(w: &Window<'_>, kind: Kind, flags: &mut Flags) -> Output {
    let n = w.floats.len();
    // The common case first: floats only, without building anything.
    let last = if w.histograms.is_empty() {
        (n >= 2).then(|| [Neighbour::float(w, n - 2), Neighbour::float(w, n - 1)])
    } else {
        last_two(w)
    };
    let Some([a, b]) = last else { return Output::None };
    let interval = (b.place.1 - a.place.1) as f64 / 1000.0;
    if interval == 0.0 {
        return Output::None;
    }
    let started = start::is_reset(a.place, b.place);
    match (a.value, b.value) {
        (Either::Float(a), Either::Float(b)) => {
            let change = if kind.counter && (b < a || started) { b } else { b - a };
            if kind.per_second { (change / interval).into() } else { change.into() }
        }
        (Either::Histogram(a), Either::Histogram(b)) => {
            let Some(change) = histogram::change(a, b, kind.counter, started, flags) else { return Output::None };
            Output::Histogram(if kind.per_second { histogram::divided(&change, interval) } else { change })
        }
        _ => {
            flags.mixed = true;
            Output::None
        }
    }
}

/// Pairs of neighbours in the window, floats and histograms together by time, from `(floats, histograms)` on.
fn count_pairs(w: &Window<'_>, from: (usize, usize), counts: impl Fn(&Neighbour<'_>, &Neighbour<'_>) -> bool) -> f64 {
    let (mut f, mut h) = from;
    let mut previous: Option<Neighbour<'_>> = None;
    let mut found = 0;
    while f < w.floats.len() || h < w.histograms.len() {
        let float_first = h >= w.histograms.len() || (f < w.floats.len() && w.float_times[f] < w.histogram_times[h]);
        let current = if float_first { Neighbour::float(w, f) } else { Neighbour::histogram(w, h) };
        if float_first {
            f += 1;
        } else {
            h += 1;
        }
        found += u32::from(previous.is_some_and(|previous| counts(&previous, &current)));
        previous = Some(current);
    }
    f64::from(found)
}

/// Counter resets between neighbours. `from`: first float and histogram looked at.
pub(crate) fn resets(w: &Window<'_>, from: (usize, usize)) -> Output {
    let reset = |a: &Neighbour<'_>, b: &Neighbour<'_>| match (a.value, b.value) {
        (Either::Float(x), Either::Float(y)) => y < x || start::is_reset(a.place, b.place),
        (Either::Histogram(x), Either::Histogram(y)) => start::is_reset(a.place, b.place) || histogram::is_reset(y, x),
        _ => true,
    };
    count_pairs(w, from, reset).into()
}

/// Changes between neighbours.
pub(crate) fn changes(w: &Window<'_>, from: (usize, usize)) -> Output {
    let differ = |a: &Neighbour<'_>, b: &Neighbour<'_>| match (a.value, b.value) {
        (Either::Float(a), Either::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Either::Histogram(a), Either::Histogram(b)) => !histogram::equal(a, b),
        _ => true,
    };
    count_pairs(w, from, differ).into()
}

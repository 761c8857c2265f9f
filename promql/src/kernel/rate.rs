//! `rate`, `increase`, `delta`, `irate`, `idelta`, `resets`, `changes`.

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
pub(crate) fn resets_before(floats: &[f64]) -> Vec<u32> {
    let mut resets = 0;
    let mut previous = f64::NEG_INFINITY;
    floats
        .iter()
        .map(|&value| {
            resets += u32::from(value < previous);
            previous = value;
            resets
        })
        .collect()
}

/// The increase over the window, extrapolated to its bounds where the samples come close to them.
pub(crate) fn extrapolated(w: &Window<'_>, kind: Kind, resets: &[u32], flags: &mut Flags) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    if !w.histograms.is_empty() {
        return extrapolated_histogram(w, kind, flags);
    }
    let (Some(&first), Some(&last)) = (w.floats.first(), w.floats.last()) else { return Output::None };
    let count = w.floats.len();
    if count < 2 {
        return Output::None;
    }
    let mut increase = last - first;
    let had_resets = kind.counter && resets[w.first_float] != resets[w.first_float + count - 1];
    if had_resets {
        increase += w.floats.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
    }
    let zero = (kind.counter && increase > 0.0 && first >= 0.0).then(|| first / increase);
    (increase * factor(w, w.float_times, kind, zero)).into()
}

/// By how much to multiply the increase between the first and last sample. `zero` is the first value over the
/// increase: how far before the first sample, in sampled intervals, a counter was 0.
fn factor(w: &Window<'_>, times: &[i64], kind: Kind, zero: Option<f64>) -> f64 {
    let (first, last) = (times[0], times[times.len() - 1]);
    let sampled = (last - first) as f64 / 1000.0;
    let average = sampled / (times.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = (first - w.start) as f64 / 1000.0;
    let mut to_end = (w.end - last) as f64 / 1000.0;
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
    if kind.per_second { factor / seconds(w) } else { factor }
}

/// The length of the window.
pub(crate) fn seconds(w: &Window<'_>) -> f64 {
    (w.end - w.start) as f64 / 1000.0
}

fn extrapolated_histogram(w: &Window<'_>, kind: Kind, flags: &mut Flags) -> Output {
    if w.histograms.len() < 2 {
        return Output::None;
    }
    let Some(mut increase) = histogram::increase(w.histograms, kind.counter, flags) else { return Output::None };
    let first = w.histograms[0].count;
    let zero = (kind.counter && increase.count > 0.0 && first >= 0.0).then(|| first / increase.count);
    histogram::scale(&mut increase, factor(w, w.histogram_times, kind, zero));
    Output::Histogram(increase)
}

/// The last two samples of the window, by time.
fn last_two<'w>(w: &Window<'w>) -> Option<[(i64, Last<'w>); 2]> {
    let floats = w.float_times.iter().zip(w.floats).rev().take(2).map(|(t, v)| (*t, Last::Float(*v)));
    let histograms = w.histogram_times.iter().zip(w.histograms).rev().take(2).map(|(t, h)| (*t, Last::Histogram(h)));
    let mut latest: Vec<(i64, Last<'_>)> = floats.chain(histograms).collect();
    latest.sort_by_key(|(time, _)| *time);
    let b = latest.pop()?;
    let a = latest.pop()?;
    Some([a, b])
}

#[derive(Clone, Copy)]
enum Last<'a> {
    Float(f64),
    Histogram(&'a model::histogram::FloatHistogram),
}

/// The change between the last two samples.
pub(crate) fn instant(w: &Window<'_>, kind: Kind, flags: &mut Flags) -> Output {
    // The common case first: floats only, without building anything.
    if w.histograms.is_empty() {
        let n = w.floats.len();
        if n < 2 {
            return Output::None;
        }
        let interval = (w.float_times[n - 1] - w.float_times[n - 2]) as f64 / 1000.0;
        return instant_float(w.floats[n - 2], w.floats[n - 1], interval, kind);
    }
    let Some([(t0, a), (t1, b)]) = last_two(w) else { return Output::None };
    let interval = (t1 - t0) as f64 / 1000.0;
    match (a, b) {
        (Last::Float(a), Last::Float(b)) => instant_float(a, b, interval, kind),
        (Last::Histogram(a), Last::Histogram(b)) => {
            let Some(mut change) = histogram::change(a, b, kind.counter, flags) else { return Output::None };
            if kind.per_second {
                histogram::scale(&mut change, 1.0 / interval);
            }
            Output::Histogram(change)
        }
        _ => {
            flags.mixed = true;
            Output::None
        }
    }
}

fn instant_float(a: f64, b: f64, interval: f64, kind: Kind) -> Output {
    let change = if kind.counter && b < a { b } else { b - a };
    if kind.per_second { (change / interval).into() } else { change.into() }
}

/// Pairs of neighbours in the window, floats and histograms together by time, from `(floats, histograms)` on.
fn count_pairs(
    w: &Window<'_>,
    from: (usize, usize),
    floats: impl Fn(f64, f64) -> bool,
    histograms: impl Fn(&model::histogram::FloatHistogram, &model::histogram::FloatHistogram) -> bool,
) -> f64 {
    if w.histograms.is_empty() {
        return w.floats[from.0..].windows(2).filter(|pair| floats(pair[0], pair[1])).count() as f64;
    }
    let (mut f, mut h) = from;
    let mut previous: Option<Last<'_>> = None;
    let mut found = 0;
    while f < w.floats.len() || h < w.histograms.len() {
        let float_first = h >= w.histograms.len() || (f < w.floats.len() && w.float_times[f] < w.histogram_times[h]);
        let current = if float_first { Last::Float(w.floats[f]) } else { Last::Histogram(&w.histograms[h]) };
        if float_first {
            f += 1;
        } else {
            h += 1;
        }
        let counts = match (previous, current) {
            (None, _) => false,
            (Some(Last::Float(a)), Last::Float(b)) => floats(a, b),
            (Some(Last::Histogram(a)), Last::Histogram(b)) => histograms(a, b),
            _ => true,
        };
        found += u32::from(counts);
        previous = Some(current);
    }
    f64::from(found)
}

/// Counter resets between neighbours. `from`: first float and histogram looked at.
pub(crate) fn resets(w: &Window<'_>, from: (usize, usize)) -> Output {
    count_pairs(w, from, |a, b| b < a, |a, b| histogram::is_reset(b, a)).into()
}

/// Changes between neighbours.
pub(crate) fn changes(w: &Window<'_>, from: (usize, usize)) -> Output {
    let differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    count_pairs(w, from, differ, |a, b| !histogram::equal(a, b)).into()
}

//! Ranges with `anchored` and `smoothed`: values at the very bounds of the window, taken or interpolated.
//!
//! Windows here are opened wider than they are: before the start for both, after the end for `smoothed`.

use super::rate::{self, Kind};
use super::window::{Flags, Output, Window};
use crate::ast::Extension;
use crate::histogram;

/// The value at `time` on the line through both points; of a counter that was reset, from zero on.
fn interpolate(a: (i64, f64), b: (i64, f64), time: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (time - a.0) as f64 / (b.0 - a.0) as f64
}

/// Which samples count: the last at or before the start (the first if there is none), and the last (for `smoothed`
/// the first at or after the end). `None` if nothing lies behind the start.
fn bounds(times: &[i64], w: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let end = times.len().checked_sub(1)?;
    let first = times[..end].partition_point(|t| *t <= w.start).saturating_sub(1);
    let last = if smoothed { times[..end].partition_point(|t| *t < w.end) } else { end };
    let outside = times[last] <= w.start || (smoothed && times[first] > w.end);
    (!outside).then_some((first, last))
}

struct Edges {
    /// Value at the start, and at the end.
    left: f64,
    right: f64,
    /// Samples strictly inside: `inside.0..inside.1`.
    inside: (usize, usize),
}

fn edges(times: &[i64], values: &[f64], w: &Window<'_>, smoothed: bool, counter: bool) -> Option<Edges> {
    let (first, last) = bounds(times, w, smoothed)?;
    let point = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < w.start {
        interpolate(point(first), point(first + 1), w.start, counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > w.end {
        interpolate(point(last - 1), point(last), w.end, counter)
    } else {
        values[last]
    };
    let from = first + usize::from(times[first] <= w.start);
    let to = if times[last] >= w.end { last } else { last + 1 };
    Some(Edges { left, right, inside: (from, to.max(from)) })
}

/// `rate`, `increase` and `delta` between the values at the window's bounds.
pub(crate) fn increase(w: &Window<'_>, kind: Kind, extension: Extension, flags: &mut Flags) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    let smoothed = extension == Extension::Smoothed;
    if !w.histograms.is_empty() {
        return increase_of_histograms(w, kind, smoothed, flags);
    }
    let Some(edges) = edges(w.float_times, w.floats, w, smoothed, kind.counter) else { return Output::None };
    let mut increase = edges.right - edges.left;
    if kind.counter {
        let (mut lost, mut previous) = (0.0, edges.left);
        for &value in w.floats[edges.inside.0..edges.inside.1].iter().chain([&edges.right]) {
            if value < previous {
                lost += previous;
            }
            previous = value;
        }
        increase += lost;
    }
    if kind.per_second { (increase / rate::seconds(w)).into() } else { increase.into() }
}

fn increase_of_histograms(w: &Window<'_>, kind: Kind, smoothed: bool, flags: &mut Flags) -> Output {
    let Some((first, last)) = bounds(w.histogram_times, w, smoothed) else { return Output::None };
    let found = histogram::extended_increase(w.histogram_times, w.histograms, (first, last), w, smoothed, kind, flags);
    let Some(increase) = found else { return Output::None };
    Output::Histogram(if kind.per_second { histogram::divided(&increase, rate::seconds(w)) } else { increase })
}

/// For `resets` and `changes` over an anchored range: the first float and histogram that count. The latest sample at
/// or before the start is the anchor, whatever its kind. `None` if nothing lies behind the start.
pub(crate) fn anchor(w: &Window<'_>) -> Option<(usize, usize)> {
    let floats = w.float_times.partition_point(|t| *t <= w.start);
    let histograms = w.histogram_times.partition_point(|t| *t <= w.start);
    if floats == w.floats.len() && histograms == w.histograms.len() {
        return None;
    }
    Some(match (floats.checked_sub(1), histograms.checked_sub(1)) {
        (None, None) => (0, 0),
        (Some(f), None) => (f, histograms),
        (Some(f), Some(h)) if w.float_times[f] >= w.histogram_times[h] => (f, histograms),
        (_, Some(h)) => (floats, h),
    })
}

/// The samples of a whole range as a query shows it: with the values at both bounds.
pub(crate) fn with_bounds(w: &Window<'_>, smoothed: bool) -> Vec<(i64, f64)> {
    let Some(end) = w.float_times.len().checked_sub(1) else { return Vec::new() };
    let last = if smoothed { w.float_times[..end].partition_point(|t| *t < w.end) } else { end };
    if w.float_times[last] <= w.start {
        return Vec::new();
    }
    let Some(edges) = edges(w.float_times, w.floats, w, smoothed, false) else { return Vec::new() };
    let inside = edges.inside.0..edges.inside.1;
    let middle = w.float_times[inside.clone()].iter().copied().zip(w.floats[inside].iter().copied());
    std::iter::once((w.start, edges.left)).chain(middle).chain([(w.end, edges.right)]).collect()
}

/// What a smoothed instant selector sees: the value at the end of the window, interpolated, or carried on from the
/// sample before. The window reaches as far behind its end as before it.
pub(crate) fn smoothed_value(w: &Window<'_>, flags: &mut Flags) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    if !w.histograms.is_empty() {
        return histogram::smoothed_value(w.histogram_times, w.histograms, w.end, flags);
    }
    let at = w.float_times.partition_point(|t| *t < w.end);
    let point = |i: usize| (w.float_times[i], w.floats[i]);
    match (at.checked_sub(1), w.float_times.get(at)) {
        (_, Some(&time)) if time == w.end => w.floats[at].into(),
        (Some(before), Some(_)) => interpolate(point(before), point(at), w.end, false).into(),
        (Some(before), None) => w.floats[before].into(),
        (None, _) => Output::None,
    }
}

//! `*_over_time`: one number from the samples of a window.

use super::kahan;
use super::quantile::quantile;
use super::sliding::Extreme;
use super::window::{Flags, Output, Window};
use crate::histogram;

/// Functions of floats only: notes histograms that are left out; nothing without floats.
fn floats<'a>(w: &'a Window<'_>, flags: &mut Flags) -> Option<&'a [f64]> {
    if w.floats.is_empty() {
        return None;
    }
    flags.histogram_ignored |= !w.histograms.is_empty();
    Some(w.floats)
}

pub(crate) fn sum(w: &Window<'_>, flags: &mut Flags) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    if w.floats.is_empty() {
        return histogram::sum(w.histograms, flags).map_or(Output::None, Output::Histogram);
    }
    kahan::sum(w.floats).into()
}

pub(crate) fn avg(w: &Window<'_>, flags: &mut Flags) -> Output {
    if w.is_mixed() {
        flags.mixed = true;
        return Output::None;
    }
    if w.floats.is_empty() {
        return histogram::average(w.histograms, flags).map_or(Output::None, Output::Histogram);
    }
    kahan::mean(w.floats).into()
}

pub(crate) fn count(w: &Window<'_>) -> Output {
    (w.len() as f64).into()
}

/// The time, in seconds, of the value that wins every comparison `better(new, best)`.
fn time_of_best(w: &Window<'_>, flags: &mut Flags, better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let values = floats(w, flags)?;
    let mut at = 0;
    for i in 0..values.len() {
        if better(values[i], values[at]) || values[at].is_nan() {
            at = i;
        }
    }
    Some(w.float_times[at] as f64 / 1000.0)
}

/// The greatest or least value.
pub(crate) fn extreme(w: &Window<'_>, extreme: &mut Extreme<'_>, flags: &mut Flags) -> Output {
    floats(w, flags).map_or(Output::None, |values| extreme.of(w.first_float, values.len()).into())
}

/// Of equal values the latest counts.
pub(crate) fn time_of_max(w: &Window<'_>, flags: &mut Flags) -> Output {
    time_of_best(w, flags, |new, best| new >= best).map_or(Output::None, Output::Float)
}

/// Of equal values the latest counts.
pub(crate) fn time_of_min(w: &Window<'_>, flags: &mut Flags) -> Output {
    time_of_best(w, flags, |new, best| new <= best).map_or(Output::None, Output::Float)
}

/// Population variance.
pub(crate) fn variance(w: &Window<'_>, flags: &mut Flags) -> Option<f64> {
    floats(w, flags).map(kahan::variance)
}

pub(crate) fn quantile_over_time(w: &Window<'_>, q: f64, flags: &mut Flags) -> Output {
    floats(w, flags).map_or(Output::None, |values| quantile(q, &mut values.to_vec()).into())
}

/// The median of the distances from the median.
pub(crate) fn median_deviation(w: &Window<'_>, flags: &mut Flags) -> Output {
    let Some(values) = floats(w, flags) else { return Output::None };
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN.into();
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values).into()
}

/// The first sample, float or histogram.
pub(crate) fn first(w: &Window<'_>) -> Output {
    match (w.float_times.first(), w.histogram_times.first()) {
        (Some(f), Some(h)) if f >= h => Output::Histogram((*w.histograms[0]).clone()),
        (None, Some(_)) => Output::Histogram((*w.histograms[0]).clone()),
        (Some(_), _) => w.floats[0].into(),
        (None, None) => Output::None,
    }
}

/// The last sample, float or histogram.
pub(crate) fn last(w: &Window<'_>) -> Output {
    match (w.float_times.last(), w.histogram_times.last()) {
        (Some(f), Some(h)) if h >= f => last_histogram(w),
        (None, Some(_)) => last_histogram(w),
        (Some(_), _) => w.floats[w.floats.len() - 1].into(),
        (None, None) => Output::None,
    }
}

fn last_histogram(w: &Window<'_>) -> Output {
    Output::Histogram((*w.histograms[w.histograms.len() - 1]).clone())
}

pub(crate) fn time_of_first(w: &Window<'_>) -> Output {
    let first = w.float_times.first().into_iter().chain(w.histogram_times.first()).min();
    first.map_or(Output::None, |time| (*time as f64 / 1000.0).into())
}

pub(crate) fn time_of_last(w: &Window<'_>) -> Output {
    let last = w.float_times.last().into_iter().chain(w.histogram_times.last()).max();
    last.map_or(Output::None, |time| (*time as f64 / 1000.0).into())
}

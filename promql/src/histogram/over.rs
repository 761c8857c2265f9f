//! Histograms over time: sums, means, increases, and values between samples.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint};

use super::reset::is_reset;
use super::wide::{Accumulator, Wide};
use super::{Incompatible, compact, scaled};
use crate::kernel::rate::Kind;
use crate::kernel::start::Starts;
use crate::kernel::window::{Flags, Output, Window};

type Histograms<'a> = &'a [Arc<FloatHistogram>];

fn accumulated(all: Histograms<'_>, flags: &mut Flags) -> Option<Accumulator> {
    let (first, rest) = all.split_first()?;
    let mut total = Accumulator::new(first);
    for h in rest {
        match total.add(h) {
            Ok(reconciled) => flags.reconciled_aggregation |= reconciled,
            Err(Incompatible) => {
                flags.mixed_custom = true;
                return None;
            }
        }
    }
    flags.collision_aggregation |= total.has_collision();
    Some(total)
}

/// The sum of all; nothing if they do not go together.
pub(crate) fn sum(all: Histograms<'_>, flags: &mut Flags) -> Option<FloatHistogram> {
    accumulated(all, flags)?.sum()
}

/// The mean of all; nothing if they do not go together.
pub(crate) fn average(all: Histograms<'_>, flags: &mut Flags) -> Option<FloatHistogram> {
    accumulated(all, flags)?.mean()
}

fn is_gauge(h: &FloatHistogram) -> bool {
    h.reset_hint == ResetHint::Gauge
}

/// For each histogram of a counter whether it was reset since the one before, which the first never was.
pub(crate) fn resets(all: Histograms<'_>, starts: Starts<'_>) -> Vec<bool> {
    let before = |i: usize| i > 0 && (starts.reset_before(i) || is_reset(&all[i], &all[i - 1]));
    (0..all.len()).map(before).collect()
}

/// The increase from the first to the last of at least two. `resets` has those before each one, if it is a counter:
/// they are made good.
pub(crate) fn increase(all: Histograms<'_>, resets: Option<&[bool]>, flags: &mut Flags) -> Option<FloatHistogram> {
    let (first, last) = (all.first()?, all.last()?);
    let counter = resets.is_some();
    if counter {
        flags.not_counter |= all.iter().any(|h| is_gauge(h));
    } else {
        flags.not_gauge |= !is_gauge(first) || !is_gauge(last);
    }
    // A first sample right before a reset says nothing: its layout does not matter either.
    let blank;
    let mut previous: &FloatHistogram = first;
    let blanked = resets.is_some_and(|resets| resets[1]);
    if blanked {
        blank = FloatHistogram {
            schema: all[1].schema,
            custom_values: all[1].custom_values.clone(),
            ..FloatHistogram::default()
        };
        previous = &blank;
    }
    let custom = previous.uses_custom_buckets();
    let inner = all[1..all.len() - 1].iter().filter(|_| counter);
    if last.uses_custom_buckets() != custom || inner.clone().any(|h| h.uses_custom_buckets() != custom) {
        flags.mixed_custom = true;
        return None;
    }
    let schema = inner.map(|h| h.schema).fold(last.schema.min(previous.schema), i32::min);
    let mut increase = Wide::of(last);
    increase.reduce(schema);
    match increase.add(previous, -1.0) {
        Ok(odd) => flags.reconciled_subtraction |= odd.reconciled,
        Err(Incompatible) => {
            flags.mixed_custom = true;
            return None;
        }
    }
    // What a blanked first sample would add is nothing.
    for (i, _) in resets.unwrap_or_default().iter().enumerate().skip(1 + usize::from(blanked)).filter(|(_, r)| **r) {
        add(&mut increase, &all[i - 1], flags)?;
    }
    Some(gauge(&increase))
}

/// The increase with the first histogram added: of a counter that was 0 before it.
pub(crate) fn since_zero(
    increase: Option<FloatHistogram>,
    first: &FloatHistogram,
    flags: &mut Flags,
) -> Option<FloatHistogram> {
    let Some(increase) = increase else { return Some(first.clone()) };
    let mut wide = Wide::of(&increase);
    add(&mut wide, first, flags)?;
    Some(wide.finish())
}

fn gauge(wide: &Wide) -> FloatHistogram {
    let mut h = wide.finish();
    h.reset_hint = ResetHint::Gauge;
    compact(&mut h);
    h
}

fn add(into: &mut Wide, h: &FloatHistogram, flags: &mut Flags) -> Option<()> {
    // Upstream adds two at a time, each time rounded.
    into.round();
    match into.add(h, 1.0) {
        Ok(odd) => {
            flags.reconciled_addition |= odd.reconciled;
            Some(())
        }
        Err(Incompatible) => {
            flags.mixed_custom = true;
            None
        }
    }
}

/// The change from `a` to `b`, a reset of a counter made good; `started`: its counting began in between.
pub(crate) fn change(
    a: &FloatHistogram,
    b: &FloatHistogram,
    counter: bool,
    started: bool,
    flags: &mut Flags,
) -> Option<FloatHistogram> {
    if counter {
        flags.not_counter |= is_gauge(a) || is_gauge(b);
    } else {
        flags.not_gauge |= !is_gauge(a) || !is_gauge(b);
    }
    let mut change = Wide::of(b);
    if !counter || (!started && !is_reset(b, a)) {
        match change.add(a, -1.0) {
            Ok(odd) => flags.reconciled_subtraction |= odd.reconciled,
            Err(Incompatible) => {
                flags.mixed_custom = true;
                return None;
            }
        }
    }
    Some(gauge(&change))
}

/// The histogram at `time` on the way from `a` to `b`; of a counter that was reset, from zero on.
fn interpolate(
    a: (i64, &FloatHistogram),
    b: (i64, &FloatHistogram),
    time: i64,
    counter: bool,
    flags: &mut Flags,
) -> Option<FloatHistogram> {
    if time == a.0 {
        return Some(a.1.clone());
    }
    if time == b.0 {
        return Some(b.1.clone());
    }
    let fraction = (time - a.0) as f64 / (b.0 - a.0) as f64;
    if counter && is_reset(b.1, a.1) {
        return Some(scaled(b.1, fraction));
    }
    let mut between = Wide::of(b.1);
    match between.add(a.1, -1.0) {
        Ok(odd) => flags.reconciled_subtraction |= odd.reconciled,
        Err(Incompatible) => {
            flags.mixed_custom = true;
            return None;
        }
    }
    between.round();
    between.scale(fraction);
    add(&mut between, a.1, flags)?;
    Some(between.finish())
}

/// `rate`, `increase` and `delta` of an anchored or smoothed range, before division by time. `edges` are the first and
/// last histogram that count.
pub(crate) fn extended_increase(
    times: &[i64],
    all: Histograms<'_>,
    edges: (usize, usize),
    w: &Window<'_>,
    smoothed: bool,
    kind: Kind,
    flags: &mut Flags,
) -> Option<FloatHistogram> {
    let (first, last) = edges;
    let used = all.get(first..=last)?;
    let custom = used.first()?.uses_custom_buckets();
    if used.iter().any(|h| h.uses_custom_buckets() != custom) {
        flags.mixed_custom = true;
        return None;
    }
    if kind.counter {
        flags.not_counter |= used.iter().any(|h| is_gauge(h));
    }
    let point = |i: usize| (times[i], all[i].as_ref());
    let left = if smoothed && times[first] < w.start {
        interpolate(point(first), point(first + 1), w.start, kind.counter, flags)?
    } else {
        (*all[first]).clone()
    };
    let right = if smoothed && last > 0 && times[last] > w.end {
        interpolate(point(last - 1), point(last), w.end, kind.counter, flags)?
    } else {
        (*all[last]).clone()
    };
    if !kind.counter {
        flags.not_gauge |= !is_gauge(&left) || !is_gauge(&right);
    }
    let mut increase = Wide::of(&right);
    match increase.add(&left, -1.0) {
        Ok(odd) => flags.reconciled_subtraction |= odd.reconciled,
        Err(Incompatible) => {
            flags.mixed_custom = true;
            return None;
        }
    }
    if kind.counter {
        let left_interpolated = smoothed && times[first] < w.start;
        if let Some(lost) = correction(all, edges, (&left, &right), left_interpolated, flags)? {
            add(&mut increase, &lost, flags)?;
        }
    }
    Some(gauge(&increase))
}

/// What the resets between both edges took, added up by itself as upstream does; `Some(None)` without any.
fn correction(
    all: Histograms<'_>,
    (first, last): (usize, usize),
    (left, right): (&FloatHistogram, &FloatHistogram),
    left_interpolated: bool,
    flags: &mut Flags,
) -> Option<Option<FloatHistogram>> {
    let mut previous = left;
    let mut from = first + 1;
    // A reset that the interpolation on the left ran over is accounted for there.
    if left_interpolated && all.get(first + 1).is_some_and(|next| is_reset(next, &all[first])) {
        previous = &all[first + 1];
        from += 1;
    }
    let mut lost: Option<Wide> = None;
    if from > last {
        return Some(None);
    }
    // The last sample is in `right`, as it is or interpolated, with its hint.
    for current in all[from..last].iter().map(Arc::as_ref).chain([right]) {
        if is_reset(current, previous) {
            match &mut lost {
                Some(lost) => add(lost, previous, flags)?,
                None => lost = Some(Wide::of(previous)),
            }
        }
        previous = current;
    }
    Some(lost.map(|lost| lost.finish()))
}

/// What a smoothed instant selector sees at `time`.
pub(crate) fn smoothed_value(times: &[i64], all: Histograms<'_>, time: i64, flags: &mut Flags) -> Output {
    let at = times.partition_point(|t| *t < time);
    match (at.checked_sub(1), times.get(at)) {
        (_, Some(&found)) if found == time => Output::Histogram((*all[at]).clone()),
        (Some(before), Some(&after)) => {
            let (a, b) = (&all[before], &all[at]);
            if a.uses_custom_buckets() != b.uses_custom_buckets() {
                flags.mixed_custom = true;
                return Output::None;
            }
            let counter = !is_gauge(a) || !is_gauge(b);
            let found = interpolate((times[before], a), (after, b), time, counter, flags);
            found.map_or(Output::None, Output::Histogram)
        }
        (Some(before), None) => {
            let mut carried = (*all[before]).clone();
            carried.reset_hint = ResetHint::Unknown;
            Output::Histogram(carried)
        }
        (None, _) => Output::None,
    }
}

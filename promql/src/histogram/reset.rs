//! Whether a counter was reset between two histograms.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint};
use model::sample::is_stale;
use model::storage::Columns;

use super::wide::{Wide, intersection};

/// Whether the counter of `current` was reset since `previous`: as its hint says, or because some count is lower.
pub(crate) fn is_reset(current: &FloatHistogram, previous: &FloatHistogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if current.uses_custom_buckets() {
        return !previous.uses_custom_buckets() || custom_is_reset(current, previous);
    }
    // Only a restart can make buckets finer or the zero bucket narrower.
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let same_layout = current.schema == previous.schema
        && current.zero_threshold == previous.zero_threshold
        && current.positive_spans == previous.positive_spans
        && current.negative_spans == previous.negative_spans;
    if same_layout {
        return current.zero_count < previous.zero_count
            || fell(&current.positive, &previous.positive)
            || fell(&current.negative, &previous.negative);
    }
    let (now, mut before) = (Wide::of(current), Wide::of(previous));
    if before.widen_zero(current.zero_threshold) != current.zero_threshold {
        return true;
    }
    if current.zero_count < before.zero_count() {
        return true;
    }
    before.reduce(current.schema);
    any_fell(&now.positive, &before.positive) || any_fell(&now.negative, &before.negative)
}

fn fell(now: &[f64], before: &[f64]) -> bool {
    now.iter().zip(before).any(|(now, before)| now < before)
}

type Side = [(i32, crate::kernel::kahan::Sum)];

/// Whether a bucket holds less than before, or is gone though it held anything.
fn any_fell(now: &Side, before: &Side) -> bool {
    before.iter().any(|(index, count)| match now.binary_search_by_key(index, |(i, _)| *i) {
        Ok(at) => now[at].1.total() < count.total(),
        Err(_) => count.total() != 0.0,
    })
}

fn custom_is_reset(current: &FloatHistogram, previous: &FloatHistogram) -> bool {
    let (mut now, mut before) = (Wide::of(current), Wide::of(previous));
    if current.custom_values != previous.custom_values {
        let common = intersection(&current.custom_values, &previous.custom_values);
        now.map_to(&common);
        before.map_to(&common);
    }
    any_fell(&now.positive, &before.positive)
}

/// Drops the buckets of all histograms, after finding out from them which are behind a reset.
pub(crate) fn keep_totals(columns: &mut Columns) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for (_, histogram) in columns.histograms.iter_mut().filter(|(_, h)| !is_stale(h.sum)) {
        let hint = match (histogram.reset_hint, &previous) {
            (ResetHint::Unknown, Some(previous)) if is_reset(histogram, previous) => ResetHint::Reset,
            (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
            (known, _) => known,
        };
        let totals = FloatHistogram {
            reset_hint: hint,
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            ..FloatHistogram::default()
        };
        previous = Some(std::mem::replace(histogram, Arc::new(totals)));
    }
}

/// The hints that a storage in chunks gives when it reads a series back: known within a chunk, unknown where one
/// begins, which is wherever a reset is found or the layout changes.
pub(crate) fn stored_hint(current: &FloatHistogram, previous: Option<&FloatHistogram>) -> ResetHint {
    let Some(previous) = previous.filter(|p| !is_stale(p.sum)) else {
        return if current.reset_hint == ResetHint::Gauge { ResetHint::Gauge } else { ResetHint::Unknown };
    };
    let gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    match (gauge(current), gauge(previous)) {
        (true, _) => ResetHint::Gauge,
        (false, true) => ResetHint::Unknown,
        (false, false) => {
            let same_layout = current.schema == previous.schema && current.zero_threshold == previous.zero_threshold;
            let mut plain = current.clone();
            if plain.reset_hint == ResetHint::NotReset {
                plain.reset_hint = ResetHint::Unknown;
            }
            if !same_layout || is_reset(&plain, previous) { ResetHint::Unknown } else { ResetHint::NotReset }
        }
    }
}

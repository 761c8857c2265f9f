//! Whether a counter was reset between two histograms.

use model::histogram::{FloatHistogram, ResetHint};

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

/// Whether a bucket holds less than before; a bucket that is gone holds nothing.
fn any_fell(now: &Side, before: &Side) -> bool {
    before.iter().any(|(index, count)| {
        let found = now.binary_search_by_key(index, |(i, _)| *i).map_or(0.0, |at| now[at].1.total());
        found < count.total()
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

//! Samples of one series from several sources, as one.

use model::histogram::{FloatHistogram, ResetHint};
use model::storage::Columns;

use crate::head::reader::TimeRange;

/// Merges the samples of `added` into what stands in `columns` from `from` on. Of two at one time, that of `columns` stays.
pub(crate) fn into(columns: &mut Columns, from: usize, added: &Columns) {
    let last = columns.timestamps[from..].last().copied();
    if last.is_none_or(|last| added.timestamps.first().is_none_or(|first| last < *first)) {
        append(columns, added, 0..added.len(), last.is_some());
        return;
    }
    let old = split_off(columns, from);
    let (mut a, mut b) = (0, 0);
    let mut was_old = None;
    while a < old.len() || b < added.len() {
        let (time_a, time_b) = (old.timestamps.get(a), added.timestamps.get(b));
        let takes_old = match (time_a, time_b) {
            (Some(time_a), Some(time_b)) => time_a <= time_b,
            (a, _) => a.is_some(),
        };
        if takes_old && time_a == time_b {
            b += 1;
        }
        let changed = was_old.is_some_and(|was| was != takes_old);
        was_old = Some(takes_old);
        if takes_old {
            append(columns, &old, a..a + 1, changed);
            a += 1;
        } else {
            append(columns, added, b..b + 1, changed);
            b += 1;
        }
    }
}

/// Appends a range of samples. If they come from elsewhere than those before, nothing is known of a reset in between.
fn append(columns: &mut Columns, added: &Columns, range: std::ops::Range<usize>, is_elsewhere: bool) {
    let at = columns.len();
    columns.timestamps.extend_from_slice(&added.timestamps[range.clone()]);
    columns.values.extend_from_slice(&added.values[range.clone()]);
    let first = added.histograms.partition_point(|(index, _)| (*index as usize) < range.start);
    for (index, histogram) in added.histograms[first..].iter().take_while(|(i, _)| (*i as usize) < range.end) {
        let place = *index as usize - range.start + at;
        let is_first = *index as usize == range.start;
        let histogram = match histogram.reset_hint {
            ResetHint::Reset | ResetHint::NotReset if is_first && is_elsewhere => {
                FloatHistogram { reset_hint: ResetHint::Unknown, ..(**histogram).clone() }.into()
            }
            _ => histogram.clone(),
        };
        columns.histograms.push((place as u32, histogram));
    }
    let starts = added.starts.get(range.start..range.end.min(added.starts.len())).unwrap_or(&[]);
    if starts.iter().any(|start| *start != 0) {
        columns.starts.resize(at, 0);
        columns.starts.extend_from_slice(starts);
    }
}

fn split_off(columns: &mut Columns, from: usize) -> Columns {
    let first = columns.histograms.partition_point(|(index, _)| (*index as usize) < from);
    let mut histograms = columns.histograms.split_off(first);
    histograms.iter_mut().for_each(|(index, _)| *index -= from as u32);
    let starts = if columns.starts.len() > from { columns.starts.split_off(from) } else { Vec::new() };
    Columns {
        timestamps: columns.timestamps.split_off(from),
        values: columns.values.split_off(from),
        histograms,
        starts,
    }
}

/// Takes samples outside the range off both ends of what was read from `from` on.
pub(crate) fn trim(range: TimeRange, from: usize, columns: &mut Columns) {
    let times = &columns.timestamps[from..];
    let start = times.partition_point(|time| *time < range.min);
    let end = times.partition_point(|time| *time <= range.max).max(start);
    if start == 0 && end == times.len() {
        return;
    }
    let read = split_off(columns, from);
    append(columns, &read, start..end, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(samples: &[(i64, f64)]) -> Columns {
        let mut columns = Columns::default();
        samples.iter().for_each(|(time, value)| columns.push_float(*time, *value));
        columns
    }

    #[test]
    fn samples_interleave_and_the_first_source_wins() {
        let mut merged = columns(&[(0, 0.0), (10, 1.0), (30, 3.0)]);
        let mut added = columns(&[(10, 9.0), (20, 2.0)]);
        added.push_histogram(40, FloatHistogram { sum: 4.0, reset_hint: ResetHint::NotReset, ..<_>::default() }.into());
        added.note_start(35);
        into(&mut merged, 1, &added);
        assert_eq!(merged.timestamps, [0, 10, 20, 30, 40]);
        assert_eq!(merged.values, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(merged.histogram_at(4).unwrap().reset_hint, ResetHint::Unknown);
        assert_eq!((merged.start_at(4), merged.start_at(3)), (35, 0));
        into(&mut merged, 0, &columns(&[(50, 5.0)]));
        assert_eq!(merged.timestamps.len(), 6);
        trim(TimeRange { min: 15, max: 40 }, 1, &mut merged);
        assert_eq!(merged.timestamps, [0, 20, 30, 40]);
        assert!(merged.histogram_at(3).is_some());
        assert_eq!(merged.start_at(3), 35);
    }
}

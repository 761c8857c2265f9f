//! Deleted ranges of series, and taking their samples out of what was read.

use std::collections::BTreeMap;

use model::storage::Columns;

/// A range of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

impl Interval {
    /// Whether the time is in it.
    pub(crate) fn contains(self, time: i64) -> bool {
        self.min_time <= time && time <= self.max_time
    }
}

/// Deleted ranges by series, a slot of the head or a reference of a block's index: sorted, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    intervals: BTreeMap<u32, Vec<Interval>>,
}

impl Tombstones {
    /// Adds a range, merging it with those it touches.
    pub(crate) fn add(&mut self, series: u32, added: Interval) {
        let intervals = self.intervals.entry(series).or_default();
        let mut merged = added;
        intervals.retain(|interval| {
            let touches = interval.min_time <= merged.max_time.saturating_add(1)
                && merged.min_time <= interval.max_time.saturating_add(1);
            if touches {
                merged.min_time = merged.min_time.min(interval.min_time);
                merged.max_time = merged.max_time.max(interval.max_time);
            }
            !touches
        });
        let at = intervals.partition_point(|interval| interval.min_time < merged.min_time);
        intervals.insert(at, merged);
    }

    /// The deleted ranges of a series; nearly always none.
    pub(crate) fn of(&self, series: u32) -> &[Interval] {
        self.intervals.get(&series).map_or(&[], Vec::as_slice)
    }

    /// All series with deleted ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[Interval])> {
        self.intervals.iter().map(|(series, intervals)| (*series, intervals.as_slice()))
    }

    /// How many ranges there are.
    pub(crate) fn count(&self) -> u64 {
        self.intervals.values().map(|intervals| intervals.len() as u64).sum()
    }

    /// Forgets a removed series.
    pub(crate) fn remove(&mut self, series: u32) {
        self.intervals.remove(&series);
    }

    /// Forgets ranges that end before `min_time`.
    pub(crate) fn truncate(&mut self, min_time: i64) {
        self.intervals.retain(|_, intervals| {
            intervals.retain(|interval| interval.max_time >= min_time);
            !intervals.is_empty()
        });
    }
}

/// Takes samples of deleted ranges out of `columns` from sample `from` on.
pub(crate) fn apply(intervals: &[Interval], from: usize, columns: &mut Columns) {
    if intervals.is_empty() {
        return;
    }
    let is_deleted = |time: i64| intervals.iter().any(|interval| interval.contains(time));
    let mut histograms = std::mem::take(&mut columns.histograms).into_iter().peekable();
    let mut starts = std::mem::take(&mut columns.starts);
    let (mut kept, mut starts_kept) = (0, 0);
    for index in 0..columns.timestamps.len() {
        let histogram = histograms.next_if(|(at, _)| *at as usize == index);
        let (time, value) = (columns.timestamps[index], columns.values[index]);
        if index >= from && is_deleted(time) {
            continue;
        }
        (columns.timestamps[kept], columns.values[kept]) = (time, value);
        if let Some(start) = starts.get(index).copied() {
            starts[kept] = start;
            starts_kept = kept + 1;
        }
        if let Some((_, histogram)) = histogram {
            columns.histograms.push((kept as u32, histogram));
        }
        kept += 1;
    }
    columns.timestamps.truncate(kept);
    columns.values.truncate(kept);
    starts.truncate(starts_kept);
    columns.starts = starts;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_apply() {
        let mut tombstones = Tombstones::default();
        for (min_time, max_time) in [(10, 20), (40, 50), (21, 25), (0, 1)] {
            tombstones.add(7, Interval { min_time, max_time });
        }
        let pairs: Vec<_> = tombstones.of(7).iter().map(|i| (i.min_time, i.max_time)).collect();
        assert_eq!(pairs, [(0, 1), (10, 25), (40, 50)]);
        let mut columns = Columns::default();
        for time in [0, 2, 10, 25, 26, 45, 51] {
            columns.push_float(time, time as f64);
            columns.note_start(if time == 25 || time == 26 { 7 } else { 0 });
        }
        columns.push_histogram(52, std::sync::Arc::default());
        apply(tombstones.of(7), 0, &mut columns);
        assert_eq!(columns.timestamps, [2, 26, 51, 52]);
        assert_eq!((0..4).map(|i| columns.start_at(i)).collect::<Vec<_>>(), [0, 7, 0, 0]);
        assert!(columns.histogram_at(3).is_some() && columns.histogram_at(2).is_none());
        tombstones.truncate(26);
        assert_eq!((tombstones.of(7).len(), tombstones.of(8).len()), (1, 0));
    }
}

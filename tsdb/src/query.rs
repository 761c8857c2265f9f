//! Queries: the storage contract's reading side over the head.

pub(crate) mod joined;
pub(crate) mod merge;

use std::sync::Arc;

use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Order, Querier, SelectHints, Series, SeriesSet, StorageError};
use roaring::RoaringBitmap;

use crate::head::Head;
use crate::head::isolation::Snapshot;
use crate::head::reader::{HeadSeries, TimeRange};
use crate::head::slab::Slot;

/// Reads the head under one snapshot.
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    snapshot: Arc<Snapshot>,
    range: TimeRange,
}

impl HeadQuerier {
    pub(crate) fn new(head: &Arc<Head>, min_time: Timestamp, max_time: Timestamp) -> Self {
        // The snapshot before the lower bound: a truncation that hides a block's range waits for snapshots taken before.
        let mut snapshot = head.isolation.snapshot();
        snapshot.in_order_min = head.times.min_valid();
        let range = TimeRange { min: min_time.0, max: max_time.0 };
        Self { head: Arc::clone(head), snapshot: Arc::new(snapshot), range }
    }

    /// The first time at which the head may hold a sample.
    pub(crate) fn first_time(&self) -> i64 {
        let (first_late, last_late) = self.head.times.late();
        let first = self.head.times.min();
        if first_late <= last_late { first.min(first_late) } else { first }
    }

    /// The last time at which it may.
    pub(crate) fn last_time(&self) -> i64 {
        let (_, last_late) = self.head.times.late();
        self.head.times.max().max(last_late)
    }

    /// The slots of the series that all matchers accept.
    pub(crate) fn slots(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.head.select(matchers)
    }

    /// The slot of the series with these labels.
    pub(crate) fn slot_of(&self, labels: &Labels) -> Option<Slot> {
        self.head.slot_of(labels)
    }

    /// The series at `slot`, if it has anything in the part of `range` that the head shows.
    pub(crate) fn series_at(&self, slot: Slot, range: TimeRange, labels: Option<Labels>) -> Option<Box<dyn Series>> {
        let range = TimeRange { min: range.min.max(self.range.min), max: range.max.min(self.range.max) };
        let Self { head, snapshot, .. } = self;
        if !head.has_chunks_in(slot, range, snapshot) {
            return None;
        }
        let (head, snapshot) = (Arc::clone(head), Arc::clone(snapshot));
        Some(Box::new(HeadSeries { head, snapshot, slot, range, labels }))
    }
}

impl Querier for HeadQuerier {
    fn select(
        &self,
        order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        let mut range = self.range;
        if let Some((start, end)) = hints.range {
            range = TimeRange { min: range.min.max(start.0), max: range.max.min(end.0) };
        }
        let selected = self.head.select(matchers);
        let series: Box<dyn Iterator<Item = (Option<Labels>, Slot)> + Send> = match order {
            Order::Any => Box::new(selected.into_iter().map(|slot| (None, slot))),
            Order::ByLabels => {
                let sorted = self.head.sorted_by_labels(&selected);
                Box::new(sorted.into_iter().map(|(labels, slot)| (Some(labels), slot)))
            }
        };
        let left = if hints.limit == 0 { usize::MAX } else { hints.limit };
        Ok(Box::new(HeadSeriesSet { querier: self, series, range, left }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let mut names = self.head.label_names(matchers);
        names.truncate(if limit == 0 { usize::MAX } else { limit });
        Ok(names)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        Ok(self.head.label_values(name, matchers, limit))
    }
}

struct HeadSeriesSet<'a> {
    querier: &'a HeadQuerier,
    series: Box<dyn Iterator<Item = (Option<Labels>, Slot)> + Send>,
    range: TimeRange,
    left: usize,
}

impl SeriesSet for HeadSeriesSet<'_> {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        while self.left > 0
            && let Some((labels, slot)) = self.series.next()
        {
            if let Some(series) = self.querier.series_at(slot, self.range, labels) {
                self.left -= 1;
                return Ok(Some(series));
            }
        }
        Ok(None)
    }
}

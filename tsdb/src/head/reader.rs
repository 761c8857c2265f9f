//! Reading series of the head under a snapshot.
//!
//! A series' chunks are listed, and its open chunk copied, under one lock of its cell; they are decoded outside it.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::{Columns, Series as SeriesContract, StorageError};

use super::Head;
use super::isolation::Snapshot;
use super::late::LateList;
use super::mapped_chunks::MappedChunk;
use super::series::Series;
use super::slab::Slot;
use crate::chunk::{self, Encoding};
use crate::error::corrupt;
use crate::query::merge;
use crate::tombstones;

/// A range of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl TimeRange {
    /// Whether `[min, max]` has a time in common with it.
    pub(crate) fn meets(self, min: i64, max: i64) -> bool {
        min <= self.max && self.min <= max
    }
}

/// A series as one reader sees it.
pub(crate) struct HeadSeries {
    pub(crate) head: Arc<Head>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) slot: Slot,
    pub(crate) range: TimeRange,
    /// Known already if the series were sorted.
    pub(crate) labels: Option<Labels>,
}

/// A chunk to decode, and how many of its samples are seen.
struct Listed {
    source: Source,
    encoding: Encoding,
    seen: usize,
}

enum Source {
    Mapped(MappedChunk),
    Bytes(Arc<[u8]>),
}

impl Head {
    /// Whether the series has a chunk that meets the range.
    pub(crate) fn has_chunks_in(&self, slot: Slot, range: TimeRange, snapshot: &Snapshot) -> bool {
        let Some(cell) = self.slab.cell(slot) else {
            return false;
        };
        let series = cell.lock();
        if series.late.as_ref().is_some_and(|late| late.meets(range)) {
            return true;
        }
        let range = in_order(range, snapshot);
        let full = series.full.as_deref().map_or(&[][..], Vec::as_slice);
        series.open.as_ref().is_some_and(|open| range.meets(series.open_min_time(), open.last_time()))
            || series.mapped.iter().rev().any(|chunk| range.meets(chunk.min_time(), chunk.max_time))
            || full.iter().any(|chunk| range.meets(chunk.min_time, chunk.max_time))
    }
}

/// The part of the range that in-order samples are read from.
fn in_order(range: TimeRange, snapshot: &Snapshot) -> TimeRange {
    TimeRange { min: range.min.max(snapshot.in_order_min), ..range }
}

/// The chunks that meet the range, in order, without the samples that the snapshot must not see.
fn list(series: &Series, range: TimeRange, snapshot: &Snapshot) -> Vec<Listed> {
    let mut hidden = series.marks.hidden(snapshot);
    let mut seen_of = |count: u16| {
        let seen = usize::from(count).saturating_sub(hidden);
        hidden = hidden.saturating_sub(usize::from(count));
        seen
    };
    // From the last chunk back, because the last samples are the ones hidden.
    let mut listed = Vec::new();
    if let Some(open) = &series.open {
        let seen = seen_of(open.count());
        if seen > 0 && range.meets(series.open_min_time(), open.last_time()) {
            listed.push(Listed { source: Source::Bytes(open.bytes().into()), encoding: open.encoding(), seen });
        }
    }
    for chunk in series.full.iter().flat_map(|full| full.iter().rev()) {
        let seen = seen_of(chunk.count);
        if seen > 0 && range.meets(chunk.min_time, chunk.max_time) {
            listed.push(Listed { source: Source::Bytes(Arc::clone(&chunk.bytes)), encoding: chunk.encoding, seen });
        }
    }
    for chunk in series.mapped.iter().rev() {
        let seen = seen_of(chunk.count);
        if seen > 0 && range.meets(chunk.min_time(), chunk.max_time) {
            listed.push(Listed { source: Source::Mapped(*chunk), encoding: chunk.encoding, seen });
        }
    }
    listed.reverse();
    listed
}

impl HeadSeries {
    fn decode(&self, listed: &Listed, columns: &mut Columns) -> Result<(), StorageError> {
        match &listed.source {
            Source::Mapped(mapped) => {
                let decode = |bytes: &[u8]| chunk::decode(listed.encoding, bytes, listed.seen, columns);
                let result = self.head.mapped.with_bytes(mapped, decode)?;
                result.map_err(|error| self.head.mapped.damage_at(mapped, error))
            }
            // Bytes of the heap, which this process encoded.
            Source::Bytes(bytes) => chunk::decode(listed.encoding, bytes, listed.seen, columns)
                .map_err(|error| corrupt("head".as_ref(), 0, error)),
        }
    }
}

impl HeadSeries {
    /// Merges late samples into what was read from `from` on.
    fn merge_late(&self, late: LateList, from: usize, columns: &mut Columns) -> Result<(), StorageError> {
        let mapped =
            late.mapped.into_iter().map(|late| (Source::Mapped(late.chunk), late.chunk.encoding, late.deleted));
        let unmapped = late.unmapped.into_iter().map(|chunk| (Source::Bytes(chunk.bytes), chunk.encoding, Vec::new()));
        let mut added = Columns::default();
        for (source, encoding, deleted) in mapped.chain(unmapped) {
            added.clear();
            self.decode(&Listed { source, encoding, seen: usize::MAX }, &mut added)?;
            tombstones::apply(&deleted, 0, &mut added);
            merge::trim(self.range, 0, &mut added);
            merge::into(columns, from, &added);
        }
        Ok(())
    }
}

impl SeriesContract for HeadSeries {
    fn labels(&self) -> Labels {
        self.labels.clone().unwrap_or_else(|| self.head.labels_at(self.slot))
    }

    fn labels_of(&self, names: &[String]) -> Labels {
        match &self.labels {
            Some(labels) => labels.filtered(|name| names.iter().any(|known| known.as_bytes() == name)),
            None => self.head.labels_where(self.slot, |name| names.iter().any(|known| known == name)),
        }
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let Some(cell) = self.head.slab.cell(self.slot) else {
            return Ok(());
        };
        let range = in_order(self.range, &self.snapshot);
        let (listed, late) = {
            let series = cell.lock();
            let late = series.late.as_ref().filter(|_| self.head.shows_late());
            let late = late.map(|late| late.list(self.range, &self.snapshot));
            (list(&series, range, &self.snapshot), late)
        };
        let from = columns.len();
        for chunk in &listed {
            self.decode(chunk, columns)?;
        }
        merge::trim(range, from, columns);
        // They cover samples in order alone.
        tombstones::apply(self.head.tombstones.read().of(self.slot), from, columns);
        match late {
            Some(late) => self.merge_late(late, from, columns),
            None => Ok(()),
        }
    }
}

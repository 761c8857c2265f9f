//! Reading series of the head under a snapshot.
//!
//! A series' chunks are listed, and its open chunk copied, under one lock of its cell; they are decoded outside it.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::{Columns, Series as SeriesContract, StorageError};

use super::Head;
use super::isolation::Snapshot;
use super::mapped_chunks::MappedChunk;
use super::series::Series;
use super::slab::Slot;
use super::tombstones;
use crate::chunk::{self, Encoding};
use crate::error::corrupt;

/// A range of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl TimeRange {
    fn meets(self, min: i64, max: i64) -> bool {
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
    pub(crate) fn has_chunks_in(&self, slot: Slot, range: TimeRange) -> bool {
        let Some(cell) = self.slab.cell(slot) else {
            return false;
        };
        let series = cell.lock();
        let full = series.full.as_deref().map_or(&[][..], Vec::as_slice);
        series.open.as_ref().is_some_and(|open| range.meets(series.open_min_time(), open.last_time()))
            || series.mapped.iter().rev().any(|chunk| range.meets(chunk.min_time(), chunk.max_time))
            || full.iter().any(|chunk| range.meets(chunk.min_time, chunk.max_time))
    }
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

impl SeriesContract for HeadSeries {
    fn labels(&self) -> Labels {
        self.labels.clone().unwrap_or_else(|| self.head.labels_at(self.slot))
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let Some(cell) = self.head.slab.cell(self.slot) else {
            return Ok(());
        };
        let listed = list(&cell.lock(), self.range, &self.snapshot);
        let from = columns.len();
        for chunk in &listed {
            self.decode(chunk, columns)?;
        }
        trim(self.range, from, columns);
        tombstones::apply(self.head.tombstones.read().of(self.slot), from, columns);
        Ok(())
    }
}

/// Takes samples outside the range off both ends of what was read from `from` on.
fn trim(range: TimeRange, from: usize, columns: &mut Columns) {
    let times = &columns.timestamps[from..];
    let start = from + times.partition_point(|time| *time < range.min);
    let end = from + times.partition_point(|time| *time <= range.max);
    let end = end.max(start);
    columns.timestamps.truncate(end);
    columns.values.truncate(end);
    columns.timestamps.drain(from..start);
    columns.values.drain(from..start);
    columns.starts.truncate(end);
    if columns.starts.len() > from {
        columns.starts.drain(from..start.min(columns.starts.len()));
    }
    if columns.histograms.is_empty() {
        return;
    }
    let dropped = start - from;
    columns.histograms.retain_mut(|(index, _)| {
        let at = *index as usize;
        if at < from {
            return true;
        }
        *index -= dropped.min(at) as u32;
        (start..end).contains(&at)
    });
}

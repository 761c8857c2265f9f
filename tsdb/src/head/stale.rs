//! Series that ended: their last sample is a stale marker. They can leave the head before their time.

use model::labels::Labels;
use model::sample::is_stale;
use model::storage::{Columns, StorageError};

use super::Head;
use super::isolation::Snapshot;
use super::reader::TimeRange;
use super::series::Series;
use super::slab::Slot;
use crate::block::builder::SeriesChunks;
use crate::chunk::{self, OpenChunk};
use crate::compact::recode::{self, Cut};
use crate::compact::writer::NewChunk;
use crate::error::corrupt;
use crate::wal::record::WalRef;

/// A stale series as it was when it was written out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaleSeries {
    slot: Slot,
    wal_ref: WalRef,
    last_time: i64,
}

/// How many series ended, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StaleCount {
    pub(crate) stale: u64,
    pub(crate) all: u64,
}

/// Whether the last in-order sample is a stale marker and nothing is on its way. Late samples stay where they are until
/// they become blocks of their own, and with them their series.
fn has_ended(series: &Series) -> bool {
    let is_quiet = series.wal_ref != 0 && !series.is_dead && series.pending == 0 && series.late.is_none();
    is_quiet && series.open.as_ref().is_some_and(ends_stale)
}

fn ends_stale(open: &OpenChunk) -> bool {
    match open {
        OpenChunk::Xor(chunk) => is_stale(chunk.last_value()),
        OpenChunk::Xor2(chunk) => is_stale(chunk.last_value()),
        OpenChunk::Histogram(chunk) => is_stale(chunk.last().sum),
        OpenChunk::FloatHistogram(chunk) => is_stale(chunk.last().sum),
        OpenChunk::Frozen(chunk) => {
            let mut columns = Columns::default();
            let decoded = chunk::decode(chunk.encoding, &chunk.bytes, usize::MAX, &mut columns);
            decoded.is_ok() && columns.values.last().is_some_and(|value| is_stale(*value))
        }
    }
}

impl Head {
    /// Counts them all.
    pub(crate) fn count_stale(&self) -> StaleCount {
        let mut count = StaleCount::default();
        for cell in (0..self.slab.end()).filter_map(|slot| self.slab.cell(slot)) {
            let series = cell.lock();
            count.all += u64::from(series.wal_ref != 0 && !series.is_dead);
            count.stale += u64::from(has_ended(&series));
        }
        count
    }

    /// The stale series with all that the head shows of them, and what tells later whether they are still the same.
    pub(crate) fn stale_series<'a>(
        &'a self,
        written: &'a mut Vec<StaleSeries>,
    ) -> impl Iterator<Item = Result<(Labels, Vec<NewChunk>), StorageError>> + 'a {
        let snapshot = self.isolation.snapshot();
        (0..self.slab.end()).filter_map(move |slot| {
            let stale = self.stale_at(slot, &snapshot)?;
            let chunks = self.chunks_of(slot, &snapshot);
            written.push(stale);
            Some(chunks.map(|chunks| (self.labels_at(slot), chunks)))
        })
    }

    fn stale_at(&self, slot: Slot, snapshot: &Snapshot) -> Option<StaleSeries> {
        let series = self.slab.cell(slot)?.lock();
        let last_time = series.last_time()?;
        // What is not to be seen yet would not be written.
        let is_whole = series.marks.hidden(snapshot) == 0;
        (has_ended(&series) && is_whole).then_some(StaleSeries { slot, wal_ref: series.wal_ref, last_time })
    }

    fn chunks_of(&self, slot: Slot, snapshot: &Snapshot) -> Result<Vec<NewChunk>, StorageError> {
        let range = TimeRange { min: self.times.min_valid(), max: i64::MAX };
        let deleted = self.tombstones.read().of(slot).to_vec();
        let mut chunks = SeriesChunks::default();
        for chunk in self.list_at(slot, range, None, snapshot).map_or(Vec::new(), |(_, listed)| listed) {
            self.put_chunk(&chunk, &Cut { range, deleted: &deleted }, &mut chunks)?;
        }
        recode::resolve_overlaps(&mut chunks).map_err(|error| corrupt("head".as_ref(), 0, error))?;
        Ok(chunks.iter().map(NewChunk::of).collect())
    }

    /// Removes the series that are as they were when they were written out. The blocks have them, and the readers that
    /// began before are over. Returns how many went.
    pub(crate) fn evict_stale(&self, written: &[StaleSeries]) -> u64 {
        let mut evicted = 0;
        for stale in written {
            let Some(cell) = self.slab.cell(stale.slot) else {
                continue;
            };
            let chunks = {
                let mut series = cell.lock();
                let is_same = series.wal_ref == stale.wal_ref && series.last_time() == Some(stale.last_time);
                // A full chunk that could not be mapped is tried again later, and the series with it.
                if !is_same || !has_ended(&series) || series.full.is_some() {
                    continue;
                }
                series.forget_chunks()
            };
            self.instruments.head.chunks_removed.add(chunks as u64);
            self.instruments.head.chunks.add(-(chunks as i64));
            // An appender may have come in between: then it stays, without chunks.
            evicted += u64::from(self.remove(stale.slot));
        }
        self.instruments.head.series_removed.add(evicted);
        self.instruments.head.series.add(-(evicted as i64));
        evicted
    }
}

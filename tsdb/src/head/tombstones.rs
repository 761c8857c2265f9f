//! Deleting from the head's series.
//!
//! A deletion is of what there is. In-order samples that come later lie behind it, so their tombstones are ranges of time
//! alone, in the write-ahead log. A late sample may be appended into a deleted range: what is deleted of late samples is
//! told by the write-behind log, in order with them.

use model::matcher::Matcher;
use model::storage::StorageError;

use super::Head;
use super::late::LateChunk;
use super::mapped_chunks::MappedChunk;
use super::reader::TimeRange;
use super::series::{FullChunk, Series};
use super::slab::Slot;
use crate::block::builder::EncodedChunk;
use crate::tombstones::Interval;
use crate::wal::record::{MappedMarker, Tombstone, WalRef};

/// What a deletion puts into the logs, not yet entered.
#[derive(Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) in_order: Vec<(Slot, Tombstone)>,
    pub(crate) late: Vec<(Slot, Tombstone)>,
    /// How many series have something in the range.
    pub(crate) series: usize,
}

fn interval_of(stone: &Tombstone) -> Interval {
    Interval { min_time: stone.min_time, max_time: stone.max_time }
}

impl Head {
    /// What deleting the range from the matched series takes.
    pub(crate) fn deletion_of(&self, min_time: i64, max_time: i64, matchers: &[Matcher]) -> Deletion {
        let mut deletion = Deletion::default();
        for slot in self.select(matchers) {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let series = cell.lock();
            let clip = |times: Option<(i64, i64)>| {
                let (first, last) = times?;
                let (min_time, max_time) = (min_time.max(first), max_time.min(last));
                (min_time <= max_time).then_some((slot, Tombstone { series: series.wal_ref, min_time, max_time }))
            };
            let late_times = series.late.as_ref().and_then(|late| late.times());
            let in_order = clip(in_order_times(&series, late_times));
            let late = clip(late_times);
            deletion.series += usize::from(in_order.is_some() || late.is_some());
            deletion.in_order.extend(in_order);
            deletion.late.extend(late);
        }
        deletion
    }

    /// Enters tombstones of in-order samples that the log has.
    pub(crate) fn enter_tombstones(&self, entered: &[(Slot, Tombstone)]) {
        let mut tombstones = self.tombstones.write();
        entered.iter().for_each(|(slot, stone)| tombstones.add(*slot, interval_of(stone)));
    }

    /// Puts the late samples of those series into mapped chunks, and returns what the write-behind log has to say of that
    /// before the tombstones. The caller keeps late commits out.
    pub(crate) fn cut_late_of(&self, stones: &[(Slot, Tombstone)]) -> Result<Vec<MappedMarker>, StorageError> {
        let slots: Vec<Slot> = stones.iter().map(|(slot, _)| *slot).collect();
        for slot in &slots {
            if let Some(cell) = self.slab.cell(*slot)
                && let Some(late) = &mut cell.lock().late
            {
                late.cut();
            }
        }
        self.map_late(&slots)
    }

    /// Enters tombstones of late samples that the log has, right behind [`Head::cut_late_of`].
    pub(crate) fn enter_late_tombstones(&self, entered: &[(Slot, Tombstone)]) {
        for (slot, stone) in entered {
            if let Some(cell) = self.slab.cell(*slot)
                && let Some(late) = &mut cell.lock().late
            {
                late.delete_all(interval_of(stone));
            }
        }
    }

    /// Deletes from the late samples what the tombstones of in-order ones cover: whoever wrote the write-behind log did
    /// not tell deletions there. Returns the tombstones, which that log needs to tell from now on.
    pub(crate) fn delete_late_as_in_order(&self) -> Vec<Tombstone> {
        let tombstones = self.tombstones.read();
        let mut entered = Vec::new();
        for (slot, intervals) in tombstones.iter() {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let mut series = cell.lock();
            let wal_ref = series.wal_ref;
            let Some(late) = &mut series.late else {
                continue;
            };
            for interval in intervals {
                late.delete_all(*interval);
                let Interval { min_time, max_time } = *interval;
                entered.push(Tombstone { series: wal_ref, min_time, max_time });
            }
        }
        entered
    }

    /// Writes the late chunks of series of which something is deleted anew without it: the next segment of the write-behind
    /// log names chunks alone. Returns those they take the place of, for readers that began before.
    pub(super) fn rewrite_deleted(&self, slots: &[Slot]) -> Result<Vec<MappedChunk>, StorageError> {
        let mut replaced = Vec::new();
        for &slot in slots {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let (wal_ref, chunks) = {
                let series = cell.lock();
                match &series.late {
                    Some(late) if late.has_stones() => (series.wal_ref, late.chunks(|_| true)),
                    _ => continue,
                }
            };
            let rewritten = self.rewrite(wal_ref, &chunks)?;
            self.instruments.head.chunks.add(rewritten.len() as i64);
            if let Some(late) = &mut cell.lock().late {
                replaced.extend(late.replace_all(rewritten));
            }
        }
        Ok(replaced)
    }

    fn rewrite(&self, wal_ref: WalRef, chunks: &[LateChunk]) -> Result<Vec<MappedChunk>, StorageError> {
        let everything = TimeRange { min: i64::MIN, max: i64::MAX };
        let mut full: Vec<(WalRef, FullChunk)> = Vec::new();
        for late in chunks {
            // Chunk by chunk, so that of two samples at one time the first stays the first.
            for (kept, data) in self.late_without_deleted(std::slice::from_ref(late), everything)?.iter() {
                let EncodedChunk { min_time, max_time, encoding, .. } = *kept;
                let count = encoding.sample_count(data);
                let chunk = FullChunk { min_time, max_time, encoding, count, is_late: true, bytes: data.into() };
                full.push((wal_ref, chunk));
            }
        }
        self.mapped.write(&full)
    }
}

/// First time of all samples and last one of those in order: a tombstone that reached further would cover what is still
/// to come.
fn in_order_times(series: &Series, late: Option<(i64, i64)>) -> Option<(i64, i64)> {
    let (first, last) = series.first_time().zip(series.last_time())?;
    Some((late.map_or(first, |(late_first, _)| late_first.min(first)), last))
}

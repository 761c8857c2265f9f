//! The head: all series that take samples, with their recent chunks.
//!
//! Lock order: stripe of the index, symbols, postings, cell. A cell's lock is a leaf. Readers take a [`Snapshot`] first
//! and the postings after, so that every series of a commit they see is found. Removing a series unlinks it at once but
//! keeps its slot until the readers that began before are over.
//!
//! [`Snapshot`]: isolation::Snapshot

pub(crate) mod appender;
pub(crate) mod blocks;
mod commit;
mod gather;
pub(crate) mod index;
pub(crate) mod isolation;
pub(crate) mod late;
pub(crate) mod load;
pub(crate) mod mapped_chunks;
pub(crate) mod metadata;
pub(crate) mod reader;
pub(crate) mod replay;
pub(crate) mod select;
pub(crate) mod series;
pub(crate) mod slab;
pub(crate) mod snapshot;
mod sorted_values;
pub(crate) mod stale;
pub(crate) mod statistics;
pub(crate) mod symbols;
pub(crate) mod tombstones;
pub(crate) mod truncate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::labels::Labels;
use model::storage::{AppendError, SeriesRef, StorageError};

use crate::exemplars::Exemplars;
use crate::metrics::Instruments;
use crate::postings::Postings;
use crate::sync::{AtomicI64, AtomicU64, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::tombstones::Tombstones;
use crate::wal::record::{WAL_REF_MAX, WalRef};
use appender::Buffers;
use index::{SeriesIndex, find_in, insert_in};
use isolation::Isolation;
use mapped_chunks::MappedChunks;
use metadata::SeriesMetadata;
use series::{ChunkLimits, FullChunk, Series};
use slab::{Slab, Slot};
use sorted_values::SortedValues;
use symbols::Symbols;
use truncate::Graveyard;

/// Times of the head, read by every appender.
#[derive(Debug)]
pub(crate) struct Times {
    /// First sample; `i64::MAX` if there is none.
    min: AtomicI64,
    /// Last sample; `i64::MIN` if there is none.
    max: AtomicI64,
    /// Samples before it are in blocks or gone: the head takes and shows none.
    min_valid: AtomicI64,
    /// First and last out-of-order sample, as far back as any may still be in the head.
    late_min: AtomicI64,
    late_max: AtomicI64,
}

impl Times {
    fn new() -> Self {
        let (none_yet, none_so_far) = (|| AtomicI64::new(i64::MAX), || AtomicI64::new(i64::MIN));
        Self {
            min: none_yet(),
            max: none_so_far(),
            min_valid: AtomicI64::new(i64::MIN),
            late_min: none_yet(),
            late_max: none_so_far(),
        }
    }

    /// First sample, or `i64::MAX`.
    pub(crate) fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    /// Last sample, or `i64::MIN`.
    pub(crate) fn max(&self) -> i64 {
        self.max.load(Ordering::Acquire)
    }

    /// The earliest time the head shows.
    pub(crate) fn min_valid(&self) -> i64 {
        self.min_valid.load(Ordering::Acquire)
    }

    /// First and last out-of-order sample that the head may have; the first is after the last if there is none.
    pub(crate) fn late(&self) -> (i64, i64) {
        (self.late_min.load(Ordering::Acquire), self.late_max.load(Ordering::Acquire))
    }

    /// Tells them anew. The caller keeps late commits out.
    fn set_late(&self, min: i64, max: i64) {
        self.late_min.store(min, Ordering::Release);
        self.late_max.store(max, Ordering::Release);
    }

    fn extend_late(&self, min: i64, max: i64) {
        self.late_min.fetch_min(min, Ordering::AcqRel);
        self.late_max.fetch_max(max, Ordering::AcqRel);
    }

    fn extend(&self, min: i64, max: i64) {
        self.min.fetch_min(min, Ordering::AcqRel);
        self.max.fetch_max(max, Ordering::AcqRel);
    }
}

/// What the head may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    pub(crate) chunks: ChunkLimits,
    pub(crate) series_max: u64,
    pub(crate) exemplars_max: usize,
    /// How far behind the head's last sample late ones are taken.
    pub(crate) late_window_ms: i64,
}

/// The head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) slab: Slab,
    index: SeriesIndex,
    pub(crate) symbols: RwLock<Symbols>,
    pub(crate) postings: RwLock<Postings>,
    sorted_values: SortedValues,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) mapped: MappedChunks,
    pub(crate) tombstones: RwLock<Tombstones>,
    pub(crate) metadata: RwLock<SeriesMetadata>,
    pub(crate) exemplars: Exemplars,
    pub(crate) times: Times,
    pub(crate) appenders: blocks::OpenAppenders,
    limits: HeadLimits,
    /// How far behind the head's last sample late ones are taken; 0 if none are.
    late_window_ms: AtomicI64,
    /// Late samples are not shown yet: deletions of them may follow in the log that is being replayed.
    hides_late: AtomicBool,
    /// The last number given to a series.
    last_ref: AtomicU64,
    work: Work,
    pub(crate) instruments: Arc<Instruments>,
}

/// What waits to be done, and buffers to do it with.
#[derive(Debug, Default)]
struct Work {
    /// Series with full chunks that wait to be mapped.
    to_map: Mutex<Vec<Slot>>,
    /// Held while chunks are mapped.
    mapping: Mutex<()>,
    /// Held shared from logging to entering, and alone while a snapshot is written: what it has is what the log has.
    gate: RwLock<()>,
    /// Series with late chunks that wait to be mapped.
    late_to_map: Mutex<Vec<Slot>>,
    /// Held from cutting late chunks to entering late samples: the write-behind log tells both in order.
    late_commit: Mutex<()>,
    graveyard: Mutex<Graveyard>,
    /// Numbers under which the log knows a series beside its own: it was removed and made again. A checkpoint must keep
    /// what stands under them.
    aliases: Mutex<Vec<(WalRef, SeriesId)>>,
    /// Buffers of appenders that are done.
    #[allow(clippy::vec_box, reason = "appenders take and give them back without moving them")]
    buffers: Mutex<Vec<Box<Buffers>>>,
}

/// A series by slot and number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesId {
    pub(crate) slot: Slot,
    pub(crate) wal_ref: WalRef,
}

impl SeriesId {
    /// The ref callers hold: the slot, and the low half of the number to tell a slot's series from those before it.
    pub(crate) fn series_ref(self) -> SeriesRef {
        SeriesRef((self.wal_ref & 0xffff_ffff) << 32 | u64::from(self.slot))
    }
}

/// Slot and generation of a ref.
pub(crate) fn split_ref(series: SeriesRef) -> (Slot, u32) {
    (series.0 as u32, (series.0 >> 32) as u32)
}

impl Head {
    pub(crate) fn new(limits: HeadLimits, mapped: MappedChunks, instruments: Arc<Instruments>) -> Self {
        Self {
            slab: Slab::new(),
            index: SeriesIndex::new(),
            symbols: RwLock::default(),
            postings: RwLock::default(),
            sorted_values: SortedValues::default(),
            isolation: Arc::default(),
            mapped,
            tombstones: RwLock::default(),
            metadata: RwLock::default(),
            exemplars: Exemplars::new(limits.exemplars_max, Arc::clone(&instruments)),
            times: Times::new(),
            appenders: blocks::OpenAppenders::default(),
            limits,
            late_window_ms: AtomicI64::new(limits.late_window_ms),
            hides_late: AtomicBool::new(false),
            last_ref: AtomicU64::new(0),
            work: Work::default(),
            instruments,
        }
    }

    /// How far behind the head's last sample late ones are taken; 0 if none are.
    pub(crate) fn late_window_ms(&self) -> i64 {
        self.late_window_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_late_window_ms(&self, window_ms: i64) {
        self.late_window_ms.store(window_ms, Ordering::Relaxed);
    }

    /// Whether readers see late samples.
    pub(crate) fn shows_late(&self) -> bool {
        !self.hides_late.load(Ordering::Acquire)
    }

    /// Hides late samples from readers, or shows them again.
    pub(crate) fn hide_late(&self, hides: bool) {
        self.hides_late.store(hides, Ordering::Release);
    }

    /// Keeps snapshots out while something is logged and entered.
    pub(crate) fn enter_gate(&self) -> RwLockReadGuard<'_, ()> {
        self.work.gate.read()
    }

    /// Keeps everybody out who logs and enters.
    pub(crate) fn close_gate(&self) -> RwLockWriteGuard<'_, ()> {
        self.work.gate.write()
    }

    /// The series with these labels, if there is one.
    pub(crate) fn find(&self, labels: &Labels, hash: u64) -> Option<SeriesId> {
        let slot = self.index.find(hash, |slot| self.has_labels(slot, labels, &self.symbols.read()))?;
        self.id_at(slot)
    }

    fn id_at(&self, slot: Slot) -> Option<SeriesId> {
        let wal_ref = self.slab.cell(slot)?.lock().wal_ref;
        (wal_ref != 0).then_some(SeriesId { slot, wal_ref })
    }

    fn has_labels(&self, slot: Slot, labels: &Labels, symbols: &Symbols) -> bool {
        let Some(cell) = self.slab.cell(slot) else {
            return false;
        };
        let series = cell.lock();
        let mut pairs = series.symbols.chunks_exact(2);
        let mut same = labels.iter_bytes().all(|(name, value)| {
            pairs.next().is_some_and(|pair| {
                symbols.text(pair[0]).as_bytes() == name && symbols.text(pair[1]).as_bytes() == value
            })
        });
        same &= pairs.next().is_none();
        same
    }

    /// The series with these labels, made if there is none; whether it was made. `wal_ref` is its number if it comes from
    /// the log, else it gets a new one.
    pub(crate) fn find_or_create(
        &self,
        labels: &Labels,
        wal_ref: Option<WalRef>,
    ) -> Result<(SeriesId, bool), AppendError> {
        let hash = labels.hash64();
        if let Some(found) = self.find(labels, hash) {
            return Ok((found, false));
        }
        let mut stripe = self.index.lock(hash);
        let found = find_in(&stripe, hash, |slot| self.has_labels(slot, labels, &self.symbols.read()));
        if let Some(id) = found.and_then(|slot| self.id_at(slot)) {
            return Ok((id, false));
        }
        let id = self.create(labels, wal_ref)?;
        insert_in(&mut stripe, hash, id.slot);
        Ok((id, true))
    }

    fn create(&self, labels: &Labels, wal_ref: Option<WalRef>) -> Result<SeriesId, AppendError> {
        let limit = |name, max| AppendError::Limit { name, max };
        let series_max = self.limits.series_max;
        if self.instruments.head.series.value() >= series_max as i64 {
            return Err(limit("series_max", series_max));
        }
        let wal_ref = match wal_ref {
            Some(given) => given,
            None => self.last_ref.fetch_add(1, Ordering::Relaxed) + 1,
        };
        if wal_ref > WAL_REF_MAX {
            return Err(limit("series_ref_max", WAL_REF_MAX));
        }
        let slot = self.slab.take().ok_or_else(|| limit("slots_max", slab::SLOTS_MAX as u64))?;
        let texts = labels.iter_bytes().flat_map(|(name, value)| [name, value]);
        let symbols = self.symbols.write().intern_labels(texts).expect("labels are text");
        if let Some(cell) = self.slab.cell(slot) {
            *cell.lock() = Series::new(wal_ref, symbols.clone());
        }
        self.postings.write().insert(slot, &symbols);
        self.instruments.head.series_created.add(1);
        self.instruments.head.series.add(1);
        Ok(SeriesId { slot, wal_ref })
    }

    /// The last number given to a series.
    pub(crate) fn last_ref(&self) -> WalRef {
        self.last_ref.load(Ordering::Relaxed)
    }

    /// Takes care that no new series gets a number up to this one.
    pub(crate) fn note_last_ref(&self, wal_ref: WalRef) {
        self.last_ref.fetch_max(wal_ref, Ordering::Relaxed);
    }

    /// Takes care that no new series gets a number of the log, and remembers it if it is not the series' first one.
    fn note_ref(&self, wal_ref: WalRef, id: SeriesId) {
        self.last_ref.fetch_max(wal_ref, Ordering::Relaxed);
        if wal_ref != id.wal_ref {
            self.work.aliases.lock().push((wal_ref, id));
        }
    }

    /// The labels of the series at `slot`; none if the slot is empty.
    pub(crate) fn labels_at(&self, slot: Slot) -> Labels {
        self.labels_where(slot, |_| true)
    }

    /// Those of its labels whose names `keep` accepts.
    pub(crate) fn labels_where(&self, slot: Slot, keep: impl Fn(&str) -> bool) -> Labels {
        // The symbols are locked before the cell, so that none of them is released in between.
        let table = self.symbols.read();
        let Some(cell) = self.slab.cell(slot) else {
            return Labels::empty();
        };
        let symbols = cell.lock().symbols.clone();
        let kept = symbols.chunks_exact(2).filter(|pair| keep(table.text(pair[0])));
        Labels::from_sorted(kept.map(|pair| (table.text(pair[0]), table.text(pair[1]))))
    }

    /// Notes series whose chunks are full, to be mapped by [`Head::map_full_chunks`].
    fn note_full(&self, slots: impl IntoIterator<Item = Slot>) {
        self.work.to_map.lock().extend(slots);
    }

    /// Moves full chunks from the heap to mapped files. What fails stays on the heap and is tried again next time.
    pub(crate) fn map_full_chunks(&self) -> Result<(), StorageError> {
        let mut slots = std::mem::take(&mut *self.work.to_map.lock());
        if slots.is_empty() {
            return Ok(());
        }
        slots.sort_unstable();
        slots.dedup();
        let result = self.map_chunks_of(&slots);
        if result.is_err() {
            self.note_full(slots);
        }
        result
    }

    fn map_chunks_of(&self, slots: &[Slot]) -> Result<(), StorageError> {
        // One thread at a time, so that a series' chunks are taken and entered in order.
        let _mapping = self.work.mapping.lock();
        let mut places: Vec<(Slot, usize)> = Vec::with_capacity(slots.len());
        let mut chunks: Vec<(WalRef, FullChunk)> = Vec::with_capacity(slots.len());
        for &slot in slots {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let series = cell.lock();
            if let Some(full) = &series.full {
                places.push((slot, full.len()));
                chunks.extend(full.iter().map(|chunk| (series.wal_ref, chunk.clone())));
            }
        }
        let mapped = self.mapped.write(&chunks)?;
        let mut mapped = mapped.into_iter();
        for (slot, count) in places {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let mut series = cell.lock();
            series.mapped.reserve_exact(count);
            series.mapped.extend(mapped.by_ref().take(count));
            if let Some(full) = &mut series.full {
                full.drain(..count);
            }
            if series.full.as_ref().is_some_and(|full| full.is_empty()) {
                series.full = None;
            }
        }
        Ok(())
    }
}

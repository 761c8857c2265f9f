//! Building the head from the write-ahead log and the mapped chunks.
//!
//! The log alone says everything. A mapped chunk only spares decoding again what it holds: samples of its series up to its
//! last time are skipped.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::storage::StorageError;

use super::Head;
use super::gather::Gathered;
use super::mapped_chunks::{FoundChunks, MappedChunk};
use super::slab::Slot;
use crate::chunk::Stamp;
use crate::tombstones::Interval;
use crate::wal::record::{MappedMarker, RecordSink, SampleValue, Tombstone, WalRef};

/// Samples that are gathered at least before they are entered.
const GATHERED_MIN: usize = if cfg!(test) { 50 } else { 100_000 };

/// What a replay met, for the log and the operator.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Series records that made a series.
    pub series: u64,
    /// Samples entered.
    pub samples: u64,
    /// Samples that a mapped chunk already held.
    pub samples_mapped: u64,
    /// Samples of series that the log does not name; they are lost.
    pub samples_unknown: u64,
    /// Samples of the write-behind log that were entered.
    pub samples_late: u64,
    /// Samples that the head refused, as it did when they were first appended.
    pub samples_refused: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Metadata of series.
    pub metadata: u64,
    /// Records of kinds that are understood but not used here, or not known.
    pub records_skipped: u64,
    /// Records with a sound checksum that could not be understood.
    pub records_broken: u64,
    /// Mapped chunks entered.
    pub chunks_mapped: u64,
    /// Mapped chunks of series that the log does not name.
    pub chunks_skipped: u64,
    /// Segments replayed, those of the checkpoint included.
    pub segments: u64,
    /// Series that a snapshot of the last stop had.
    pub snapshot_series: u64,
    /// Why there was a snapshot that was not used.
    pub snapshot_refused: Option<StorageError>,
    /// Damage that was set aside.
    pub damage: Vec<StorageError>,
}

/// How far a replay is, for `status/walreplay`; read while [`crate::Db::open`] or [`crate::PendingReplay::run`] runs.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    min: AtomicU64,
    max: AtomicU64,
    current: AtomicU64,
}

impl ReplayProgress {
    /// First, last and current segment.
    pub fn segments(&self) -> (u64, u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.min), load(&self.max), load(&self.current))
    }

    pub(crate) fn begin(&self, min: u32, max: u32) {
        self.min.store(u64::from(min), Ordering::Relaxed);
        self.max.store(u64::from(max), Ordering::Relaxed);
    }

    pub(crate) fn reach(&self, segment: u32) {
        self.current.store(u64::from(segment), Ordering::Relaxed);
    }
}

/// A series by a number of the log.
#[derive(Debug, Clone, Copy)]
struct Known {
    wal_ref: WalRef,
    slot: Slot,
    /// Samples up to it stand in mapped chunks. A number that the series got later may reach further.
    mapped_through: i64,
}

/// A series of a snapshot in the head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnteredSeries {
    pub(crate) wal_ref: WalRef,
    pub(crate) slot: Slot,
    /// How many mapped chunks it has, those of late samples included.
    pub(crate) chunks: usize,
    /// Last time of its mapped chunks.
    pub(crate) mapped_through: i64,
}

/// Series by their numbers in the log. A scrape's samples mostly come in the order its series were made, so the one after
/// the last found is tried before anything is hashed.
#[derive(Debug, Default)]
struct KnownSeries {
    in_order: Vec<Known>,
    /// Places in that list, by the numbers found there.
    places: HashTable<u32>,
    /// How many of the list have their places there: all, once one is asked for.
    placed: usize,
    hasher: RandomState,
    /// Where the next one is expected.
    expected: usize,
}

impl KnownSeries {
    fn insert(&mut self, known: Known) {
        self.in_order.push(known);
    }

    fn place_of(&mut self, wal_ref: WalRef) -> Option<usize> {
        if self.placed < self.in_order.len() {
            self.place();
        }
        let is_same = |place: &u32| self.in_order[*place as usize].wal_ref == wal_ref;
        self.places.find(self.hasher.hash_one(wal_ref), is_same).map(|place| *place as usize)
    }

    /// Whoever starts from a snapshot and has nothing of the log to read needs no places.
    fn place(&mut self) {
        let (in_order, hasher) = (&self.in_order, &self.hasher);
        let rehash = |place: &u32| hasher.hash_one(in_order[*place as usize].wal_ref);
        let unplaced = in_order.len() - self.placed;
        if unplaced > 1 {
            self.places.reserve(unplaced, rehash);
        }
        for (place, known) in in_order.iter().enumerate().skip(self.placed) {
            // There are fewer series than slots.
            self.places.insert_unique(hasher.hash_one(known.wal_ref), place as u32, rehash);
        }
        self.placed = in_order.len();
    }

    fn find(&mut self, wal_ref: WalRef) -> Option<Known> {
        let place = match self.in_order.get(self.expected) {
            Some(known) if known.wal_ref == wal_ref => self.expected,
            _ => self.place_of(wal_ref)?,
        };
        self.expected = place + 1;
        self.in_order.get(place).copied()
    }
}

/// Takes the records of the log into the head.
pub(crate) struct Replay<'a> {
    head: &'a Head,
    found: FoundChunks,
    known: KnownSeries,
    gathered: Gathered,
    full: Vec<Slot>,
    /// The write-behind log is being replayed.
    is_late: bool,
    /// Chunks of late samples that its markers name.
    marked: HashSet<u64, RandomState>,
    /// The chunk of a series that it named last.
    marked_last: HashMap<Slot, u64, RandomState>,
    /// The write-behind log tells what was deleted of its samples.
    tells_deletions: bool,
    /// Deleted ranges of series that are still to come: they hold from the start, so that nothing that was deleted shows
    /// while the log is replayed.
    early: HashMap<WalRef, Vec<Interval>, RandomState>,
    pub(crate) report: ReplayReport,
    failed: Option<StorageError>,
    /// The database is being closed: the replay ends.
    is_closed: &'a AtomicBool,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(head: &'a Head, is_closed: &'a AtomicBool) -> Self {
        Self {
            head,
            found: FoundChunks::default(),
            known: KnownSeries::default(),
            gathered: Gathered::default(),
            full: Vec::new(),
            is_late: false,
            marked: HashSet::default(),
            marked_last: HashMap::default(),
            tells_deletions: false,
            early: HashMap::default(),
            report: ReplayReport::default(),
            failed: None,
            is_closed,
        }
    }

    /// Looks what mapped chunks there are: no snapshot tells.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn scan_mapped(&mut self) -> Result<(), StorageError> {
        self.found = self.head.mapped.scan()?;
        let damage = std::mem::take(&mut self.found.damage);
        self.head.instruments.mapped_chunk_corruptions.add(damage.len() as u64);
        self.report.damage.extend(damage);
        Ok(())
    }

    /// Enters what is left and tells what was met.
    ///
    /// # Errors
    /// If something failed that is no damage of the log: a limit, a full disk.
    pub(crate) fn finish(mut self) -> Result<ReplayReport, StorageError> {
        self.enter_gathered();
        let left = self.found.by_series.values().chain(self.found.late_by_series.values());
        self.report.chunks_skipped += left.map(|chunks| chunks.len() as u64).sum::<u64>();
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.report),
        }
    }

    /// Takes care that no new series gets a number up to this one.
    pub(crate) fn note_last_ref(&self, wal_ref: WalRef) {
        self.head.note_last_ref(wal_ref);
    }

    /// The head that is being filled.
    pub(crate) fn head(&self) -> &'a Head {
        self.head
    }

    /// Makes room for as many series and no more: what a start takes beside the head is to be little.
    pub(crate) fn expect_series(&mut self, count: usize) {
        self.known.in_order.reserve_exact(count);
    }

    /// Takes notice of a series of a snapshot that the head has.
    pub(crate) fn entered(&mut self, series: EnteredSeries) {
        let EnteredSeries { wal_ref, slot, chunks, mapped_through } = series;
        if !self.early.is_empty() {
            self.bury_early(wal_ref, slot);
        }
        self.known.insert(Known { wal_ref, slot, mapped_through });
        self.report.series += 1;
        self.report.chunks_mapped += chunks as u64;
    }

    fn bury_early(&mut self, wal_ref: WalRef, slot: Slot) {
        for interval in self.early.remove(&wal_ref).into_iter().flatten() {
            self.head.tombstones.write().add(slot, interval);
        }
    }

    /// What follows are the records of the write-behind log.
    pub(crate) fn begin_late(&mut self) {
        self.enter_gathered();
        self.is_late = true;
    }

    /// Ends the write-behind log. If all of it was there and sound, a late chunk that it does not name is of no use: its
    /// samples are in the log as such, or, since the log was cut, in a block. Returns the deletions that it should have
    /// told and does not.
    pub(crate) fn finish_late(&mut self, is_sound: bool) -> Vec<Tombstone> {
        if is_sound {
            self.head.keep_late(|chunk| self.marked.contains(&chunk));
        }
        let untold = if self.tells_deletions { Vec::new() } else { self.head.delete_late_as_in_order() };
        self.head.hide_late(false);
        untold
    }

    /// Takes notice of a deletion that stands somewhere in the logs, before these are replayed.
    pub(crate) fn announce(&mut self, tombstone: Tombstone, is_late: bool) {
        self.head.hide_late(true);
        if !is_late {
            self.early.entry(tombstone.series).or_default().push(interval_of(&tombstone));
        }
    }

    fn delete_late(&mut self, tombstone: &Tombstone) {
        self.tells_deletions = true;
        let Some(known) = self.known.find(tombstone.series) else {
            return;
        };
        if let Some(cell) = self.head.slab.cell(known.slot)
            && let Some(late) = &mut cell.lock().late
        {
            late.delete_through(interval_of(tombstone), self.marked_last.get(&known.slot).copied());
        }
        self.report.tombstones += 1;
    }

    fn enter_late(&mut self, slot: Slot, stamp: Stamp, value: SampleValue) {
        let Some(cell) = self.head.slab.cell(slot) else {
            return;
        };
        let mut series = cell.lock();
        let chunks = series.chunk_count();
        if series.late.get_or_insert_default().insert(stamp, value, 0) {
            self.report.samples_late += 1;
            self.head.instruments.head.chunks.add((series.chunk_count() - chunks) as i64);
            self.head.times.extend_late(stamp.time, stamp.time);
        }
    }

    /// The first failure, which ends the replay, as closing does.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(StorageError::Cancelled);
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn map_full(&mut self) {
        self.head.note_full(self.full.drain(..));
        if let Err(error) = self.head.map_full_chunks() {
            self.failed.get_or_insert(error);
        }
    }

    /// Gives a series the chunks that were found under its number (it may have had several over the log's life), and
    /// returns the last time of all its mapped chunks.
    fn attach(&mut self, slot: Slot, wal_ref: WalRef) -> i64 {
        let Some(cell) = self.head.slab.cell(slot) else {
            return i64::MIN;
        };
        let mut series = cell.lock();
        if let Some(late) = self.found.late_by_series.remove(&wal_ref) {
            self.head.mapped.hold(late.iter());
            self.report.chunks_mapped += late.len() as u64;
            self.head.instruments.head.chunks.add(late.len() as i64);
            for chunk in &late {
                self.head.times.extend_late(chunk.min_time(), chunk.max_time);
            }
            series.late.get_or_insert_default().attach(late);
        }
        let mapped_through = |mapped: &[MappedChunk]| mapped.last().map_or(i64::MIN, |chunk| chunk.max_time);
        let Some(chunks) = self.found.take(wal_ref) else {
            return mapped_through(&series.mapped);
        };
        let (had, came) = (series.mapped.len(), chunks.len());
        let mut all: Vec<MappedChunk> = series.mapped.drain(..).chain(chunks).collect();
        all.sort_by_key(|chunk| (chunk.min_time(), chunk.max_time));
        let mut last_time = None;
        all.retain(|chunk| {
            let follows = last_time.is_none_or(|last| chunk.min_time() > last);
            if follows {
                last_time = Some(chunk.max_time);
            }
            follows
        });
        self.report.chunks_skipped += (had + came - all.len()) as u64;
        self.report.chunks_mapped += all.len().saturating_sub(had) as u64;
        all.shrink_to_fit();
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            self.head.times.extend(first.min_time(), last.max_time);
        }
        self.head.instruments.head.chunks.add(all.len() as i64 - had as i64);
        series.mapped = all;
        mapped_through(&series.mapped)
    }

    /// Samples are gathered and entered page by page of the slab: a page's series fit a core's cache, and pages can be
    /// worked on at once. Bounded by the head itself: two samples for each of its series.
    fn gathered_max(&self) -> usize {
        (self.known.in_order.len() * 2).max(GATHERED_MIN)
    }

    fn enter_gathered(&mut self) {
        for entered in self.gathered.enter(self.head) {
            self.report.samples += entered.samples;
            self.report.samples_mapped += entered.mapped;
            self.report.samples_refused += entered.refused;
            self.head.instruments.head.chunks.add(entered.chunks);
            if entered.min_time <= entered.max_time {
                self.head.times.extend(entered.min_time, entered.max_time);
            }
            self.full.extend(entered.full);
        }
        self.map_full();
    }
}

fn interval_of(tombstone: &Tombstone) -> Interval {
    Interval { min_time: tombstone.min_time, max_time: tombstone.max_time }
}

impl RecordSink for Replay<'_> {
    fn series(&mut self, wal_ref: WalRef, labels: Labels) {
        if self.known.place_of(wal_ref).is_some() || labels.is_empty() {
            return;
        }
        match self.head.find_or_create(&labels, Some(wal_ref)) {
            Ok((id, created)) => {
                if let Some(cell) = self.head.slab.cell(id.slot) {
                    cell.lock().is_logged = true;
                }
                self.report.series += u64::from(created);
                self.head.note_ref(wal_ref, id);
                self.bury_early(wal_ref, id.slot);
                let mapped_through = self.attach(id.slot, wal_ref);
                self.known.insert(Known { wal_ref, slot: id.slot, mapped_through });
            }
            Err(error) => {
                let limit = match error {
                    model::storage::AppendError::Limit { name, max } => StorageError::Limit { name, max },
                    _ => StorageError::NotReady,
                };
                self.failed.get_or_insert(limit);
            }
        }
    }

    fn sample(&mut self, wal_ref: WalRef, stamp: Stamp, value: SampleValue) {
        match self.known.find(wal_ref) {
            None => self.report.samples_unknown += 1,
            Some(known) if self.is_late => self.enter_late(known.slot, stamp, value),
            Some(known) if stamp.time <= known.mapped_through => self.report.samples_mapped += 1,
            Some(known) => {
                self.gathered.push(known.slot, stamp, value);
                if self.gathered.count >= self.gathered_max() {
                    self.enter_gathered();
                }
            }
        }
    }

    fn tombstone(&mut self, tombstone: Tombstone) {
        if self.is_late {
            self.delete_late(&tombstone);
        } else if let Some(known) = self.known.find(tombstone.series) {
            self.head.tombstones.write().add(known.slot, interval_of(&tombstone));
            self.report.tombstones += 1;
        }
    }

    fn exemplar(&mut self, series: WalRef, exemplar: Exemplar) {
        if let Some(known) = self.known.find(series) {
            let labels = self.head.labels_at(known.slot);
            self.head.exemplars.enter([(labels, exemplar)], self.head.late_window_ms());
            self.report.exemplars += 1;
        }
    }

    fn metadata(&mut self, series: WalRef, metadata: Metadata) {
        if let Some(known) = self.known.find(series) {
            self.head.metadata.write().set(known.slot, &metadata);
            self.report.metadata += 1;
        }
    }

    fn mapped_marker(&mut self, marker: MappedMarker) {
        self.marked.insert(marker.chunk);
        let (file, offset) = ((marker.chunk >> 32) as u32, marker.chunk as u32);
        let Some(known) = self.known.find(marker.series) else {
            return;
        };
        self.marked_last.insert(known.slot, marker.chunk);
        let Some(cell) = self.head.slab.cell(known.slot) else {
            return;
        };
        // If the chunk is lost, the samples are still in the log.
        if let Some(late) = &mut cell.lock().late
            && late.has_mapped(file, offset)
        {
            late.clear_open();
        }
    }

    fn skipped(&mut self, _kind: u8) {
        self.report.records_skipped += 1;
    }
}

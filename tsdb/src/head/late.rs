//! Out-of-order samples of a series: late ones, which the in-order chunks cannot take.
//!
//! A few stand sorted in memory, each with its commit, until there are so many that they become a chunk of their own in
//! `chunks_head`. Such chunks overlap each other and the in-order ones; of two samples at one time the one that came first
//! counts. All late samples are in the write-behind log (`wbl`) until a compaction has put them into a block. It has their
//! deletions too, in order with them: the other log cannot tell which of them came before one.

mod stones;

use model::labels::Labels;
use model::storage::StorageError;

use super::isolation::Snapshot;
use super::mapped_chunks::MappedChunk;
use super::reader::TimeRange;
use super::series::FullChunk;
use super::slab::Slot;
use super::{Head, SeriesId};
use crate::block::builder::SeriesChunks;
use crate::chunk::{OpenChunk, Stamp, ValueRef};
use crate::compact::recode::{self, ChunkToPut, Cut};
use crate::compact::writer::NewChunk;
use crate::sync::MutexGuard;
use crate::wal::record::{MappedMarker, SampleValue, WalRef};
pub(crate) use stones::LateChunk;
use stones::Stone;

/// Samples after which a series' late ones become a chunk: Prometheus' default.
pub(crate) const LATE_SAMPLES_MAX: usize = if cfg!(test) { 5 } else { 32 };
/// Samples of a chunk, if more came at once.
const CHUNK_SAMPLES_MAX: u16 = 120;

/// Late samples of one series.
#[derive(Debug, Default)]
pub(crate) struct LateSamples {
    /// By time, each time once.
    open: Vec<LateSample>,
    /// Chunks that wait to be mapped.
    full: Vec<FullChunk>,
    /// In the order they were mapped.
    mapped: Vec<MappedChunk>,
    /// What is deleted of the mapped ones; nearly always nothing.
    stones: Vec<Stone>,
}

#[derive(Debug)]
struct LateSample {
    stamp: Stamp,
    value: SampleValue,
    commit: u64,
}

impl LateSamples {
    /// Enters a sample; `false` if an open one has its time.
    pub(crate) fn insert(&mut self, stamp: Stamp, value: SampleValue, commit: u64) -> bool {
        let at = self.open.partition_point(|sample| sample.stamp.time < stamp.time);
        if self.open.get(at).is_some_and(|sample| sample.stamp.time == stamp.time) {
            return false;
        }
        if self.open.capacity() == self.open.len() {
            self.open.reserve_exact(4);
        }
        self.open.insert(at, LateSample { stamp, value, commit });
        true
    }

    /// How many samples are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Forgets the open ones: they are in a mapped chunk.
    pub(crate) fn clear_open(&mut self) {
        self.open = Vec::new();
    }

    /// How many chunks there are.
    pub(crate) fn chunk_count(&self) -> usize {
        self.full.len() + self.mapped.len() + usize::from(!self.open.is_empty())
    }

    /// Chunks found in files.
    pub(crate) fn attach(&mut self, chunks: Vec<MappedChunk>) {
        self.mapped.extend(chunks);
    }

    /// The mapped ones, in the order they were mapped.
    pub(crate) fn mapped(&self) -> &[MappedChunk] {
        &self.mapped
    }

    /// Whether a mapped chunk stands at that place.
    pub(crate) fn has_mapped(&self, file: u32, offset: u32) -> bool {
        self.mapped.iter().any(|chunk| (chunk.file, chunk.offset) == (file, offset))
    }

    /// Makes chunks of the open samples.
    pub(crate) fn cut(&mut self) {
        let samples = std::mem::take(&mut self.open);
        encode(samples.iter().map(|sample| (sample.stamp, sample.value.as_ref())), |chunk| self.full.push(chunk));
    }

    fn first_and_last(&self) -> Option<(i64, i64)> {
        let open = self.open.first().zip(self.open.last()).map(|(first, last)| (first.stamp.time, last.stamp.time));
        let full = self.full.iter().map(|chunk| (chunk.min_time, chunk.max_time));
        let mapped = self.mapped.iter().map(|chunk| (chunk.min_time(), chunk.max_time));
        mapped.chain(full).chain(open).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Whether some sample may stand in the range.
    pub(crate) fn meets(&self, range: TimeRange) -> bool {
        self.first_and_last().is_some_and(|(first, last)| range.meets(first, last))
    }

    /// First and last time, if there is a sample.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        self.first_and_last()
    }

    /// What a reader needs of the range: places of mapped chunks, and the other samples as chunks, in the order they came.
    pub(crate) fn list(&self, range: TimeRange, snapshot: &Snapshot) -> LateList {
        let mapped = self.chunks(|chunk| range.meets(chunk.min_time(), chunk.max_time));
        let full = self.full.iter().filter(|chunk| range.meets(chunk.min_time, chunk.max_time));
        let mut unmapped: Vec<FullChunk> = full.cloned().collect();
        let seen = self.open.iter().filter(|sample| {
            range.meets(sample.stamp.time, sample.stamp.time) && (sample.commit == 0 || snapshot.sees(sample.commit))
        });
        encode(seen.map(|sample| (sample.stamp, sample.value.as_ref())), |chunk| unmapped.push(chunk));
        LateList { mapped, unmapped }
    }
}

/// Late chunks of a series for one reader.
#[derive(Debug, Default)]
pub(crate) struct LateList {
    pub(crate) mapped: Vec<LateChunk>,
    pub(crate) unmapped: Vec<FullChunk>,
}

/// Late chunks that are to be written out, as far as they reach before a time.
#[derive(Debug)]
pub(crate) struct LateToWrite {
    through: i64,
    series: Vec<(Slot, Vec<LateChunk>)>,
    /// Of those that reach further: they stay, and the log has to name them.
    pub(crate) kept: Vec<MappedMarker>,
    /// Others were written in their place.
    replaced: Vec<MappedChunk>,
}

impl LateToWrite {
    /// The series with what is to be written of them.
    pub(crate) fn series<'a>(
        &'a self,
        head: &'a Head,
    ) -> impl Iterator<Item = Result<(Labels, Vec<NewChunk>), StorageError>> + 'a {
        self.series.iter().map(|(slot, chunks)| head.late_chunks(*slot, chunks, self.through))
    }
}

/// Makes chunks of samples in order of time.
pub(crate) fn encode<'a>(samples: impl Iterator<Item = (Stamp, ValueRef<'a>)>, mut push: impl FnMut(FullChunk)) {
    let mut open: Option<(i64, OpenChunk)> = None;
    let mut finish = |min_time, chunk: OpenChunk| {
        push(FullChunk {
            min_time,
            max_time: chunk.last_time(),
            encoding: chunk.encoding(),
            count: chunk.count(),
            is_late: true,
            bytes: chunk.into_bytes().into(),
        });
    };
    for (stamp, value) in samples {
        let fits = |min_time: i64, chunk: &OpenChunk| {
            chunk.takes(value)
                && (stamp.start == 0 || chunk.keeps_starts())
                && chunk.count() < CHUNK_SAMPLES_MAX
                && u32::try_from(stamp.time - min_time).is_ok()
        };
        match &mut open {
            Some((min_time, chunk)) if fits(*min_time, chunk) => chunk.append(stamp, value),
            _ => {
                let next = OpenChunk::starting_with(stamp, value, None);
                if let Some((min_time, chunk)) = open.replace((stamp.time, next)) {
                    finish(min_time, chunk);
                }
            }
        }
    }
    if let Some((min_time, chunk)) = open {
        finish(min_time, chunk);
    }
}

/// A chunk's file and offset as markers have them.
fn place_of(chunk: &MappedChunk) -> u64 {
    u64::from(chunk.file) << 32 | u64::from(chunk.offset)
}

impl Head {
    /// Makes chunks of the late samples of those series whose open ones would become too many with those that come, maps
    /// them, and returns what the write-behind log has to say of that before it holds the new samples.
    ///
    /// The caller holds the lock of late commits, so that nothing of these series gets into the log in between.
    pub(crate) fn cut_late(&self, coming: &[SeriesId]) -> Vec<MappedMarker> {
        let mut slots: Vec<Slot> = coming.iter().map(|id| id.slot).collect();
        slots.sort_unstable();
        let mut cut = Vec::new();
        for same in slots.chunk_by(|a, b| a == b) {
            let Some(cell) = self.slab.cell(same[0]) else {
                continue;
            };
            let mut series = cell.lock();
            if let Some(late) = &mut series.late
                && late.open_count() > 0
                && late.open_count() + same.len() > LATE_SAMPLES_MAX
            {
                late.cut();
                cut.push(same[0]);
            }
        }
        // What cannot be mapped stays in memory and in the log; it is tried again with the next chunk.
        self.map_late(&cut).unwrap_or_default()
    }

    /// Moves late chunks of these series from the heap to mapped files.
    pub(crate) fn map_late(&self, slots: &[Slot]) -> Result<Vec<MappedMarker>, StorageError> {
        let mut waiting = self.work.late_to_map.lock();
        waiting.extend_from_slice(slots);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        waiting.sort_unstable();
        waiting.dedup();
        let mut places: Vec<(Slot, usize)> = Vec::new();
        let mut chunks: Vec<(WalRef, FullChunk)> = Vec::new();
        for &slot in &*waiting {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let series = cell.lock();
            let full = series.late.as_ref().map_or(&[][..], |late| &late.full);
            places.push((slot, full.len()));
            chunks.extend(full.iter().map(|chunk| (series.wal_ref, chunk.clone())));
        }
        let mapped = self.mapped.write(&chunks)?;
        let markers = chunks
            .iter()
            .zip(&mapped)
            .map(|((series, _), chunk)| MappedMarker { series: *series, chunk: place_of(chunk) });
        let markers = markers.collect();
        let mut mapped = mapped.into_iter();
        for (slot, count) in places {
            let taken: Vec<_> = mapped.by_ref().take(count).collect();
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            if let Some(late) = &mut cell.lock().late {
                late.full.drain(..count);
                late.mapped.extend(taken);
            }
        }
        waiting.clear();
        Ok(markers)
    }

    /// Keeps late commits out.
    pub(crate) fn lock_late_commits(&self) -> MutexGuard<'_, ()> {
        self.work.late_commit.lock()
    }

    /// Puts all late samples into mapped chunks, and tells which have samples before `through`. The caller keeps late
    /// commits out.
    pub(crate) fn cut_all_late(&self, through: i64) -> Result<LateToWrite, StorageError> {
        let mut slots = Vec::new();
        for slot in 0..self.slab.end() {
            if let Some(cell) = self.slab.cell(slot)
                && let Some(late) = &mut cell.lock().late
            {
                late.cut();
                slots.push(slot);
            }
        }
        self.map_late(&slots)?;
        let replaced = self.rewrite_deleted(&slots)?;
        let mut to_write = LateToWrite { through, series: Vec::new(), kept: Vec::new(), replaced };
        for slot in slots {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let series = cell.lock();
            let Some(late) = &series.late else {
                continue;
            };
            let kept = late.mapped.iter().filter(|chunk| chunk.max_time >= through);
            to_write.kept.extend(kept.map(|c| MappedMarker { series: series.wal_ref, chunk: place_of(c) }));
            let written = late.chunks(|chunk| chunk.min_time() < through);
            if !written.is_empty() {
                to_write.series.push((slot, written));
            }
        }
        Ok(to_write)
    }

    /// A series with those late chunks as far as they reach before `through`, without what is deleted.
    fn late_chunks(
        &self,
        slot: Slot,
        mapped: &[LateChunk],
        through: i64,
    ) -> Result<(Labels, Vec<NewChunk>), StorageError> {
        let labels = self.labels_at(slot);
        let kept = self.late_without_deleted(mapped, TimeRange { min: i64::MIN, max: through - 1 })?;
        Ok((labels, kept.iter().map(NewChunk::of).collect()))
    }

    /// What is left of late chunks in a range.
    pub(super) fn late_without_deleted(
        &self,
        mapped: &[LateChunk],
        range: TimeRange,
    ) -> Result<SeriesChunks, StorageError> {
        let mut kept = SeriesChunks::default();
        for LateChunk { chunk, deleted } in mapped {
            let cut = Cut { range, deleted };
            let put = |data: &[u8]| {
                let (min_time, max_time, encoding) = (chunk.min_time(), chunk.max_time, chunk.encoding);
                recode::put(ChunkToPut { min_time, max_time, encoding, data, seen: usize::MAX }, &cut, &mut kept)
            };
            self.mapped.with_bytes(chunk, put)?.map_err(|error| self.mapped.damage_at(chunk, error))?;
        }
        Ok(kept)
    }

    /// Lets go of the mapped late chunks whose places `is_needed` does not accept. For the start.
    pub(crate) fn keep_late(&self, is_needed: impl Fn(u64) -> bool) {
        for slot in 0..self.slab.end() {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let dropped: Vec<MappedChunk> = match &mut cell.lock().late {
                Some(late) => late.extract(|chunk| !is_needed(place_of(chunk))),
                None => continue,
            };
            self.forget_late(&dropped);
        }
        self.tell_late_times();
    }

    fn forget_late(&self, dropped: &[MappedChunk]) {
        self.mapped.release(dropped);
        self.instruments.head.chunks.add(-(dropped.len() as i64));
    }

    /// Lets go of late chunks that stand in blocks, and of their files.
    pub(crate) fn release_late(&self, written: &LateToWrite) {
        let _late_commits = self.lock_late_commits();
        for (slot, chunks) in &written.series {
            let Some(cell) = self.slab.cell(*slot) else {
                continue;
            };
            let is_written = |chunk: &MappedChunk| chunks.iter().any(|written| written.chunk == *chunk);
            let is_done = |chunk: &MappedChunk| chunk.max_time < written.through && is_written(chunk);
            let dropped: Vec<MappedChunk> = {
                let mut series = cell.lock();
                let Some(late) = &mut series.late else {
                    continue;
                };
                let dropped = late.extract(is_done);
                if late.chunk_count() == 0 {
                    series.late = None;
                }
                dropped
            };
            self.forget_late(&dropped);
            self.instruments.head.chunks_removed.add(dropped.len() as u64);
        }
        self.forget_late(&written.replaced);
        // Those that came meanwhile are left.
        self.tell_late_times();
    }

    fn tell_late_times(&self) {
        let times = |slot| self.slab.cell(slot)?.lock().late.as_ref()?.times();
        let left = (0..self.slab.end()).filter_map(times);
        let (min, max) = left.fold((i64::MAX, i64::MIN), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        self.times.set_late(min, max);
    }
}

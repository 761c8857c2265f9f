//! One series of the head: its labels as symbols, its chunks, and the rules of appending.
//!
//! Chunks stand in order of time: mapped ones, then full ones still on the heap, then the open one. Each is only reached
//! through its cell's lock, which is a leaf: no other lock is taken under it.

use std::sync::Arc;

use model::storage::AppendError;

use super::isolation::Marks;
use super::late::LateSamples;
use super::mapped_chunks::MappedChunk;
use super::symbols::Symbol;
use crate::chunk::frozen::FrozenChunk;
use crate::chunk::{Encoding, OpenChunk, Stamp, ValueRef};
use crate::wal::record::WalRef;

/// Bytes after which a chunk of floats is full whatever its count: Prometheus' limit of what a block can hold in a page.
const XOR_BYTES_MAX: usize = 1024 - 19;
/// Bytes after which a histogram chunk is full.
const HISTOGRAM_BYTES_TARGET: usize = 1024;
/// Samples that a histogram chunk has at least, if only its size speaks for a cut.
const HISTOGRAM_SAMPLES_MIN: u16 = 10;

/// When chunks are full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    /// No chunk crosses a multiple of this.
    pub(crate) range_ms: i64,
    /// Samples aimed at; a chunk never holds more than twice as many.
    pub(crate) samples: u16,
}

/// A full chunk that waits to be mapped.
#[derive(Debug, Clone)]
pub(crate) struct FullChunk {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) encoding: Encoding,
    pub(crate) count: u16,
    /// Its samples are out of order.
    pub(crate) is_late: bool,
    pub(crate) bytes: Arc<[u8]>,
}

/// A series. The default one is an empty slot.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Its number in the log; 0 marks an empty slot.
    pub(crate) wal_ref: WalRef,
    /// Name and value in turn, ordered by name.
    pub(crate) symbols: Box<[Symbol]>,
    pub(crate) mapped: Vec<MappedChunk>,
    /// There seldom are any.
    #[allow(clippy::box_collection, reason = "one word instead of three in every series")]
    pub(crate) full: Option<Box<Vec<FullChunk>>>,
    pub(crate) open: Option<OpenChunk>,
    /// Out-of-order samples. Few series ever have any.
    pub(crate) late: Option<Box<LateSamples>>,
    /// First time of the open chunk.
    open_min_time: i64,
    /// When the open chunk is to be cut.
    cut_time: i64,
    pub(crate) marks: Marks,
    /// Samples in batches not yet committed: the series must not be removed.
    pub(crate) pending: u32,
    /// The log has its record.
    pub(crate) is_logged: bool,
    /// Removed; only readers that began before still see it.
    pub(crate) is_dead: bool,
}

/// The earliest times that are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of samples in order.
    pub(crate) in_order: i64,
    /// Of late ones, if they are taken at all.
    pub(crate) late: Option<i64>,
}

/// Where a sample belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Behind the last one.
    InOrder,
    /// To the out-of-order samples.
    Late,
    /// Nowhere: it is the last one again.
    Same,
}

/// What became of an appended sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is in the open chunk.
    Taken,
    /// It is in a new chunk; the one before is full.
    TakenAndCut,
    /// The series has a sample at that time or later.
    OutOfOrder,
}

impl Series {
    /// A series without samples.
    pub(crate) fn new(wal_ref: WalRef, symbols: Box<[Symbol]>) -> Self {
        Self { wal_ref, symbols, ..Self::default() }
    }

    /// Whether the slot holds a living series whose number ends in `generation`.
    pub(crate) fn is_alive(&self, generation: u32) -> bool {
        self.wal_ref as u32 == generation && self.wal_ref != 0 && !self.is_dead
    }

    /// Time of the last sample, if there is one.
    pub(crate) fn last_time(&self) -> Option<i64> {
        if let Some(open) = &self.open {
            return Some(open.last_time());
        }
        let full = self.full.as_ref().and_then(|full| full.last()).map(|chunk| chunk.max_time);
        full.or_else(|| self.mapped.last().map(|chunk| chunk.max_time))
    }

    /// Time of the first sample, if there is one.
    pub(crate) fn first_time(&self) -> Option<i64> {
        if let Some(chunk) = self.mapped.first() {
            return Some(chunk.min_time());
        }
        let full = self.full.as_ref().and_then(|full| full.first()).map(|chunk| chunk.min_time);
        full.or(self.open.as_ref().map(|_| self.open_min_time))
    }

    /// First time of the open chunk.
    pub(crate) fn open_min_time(&self) -> i64 {
        self.open_min_time
    }

    /// How many chunks there are.
    pub(crate) fn chunk_count(&self) -> usize {
        let late = self.late.as_ref().map_or(0, |late| late.chunk_count());
        late + self.mapped.len() + self.full.as_ref().map_or(0, |full| full.len()) + usize::from(self.open.is_some())
    }

    /// Enters an open chunk of a snapshot.
    pub(crate) fn freeze(&mut self, min_time: i64, chunk: FrozenChunk) {
        self.open_min_time = min_time;
        self.open = Some(OpenChunk::Frozen(Box::new(chunk)));
    }

    /// Makes an open chunk of a snapshot take samples again. One that cannot is full.
    #[inline]
    pub(crate) fn thaw(&mut self, limits: ChunkLimits) {
        if matches!(self.open, Some(OpenChunk::Frozen(_))) {
            self.thaw_open(limits);
        }
    }

    #[cold]
    fn thaw_open(&mut self, limits: ChunkLimits) {
        let Some(OpenChunk::Frozen(frozen)) = &self.open else {
            return;
        };
        let quarter = usize::from(limits.samples / 4).saturating_sub(1);
        match frozen.thaw(quarter) {
            Ok(thawed) => {
                self.cut_time = range_end(self.open_min_time, limits.range_ms);
                if let Some(time) = thawed.time_at {
                    self.cut_time = estimated_end(self.open_min_time, time, self.cut_time);
                }
                self.open = Some(thawed.chunk);
            }
            Err(_) => {
                if let Some(frozen) = self.open.take() {
                    self.push_full(frozen);
                }
            }
        }
    }

    /// Whether and where a sample may be appended. The series is thawed.
    ///
    /// # Errors
    /// As Prometheus names them: out of bounds, out of order, duplicate, too old.
    pub(crate) fn check(&self, time: i64, value: ValueRef<'_>, bounds: Bounds) -> Result<Admission, AppendError> {
        if time >= bounds.in_order {
            match self.last_time() {
                Some(last) if time == last => match &self.open {
                    Some(open) if open.last_value_is(value) => return Ok(Admission::Same),
                    _ => return Err(AppendError::Duplicate),
                },
                Some(last) if time < last => {}
                _ => return Ok(Admission::InOrder),
            }
        }
        match bounds.late {
            Some(late) if time >= late => Ok(Admission::Late),
            Some(_) => Err(AppendError::TooOld),
            None if time < bounds.in_order => Err(AppendError::OutOfBounds),
            None => Err(AppendError::OutOfOrder),
        }
    }

    /// Whether a float at `time` goes behind the last sample of an open chunk of floats: the usual case.
    #[inline]
    pub(crate) fn is_open_for_float(&self, time: i64) -> bool {
        matches!(&self.open, Some(OpenChunk::Xor(chunk)) if chunk.last_time() < time)
    }

    /// As [`Series::append`] of a float that goes into the open chunk, and does nothing if it does not.
    #[inline]
    pub(crate) fn append_to_open(&mut self, time: i64, value: f64, limits: ChunkLimits) -> bool {
        let Some(OpenChunk::Xor(chunk)) = &mut self.open else {
            return false;
        };
        let count = chunk.count();
        let has_room = time < self.cut_time
            && count != limits.samples / 4
            && count < limits.samples.saturating_mul(2)
            && chunk.bytes().len() <= XOR_BYTES_MAX;
        if !has_room || time <= chunk.last_time() {
            return false;
        }
        chunk.append(time, value);
        true
    }

    /// Appends a sample, cutting the open chunk before it if that is full.
    pub(crate) fn append(&mut self, stamp: impl Into<Stamp>, value: ValueRef<'_>, limits: ChunkLimits) -> Appended {
        let stamp = stamp.into();
        let time = stamp.time;
        self.thaw(limits);
        if self.last_time().is_some_and(|last| time <= last) {
            return Appended::OutOfOrder;
        }
        let must_cut = self.must_cut(stamp, value, limits);
        match &mut self.open {
            Some(open) if !must_cut => {
                open.append(stamp, value);
                Appended::Taken
            }
            before => {
                let next = OpenChunk::starting_with(stamp, value, before.as_ref());
                let full = before.replace(next);
                let is_cut = full.is_some();
                if let Some(full) = full {
                    self.push_full(full);
                }
                self.open_min_time = time;
                self.cut_time = range_end(time, limits.range_ms);
                if is_cut { Appended::TakenAndCut } else { Appended::Taken }
            }
        }
    }

    /// Whether the open chunk cannot take the sample. Estimates the cut time at a quarter of the samples aimed at.
    fn must_cut(&mut self, stamp: Stamp, value: ValueRef<'_>, limits: ChunkLimits) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let count = open.count();
        let bytes = open.bytes().len();
        let is_large = match open {
            OpenChunk::Xor(_) | OpenChunk::Xor2(_) => bytes > XOR_BYTES_MAX,
            OpenChunk::Frozen(_) => true,
            _ => bytes >= HISTOGRAM_BYTES_TARGET && count >= HISTOGRAM_SAMPLES_MIN,
        };
        let loses_start = stamp.start != 0 && !open.keeps_starts();
        if is_large || loses_start {
            return true;
        }
        if count == limits.samples / 4 {
            self.cut_time = estimated_end(self.open_min_time, open.last_time(), self.cut_time);
        }
        let is_over = stamp.time >= self.cut_time || count >= limits.samples.saturating_mul(2);
        // Encoded anew with the buckets it lacks, if that is all.
        is_over || !(open.takes(value) || open.widen_for(value))
    }

    fn push_full(&mut self, chunk: OpenChunk) {
        let full = FullChunk {
            min_time: self.open_min_time,
            max_time: chunk.last_time(),
            encoding: chunk.encoding(),
            count: chunk.count(),
            is_late: false,
            bytes: chunk.into_bytes().into(),
        };
        self.full.get_or_insert_default().push(full);
    }

    /// Drops chunks that end before `min_time` and returns how many. Full ones wait until they are mapped.
    pub(crate) fn truncate(&mut self, min_time: i64) -> usize {
        let old = self.mapped.iter().take_while(|chunk| chunk.max_time < min_time).count();
        self.mapped.drain(..old);
        if self.mapped.is_empty() {
            self.mapped = Vec::new();
        }
        let rest_is_old = self.full.is_none() && self.mapped.is_empty();
        if rest_is_old && self.open.as_ref().is_some_and(|open| open.last_time() < min_time) {
            self.open = None;
            return old + 1;
        }
        old
    }

    /// Drops all chunks and returns how many. None of them waits to be mapped.
    pub(crate) fn forget_chunks(&mut self) -> usize {
        let count = self.mapped.len() + usize::from(self.open.is_some());
        self.mapped = Vec::new();
        self.open = None;
        count
    }

    /// Whether nothing speaks against removing the series.
    pub(crate) fn is_idle(&self) -> bool {
        self.wal_ref != 0 && !self.is_dead && self.pending == 0 && self.chunk_count() == 0
    }
}

/// End of the range that `time` falls into.
fn range_end(time: i64, range_ms: i64) -> i64 {
    time.div_euclid(range_ms).saturating_add(1).saturating_mul(range_ms)
}

/// Where a chunk should end that a quarter of its samples has filled from `start` to `now`, so that chunks up to `end`
/// are of equal width.
fn estimated_end(start: i64, now: i64, end: i64) -> i64 {
    let chunks = (end - start) / ((now - start + 1) * 4);
    if chunks <= 1 { end } else { start + (end - start) / chunks }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChunkLimits = ChunkLimits { range_ms: 7_200_000, samples: 120 };

    fn filled(step_ms: i64, count: i64) -> Series {
        let mut series = Series::default();
        for i in 0..count {
            assert_ne!(series.append(i * step_ms, ValueRef::Float(i as f64), LIMITS), Appended::OutOfOrder);
        }
        series
    }

    #[test]
    fn chunks_end_at_range_boundaries_and_are_of_equal_width() {
        let series = filled(15_000, 4 * 240 * 2);
        let full = series.full.as_ref().unwrap();
        assert_eq!(full.len(), 15);
        assert!(full.iter().all(|chunk| (115..=125).contains(&chunk.count)), "about 120 samples each");
        assert!(full.iter().all(|chunk| chunk.min_time / 7_200_000 == chunk.max_time / 7_200_000));
        assert_eq!(series.first_time(), Some(0));
    }

    #[test]
    fn duplicates_pass_silently_and_everything_else_backwards_is_an_error() {
        let series = filled(1000, 10);
        let check = |time, value, in_order| series.check(time, ValueRef::Float(value), Bounds { in_order, late: None });
        assert!(matches!(check(9000, 9.0, 0), Ok(Admission::Same)));
        assert!(matches!(check(9000, 8.0, 0), Err(AppendError::Duplicate)));
        assert!(matches!(check(8000, 8.0, 0), Err(AppendError::OutOfOrder)));
        assert!(matches!(check(8000, 8.0, 8001), Err(AppendError::OutOfBounds)));
        assert!(matches!(check(9001, 8.0, 0), Ok(Admission::InOrder)));
        let check = |time, late| series.check(time, ValueRef::Float(8.0), Bounds { in_order: 5000, late: Some(late) });
        assert!(matches!(check(8000, 3000), Ok(Admission::Late)));
        assert!(matches!(check(3000, 3000), Ok(Admission::Late)));
        assert!(matches!(check(2999, 3000), Err(AppendError::TooOld)));
        assert!(matches!(check(9000, 3000), Err(AppendError::Duplicate)));
        assert!(matches!(check(9001, 3000), Ok(Admission::InOrder)));
    }

    #[test]
    fn other_kinds_of_values_open_a_new_chunk() {
        let mut series = filled(1000, 10);
        let histogram = model::histogram::IntHistogram::default();
        assert_eq!(series.append(10_000, ValueRef::Int(&histogram), LIMITS), Appended::TakenAndCut);
        assert_eq!(series.append(11_000, ValueRef::Int(&histogram), LIMITS), Appended::Taken);
        assert_eq!(series.append(12_000, ValueRef::Float(1.0), LIMITS), Appended::TakenAndCut);
        assert_eq!(series.append(12_000, ValueRef::Float(1.0), LIMITS), Appended::OutOfOrder);
    }

    #[test]
    fn the_slot_is_small() {
        assert!(size_of::<Series>() <= 208, "{}", size_of::<Series>());
    }
}

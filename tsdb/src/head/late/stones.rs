//! Deleted ranges of a series' late samples: each covers the chunks there were when it was made, and nothing that came
//! after. So a sample that is appended again after its deletion is seen.

use super::LateSamples;
use crate::head::mapped_chunks::MappedChunk;
use crate::tombstones::Interval;

/// A deleted range, and how many of the mapped chunks it covers, the oldest ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stone {
    interval: Interval,
    chunks: usize,
}

/// A mapped late chunk, and what is deleted in it.
#[derive(Debug, Clone)]
pub(crate) struct LateChunk {
    pub(crate) chunk: MappedChunk,
    pub(crate) deleted: Vec<Interval>,
}

impl LateSamples {
    /// Deletes a range of the open samples and of the chunks up to that place, or of all.
    pub(crate) fn delete_through(&mut self, interval: Interval, last_place: Option<u64>) {
        self.open.retain(|sample| !interval.contains(sample.stamp.time));
        let through =
            last_place.and_then(|place| self.mapped.iter().rposition(|chunk| super::place_of(chunk) == place));
        self.cover(interval, through.map_or(0, |last| last + 1));
    }

    /// Deletes a range of all there is.
    pub(crate) fn delete_all(&mut self, interval: Interval) {
        self.open.retain(|sample| !interval.contains(sample.stamp.time));
        self.cover(interval, self.mapped.len());
    }

    fn cover(&mut self, interval: Interval, chunks: usize) {
        let meets = |chunk: &MappedChunk| chunk.min_time() <= interval.max_time && interval.min_time <= chunk.max_time;
        if self.mapped[..chunks].iter().any(meets) {
            self.stones.push(Stone { interval, chunks });
        }
    }

    /// Whether something of the mapped chunks is deleted.
    pub(crate) fn has_stones(&self) -> bool {
        !self.stones.is_empty()
    }

    /// The mapped chunks that are asked for, with what is deleted in them.
    pub(crate) fn chunks(&self, is_asked: impl Fn(&MappedChunk) -> bool) -> Vec<LateChunk> {
        let asked = self.mapped.iter().enumerate().filter(|(_, chunk)| is_asked(chunk));
        let with_deleted = asked.map(|(at, chunk)| {
            let stones = self.stones.iter().filter(|stone| at < stone.chunks);
            LateChunk { chunk: *chunk, deleted: stones.map(|stone| stone.interval).collect() }
        });
        with_deleted.collect()
    }

    /// Takes mapped chunks out.
    pub(super) fn extract(&mut self, is_taken: impl Fn(&MappedChunk) -> bool) -> Vec<MappedChunk> {
        let taken: Vec<bool> = self.mapped.iter().map(&is_taken).collect();
        for stone in &mut self.stones {
            stone.chunks -= taken[..stone.chunks].iter().filter(|taken| **taken).count();
        }
        self.stones.retain(|stone| stone.chunks > 0);
        let mut taken = taken.into_iter();
        self.mapped.extract_if(.., |_| taken.next().unwrap_or(false)).collect()
    }

    /// Puts other mapped chunks, in which nothing is deleted, in the place of all; returns those there were.
    pub(crate) fn replace_all(&mut self, chunks: Vec<MappedChunk>) -> Vec<MappedChunk> {
        self.stones.clear();
        std::mem::replace(&mut self.mapped, chunks)
    }
}

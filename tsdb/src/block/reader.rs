//! Reading series of a block.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::{Columns, Series as SeriesContract, StorageError};
use roaring::RoaringBitmap;

use super::Block;
use super::chunks::ChunkMeta;
use super::index::SeriesEntry;
use crate::chunk::{self, Encoding};
use crate::head::reader::TimeRange;
use crate::query::merge;
use crate::tombstones::{self, Interval, Tombstones};

/// Series of a block, ordered by their labels, without those that have nothing in the range.
pub(crate) struct BlockSeriesIter {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    range: TimeRange,
    selected: roaring::bitmap::IntoIter,
    entry: SeriesEntry,
}

/// A series of a block.
pub(crate) struct BlockSeries {
    block: Arc<Block>,
    /// Symbols of names and values in turn.
    pairs: Box<[u32]>,
    /// Those that meet the range, in order of their first times.
    chunks: Box<[ChunkMeta]>,
    intervals: Box<[Interval]>,
    range: TimeRange,
}

impl BlockSeriesIter {
    pub(crate) fn new(block: &Arc<Block>, selected: RoaringBitmap, range: TimeRange) -> Self {
        Self {
            block: Arc::clone(block),
            tombstones: block.tombstones(),
            range,
            selected: selected.into_iter(),
            entry: SeriesEntry::default(),
        }
    }

    /// The next series.
    pub(crate) fn advance(&mut self) -> Result<Option<BlockSeries>, StorageError> {
        for series in self.selected.by_ref() {
            self.block.index.read_series(series, &mut self.entry)?;
            let intervals = self.tombstones.of(series);
            let is_deleted = |chunk: &ChunkMeta| {
                intervals.iter().any(|i| i.min_time <= chunk.min_time && chunk.max_time <= i.max_time)
            };
            let range = self.range;
            let chunks = &mut self.entry.chunks;
            chunks.retain(|c| c.min_time <= range.max && range.min <= c.max_time && !is_deleted(c));
            if chunks.is_empty() {
                continue;
            }
            return Ok(Some(BlockSeries {
                block: Arc::clone(&self.block),
                pairs: self.entry.pairs.as_slice().into(),
                chunks: self.entry.chunks.as_slice().into(),
                intervals: intervals.into(),
                range,
            }));
        }
        Ok(None)
    }
}

impl BlockSeries {
    fn decode(&self, chunk: &ChunkMeta, columns: &mut Columns) -> Result<(), StorageError> {
        let (encoding, data) = self.block.chunks.chunk(chunk.reference)?;
        let damage = |reason: String| self.block.chunks.damage_at(chunk.reference, reason);
        let known = Encoding::from_byte(encoding).ok_or_else(|| damage(format!("chunk encoding {encoding}")))?;
        chunk::decode(known, data, usize::MAX, columns).map_err(|error| damage(error.to_string()))
    }
}

impl SeriesContract for BlockSeries {
    fn labels(&self) -> Labels {
        self.block.index.labels_of(&self.pairs)
    }

    fn labels_of(&self, names: &[String]) -> Labels {
        let index = &self.block.index;
        let kept = self.pairs.chunks_exact(2).filter_map(|pair| {
            let name = index.symbol(pair[0]);
            names.iter().any(|known| known == name).then(|| (name, index.symbol(pair[1])))
        });
        Labels::from_sorted(kept)
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let from = columns.len();
        let mut last_time = i64::MIN;
        for chunk in &self.chunks {
            // Chunks of a block follow each other; other programs may have left some that do not.
            if columns.len() == from || chunk.min_time > last_time {
                self.decode(chunk, columns)?;
            } else {
                let mut apart = Columns::default();
                self.decode(chunk, &mut apart)?;
                merge::into(columns, from, &apart);
            }
            last_time = last_time.max(chunk.max_time);
        }
        merge::trim(self.range, from, columns);
        tombstones::apply(&self.intervals, from, columns);
        Ok(())
    }
}

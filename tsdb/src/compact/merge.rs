//! Series of several blocks merged by their labels.
//!
//! Labels are compared as numbers: the blocks' symbols are merged first, in order, so that a symbol's number in the new
//! block orders as its string does.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::storage::StorageError;

use super::recode::{self, ChunkToPut, Cut};
use super::retention::KeptFrom;
use crate::block::Block;
use crate::block::builder::{BlockBuilder, Provisional, SeriesChunks};
use crate::block::index::{SeriesEntry, Version};
use crate::chunk::Encoding;
use crate::head::reader::TimeRange;
use crate::tombstones::Tombstones;

/// Blocks being merged, and the series reached.
pub(crate) struct Merge {
    sources: Vec<Source>,
    key: Vec<Provisional>,
}

/// A block, and the series it has reached.
struct Source {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    numbers: Numbers,
    rest: roaring::bitmap::IntoIter,
    series: u32,
    entry: SeriesEntry,
    /// Labels of the series reached, as numbers of the new block; `None` at the end.
    key: Option<Vec<Provisional>>,
}

/// Numbers of a block's symbols in the new block.
enum Numbers {
    Dense(Vec<Provisional>),
    /// Of an index of version 1, whose symbols are offsets.
    Sparse(HashMap<u32, Provisional, RandomState>),
}

impl Numbers {
    fn of(&self, symbol: u32) -> Provisional {
        match self {
            Numbers::Dense(numbers) => numbers[symbol as usize],
            Numbers::Sparse(numbers) => numbers.get(&symbol).copied().unwrap_or(Provisional::MAX),
        }
    }
}

impl Merge {
    /// Begins before the first series. The builder is new: it takes the blocks' symbols in order here.
    pub(crate) fn new(blocks: &[Arc<Block>], builder: &mut BlockBuilder) -> Result<Self, StorageError> {
        let numbers = merge_symbols(blocks, builder);
        let mut sources = Vec::with_capacity(blocks.len());
        for (block, numbers) in blocks.iter().zip(numbers) {
            let mut source = Source {
                block: Arc::clone(block),
                tombstones: block.tombstones(),
                numbers,
                rest: block.index.all_postings()?.into_iter(),
                series: 0,
                entry: SeriesEntry::default(),
                key: Some(Vec::new()),
            };
            source.advance()?;
            sources.push(source);
        }
        Ok(Self { sources, key: Vec::new() })
    }

    /// Labels of the series reached.
    pub(crate) fn key(&self) -> &[Provisional] {
        &self.key
    }

    /// Goes on to the next series and fills `chunks` with what is kept of it, which may be nothing. `false` at the end.
    pub(crate) fn advance(&mut self, kept: &KeptFrom<'_>, chunks: &mut SeriesChunks) -> Result<bool, StorageError> {
        chunks.clear();
        let Some(first) = self.sources.iter().filter_map(|source| source.key.as_ref()).min() else {
            return Ok(false);
        };
        self.key.clone_from(first);
        for source in &mut self.sources {
            if source.key.as_ref() == Some(&self.key) {
                source.put_chunks(kept, chunks)?;
                source.advance()?;
            }
        }
        recode::resolve_overlaps(chunks).map_err(|error| self.sources[0].block.index.damage(error))?;
        Ok(true)
    }
}

impl Source {
    fn advance(&mut self) -> Result<(), StorageError> {
        let Some(series) = self.rest.next() else {
            self.key = None;
            return Ok(());
        };
        self.series = series;
        self.block.index.read_series(series, &mut self.entry)?;
        let mut key = self.key.take().unwrap_or_default();
        key.clear();
        key.extend(self.entry.pairs.iter().map(|symbol| self.numbers.of(*symbol)));
        self.key = Some(key);
        Ok(())
    }

    fn put_chunks(&self, kept: &KeptFrom<'_>, out: &mut SeriesChunks) -> Result<(), StorageError> {
        let kept_from = if kept.is_all() { i64::MIN } else { kept.of(&self.block.index.labels_of(&self.entry.pairs)) };
        let range = TimeRange { min: kept_from, max: i64::MAX };
        let cut = Cut { range, deleted: self.tombstones.of(self.series) };
        for meta in &self.entry.chunks {
            if meta.max_time < kept_from {
                continue;
            }
            let (byte, data) = self.block.chunks.chunk(meta.reference)?;
            let damage = |reason: String| self.block.chunks.damage_at(meta.reference, reason);
            let encoding = Encoding::from_byte(byte).ok_or_else(|| damage(format!("chunk encoding {byte}")))?;
            let (min_time, max_time) = (meta.min_time, meta.max_time);
            recode::put(ChunkToPut { min_time, max_time, encoding, data, seen: usize::MAX }, &cut, out)
                .map_err(|error| damage(error.to_string()))?;
        }
        Ok(())
    }
}

/// Enters all symbols of the blocks into the builder in order, and tells their numbers there.
fn merge_symbols(blocks: &[Arc<Block>], builder: &mut BlockBuilder) -> Vec<Numbers> {
    let mut iters: Vec<_> = blocks.iter().map(|block| block.index.symbols().peekable()).collect();
    let mut numbers: Vec<Numbers> = blocks
        .iter()
        .map(|block| match block.index.version() {
            Version::V1 => Numbers::Sparse(HashMap::default()),
            Version::V2 => Numbers::Dense(Vec::with_capacity(block.index.symbol_count())),
        })
        .collect();
    while let Some(text) = iters.iter_mut().filter_map(|iter| iter.peek().map(|(_, text)| *text)).min() {
        let number = builder.intern(text);
        for (iter, numbers) in iters.iter_mut().zip(&mut numbers) {
            if let Some((symbol, _)) = iter.next_if(|(_, other)| *other == text) {
                match numbers {
                    Numbers::Dense(numbers) => numbers.push(number),
                    Numbers::Sparse(numbers) => drop(numbers.insert(symbol, number)),
                }
            }
        }
    }
    numbers
}

//! Making blocks: of the head, of other blocks, of series that are handed over.
//!
//! A block is durable and open before anything it replaces goes. Nothing here locks the head or the list of blocks while
//! it writes: samples are appended and queries run meanwhile. Memory is bounded by one series' chunks and the index
//! being written.

pub(crate) mod merge;
pub(crate) mod plan;
pub(crate) mod recode;
pub(crate) mod retention;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::storage::StorageError;

use crate::block::builder::{BlockBuilder, SeriesChunks};
use crate::block::cache::PostingsCache;
use crate::block::meta::BlockMeta;
use crate::block::ulid::Ulid;
use crate::block::{self, Block};
use crate::fs::FileSystem;
use crate::head::Head;
use crate::head::reader::TimeRange;
use crate::metrics::BlockInstruments;
use merge::Merge;
use retention::KeptFrom;

/// Makes blocks in a data directory.
#[derive(Debug)]
pub(crate) struct Compactor {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) data: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) cache: Arc<PostingsCache>,
    pub(crate) instruments: Arc<BlockInstruments>,
    pub(crate) stopwatch: Option<fn() -> Duration>,
    /// Set when the database closes: what is being written is given up.
    pub(crate) is_closing: Arc<AtomicBool>,
}

impl Compactor {
    /// One that makes blocks in another directory.
    pub(crate) fn in_directory(&self, data: &Path) -> Self {
        Self {
            fs: Arc::clone(&self.fs),
            data: data.to_owned(),
            segment_bytes: self.segment_bytes,
            cache: Arc::clone(&self.cache),
            instruments: Arc::clone(&self.instruments),
            stopwatch: self.stopwatch,
            is_closing: Arc::clone(&self.is_closing),
        }
    }

    /// Whether to give up.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`] if so.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if self.is_closing.load(Ordering::Acquire) { Err(StorageError::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn builder(&self, meta: BlockMeta) -> Result<BlockBuilder, StorageError> {
        BlockBuilder::create(&self.fs, &self.data, meta, self.segment_bytes)
    }

    /// Finishes a block and opens it; `None` if it is empty.
    pub(crate) fn finish(&self, builder: BlockBuilder) -> Result<Option<Arc<Block>>, StorageError> {
        let Some((directory, meta)) = builder.finish()? else {
            return Ok(None);
        };
        self.instruments.samples_written.add(meta.stats.num_samples);
        self.instruments.chunks_written.add(meta.stats.num_chunks);
        Ok(Some(Arc::new(Block::open(&directory, &self.cache)?)))
    }

    /// Writes what the head holds in `range`, and its late samples in `late_range`, as a block of level 1.
    ///
    /// The caller made sure that no sample of that range is still on its way into the head, or does not mind.
    pub(crate) fn write_head(
        &self,
        head: &Head,
        range: TimeRange,
        late_range: Option<TimeRange>,
        now_ms: i64,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        let _populating = Populating::begin(self);
        let mut builder = self.builder(BlockMeta::new(
            Ulid::new(now_ms),
            late_range.map_or(range.min, |late| late.min.min(range.min)),
            late_range.map_or(range.max, |late| late.max.max(range.max)).saturating_add(1),
        ))?;
        head.put_into_block(range, late_range, &mut builder, &mut || self.check())?;
        self.finish(builder)
    }

    /// Compacts blocks into one. Series lose what `kept` does not keep; `None` if nothing is left.
    pub(crate) fn compact(
        &self,
        parents: &[Arc<Block>],
        kept: &KeptFrom<'_>,
        now_ms: i64,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        let _populating = Populating::begin(self);
        let metas: Vec<_> = parents.iter().map(|parent| parent.meta()).collect();
        let metas: Vec<&BlockMeta> = metas.iter().map(|meta| &**meta).collect();
        let meta = BlockMeta::of_parents(Ulid::new(now_ms), &metas);
        let mut builder = self.builder(meta)?;
        let mut merge = Merge::new(parents, &mut builder)?;
        let mut chunks = SeriesChunks::default();
        while merge.advance(kept, &mut chunks)? {
            self.check()?;
            builder.add(merge.key(), &chunks)?;
        }
        self.finish(builder)
    }

    /// Removes a block from the disk. It stays readable for those who hold it.
    pub(crate) fn remove(&self, block: &Block) -> Result<(), StorageError> {
        block::remove(&*self.fs, block.directory())
    }
}

/// Shows that a block is being written, until dropped, and how long that took.
struct Populating<'a> {
    instruments: &'a BlockInstruments,
    stopwatch: Option<(fn() -> Duration, Duration)>,
}

impl<'a> Populating<'a> {
    fn begin(compactor: &'a Compactor) -> Self {
        let instruments = &*compactor.instruments;
        instruments.populating.set(1);
        Self { instruments, stopwatch: compactor.stopwatch.map(|now| (now, now())) }
    }
}

impl Drop for Populating<'_> {
    fn drop(&mut self) {
        self.instruments.populating.set(0);
        if let Some((now, begun)) = self.stopwatch {
            self.instruments.durations.observe(now().saturating_sub(begun));
        }
    }
}

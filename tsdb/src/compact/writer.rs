//! Blocks of series that are handed over: out-of-order samples of the head, and backfill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::histogram::{FloatHistogram, IntHistogram};
use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::{NewValue, StorageError};

use super::Compactor;
use super::recode::{self, ChunkToPut, Cut};
use crate::block::Block;
use crate::block::builder::{BlockBuilder, EncodedChunk, SeriesChunks};
use crate::block::cache::PostingsCache;
use crate::block::meta::BlockMeta;
use crate::block::ulid::Ulid;
use crate::chunk::{Encoding, Stamp};
use crate::config::Config;
use crate::error::Error;
use crate::fs::{Disk, FileSystem};
use crate::head::reader::TimeRange;
use crate::wal::record::SampleValue;

/// Blocks written at once at most: each holds a file open and its index in memory.
const OPEN_BLOCKS_MAX: usize = 512;
/// Bytes of cache for blocks that are only opened to be checked.
const CACHE_BYTES: usize = 1 << 20;

/// A chunk handed over to be put into a block.
#[derive(Debug, Clone)]
pub(crate) struct NewChunk {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Arc<[u8]>,
}

impl NewChunk {
    /// A copy of a chunk.
    pub(crate) fn of((chunk, data): (&EncodedChunk, &[u8])) -> Self {
        let EncodedChunk { min_time, max_time, encoding, .. } = *chunk;
        Self { min_time, max_time, encoding, bytes: data.into() }
    }

    /// The whole of it.
    pub(crate) fn to_put(&self) -> ChunkToPut<'_> {
        let Self { min_time, max_time, encoding, ref bytes } = *self;
        ChunkToPut { min_time, max_time, encoding, data: bytes, seen: usize::MAX }
    }
}

/// Spreads series over blocks that begin and end at multiples of a width.
pub(crate) struct BlocksWriter<'a> {
    compactor: &'a Compactor,
    range_ms: i64,
    now_ms: i64,
    hints: &'a [&'static str],
    builders: BTreeMap<i64, BlockBuilder>,
}

impl<'a> BlocksWriter<'a> {
    pub(crate) fn new(compactor: &'a Compactor, range_ms: i64, now_ms: i64, hints: &'a [&'static str]) -> Self {
        Self { compactor, range_ms, now_ms, hints, builders: BTreeMap::new() }
    }

    /// Adds a series with its chunks, which may be in any order, overlap, and cross the blocks' bounds. Each series comes
    /// once.
    pub(crate) fn add<'c>(
        &mut self,
        labels: &Labels,
        chunks: impl Iterator<Item = ChunkToPut<'c>>,
    ) -> Result<(), StorageError> {
        let broken = |error| crate::error::corrupt("a chunk to put into a block".as_ref(), 0, error);
        let mut by_block: BTreeMap<i64, SeriesChunks> = BTreeMap::new();
        for chunk in chunks {
            let mut start = chunk.min_time.div_euclid(self.range_ms).saturating_mul(self.range_ms);
            while start <= chunk.max_time {
                let end = start.saturating_add(self.range_ms);
                let range = TimeRange { min: start, max: end - 1 };
                let chunks = by_block.entry(start).or_default();
                recode::put(chunk, &Cut { range, deleted: &[] }, chunks).map_err(broken)?;
                start = end;
            }
        }
        for (start, mut chunks) in by_block {
            if chunks.is_empty() {
                continue;
            }
            recode::resolve_overlaps(&mut chunks).map_err(broken)?;
            self.builder(start)?.add_labels(labels, &chunks)?;
        }
        self.compactor.check()
    }

    fn builder(&mut self, start: i64) -> Result<&mut BlockBuilder, StorageError> {
        if self.builders.len() >= OPEN_BLOCKS_MAX && !self.builders.contains_key(&start) {
            return Err(StorageError::Limit { name: "open_blocks_max", max: OPEN_BLOCKS_MAX as u64 });
        }
        match self.builders.entry(start) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let end = start.saturating_add(self.range_ms);
                let mut meta = BlockMeta::new(Ulid::new(self.now_ms), start, end);
                meta.compaction.hints.extend(self.hints.iter().map(|hint| (*hint).to_owned()));
                Ok(entry.insert(self.compactor.builder(meta)?))
            }
        }
    }

    /// Finishes all blocks, oldest first, and opens them.
    pub(crate) fn finish(self) -> Result<Vec<Arc<Block>>, StorageError> {
        let mut blocks = Vec::with_capacity(self.builders.len());
        for builder in self.builders.into_values() {
            blocks.extend(self.compactor.finish(builder)?);
        }
        Ok(blocks)
    }
}

/// Writes blocks of samples that were never in the head, as backfill does. Series come in any order, each once.
///
/// The directory may be that of a database: it takes the blocks in when it is opened next. A database that is open takes
/// blocks in by [`crate::Db::adopt_block`], or all of a writer's by [`crate::Db::adopt_written`].
#[derive(Debug)]
pub struct BlockWriter {
    compactor: Compactor,
    range_ms: i64,
    now_ms: i64,
    builders: BTreeMap<i64, BlockBuilder>,
    samples: Vec<(Stamp, SampleValue)>,
    /// Goes, with all that is in it, when the writer does.
    scratch: Option<Scratch>,
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next start removes what stays: its name says that it may.
        let _left_for_the_next_start = std::fs::remove_dir_all(&self.0);
    }
}

impl BlockWriter {
    /// As [`BlockWriter::create`], in a directory that lasts no longer than the writer.
    pub(crate) fn create_scratch(directory: PathBuf, block_range_ms: i64, now: Timestamp) -> Result<Self, Error> {
        let mut writer = Self::create(&directory, block_range_ms, now)?;
        writer.scratch = Some(Scratch(directory));
        Ok(writer)
    }

    /// Where it writes.
    pub(crate) fn directory(&self) -> &Path {
        &self.compactor.data
    }

    /// Bytes that its open blocks take on the heap, roughly: their indexes, and the samples of the series begun.
    pub fn memory_bytes(&self) -> usize {
        let samples = self.samples.capacity() * size_of::<(Stamp, SampleValue)>();
        self.builders.values().map(BlockBuilder::memory_bytes).sum::<usize>() + samples
    }

    /// Writes to `directory`, making it if need be, blocks of `block_range_ms`, named as of `now`.
    ///
    /// # Errors
    /// If the directory cannot be made, or the width is not positive.
    pub fn create(directory: &Path, block_range_ms: i64, now: Timestamp) -> Result<Self, Error> {
        if block_range_ms <= 0 {
            return Err(Error::Setting { name: "block_range_ms", reason: "must be positive" });
        }
        let fs: Arc<dyn FileSystem> = Arc::new(Disk);
        fs.create_directory(directory).map_err(|error| crate::error::io_error(directory, error))?;
        let compactor = Compactor {
            fs,
            data: directory.to_owned(),
            segment_bytes: Config::default().block_segment_bytes,
            cache: Arc::new(PostingsCache::new(CACHE_BYTES, Arc::default())),
            instruments: Arc::default(),
            stopwatch: None,
            is_closing: Arc::new(AtomicBool::new(false)),
        };
        Ok(Self {
            compactor,
            range_ms: block_range_ms,
            now_ms: now.0,
            builders: BTreeMap::new(),
            samples: Vec::new(),
            scratch: None,
        })
    }

    /// Adds a sample to the series that [`BlockWriter::end_series`] will name. Of two at one time the first stays.
    pub fn append(&mut self, timestamp: Timestamp, value: NewValue<'_>) {
        self.append_started(Timestamp(0), timestamp, value);
    }

    /// As [`BlockWriter::append`], of a sample whose counting began at `start`; 0 if that is not known.
    pub fn append_started(&mut self, start: Timestamp, timestamp: Timestamp, value: NewValue<'_>) {
        let value = match value {
            NewValue::Float(float) => SampleValue::Float(float),
            NewValue::IntHistogram(histogram) => SampleValue::Int(Arc::<IntHistogram>::new(histogram.clone())),
            NewValue::FloatHistogram(histogram) => {
                SampleValue::FloatHistogram(Arc::<FloatHistogram>::new(histogram.clone()))
            }
        };
        self.samples.push((Stamp { time: timestamp.0, start: start.0 }, value));
    }

    /// Writes the samples appended so far as the series `labels`.
    ///
    /// # Errors
    /// If the disk fails, or the samples reach over more blocks than may be open.
    pub fn end_series(&mut self, labels: &Labels) -> Result<(), Error> {
        let mut samples = std::mem::take(&mut self.samples);
        samples.sort_by_key(|(stamp, _)| stamp.time);
        samples.dedup_by_key(|(stamp, _)| stamp.time);
        let mut writer = BlocksWriter::new(&self.compactor, self.range_ms, self.now_ms, &[]);
        writer.builders = std::mem::take(&mut self.builders);
        let start_of = |sample: &(Stamp, SampleValue)| sample.0.time.div_euclid(self.range_ms);
        let mut result = Ok(());
        for part in samples.chunk_by(|a, b| start_of(a) == start_of(b)) {
            let mut chunks = SeriesChunks::default();
            recode::encode(part, &mut chunks);
            let start = start_of(&part[0]).saturating_mul(self.range_ms);
            result = result.and_then(|()| writer.builder(start)?.add_labels(labels, &chunks));
        }
        self.builders = std::mem::take(&mut writer.builders);
        samples.clear();
        self.samples = samples;
        Ok(result?)
    }

    /// Makes the blocks durable and tells what they are, oldest first.
    ///
    /// # Errors
    /// If the disk fails, or a series was written twice. Blocks finished before stay.
    pub fn finish(mut self) -> Result<Vec<BlockMeta>, Error> {
        self.finish_blocks()
    }

    /// As [`BlockWriter::finish`], of what was written since the last time.
    pub(crate) fn finish_blocks(&mut self) -> Result<Vec<BlockMeta>, Error> {
        let mut writer = BlocksWriter::new(&self.compactor, self.range_ms, self.now_ms, &[]);
        writer.builders = std::mem::take(&mut self.builders);
        Ok(writer.finish()?.iter().map(|block| (*block.meta()).clone()).collect())
    }
}

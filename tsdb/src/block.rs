//! A block: the samples of a range of time, immutable but for its tombstones. Layout: `docs/formats/block.md`.
//!
//! Invariant: what a reader holds of a block stays readable until the reader ends, even if the block is deleted meanwhile,
//! because its files are mapped. Only the database's upkeep and its deletions change tombstones, under one lock.

pub(crate) mod builder;
pub(crate) mod cache;
pub(crate) mod chunks;
pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod reader;
pub(crate) mod select;
pub(crate) mod tombstones;
pub(crate) mod ulid;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::matcher::Matcher;
use model::storage::StorageError;

use crate::error::io_error;
use crate::fs::{self, FileSystem};
use crate::head::reader::TimeRange;
use crate::sync::RwLock;
use crate::tombstones::{Interval, Tombstones};
use cache::PostingsCache;
use chunks::ChunkFiles;
use index::{Index, SeriesEntry};
use meta::BlockMeta;

/// Ends the name of a directory that is still being filled.
pub(crate) const CREATION_SUFFIX: &str = ".tmp-for-creation";
/// Ends the name of a directory that is being removed.
pub(crate) const DELETION_SUFFIX: &str = ".tmp-for-deletion";
/// Ends the name of a directory with a block that cannot be read.
pub(crate) const DAMAGED_SUFFIX: &str = ".damaged";

/// Numbers blocks as they are opened, for the cache.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// A block on disk, open for reading.
#[derive(Debug)]
pub(crate) struct Block {
    /// Tells it from every other block opened by this process.
    id: u64,
    directory: PathBuf,
    state: RwLock<State>,
    pub(crate) index: Index,
    pub(crate) chunks: ChunkFiles,
    cache: Arc<PostingsCache>,
}

/// What may change.
#[derive(Debug, Clone)]
struct State {
    meta: Arc<BlockMeta>,
    tombstones: Arc<Tombstones>,
}

impl Block {
    /// Opens the block in `directory`.
    ///
    /// # Errors
    /// If a file cannot be read, or what is read at once (meta, symbols, table of postings, tombstones) is damaged.
    pub(crate) fn open(directory: &Path, cache: &Arc<PostingsCache>) -> Result<Self, StorageError> {
        let meta = BlockMeta::read(directory)?;
        let index = Index::open(directory)?;
        let chunks = ChunkFiles::open(&directory.join(chunks::DIRECTORY))?;
        let tombstones = Tombstones::read(directory)?;
        Ok(Self {
            id: OPENED.fetch_add(1, Ordering::Relaxed),
            directory: directory.to_owned(),
            state: RwLock::new(State { meta: Arc::new(meta), tombstones: Arc::new(tombstones) }),
            index,
            chunks,
            cache: Arc::clone(cache),
        })
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it is.
    pub(crate) fn meta(&self) -> Arc<BlockMeta> {
        Arc::clone(&self.state.read().meta)
    }

    /// What is deleted in it.
    pub(crate) fn tombstones(&self) -> Arc<Tombstones> {
        Arc::clone(&self.state.read().tombstones)
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes() + self.chunks.bytes() + self.small_files_bytes()
    }

    fn small_files_bytes(&self) -> u64 {
        let bytes_of = |name| std::fs::metadata(self.directory.join(name)).map_or(0, |metadata| metadata.len());
        bytes_of(meta::FILE) + bytes_of(tombstones::FILE)
    }

    /// The times it may hold, both included.
    pub(crate) fn range(&self) -> TimeRange {
        let meta = self.meta();
        TimeRange { min: meta.min_time, max: meta.max_time.saturating_sub(1) }
    }

    /// Whether it may hold something in `range`.
    pub(crate) fn meets(&self, range: TimeRange) -> bool {
        let own = self.range();
        own.min <= range.max && range.min <= own.max
    }

    /// Marks the samples of the matched series in `range` as deleted, and makes that durable. Returns how many series had
    /// a chunk there. The caller holds the lock of the database's upkeep.
    pub(crate) fn delete(
        &self,
        fs: &dyn FileSystem,
        range: TimeRange,
        matchers: &[Matcher],
    ) -> Result<usize, StorageError> {
        let mut tombstones = (*self.tombstones()).clone();
        let mut entry = SeriesEntry::default();
        let mut deleted = 0;
        for series in self.select(matchers)?.iter() {
            self.index.read_series(series, &mut entry)?;
            let is_there = |chunk: &chunks::ChunkMeta| chunk.min_time <= range.max && range.min <= chunk.max_time;
            let (Some(first), Some(last)) = (entry.chunks.first(), entry.chunks.last()) else {
                continue;
            };
            if entry.chunks.iter().any(is_there) {
                // Clipped to what is there, as Prometheus does.
                let (min_time, max_time) = (range.min.max(first.min_time), range.max.min(last.max_time));
                tombstones.add(series, Interval { min_time, max_time });
                deleted += 1;
            }
        }
        if deleted > 0 {
            tombstones.write(fs, &self.directory)?;
            let mut meta = (*self.meta()).clone();
            meta.stats.num_tombstones = tombstones.count();
            let mut state = self.state.write();
            state.tombstones = Arc::new(tombstones);
            state.meta = Arc::new(meta.clone());
            drop(state);
            meta.write(fs, &self.directory)?;
        }
        Ok(deleted)
    }

    /// Puts hard links to all its files under its name into `target`.
    pub(crate) fn link_into(&self, fs: &dyn FileSystem, target: &Path) -> Result<(), StorageError> {
        let target = target.join(self.meta().ulid.to_string());
        let chunks = target.join(chunks::DIRECTORY);
        fs.create_directory(&chunks).map_err(|error| io_error(&chunks, error))?;
        let of_chunks = self.directory.join(chunks::DIRECTORY);
        let segments = fs::list(&of_chunks).map_err(|error| io_error(&of_chunks, error))?;
        let mut names: Vec<PathBuf> = [meta::FILE, index::FILE, tombstones::FILE].iter().map(PathBuf::from).collect();
        names.extend(segments.iter().map(|segment| Path::new(chunks::DIRECTORY).join(&segment.name)));
        for name in names.iter().filter(|name| self.directory.join(name).exists()) {
            let link = target.join(name);
            fs.hard_link(&self.directory.join(name), &link).map_err(|error| io_error(&link, error))?;
        }
        for directory in [&chunks, &target] {
            fs.sync_directory(directory).map_err(|error| io_error(directory, error))?;
        }
        Ok(())
    }

    /// Notes that a compaction failed on it, so that it is not tried for ever.
    pub(crate) fn note_failed(&self, fs: &dyn FileSystem) -> Result<(), StorageError> {
        let mut meta = (*self.meta()).clone();
        meta.compaction.failed = true;
        self.state.write().meta = Arc::new(meta.clone());
        meta.write(fs, &self.directory)
    }
}

/// Removes a block's directory: renamed first, so that an interrupted removal leaves no half block.
pub(crate) fn remove(fs: &dyn FileSystem, directory: &Path) -> Result<(), StorageError> {
    let doomed = with_suffix(directory, DELETION_SUFFIX);
    let io = |error| io_error(directory, error);
    if doomed.exists() {
        fs.remove_directory(&doomed).map_err(io)?;
    }
    fs.rename(directory, &doomed).map_err(io)?;
    if let Some(parent) = directory.parent() {
        fs.sync_directory(parent).map_err(io)?;
    }
    fs.remove_directory(&doomed).map_err(io)
}

/// The directory's path with its name lengthened.
pub(crate) fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    directory.with_file_name(name)
}

/// The directories of blocks in a data directory, by name.
pub(crate) fn list(data: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = fs::list(data).map_err(|error| io_error(data, error))?;
    let is_block = |entry: &&fs::Entry| entry.is_directory && entry.name.parse::<ulid::Ulid>().is_ok();
    Ok(entries.iter().filter(is_block).map(|entry| data.join(&entry.name)).collect())
}

/// Removes what interrupted creations and deletions left in a data directory.
pub(crate) fn clean(fs: &dyn FileSystem, data: &Path) -> Result<(), StorageError> {
    for entry in fs::list(data).map_err(|error| io_error(data, error))? {
        let is_left = entry.name.ends_with(CREATION_SUFFIX) || entry.name.ends_with(DELETION_SUFFIX);
        if entry.is_directory && is_left {
            let path = data.join(&entry.name);
            fs.remove_directory(&path).map_err(|error| io_error(&path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

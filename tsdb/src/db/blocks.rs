//! The blocks of a database: which are open, and how one list of them takes another's place.
//!
//! Readers take the list as it stands and keep it; the upkeep alone puts another in its place.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::storage::StorageError;

use crate::block::cache::PostingsCache;
use crate::block::ulid::Ulid;
use crate::block::{self, Block, DAMAGED_SUFFIX, with_suffix};
use crate::compact::Compactor;
use crate::config::Config;
use crate::error::io_error;
use crate::fs::FileSystem;
use crate::metrics::Instruments;
use crate::sync::{Mutex, RwLock};

/// How long after a failure no block is written.
const RETRY_AFTER_MS: i64 = 60_000;

/// Open blocks, ordered by their first times.
pub(crate) type BlockList = Arc<[Arc<Block>]>;

/// The blocks of a database.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) compactor: Compactor,
    list: RwLock<BlockList>,
    /// Removed from the list, and not yet from the disk.
    doomed: Mutex<Vec<Arc<Block>>>,
    /// When the last block could not be written, in ms.
    failed_at: Mutex<Option<i64>>,
    /// Held while a block from elsewhere is taken in, and while the directory is let go of.
    pub(super) adoption: Mutex<()>,
}

/// What opening the blocks of a directory found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Blocks that another one stands for, and empty ones.
    pub(crate) superseded: Vec<PathBuf>,
    /// Blocks that cannot be read, and why.
    pub(crate) damaged: Vec<(PathBuf, StorageError)>,
}

/// Opens the blocks of a data directory, changing nothing.
///
/// # Errors
/// If the disk fails. What a block's files hold is no such failure.
pub(crate) fn open_all(data: &Path, cache: &Arc<PostingsCache>) -> Result<Found, StorageError> {
    let mut found = Found::default();
    let mut opened = Vec::new();
    for directory in block::list(data)? {
        match Block::open(&directory, cache) {
            Ok(block) => opened.push(Arc::new(block)),
            Err(StorageError::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::Io { path: directory, source });
            }
            Err(damage) => found.damaged.push((directory, damage)),
        }
    }
    let parents: HashSet<Ulid> = opened
        .iter()
        .flat_map(|block| block.meta().compaction.parents.iter().map(|p| p.ulid).collect::<Vec<_>>())
        .collect();
    for block in opened {
        if parents.contains(&block.meta().ulid) || block.meta().compaction.deletable {
            found.superseded.push(block.directory().to_owned());
        } else {
            found.blocks.push(block);
        }
    }
    let is_parent = |directory: &Path| {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.parse::<Ulid>().is_ok_and(|ulid| parents.contains(&ulid))
    };
    let (superseded, damaged) = found.damaged.into_iter().partition(|(directory, _)| is_parent(directory));
    found.damaged = damaged;
    let superseded: Vec<(PathBuf, StorageError)> = superseded;
    found.superseded.extend(superseded.into_iter().map(|(directory, _)| directory));
    sort(&mut found.blocks);
    Ok(found)
}

fn sort(blocks: &mut [Arc<Block>]) {
    blocks.sort_by_key(|block| {
        let meta = block.meta();
        (meta.min_time, meta.max_time, meta.ulid)
    });
}

impl Blocks {
    /// Cleans the directory and opens its blocks; those that cannot be read are set aside and told.
    pub(crate) fn open(
        fs: Arc<dyn FileSystem>,
        data: &Path,
        config: &Config,
        instruments: &Instruments,
        is_closing: &Arc<AtomicBool>,
    ) -> Result<(Self, Vec<StorageError>), StorageError> {
        block::clean(&*fs, data)?;
        let instruments = Arc::clone(&instruments.blocks);
        let cache = Arc::new(PostingsCache::new(config.postings_cache_bytes, Arc::clone(&instruments)));
        let found = open_all(data, &cache)?;
        for directory in &found.superseded {
            block::remove(&*fs, directory)?;
        }
        let mut damage = Vec::new();
        for (directory, error) in found.damaged {
            let aside = with_suffix(&directory, DAMAGED_SUFFIX);
            fs.rename(&directory, &aside).map_err(|error| io_error(&directory, error))?;
            instruments.set_aside.add(1);
            damage.push(error);
        }
        let compactor = Compactor {
            fs,
            data: data.to_owned(),
            segment_bytes: config.block_segment_bytes,
            cache,
            instruments,
            stopwatch: config.stopwatch,
            is_closing: Arc::clone(is_closing),
        };
        let blocks = Self {
            compactor,
            list: RwLock::new(found.blocks.into()),
            doomed: Mutex::default(),
            failed_at: Mutex::default(),
            adoption: Mutex::default(),
        };
        blocks.note_list();
        Ok((blocks, damage))
    }

    /// The blocks as they stand.
    pub(crate) fn list(&self) -> BlockList {
        Arc::clone(&self.list.read())
    }

    /// Where the blocks of a head end whose last sample is at `head_max_time`: its samples before are in them.
    ///
    /// A head writes out what is half a block range behind its last sample. Blocks that end later come from elsewhere, as
    /// those of out-of-order samples and of backfill do: what the head has of their range is not in them.
    pub(crate) fn in_order_end(&self, head_max_time: i64, block_range_ms: i64) -> Option<i64> {
        let bound = head_max_time.saturating_sub(block_range_ms / 2);
        let metas = self.list().iter().map(|block| block.meta()).collect::<Vec<_>>();
        let of_head = metas.iter().filter(|meta| !meta.is_out_of_order() && meta.max_time <= bound);
        of_head.map(|meta| meta.max_time).max()
    }

    /// Notes whether a block could be written.
    pub(crate) fn note_written<T>(&self, result: &Result<T, StorageError>, now_ms: i64) {
        *self.failed_at.lock() = result.is_err().then_some(now_ms);
    }

    /// Whether the last block could not be written, so shortly ago that another attempt would only burden the disk.
    pub(crate) fn is_waiting(&self, now_ms: i64) -> bool {
        self.failed_at.lock().is_some_and(|failed_at| (0..RETRY_AFTER_MS).contains(&now_ms.saturating_sub(failed_at)))
    }

    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.list().iter().map(|block| block.bytes()).sum()
    }

    /// Whether a block has that name, or another one stands for it.
    pub(super) fn knows(&self, ulid: Ulid) -> bool {
        self.list().iter().any(|block| {
            let meta = block.meta();
            meta.ulid == ulid || meta.compaction.parents.iter().any(|parent| parent.ulid == ulid)
        })
    }

    /// Takes in a block beside the others. It is durable already.
    pub(super) fn add(&self, block: Arc<Block>) {
        self.enter(&[], vec![block]);
        self.compactor.instruments.reloads.add(1);
    }

    /// Puts `added` in the place of `removed`, and removes these from the disk. The added ones are durable already.
    ///
    /// # Errors
    /// If a removal fails; it is tried again by [`Blocks::bury`].
    pub(crate) fn replace(&self, removed: &[Arc<Block>], added: Vec<Arc<Block>>) -> Result<(), StorageError> {
        self.enter(removed, added);
        self.compactor.instruments.reloads.add(1);
        self.doomed.lock().extend(removed.iter().cloned());
        self.bury()
    }

    fn enter(&self, removed: &[Arc<Block>], added: Vec<Arc<Block>>) {
        {
            let mut list = self.list.write();
            let is_removed = |block: &Arc<Block>| removed.iter().any(|other| Arc::ptr_eq(block, other));
            let mut blocks: Vec<_> = list.iter().filter(|block| !is_removed(block)).cloned().chain(added).collect();
            sort(&mut blocks);
            *list = blocks.into();
        }
        self.note_list();
    }

    /// Removes from the disk what is no longer in the list.
    pub(crate) fn bury(&self) -> Result<(), StorageError> {
        let mut doomed = self.doomed.lock();
        while let Some(block) = doomed.last() {
            // One whose directory is gone was removed in part before.
            let removed = if block.directory().exists() { self.compactor.remove(block) } else { Ok(()) };
            if removed.is_err() {
                self.compactor.instruments.reloads_failed.add(1);
            }
            removed?;
            doomed.pop();
        }
        Ok(())
    }

    fn note_list(&self) {
        let list = self.list();
        let instruments = &self.compactor.instruments;
        instruments.loaded.set(list.len() as i64);
        instruments.bytes.set(list.iter().map(|block| block.bytes()).sum::<u64>() as i64);
        instruments.lowest_timestamp.set(list.first().map_or(i64::MAX, |block| block.meta().min_time));
    }
}

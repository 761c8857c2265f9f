//! A data directory for those who may only look: no lock is taken and nothing in it changes, so that it may be that of a
//! running database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Querier, Queryable, StorageError};

use super::Db;
use crate::block::Block;
use crate::block::index::SeriesEntry;
use crate::block::meta::BlockMeta;
use crate::block::ulid::Ulid;
use crate::chunk::Encoding;
use crate::config::{Config, LockFile, OnStop};
use crate::error::{Error, io_error};
use crate::fs::read_only::ReadOnly;
use crate::head::replay::ReplayReport;
use crate::head::statistics::HeadStatistics;

/// The blocks and the log of a data directory, read only.
#[derive(Debug)]
pub struct ReadOnlyDb {
    pub(super) db: Db,
    /// Where full chunks of the replayed head go; removed in the end.
    scratch: PathBuf,
}

impl ReadOnlyDb {
    /// Opens the data directory: its blocks, and what its log holds. A directory of its own is made in `scratch_root`
    /// and removed in the end. Retention and limits are left out of account.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read. Damage is told in [`ReadOnlyDb::replay_report`].
    pub fn open(directory: &Path, scratch_root: &Path) -> Result<Self, Error> {
        std::fs::read_dir(directory).map_err(|error| io_error(directory, error))?;
        let scratch = scratch_root.join(format!("tmp_dbro_sandbox{}", Ulid::new(0)));
        std::fs::create_dir_all(&scratch).map_err(|error| io_error(&scratch, error))?;
        let config =
            Config { lock_file: LockFile::None, on_stop: OnStop::Nothing, retention_ms: None, ..Config::default() };
        let fs = Arc::new(ReadOnly::outside(scratch.clone()));
        match Db::open_with_chunks_in(fs, directory, &scratch.join("chunks_head"), config) {
            Ok(db) => Ok(Self { db, scratch }),
            Err(error) => {
                // The first error is the one to tell.
                let _left_behind = std::fs::remove_dir_all(&scratch);
                Err(error)
            }
        }
    }

    /// What was met when it was opened, damage included.
    pub fn replay_report(&self) -> &ReplayReport {
        self.db.replay_report()
    }

    /// Counts of what the log holds.
    pub fn head_statistics(&self) -> HeadStatistics {
        self.db.head_statistics()
    }

    /// What every block is, ordered by first time.
    pub fn block_metas(&self) -> Vec<Arc<BlockMeta>> {
        self.db.block_metas()
    }

    /// The blocks, ordered by first time.
    pub fn blocks(&self) -> Vec<BlockView> {
        self.db.blocks.list().iter().map(|block| BlockView(Arc::clone(block))).collect()
    }
}

impl Queryable for ReadOnlyDb {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        self.db.querier(min_time, max_time)
    }
}

impl Drop for ReadOnlyDb {
    fn drop(&mut self) {
        // Files that are mapped stay readable; what cannot be removed is only scratch.
        let _left_behind = std::fs::remove_dir_all(&self.scratch);
    }
}

/// A block to look into.
#[derive(Debug, Clone)]
pub struct BlockView(Arc<Block>);

/// A chunk as it stands in a block.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RawChunk<'a> {
    /// Time of its first sample.
    pub min_time: i64,
    /// Time of its last sample.
    pub max_time: i64,
    /// The byte that names its encoding; see `docs/formats/chunk.md`.
    pub encoding: u8,
    /// How many samples it has.
    pub samples: u16,
    /// Its bytes.
    pub data: &'a [u8],
}

impl BlockView {
    /// What it is.
    pub fn meta(&self) -> Arc<BlockMeta> {
        self.0.meta()
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.0.directory()
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Label names, sorted.
    pub fn label_names(&self) -> Vec<String> {
        self.0.index.label_names().map(str::to_owned).collect()
    }

    /// The values of a label, sorted, each with the number of its series.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn label_values(&self, name: &str) -> Result<Vec<(String, u64)>, StorageError> {
        let mut values = Vec::new();
        let mut series = Vec::new();
        for (value, offset) in self.0.index.values(name, "") {
            series.clear();
            self.0.index.read_postings(offset, &mut series)?;
            values.push((value.to_owned(), series.len() as u64));
        }
        Ok(values)
    }

    /// Hands over each series that the matchers accept, by labels, with all its chunks, deleted samples included.
    ///
    /// # Errors
    /// If the block is damaged, or the first error of `visit`.
    pub fn each_series(
        &self,
        matchers: &[Matcher],
        mut visit: impl FnMut(&Labels, &[RawChunk<'_>]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut entry = SeriesEntry::default();
        for series in &self.0.select(matchers)? {
            self.0.index.read_series(series, &mut entry)?;
            let chunks = entry.chunks.iter().map(|meta| {
                let (encoding, data) = self.0.chunks.chunk(meta.reference)?;
                let samples = Encoding::from_byte(encoding).map_or(0, |known| known.sample_count(data));
                Ok(RawChunk { min_time: meta.min_time, max_time: meta.max_time, encoding, samples, data })
            });
            let chunks = chunks.collect::<Result<Vec<_>, StorageError>>()?;
            visit(&self.0.index.labels_of(&entry.pairs), &chunks)?;
        }
        Ok(())
    }
}

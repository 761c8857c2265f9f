//! Settings of the database, with Prometheus' defaults.

use std::sync::Arc;
use std::time::Duration;

use crate::compact::retention::{Retention, RetentionRule};
use crate::error::Error;
use crate::head::replay::ReplayProgress;

/// When the write-ahead log is made durable with fsync. A killed process loses nothing either way; this is about the
/// machine losing power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before each commit returns; commits that wait share one sync.
    Always,
    /// Once in that time, and at each segment's end.
    Every(Duration),
    /// At each segment's end, as Prometheus does.
    Segment,
}

/// How records of the write-ahead log are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// With snappy.
    #[default]
    Snappy,
    /// With zstd: smaller, and slower.
    Zstd,
}

/// What a clean stop leaves behind for the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStop {
    /// A snapshot of the head, so that the next start reads almost nothing (`memory-snapshot-on-shutdown`).
    #[default]
    Snapshot,
    /// Nothing: the next start replays the log.
    Nothing,
}

/// Whether the data directory is guarded by its lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockFile {
    /// A second process on the same directory is refused.
    #[default]
    Lock,
    /// No lock file (`--storage.tsdb.no-lockfile`): the operator sees to it.
    None,
}

/// Settings of a database.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Width of the smallest block and unit of the head's chunk boundaries.
    pub block_range_ms: i64,
    /// Width of the widest block; `None` for 31 days or a tenth of the retention.
    pub block_range_max_ms: Option<i64>,
    /// Size of the files of a block's chunks.
    pub block_segment_bytes: u64,
    /// Bytes of decoded postings of blocks that are kept in memory.
    pub postings_cache_bytes: usize,
    /// How long samples are kept; `None` for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes the database may take; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// How many percent of the disk the database may take; `None` for no limit.
    pub retention_disk_percentage: Option<f64>,
    /// Series that are kept for another time than `retention_ms`; the first rule that matches counts.
    pub retention_rules: Vec<RetentionRule>,
    /// The most series in the head; more are refused with a limit error. Ids are 26 bits wide.
    pub series_max: u64,
    /// Size of the write-ahead log's segments; a multiple of 32 KiB.
    pub wal_segment_bytes: u64,
    /// How its records are compressed.
    pub wal_compression: Compression,
    /// When it is made durable.
    pub fsync: Fsync,
    /// Size of the files in `chunks_head`.
    pub mapped_file_bytes: u32,
    /// Samples after which a chunk is full.
    pub samples_per_chunk: u16,
    /// How far behind the newest sample out-of-order ones are taken (`out_of_order_time_window`); 0 takes none.
    pub out_of_order_window_ms: i64,
    /// From which share of stale series in the head on, of 1, they are written out before their time
    /// (`stale_series_compaction_threshold`); 0 never does.
    pub stale_series_compaction_threshold: f64,
    /// How many exemplars are kept; 0 keeps none. Prometheus' `exemplar-storage` keeps 100,000 unless told otherwise.
    pub exemplars_max: u64,
    /// What a clean stop leaves behind.
    pub on_stop: OnStop,
    /// Tells the time since some moment, to show how long compactions take: this crate reads no clock itself.
    pub stopwatch: Option<fn() -> Duration>,
    /// Whether the directory is locked.
    pub lock_file: LockFile,
    /// Shows how far opening is.
    pub replay_progress: Arc<ReplayProgress>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            block_range_ms: 2 * 60 * 60 * 1000,
            block_range_max_ms: None,
            block_segment_bytes: 512 * 1024 * 1024,
            postings_cache_bytes: 64 * 1024 * 1024,
            retention_ms: Some(15 * 24 * 60 * 60 * 1000),
            retention_bytes: None,
            retention_disk_percentage: None,
            retention_rules: Vec::new(),
            series_max: 50_000_000,
            wal_segment_bytes: 128 * 1024 * 1024,
            wal_compression: Compression::Snappy,
            fsync: Fsync::Every(Duration::from_secs(1)),
            mapped_file_bytes: 128 * 1024 * 1024,
            samples_per_chunk: 120,
            out_of_order_window_ms: 0,
            stale_series_compaction_threshold: 0.0,
            exemplars_max: 0,
            on_stop: OnStop::Snapshot,
            stopwatch: None,
            lock_file: LockFile::Lock,
            replay_progress: Arc::default(),
        }
    }
}

impl Config {
    /// What is kept, as the settings say.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            time_ms: self.retention_ms,
            bytes: self.retention_bytes,
            disk_percentage: self.retention_disk_percentage,
            rules: self.retention_rules.clone(),
        }
    }

    /// Checks each setting against its range.
    ///
    /// # Errors
    /// The first that is out of it.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let page = crate::wal::segment::PAGE_BYTES as u64;
        let broken = |name, reason| Err(Error::Setting { name, reason });
        if self.block_range_ms <= 0 {
            return broken("block_range_ms", "must be positive");
        }
        if self.retention_ms.is_some_and(|retention| retention <= 0) {
            return broken("retention_ms", "must be positive");
        }
        if self.block_range_max_ms.is_some_and(|max| max < self.block_range_ms) {
            return broken("block_range_max_ms", "must not be below block_range_ms");
        }
        if !(64 * 1024..=1 << 32).contains(&self.block_segment_bytes) {
            return broken("block_segment_bytes", "must be between 64 KiB and 4 GiB");
        }
        self.retention().validate()?;
        if self.series_max > crate::head::slab::SLOTS_MAX as u64 {
            return broken("series_max", "must not exceed 2^26");
        }
        if self.out_of_order_window_ms < 0 {
            return broken("out_of_order_window_ms", "must not be negative");
        }
        if !(0.0..=1.0).contains(&self.stale_series_compaction_threshold) {
            return broken("stale_series_compaction_threshold", "must be between 0 and 1");
        }
        if self.exemplars_max > crate::exemplars::EXEMPLARS_MAX as u64 {
            return broken("exemplars_max", "must not exceed 2^30");
        }
        if self.wal_segment_bytes < 2 * page || !self.wal_segment_bytes.is_multiple_of(page) {
            return broken("wal_segment_bytes", "must be a multiple of 32 KiB, and at least two of them");
        }
        if self.mapped_file_bytes < 64 * 1024 {
            return broken("mapped_file_bytes", "must be at least 64 KiB");
        }
        if !(8..=1000).contains(&self.samples_per_chunk) {
            return broken("samples_per_chunk", "must be between 8 and 1000");
        }
        Ok(())
    }
}

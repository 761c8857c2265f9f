//! Counters and gauges of the database, for the server to show under Prometheus' names.

mod blocks;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use blocks::{BlockInstruments, Durations};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to samples and series in the head.
#[derive(Debug, Default)]
pub struct HeadInstruments {
    /// `prometheus_tsdb_head_samples_appended_total{type="float"}`
    pub float_samples: Counter,
    /// `prometheus_tsdb_head_samples_appended_total{type="histogram"}`
    pub histogram_samples: Counter,
    /// `prometheus_tsdb_head_out_of_order_samples_appended_total`
    pub out_of_order_appended: Counter,
    /// `prometheus_tsdb_out_of_order_samples_total`
    pub out_of_order_samples: Counter,
    /// `prometheus_tsdb_out_of_bound_samples_total`
    pub out_of_bound_samples: Counter,
    /// `prometheus_tsdb_too_old_samples_total`
    pub too_old_samples: Counter,
    /// Samples refused because the series has another value at that timestamp.
    pub duplicate_samples: Counter,
    /// `prometheus_tsdb_head_series_created_total`
    pub series_created: Counter,
    /// `prometheus_tsdb_head_series_removed_total`
    pub series_removed: Counter,
    /// `prometheus_tsdb_head_series`
    pub series: Gauge,
    /// `prometheus_tsdb_head_chunks_created_total`
    pub chunks_created: Counter,
    /// `prometheus_tsdb_head_chunks_removed_total`
    pub chunks_removed: Counter,
    /// `prometheus_tsdb_head_chunks`
    pub chunks: Gauge,
    /// `prometheus_tsdb_head_stale_series`, as counted last: only where they may be written out early.
    pub stale_series: Gauge,
    /// `prometheus_tsdb_head_active_appenders`
    pub active_appenders: Gauge,
    /// Exemplars accepted and dropped because none are kept.
    pub exemplars_dropped: Counter,
    /// `prometheus_tsdb_isolation_high_watermark`: the last commit begun.
    pub last_commit: Gauge,
}

/// What happens to the write-ahead log.
#[derive(Debug, Default)]
pub struct WalInstruments {
    /// `prometheus_tsdb_wal_segment_current`
    pub segment_current: Gauge,
    /// `prometheus_tsdb_wal_writes_failed_total`
    pub writes_failed: Counter,
    /// Syncs that failed; each makes the log refuse appends until it recovers.
    pub syncs_failed: Counter,
    /// `prometheus_tsdb_wal_fsync_duration_seconds_count`
    pub syncs: Counter,
    /// Bytes appended to segments since the start.
    pub bytes_written: Counter,
    /// `prometheus_tsdb_wal_page_flushes_total` counts pages; this counts batches, each one write call.
    pub batches_written: Counter,
    /// `prometheus_tsdb_wal_corruptions_total`
    pub corruptions: Counter,
    /// `prometheus_tsdb_wal_truncations_total`
    pub truncations: Counter,
    /// `prometheus_tsdb_wal_truncations_failed_total`
    pub truncations_failed: Counter,
    /// `prometheus_tsdb_checkpoint_creations_total`
    pub checkpoints: Counter,
    /// `prometheus_tsdb_checkpoint_creations_failed_total`
    pub checkpoints_failed: Counter,
    /// `prometheus_tsdb_checkpoint_deletions_total`
    pub checkpoint_deletions: Counter,
    /// `prometheus_tsdb_checkpoint_deletions_failed_total`
    pub checkpoint_deletions_failed: Counter,
    /// 1 while appends are refused after a failed write or sync.
    pub refusing: Gauge,
}

/// What happens to exemplars.
#[derive(Debug, Default)]
pub struct ExemplarInstruments {
    /// `prometheus_tsdb_exemplar_exemplars_appended_total`
    pub appended: Counter,
    /// `prometheus_tsdb_exemplar_exemplars_in_storage`
    pub in_storage: Gauge,
    /// `prometheus_tsdb_exemplar_series_with_exemplars_in_storage`
    pub series_in_storage: Gauge,
    /// `prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds`, in milliseconds: the time of the oldest one kept.
    pub oldest_ms: Gauge,
    /// `prometheus_tsdb_exemplar_max_exemplars`
    pub max: Gauge,
    /// `prometheus_tsdb_exemplar_out_of_order_exemplars_total`
    pub out_of_order: Counter,
}

/// All instruments of a database.
#[derive(Debug, Default)]
pub struct Instruments {
    /// Of the blocks.
    pub blocks: Arc<BlockInstruments>,
    /// Of the head.
    pub head: HeadInstruments,
    /// Of the write-ahead log.
    pub wal: Arc<WalInstruments>,
    /// Of the write-behind log, which has the out-of-order samples: `prometheus_tsdb_out_of_order_wbl_...`.
    pub wbl: Arc<WalInstruments>,
    /// Of the exemplars.
    pub exemplars: ExemplarInstruments,
    /// `prometheus_tsdb_mmap_chunk_corruptions_total`
    pub mapped_chunk_corruptions: Counter,
    /// `prometheus_tsdb_stale_series_compactions_triggered_total`
    pub stale_compactions: Counter,
    /// `prometheus_tsdb_stale_series_compactions_failed_total`
    pub stale_compactions_failed: Counter,
    /// `prometheus_tsdb_head_truncations_total`
    pub head_truncations: Counter,
    /// `prometheus_tsdb_head_truncations_failed_total`
    pub head_truncations_failed: Counter,
    /// `prometheus_tsdb_clean_start`: 1 if the lock file of an unclean stop was not there.
    pub clean_start: Gauge,
}

//! What happens to blocks.

use super::{Counter, Gauge};

/// What happens to blocks.
#[derive(Debug, Default)]
pub struct BlockInstruments {
    /// `prometheus_tsdb_blocks_loaded`
    pub loaded: Gauge,
    /// `prometheus_tsdb_storage_blocks_bytes`
    pub bytes: Gauge,
    /// `prometheus_tsdb_lowest_timestamp` in ms; `i64::MAX` if there is no sample.
    pub lowest_timestamp: Gauge,
    /// `prometheus_tsdb_reloads_total`
    pub reloads: Counter,
    /// `prometheus_tsdb_reloads_failures_total`
    pub reloads_failed: Counter,
    /// Blocks set aside because they could not be read.
    pub set_aside: Counter,
    /// `prometheus_tsdb_compactions_triggered_total`
    pub compactions_triggered: Counter,
    /// `prometheus_tsdb_compactions_total`
    pub compactions: Counter,
    /// `prometheus_tsdb_compactions_failed_total`
    pub compactions_failed: Counter,
    /// `prometheus_tsdb_vertical_compactions_total`
    pub vertical_compactions: Counter,
    /// `prometheus_tsdb_compaction_populating_block`: 1 while a block is being written.
    pub populating: Gauge,
    /// `prometheus_tsdb_time_retentions_total`
    pub time_retentions: Counter,
    /// `prometheus_tsdb_size_retentions_total`
    pub size_retentions: Counter,
    /// Blocks rewritten or removed by a retention rule.
    pub rule_retentions: Counter,
    /// `prometheus_tsdb_retention_limit_bytes`; 0 for none.
    pub retention_limit_bytes: Gauge,
    /// `prometheus_tsdb_retention_limit_seconds`; 0 for none.
    pub retention_limit_seconds: Gauge,
    /// Sets of series found in the cache of postings.
    pub cache_hits: Counter,
    /// Sets of series that had to be made.
    pub cache_misses: Counter,
    /// `prometheus_tsdb_compaction_chunk_samples_sum`: samples written to blocks.
    pub samples_written: Counter,
    /// `prometheus_tsdb_compaction_chunk_samples_count`: chunks written to blocks.
    pub chunks_written: Counter,
}

//! The storage's own counts under Prometheus' metric names.

use std::sync::Arc;

use exposition::family::{FamilySample, MetricFamily};
use exposition::registry::Collector;
use model::labels::Labels;
use model::metadata::MetricType;
use model::number::print_float;
use tsdb::Db;

/// Shows a database.
pub struct StorageMetrics(pub Arc<Db>);

impl Collector for StorageMetrics {
    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        self.head(&mut families);
        self.wal(&mut families);
        self.blocks(&mut families);
        self.exemplars(&mut families);
        families
    }
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    MetricFamily::counter(format!("prometheus_tsdb_{name}"), help).with(&[], value as f64)
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    MetricFamily::gauge(format!("prometheus_tsdb_{name}"), help).with(&[], value)
}

impl StorageMetrics {
    fn head(&self, families: &mut Vec<MetricFamily>) {
        let instruments = self.0.instruments();
        let head = &instruments.head;
        let statistics = self.0.head_statistics();
        let appended =
            MetricFamily::counter("prometheus_tsdb_head_samples_appended_total", "Total number of appended samples.")
                .with(&[("type", "float")], head.float_samples.value() as f64)
                .with(&[("type", "histogram")], head.histogram_samples.value() as f64);
        let out_of_order = MetricFamily::counter(
            "prometheus_tsdb_out_of_order_samples_total",
            "Total number of out of order samples ingestion failed attempts.",
        )
        .with(&[("type", "float")], head.out_of_order_samples.value() as f64);
        let empty = statistics.min_time > statistics.max_time;
        let seconds = |ms: i64| if empty { 0.0 } else { ms as f64 / 1000.0 };
        families.extend([
            appended,
            out_of_order,
            counter(
                "head_out_of_order_samples_appended_total",
                "Total number of appended out of order samples.",
                head.out_of_order_appended.value(),
            ),
            counter(
                "out_of_bound_samples_total",
                "Total number of out of bound samples ingestion failed attempts.",
                head.out_of_bound_samples.value(),
            ),
            counter(
                "too_old_samples_total",
                "Total number of too old samples ingestion failed attempts.",
                head.too_old_samples.value(),
            ),
            gauge("head_series", "Total number of series in the head block.", statistics.series as f64),
            counter(
                "head_series_created_total",
                "Total number of series created in the head.",
                head.series_created.value(),
            ),
            counter(
                "head_series_removed_total",
                "Total number of series removed in the head.",
                head.series_removed.value(),
            ),
            gauge(
                "head_stale_series",
                "Series of the head that have ended, as counted last where they may be written out early.",
                head.stale_series.value() as f64,
            ),
            counter(
                "stale_series_compactions_triggered_total",
                "Total number of times that series that have ended were written out early.",
                instruments.stale_compactions.value(),
            ),
            counter(
                "stale_series_compactions_failed_total",
                "Total number of times that this failed.",
                instruments.stale_compactions_failed.value(),
            ),
            gauge("head_chunks", "Total number of chunks in the head block.", statistics.chunks as f64),
            counter(
                "head_chunks_created_total",
                "Total number of chunks created in the head.",
                head.chunks_created.value(),
            ),
            counter(
                "head_chunks_removed_total",
                "Total number of chunks removed in the head.",
                head.chunks_removed.value(),
            ),
            gauge(
                "head_active_appenders",
                "Number of currently active appender transactions.",
                head.active_appenders.value() as f64,
            ),
            gauge("head_min_time_seconds", "Minimum time bound of the head block.", seconds(statistics.min_time)),
            gauge("head_max_time_seconds", "Maximum timestamp of the head block.", seconds(statistics.max_time)),
            gauge(
                "head_min_time",
                "Minimum time bound of the head block. The unit is decided by the library consumer.",
                seconds(statistics.min_time) * 1000.0,
            ),
            gauge(
                "head_max_time",
                "Maximum timestamp of the head block. The unit is decided by the library consumer.",
                seconds(statistics.max_time) * 1000.0,
            ),
            counter(
                "head_truncations_total",
                "Total number of head truncations attempted.",
                instruments.head_truncations.value(),
            ),
            counter(
                "head_truncations_failed_total",
                "Total number of head truncations that failed.",
                instruments.head_truncations_failed.value(),
            ),
            gauge("symbol_table_size_bytes", "Size of symbol table in memory.", self.0.symbol_table_bytes() as f64),
            counter(
                "mmap_chunk_corruptions_total",
                "Total number of memory-mapped chunk corruptions.",
                instruments.mapped_chunk_corruptions.value(),
            ),
            gauge(
                "clean_start",
                "0 if the last stop was unclean, 1 if it was clean.",
                instruments.clean_start.value() as f64,
            ),
        ]);
    }

    fn wal(&self, families: &mut Vec<MetricFamily>) {
        let wal = &self.0.instruments().wal;
        families.extend([
            gauge(
                "wal_segment_current",
                "Write log segment index that TSDB is currently writing to.",
                wal.segment_current.value() as f64,
            ),
            counter("wal_corruptions_total", "Total number of WAL corruptions.", wal.corruptions.value()),
            counter(
                "wal_writes_failed_total",
                "Total number of write log writes that failed.",
                wal.writes_failed.value(),
            ),
            counter(
                "wal_truncations_total",
                "Total number of write log truncations attempted.",
                wal.truncations.value(),
            ),
            counter(
                "wal_truncations_failed_total",
                "Total number of write log truncations that failed.",
                wal.truncations_failed.value(),
            ),
            counter(
                "checkpoint_creations_total",
                "Total number of checkpoint creations attempted.",
                wal.checkpoints.value(),
            ),
            counter(
                "checkpoint_creations_failed_total",
                "Total number of checkpoint creations that failed.",
                wal.checkpoints_failed.value(),
            ),
            counter(
                "checkpoint_deletions_total",
                "Total number of checkpoint deletions attempted.",
                wal.checkpoint_deletions.value(),
            ),
            counter(
                "checkpoint_deletions_failed_total",
                "Total number of checkpoint deletions that failed.",
                wal.checkpoint_deletions_failed.value(),
            ),
        ]);
        let wbl = &self.0.instruments().wbl;
        families.extend([
            counter(
                "out_of_order_wbl_writes_failed_total",
                "Total number of write log writes that failed.",
                wbl.writes_failed.value(),
            ),
            counter(
                "out_of_order_wbl_truncations_total",
                "Total number of write log truncations attempted.",
                wbl.truncations.value(),
            ),
            gauge(
                "out_of_order_wbl_segment_current",
                "Write log segment index that TSDB is currently writing to.",
                wbl.segment_current.value() as f64,
            ),
        ]);
        if let Ok(usage) = self.0.disk_usage() {
            families.push(gauge("wal_storage_size_bytes", "Size of the write log directory.", usage.wal as f64));
            families.push(gauge(
                "head_chunks_storage_size_bytes",
                "Size of the chunks_head directory.",
                usage.mapped_chunks as f64,
            ));
        }
    }

    fn blocks(&self, families: &mut Vec<MetricFamily>) {
        let blocks = &self.0.instruments().blocks;
        let lowest = blocks.lowest_timestamp.value();
        families.push(self.compaction_durations());
        let lowest = if lowest == i64::MAX { 0.0 } else { lowest as f64 };
        families.extend([
            gauge("blocks_loaded", "Number of currently loaded data blocks", blocks.loaded.value() as f64),
            gauge(
                "storage_blocks_bytes",
                "The number of bytes that are currently used for local storage by all blocks.",
                blocks.bytes.value() as f64,
            ),
            gauge(
                "lowest_timestamp",
                "Lowest timestamp value stored in the database. The unit is decided by the library consumer.",
                lowest,
            ),
            gauge("lowest_timestamp_seconds", "Lowest timestamp value stored in the database.", lowest / 1000.0),
            counter(
                "reloads_total",
                "Number of times the database reloaded block data from disk.",
                blocks.reloads.value(),
            ),
            counter(
                "reloads_failures_total",
                "Number of times the database failed to reloadBlocks block data from disk.",
                blocks.reloads_failed.value(),
            ),
            counter(
                "compactions_triggered_total",
                "Total number of triggered compactions for the partition.",
                blocks.compactions_triggered.value(),
            ),
            counter(
                "compactions_total",
                "Total number of compactions that were executed for the partition.",
                blocks.compactions.value(),
            ),
            counter(
                "compactions_failed_total",
                "Total number of compactions that failed for the partition.",
                blocks.compactions_failed.value(),
            ),
            counter(
                "vertical_compactions_total",
                "Total number of compactions done on overlapping blocks.",
                blocks.vertical_compactions.value(),
            ),
            counter(
                "time_retentions_total",
                "The number of times that blocks were deleted because the maximum time limit was exceeded.",
                blocks.time_retentions.value(),
            ),
            counter(
                "size_retentions_total",
                "The number of times that blocks were deleted because the maximum number of bytes was exceeded.",
                blocks.size_retentions.value(),
            ),
            gauge(
                "retention_limit_bytes",
                "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
                blocks.retention_limit_bytes.value() as f64,
            ),
            gauge(
                "retention_limit_seconds",
                "How long to retain samples in storage.",
                blocks.retention_limit_seconds.value() as f64,
            ),
        ]);
    }

    fn compaction_durations(&self) -> MetricFamily {
        let durations = &self.0.instruments().blocks.durations;
        let name = "prometheus_tsdb_compaction_duration_seconds";
        let mut family = MetricFamily::new(name, "Duration of compaction runs", MetricType::Histogram);
        let mut push = |suffix, labels: &[(&str, &str)], value| {
            let labels = Labels::from_pairs(labels.iter().copied()).unwrap_or_default();
            family.samples.push(FamilySample { suffix, labels, value, timestamp: None });
        };
        for (bound, count) in durations.buckets() {
            push("_bucket", &[("le", &print_float(bound))], count as f64);
        }
        push("_bucket", &[("le", "+Inf")], durations.count() as f64);
        push("_sum", &[], durations.sum_seconds());
        push("_count", &[], durations.count() as f64);
        family
    }

    fn exemplars(&self, families: &mut Vec<MetricFamily>) {
        let exemplars = &self.0.instruments().exemplars;
        families.extend([
            counter(
                "exemplar_exemplars_appended_total",
                "Total number of appended exemplars.",
                exemplars.appended.value(),
            ),
            gauge(
                "exemplar_exemplars_in_storage",
                "Number of exemplars currently in circular storage.",
                exemplars.in_storage.value() as f64,
            ),
            gauge(
                "exemplar_series_with_exemplars_in_storage",
                "Number of series with exemplars currently in circular storage.",
                exemplars.series_in_storage.value() as f64,
            ),
            gauge(
                "exemplar_last_exemplars_timestamp_seconds",
                "The timestamp of the oldest exemplar stored in circular storage.",
                exemplars.oldest_ms.value() as f64 / 1000.0,
            ),
            gauge(
                "exemplar_max_exemplars",
                "Total number of exemplars the exemplar storage can store, resizeable.",
                exemplars.max.value() as f64,
            ),
            counter(
                "exemplar_out_of_order_exemplars_total",
                "Total number of out of order exemplar ingestion failed attempts.",
                exemplars.out_of_order.value(),
            ),
        ]);
    }
}

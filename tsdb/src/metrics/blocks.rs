//! What happens to blocks.

use std::time::Duration;

use super::{Counter, Gauge};

/// Upper bounds of the buckets of durations: 1 s, 2 s, 4 s, up to 8192 s.
const BUCKETS: usize = 14;

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Counter; BUCKETS],
    count: Counter,
    sum_ms: Counter,
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        let fits = |at: &usize| duration.as_secs_f64() <= bound(*at);
        if let Some(at) = (0..BUCKETS).find(fits) {
            self.buckets[at].add(1);
        }
        self.count.add(1);
        self.sum_ms.add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    /// Upper bounds in seconds, each with how many took no longer; without the last one, which is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        self.buckets.iter().enumerate().map(move |(at, bucket)| {
            total += bucket.value();
            (bound(at), total)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.value()
    }

    /// How long they took together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ms.value() as f64 / 1000.0
    }
}

fn bound(at: usize) -> f64 {
    2f64.powi(at as i32)
}

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
    /// `prometheus_tsdb_compaction_duration_seconds`; empty without [`crate::Config::stopwatch`].
    pub durations: Durations,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let durations = Durations::default();
        [500, 1000, 3000, 1 << 40].iter().for_each(|ms| durations.observe(Duration::from_millis(*ms)));
        let buckets: Vec<_> = durations.buckets().take(3).collect();
        assert_eq!(buckets, [(1.0, 2), (2.0, 2), (4.0, 3)]);
        assert_eq!((durations.buckets().last(), durations.count()), (Some((8192.0, 3)), 4));
    }
}

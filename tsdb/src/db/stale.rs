//! Upkeep of series that ended: if they are too large a share of the head, they become blocks before their time.
//!
//! The order is that of out-of-order samples: the blocks are written, durable and open; readers that began before end;
//! the head lets go of the series that are still as they were written. The log keeps them until it is cut, so a start in
//! between has them twice, and reading tells them once.

use std::sync::atomic::Ordering;

use model::sample::Timestamp;
use model::storage::StorageError;

use super::{Db, Upkeep};
use crate::block::meta::{HINT_OUT_OF_ORDER, HINT_STALE_SERIES};
use crate::head::stale::{StaleCount, StaleSeries};

/// How often stale series are counted.
const COUNT_INTERVAL_MS: i64 = 60_000;
/// The head is left alone this part of a block range before it is due itself: Prometheus' ten minutes of two hours.
const DUE_SOON_PART: i64 = 12;

/// Stale series that stand in blocks and wait for the readers that began before.
#[derive(Debug)]
pub(super) struct WrittenStale {
    series: Vec<StaleSeries>,
    last_reader: u64,
}

impl Db {
    /// Changes which share of the head's series must be stale for them to be written out early, from 0 to 1; 0 never does.
    pub fn set_stale_series_compaction_threshold(&self, threshold: f64) {
        self.stale_threshold.store(threshold.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// Writes stale series out if there are too many, as far as no reader is in the way.
    pub(super) fn compact_stale(&self, upkeep: &mut Upkeep, now: Timestamp) -> Result<(), StorageError> {
        if let Some(written) = upkeep.written_stale.take() {
            if self.head.isolation.has_reader_through(written.last_reader) {
                upkeep.written_stale = Some(written);
                return Ok(());
            }
            self.head.evict_stale(&written.series);
        }
        let threshold = f64::from_bits(self.stale_threshold.load(Ordering::Relaxed));
        let is_counted =
            upkeep.stale_counted_at.is_some_and(|at| (0..COUNT_INTERVAL_MS).contains(&now.0.saturating_sub(at)));
        if threshold <= 0.0 || is_counted || upkeep.pending.is_some() || self.blocks.is_waiting(now.0) {
            return Ok(());
        }
        upkeep.stale_counted_at = Some(now.0);
        let StaleCount { stale, all } = self.head.count_stale();
        self.instruments.head.stale_series.set(stale as i64);
        if stale == 0 || (stale as f64) < threshold * all as f64 || self.is_due_soon() {
            return Ok(());
        }
        self.instruments.stale_compactions.add(1);
        // What cannot be mapped stays in the head a little longer.
        let _retried_later = self.head.map_full_chunks();
        let mut series = Vec::new();
        let hints = &[HINT_OUT_OF_ORDER, HINT_STALE_SERIES];
        let written = self.write_blocks(now, hints, &mut self.head.stale_series(&mut series));
        if written.is_err() {
            self.instruments.stale_compactions_failed.add(1);
        }
        written?;
        let last_reader = self.head.isolation.last_reader();
        upkeep.written_stale = Some(WrittenStale { series, last_reader });
        Ok(())
    }

    fn is_due_soon(&self) -> bool {
        let (times, range_ms) = (&self.head.times, self.config.block_range_ms);
        let span_ms = times.max().saturating_sub(times.min().max(times.min_valid()));
        span_ms > range_ms / 2 * 3 - range_ms / DUE_SOON_PART
    }
}

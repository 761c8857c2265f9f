//! The database: opening a data directory, handing out appenders and queriers, and its upkeep.
//!
//! It reads no clock and starts no thread but the replay's workers: the owner calls [`Db::maintain`] and [`Db::sync_if_due`] with the time, on a
//! thread that may block.

mod adopt;
pub(crate) mod blocks;
pub(crate) mod compaction;
mod deletions;
mod late;
pub(crate) mod open;
pub(crate) mod read_only;
mod stale;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{Appendable, Appender, ExemplarQueryable, Querier, Queryable, SeriesRef, StorageError};

use crate::compact::retention::Retention;
use crate::config::{Config, OnStop};
use crate::error::{Error, io_error};
use crate::fs::{self, FileSystem};
use crate::head::Head;
use crate::head::appender::HeadAppender;
use crate::head::replay::ReplayReport;
use crate::head::snapshot;
use crate::head::statistics::{HeadStatistics, TopLists};
use crate::lock::DirectoryLock;
use crate::metrics::Instruments;
use crate::query::joined::DbQuerier;
use crate::refusal::ClosedAppender;
use crate::sync::{AtomicU64, Mutex, RwLock};
use crate::wal::Wal;
use crate::wal::checkpoint::{self, Keep};
use blocks::Blocks;

/// A time series database on a data directory of Prometheus' layout. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Db {
    directory: PathBuf,
    config: Config,
    fs: Arc<dyn FileSystem>,
    head: Arc<Head>,
    wal: Wal,
    /// The log of out-of-order samples; there is none as long as none were ever taken.
    wbl: OnceLock<Wal>,
    start: Start,
    upkeep: Mutex<Upkeep>,
    is_closed: Arc<AtomicBool>,
    blocks: Blocks,
    retention: RwLock<Arc<Retention>>,
    /// Bits of the share of stale series in the head from which on they are written out.
    stale_threshold: AtomicU64,
    /// Let go of last.
    lock: Mutex<Option<DirectoryLock>>,
    instruments: Arc<Instruments>,
}

/// How far the database has come since it was opened.
#[derive(Debug, Default)]
struct Start {
    is_replayed: AtomicBool,
    report: OnceLock<ReplayReport>,
    /// Shown as long as there is no other.
    empty_report: ReplayReport,
}

impl Start {
    fn finish(&self, report: ReplayReport) {
        // There is one replay.
        let _was_empty = self.report.set(report);
        self.is_replayed.store(true, Ordering::Release);
    }
}

/// What [`Db::maintain`] remembers between its turns.
#[derive(Debug, Default)]
struct Upkeep {
    written_late: Option<late::WrittenLate>,
    written_stale: Option<stale::WrittenStale>,
    /// When stale series were counted last, in ms.
    stale_counted_at: Option<i64>,
    /// The head's lower bound when late samples were written out last, or at the start.
    late_written_at: Option<i64>,
    /// A truncation that waits for the readers that began before it was announced.
    pending: Option<PendingTruncation>,
    /// The log is to be cut up to there, once the head has written out all it can spare.
    log_truncation: Option<i64>,
    /// The last appender that may still add to the range to be written out.
    waited_for: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct PendingTruncation {
    min_time: i64,
    last_reader: u64,
}

/// What the write-ahead log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalStatus {
    /// The segment appended to.
    pub segment_current: u32,
    /// Bytes of all segments and checkpoints.
    pub bytes: u64,
}

/// Bytes on disk by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Of the write-ahead log and its checkpoints.
    pub wal: u64,
    /// Of the mapped chunks of the head.
    pub mapped_chunks: u64,
    /// Of the blocks.
    pub blocks: u64,
}

impl Db {
    /// Settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the replay at the start met; nothing until it is over.
    pub fn replay_report(&self) -> &ReplayReport {
        self.start.report.get().unwrap_or(&self.start.empty_report)
    }

    /// Whether the log is replayed. Before, queries may miss what is still in it, and writes are refused.
    pub fn is_replayed(&self) -> bool {
        self.start.is_replayed.load(Ordering::Acquire)
    }

    /// Counters and gauges.
    pub fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    /// Counts of the head.
    pub fn head_statistics(&self) -> HeadStatistics {
        self.head.statistics()
    }

    /// The `limit` largest of each kind, for `status/tsdb`.
    pub fn top_lists(&self, limit: usize) -> TopLists {
        self.head.top_lists(limit)
    }

    /// Bytes of the symbol table.
    pub fn symbol_table_bytes(&self) -> u64 {
        self.head.symbols.read().bytes()
    }

    /// Changes how far behind the newest sample out-of-order ones are taken; 0 takes none.
    ///
    /// # Errors
    /// If the log of out-of-order samples is needed for the first time and cannot be made; the window stays as it was.
    pub fn set_out_of_order_window(&self, window_ms: i64) -> Result<(), Error> {
        // During the replay the log is not touched: its end looks at the window again.
        if window_ms > 0 && self.is_replayed() {
            self.open_wbl_if_absent()?;
        }
        self.head.set_late_window_ms(window_ms.max(0));
        // The replay may have ended before it could see the window.
        if window_ms > 0 && self.is_replayed() { self.open_wbl_if_absent() } else { Ok(()) }
    }

    /// Opens the log of out-of-order samples unless there is one.
    fn open_wbl_if_absent(&self) -> Result<(), Error> {
        if self.wbl.get().is_some() {
            return Ok(());
        }
        let _upkeep = self.upkeep.lock();
        if self.wbl.get().is_none() {
            let wbl = open::open_wbl(&self.fs, &self.directory, 0, &self.config, &self.instruments)?;
            // Only this place sets it, under the lock.
            let _was_empty = self.wbl.set(wbl);
        }
        Ok(())
    }

    /// Changes how many exemplars are kept; the newest stay.
    pub fn set_exemplars_max(&self, max: u64) {
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(crate::exemplars::EXEMPLARS_MAX);
        self.head.exemplars.resize(max);
    }

    /// What the family of a series of the head says of itself, if it was ever told.
    pub fn metadata_of(&self, series: SeriesRef) -> Option<Arc<Metadata>> {
        self.head.metadata_of(series)
    }

    /// Metadata of the head's series by metric name, sorted, each pair once; at most `limit` if not 0.
    pub fn metadata(&self, limit: usize) -> Vec<(String, Arc<Metadata>)> {
        self.head.metadata_by_name(limit)
    }

    /// The write-ahead log, and the write-behind log if there is one.
    pub(crate) fn logs(&self) -> (&Wal, Option<&Wal>) {
        (&self.wal, self.wbl.get())
    }

    /// What the write-ahead log holds.
    ///
    /// # Errors
    /// If its directory cannot be read.
    pub fn wal_status(&self) -> Result<WalStatus, Error> {
        let bytes = self.wal_bytes()?;
        Ok(WalStatus { segment_current: self.wal.current_segment(), bytes })
    }

    /// Bytes on disk by kind.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        Ok(DiskUsage { wal: self.wal_bytes()?, mapped_chunks: self.head.mapped.bytes(), blocks: self.blocks.bytes() })
    }

    /// Bytes of everything but the blocks.
    fn disk_usage_of_head(&self) -> Result<u64, StorageError> {
        let directory = self.wal.directory();
        let wal = fs::bytes_below(directory).map_err(|error| io_error(directory, error))?;
        Ok(wal + self.head.mapped.bytes())
    }

    fn wal_bytes(&self) -> Result<u64, Error> {
        let directory = self.wal.directory();
        Ok(fs::bytes_below(directory).map_err(|error| io_error(directory, error))?)
    }

    fn is_open_for_writes(&self) -> bool {
        self.is_replayed() && !self.is_closed.load(Ordering::Acquire)
    }

    /// Whether appends are taken: replayed, not closed, and the log not refusing writes.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_writable(&self) -> Result<(), StorageError> {
        if !self.is_open_for_writes() {
            return Err(StorageError::NotReady);
        }
        self.wal.check()?;
        self.wbl.get().map_or(Ok(()), Wal::check)
    }

    /// Makes the log durable if the policy's time has come. Cheap; meant to be called several times a second.
    ///
    /// # Errors
    /// If the sync fails; appends are refused from then on until [`Db::maintain`] has recovered the log.
    pub fn sync_if_due(&self, now: Timestamp) -> Result<(), Error> {
        if !self.is_replayed() {
            return Ok(());
        }
        self.wal.sync_if_due(now)?;
        self.wbl.get().map_or(Ok(()), |wbl| wbl.sync_if_due(now))?;
        Ok(())
    }

    /// Upkeep, meant to be called every few seconds to a minute: syncs if due, brings a log that refuses writes back,
    /// maps full chunks, writes the head's old part out as a block, compacts blocks, and removes what the retention does
    /// not keep.
    ///
    /// # Errors
    /// The first thing that failed; the rest was still tried, and all of it is tried again next time.
    pub fn maintain(&self, now: Timestamp) -> Result<(), Error> {
        if !self.is_open_for_writes() {
            return Ok(());
        }
        let mut upkeep = self.upkeep.lock();
        let on_wbl = |act: &dyn Fn(&Wal) -> Result<(), StorageError>| self.wbl.get().map_or(Ok(()), act);
        let recovered = self.wal.recover().and(on_wbl(&Wal::recover));
        let synced = self.wal.sync_if_due(now).and(on_wbl(&|wbl| wbl.sync_if_due(now)));
        let mapped = self.head.map_full_chunks();
        let written_out = self.compact_head(&mut upkeep, now);
        let late_written = self.compact_late(&mut upkeep, now);
        let stale_written = self.compact_stale(&mut upkeep, now);
        let compacted = self.compact_blocks(&upkeep, now);
        self.head.bury();
        match recovered.and(synced).and(mapped).and(written_out).and(late_written).and(stale_written).and(compacted) {
            // Closing gives up what is under way.
            Err(StorageError::Cancelled) => Ok(()),
            result => result.map_err(Error::from),
        }
    }

    fn finish_truncation(&self, upkeep: &mut Upkeep, pending: PendingTruncation) -> Result<(), StorageError> {
        if self.head.isolation.has_reader_through(pending.last_reader) {
            return Ok(());
        }
        upkeep.pending = None;
        let truncated = self.head.truncate(pending.min_time);
        if truncated.is_err() {
            self.instruments.head_truncations_failed.add(1);
        }
        let truncated = truncated?;
        self.instruments.head_truncations.add(1);
        if truncated.chunks + truncated.series > 0 {
            upkeep.log_truncation = Some(pending.min_time);
        }
        Ok(())
    }

    /// Replaces the lower two thirds of the segments by a checkpoint, as Prometheus does: most of what they hold is old.
    fn truncate_wal(&self, min_time: i64) -> Result<(), StorageError> {
        let current = self.wal.next_segment()?;
        let segments = crate::wal::segment::list(self.wal.directory())?;
        let Some(first) = segments.first().map(|file| file.segment) else {
            return Ok(());
        };
        let through = first + current.saturating_sub(1).saturating_sub(first) * 2 / 3;
        if through <= first {
            return Ok(());
        }
        let living = self.head.living_refs();
        let keep = Keep {
            series: &|wal_ref| living.contains(&wal_ref),
            min_time,
            tombstones_min_time: min_time.min(self.head.times.late().0),
            compression: self.config.wal_compression,
            segment_bytes: self.config.wal_segment_bytes,
        };
        let instruments = &self.instruments.wal;
        instruments.truncations.add(1);
        let mut damage = Vec::new();
        let written = checkpoint::create(&*self.fs, self.wal.directory(), through, &keep, &mut damage);
        instruments.corruptions.add(damage.len() as u64);
        if written.is_err() {
            instruments.checkpoints_failed.add(1);
        } else {
            instruments.checkpoints.add(1);
        }
        let removed =
            written.and_then(|()| checkpoint::remove_through(&*self.fs, self.wal.directory(), through, instruments));
        removed.inspect_err(|_| instruments.truncations_failed.add(1))
    }

    /// Makes everything durable and unlocks the directory. Appends are refused from then on; reads go on. A replay under
    /// way is given up: the next start begins it anew.
    ///
    /// # Errors
    /// If something could not be made durable; the directory is unlocked all the same.
    pub fn close(&self) -> Result<(), Error> {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Waits for a replay too, which ends early.
        let _upkeep = self.upkeep.lock();
        let _adoption = self.blocks.adoption.lock();
        if !self.is_replayed() {
            // Nothing was written, and half a head is no snapshot.
            *self.lock.lock() = None;
            return Ok(());
        }
        let mapped = self.head.map_full_chunks();
        let synced = self.wal.sync().and(self.wbl.get().map_or(Ok(()), Wal::sync));
        let mapped_synced = self.head.mapped.sync();
        let durable = mapped.and(synced).and(mapped_synced);
        let left = durable.and_then(|()| self.leave_snapshot());
        *self.lock.lock() = None;
        Ok(left?)
    }
}

impl Db {
    /// Leaves a snapshot for the next start, if that is wanted.
    fn leave_snapshot(&self) -> Result<(), StorageError> {
        // A damaged chunk is to be found by the next start, which has its samples in the log.
        if self.config.on_stop == OnStop::Nothing || self.head.mapped.is_damaged() {
            return Ok(());
        }
        let _gate = self.head.close_gate();
        let place = self.wal.place();
        let written = self.head.write_snapshot(&*self.fs, &self.directory, place, self.config.wal_segment_bytes);
        if written.is_err() {
            // Half of one is worth nothing.
            let _left_for_the_next_start = snapshot::remove_all(&*self.fs, &self.directory);
        }
        written
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // An owner that wants to know calls `close` itself.
        let _unheard = self.close();
    }
}

impl Appendable for Db {
    fn appender(&self) -> Box<dyn Appender + '_> {
        if !self.is_open_for_writes() {
            return Box::new(ClosedAppender);
        }
        Box::new(HeadAppender::new(&self.head, &self.wal, self.wbl.get()))
    }
}

impl Queryable for Db {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(DbQuerier::new(&self.head, &self.blocks, min_time, max_time)))
    }
}

impl ExemplarQueryable for Db {
    fn exemplars(
        &self,
        min_time: Timestamp,
        max_time: Timestamp,
        selectors: &[Vec<Matcher>],
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StorageError> {
        Ok(self.head.exemplars.select(min_time, max_time, selectors))
    }
}

#[cfg(test)]
mod tests;

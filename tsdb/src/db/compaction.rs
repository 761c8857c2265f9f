//! Upkeep of blocks: the head's old part becomes one, small ones become large ones, old ones go.
//!
//! The order of taking a part out of the head: no appender may still add to it; its block is written, durable and open; the
//! list of blocks has it; the head hides it; readers that began before end; the head forgets it; the log is cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::StorageError;

use super::{Db, PendingTruncation, Upkeep};
use crate::block::Block;
use crate::block::meta::{BlockMeta, HINT_OUT_OF_ORDER};
use crate::compact::plan;
use crate::compact::retention::{KeptFrom, Retention, beyond_size, beyond_time};
use crate::compact::writer::{BlocksWriter, NewChunk};
use crate::error::{Error, io_error};
use crate::head::reader::TimeRange;

impl Db {
    /// What every block is, ordered by first time.
    pub fn block_metas(&self) -> Vec<Arc<BlockMeta>> {
        self.blocks.list().iter().map(|block| block.meta()).collect()
    }

    /// What is kept, as it is in force.
    pub fn retention(&self) -> Arc<Retention> {
        Arc::clone(&self.retention.read())
    }

    /// Puts another retention in force; the next [`Db::maintain`] goes by it.
    ///
    /// # Errors
    /// If a limit is out of its range; the one in force stays.
    pub fn apply_retention(&self, retention: Retention) -> Result<(), Error> {
        retention.validate()?;
        *self.retention.write() = Arc::new(retention);
        Ok(())
    }

    /// Where the head's oldest block range ends, if the head reaches far enough behind it to write it out: one and a half
    /// ranges, as Prometheus does.
    fn due_range(&self) -> Option<TimeRange> {
        let range_ms = self.config.block_range_ms;
        let times = &self.head.times;
        let (min, max) = (times.min().max(times.min_valid()), times.max());
        if min > max || max.saturating_sub(min) <= range_ms / 2 * 3 {
            return None;
        }
        let end = min.div_euclid(range_ms).saturating_add(1).saturating_mul(range_ms);
        Some(TimeRange { min, max: end - 1 })
    }

    /// Writes out what the head can spare, range by range, as far as no appender and no reader is in the way.
    pub(super) fn compact_head(&self, upkeep: &mut Upkeep, now: Timestamp) -> Result<(), StorageError> {
        loop {
            if let Some(pending) = upkeep.pending {
                self.finish_truncation(upkeep, pending)?;
            }
            let is_held_back = upkeep.pending.is_some() || self.blocks.is_waiting(now.0);
            let Some(range) = self.due_range().filter(|_| !is_held_back) else {
                break;
            };
            // Appenders that began before may be allowed to add to the range, later ones are not.
            let waited_for = *upkeep.waited_for.get_or_insert_with(|| self.head.appenders.last());
            if self.head.appenders.has_any_through(waited_for) {
                break;
            }
            upkeep.waited_for = None;
            let instruments = &self.instruments.blocks;
            instruments.compactions_triggered.add(1);
            let written = self.blocks.compactor.write_head(&self.head, range, None, now.0);
            self.note_compaction(&written, now);
            self.blocks.replace(&[], written?.into_iter().collect())?;
            self.head.times.raise_min_valid(range.max + 1);
            let last_reader = self.head.isolation.last_reader();
            upkeep.pending = Some(PendingTruncation { min_time: range.max + 1, last_reader });
        }
        match upkeep.log_truncation.filter(|_| upkeep.pending.is_none()) {
            Some(min_time) => {
                upkeep.log_truncation = None;
                self.truncate_wal(min_time)
            }
            None => Ok(()),
        }
    }

    fn note_compaction<T>(&self, result: &Result<T, StorageError>, now: Timestamp) {
        self.blocks.note_written(result, now.0);
        let instruments = &self.instruments.blocks;
        match result {
            Ok(_) => instruments.compactions.add(1),
            Err(StorageError::Cancelled) => {}
            Err(_) => instruments.compactions_failed.add(1),
        }
    }

    /// Writes series as blocks of out-of-order samples, one for each block range they reach, and takes these in. Each
    /// series comes once; its chunks may be in any order and overlap. Returns how many blocks there are.
    ///
    /// # Errors
    /// If the disk fails or a chunk is damaged; no block is taken in then.
    pub(crate) fn write_out_of_order_blocks(
        &self,
        now: Timestamp,
        series: &mut dyn Iterator<Item = Result<(Labels, Vec<NewChunk>), StorageError>>,
    ) -> Result<usize, StorageError> {
        self.write_blocks(now, &[HINT_OUT_OF_ORDER], series)
    }

    /// As [`Db::write_out_of_order_blocks`], of blocks with those hints.
    pub(super) fn write_blocks(
        &self,
        now: Timestamp,
        hints: &[&'static str],
        series: &mut dyn Iterator<Item = Result<(Labels, Vec<NewChunk>), StorageError>>,
    ) -> Result<usize, StorageError> {
        let compactor = &self.blocks.compactor;
        let mut writer = BlocksWriter::new(compactor, self.config.block_range_ms, now.0, hints);
        for series in series {
            let (labels, chunks) = series?;
            writer.add(&labels, chunks.iter().map(NewChunk::to_put))?;
        }
        let written = writer.finish();
        self.note_compaction(&written, now);
        let written = written?;
        let count = written.len();
        self.blocks.replace(&[], written)?;
        Ok(count)
    }

    /// Compacts blocks and removes old ones until nothing is left to do, the head has something to write out, or the
    /// database closes.
    pub(super) fn compact_blocks(&self, upkeep: &Upkeep, now: Timestamp) -> Result<(), StorageError> {
        self.blocks.bury()?;
        loop {
            self.remove_old_blocks()?;
            let is_head_due = upkeep.pending.is_none() && upkeep.waited_for.is_none() && self.due_range().is_some();
            if is_head_due || self.blocks.is_waiting(now.0) || self.is_closed.load(Ordering::Acquire) {
                return Ok(());
            }
            let list = self.blocks.list();
            let metas: Vec<_> = list.iter().map(|block| block.meta()).collect();
            let metas: Vec<&BlockMeta> = metas.iter().map(|meta| &**meta).collect();
            let widths =
                plan::ranges(self.config.block_range_ms, self.config.block_range_max_ms, self.retention().time_ms);
            let planned = plan::plan(&metas, &widths);
            let parents: Vec<Arc<Block>> = planned.iter().map(|at| Arc::clone(&list[*at])).collect();
            if parents.is_empty() && !self.apply_rules(&list, now)? {
                return Ok(());
            }
            if !parents.is_empty() {
                self.compact(&parents, now)?;
            }
        }
    }

    fn kept_from<'a>(&self, retention: &'a Retention) -> KeptFrom<'a> {
        let newest = self.blocks.list().iter().map(|block| block.meta().max_time).max().unwrap_or(i64::MIN);
        KeptFrom::new(retention, newest)
    }

    /// Compacts blocks into one that takes their place.
    fn compact(&self, parents: &[Arc<Block>], now: Timestamp) -> Result<(), StorageError> {
        let instruments = &self.instruments.blocks;
        instruments.compactions_triggered.add(1);
        let is_vertical = parents.windows(2).any(|pair| pair[1].meta().min_time < pair[0].meta().max_time);
        instruments.vertical_compactions.add(u64::from(is_vertical));
        let retention = self.retention();
        let child = self.blocks.compactor.compact(parents, &self.kept_from(&retention), now.0);
        self.note_compaction(&child, now);
        if let Err(StorageError::Corrupt { file, .. }) = &child {
            // Tried again, it would fail again; what is sound in it stays readable.
            for parent in parents.iter().filter(|parent| file.starts_with(parent.directory())) {
                parent.note_failed(&*self.fs)?;
            }
        }
        self.blocks.replace(parents, child?.into_iter().collect())
    }

    /// Removes the blocks that the retention by time and by size does not keep.
    fn remove_old_blocks(&self) -> Result<(), StorageError> {
        let retention = self.retention();
        let instruments = &self.instruments.blocks;
        let list = self.blocks.list();
        let metas: Vec<_> = list.iter().map(|block| block.meta()).collect();
        let metas: Vec<&BlockMeta> = metas.iter().map(|meta| &**meta).collect();
        instruments.retention_limit_seconds.set(retention.time_ms.unwrap_or(0) / 1000);
        let mut old = match retention.time_ms {
            // With rules, what is old is told series by series.
            Some(time_ms) if retention.rules.is_empty() => beyond_time(&metas, time_ms),
            _ => Vec::new(),
        };
        instruments.time_retentions.add(u64::from(!old.is_empty()));
        let bytes_max = self.bytes_max(&retention)?;
        instruments.retention_limit_bytes.set(bytes_max.unwrap_or(0) as i64);
        if let Some(bytes_max) = bytes_max {
            let usage = self.disk_usage_of_head()?;
            let sized: Vec<(&BlockMeta, u64)> = metas.iter().copied().zip(list.iter().map(|b| b.bytes())).collect();
            let large: Vec<usize> =
                beyond_size(&sized, usage, bytes_max).into_iter().filter(|at| !old.contains(at)).collect();
            instruments.size_retentions.add(u64::from(!large.is_empty()));
            old.extend(large);
        }
        if old.is_empty() {
            return Ok(());
        }
        let removed: Vec<_> = old.iter().map(|at| Arc::clone(&list[*at])).collect();
        self.blocks.replace(&removed, Vec::new())
    }

    /// The smaller of the limits in bytes and in share of the disk.
    fn bytes_max(&self, retention: &Retention) -> Result<Option<u64>, StorageError> {
        let share = match retention.disk_percentage.filter(|share| *share > 0.0) {
            Some(share) => Some((disk_bytes(&self.directory)? as f64 * share / 100.0) as u64),
            None => None,
        };
        let bytes = retention.bytes.filter(|bytes| *bytes > 0);
        Ok(bytes.into_iter().chain(share).min())
    }

    /// Rewrites or removes one block that a retention rule, or the retention beside the rules, keeps in part or not at
    /// all. Whether there was one.
    fn apply_rules(&self, list: &[Arc<Block>], now: Timestamp) -> Result<bool, StorageError> {
        let retention = self.retention();
        if retention.rules.is_empty() {
            return Ok(false);
        }
        let kept = self.kept_from(&retention);
        for block in list.iter().filter(|block| !block.meta().compaction.failed) {
            let end = block.meta().max_time;
            let (mut rest, mut expired) = (block.select(&[])?, 0);
            for rule in &retention.rules {
                let ruled = block.select(&rule.matchers)? & &rest;
                rest -= &ruled;
                if end <= kept.before(Some(rule.time_ms)) {
                    expired += ruled.len();
                }
            }
            if end <= kept.before(retention.time_ms) {
                expired += rest.len();
            }
            if expired > 0 {
                self.instruments.blocks.rule_retentions.add(1);
                self.compact(&[Arc::clone(block)], now)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Marks the samples of the matched series in blocks as deleted; how many series had any.
    pub(super) fn delete_in_blocks(&self, range: TimeRange, matchers: &[Matcher]) -> Result<usize, StorageError> {
        let mut deleted = 0;
        for block in self.blocks.list().iter().filter(|block| block.meets(range)) {
            deleted += block.delete(&*self.fs, range, matchers)?;
        }
        Ok(deleted)
    }

    /// Rewrites the blocks in which something is deleted, so that it takes no room any more.
    ///
    /// # Errors
    /// If a block is damaged or the disk fails; blocks done before stay so.
    pub fn clean_tombstones(&self, now: Timestamp) -> Result<(), Error> {
        let _upkeep = self.upkeep.lock();
        for block in self.blocks.list().iter().filter(|block| block.meta().stats.num_tombstones > 0) {
            self.compact(&[Arc::clone(block)], now)?;
        }
        Ok(())
    }

    /// Puts a copy of the blocks into `directory`, by hard links, and of the head, as a block, if `with_head`.
    ///
    /// # Errors
    /// If the directory is on another file system, or the disk fails.
    pub fn snapshot(&self, directory: &Path, with_head: WithHead, now: Timestamp) -> Result<(), Error> {
        let _upkeep = self.upkeep.lock();
        let io = |error| io_error(directory, error);
        self.fs.create_directory(directory).map_err(io)?;
        for block in self.blocks.list().iter() {
            block.link_into(&*self.fs, directory)?;
        }
        let times = &self.head.times;
        let range = TimeRange { min: times.min().max(times.min_valid()), max: times.max() };
        let late = Some(times.late()).filter(|(min, max)| min <= max);
        if with_head == WithHead::Yes && (range.min <= range.max || late.is_some()) {
            let compactor = self.blocks.compactor.in_directory(directory);
            let late_range = late.map(|(min, max)| TimeRange { min, max });
            compactor.write_head(&self.head, range, late_range, now.0)?;
        }
        Ok(self.fs.sync_directory(directory).map_err(io)?)
    }
}

/// Whether a snapshot holds what is in the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithHead {
    /// All samples.
    Yes,
    /// Only those in blocks (`skip_head`).
    No,
}

/// Bytes of the file system that `directory` is on.
fn disk_bytes(directory: &Path) -> Result<u64, StorageError> {
    let statistics = rustix::fs::statvfs(directory).map_err(|error| io_error(directory, error.into()))?;
    Ok(statistics.f_blocks.saturating_mul(statistics.f_frsize))
}

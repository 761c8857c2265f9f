//! Opening a data directory: lock, clean up, map, replay, begin a new segment.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use model::storage::StorageError;
use parking_lot::{Mutex, RwLock};

use super::blocks::Blocks;
use super::{Db, Upkeep};
use crate::config::{Config, LockFile, OnStop};
use crate::error::{Error, corrupt, io_error};
use crate::fs::{Disk, FileSystem};
use crate::head::mapped_chunks::MappedChunks;
use crate::head::replay::{Replay, ReplayProgress};
use crate::head::series::ChunkLimits;
use crate::head::snapshot::{self, LogPlace};
use crate::head::{Head, HeadLimits};
use crate::lock::DirectoryLock;
use crate::metrics::{Instruments, WalInstruments};
use crate::mmap::Map;
use crate::wal::reader::{Damage, RecordReader};
use crate::wal::record::decode;
use crate::wal::{Wal, checkpoint, repair, segment};

impl Db {
    /// Opens the data directory, making it if need be, and replays its log.
    ///
    /// # Errors
    /// If the directory is locked by another process, a setting is out of range, or the disk fails. Damage to the log is
    /// no error: it is set aside and told in [`Db::replay_report`].
    pub fn open(directory: &Path, config: Config) -> Result<Self, Error> {
        Self::open_on(Arc::new(Disk), directory, config)
    }

    /// As [`Db::open`], on another file system.
    pub(crate) fn open_on(fs: Arc<dyn FileSystem>, directory: &Path, config: Config) -> Result<Self, Error> {
        Self::open_with_chunks_in(fs, directory, &directory.join("chunks_head"), config)
    }

    /// As [`Db::open_on`], with the head's mapped chunks in a directory of their own.
    pub(super) fn open_with_chunks_in(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        chunks_directory: &Path,
        config: Config,
    ) -> Result<Self, Error> {
        config.validate()?;
        fs.create_directory(directory).map_err(|error| io_error(directory, error))?;
        let (fs_of_blocks, is_closed) = (Arc::clone(&fs), Arc::<AtomicBool>::default());
        let lock = match config.lock_file {
            LockFile::Lock => Some(DirectoryLock::acquire(directory)?),
            LockFile::None => None,
        };
        let instruments = Arc::new(Instruments::default());
        instruments.clean_start.set(i64::from(lock.as_ref().is_none_or(|lock| lock.was_clean)));
        let wal_directory = directory.join("wal");
        fs.create_directory(&wal_directory).map_err(|error| io_error(&wal_directory, error))?;
        checkpoint::clean(&*fs, &wal_directory)?;
        let (mapped, found) = MappedChunks::open(Arc::clone(&fs), chunks_directory, config.mapped_file_bytes)?;
        let chunks = ChunkLimits { range_ms: config.block_range_ms, samples: config.samples_per_chunk };
        let limits = HeadLimits {
            chunks,
            series_max: config.series_max,
            exemplars_max: config.exemplars_max as usize,
            late_window_ms: config.out_of_order_window_ms,
        };
        let head = Head::new(limits, mapped, Arc::clone(&instruments));
        let mut replay = Replay::new(&head, found);
        let from = match config.on_stop {
            OnStop::Snapshot => snapshot::load(directory, &wal_directory, &mut replay)?,
            OnStop::Nothing => None,
        };
        let next_segment = replay_log(&*fs, &wal_directory, from, &mut replay, &instruments, &config.replay_progress)?;
        let wbl = replay_wbl(&fs, directory, &mut replay, &instruments, &config)?;
        let mut report = replay.finish()?;
        let (blocks, damage) = Blocks::open(fs_of_blocks, directory, &config, &instruments, &is_closed)?;
        report.damage.extend(damage);
        head.leave_to_blocks(blocks.in_order_end(head.times.max(), config.block_range_ms))?;
        let retention = config.retention();
        let wal = Wal::open(Arc::clone(&fs), &wal_directory, next_segment, &config, Arc::clone(&instruments.wal))?;
        // From now on the log goes beyond it.
        snapshot::remove_all(&*fs, directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            config,
            fs,
            head: Arc::new(head),
            wal,
            wbl,
            report,
            upkeep: Mutex::new(Upkeep::default()),
            is_closed,
            blocks,
            retention: RwLock::new(Arc::new(retention)),
            lock: Mutex::new(lock),
            instruments,
        })
    }
}

/// Replays the last checkpoint and the segments after it, or what is behind a snapshot's place, and returns the number of the next segment.
fn replay_log(
    fs: &dyn FileSystem,
    wal: &Path,
    from: Option<LogPlace>,
    replay: &mut Replay<'_>,
    instruments: &Instruments,
    progress: &ReplayProgress,
) -> Result<u32, StorageError> {
    let mut next = 0;
    let segments = segment::list(wal)?;
    if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
        progress.begin(first.segment, last.segment);
    }
    if let Some(place) = from {
        next = place.segment;
    } else if let Some(last) = checkpoint::list(wal)?.pop() {
        for file in segment::list(&last.directory)? {
            replay_segment(fs, &last.directory, file.segment, 0, replay, &instruments.wal)?;
        }
        next = last.through + 1;
    }
    for file in segments {
        progress.reach(file.segment);
        if file.segment < next {
            // Left behind when a truncation was interrupted; the checkpoint stands for it.
            continue;
        }
        let offset = from.filter(|place| place.segment == file.segment).map_or(0, |place| place.offset as usize);
        replay_segment(fs, wal, file.segment, offset, replay, &instruments.wal)?;
        next = file.segment + 1;
    }
    Ok(next)
}

/// Replays the write-behind log and opens it if out-of-order samples are taken, or if it still holds any.
fn replay_wbl(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    replay: &mut Replay<'_>,
    instruments: &Instruments,
    config: &Config,
) -> Result<OnceLock<Wal>, StorageError> {
    let wbl_directory = directory.join("wbl");
    let segments = segment::list(&wbl_directory)?;
    replay.begin_late();
    let mut next = 0;
    let damage = replay.report.damage.len();
    for file in &segments {
        replay_segment(&**fs, &wbl_directory, file.segment, 0, replay, &instruments.wbl)?;
        next = file.segment + 1;
    }
    if !segments.is_empty() && replay.report.damage.len() == damage {
        replay.finish_late();
    }
    let wbl = OnceLock::new();
    if config.out_of_order_window_ms > 0 || !segments.is_empty() {
        let _was_empty = wbl.set(open_wbl(fs, directory, next, config, instruments)?);
    }
    Ok(wbl)
}

/// Opens the write-behind log in a new segment.
pub(super) fn open_wbl(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    segment: u32,
    config: &Config,
    instruments: &Instruments,
) -> Result<Wal, StorageError> {
    let directory = directory.join("wbl");
    fs.create_directory(&directory).map_err(|error| io_error(&directory, error))?;
    checkpoint::clean(&**fs, &directory)?;
    Wal::open(Arc::clone(fs), &directory, segment, config, Arc::clone(&instruments.wbl))
}

/// Replays one segment from `offset` on. Damage costs what stands behind it in the segment: that is set aside and told.
fn replay_segment(
    fs: &dyn FileSystem,
    directory: &Path,
    number: u32,
    offset: usize,
    replay: &mut Replay<'_>,
    instruments: &WalInstruments,
) -> Result<(), StorageError> {
    let path = segment::path_of(directory, number);
    let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
    let mut reader = RecordReader::starting_at(map.bytes(), offset);
    replay.report.segments += 1;
    loop {
        match reader.advance() {
            Ok(Some(record)) => {
                if decode(record, replay).is_err() {
                    replay.report.records_broken += 1;
                }
                replay.check()?;
            }
            Ok(None) => return Ok(()),
            Err(Damage { good_bytes, offset, reason }) => {
                instruments.corruptions.add(1);
                replay.report.damage.push(corrupt(&path, offset, reason));
                return repair::set_aside(fs, directory, number, good_bytes);
            }
        }
    }
}

//! Opening a data directory: lock, clean up, open the blocks, map, begin a new segment; then replay, while queries are
//! answered from what is there.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use model::storage::StorageError;

use super::blocks::Blocks;
use super::deletions;
use super::{Db, PendingTruncation, Start, Upkeep};
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
use crate::mmap::{Behind, Map};
use crate::sync::{AtomicU64, Mutex, RwLock};
use crate::wal::reader::{Damage, RecordReader};
use crate::wal::record::decode;
use crate::wal::segment::SegmentFile;
use crate::wal::{Wal, checkpoint, repair, segment};

/// A database that answers queries from its blocks and still has its log to replay.
#[derive(Debug)]
pub struct PendingReplay {
    db: Arc<Db>,
    left: Left,
}

impl PendingReplay {
    /// Replays the log on this thread and its workers. Until it is over, queries are answered from the blocks and what is
    /// replayed so far, and everything that would write is refused as not ready. [`Db::close`] ends it early.
    ///
    /// # Errors
    /// As [`Db::open`]; the database then stays as it is, and can only be closed.
    pub fn run(self) -> Result<(), Error> {
        self.db.replay(self.left)
    }
}

/// What is left to do once the blocks are open.
#[derive(Debug)]
struct Left {
    /// Damage of the blocks.
    damage: Vec<StorageError>,
    segments: Vec<SegmentFile>,
}

impl Db {
    /// Opens the data directory, making it if need be, and replays its log.
    ///
    /// # Errors
    /// If the directory is locked by another process, a setting is out of range, or the disk fails. Damage to the log is
    /// no error: it is set aside and told in [`Db::replay_report`].
    pub fn open(directory: &Path, config: Config) -> Result<Self, Error> {
        Self::open_on(Arc::new(Disk), directory, config)
    }

    /// As [`Db::open`], but leaves the replay to the caller: queries are answered at once.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_blocks(directory: &Path, config: Config) -> Result<(Arc<Self>, PendingReplay), Error> {
        let (db, left) = Self::prepare(Arc::new(Disk), directory, &directory.join("chunks_head"), config)?;
        let db = Arc::new(db);
        Ok((Arc::clone(&db), PendingReplay { db, left }))
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
        let (db, left) = Self::prepare(fs, directory, chunks_directory, config)?;
        db.replay(left)?;
        Ok(db)
    }

    /// Locks and cleans the directory, opens the blocks, maps the head's chunks, and begins a segment behind those there
    /// are.
    fn prepare(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        chunks_directory: &Path,
        config: Config,
    ) -> Result<(Self, Left), Error> {
        config.validate()?;
        fs.create_directory(directory).map_err(|error| io_error(directory, error))?;
        let is_closed = Arc::<AtomicBool>::default();
        let lock = match config.lock_file {
            LockFile::Lock => Some(DirectoryLock::acquire(directory)?),
            LockFile::None => None,
        };
        let instruments = Arc::new(Instruments::default());
        instruments.clean_start.set(i64::from(lock.as_ref().is_none_or(|lock| lock.was_clean)));
        let wal_directory = directory.join("wal");
        fs.create_directory(&wal_directory).map_err(|error| io_error(&wal_directory, error))?;
        checkpoint::clean(&*fs, &wal_directory)?;
        let file_bytes = config.mapped_file_bytes;
        let mapped = MappedChunks::open(Arc::clone(&fs), chunks_directory, file_bytes, Arc::clone(&instruments))?;
        let chunks = ChunkLimits { range_ms: config.block_range_ms, samples: config.samples_per_chunk };
        let limits = HeadLimits {
            chunks,
            series_max: config.series_max,
            exemplars_max: config.exemplars_max as usize,
            late_window_ms: config.out_of_order_window_ms,
        };
        let head = Head::new(limits, mapped, Arc::clone(&instruments));
        let (blocks, damage) = Blocks::open(Arc::clone(&fs), directory, &config, &instruments, &is_closed)?;
        let segments = segment::list(&wal_directory)?;
        let next_segment = next_segment(&wal_directory, &segments)?;
        let wal = Wal::open(Arc::clone(&fs), &wal_directory, next_segment, &config, Arc::clone(&instruments.wal))?;
        let retention = config.retention();
        let stale_threshold = config.stale_series_compaction_threshold;
        let db = Self {
            directory: directory.to_owned(),
            config,
            fs,
            head: Arc::new(head),
            wal,
            wbl: OnceLock::new(),
            start: Start::default(),
            upkeep: Mutex::new(Upkeep::default()),
            is_closed,
            blocks,
            retention: RwLock::new(Arc::new(retention)),
            stale_threshold: AtomicU64::new(stale_threshold.to_bits()),
            lock: Mutex::new(lock),
            instruments,
        };
        Ok((db, Left { damage, segments }))
    }

    fn replay(&self, left: Left) -> Result<(), Error> {
        // Whoever changes blocks or closes waits; appends are refused until the end.
        let mut upkeep = self.upkeep.lock();
        let Left { damage, segments } = left;
        let (fs, directory, head) = (&self.fs, &self.directory, &self.head);
        let mut replay = Replay::new(head, &self.is_closed);
        deletions::announce_late(directory, &mut replay)?;
        let from = match self.config.on_stop {
            OnStop::Snapshot => snapshot::load(&**fs, directory, self.wal.directory(), &mut replay)?,
            OnStop::Nothing => None,
        };
        if from.is_none() {
            replay.scan_mapped()?;
        }
        deletions::announce(self.wal.directory(), &segments, from, &mut replay)?;
        let progress = &self.config.replay_progress;
        replay_log(&**fs, self.wal.directory(), &segments, from, &mut replay, &self.instruments, progress)?;
        let wbl = replay_wbl(fs, directory, &mut replay, &self.instruments, &self.config)?;
        let mut report = replay.finish()?;
        report.damage.extend(damage);
        if let Some(wbl) = wbl {
            // Only this place sets it before the replay is over.
            let _was_empty = self.wbl.set(wbl);
        }
        if let Some(end) = self.blocks.in_order_end(head.times.max(), self.config.block_range_ms) {
            head.leave_to_blocks(end);
            // Readers may have begun while the head was filled: what they may still see stays until they are over.
            let last_reader = head.isolation.last_reader();
            if head.isolation.has_reader_through(last_reader) {
                upkeep.pending = Some(PendingTruncation { min_time: end, last_reader });
            } else if head.times.min() < end {
                head.truncate(end)?;
            }
        }
        // From now on the log goes beyond it.
        snapshot::remove_all(&**fs, directory)?;
        self.start.finish(report);
        drop(upkeep);
        // It may have been widened meanwhile.
        if head.late_window_ms() > 0 { self.open_wbl_if_absent() } else { Ok(()) }
    }
}

/// The number of the segment behind those there are.
fn next_segment(wal: &Path, segments: &[SegmentFile]) -> Result<u32, StorageError> {
    let behind_checkpoint = checkpoint::list(wal)?.last().map_or(0, |last| last.through + 1);
    Ok(segments.last().map_or(0, |last| last.segment + 1).max(behind_checkpoint))
}

/// Replays the last checkpoint and the segments after it, or what is behind a snapshot's place.
fn replay_log(
    fs: &dyn FileSystem,
    wal: &Path,
    segments: &[SegmentFile],
    from: Option<LogPlace>,
    replay: &mut Replay<'_>,
    instruments: &Instruments,
    progress: &ReplayProgress,
) -> Result<(), StorageError> {
    let mut next = 0;
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
    }
    Ok(())
}

/// Replays the write-behind log and opens it if out-of-order samples are taken, or if it still holds any.
fn replay_wbl(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    replay: &mut Replay<'_>,
    instruments: &Instruments,
    config: &Config,
) -> Result<Option<Wal>, StorageError> {
    let wbl_directory = directory.join("wbl");
    let segments = segment::list(&wbl_directory)?;
    replay.begin_late();
    let mut next = 0;
    let damage = replay.report.damage.len();
    for file in &segments {
        replay_segment(&**fs, &wbl_directory, file.segment, 0, replay, &instruments.wbl)?;
        next = file.segment + 1;
    }
    let untold = replay.finish_late(!segments.is_empty() && replay.report.damage.len() == damage);
    let is_needed = config.out_of_order_window_ms > 0 || !segments.is_empty();
    let wbl = is_needed.then(|| open_wbl(fs, directory, next, config, instruments)).transpose()?;
    if let Some(wbl) = wbl.as_ref().filter(|_| !untold.is_empty()) {
        deletions::tell(wbl, &untold)?;
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
    let wbl = Wal::open(Arc::clone(fs), &directory, segment, config, Arc::clone(&instruments.wbl))?;
    deletions::tell(&wbl, &[])?;
    Ok(wbl)
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
    let mut behind = Behind::default();
    replay.report.segments += 1;
    loop {
        behind.reach(&map, reader.position());
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

//! The write-ahead log: what a commit returned for is in a segment file before it becomes visible.
//!
//! A batch is one write call. Invariant: the current segment's file ends where `Writer::bytes` says, or the log refuses
//! appends. After a failed write or sync it refuses until [`Wal::recover`] brought the file back to that state: it never
//! pretends. Written by any thread through the writer's lock; syncing holds no lock that appends need.

pub(crate) mod checkpoint;
mod compression;
pub(crate) mod output;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod repair;
pub(crate) mod segment;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::sample::Timestamp;
use model::storage::StorageError;

use crate::config::{Compression, Config, Fsync};
use crate::error::io_error;
use crate::fs::{FileSystem, WriteFile};
use crate::head::snapshot::LogPlace;
use crate::metrics::WalInstruments;
use crate::sync::Mutex;
use compression::Compressor;
use segment::{PAGE_BYTES, framed_bytes_max, path_of, write_record};

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    segment_bytes: u64,
    compression: Compression,
    fsync: Fsync,
    writer: Mutex<Writer>,
    /// Held while syncing, so that commits that wait for a sync share the next one.
    synced: Mutex<Synced>,
    instruments: Arc<WalInstruments>,
}

/// The end of the log.
#[derive(Debug)]
struct Writer {
    segment: u32,
    file: Arc<dyn WriteFile>,
    /// Length of the current segment's sound part.
    bytes: u64,
    /// Segments that ended since the last sync.
    ended: Vec<(u32, Arc<dyn WriteFile>)>,
    /// Bytes of all batches since the log was opened; a commit's place in the log.
    written: u64,
    refused: Option<Refusal>,
    frames: Vec<u8>,
}

#[derive(Debug)]
struct Synced {
    /// Bytes that are durable: `written_then <= Writer::written`.
    through: u64,
    last_time: Option<Timestamp>,
}

/// Why appends are refused, which decides how to recover.
#[derive(Debug, Clone)]
struct Refusal {
    reason: String,
    /// A sync failed: the system may have dropped what was written and not yet durable.
    is_sync: bool,
}

impl Refusal {
    fn error(&self) -> StorageError {
        StorageError::WritesRefused { reason: self.reason.clone() }
    }
}

/// Records of one batch, encoded and compressed before the writer's lock is taken.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    records: Vec<(u8, Range<usize>)>,
    bytes: Vec<u8>,
    compressor: Compressor,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the records.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, compression: Compression, record: &[u8]) {
        let start = self.bytes.len();
        let flags = self.compressor.push(compression, record, &mut self.bytes);
        self.records.push((flags, start..self.bytes.len()));
    }
}

impl Wal {
    /// Opens the log for appending in a new segment numbered `segment`; those before it are left alone.
    pub(crate) fn open(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        segment: u32,
        config: &Config,
        instruments: Arc<WalInstruments>,
    ) -> Result<Self, StorageError> {
        let path = path_of(directory, segment);
        let file = fs.create(&path).map_err(|error| io_error(&path, error))?;
        fs.sync_directory(directory).map_err(|error| io_error(directory, error))?;
        instruments.segment_current.set(i64::from(segment));
        let writer =
            Writer { segment, file, bytes: 0, ended: Vec::new(), written: 0, refused: None, frames: Vec::new() };
        Ok(Self {
            fs,
            directory: directory.to_owned(),
            segment_bytes: config.wal_segment_bytes,
            compression: config.wal_compression,
            fsync: config.fsync,
            writer: Mutex::new(writer),
            synced: Mutex::new(Synced { through: 0, last_time: None }),
            instruments,
        })
    }

    /// How records are to be compressed.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// The segment appended to.
    pub(crate) fn current_segment(&self) -> u32 {
        self.writer.lock().segment
    }

    /// The segment appended to and the length of its sound part.
    pub(crate) fn place(&self) -> LogPlace {
        let writer = self.writer.lock();
        LogPlace { segment: writer.segment, offset: writer.bytes }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether a batch would be refused.
    ///
    /// # Errors
    /// [`StorageError::WritesRefused`] with the reason.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.writer.lock().refused.as_ref().map_or(Ok(()), |refusal| Err(refusal.error()))
    }

    /// Appends a batch with one write call, and waits until it is durable if the policy says so.
    ///
    /// # Errors
    /// If it could not be written; nothing of it stands in the log then.
    pub(crate) fn append(&self, batch: &Batch) -> Result<(), StorageError> {
        let place = self.write(batch)?;
        if self.fsync == Fsync::Always { self.sync_through(place) } else { Ok(()) }
    }

    /// Appends one record, as [`Wal::append`] does a batch.
    pub(crate) fn append_record(&self, record: &[u8]) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.push(self.compression, record);
        self.append(&batch)
    }

    fn write(&self, batch: &Batch) -> Result<u64, StorageError> {
        let mut writer = self.writer.lock();
        if let Some(refusal) = &writer.refused {
            return Err(refusal.error());
        }
        // A batch stands in one segment, so that a failed write can be taken back whole.
        let needed: u64 = batch.records.iter().map(|(_, range)| framed_bytes_max(range.len())).sum();
        let room = |writer: &Writer| writer.bytes + needed <= self.segment_bytes;
        if writer.bytes > 0 && !room(&writer) {
            self.cut(&mut writer)?;
        }
        let mut frames = std::mem::take(&mut writer.frames);
        frames.clear();
        for (flags, range) in &batch.records {
            let position = writer.bytes + frames.len() as u64;
            write_record(&mut frames, position, *flags, &batch.bytes[range.clone()]);
        }
        let result = writer.file.write_all(&frames);
        let length = frames.len() as u64;
        writer.frames = frames;
        if let Err(error) = result {
            self.instruments.writes_failed.add(1);
            let path = path_of(&self.directory, writer.segment);
            self.refuse(&mut writer, format!("writing to {} failed: {error}", path.display()), false);
            self.take_back(&mut writer);
            return Err(io_error(&path, error));
        }
        writer.bytes += length;
        writer.written += length;
        self.instruments.bytes_written.add(length);
        self.instruments.batches_written.add(1);
        Ok(writer.written)
    }

    fn refuse(&self, writer: &mut Writer, reason: String, is_sync: bool) {
        self.instruments.refusing.set(1);
        writer.refused.get_or_insert(Refusal { reason, is_sync });
    }

    /// Cuts off what a failed write may have left. If that fails too, the log stays refused.
    fn take_back(&self, writer: &mut Writer) -> bool {
        writer.file.truncate(writer.bytes).is_ok()
    }

    /// Ends the current segment with a full page and begins the next one.
    fn cut(&self, writer: &mut Writer) -> Result<(), StorageError> {
        let path = path_of(&self.directory, writer.segment);
        let within_page = (writer.bytes % PAGE_BYTES as u64) as usize;
        let next = writer.segment + 1;
        let next_path = path_of(&self.directory, next);
        let padded = if within_page == 0 {
            Ok(())
        } else {
            writer.file.write_all(&vec![0; PAGE_BYTES - within_page]).map_err(|error| (&path, error))
        };
        let file = padded.and_then(|()| {
            let file = self.fs.create(&next_path).map_err(|error| (&next_path, error))?;
            self.fs.sync_directory(&self.directory).map_err(|error| (&self.directory, error))?;
            Ok(file)
        });
        let file = file.map_err(|(path, error)| {
            self.instruments.writes_failed.add(1);
            let reason = format!("beginning segment {} failed: {error}", next_path.display());
            let error = io_error(path, error);
            self.refuse(writer, reason, false);
            self.take_back(writer);
            error
        })?;
        let ended = std::mem::replace(&mut writer.file, file);
        writer.ended.push((writer.segment, ended));
        (writer.segment, writer.bytes) = (next, 0);
        self.instruments.segment_current.set(i64::from(next));
        Ok(())
    }

    /// Ends the current segment if anything stands in it, so that those before the returned one can be truncated.
    pub(crate) fn next_segment(&self) -> Result<u32, StorageError> {
        let mut writer = self.writer.lock();
        if let Some(refusal) = &writer.refused {
            return Err(refusal.error());
        }
        if writer.bytes > 0 {
            self.cut(&mut writer)?;
        }
        Ok(writer.segment)
    }

    /// Syncs if the policy's time has come. Called by whoever keeps the time.
    pub(crate) fn sync_if_due(&self, now: Timestamp) -> Result<(), StorageError> {
        let has_ended = !self.writer.lock().ended.is_empty();
        let mut synced = self.synced.lock();
        let is_due = match self.fsync {
            Fsync::Always | Fsync::Segment => false,
            Fsync::Every(interval) => {
                let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
                synced.last_time.is_none_or(|last| now - last >= interval_ms || now < last)
            }
        };
        if !is_due && !has_ended {
            return Ok(());
        }
        synced.last_time = Some(now);
        self.sync_holding(&mut synced)
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.sync_holding(&mut self.synced.lock())
    }

    fn sync_through(&self, place: u64) -> Result<(), StorageError> {
        let mut synced = self.synced.lock();
        // Whoever held the lock may have synced this batch too.
        if synced.through >= place { Ok(()) } else { self.sync_holding(&mut synced) }
    }

    fn sync_holding(&self, synced: &mut Synced) -> Result<(), StorageError> {
        let (files, written) = {
            let mut writer = self.writer.lock();
            if let Some(refusal) = writer.refused.as_ref().filter(|refusal| refusal.is_sync) {
                return Err(refusal.error());
            }
            let mut files = std::mem::take(&mut writer.ended);
            if writer.written > synced.through {
                files.push((writer.segment, Arc::clone(&writer.file)));
            }
            (files, writer.written)
        };
        for (index, (segment, file)) in files.iter().enumerate() {
            let Err(error) = file.sync() else {
                self.instruments.syncs.add(1);
                continue;
            };
            self.instruments.syncs_failed.add(1);
            let path = path_of(&self.directory, *segment);
            let mut writer = self.writer.lock();
            let current = writer.segment;
            let unsynced = files[index..].iter().filter(|(segment, _)| *segment != current).cloned();
            let unsynced: Vec<_> = unsynced.chain(writer.ended.drain(..)).collect();
            writer.ended = unsynced;
            self.refuse(&mut writer, format!("syncing {} failed: {error}", path.display()), true);
            return Err(io_error(&path, error));
        }
        synced.through = written;
        Ok(())
    }

    /// Tries to bring a log that refuses appends back into service; does nothing to one that does not.
    ///
    /// After a failed write the segment is cut back to its sound part. After a failed sync the system may have dropped
    /// pages of segments that were not yet durable, so these are written again from what can still be read.
    pub(crate) fn recover(&self) -> Result<(), StorageError> {
        let mut synced = self.synced.lock();
        let mut writer = self.writer.lock();
        let Some(refusal) = writer.refused.clone() else {
            return Ok(());
        };
        let path = path_of(&self.directory, writer.segment);
        writer.file.truncate(writer.bytes).map_err(|error| io_error(&path, error))?;
        if refusal.is_sync {
            let mut segments: Vec<_> = writer.ended.iter().map(|(segment, _)| *segment).collect();
            segments.push(writer.segment);
            for segment in segments {
                repair::rewrite(&*self.fs, &self.directory, segment, None)?;
            }
            writer.ended.clear();
            // The rewritten file is another one than the open handle: go on in a new segment.
            let next = path_of(&self.directory, writer.segment + 1);
            writer.file = self.fs.create(&next).map_err(|error| io_error(&next, error))?;
            self.fs.sync_directory(&self.directory).map_err(|error| io_error(&self.directory, error))?;
            (writer.segment, writer.bytes) = (writer.segment + 1, 0);
            self.instruments.segment_current.set(i64::from(writer.segment));
            synced.through = writer.written;
        } else {
            writer.file.sync().map_err(|error| io_error(&path, error))?;
        }
        writer.refused = None;
        self.instruments.refusing.set(0);
        Ok(())
    }
}

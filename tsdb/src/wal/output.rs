//! Writing segments that are not the log's end: checkpoints and snapshots.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Batch;
use super::segment::{self, path_of, write_record};
use crate::fs::{FileSystem, WriteFile};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Segments being written in order.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    fs: &'a dyn FileSystem,
    directory: &'a Path,
    segment_bytes: u64,
    file: Arc<dyn WriteFile>,
    segment: u32,
    bytes: u64,
    /// Bytes of the segments before.
    bytes_before: u64,
    buffer: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(crate) fn create(fs: &'a dyn FileSystem, directory: &'a Path, segment_bytes: u64) -> io::Result<Self> {
        let file = fs.create(&path_of(directory, 0))?;
        Ok(Self { fs, directory, segment_bytes, file, segment: 0, bytes: 0, bytes_before: 0, buffer: Vec::new() })
    }

    /// Appends the records of a batch.
    pub(crate) fn write(&mut self, batch: &Batch) -> io::Result<()> {
        for (flags, range) in &batch.records {
            let needed = segment::framed_bytes_max(range.len());
            if self.position() > 0 && self.position() + needed > self.segment_bytes {
                self.finish()?;
                self.segment += 1;
                self.file = self.fs.create(&path_of(self.directory, self.segment))?;
                self.bytes_before += self.bytes;
                self.bytes = 0;
            }
            let position = self.position();
            write_record(&mut self.buffer, position, *flags, &batch.bytes[range.clone()]);
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Bytes of all segments so far.
    pub(crate) fn total(&self) -> u64 {
        self.bytes_before + self.position()
    }

    fn position(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and makes it durable.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync()
    }
}

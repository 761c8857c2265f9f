//! Chunk segments of a block: `chunks/000001` and on. Layout: `docs/formats/block.md`.
//!
//! A chunk's reference is its segment, counted from 0, in the upper half and its offset in the lower one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

use crate::codec::{Decoder, crc32c, put_uvarint};
use crate::error::{corrupt, io_error};
use crate::fs::{self, FileSystem, WriteFile};
use crate::mmap::Map;

/// The directory's name within a block's.
pub(crate) const DIRECTORY: &str = "chunks";
const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 128 << 10;
/// The longest a chunk's header is: its length and its encoding.
const CHUNK_HEADER_BYTES_MAX: usize = 5 + 1;

/// A chunk of a series as the index names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) reference: u64,
}

/// The segments of a block, mapped.
#[derive(Debug)]
pub(crate) struct ChunkFiles {
    files: Vec<(PathBuf, Map)>,
}

impl ChunkFiles {
    /// Maps the segments in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, StorageError> {
        let mut files = Vec::new();
        for entry in fs::list(directory).map_err(|error| io_error(directory, error))? {
            if entry.is_directory || entry.name.parse::<u32>().is_err() {
                continue;
            }
            let path = directory.join(&entry.name);
            let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
            let header = map.slice(0..HEADER_BYTES);
            if header.is_none_or(|header| header[..4] != MAGIC.to_be_bytes() || header[4] != VERSION) {
                return Err(corrupt(&path, 0, "not a chunk segment of version 1"));
            }
            files.push((path, map));
        }
        Ok(Self { files })
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, map)| map.len() as u64).sum()
    }

    /// Encoding and data of a chunk, its checksum compared.
    pub(crate) fn chunk(&self, reference: u64) -> Result<(u8, &[u8]), StorageError> {
        let (segment, offset) = ((reference >> 32) as usize, reference as u32 as usize);
        let Some((path, map)) = self.files.get(segment) else {
            let missing = format!("{:06}", segment + 1);
            return Err(corrupt(Path::new(&missing), offset as u64, "the index names a segment that is not there"));
        };
        let damage = |reason: &str| corrupt(path, offset as u64, reason);
        let rest = map.slice(offset..map.len()).ok_or_else(|| damage("the chunk begins behind the end of the file"))?;
        let mut decoder = Decoder::new(rest);
        let mut read = || {
            // The length is of the data alone: encoding and checksum follow.
            let length = decoder.count(1)?;
            let body = decoder.bytes(length + 1)?;
            Ok::<_, crate::codec::Truncated>((body, decoder.u32()?))
        };
        let (body, checksum) = read().map_err(|_| damage("the file ends within a chunk"))?;
        if crc32c(body) != checksum {
            return Err(damage("a chunk's checksum is wrong"));
        }
        Ok((body[0], &body[1..]))
    }

    /// The place of a damaged chunk.
    pub(crate) fn damage_at(&self, reference: u64, reason: impl ToString) -> StorageError {
        let path = self.files.get((reference >> 32) as usize).map_or(Path::new(DIRECTORY), |(path, _)| path);
        corrupt(path, u64::from(reference as u32), reason)
    }
}

/// Writes the segments of a new block.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    segment_bytes: u64,
    /// Segments begun.
    count: u32,
    file: Option<Arc<dyn WriteFile>>,
    /// Bytes of the current segment, buffered ones included.
    position: u64,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    /// Writes to `directory`, which it makes.
    pub(crate) fn create(
        fs: Arc<dyn FileSystem>,
        directory: PathBuf,
        segment_bytes: u64,
    ) -> Result<Self, StorageError> {
        fs.create_directory(&directory).map_err(|error| io_error(&directory, error))?;
        Ok(Self { fs, directory, segment_bytes, count: 0, file: None, position: 0, buffer: Vec::new() })
    }

    /// Writes a chunk and returns its reference.
    pub(crate) fn write(&mut self, encoding: u8, data: &[u8]) -> Result<u64, StorageError> {
        let needed = (CHUNK_HEADER_BYTES_MAX + data.len() + 4) as u64;
        if self.file.is_none() || self.position + needed > self.segment_bytes {
            self.begin_segment()?;
        }
        let reference = u64::from(self.count - 1) << 32 | self.position;
        let start = self.buffer.len();
        put_uvarint(&mut self.buffer, data.len() as u64);
        let body = self.buffer.len();
        self.buffer.push(encoding);
        self.buffer.extend_from_slice(data);
        let checksum = crc32c(&self.buffer[body..]);
        self.buffer.extend_from_slice(&checksum.to_be_bytes());
        self.position += (self.buffer.len() - start) as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(reference)
    }

    fn begin_segment(&mut self) -> Result<(), StorageError> {
        self.finish_segment()?;
        self.count += 1;
        let path = self.path();
        self.file = Some(self.fs.create(&path).map_err(|error| io_error(&path, error))?);
        self.buffer.extend_from_slice(&MAGIC.to_be_bytes());
        self.buffer.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.position = HEADER_BYTES as u64;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{:06}", self.count))
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        if let Some(file) = &self.file {
            file.write_all(&self.buffer).map_err(|error| io_error(&self.path(), error))?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn finish_segment(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        match self.file.take() {
            Some(file) => file.sync().map_err(|error| io_error(&self.path(), error)),
            None => Ok(()),
        }
    }

    /// Makes everything durable.
    pub(crate) fn finish(mut self) -> Result<(), StorageError> {
        self.finish_segment()?;
        self.fs.sync_directory(&self.directory).map_err(|error| io_error(&self.directory, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_from_several_segments() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join(DIRECTORY);
        let mut writer = ChunkWriter::create(Arc::new(fs::Disk), directory.clone(), 1000).unwrap();
        let data: Vec<Vec<u8>> = (0..50u8).map(|i| vec![i; usize::from(i) * 4]).collect();
        let references: Vec<u64> = data.iter().map(|data| writer.write(2, data).unwrap()).collect();
        writer.finish().unwrap();
        let files = ChunkFiles::open(&directory).unwrap();
        assert!(files.files.len() > 3 && files.files.iter().all(|(_, map)| map.len() <= 1000));
        for (reference, data) in references.iter().zip(&data) {
            assert_eq!(files.chunk(*reference).unwrap(), (2, &data[..]));
        }
        for wrong in [references[3] + 1, 99 << 32, u64::from(u32::MAX)] {
            assert!(matches!(files.chunk(wrong), Err(StorageError::Corrupt { .. })));
        }
    }
}

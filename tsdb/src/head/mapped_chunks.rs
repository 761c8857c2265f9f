//! `chunks_head`: full chunks of the head in memory-mapped files. Layout: `docs/formats/chunk.md`.
//!
//! The files only save replay and heap: every sample in them is in the write-ahead log too, until the log is truncated
//! together with them. But replay skips what lies before a series' last mapped chunk, so there must be no hole before it:
//! a file is synced before the next one begins, and behind damage everything is dropped and replayed from the log. Chunks
//! that a snapshot lists are not looked at before they are read: damage that shows then is told, and no snapshot is left
//! at the stop, so that the next start reads all of the log.

mod scan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::storage::StorageError;

use super::series::FullChunk;
use crate::chunk::{Encoding, OUT_OF_ORDER_BIT};
use crate::codec::{Decoder, crc32c, put_text};
use crate::error::{corrupt, io_error};
use crate::fs::{self, FileSystem, WriteFile};
use crate::metrics::Instruments;
use crate::mmap::Map;
use crate::sync::{Mutex, RwLock};
use crate::wal::record::WalRef;
pub(crate) use scan::FoundChunks;

const MAGIC: u32 = 0x0130_BC91;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Series, first and last time, encoding, and the shortest length.
const CHUNK_HEADER_BYTES_MIN: usize = 8 + 8 + 8 + 1 + 1;

/// Where a chunk of the head is mapped. Small: there are several in every series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MappedChunk {
    pub(crate) max_time: i64,
    pub(crate) file: u32,
    pub(crate) offset: u32,
    /// Last time minus first.
    pub(crate) span_ms: u32,
    pub(crate) count: u16,
    pub(crate) encoding: Encoding,
}

impl MappedChunk {
    pub(crate) fn new(max_time: i64, file: u32, offset: u32, span_ms: u32, count: u16, encoding: Encoding) -> Self {
        Self { max_time, file, offset, span_ms, count, encoding }
    }

    pub(crate) fn min_time(&self) -> i64 {
        self.max_time - i64::from(self.span_ms)
    }
}

/// The mapped files, and the end of the last one for appending.
#[derive(Debug)]
pub(crate) struct MappedChunks {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    file_bytes: u32,
    files: RwLock<BTreeMap<u32, MappedFile>>,
    writer: Mutex<Option<MapWriter>>,
    /// A chunk that was read is not what was written.
    is_damaged: AtomicBool,
    instruments: Arc<Instruments>,
}

/// A file as a snapshot tells of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedFile {
    pub(crate) number: u32,
    /// Length of its sound part.
    pub(crate) bytes: u64,
    /// Last time of all its chunks.
    pub(crate) max_time: i64,
}

#[derive(Debug)]
struct MappedFile {
    map: Arc<Map>,
    /// Last time of all its chunks.
    max_time: i64,
    /// Chunks of late samples in it that are still needed, whatever their time.
    late: usize,
}

#[derive(Debug)]
struct MapWriter {
    number: u32,
    file: Arc<dyn WriteFile>,
    /// Length of its sound part.
    bytes: usize,
    /// A failed write may have left something behind that part.
    is_torn: bool,
}

/// A chunk as it stands in a file.
struct ChunkView<'a> {
    series: WalRef,
    min_time: i64,
    max_time: i64,
    encoding: u8,
    data: &'a [u8],
    /// Bytes of the whole entry.
    length: usize,
}

impl MappedChunks {
    /// Opens the files of `directory` as they are. What they hold is told by [`MappedChunks::scan`], or by whoever knows it.
    pub(crate) fn open(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        file_bytes: u32,
        instruments: Arc<Instruments>,
    ) -> Result<Self, StorageError> {
        fs.create_directory(directory).map_err(|error| io_error(directory, error))?;
        let mut files = BTreeMap::new();
        for entry in fs::list(directory).map_err(|error| io_error(directory, error))? {
            if let Some(number) = entry.name.parse::<u32>().ok().filter(|_| !entry.is_directory) {
                let path = directory.join(&entry.name);
                let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
                files.insert(number, MappedFile { map: Arc::new(map), max_time: i64::MAX, late: 0 });
            }
        }
        Ok(Self {
            fs,
            directory: directory.to_owned(),
            file_bytes,
            files: RwLock::new(files),
            writer: Mutex::new(None),
            is_damaged: AtomicBool::new(false),
            instruments,
        })
    }

    /// Takes the files for what a snapshot says of them, and no chunk is read. They are as long as it says or longer: what
    /// stands behind, and files that it does not name, came after it and is in the log.
    pub(crate) fn take_listed(&self, listed: &[ListedFile]) -> Result<(), StorageError> {
        let found: Vec<(u32, usize)> =
            self.files.read().iter().map(|(number, file)| (*number, file.map.len())).collect();
        for (number, length) in found {
            let path = self.path_of(number);
            let io = |error| io_error(&path, error);
            let Some(told) = listed.iter().find(|file| file.number == number) else {
                self.fs.remove_file(&path).map_err(io)?;
                self.files.write().remove(&number);
                continue;
            };
            if told.bytes < length as u64 {
                self.fs.cut_file(&path, told.bytes).map_err(io)?;
            }
            let map = Arc::new(Map::open(&path).map_err(io)?);
            self.files.write().insert(number, MappedFile { map, max_time: told.max_time, late: 0 });
        }
        Ok(())
    }

    /// Writes the chunks and returns where they are, in the order they came.
    pub(crate) fn write(&self, chunks: &[(WalRef, FullChunk)]) -> Result<Vec<MappedChunk>, StorageError> {
        let mut writer = self.writer.lock();
        let mut mapped = Vec::with_capacity(chunks.len());
        let mut buffer = Vec::new();
        let mut max_time = i64::MIN;
        for (series, chunk) in chunks {
            let entry_bytes_max = CHUNK_HEADER_BYTES_MIN + 8 + chunk.bytes.len() + 4;
            let filled = |writer: &MapWriter, buffer: &Vec<u8>| writer.bytes + buffer.len() + entry_bytes_max;
            if writer.as_ref().is_some_and(|writer| filled(writer, &buffer) > self.file_bytes as usize) {
                self.flush(&mut writer, &mut buffer, max_time)?;
                self.sync_writer(writer.as_ref())?;
                *writer = None;
            }
            let current = match &mut *writer {
                Some(current) => current,
                None => writer.insert(self.new_file(entry_bytes_max)?),
            };
            let offset = (current.bytes + buffer.len()) as u32;
            put_chunk(&mut buffer, *series, chunk);
            max_time = max_time.max(chunk.max_time);
            mapped.push(place(current.number, offset, chunk));
        }
        self.flush(&mut writer, &mut buffer, max_time)?;
        let late = mapped.iter().zip(chunks).filter(|(_, (_, chunk))| chunk.is_late);
        self.hold(late.map(|(chunk, _)| chunk));
        Ok(mapped)
    }

    fn flush(&self, writer: &mut Option<MapWriter>, buffer: &mut Vec<u8>, max_time: i64) -> Result<(), StorageError> {
        let Some(current) = writer.as_mut().filter(|_| !buffer.is_empty()) else {
            return Ok(());
        };
        let io = |error| io_error(&self.path_of(current.number), error);
        if current.is_torn {
            current.file.truncate(current.bytes as u64).map_err(io)?;
            current.is_torn = false;
        }
        if let Err(error) = current.file.write_all(buffer) {
            current.is_torn = true;
            return Err(io(error));
        }
        current.bytes += buffer.len();
        buffer.clear();
        if let Some(file) = self.files.write().get_mut(&current.number) {
            file.map.grow_to(current.bytes);
            file.max_time = file.max_time.max(max_time);
        }
        Ok(())
    }

    fn new_file(&self, entry_bytes_max: usize) -> Result<MapWriter, StorageError> {
        let number = self.files.read().last_key_value().map_or(1, |(last, _)| last + 1);
        let path = self.path_of(number);
        let mut header = MAGIC.to_be_bytes().to_vec();
        header.push(VERSION);
        header.resize(HEADER_BYTES, 0);
        let length = (self.file_bytes as usize).max(HEADER_BYTES + entry_bytes_max);
        let open = || {
            let file = self.fs.create(&path)?;
            file.write_all(&header)?;
            Ok((file, Map::open_growing(&path, length)?))
        };
        let (file, map) = open().map_err(|error| io_error(&path, error))?;
        map.grow_to(HEADER_BYTES);
        self.files.write().insert(number, MappedFile { map: Arc::new(map), max_time: i64::MIN, late: 0 });
        Ok(MapWriter { number, file, bytes: HEADER_BYTES, is_torn: false })
    }

    fn path_of(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{number:06}"))
    }

    /// Hands the bytes of a chunk to `read`, their checksum compared.
    pub(crate) fn with_bytes<T>(&self, chunk: &MappedChunk, read: impl FnOnce(&[u8]) -> T) -> Result<T, StorageError> {
        let map = self.files.read().get(&chunk.file).map(|file| Arc::clone(&file.map));
        let map = map.ok_or_else(|| self.damage_at(chunk, "the file is gone"))?;
        match sound_view_at(map.bytes(), chunk.offset as usize) {
            Ok(view) => Ok(read(view.data)),
            Err(reason) => {
                if !self.is_damaged.swap(true, Ordering::Relaxed) {
                    self.instruments.mapped_chunk_corruptions.add(1);
                }
                Err(self.damage_at(chunk, format!("{reason}; the log has its samples, and the next start reads it")))
            }
        }
    }

    /// Whether a chunk was found to be damaged since the files were opened. Its samples are in the log.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// The place a damaged chunk stands at.
    pub(crate) fn damage_at(&self, chunk: &MappedChunk, reason: impl ToString) -> StorageError {
        corrupt(&self.path_of(chunk.file), u64::from(chunk.offset), reason)
    }

    /// Keeps the files of chunks of late samples until they are released.
    pub(crate) fn hold<'a>(&self, chunks: impl Iterator<Item = &'a MappedChunk>) {
        let mut files = self.files.write();
        for chunk in chunks {
            if let Some(file) = files.get_mut(&chunk.file) {
                file.late += 1;
            }
        }
    }

    /// Lets go of chunks of late samples.
    pub(crate) fn release(&self, chunks: &[MappedChunk]) {
        let mut files = self.files.write();
        for chunk in chunks {
            if let Some(file) = files.get_mut(&chunk.file) {
                file.late = file.late.saturating_sub(1);
            }
        }
    }

    /// Removes files that hold nothing at or after `min_time`.
    pub(crate) fn truncate(&self, min_time: i64) -> Result<(), StorageError> {
        let current = self.writer.lock().as_ref().map(|writer| writer.number);
        let old: Vec<u32> = {
            let files = self.files.read();
            let is_old = |(number, file): &(&u32, &MappedFile)| {
                Some(**number) != current && file.max_time < min_time && file.late == 0
            };
            files.iter().filter(is_old).map(|(number, _)| *number).collect()
        };
        for number in old {
            let path = self.path_of(number);
            self.fs.remove_file(&path).map_err(|error| io_error(&path, error))?;
            self.files.write().remove(&number);
        }
        Ok(())
    }

    /// Makes the files durable, for a clean stop.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.sync_writer(self.writer.lock().as_ref())
    }

    fn sync_writer(&self, writer: Option<&MapWriter>) -> Result<(), StorageError> {
        match writer {
            Some(current) => current.file.sync().map_err(|error| io_error(&self.path_of(current.number), error)),
            None => Ok(()),
        }
    }

    /// The files as they are now.
    pub(crate) fn listed(&self) -> Vec<ListedFile> {
        let files = self.files.read();
        let listed = files.iter().map(|(number, file)| ListedFile {
            number: *number,
            bytes: file.map.len() as u64,
            max_time: file.max_time,
        });
        listed.collect()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.read().values().map(|file| file.map.len() as u64).sum()
    }
}

fn place(file: u32, offset: u32, chunk: &FullChunk) -> MappedChunk {
    // A chunk lies within one block range, which the settings keep below 2^32 ms.
    let span_ms = u32::try_from(chunk.max_time - chunk.min_time).unwrap_or(u32::MAX);
    MappedChunk { max_time: chunk.max_time, file, offset, span_ms, count: chunk.count, encoding: chunk.encoding }
}

fn put_chunk(out: &mut Vec<u8>, series: WalRef, chunk: &FullChunk) {
    let start = out.len();
    out.extend_from_slice(&series.to_be_bytes());
    out.extend_from_slice(&chunk.min_time.to_be_bytes());
    out.extend_from_slice(&chunk.max_time.to_be_bytes());
    out.push(chunk.encoding as u8 | if chunk.is_late { OUT_OF_ORDER_BIT } else { 0 });
    put_text(out, &chunk.bytes);
    let checksum = crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

fn view_at(bytes: &[u8], offset: usize) -> Result<ChunkView<'_>, &'static str> {
    let rest = bytes.get(offset..).ok_or("the chunk begins behind the end of the file")?;
    let mut decoder = Decoder::new(rest);
    let mut read = || {
        let (series, min_time, max_time) = (decoder.u64()?, decoder.i64()?, decoder.i64()?);
        let (encoding, data) = (decoder.u8()?, decoder.text()?);
        let length = decoder.position() + 4;
        decoder.u32()?;
        Ok::<_, crate::codec::Truncated>(ChunkView { series, min_time, max_time, encoding, data, length })
    };
    read().map_err(|_| "the file ends within a chunk")
}

/// The chunk at `offset`, its checksum compared.
fn sound_view_at(bytes: &[u8], offset: usize) -> Result<ChunkView<'_>, &'static str> {
    let view = view_at(bytes, offset)?;
    let (body, checksum) = bytes[offset..offset + view.length].split_at(view.length - 4);
    if crc32c(body).to_be_bytes() != checksum {
        return Err("a chunk's checksum is wrong");
    }
    Ok(view)
}

//! `chunks_head`: full chunks of the head in memory-mapped files. Layout: `docs/formats/chunk.md`.
//!
//! The files only save replay and heap: every sample in them is in the write-ahead log too, until the log is truncated
//! together with them. But replay skips what lies before a series' last mapped chunk, so there must be no hole before it:
//! a file is synced before the next one begins, and behind damage everything is dropped and replayed from the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

use super::series::FullChunk;
use crate::chunk::{Encoding, OUT_OF_ORDER_BIT};
use crate::codec::{Decoder, crc32c, put_text};
use crate::error::{corrupt, io_error};
use crate::fs::{self, FileSystem, WriteFile};
use crate::mmap::Map;
use crate::sync::{Mutex, RwLock};
use crate::wal::record::WalRef;

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
    span_ms: u32,
    pub(crate) count: u16,
    pub(crate) encoding: Encoding,
}

impl MappedChunk {
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

/// What [`MappedChunks::open`] found: chunks by series in order of the files, and damage.
#[derive(Debug, Default)]
pub(crate) struct FoundChunks {
    pub(crate) by_series: hashbrown::HashMap<WalRef, Vec<MappedChunk>, foldhash::fast::RandomState>,
    /// Chunks of out-of-order samples.
    pub(crate) late_by_series: hashbrown::HashMap<WalRef, Vec<MappedChunk>, foldhash::fast::RandomState>,
    pub(crate) damage: Vec<StorageError>,
}

impl FoundChunks {
    /// The chunks of a series. The table gives room back as it empties, because the head grows meanwhile.
    pub(crate) fn take(&mut self, series: WalRef) -> Option<Vec<MappedChunk>> {
        let taken = self.by_series.remove(&series);
        if self.by_series.len() < self.by_series.capacity() / 4 {
            self.by_series.shrink_to_fit();
        }
        taken
    }
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
    /// Opens the files of `directory` and reads what chunks they hold.
    pub(crate) fn open(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        file_bytes: u32,
    ) -> Result<(Self, FoundChunks), StorageError> {
        fs.create_directory(directory).map_err(|error| io_error(directory, error))?;
        let mut found = FoundChunks::default();
        let mut files = BTreeMap::new();
        for entry in fs::list(directory).map_err(|error| io_error(directory, error))? {
            let Some(number) = entry.name.parse::<u32>().ok().filter(|_| !entry.is_directory) else {
                continue;
            };
            let path = directory.join(&entry.name);
            let io = |error| io_error(&path, error);
            if !found.damage.is_empty() {
                fs.remove_file(&path).map_err(io)?;
                continue;
            }
            let mut map = Map::open(&path).map_err(io)?;
            let scanned = scan(&path, number, map.bytes(), &mut found);
            match scanned.good_bytes {
                _ if found.damage.is_empty() => {}
                0 => {
                    fs.remove_file(&path).map_err(io)?;
                    continue;
                }
                good => {
                    fs.cut_file(&path, good as u64).map_err(io)?;
                    map = Map::open(&path).map_err(io)?;
                }
            }
            // Looked at once, for the checksums.
            map.let_go(0..map.len());
            files.insert(number, MappedFile { map: Arc::new(map), max_time: scanned.max_time, late: 0 });
        }
        let chunks = Self {
            fs,
            directory: directory.to_owned(),
            file_bytes,
            files: RwLock::new(files),
            writer: Mutex::new(None),
        };
        Ok((chunks, found))
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

    /// Hands the bytes of a chunk to `read`.
    pub(crate) fn with_bytes<T>(&self, chunk: &MappedChunk, read: impl FnOnce(&[u8]) -> T) -> Result<T, StorageError> {
        let map = self.files.read().get(&chunk.file).map(|file| Arc::clone(&file.map));
        let view = map.as_deref().map(|map| view_at(map.bytes(), chunk.offset as usize));
        match view {
            Some(Ok(view)) => Ok(read(view.data)),
            Some(Err(reason)) => Err(corrupt(&self.path_of(chunk.file), u64::from(chunk.offset), reason)),
            None => Err(corrupt(&self.path_of(chunk.file), u64::from(chunk.offset), "the file is gone")),
        }
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

    /// Length of each file's sound part.
    pub(crate) fn lengths(&self) -> BTreeMap<u32, u64> {
        self.files.read().iter().map(|(number, file)| (*number, file.map.len() as u64)).collect()
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

/// What a scan of a file found beside its chunks.
struct Scanned {
    max_time: i64,
    /// End of the last sound chunk; 0 if the file has no sound header.
    good_bytes: usize,
}

/// Enters the chunks of a file into `found`, up to the first damage.
fn scan(path: &Path, number: u32, bytes: &[u8], found: &mut FoundChunks) -> Scanned {
    let mut scanned = Scanned { max_time: i64::MIN, good_bytes: 0 };
    if bytes.iter().all(|b| *b == 0) {
        // Created, and nothing written before a crash.
        return scanned;
    }
    if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC.to_be_bytes() || bytes[4] != VERSION {
        found.damage.push(corrupt(path, 0, "not a file of head chunks of version 1"));
        return scanned;
    }
    scanned.good_bytes = HEADER_BYTES;
    while scanned.good_bytes < bytes.len() {
        let offset = scanned.good_bytes;
        let rest = &bytes[offset..];
        // Prometheus allocates its files ahead: zeros are their unused end.
        if rest.iter().take(CHUNK_HEADER_BYTES_MIN).all(|b| *b == 0) {
            break;
        }
        let view = match sound_view_at(bytes, offset) {
            Ok(view) => view,
            Err(reason) => {
                found.damage.push(corrupt(path, offset as u64, reason));
                break;
            }
        };
        scanned.max_time = scanned.max_time.max(view.max_time);
        enter(path, number, offset, &view, found);
        scanned.good_bytes += view.length;
    }
    scanned
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

fn enter(path: &Path, file: u32, offset: usize, view: &ChunkView<'_>, found: &mut FoundChunks) {
    let by_series = match view.encoding & OUT_OF_ORDER_BIT {
        0 => &mut found.by_series,
        _ => &mut found.late_by_series,
    };
    let span_ms = u32::try_from(view.max_time.wrapping_sub(view.min_time)).ok();
    match (Encoding::from_byte(view.encoding & !OUT_OF_ORDER_BIT), span_ms, u32::try_from(offset)) {
        (Some(encoding), Some(span_ms), Ok(offset)) => {
            let count = encoding.sample_count(view.data);
            let chunk = MappedChunk { max_time: view.max_time, file, offset, span_ms, count, encoding };
            let chunks = by_series.entry(view.series).or_default();
            // As many as there are mostly are few: no room is taken for more.
            chunks.reserve_exact(1);
            chunks.push(chunk);
        }
        _ => {
            let reason = format!("a chunk of encoding {} from {} to {}", view.encoding, view.min_time, view.max_time);
            found.damage.push(corrupt(path, offset as u64, reason));
        }
    }
}

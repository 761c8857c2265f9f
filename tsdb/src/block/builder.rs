//! Making a block: chunks go to disk as they come, the index is gathered in memory and written at the end.
//!
//! Until it is finished a block stands in a directory whose name says so; then everything is made durable and renamed.
//! Series may come in any order, each once.

use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::labels::Labels;
use model::storage::StorageError;

use super::chunks::{self, ChunkWriter};
use super::index::writer::{self, SeriesToWrite};
use super::meta::{BlockMeta, BlockStats};
use super::{CREATION_SUFFIX, with_suffix};
use crate::chunk::Encoding;
use crate::codec::{put_uvarint, put_varint};
use crate::error::io_error;
use crate::fs::FileSystem;

/// A string of the block being made, in order of appearance.
pub(crate) type Provisional = u32;

/// Strings of labels by number.
#[derive(Debug, Default)]
struct Interner {
    numbers: HashTable<Provisional>,
    /// All strings one after the other.
    text: String,
    /// Where each one ends.
    ends: Vec<usize>,
    hasher: RandomState,
}

impl Interner {
    fn text(&self, number: Provisional) -> &str {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        self.text.get(start..self.ends[at]).unwrap_or("")
    }

    fn intern(&mut self, text: &str) -> Provisional {
        let hash = self.hasher.hash_one(text);
        if let Some(found) = self.numbers.find(hash, |number| self.text(*number) == text) {
            return *found;
        }
        self.text.push_str(text);
        self.ends.push(self.text.len());
        // Fewer distinct strings than 2^32 fit an index.
        let number = (self.ends.len() - 1) as Provisional;
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.insert_unique(hash, number, |number| self.hasher.hash_one(self.text(*number)));
        self.numbers = numbers;
        number
    }
}

/// The samples of a series, chunk by chunk, in buffers used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct SeriesChunks {
    chunks: Vec<EncodedChunk>,
    bytes: Vec<u8>,
}

/// A chunk within [`SeriesChunks`].
#[derive(Debug, Clone)]
pub(crate) struct EncodedChunk {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) encoding: Encoding,
    data: std::ops::Range<usize>,
}

impl SeriesChunks {
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.bytes.clear();
    }

    pub(crate) fn push(&mut self, min_time: i64, max_time: i64, encoding: Encoding, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.chunks.push(EncodedChunk { min_time, max_time, encoding, data: start..self.bytes.len() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// The chunks with their data, in the order they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&EncodedChunk, &[u8])> {
        self.chunks.iter().map(|chunk| (chunk, &self.bytes[chunk.data.clone()]))
    }
}

/// Where a series' labels and chunks stand in the builder's buffers.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    pairs_start: usize,
    chunks_start: usize,
    chunks_bytes: u32,
    pairs_count: u32,
}

/// A block being made.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    temporary: PathBuf,
    meta: BlockMeta,
    chunks: Option<ChunkWriter>,
    symbols: Interner,
    /// Names and values of all series, in turn.
    pairs: Vec<Provisional>,
    /// Chunk lists of all series, as they stand in the index.
    lists: Vec<u8>,
    series: Vec<Gathered>,
}

impl BlockBuilder {
    /// Begins the block that `meta` names in the data directory `data`.
    pub(crate) fn create(
        fs: &Arc<dyn FileSystem>,
        data: &Path,
        meta: BlockMeta,
        segment_bytes: u64,
    ) -> Result<Self, StorageError> {
        let directory = data.join(meta.ulid.to_string());
        let temporary = with_suffix(&directory, CREATION_SUFFIX);
        fs.create_directory(&temporary).map_err(|error| io_error(&temporary, error))?;
        let chunks = ChunkWriter::create(Arc::clone(fs), temporary.join(chunks::DIRECTORY), segment_bytes)?;
        Ok(Self {
            fs: Arc::clone(fs),
            directory,
            temporary,
            meta,
            chunks: Some(chunks),
            symbols: Interner::default(),
            pairs: Vec::new(),
            lists: Vec::new(),
            series: Vec::new(),
        })
    }

    /// Bytes of its buffers.
    pub(crate) fn memory_bytes(&self) -> usize {
        let symbols = self.symbols.text.capacity() + self.symbols.ends.capacity() * 2 * size_of::<usize>();
        let series = self.series.capacity() * size_of::<Gathered>();
        symbols + self.pairs.capacity() * size_of::<Provisional>() + self.lists.capacity() + series
    }

    /// The number of a label's name or value.
    pub(crate) fn intern(&mut self, text: &str) -> Provisional {
        self.symbols.intern(text)
    }

    /// Adds a series by its labels.
    pub(crate) fn add_labels(&mut self, labels: &Labels, chunks: &SeriesChunks) -> Result<(), StorageError> {
        let pairs: Vec<_> = labels.iter().flat_map(|(name, value)| [self.intern(name), self.intern(value)]).collect();
        self.add(&pairs, chunks)
    }

    /// Adds a series: its labels in order of their names, and its chunks in order of time. Without chunks it is left out.
    pub(crate) fn add(&mut self, pairs: &[Provisional], chunks: &SeriesChunks) -> Result<(), StorageError> {
        let Some(writer) = self.chunks.as_mut().filter(|_| !chunks.is_empty()) else {
            return Ok(());
        };
        let (pairs_start, chunks_start) = (self.pairs.len(), self.lists.len());
        self.pairs.extend_from_slice(pairs);
        put_uvarint(&mut self.lists, chunks.chunks.len() as u64);
        let (mut time, mut last_reference) = (0i64, 0u64);
        for (at, (chunk, data)) in chunks.iter().enumerate() {
            let reference = writer.write(chunk.encoding as u8, data)?;
            if at == 0 {
                put_varint(&mut self.lists, chunk.min_time);
            } else {
                put_uvarint(&mut self.lists, chunk.min_time.wrapping_sub(time) as u64);
            }
            put_uvarint(&mut self.lists, chunk.max_time.wrapping_sub(chunk.min_time) as u64);
            if at == 0 {
                put_uvarint(&mut self.lists, reference);
            } else {
                put_varint(&mut self.lists, reference.wrapping_sub(last_reference) as i64);
            }
            (time, last_reference) = (chunk.max_time, reference);
            count_samples(&mut self.meta.stats, chunk.encoding, u64::from(chunk.encoding.sample_count(data)));
        }
        let chunks_bytes = (self.lists.len() - chunks_start) as u32;
        self.series.push(Gathered { pairs_start, chunks_start, chunks_bytes, pairs_count: pairs.len() as u32 });
        self.meta.stats.num_series += 1;
        self.meta.stats.num_chunks += chunks.chunks.len() as u64;
        Ok(())
    }

    /// Writes the index and puts the block in its place, durable; its directory and what it is, or `None` if it would be
    /// empty.
    pub(crate) fn finish(mut self) -> Result<Option<(PathBuf, BlockMeta)>, StorageError> {
        let Some(chunks) = self.chunks.take().filter(|_| !self.series.is_empty()) else {
            return Ok(None);
        };
        chunks.finish()?;
        self.write_index()?;
        crate::tombstones::Tombstones::default().write(&*self.fs, &self.temporary)?;
        self.meta.write(&*self.fs, &self.temporary)?;
        let io = |error| io_error(&self.directory, error);
        self.fs.rename(&self.temporary, &self.directory).map_err(io)?;
        self.fs.sync_directory(self.directory.parent().unwrap_or(&self.directory)).map_err(io)?;
        Ok(Some((self.directory.clone(), self.meta.clone())))
    }

    fn write_index(&mut self) -> Result<(), StorageError> {
        let symbols = self.sort_symbols();
        let mut series = std::mem::take(&mut self.series);
        let pairs_of = |series: &Gathered| &self.pairs[series.pairs_start..][..series.pairs_count as usize];
        if !series.is_sorted_by(|a, b| pairs_of(a) < pairs_of(b)) {
            series.sort_unstable_by(|a, b| pairs_of(a).cmp(pairs_of(b)));
        }
        if series.windows(2).any(|pair| pairs_of(&pair[0]) == pairs_of(&pair[1])) {
            let twice = std::io::Error::new(std::io::ErrorKind::InvalidInput, "a series was added twice");
            return Err(io_error(&self.temporary, twice));
        }
        let texts: Vec<&str> = symbols.iter().map(|symbol| self.symbols.text(*symbol)).collect();
        let to_write = series.iter().map(|series| SeriesToWrite {
            pairs: pairs_of(series),
            chunks: &self.lists[series.chunks_start..][..series.chunks_bytes as usize],
        });
        writer::write(&*self.fs, &self.temporary, &texts, to_write)
    }

    /// Sorts the strings in use and renumbers the labels of all series to that order.
    fn sort_symbols(&mut self) -> Vec<Provisional> {
        let mut is_used = vec![false; self.symbols.ends.len()];
        self.pairs.iter().for_each(|symbol| is_used[*symbol as usize] = true);
        let mut sorted: Vec<Provisional> =
            (0..is_used.len()).filter(|at| is_used[*at]).map(|at| at as Provisional).collect();
        sorted.sort_unstable_by(|a, b| self.symbols.text(*a).cmp(self.symbols.text(*b)));
        let mut ranks = vec![0; is_used.len()];
        sorted.iter().enumerate().for_each(|(rank, symbol)| ranks[*symbol as usize] = rank as u32);
        self.pairs.iter_mut().for_each(|symbol| *symbol = ranks[*symbol as usize]);
        sorted
    }
}

fn count_samples(stats: &mut BlockStats, encoding: Encoding, count: u64) {
    stats.num_samples += count;
    match encoding {
        Encoding::Xor | Encoding::Xor2 => stats.num_float_samples += count,
        _ => stats.num_histogram_samples += count,
    }
}

impl Drop for BlockBuilder {
    fn drop(&mut self) {
        if self.temporary.exists() {
            // Failed or empty; what cannot be removed now is removed at the next start.
            let _left_behind = self.fs.remove_directory(&self.temporary);
        }
    }
}

//! The index of a block, mapped: symbols, series, postings. Layout: `docs/formats/block.md`.
//!
//! On the heap stand only where every few symbols and every few label values begin. What is read is checked against its
//! CRC: the symbols and the table of postings once when the index is opened, series and postings whenever they are read.

pub(crate) mod postings;
pub(crate) mod symbols;
pub(crate) mod toc;
pub(crate) mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

use model::labels::Labels;
use model::storage::StorageError;
use roaring::RoaringBitmap;

use super::chunks::ChunkMeta;
use crate::codec::{Decoder, Truncated, crc32c};
use crate::error::{corrupt, io_error};
use crate::mmap::Map;
use postings::PostingsTable;
use symbols::SymbolTable;
use toc::Toc;

/// The file's name in a block's directory.
pub(crate) const FILE: &str = "index";
pub(crate) const MAGIC: u32 = 0xBAAA_D700;
pub(crate) const HEADER_BYTES: usize = 5;
/// Series of version 2 begin at multiples of it, and are referred to by that multiple.
pub(crate) const SERIES_ALIGNMENT: u64 = 16;

/// Version of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Symbols and series are referred to by their offsets.
    V1,
    /// Symbols are referred to by number, series by their offset divided by 16.
    V2,
}

/// The index of a block.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    map: Map,
    version: Version,
    symbols: SymbolTable,
    postings: PostingsTable,
}

/// A reader's buffers for one series.
#[derive(Debug, Default, Clone)]
pub(crate) struct SeriesEntry {
    /// Symbols of names and values in turn.
    pub(crate) pairs: Vec<u32>,
    pub(crate) chunks: Vec<ChunkMeta>,
}

impl Index {
    /// Maps the index of the block in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(FILE);
        let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
        Self::of(path, map)
    }

    /// The index that `map` holds.
    pub(crate) fn of(path: PathBuf, map: Map) -> Result<Self, StorageError> {
        let bytes = map.bytes();
        let version = match bytes.get(..HEADER_BYTES) {
            Some([magic @ .., 1]) if *magic == MAGIC.to_be_bytes() => Version::V1,
            Some([magic @ .., 2]) if *magic == MAGIC.to_be_bytes() => Version::V2,
            _ => return Err(corrupt(&path, 0, "not an index of version 1 or 2")),
        };
        let toc = Toc::read(bytes).map_err(|(offset, reason)| corrupt(&path, offset, reason))?;
        let damage = |offset: u64| move |reason: &'static str| (offset, reason);
        let open = || {
            let range = section(bytes, toc.symbols).map_err(damage(toc.symbols))?;
            let symbols = SymbolTable::open(bytes, range, version).map_err(damage(toc.symbols))?;
            let range = section(bytes, toc.postings_table).map_err(damage(toc.postings_table))?;
            let postings = PostingsTable::open(bytes, range, version).map_err(damage(toc.postings_table))?;
            Ok((symbols, postings))
        };
        let (symbols, postings) = open().map_err(|(offset, reason): (u64, &str)| corrupt(&path, offset, reason))?;
        Ok(Self { path, map, version, symbols, postings })
    }

    /// Its version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Label names, sorted.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.names().filter(|name| !name.is_empty())
    }

    /// How many values label `name` has.
    pub(crate) fn value_count(&self, name: &str) -> u64 {
        self.postings.value_count(name)
    }

    /// The values of label `name` from the first one not below `from` on, each with the place of its postings.
    pub(crate) fn values<'a>(&'a self, name: &str, from: &str) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        self.postings.values(self.map.bytes(), name, from)
    }

    /// The series with that label.
    pub(crate) fn postings(&self, name: &str, value: &str) -> Result<RoaringBitmap, StorageError> {
        let mut series = Vec::new();
        if let Some(offset) = self.postings.find(self.map.bytes(), name, value) {
            self.read_postings(offset, &mut series)?;
        }
        self.bitmap_of(series)
    }

    /// All series.
    pub(crate) fn all_postings(&self) -> Result<RoaringBitmap, StorageError> {
        self.postings("", "")
    }

    /// A set of series, sorted here if need be.
    pub(crate) fn bitmap_of(&self, mut series: Vec<u32>) -> Result<RoaringBitmap, StorageError> {
        if !series.is_sorted_by(|a, b| a < b) {
            series.sort_unstable();
            series.dedup();
        }
        RoaringBitmap::from_sorted_iter(series).map_err(|_| corrupt(&self.path, 0, "postings that are not sorted"))
    }

    /// Appends the series of the postings at `offset` to `series`.
    pub(crate) fn read_postings(&self, offset: u64, series: &mut Vec<u32>) -> Result<(), StorageError> {
        let bytes = self.map.bytes();
        let damage = |reason| corrupt(&self.path, offset, reason);
        let content = &bytes[section(bytes, offset).map_err(damage)?];
        let (count, entries) = content.split_first_chunk::<4>().ok_or_else(|| damage("postings without a count"))?;
        if u32::from_be_bytes(*count) as usize != entries.len() / 4 || !entries.len().is_multiple_of(4) {
            return Err(damage("a count of postings that is not theirs"));
        }
        let from = series.len();
        series.extend(entries.as_chunks::<4>().0.iter().map(|entry| u32::from_be_bytes(*entry)));
        if !series[from..].is_sorted_by(|a, b| a < b) {
            return Err(damage("postings that do not rise"));
        }
        Ok(())
    }

    /// Reads a series into `entry`.
    pub(crate) fn read_series(&self, series: u32, entry: &mut SeriesEntry) -> Result<(), StorageError> {
        let offset = match self.version {
            Version::V1 => u64::from(series),
            Version::V2 => u64::from(series) * SERIES_ALIGNMENT,
        };
        let damage = |reason: &str| corrupt(&self.path, offset, reason);
        let rest = usize::try_from(offset).ok().and_then(|at| self.map.bytes().get(at..));
        let mut decoder = Decoder::new(rest.ok_or_else(|| damage("the series begins behind the end of the file"))?);
        let mut read = || Ok::<_, Truncated>((decoder.text()?, decoder.u32()?));
        let (content, checksum) = read().map_err(|_| damage("the file ends within a series"))?;
        if crc32c(content) != checksum {
            return Err(damage("a series' checksum is wrong"));
        }
        entry.pairs.clear();
        entry.chunks.clear();
        read_entry(content, entry).map_err(|_| damage("a series that cannot be read"))?;
        if entry.pairs.iter().any(|symbol| !self.symbols.contains(*symbol)) {
            return Err(damage("a series names a symbol that is not there"));
        }
        Ok(())
    }

    /// The string of a symbol that [`Index::read_series`] gave; else empty.
    pub(crate) fn symbol(&self, symbol: u32) -> &str {
        self.symbols.text(self.map.bytes(), symbol).unwrap_or("")
    }

    /// The symbol of `text`, if it is in the table.
    pub(crate) fn find_symbol(&self, text: &str) -> Option<u32> {
        self.symbols.find(self.map.bytes(), text)
    }

    /// All symbols with their strings, sorted by these.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = (u32, &str)> {
        self.symbols.iter(self.map.bytes())
    }

    /// How many symbols there are.
    pub(crate) fn symbol_count(&self) -> usize {
        self.symbols.count()
    }

    /// The labels of symbols that [`Index::read_series`] gave.
    pub(crate) fn labels_of(&self, pairs: &[u32]) -> Labels {
        Labels::from_sorted(pairs.chunks_exact(2).map(|pair| (self.symbol(pair[0]), self.symbol(pair[1]))))
    }

    /// Damage of this file.
    pub(crate) fn damage(&self, reason: impl ToString) -> StorageError {
        corrupt(&self.path, 0, reason)
    }
}

/// The content of a section: a length of four bytes, the content, its CRC.
fn section(bytes: &[u8], offset: u64) -> Result<Range<usize>, &'static str> {
    let start = usize::try_from(offset).map_err(|_| "a section behind the end of the file")?;
    let mut decoder = Decoder::new(bytes.get(start..).ok_or("a section behind the end of the file")?);
    let mut read = || {
        let length = decoder.u32()? as usize;
        let content = decoder.bytes(length)?;
        Ok::<_, Truncated>((content, decoder.u32()?))
    };
    let (content, checksum) = read().map_err(|_| "the file ends within a section")?;
    if crc32c(content) != checksum {
        return Err("a section's checksum is wrong");
    }
    Ok(start + 4..start + 4 + content.len())
}

fn read_entry(content: &[u8], entry: &mut SeriesEntry) -> Result<(), Truncated> {
    let mut decoder = Decoder::new(content);
    let small = |number: u64| u32::try_from(number).map_err(|_| Truncated);
    let mut last_name = None;
    for _ in 0..decoder.count(2)? {
        let (name, value) = (small(decoder.uvarint()?)?, small(decoder.uvarint()?)?);
        // Symbols are sorted, so rising names are sorted labels.
        if last_name.replace(name).is_some_and(|last| last >= name) {
            return Err(Truncated);
        }
        entry.pairs.extend([name, value]);
    }
    let (mut time, mut reference) = (0i64, 0u64);
    for at in 0..decoder.count(3)? {
        // The first chunk's time and reference stand as they are, the others' as differences.
        let min_time = if at == 0 { decoder.varint()? } else { time.wrapping_add(decoder.uvarint()? as i64) };
        time = min_time.wrapping_add(decoder.uvarint()? as i64);
        reference = if at == 0 { decoder.uvarint()? } else { reference.wrapping_add(decoder.varint()? as u64) };
        if time < min_time {
            return Err(Truncated);
        }
        entry.chunks.push(ChunkMeta { min_time, max_time: time, reference });
    }
    if decoder.is_empty() { Ok(()) } else { Err(Truncated) }
}

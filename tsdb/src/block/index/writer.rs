//! Writing an index of version 2: symbols, series, postings and their table, in one pass over the file.

use std::path::Path;
use std::sync::Arc;

use model::storage::StorageError;

use super::postings::put_entry;
use super::toc::Toc;
use super::{FILE, MAGIC, SERIES_ALIGNMENT};
use crate::codec::{Checksum, crc32c, put_text, put_uvarint};
use crate::error::io_error;
use crate::fs::{FileSystem, WriteFile};

const VERSION: u8 = 2;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A series to write: its labels as numbers of sorted symbols, and its chunks as they stand in the file.
pub(crate) struct SeriesToWrite<'a> {
    pub(crate) pairs: &'a [u32],
    /// The chunks' count and list, encoded.
    pub(crate) chunks: &'a [u8],
}

/// Writes the index of the block in `directory` and makes it durable. Symbols and series come sorted.
///
/// # Errors
/// If the disk fails, or a section would exceed what its length field can tell.
pub(crate) fn write<'a>(
    fs: &dyn FileSystem,
    directory: &Path,
    symbols: &[&str],
    series: impl Iterator<Item = SeriesToWrite<'a>>,
) -> Result<(), StorageError> {
    let path = directory.join(FILE);
    let io = |error| io_error(&path, error);
    let file = fs.create(&path).map_err(io)?;
    let mut out = Output { path: &path, file, position: 0, buffer: Vec::new() };
    out.buffer.extend_from_slice(&MAGIC.to_be_bytes());
    out.buffer.push(VERSION);
    let mut toc = Toc { symbols: out.position(), ..Toc::default() };
    write_symbols(&mut out, symbols)?;
    out.align(SERIES_ALIGNMENT);
    toc.series = out.position();
    let mut postings = write_series(&mut out, series, symbols.len())?;
    // Sections of label values have long not been read; an empty table tells where they would end.
    toc.label_indices = out.position();
    toc.postings = out.position();
    let entries = write_postings(&mut out, &mut postings)?;
    toc.label_indices_table = out.position();
    out.section(&0u32.to_be_bytes())?;
    toc.postings_table = out.position();
    write_table(&mut out, symbols, &entries)?;
    toc.put(&mut out.buffer);
    out.flush()?;
    out.file.sync().map_err(io)
}

struct Output<'a> {
    path: &'a Path,
    file: Arc<dyn WriteFile>,
    position: u64,
    buffer: Vec<u8>,
}

impl Output<'_> {
    fn position(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    fn align(&mut self, to: u64) {
        let padding = self.position().next_multiple_of(to) - self.position();
        self.buffer.resize(self.buffer.len() + padding as usize, 0);
    }

    fn flush_if_large(&mut self) -> Result<(), StorageError> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.file.write_all(&self.buffer).map_err(|error| io_error(self.path, error))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn begin_section(&mut self, length: u64) -> Result<(), StorageError> {
        let max = u64::from(u32::MAX);
        let length = u32::try_from(length).map_err(|_| StorageError::Limit { name: "index_section_bytes", max })?;
        self.buffer.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn section(&mut self, content: &[u8]) -> Result<(), StorageError> {
        self.begin_section(content.len() as u64)?;
        self.buffer.extend_from_slice(content);
        self.buffer.extend_from_slice(&crc32c(content).to_be_bytes());
        self.flush_if_large()
    }

    /// Writes a section of many parts, of which each is made in a buffer of its own.
    fn long_section<T>(
        &mut self,
        parts: impl Iterator<Item = T> + Clone,
        count: usize,
        put: impl Fn(&mut Vec<u8>, T),
    ) -> Result<(), StorageError> {
        let mut part = Vec::new();
        let mut length = 4;
        for item in parts.clone() {
            part.clear();
            put(&mut part, item);
            length += part.len() as u64;
        }
        self.begin_section(length)?;
        let mut checksum = Checksum::new();
        // No more parts than bytes, of which there are fewer than 2^32.
        let count = (count as u32).to_be_bytes();
        checksum.update(&count);
        self.buffer.extend_from_slice(&count);
        for item in parts {
            part.clear();
            put(&mut part, item);
            checksum.update(&part);
            self.buffer.extend_from_slice(&part);
            self.flush_if_large()?;
        }
        self.buffer.extend_from_slice(&checksum.finish().to_be_bytes());
        Ok(())
    }
}

fn write_symbols(out: &mut Output<'_>, symbols: &[&str]) -> Result<(), StorageError> {
    out.long_section(symbols.iter(), symbols.len(), |part, symbol| put_text(part, symbol.as_bytes()))
}

/// Series by label pair: for each name a run of values and series.
struct Postings {
    /// By name's symbol: value's symbol in the upper half, series in the lower one.
    by_name: Vec<Vec<u64>>,
    all: Vec<u32>,
}

fn write_series<'a>(
    out: &mut Output<'_>,
    series: impl Iterator<Item = SeriesToWrite<'a>>,
    symbols: usize,
) -> Result<Postings, StorageError> {
    let mut postings = Postings { by_name: vec![Vec::new(); symbols], all: Vec::new() };
    let mut content = Vec::new();
    for series in series {
        out.align(SERIES_ALIGNMENT);
        let reference = out.position() / SERIES_ALIGNMENT;
        let max = u64::from(u32::MAX) * SERIES_ALIGNMENT;
        let reference = u32::try_from(reference).map_err(|_| StorageError::Limit { name: "index_bytes", max })?;
        content.clear();
        put_uvarint(&mut content, series.pairs.len() as u64 / 2);
        for pair in series.pairs.chunks_exact(2) {
            put_uvarint(&mut content, u64::from(pair[0]));
            put_uvarint(&mut content, u64::from(pair[1]));
            postings.by_name[pair[0] as usize].push(u64::from(pair[1]) << 32 | u64::from(reference));
        }
        content.extend_from_slice(series.chunks);
        put_uvarint(&mut out.buffer, content.len() as u64);
        out.buffer.extend_from_slice(&content);
        out.buffer.extend_from_slice(&crc32c(&content).to_be_bytes());
        postings.all.push(reference);
        out.flush_if_large()?;
    }
    Ok(postings)
}

/// A pair's symbols and where its postings stand; the symbols of the entry for all series are `None`.
type TableEntry = (Option<(u32, u32)>, u64);

fn write_postings(out: &mut Output<'_>, postings: &mut Postings) -> Result<Vec<TableEntry>, StorageError> {
    let mut entries = Vec::new();
    let mut content = Vec::new();
    let mut write = |out: &mut Output<'_>, pair, series: &mut dyn ExactSizeIterator<Item = u32>| {
        out.align(4);
        entries.push((pair, out.position()));
        content.clear();
        content.extend_from_slice(&(series.len() as u32).to_be_bytes());
        series.for_each(|reference| content.extend_from_slice(&reference.to_be_bytes()));
        out.section(&content)
    };
    write(out, None, &mut postings.all.iter().copied())?;
    for (name, of_name) in postings.by_name.iter_mut().enumerate() {
        of_name.sort_unstable();
        for of_value in of_name.chunk_by(|a, b| a >> 32 == b >> 32) {
            let value = (of_value[0] >> 32) as u32;
            write(out, Some((name as u32, value)), &mut of_value.iter().map(|entry| *entry as u32))?;
        }
        *of_name = Vec::new();
    }
    Ok(entries)
}

fn write_table(out: &mut Output<'_>, symbols: &[&str], entries: &[TableEntry]) -> Result<(), StorageError> {
    out.long_section(entries.iter(), entries.len(), |part, (pair, offset)| {
        let (name, value) = pair.map_or(("", ""), |(name, value)| (symbols[name as usize], symbols[value as usize]));
        put_entry(part, name, value, *offset);
    })
}

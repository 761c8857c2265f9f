//! The table of contents at the end of an index.

use crate::codec::{Decoder, crc32c};

/// Bytes of the table with its checksum.
pub(crate) const BYTES: usize = 6 * 8 + 4;

/// Where the sections of an index begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Toc {
    pub(crate) symbols: u64,
    pub(crate) series: u64,
    pub(crate) label_indices: u64,
    pub(crate) label_indices_table: u64,
    pub(crate) postings: u64,
    pub(crate) postings_table: u64,
}

impl Toc {
    /// Reads it off the end of a file; an error tells the offset and what is wrong.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, (u64, &'static str)> {
        let start = bytes.len().checked_sub(BYTES).ok_or((0, "the file is too short for a table of contents"))?;
        let (content, checksum) = bytes[start..].split_at(BYTES - 4);
        if crc32c(content).to_be_bytes() != checksum {
            return Err((start as u64, "the checksum of the table of contents is wrong"));
        }
        let mut decoder = Decoder::new(content);
        let mut next = || decoder.u64().map_err(|_| (start as u64, "the table of contents is cut"));
        let (symbols, series) = (next()?, next()?);
        let (label_indices, label_indices_table) = (next()?, next()?);
        let (postings, postings_table) = (next()?, next()?);
        Ok(Self { symbols, series, label_indices, label_indices_table, postings, postings_table })
    }

    /// Appends it to `out`.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let offsets = [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_indices_table,
            self.postings,
            self.postings_table,
        ];
        offsets.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        let checksum = crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
    }
}

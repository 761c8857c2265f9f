//! Segment files: records cut into fragments that fit 32 KiB pages. Layout: `docs/formats/wal.md`.

use std::io;
use std::path::{Path, PathBuf};

use crate::codec::crc32c;
use crate::error::io_error;
use crate::fs;

use model::storage::StorageError;

/// Bytes of a page; no fragment crosses its end.
pub(crate) const PAGE_BYTES: usize = 32 * 1024;
/// Bytes before each fragment: type and flags, length, checksum.
pub(crate) const FRAGMENT_HEADER_BYTES: usize = 7;

/// The low bits of a fragment's first byte.
pub(super) const KIND_MASK: u8 = 0b0000_0111;
pub(super) const KIND_PAGE_END: u8 = 0;
pub(super) const KIND_FULL: u8 = 1;
pub(super) const KIND_FIRST: u8 = 2;
pub(super) const KIND_MIDDLE: u8 = 3;
pub(super) const KIND_LAST: u8 = 4;
/// The whole record is compressed with snappy.
pub(super) const FLAG_SNAPPY: u8 = 0b0000_1000;
/// The whole record is compressed with zstd.
pub(super) const FLAG_ZSTD: u8 = 0b0001_0000;

/// Appends one record to `out` as fragments, the first of which starts `position` bytes into the segment.
pub(super) fn write_record(out: &mut Vec<u8>, position: u64, flags: u8, record: &[u8]) {
    let mut rest = record;
    let mut is_first = true;
    let start = out.len();
    loop {
        let mut left = PAGE_BYTES - ((position + (out.len() - start) as u64) % PAGE_BYTES as u64) as usize;
        if left < FRAGMENT_HEADER_BYTES {
            out.resize(out.len() + left, 0);
            left = PAGE_BYTES;
        }
        let (part, after) = rest.split_at(rest.len().min(left - FRAGMENT_HEADER_BYTES));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => KIND_FULL,
            (true, false) => KIND_FIRST,
            (false, false) => KIND_MIDDLE,
            (false, true) => KIND_LAST,
        };
        out.push(kind | flags);
        // A part is shorter than a page.
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c(part).to_be_bytes());
        out.extend_from_slice(part);
        if after.is_empty() {
            return;
        }
        rest = after;
        is_first = false;
    }
}

/// The most bytes that a record of `length` bytes takes in a segment, wherever it starts.
pub(super) fn framed_bytes_max(length: usize) -> u64 {
    let pages = length / (PAGE_BYTES - FRAGMENT_HEADER_BYTES) + 2;
    (length + pages * FRAGMENT_HEADER_BYTES + FRAGMENT_HEADER_BYTES) as u64
}

/// The path of a segment.
pub(crate) fn path_of(directory: &Path, segment: u32) -> PathBuf {
    directory.join(format!("{segment:08}"))
}

/// A segment file as it stands in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) segment: u32,
    pub(crate) bytes: u64,
}

/// The segments of a directory in order; other files are left out.
pub(crate) fn list(directory: &Path) -> Result<Vec<SegmentFile>, StorageError> {
    let entries = fs::list(directory).map_err(|error: io::Error| io_error(directory, error))?;
    let mut segments: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.is_directory && entry.name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|entry| Some(SegmentFile { segment: entry.name.parse().ok()?, bytes: entry.bytes }))
        .collect();
    segments.sort_by_key(|file| file.segment);
    Ok(segments)
}

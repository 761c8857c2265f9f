//! Reads the records of a segment, up to the first damage.

use std::sync::Arc;

use super::compression::{Decompressor, first_byte};
use super::segment::{
    FRAGMENT_HEADER_BYTES, KIND_FIRST, KIND_FULL, KIND_LAST, KIND_MASK, KIND_MIDDLE, KIND_PAGE_END, PAGE_BYTES,
};
use crate::codec::crc32c;

/// The largest record, uncompressed; a longer one is damage. Prometheus has no limit of its own, but no record of it
/// exceeds a segment.
pub(crate) const RECORD_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Where and why a segment cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// End of the last whole record before it.
    pub(crate) good_bytes: u64,
    /// Where in the segment the fault stands.
    pub(crate) offset: u64,
    pub(crate) reason: Arc<str>,
}

/// Iterates over the records of one segment's bytes.
#[derive(Debug)]
pub(crate) struct RecordReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// End of the last whole record.
    good: usize,
    /// Parts of a record that stands in several pages.
    parts: Vec<u8>,
    decompressor: Decompressor,
    is_over: bool,
    /// The checksums were compared before.
    is_checked: bool,
}

struct Fragment<'a> {
    kind: u8,
    flags: u8,
    part: &'a [u8],
}

impl<'a> RecordReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let decompressor = Decompressor::default();
        Self { bytes, at: 0, good: 0, parts: Vec::new(), decompressor, is_over: false, is_checked: false }
    }

    /// As [`RecordReader::new`], of bytes that another reader found to be sound: checksums are not compared again.
    pub(crate) fn of_checked(bytes: &'a [u8]) -> Self {
        Self { is_checked: true, ..Self::new(bytes) }
    }

    /// As [`RecordReader::new`], from the record on that begins at `offset`.
    pub(crate) fn starting_at(bytes: &'a [u8], offset: usize) -> Self {
        let at = offset.min(bytes.len());
        Self { at, good: at, ..Self::new(bytes) }
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.good as u64
    }

    /// The next record, decompressed, or `None` at the end. After an error the segment is over.
    ///
    /// # Errors
    /// If the bytes are damaged or end within a record.
    pub(crate) fn advance(&mut self) -> Result<Option<&[u8]>, Damage> {
        if self.is_over {
            return Ok(None);
        }
        match self.next_record() {
            Ok(Some((flags, whole))) => {
                let position = self.at;
                let record = match whole {
                    Some(part) => part,
                    None => &self.parts,
                };
                let plain = self.decompressor.plain(flags, record).map_err(|reason| {
                    self.is_over = true;
                    let good = self.good as u64;
                    Damage { good_bytes: good, offset: good, reason: reason.into() }
                })?;
                self.good = position;
                Ok(Some(plain))
            }
            Ok(None) => {
                self.is_over = true;
                Ok(None)
            }
            Err(reason) => {
                self.is_over = true;
                let (good_bytes, offset) = (self.good as u64, self.at as u64);
                Err(Damage { good_bytes, offset, reason: reason.into() })
            }
        }
    }

    /// Passes over records that can be told to be of another kind without decompressing them, over about so many bytes at
    /// most. Whether the next one may be of that kind, or the end.
    pub(crate) fn pass_over_others(&mut self, kind: u8, bytes_max: usize) -> bool {
        let end = self.at.saturating_add(bytes_max);
        while self.at < end {
            let (at, good) = (self.at, self.good);
            let first = match self.next_record() {
                Ok(Some((flags, whole))) => first_byte(flags, whole.unwrap_or(&self.parts)),
                _ => None,
            };
            if first.is_none_or(|first| first == kind) {
                // Whatever it is, `advance` tells.
                (self.at, self.good) = (at, good);
                return true;
            }
            self.good = self.at;
        }
        false
    }

    /// Flags of the next record, and the record itself if it is in one part; else it stands in `parts`.
    #[allow(clippy::type_complexity, reason = "one caller, and a name would not say more")]
    fn next_record(&mut self) -> Result<Option<(u8, Option<&'a [u8]>)>, &'static str> {
        self.parts.clear();
        let mut is_within = false;
        while let Some(fragment) = self.next_fragment()? {
            match (fragment.kind, is_within) {
                (KIND_FULL, false) => return Ok(Some((fragment.flags, Some(fragment.part)))),
                (KIND_FIRST, false) | (KIND_MIDDLE, true) => self.parts.extend_from_slice(fragment.part),
                (KIND_LAST, true) => {
                    self.parts.extend_from_slice(fragment.part);
                    return Ok(Some((fragment.flags, None)));
                }
                (KIND_FULL | KIND_FIRST, true) => return Err("a record begins before the last one ended"),
                (KIND_MIDDLE | KIND_LAST, false) => return Err("a record goes on that never began"),
                _ => return Err("a fragment of an unknown kind"),
            }
            is_within = true;
            if self.parts.len() > RECORD_BYTES_MAX {
                return Err("a record longer than any can be");
            }
        }
        if is_within { Err("the segment ends within a record") } else { Ok(None) }
    }

    fn next_fragment(&mut self) -> Result<Option<Fragment<'a>>, &'static str> {
        loop {
            let left_in_page = PAGE_BYTES - self.at % PAGE_BYTES;
            let rest = &self.bytes[self.at..];
            let Some(&first) = rest.first() else {
                return Ok(None);
            };
            if first & KIND_MASK == KIND_PAGE_END {
                // Nothing but zeros up to the page's end.
                let padding = &rest[..left_in_page.min(rest.len())];
                if padding.iter().any(|b| *b != 0) {
                    return Err("something other than zeros after the end of a page's records");
                }
                self.at += padding.len();
                continue;
            }
            let header = rest.get(..FRAGMENT_HEADER_BYTES).ok_or("the segment ends within a fragment's header")?;
            let length = usize::from(u16::from_be_bytes([header[1], header[2]]));
            if FRAGMENT_HEADER_BYTES + length > left_in_page {
                return Err("a fragment crosses the end of its page");
            }
            let part = rest.get(FRAGMENT_HEADER_BYTES..FRAGMENT_HEADER_BYTES + length);
            let part = part.ok_or("the segment ends within a fragment")?;
            if !self.is_checked && crc32c(part).to_be_bytes() != header[3..7] {
                return Err("a fragment's checksum is wrong");
            }
            self.at += FRAGMENT_HEADER_BYTES + length;
            return Ok(Some(Fragment { kind: first & KIND_MASK, flags: first & !KIND_MASK, part }));
        }
    }
}

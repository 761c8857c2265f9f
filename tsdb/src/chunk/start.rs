//! Start timestamps within a chunk of encodings 4, 5 and 6: when the counting of each sample began.
//!
//! A chunk whose samples all began at one time says so once. From the first sample on that differs, each sample tells how
//! long before the sample ahead of it its counting began, as a difference of differences. Layout: `docs/formats/chunk.md`.

use super::bits::{BitReader, BitWriter};
use super::histogram::field::{read_varbit_int, write_varbit_int};
use crate::codec::{Truncated, put_varint};

/// The header's bit that tells that the first sample has a start.
const FIRST_KNOWN: u8 = 0x80;
/// The header's bits for the index of the first sample with another start; 0 if there is none. A chunk that gets longer
/// than they can say has starts of its own from this index on.
const CHANGE_MASK: u8 = 0x7f;

/// What writing or reading the next start needs to know of those before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starts {
    start: i64,
    /// Time of the sample ahead of the last one, minus the last one's start.
    ahead: i64,
    header: u8,
}

impl Starts {
    /// What follows a chunk's header byte.
    pub(crate) fn of_header(header: u8) -> Self {
        Self { header, ..Self::default() }
    }

    /// The chunk's header byte as it now has to be.
    pub(crate) fn header(&self) -> u8 {
        self.header
    }

    /// Appends the first sample's start; 0 if it has none.
    pub(crate) fn write_first(&mut self, writer: &mut BitWriter, time: i64, start: i64) {
        self.start = start;
        if start == 0 {
            return;
        }
        self.header |= FIRST_KNOWN;
        let mut bytes = Vec::with_capacity(10);
        put_varint(&mut bytes, time.wrapping_sub(start));
        for byte in bytes {
            writer.write(u64::from(byte), 8);
        }
    }

    /// Appends the start of the sample at `index`, which is not the first; `ahead_time` is that of the sample ahead of it.
    pub(crate) fn write_next(&mut self, writer: &mut BitWriter, index: u16, ahead_time: i64, start: i64) {
        let ahead = ahead_time.wrapping_sub(start);
        if self.header & CHANGE_MASK != 0 {
            write_varbit_int(writer, ahead.wrapping_sub(self.ahead));
            self.ahead = ahead;
        } else if start != self.start || index == u16::from(CHANGE_MASK) {
            // From here on every sample has its own, so the index is never larger than the mask.
            self.header |= index as u8 & CHANGE_MASK;
            write_varbit_int(writer, ahead);
            self.ahead = ahead;
        }
        self.start = start;
    }

    /// Takes the first sample's start.
    pub(crate) fn read_first(&mut self, reader: &mut BitReader<'_>, time: i64) -> Result<i64, Truncated> {
        if self.header & FIRST_KNOWN != 0 {
            self.start = time.wrapping_sub(reader.read_varint()?);
        }
        Ok(self.start)
    }

    /// Takes the start of the sample at `index`.
    pub(crate) fn read_next(
        &mut self,
        reader: &mut BitReader<'_>,
        index: usize,
        ahead_time: i64,
    ) -> Result<i64, Truncated> {
        let changes_at = usize::from(self.header & CHANGE_MASK);
        if changes_at != 0 && index >= changes_at {
            let read = read_varbit_int(reader)?;
            self.ahead = if index == changes_at { read } else { self.ahead.wrapping_add(read) };
            self.start = ahead_time.wrapping_sub(self.ahead);
        }
        Ok(self.start)
    }
}

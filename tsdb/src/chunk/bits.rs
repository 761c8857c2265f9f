//! Reading and writing streams of bits, most significant first.

use crate::codec::Truncated;

/// Appends bits to a byte vector that grows in small steps: an open chunk is a series' largest part in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte not yet written: `0 <= free < 8`.
    free: u8,
}

/// The vector grows by this many bytes at a time: few while it is short, more once it is known to go on.
const GROWTH_BYTES: usize = 32;
const LATER_GROWTH_BYTES: usize = 64;
/// The most bytes that one word needs.
const WORD_BYTES: usize = 8;

impl BitWriter {
    /// Continues after `bytes`, of which every bit is written.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends the low `count` bits of `value`, `count <= 64`.
    #[inline]
    pub(crate) fn write(&mut self, value: u64, count: u32) {
        debug_assert!(count <= 64, "a word has 64 bits");
        if count == 0 {
            return;
        }
        // Bits of the last byte that are written, and that byte.
        let used = (8 - u32::from(self.free)) % 8;
        let whole = self.bytes.len() - usize::from(used > 0);
        let partial = u64::from(self.bytes.get(whole).copied().unwrap_or(0));
        let fitting = count.min(64 - used);
        // The value's bits at the top of the word, behind those of the last byte.
        let word = (value << (64 - count)) >> used | partial << 56;
        self.put_word(whole, word, used + fitting);
        if fitting < count {
            // Less than a byte is left over.
            self.bytes.push((value << (64 - (count - fitting)) >> 56) as u8);
            self.free = (8 - (count - fitting)) as u8;
        }
    }

    /// Puts the first `count` bits of a word where the byte at `whole` ends or would begin.
    #[inline]
    fn put_word(&mut self, whole: usize, word: u64, count: u32) {
        if self.bytes.capacity() - self.bytes.len() <= WORD_BYTES {
            self.grow();
        }
        // A whole word and back again: one store, whatever the length.
        let end = whole + count.div_ceil(8) as usize;
        self.bytes.truncate(whole);
        self.bytes.extend_from_slice(&word.to_be_bytes());
        self.bytes.truncate(end);
        self.free = (count.wrapping_neg() % 8) as u8;
    }

    #[cold]
    fn grow(&mut self) {
        let is_short = self.bytes.len() < 2 * GROWTH_BYTES;
        self.bytes.reserve_exact(if is_short { GROWTH_BYTES } else { LATER_GROWTH_BYTES });
    }

    /// Appends one bit.
    #[inline]
    pub(crate) fn write_bit(&mut self, bit: bool) {
        self.write(u64::from(bit), 1);
    }
}

/// Takes bits off the front of a slice.
///
/// Reading past the end yields zeros; [`BitReader::check`] tells. So a loop checks once per sample, not once per bit.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// First byte not wholly in `word`.
    at: usize,
    /// The next bits, most significant first; bits below the valid ones are zero or those that follow.
    word: u64,
    /// How many bits of `word` may be taken; negative once more were taken than there were.
    valid: i32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, word: 0, valid: 0 }
    }

    /// Tops the word up to at least 56 bits, or to what is left.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        if self.valid < 0 {
            return;
        }
        if let Some(next) = self.bytes.get(self.at..self.at + 8) {
            let next = u64::from_be_bytes([next[0], next[1], next[2], next[3], next[4], next[5], next[6], next[7]]);
            self.word |= next >> self.valid;
            self.at += ((63 - self.valid) >> 3) as usize;
            self.valid |= 56;
        } else {
            self.refill_tail();
        }
    }

    #[cold]
    fn refill_tail(&mut self) {
        while self.valid <= 56 && self.at < self.bytes.len() {
            // Bits below the valid ones may already hold this byte's first bits: OR-ing the same bits again is harmless.
            self.word |= u64::from(self.bytes[self.at]) << (56 - self.valid);
            self.at += 1;
            self.valid += 8;
        }
    }

    /// The next bits at the top of a word, without taking them.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u64 {
        self.word
    }

    /// Drops `count <= 56` bits that were peeked at.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        self.word <<= count;
        self.valid -= count as i32;
    }

    /// Takes `1 <= count <= 56` bits that a [`BitReader::refill`] provided.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u64 {
        let value = self.word >> (64 - count);
        self.skip(count);
        value
    }

    /// Takes `count <= 64` bits, refilling as need be.
    #[inline]
    pub(crate) fn read(&mut self, count: u32) -> u64 {
        if count == 0 {
            return 0;
        }
        self.refill();
        if count <= 56 {
            return self.take(count);
        }
        let high = self.take(32);
        self.refill();
        let low = self.take(count - 32);
        (high << (count - 32)) | low
    }

    /// Takes an unsigned LEB128 number, which need not start at a byte's edge.
    pub(crate) fn read_uvarint(&mut self) -> Result<u64, Truncated> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.read(8);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.check().map(|()| value);
            }
        }
        Err(Truncated)
    }

    /// Takes a zigzag LEB128 number.
    pub(crate) fn read_varint(&mut self) -> Result<i64, Truncated> {
        let zigzag = self.read_uvarint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Whether all bits taken so far were there.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), Truncated> {
        if self.valid < 0 { Err(Truncated) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_there_is_told() {
        let mut reader = BitReader::new(&[0b1010_0000]);
        assert_eq!(reader.read(3), 0b101);
        assert_eq!(reader.check(), Ok(()));
        assert_eq!(reader.read(6), 0);
        assert_eq!(reader.check(), Err(Truncated));
        reader.read(64);
        assert_eq!(reader.check(), Err(Truncated), "and stays told");
    }

    proptest! {
        #[test]
        fn bits_come_back(pieces in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..200)) {
            let mut writer = BitWriter::default();
            for (value, count) in &pieces {
                writer.write(*value, *count);
            }
            let total: u32 = pieces.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(writer.bytes().len(), total.div_ceil(8) as usize);
            let mut reader = BitReader::new(writer.bytes());
            for (value, count) in &pieces {
                let expected = if *count == 0 { 0 } else { value << (64 - count) >> (64 - count) };
                prop_assert_eq!(reader.read(*count), expected);
            }
            prop_assert_eq!(reader.check(), Ok(()));
        }
    }
}

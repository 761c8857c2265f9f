//! Numbers and strings as they stand in Prometheus' files: big-endian integers, LEB128 varints, length-prefixed text,
//! CRC-32C.

/// CRC-32C (Castagnoli), the checksum of every file of the data directory.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm yields 32 bits in a u64.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A CRC-32C computed piece by piece.
pub(crate) struct Checksum(crc_fast::Digest);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> u32 {
        // The algorithm yields 32 bits in a u64.
        self.0.finalize() as u32
    }
}

/// Appends `value` in 7-bit groups, least significant first.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` zigzag-encoded.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends the length of `text` and its bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// The bytes ended before the value did, or a varint is longer than its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data ends within a value")]
pub(crate) struct Truncated;

/// Takes values off the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let end = self.at.checked_add(count).ok_or(Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        self.bytes(N)?.try_into().map_err(|_| Truncated)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Truncated> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Truncated> {
        Ok(f64::from_bits(self.u64()?))
    }

    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, Truncated> {
        let first = *self.bytes.get(self.at).ok_or(Truncated)?;
        if first < 0x80 {
            self.at += 1;
            return Ok(u64::from(first));
        }
        self.long_uvarint()
    }

    fn long_uvarint(&mut self) -> Result<u64, Truncated> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Truncated)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Truncated);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Truncated)
    }

    pub(crate) fn varint(&mut self) -> Result<i64, Truncated> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A count of things that take at least `bytes_each` bytes: refused if that many cannot follow.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, Truncated> {
        let count = usize::try_from(self.uvarint()?).map_err(|_| Truncated)?;
        if count.checked_mul(bytes_each).is_none_or(|bytes| bytes > self.remaining()) {
            return Err(Truncated);
        }
        Ok(count)
    }

    /// Length-prefixed bytes.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a [u8], Truncated> {
        let length = self.count(1)?;
        self.bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_end_where_they_should() {
        for value in [0, 1, -1, 63, 64, -64, -65, 1 << 40, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut decoder = Decoder::new(&out);
            assert_eq!(decoder.varint(), Ok(value));
            assert!(decoder.is_empty());
            assert_eq!(Decoder::new(&out[..out.len() - 1]).varint(), Err(Truncated));
        }
        assert_eq!(Decoder::new(&[0xff; 10]).uvarint(), Err(Truncated), "an eleventh group does not exist");
    }

    #[test]
    fn a_count_that_cannot_follow_is_refused() {
        assert_eq!(Decoder::new(&[4, 0, 0, 0, 0]).count(1), Ok(4));
        assert_eq!(Decoder::new(&[4, 0, 0, 0]).count(1), Err(Truncated));
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).count(8), Err(Truncated));
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}

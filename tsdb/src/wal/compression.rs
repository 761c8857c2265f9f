//! Compressing whole records of the log, and back.

use super::reader::RECORD_BYTES_MAX;
use super::segment::{FLAG_SNAPPY, FLAG_ZSTD};
use crate::config::Compression;

/// Records shorter than this are not worth compressing.
const COMPRESSED_BYTES_MIN: usize = 64;
/// What Prometheus' default amounts to.
const ZSTD_LEVEL: i32 = 3;

/// Compresses records one after the other.
pub(crate) struct Compressor {
    snappy: snap::raw::Encoder,
    /// Made when first used: it holds much memory.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Takes the compressed record; it only ever grows, so that it is not filled with zeros each time.
    room: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self { snappy: snap::raw::Encoder::new(), zstd: None, room: Vec::new() }
    }
}

impl Compressor {
    /// Appends the record to `out`, compressed if that makes it shorter, and returns its flags.
    pub(super) fn push(&mut self, compression: Compression, record: &[u8], out: &mut Vec<u8>) -> u8 {
        let compressed = match compression {
            Compression::Snappy if record.len() >= COMPRESSED_BYTES_MIN => {
                self.make_room(snap::raw::max_compress_len(record.len()));
                // Fails only for records beyond 4 GiB, or a buffer too small; then the record is written plain.
                self.snappy.compress(record, &mut self.room).ok().map(|length| (length, FLAG_SNAPPY))
            }
            Compression::Zstd if record.len() >= COMPRESSED_BYTES_MIN => {
                self.make_room(zstd::zstd_safe::compress_bound(record.len()));
                self.zstd(record).map(|length| (length, FLAG_ZSTD))
            }
            _ => None,
        };
        if let Some((length, flags)) = compressed.filter(|(length, _)| *length < record.len()) {
            out.extend_from_slice(&self.room[..length]);
            return flags;
        }
        out.extend_from_slice(record);
        0
    }

    fn make_room(&mut self, bytes: usize) {
        if self.room.len() < bytes {
            self.room.resize(bytes, 0);
        }
    }

    fn zstd(&mut self, record: &[u8]) -> Option<usize> {
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        self.zstd.as_mut()?.compress_to_buffer(record, &mut self.room[..]).ok()
    }
}

/// Decompresses records one after the other.
pub(super) struct Decompressor {
    plain: Vec<u8>,
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self { plain: Vec::new(), snappy: snap::raw::Decoder::new(), zstd: None }
    }
}

impl Decompressor {
    /// The record as it was before it was compressed.
    pub(super) fn plain<'a>(&'a mut self, flags: u8, record: &'a [u8]) -> Result<&'a [u8], &'static str> {
        match flags {
            0 => Ok(record),
            FLAG_SNAPPY => self.snappy(record),
            FLAG_ZSTD => self.zstd(record),
            _ => Err("a fragment has unknown flags"),
        }
    }

    fn snappy(&mut self, record: &[u8]) -> Result<&[u8], &'static str> {
        let length = snap::raw::decompress_len(record).map_err(|_| "a record's snappy header is wrong")?;
        if length > RECORD_BYTES_MAX {
            return Err("a record longer than any can be");
        }
        self.plain.resize(length, 0);
        let written = self.snappy.decompress(record, &mut self.plain).map_err(|_| "a record's snappy data is wrong")?;
        Ok(&self.plain[..written])
    }

    fn zstd(&mut self, record: &[u8]) -> Result<&[u8], &'static str> {
        let wrong = "a record's zstd data is wrong";
        let known = zstd::zstd_safe::get_frame_content_size(record).map_err(|_| "a record's zstd header is wrong")?;
        self.plain.clear();
        match known {
            Some(length) if length > RECORD_BYTES_MAX as u64 => return Err("a record longer than any can be"),
            Some(length) => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Decompressor::new().ok();
                }
                // No byte more than the header says, and no page touched before it is written.
                self.plain.reserve(length as usize);
                let decompressor = self.zstd.as_mut().ok_or("no memory to decompress a record")?;
                decompressor.decompress_to_buffer(record, &mut self.plain).map_err(|_| wrong)?;
            }
            None => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(record).map_err(|_| wrong)?;
                let mut limited = std::io::Read::take(&mut decoder, RECORD_BYTES_MAX as u64 + 1);
                std::io::Read::read_to_end(&mut limited, &mut self.plain).map_err(|_| wrong)?;
                if self.plain.len() > RECORD_BYTES_MAX {
                    return Err("a record longer than any can be");
                }
            }
        }
        Ok(&self.plain)
    }
}

/// The first byte of a record as it was before it was compressed, if that can be seen without decompressing it.
pub(super) fn first_byte(flags: u8, record: &[u8]) -> Option<u8> {
    match flags {
        0 => record.first().copied(),
        FLAG_SNAPPY => {
            // Its length, seven bits a byte, and then bytes to be copied as they are: nothing was there to refer to yet.
            let length_bytes = record.iter().position(|byte| *byte < 0x80)? + 1;
            let (tag, rest) = record.get(length_bytes..)?.split_first()?;
            let is_literal = tag & 0b11 == 0;
            // From 60 on the length of the literal itself follows, in one to four bytes.
            let literal_length_bytes = usize::from((tag >> 2).saturating_sub(59));
            rest.get(literal_length_bytes).copied().filter(|_| is_literal)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_seen_without_decompressing() {
        let mut compressor = Compressor::default();
        for length in [64, 70, 300, 70_000, 1 << 17] {
            for noise in [1u32, 2_654_435_761] {
                let record: Vec<u8> = (0..length).map(|i: u32| (i.wrapping_mul(noise) >> 9) as u8 ^ 0xa5).collect();
                for compression in [Compression::None, Compression::Snappy] {
                    let mut out = Vec::new();
                    let flags = compressor.push(compression, &record, &mut out);
                    assert_eq!(first_byte(flags, &out), Some(record[0]), "{length} bytes, {compression:?}");
                }
                assert_eq!(first_byte(FLAG_ZSTD, &record), None);
            }
        }
        assert_eq!(first_byte(FLAG_SNAPPY, &[0xff]), None);
        assert_eq!(first_byte(FLAG_SNAPPY, &[5, 61 << 2, 4]), None);
    }

    #[test]
    fn records_come_back_and_what_does_not_shrink_stays_plain() {
        let long: Vec<u8> = (0..5000u32).map(|i| (i / 7) as u8).collect();
        let noise: Vec<u8> = (0..200u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut compressor = Compressor::default();
        let mut decompressor = Decompressor::default();
        for (compression, flag) in [(Compression::None, 0), (Compression::Snappy, 8), (Compression::Zstd, 16)] {
            for (record, expected) in [(&long[..], flag), (&noise[..], 0), (b"short", 0)] {
                let mut out = vec![1, 2, 3];
                let flags = compressor.push(compression, record, &mut out);
                assert_eq!(flags, expected);
                assert_eq!(decompressor.plain(flags, &out[3..]), Ok(record));
                for cut in 3..out.len() {
                    let result = decompressor.plain(flags, &out[3..cut]).map(<[u8]>::to_vec);
                    assert!(flags == 0 || result.is_err() || result.unwrap() != record, "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_zstd_frame_that_does_not_tell_its_length_is_read() {
        use std::io::Write;
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let frame = encoder.finish().unwrap();
        assert_eq!(Decompressor::default().plain(FLAG_ZSTD, &frame), Ok(&[7; 1000][..]));
    }
}

//! Decompression of bodies that came as gzip, whole: straight into memory of the length they tell, with tables and
//! checksums of one job's pages used again for the next.

use std::io;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use parking_lot::Mutex;

/// How many decompressors a job keeps: no more are at work at once than there are workers.
const KEPT_MAX: usize = 4;
/// How much memory is taken ahead for a body that tells its length.
const AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Room behind the end, so that the last bytes are written as fast as the others; and the least that is taken at once.
const ROOM_BYTES: usize = 512;

/// Bits of a header's flags.
const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Decompressors that are at rest.
#[derive(Default)]
pub struct Gunzip {
    kept: Mutex<Vec<Decompress>>,
}

impl std::fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gunzip").finish_non_exhaustive()
    }
}

impl Gunzip {
    /// What `compressed` holds, if that is at most `bytes_max`: `None` if it is more.
    ///
    /// # Errors
    /// If it is no gzip, damaged or cut off.
    pub fn decompress(&self, compressed: &[u8], bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        // The end tells the length, if it tells the truth; a wrong one only costs a copy.
        let told = compressed.last_chunk().map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
        let told = told.min(bytes_max).min(AHEAD_BYTES_MAX);
        let mut body = Vec::with_capacity(told as usize + ROOM_BYTES);
        let mut inflate = self.kept.lock().pop().unwrap_or_else(|| Decompress::new(false));
        let is_whole = members(&mut inflate, compressed, bytes_max, &mut body);
        let mut kept = self.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push(inflate);
        }
        is_whole.map(|is_whole| is_whole.then_some(body))
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF")
}

/// One member after the other; whether all fits.
fn members(inflate: &mut Decompress, mut rest: &[u8], bytes_max: u64, body: &mut Vec<u8>) -> io::Result<bool> {
    if rest.is_empty() {
        return Err(cut_off());
    }
    while !rest.is_empty() {
        rest = behind_header(rest)?;
        let start = body.len();
        inflate.reset(false);
        match member(inflate, rest, bytes_max, body)? {
            Some(len) => rest = rest.get(len..).unwrap_or_default(),
            None => return Ok(false),
        }
        let (trailer, behind) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let mut crc = Crc::new();
        crc.update(&body[start..]);
        let [a, b, c, d, ..] = *trailer;
        if u32::from_le_bytes([a, b, c, d]) != crc.sum() || trailer[4..] != crc.amount().to_le_bytes() {
            return Err(damaged("invalid checksum"));
        }
        rest = behind;
    }
    Ok(true)
}

/// One member behind its header, appended to the body: how many bytes it takes, or `None` if it is too large.
fn member(inflate: &mut Decompress, deflated: &[u8], bytes_max: u64, body: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        let taken = inflate.total_in() as usize;
        let before = body.len();
        let rest = deflated.get(taken..).unwrap_or_default();
        let status = inflate.decompress_vec(rest, body, FlushDecompress::Finish).map_err(io::Error::other)?;
        if body.len() as u64 > bytes_max {
            return Ok(None);
        }
        let has_room = body.len() < body.capacity();
        let has_moved = body.len() > before || inflate.total_in() as usize > taken;
        match status {
            Status::StreamEnd => return Ok(Some(inflate.total_in() as usize)),
            _ if has_room && !has_moved => return Err(cut_off()),
            _ if has_room => {}
            // Never more than is allowed, so that a bomb is noticed where it goes off.
            _ => {
                let allowed = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_sub(body.len());
                body.reserve(body.len().min(allowed) + ROOM_BYTES);
            }
        }
    }
}

/// What comes behind a member's header.
fn behind_header(bytes: &[u8]) -> io::Result<&[u8]> {
    let (header, mut rest) = bytes.split_first_chunk::<10>().ok_or_else(cut_off)?;
    let flags = header[3];
    if header[..3] != [0x1f, 0x8b, 8] || flags & RESERVED != 0 {
        return Err(damaged("invalid header"));
    }
    if flags & HAS_EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
        rest = behind.get(usize::from(u16::from_le_bytes(*len))..).ok_or_else(cut_off)?;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let end = memchr::memchr(0, rest).ok_or_else(cut_off)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HAS_CHECKSUM != 0 {
        rest = rest.get(2..).ok_or_else(cut_off)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::{Compression, GzBuilder, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn whole(compressed: &[u8]) -> io::Result<Vec<u8>> {
        Gunzip::default().decompress(compressed, u64::MAX).map(Option::unwrap)
    }

    #[test]
    fn bodies_of_all_kinds_come_out_as_they_went_in() {
        let gunzip = Gunzip::default();
        let long: Vec<u8> = (0..1_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for text in [&b""[..], b"a", &long, &vec![b'x'; 70_000]] {
            assert!(gunzip.decompress(&gzip(text), u64::MAX).unwrap().as_deref() == Some(text), "{} bytes", text.len());
        }
        assert_eq!(gunzip.kept.lock().len(), 1, "one was used for all");
        let twice = [gzip(b"ab"), gzip(b""), gzip(&long)].concat();
        assert!(whole(&twice).unwrap() == [b"ab", &long[..]].concat());
        let builder = GzBuilder::new().filename("n").comment("c").extra(vec![1, 2, 3]);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"text").unwrap();
        assert_eq!(whole(&encoder.finish().unwrap()).unwrap(), b"text");
    }

    #[test]
    fn what_is_larger_than_allowed_is_noticed_early() {
        let compressed = gzip(&vec![0; 10_000_000]);
        for (max, is_whole) in [(9_999_999, false), (10_000_000, true), (100, false), (0, false)] {
            let body = Gunzip::default().decompress(&compressed, max).unwrap();
            assert_eq!(body.is_some(), is_whole, "{max}");
            assert!(body.is_none_or(|body| body.capacity() < 10_100_000));
        }
        // A lie about the length.
        let mut lying = gzip(b"abc");
        let end = lying.len();
        lying[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(whole(&lying).is_err());
    }

    #[test]
    fn damage_is_told_wherever_it_is() {
        let text: Vec<u8> = (0..5_000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        let compressed = gzip(&text);
        for len in (0..compressed.len()).step_by(97).chain([compressed.len() - 1]) {
            assert!(whole(&compressed[..len]).is_err(), "cut to {len}");
        }
        assert!(whole(&[&compressed[..], b"more"].concat()).is_err());
        assert!(whole(b"no gzip at all, and no header").is_err());
        // What another decoder takes is taken alike.
        for at in (0..compressed.len()).step_by(31) {
            let mut changed = compressed.clone();
            changed[at] ^= 0x10;
            let mut expected = Vec::new();
            let other = flate2::read::MultiGzDecoder::new(&changed[..]).read_to_end(&mut expected);
            match (whole(&changed), other) {
                (Ok(body), Ok(_)) => assert!(body == expected, "byte {at}"),
                (Ok(_), Err(error)) => panic!("byte {at}: {error}"),
                _ => {}
            }
        }
    }
}

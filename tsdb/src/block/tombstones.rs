//! The `tombstones` file: deleted ranges of a block's series. Layout: `docs/formats/block.md`.

use std::path::Path;

use model::storage::StorageError;

use crate::codec::{Decoder, Truncated, crc32c, put_uvarint, put_varint};
use crate::error::{corrupt, io_error};
use crate::fs::FileSystem;
use crate::mmap::Map;
use crate::tombstones::{Interval, Tombstones};

/// The file's name in a block's directory.
pub(crate) const FILE: &str = "tombstones";
const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

impl Tombstones {
    /// Reads the file of the block in `directory`; none means that nothing is deleted.
    pub(crate) fn read(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(FILE);
        let map = match Map::open(&path) {
            Ok(map) => map,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io_error(&path, error)),
        };
        let bytes = map.bytes();
        if bytes.len() < HEADER_BYTES + 4 || bytes[..4] != MAGIC.to_be_bytes() || bytes[4] != VERSION {
            return Err(corrupt(&path, 0, "not a tombstone file of version 1"));
        }
        let (entries, checksum) = bytes[HEADER_BYTES..].split_at(bytes.len() - HEADER_BYTES - 4);
        if crc32c(entries).to_be_bytes() != checksum {
            return Err(corrupt(&path, HEADER_BYTES as u64, "the checksum of the tombstones is wrong"));
        }
        let mut decoder = Decoder::new(entries);
        let mut tombstones = Self::default();
        while !decoder.is_empty() {
            let at = decoder.position();
            let broken = |_| corrupt(&path, (HEADER_BYTES + at) as u64, "a tombstone that cannot be read");
            let (series, interval) = read_entry(&mut decoder).map_err(broken)?;
            tombstones.add(series, interval);
        }
        Ok(tombstones)
    }

    /// Writes the file of the block in `directory`, whole or not at all.
    pub(crate) fn write(&self, fs: &dyn FileSystem, directory: &Path) -> Result<(), StorageError> {
        let path = directory.join(FILE);
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        for (series, intervals) in self.iter() {
            for interval in intervals {
                put_uvarint(&mut bytes, u64::from(series));
                put_varint(&mut bytes, interval.min_time);
                put_varint(&mut bytes, interval.max_time);
            }
        }
        let checksum = crc32c(&bytes[HEADER_BYTES..]);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        crate::fs::replace(fs, &path, &bytes).map_err(|error| io_error(&path, error))
    }
}

fn read_entry(decoder: &mut Decoder<'_>) -> Result<(u32, Interval), Truncated> {
    let series = u32::try_from(decoder.uvarint()?).map_err(|_| Truncated)?;
    let (min_time, max_time) = (decoder.varint()?, decoder.varint()?);
    if min_time > max_time {
        return Err(Truncated);
    }
    Ok((series, Interval { min_time, max_time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_come_back() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(Tombstones::read(scratch.path()).unwrap().count(), 0);
        let mut tombstones = Tombstones::default();
        for (min_time, max_time) in [(10, 20), (40, 50), (21, 25), (-9, 1), (i64::MAX - 1, i64::MAX)] {
            tombstones.add(7, Interval { min_time, max_time });
        }
        tombstones.add(3, Interval { min_time: 0, max_time: 0 });
        assert_eq!(tombstones.count(), 5);
        tombstones.write(&crate::fs::Disk, scratch.path()).unwrap();
        assert_eq!(Tombstones::read(scratch.path()).unwrap(), tombstones);
        let path = scratch.path().join(FILE);
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, flipped).unwrap();
            assert!(matches!(Tombstones::read(scratch.path()), Err(StorageError::Corrupt { .. })), "byte {at}");
        }
    }
}

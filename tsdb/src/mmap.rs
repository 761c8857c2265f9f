//! Memory-mapped files: the only unsafe file of the crate.
//!
//! Invariant: bytes are handed out only below `readable`, which never exceeds the length the file had when it was looked
//! at. Files of the data directory are only appended to or removed while they are mapped (removal keeps the pages alive),
//! and the directory's lock keeps other processes of this kind out.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions, UncheckedAdvice};

/// Bytes that are let go of at a time: a multiple of every page size.
const LET_GO_BYTES: usize = 4 << 20;

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct Map {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
    /// Bytes that may be read: `readable <= length of the file`.
    readable: AtomicUsize,
}

impl Map {
    /// Maps the whole of a file as it stands.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Self::of(&file, length, length)
    }

    /// A copy of `bytes` that is in no file.
    pub(crate) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        if bytes.is_empty() {
            return Ok(Self { map: None, readable: AtomicUsize::new(0) });
        }
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self { map: Some(map.make_read_only()?), readable: AtomicUsize::new(bytes.len()) })
    }

    /// Maps `length` bytes of a file that is still shorter and grows up to that.
    pub(crate) fn open_growing(path: &Path, length: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let readable = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Self::of(&file, length, readable.min(length))
    }

    fn of(file: &File, length: usize, readable: usize) -> io::Result<Self> {
        if length == 0 {
            return Ok(Self { map: None, readable: AtomicUsize::new(0) });
        }
        // SAFETY: the mapping is read-only, and `slice` hands out only bytes below `readable`, which exist in the file
        // and are never written again: the files are append-only and their directory is locked (see the module's head).
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Self { map: Some(map), readable: AtomicUsize::new(readable) })
    }

    /// Lets bytes up to `end` be read. The caller has written them.
    pub(crate) fn grow_to(&self, end: usize) {
        let length = self.map.as_ref().map_or(0, |map| map.len());
        self.readable.fetch_max(end.min(length), Ordering::Release);
    }

    /// Bytes that may be read.
    pub(crate) fn len(&self) -> usize {
        self.readable.load(Ordering::Acquire)
    }

    /// The bytes of `range`, or `None` if they are not all there.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        match &self.map {
            Some(map) => map.get(range),
            None => Some(&[]),
        }
    }

    /// Tells the system that all of it will be read soon. That it could not be told does not matter.
    pub(crate) fn will_be_read(&self) {
        let _unheard = self.map.as_ref().map(|map| map.advise(Advice::WillNeed));
    }

    /// Tells the system that these bytes of a file are not wanted soon: what is resident of them need not stay. Whoever
    /// reads them again gets them from the file. That it could not be told does not matter.
    pub(crate) fn let_go(&self, range: Range<usize>) {
        let Some(map) = self.map.as_ref().filter(|map| range.start < range.end && range.end <= map.len()) else {
            return;
        };
        // SAFETY: the mapping is a shared one of a file and nothing is ever written through it, so that a page that is
        // dropped comes back with the same bytes. Anonymous ones come from `copy_of` alone, whose callers do not do this.
        let _unheard = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    }

    /// All bytes that may be read.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.slice(0..self.len()).unwrap_or(&[])
    }
}

/// Lets go of what was read of a file from its beginning on, so that memory holds what was made of it and no file.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    end: usize,
}

impl Behind {
    /// Everything before `position` was read.
    pub(crate) fn reach(&mut self, map: &Map, position: u64) {
        let position = position as usize;
        if position >= self.end + LET_GO_BYTES {
            map.let_go(self.end..position);
            // What begins within a page stays, and goes with the next part.
            self.end = position / LET_GO_BYTES * LET_GO_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_growing_file_is_read_as_far_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = File::create(&path).unwrap();
        let map = Map::open_growing(&path, 1 << 20).unwrap();
        assert_eq!(map.slice(0..1), None);
        file.write_all(b"hello").unwrap();
        map.grow_to(5);
        assert_eq!(map.slice(1..5), Some(&b"ello"[..]));
        assert_eq!(map.slice(1..6), None);
        assert_eq!(Map::open(&path).unwrap().bytes(), b"hello");
    }

    #[test]
    fn what_was_let_go_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 / 8) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let map = Map::open(&path).unwrap();
        for range in [0..100_000, 5000..5001, 7..90_000, 4096..8192, 9..9, 99_999..100_001] {
            assert_eq!(map.bytes(), bytes);
            map.let_go(range);
        }
        assert_eq!(map.bytes(), bytes);
    }

    #[test]
    fn an_empty_file_maps_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        File::create(&path).unwrap();
        assert_eq!(Map::open(&path).unwrap().bytes(), b"");
    }
}

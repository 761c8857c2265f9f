//! The queue of one destination on disk: finished requests that memory has no room for, and those left by a stop.
//!
//! Files are numbered and hold frames one after the other; only whole files are removed, once all their requests are
//! answered, or when the queue is past its own limits. Layout: `docs/formats/remote-queue.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::request::{Counts, Request};

/// The queue of a destination within its directory.
pub(super) const QUEUE: &str = "queue";
const SUFFIX: &str = ".requests";
/// A file that has become that long takes no more requests.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Length and checksum of a frame, and what stands before its body.
const FRAME_HEADER_BYTES: usize = 8;
const REQUEST_HEADER_BYTES: usize = 32;
/// A longer frame is damage.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: u64,
    pub(super) offset: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct FileInfo {
    bytes: u64,
    /// Requests and samples that are not answered yet, as far as they were written or read by this process.
    requests: u64,
    counts: Counts,
    /// When it was begun, in ms.
    begun: i64,
}

/// What was dropped because of the queue's limits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) requests: u64,
    pub(super) counts: Counts,
}

/// The queue. Requests come out in the order they went in.
#[derive(Debug)]
pub(super) struct DiskQueue {
    directory: PathBuf,
    files: BTreeMap<u64, FileInfo>,
    writer: Option<(u64, File)>,
    reader: Option<(u64, File)>,
    /// The next request to hand out.
    next: Place,
    /// Handed out and not answered.
    outstanding: BTreeSet<Place>,
}

impl DiskQueue {
    /// Opens what an earlier process left; requests before `from` are answered.
    pub(super) fn open(directory: &Path, from: Option<Place>, now: i64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { continue };
            if from.is_some_and(|from| number < from.file) {
                fs::remove_file(entry.path())?;
                continue;
            }
            let start = from.filter(|from| from.file == number).map_or(0, |from| from.offset);
            files.insert(number, FileInfo { begun: now, ..scan(&entry.path(), start)? });
        }
        let first = files.keys().next().copied().unwrap_or(0);
        let next = from.filter(|from| files.contains_key(&from.file)).unwrap_or(Place { file: first, offset: 0 });
        let queue = Self {
            directory: directory.to_owned(),
            files,
            writer: None,
            reader: None,
            next,
            outstanding: BTreeSet::new(),
        };
        Ok(queue)
    }

    /// Whether nothing waits to be handed out.
    pub(super) fn is_read(&self) -> bool {
        self.files.range(self.next.file..).all(|(&file, info)| file == self.next.file && self.next.offset >= info.bytes)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Requests not answered yet.
    pub(super) fn requests(&self) -> u64 {
        self.files.values().map(|file| file.requests).sum()
    }

    /// Samples not answered yet.
    pub(super) fn counts(&self) -> Counts {
        self.files.values().fold(Counts::default(), |all, file| add(all, file.counts))
    }

    /// Appends a request that the caller holds already, so that it is not handed out, behind all that were.
    pub(super) fn push_taken(&mut self, request: &Request, now: i64) -> io::Result<Place> {
        debug_assert!(self.is_read(), "what waits on disk is older");
        let place = self.push(request, now)?;
        self.next = Place { file: place.file, offset: self.files.get(&place.file).map_or(0, |info| info.bytes) };
        self.outstanding.insert(place);
        Ok(place)
    }

    /// Appends a request.
    pub(super) fn push(&mut self, request: &Request, now: i64) -> io::Result<Place> {
        let is_full = |file: &u64| self.files.get(file).is_none_or(|info| info.bytes >= FILE_BYTES);
        if self.writer.as_ref().is_none_or(|(file, _)| is_full(file)) {
            let number = self.files.keys().next_back().map_or(self.next.file, |last| last + 1).max(self.next.file);
            let file = OpenOptions::new().create_new(true).append(true).open(self.path(number))?;
            if self.is_read() && self.outstanding.is_empty() {
                self.next = Place { file: number, offset: 0 };
            }
            self.files.insert(number, FileInfo { begun: now, ..FileInfo::default() });
            self.writer = Some((number, file));
        }
        let Some((number, file)) = &mut self.writer else { return Err(io::ErrorKind::NotFound.into()) };
        let frame = frame(request);
        let info = self.files.entry(*number).or_default();
        let place = Place { file: *number, offset: info.bytes };
        if let Err(error) = file.write_all(&frame) {
            // What was written of it would stand before the next one.
            file.set_len(info.bytes)?;
            return Err(error);
        }
        info.bytes += frame.len() as u64;
        info.requests += 1;
        info.counts = add(info.counts, request.counts);
        Ok(place)
    }

    /// Hands out the next request. Damage costs the rest of its file.
    pub(super) fn pop(&mut self) -> io::Result<Option<(Request, Place)>> {
        loop {
            let Some(info) = self.files.get(&self.next.file).copied() else {
                match self.files.range(self.next.file..).next() {
                    Some((&file, _)) => self.next = Place { file, offset: 0 },
                    None => return Ok(None),
                }
                continue;
            };
            if self.next.offset >= info.bytes {
                match self.files.range(self.next.file + 1..).next() {
                    Some((&file, _)) => self.next = Place { file, offset: 0 },
                    None => return Ok(None),
                }
                self.remove_answered()?;
                continue;
            }
            let place = self.next;
            match self.read(place)? {
                Some((request, bytes)) => {
                    self.next.offset += bytes;
                    self.outstanding.insert(place);
                    return Ok(Some((request, place)));
                }
                None => {
                    tracing::error!(file = %self.path(place.file).display(), offset = place.offset,
                        "damaged queue of remote write: the rest of the file is lost");
                    self.next.offset = info.bytes;
                }
            }
        }
    }

    /// Notes that a request is answered, and removes files that are done with.
    pub(super) fn answered(&mut self, place: Place, counts: Counts) -> io::Result<()> {
        if self.outstanding.remove(&place)
            && let Some(info) = self.files.get_mut(&place.file)
        {
            info.requests = info.requests.saturating_sub(1);
            info.counts = subtract(info.counts, counts);
        }
        self.remove_answered()
    }

    /// Where a later process would have to begin.
    pub(super) fn cursor(&self) -> Place {
        self.outstanding.first().copied().unwrap_or(self.next).min(self.next)
    }

    /// Makes what was pushed durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.writer {
            Some((_, file)) => file.sync_data(),
            None => Ok(()),
        }
    }

    /// Drops the oldest files beyond `bytes_max`, and those begun before `begun_min`.
    pub(super) fn prune(&mut self, bytes_max: u64, begun_min: i64) -> io::Result<Dropped> {
        let mut dropped = Dropped::default();
        while let Some((&number, &info)) = self.files.first_key_value() {
            let is_written = self.writer.as_ref().is_some_and(|(file, _)| *file == number);
            if (self.bytes() <= bytes_max && info.begun >= begun_min) || (is_written && self.files.len() == 1) {
                break;
            }
            self.remove(number)?;
            dropped.requests += info.requests;
            dropped.counts = add(dropped.counts, info.counts);
        }
        Ok(dropped)
    }

    fn remove_answered(&mut self) -> io::Result<()> {
        let cursor = self.cursor();
        let done: Vec<u64> = self.files.range(..cursor.file).map(|(&file, _)| file).collect();
        done.into_iter().try_for_each(|file| self.remove(file))?;
        // The last one goes as soon as it is done, or an idle queue would keep it.
        if let Some(info) = self.files.get(&cursor.file)
            && self.files.len() == 1
            && self.outstanding.is_empty()
            && cursor.offset >= info.bytes
        {
            self.writer = None;
            self.remove(cursor.file)?;
        }
        Ok(())
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        if self.writer.as_ref().is_some_and(|(file, _)| *file == number) {
            self.writer = None;
        }
        if self.reader.as_ref().is_some_and(|(file, _)| *file == number) {
            self.reader = None;
        }
        fs::remove_file(self.path(number))?;
        self.files.remove(&number);
        self.outstanding.retain(|place| place.file != number);
        if self.next.file <= number {
            self.next = Place { file: number + 1, offset: 0 };
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:08}{SUFFIX}"))
    }

    /// The request at a place and its frame's length, or `None` if the bytes are damaged.
    fn read(&mut self, place: Place) -> io::Result<Option<(Request, u64)>> {
        if self.reader.as_ref().is_none_or(|(file, _)| *file != place.file) {
            self.reader = Some((place.file, File::open(self.path(place.file))?));
        }
        let Some((_, file)) = &mut self.reader else { return Ok(None) };
        file.seek(SeekFrom::Start(place.offset))?;
        let mut header = [0; FRAME_HEADER_BYTES];
        if !read_exact(file, &mut header)? {
            return Ok(None);
        }
        let (length, checksum) = header_of(header);
        if !(REQUEST_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        if !read_exact(file, &mut bytes)? || crc32c(&bytes) != checksum {
            return Ok(None);
        }
        Ok(request_of(bytes).map(|request| (request, (FRAME_HEADER_BYTES + length) as u64)))
    }
}

fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        samples: a.samples.saturating_add(b.samples),
        histograms: a.histograms.saturating_add(b.histograms),
        exemplars: a.exemplars.saturating_add(b.exemplars),
    }
}

fn subtract(a: Counts, b: Counts) -> Counts {
    Counts {
        samples: a.samples.saturating_sub(b.samples),
        histograms: a.histograms.saturating_sub(b.histograms),
        exemplars: a.exemplars.saturating_sub(b.exemplars),
    }
}

/// Counts the requests of a file from `start` on; a torn end is cut off.
fn scan(path: &Path, start: u64) -> io::Result<FileInfo> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut info = FileInfo { bytes: start.min(length), ..FileInfo::default() };
    loop {
        file.seek(SeekFrom::Start(info.bytes))?;
        let mut bytes = [0; FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES];
        if !read_exact(&mut file, &mut bytes)? {
            return Ok(info);
        }
        let (head, rest) = bytes.split_at(FRAME_HEADER_BYTES);
        let (frame_length, _) = header_of(head.try_into().unwrap_or_default());
        let end = info.bytes + (FRAME_HEADER_BYTES + frame_length) as u64;
        if !(REQUEST_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&frame_length) || end > length {
            return Ok(info);
        }
        info.bytes = end;
        info.requests += 1;
        info.counts = add(info.counts, request_of(rest.to_vec()).map(|request| request.counts).unwrap_or_default());
    }
}

/// Whether the file had that many bytes left.
fn read_exact(file: &mut File, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn header_of(header: [u8; FRAME_HEADER_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = header;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn frame(request: &Request) -> Vec<u8> {
    let length = REQUEST_HEADER_BYTES + request.body.len();
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + length);
    frame.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    frame.extend_from_slice(&request.generation.to_le_bytes());
    frame.extend_from_slice(&request.newest.to_le_bytes());
    for number in [request.lane, request.counts.samples, request.counts.histograms, request.counts.exemplars] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&request.body);
    let checksum = crc32c(&frame[FRAME_HEADER_BYTES..]);
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    frame
}

fn request_of(mut bytes: Vec<u8>) -> Option<Request> {
    let body = bytes.split_off(REQUEST_HEADER_BYTES.min(bytes.len()));
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some(Request {
        generation: long(0)?,
        newest: long(8)?.cast_signed(),
        lane: short(16)?,
        counts: Counts { samples: short(20)?, histograms: short(24)?, exemplars: short(28)? },
        body: body.into(),
    })
}

/// Makes a destination's directory and writes to it, as its queue will.
///
/// # Errors
/// If that is not possible.
pub(super) fn try_directory(directory: &Path) -> io::Result<()> {
    let queue = directory.join(QUEUE);
    fs::create_dir_all(&queue)?;
    tempfile::tempfile_in(&queue).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32, bytes: usize) -> Request {
        let counts = Counts { samples: number, histograms: 1, exemplars: 0 };
        Request { generation: 7, lane: number, counts, newest: -5, body: vec![number as u8; bytes].into() }
    }

    #[test]
    fn requests_come_out_as_they_went_in_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = DiskQueue::open(dir.path(), None, 0).unwrap();
        assert_eq!(queue.pop().unwrap(), None);
        // Over several files.
        for i in 0..10 {
            queue.push(&request(i, 5_000_000), 0).unwrap();
        }
        assert_eq!((queue.requests(), queue.counts().samples), (10, 45));
        let popped: Vec<_> = (0..3).map(|_| queue.pop().unwrap().unwrap()).collect();
        assert!(popped.iter().zip(0..).all(|((popped, _), i)| *popped == request(i, 5_000_000)));
        // The first two are answered; the third is not when the process ends.
        popped[..2].iter().for_each(|(popped, place)| queue.answered(*place, popped.counts).unwrap());
        queue.sync().unwrap();
        let cursor = queue.cursor();
        let mut queue = DiskQueue::open(dir.path(), Some(cursor), 0).unwrap();
        assert_eq!(queue.counts().samples, 44);
        for i in 2..10 {
            let (popped, place) = queue.pop().unwrap().unwrap();
            assert_eq!(popped, request(i, 5_000_000));
            queue.answered(place, popped.counts).unwrap();
        }
        assert!(queue.is_read() && queue.pop().unwrap().is_none());
        assert_eq!((queue.bytes(), fs::read_dir(dir.path()).unwrap().count()), (0, 0), "nothing is left on disk");
        queue.push(&request(3, 3), 0).unwrap();
        assert_eq!(queue.pop().unwrap().unwrap().0, request(3, 3));
    }

    #[test]
    fn damage_costs_the_rest_of_its_file_and_limits_cost_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = DiskQueue::open(dir.path(), None, 0).unwrap();
        for i in 0..8 {
            queue.push(&request(i, 6_000_000), i64::from(i)).unwrap();
        }
        let path = queue.path(0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[6_000_100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(queue.pop().unwrap().unwrap().0.lane, 0);
        assert_eq!(queue.pop().unwrap().unwrap().0.lane, 3, "the next file");
        let dropped = queue.prune(13_000_000, i64::MIN).unwrap();
        assert_eq!(dropped.requests, 6);
        assert_eq!(queue.pop().unwrap().unwrap().0.lane, 6);
        // A torn end is not read.
        let path = queue.path(queue.next.file);
        let length = fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let mut queue = DiskQueue::open(dir.path(), Some(queue.cursor()), 0).unwrap();
        assert_eq!(queue.pop().unwrap().unwrap().0.lane, 6);
        assert_eq!(queue.pop().unwrap(), None);
    }
}

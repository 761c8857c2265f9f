//! The first look at a snapshot: all its checksums and forms, on several threads, before anything of it is entered.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;

use super::chunk_lists::read_list;
use super::kind;
use super::read::{Files, Unusable, each_record, each_tombstone, series_view};
use crate::chunk::Stamp;
use crate::codec::{Decoder, Truncated};
use crate::head::mapped_chunks::{ListedFile, MappedChunk};
use crate::mmap::Map;
use crate::wal::reader::RecordReader;
use crate::wal::record::{
    MappedMarker, RecordSink, SampleValue, Tombstone, WAL_REF_MAX, WalRef, decode, decode_exemplars_body,
    kind as log_kind,
};

/// The most threads that look.
const WORKERS_MAX: usize = 8;

/// What a sound snapshot tells before it is entered.
pub(super) struct Checked {
    pub(super) last_ref: WalRef,
    /// How many series there are.
    pub(super) series: u64,
    /// The files of mapped chunks that go with it.
    pub(super) files: Vec<ListedFile>,
    pub(super) tombstones: Vec<Tombstone>,
}

/// What stands in the segments.
#[derive(Debug, Default)]
struct Seen {
    series: u64,
    has_tombstones: bool,
    tombstones: Vec<Tombstone>,
}

/// Looks through all of it. `found` are the files of mapped chunks there are.
pub(super) fn check(files: &Files, found: Vec<ListedFile>) -> Result<Checked, Unusable> {
    let summary = read_summary(&files.complement)?;
    let has = |told: &ListedFile| found.iter().any(|file| file.number == told.number && file.bytes >= told.bytes);
    if !summary.files.iter().all(has) {
        return Err(Unusable::Chunks);
    }
    let mut seen = Seen::default();
    for part in check_files(files, &summary)? {
        seen.series += part.series;
        seen.has_tombstones |= part.has_tombstones;
        seen.tombstones.extend(part.tombstones);
    }
    let bytes: u64 = files.segments.iter().map(|map| map.len() as u64).sum();
    if seen.series != summary.series || bytes != summary.bytes || !seen.has_tombstones {
        return Err(Unusable::Incomplete);
    }
    let Summary { last_ref, series, files, .. } = summary;
    Ok(Checked { last_ref, series, files, tombstones: seen.tombstones })
}

/// Looks through each file on one of the threads.
fn check_files(files: &Files, summary: &Summary) -> Result<Vec<Seen>, Unusable> {
    let all: Vec<(&Map, bool)> =
        files.complement.iter().map(|map| (map, true)).chain(files.segments.iter().map(|map| (map, false))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut seen = Seen::default();
        while let Some((map, is_complement)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let reader = RecordReader::new(map.bytes());
            match is_complement {
                true => each_record(reader, map, |record| check_own(record, summary))?,
                false => each_record(reader, map, |record| seen.check(record))?,
            }
        }
        Ok(seen)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX).min(all.len());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        for other in others {
            parts.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts.into_iter().collect()
    })
}

/// The complement's last record.
struct Summary {
    last_ref: WalRef,
    series: u64,
    /// Of all segments.
    bytes: u64,
    files: Vec<ListedFile>,
}

fn read_summary(complement: &[Map]) -> Result<Summary, Unusable> {
    let mut summary = None;
    // It is the last of all.
    let map = complement.last().ok_or(Unusable::Incomplete)?;
    each_record(RecordReader::new(map.bytes()), map, |record| {
        summary = None;
        if record.first() == Some(&kind::SUMMARY) {
            summary = Some(Summary::read(&record[1..])?);
        }
        Ok(())
    })?;
    summary.ok_or(Unusable::Incomplete)
}

impl Summary {
    fn read(body: &[u8]) -> Result<Self, Truncated> {
        let mut decoder = Decoder::new(body);
        let (last_ref, series, bytes) = (decoder.uvarint()?, decoder.uvarint()?, decoder.uvarint()?);
        let files = (0..decoder.count(3)?).map(|_| {
            let number = u32::try_from(decoder.uvarint()?).map_err(|_| Truncated)?;
            Ok(ListedFile { number, bytes: decoder.uvarint()?, max_time: decoder.varint()? })
        });
        let files = files.collect::<Result<Vec<_>, Truncated>>()?;
        Ok(Self { last_ref, series, bytes, files })
    }

    /// Whether the chunk's file is listed, and it begins within it.
    fn has(&self, chunk: &MappedChunk) -> bool {
        let file = self.files.iter().find(|file| file.number == chunk.file);
        file.is_some_and(|file| u64::from(chunk.offset) < file.bytes)
    }
}

fn check_own(record: &[u8], summary: &Summary) -> Result<(), Unusable> {
    match record.first() {
        Some(&kind::MAPPED_CHUNKS) => check_chunks(record, summary),
        Some(&kind::SUMMARY) => Ok(()),
        // Other numbers of series, and metadata.
        Some(&(log_kind::SERIES | log_kind::METADATA)) => Ok(decode(record, &mut Unheard)?),
        Some(other) => Err(Unusable::Kind(*other)),
        None => Err(Unusable::Broken),
    }
}

fn check_chunks(record: &[u8], summary: &Summary) -> Result<(), Unusable> {
    let mut decoder = Decoder::new(&record[1..]);
    while !decoder.is_empty() {
        let list = read_list(&mut decoder)?;
        let follow = |pair: &[MappedChunk]| pair[0].max_time < pair[1].min_time();
        if !list.mapped.windows(2).all(follow) || !list.mapped.iter().chain(&list.late).all(|c| summary.has(c)) {
            return Err(Unusable::Broken);
        }
    }
    Ok(())
}

impl Seen {
    fn check(&mut self, record: &[u8]) -> Result<(), Unusable> {
        match record.first() {
            Some(&kind::SERIES) => {
                self.series += 1;
                check_series(record)
            }
            Some(&kind::TOMBSTONES) => {
                self.has_tombstones = true;
                each_tombstone(record, |tombstone| self.tombstones.push(tombstone))
            }
            Some(&kind::EXEMPLARS) => {
                let mut decoder = Decoder::new(&record[1..]);
                Ok(decode_exemplars_body(&mut decoder, &mut |_, _| {})?)
            }
            Some(other) => Err(Unusable::Kind(*other)),
            None => Err(Unusable::Broken),
        }
    }
}

fn check_series(record: &[u8]) -> Result<(), Unusable> {
    let (mut is_name, mut last_name, mut are_labels) = (true, &[][..], true);
    let mut long_text = false;
    let view = series_view(record, |text| {
        // No name and no value is empty, and names rise.
        are_labels &= if is_name { last_name < text } else { !text.is_empty() };
        if is_name {
            last_name = text;
        }
        is_name = !is_name;
        long_text |= text.len() >= 0x80;
    })?;
    // Lengths below 128 are text themselves, and end whatever text is before them.
    are_labels &= match long_text {
        false => std::str::from_utf8(view.labels).is_ok(),
        true => {
            let mut all = true;
            series_view(record, |text| all &= std::str::from_utf8(text).is_ok())?;
            all
        }
    };
    let is_number = (1..=WAL_REF_MAX).contains(&view.wal_ref);
    let is_chunk = view.chunk.is_none_or(|chunk| chunk.min_time <= chunk.max_time);
    if are_labels && is_number && is_chunk && last_name != b"" { Ok(()) } else { Err(Unusable::Broken) }
}

/// Takes records that are only looked at.
struct Unheard;

impl RecordSink for Unheard {
    fn series(&mut self, _: WalRef, _: Labels) {}
    fn sample(&mut self, _: WalRef, _: Stamp, _: SampleValue) {}
    fn tombstone(&mut self, _: Tombstone) {}
    fn exemplar(&mut self, _: WalRef, _: Exemplar) {}
    fn metadata(&mut self, _: WalRef, _: Metadata) {}
    fn mapped_marker(&mut self, _: MappedMarker) {}
    fn skipped(&mut self, _: u8) {}
}

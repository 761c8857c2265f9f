//! Reading a snapshot: looked through whole first, entered only if nothing is wrong with it.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::storage::StorageError;

use super::{COMPLEMENT, Found, LogPlace, TOMBSTONES_FORMAT, kind, list};
use crate::chunk::Encoding;
use crate::chunk::frozen::FrozenChunk;
use crate::codec::{Decoder, Truncated};
use crate::error::{corrupt, io_error};
use crate::head::replay::Replay;
use crate::mmap::{Behind, Map};
use crate::wal::checkpoint;
use crate::wal::reader::RecordReader;
use crate::wal::record::{RecordError, RecordSink, Tombstone, WalRef, decode, decode_exemplars_body, read_labels};
use crate::wal::segment::{self, path_of};

/// Series of a batch on its way from the reader.
const BATCH_SERIES: usize = if cfg!(test) { 3 } else { 1000 };
/// Batches that wait to be entered.
const BATCHES_MAX: usize = 4;

/// A series of a snapshot, as it stands in a record.
struct SeriesView<'a> {
    wal_ref: WalRef,
    /// As [`read_labels`] takes them.
    labels: &'a [u8],
    chunk: Option<ChunkView<'a>>,
}

struct ChunkView<'a> {
    min_time: i64,
    max_time: i64,
    encoding: Encoding,
    bytes: &'a [u8],
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the snapshot's log segment {0} is gone or shorter")]
    Stale(u32),
    #[error("a record of the snapshot is broken")]
    Broken,
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    #[error("the snapshot is not whole")]
    Incomplete,
    #[error("the snapshot was not made by this program")]
    Foreign,
    #[error("mapped chunks that go with the snapshot are missing")]
    Chunks,
    #[error("the open chunk of a series begins before its mapped ones end")]
    Overlap,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Truncated> for Unusable {
    fn from(_: Truncated) -> Self {
        Unusable::Broken
    }
}

impl From<RecordError> for Unusable {
    fn from(_: RecordError) -> Self {
        Unusable::Broken
    }
}

/// Enters the newest snapshot of the data directory into the replay and returns from where on the log is still to be
/// replayed; nothing if there is no snapshot that can be used. What is wrong with one is told in the replay's report.
///
/// # Errors
/// If the disk fails, or the head cannot hold the series.
pub(crate) fn load(data: &Path, wal: &Path, replay: &mut Replay<'_>) -> Result<Option<LogPlace>, StorageError> {
    let Some(found) = list(data)?.pop() else {
        return Ok(None);
    };
    let maps = match open_and_check(&found, wal, replay) {
        Ok(maps) => maps,
        Err(Unusable::Storage(error @ StorageError::Io { .. })) => return Err(error),
        Err(unusable) => {
            replay.report.snapshot_refused = Some(corrupt(&found.directory, 0, unusable));
            return Ok(None);
        }
    };
    // They stand behind the series, and hold from the start.
    maps.tombstones.iter().for_each(|tombstone| replay.announce(*tombstone, false));
    enter_segments(&maps.segments, replay)?;
    if let Some(own) = &maps.complement {
        each_record(own, |record| {
            if record.first() != Some(&kind::SUMMARY) {
                decode(record, replay)?;
            }
            Ok(())
        })
        .map_err(|_| corrupt(&found.directory, 0, "changed while it was read"))?;
    }
    replay.note_last_ref(maps.last_ref);
    replay.check()?;
    replay.report.snapshot_series = replay.report.series;
    Ok(Some(found.place))
}

struct Maps {
    segments: Vec<Map>,
    complement: Option<Map>,
    last_ref: WalRef,
    tombstones: Vec<Tombstone>,
}

fn open_and_check(found: &Found, wal: &Path, replay: &Replay<'_>) -> Result<Maps, Unusable> {
    check_place(found.place, wal)?;
    if !replay.report.damage.is_empty() {
        return Err(Unusable::Chunks);
    }
    let open = |path: &Path| Map::open(path).map_err(|error| io_error(path, error));
    let mut segments = Vec::new();
    for file in segment::list(&found.directory)? {
        segments.push(open(&path_of(&found.directory, file.segment))?);
    }
    let own = path_of(&found.directory.join(COMPLEMENT), 0);
    let complement = if own.exists() { Some(open(&own)?) } else { None };
    let mut seen = Seen::default();
    for map in &segments {
        each_record(map, |record| seen.check(record, replay))?;
    }
    match &complement {
        Some(own) => {
            let last_ref = check_complement(own, &seen, &segments, replay)?;
            Ok(Maps { segments, complement, last_ref, tombstones: seen.tombstones })
        }
        // One of Prometheus does not tell which numbers the log has used up, and these must never be given again.
        None => Err(Unusable::Foreign),
    }
}

/// The log must still have the place, and its checkpoint must not reach beyond it.
fn check_place(place: LogPlace, wal: &Path) -> Result<(), Unusable> {
    let is_passed = checkpoint::list(wal)?.last().is_some_and(|last| last.through >= place.segment);
    let segments = segment::list(wal)?;
    let has_it = segments.iter().any(|file| file.segment == place.segment && file.bytes >= place.offset);
    if is_passed || !has_it { Err(Unusable::Stale(place.segment)) } else { Ok(()) }
}

/// What the first look at the segments shows.
#[derive(Debug, Default)]
struct Seen {
    series: u64,
    has_tombstones: bool,
    tombstones: Vec<Tombstone>,
}

impl Seen {
    fn check(&mut self, record: &[u8], replay: &Replay<'_>) -> Result<(), Unusable> {
        match record.first() {
            Some(&kind::SERIES) => {
                let view = series_view(record)?;
                self.series += 1;
                let mapped_through = replay.mapped_through(view.wal_ref);
                match view.chunk {
                    // All of it was mapped after the snapshot was made.
                    Some(chunk) if chunk.max_time <= mapped_through => Ok(()),
                    Some(chunk) if chunk.min_time <= mapped_through => Err(Unusable::Overlap),
                    Some(chunk) if chunk.min_time > chunk.max_time => Err(Unusable::Broken),
                    _ => Ok(()),
                }
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

/// The summary must tell of just what there is.
fn check_complement(own: &Map, seen: &Seen, segments: &[Map], replay: &Replay<'_>) -> Result<WalRef, Unusable> {
    let mut summary = None;
    each_record(own, |record| {
        if record.first() == Some(&kind::SUMMARY) {
            let mut decoder = Decoder::new(&record[1..]);
            let (last_ref, series, bytes) = (decoder.uvarint()?, decoder.uvarint()?, decoder.uvarint()?);
            let files = (0..decoder.count(2)?).map(|_| Ok((decoder.uvarint()?, decoder.uvarint()?)));
            summary = Some((last_ref, series, bytes, files.collect::<Result<Vec<_>, Truncated>>()?));
        }
        Ok(())
    })?;
    let (last_ref, series, bytes, files) = summary.ok_or(Unusable::Incomplete)?;
    let found_bytes: u64 = segments.iter().map(|map| map.len() as u64).sum();
    if series != seen.series || bytes != found_bytes || !seen.has_tombstones {
        return Err(Unusable::Incomplete);
    }
    let lengths = replay.mapped_lengths();
    let has = |(file, length): &(u64, u64)| {
        u32::try_from(*file).ok().and_then(|file| lengths.get(&file)).is_some_and(|found| found >= length)
    };
    if files.iter().all(has) { Ok(last_ref) } else { Err(Unusable::Chunks) }
}

fn each_record(map: &Map, mut visit: impl FnMut(&[u8]) -> Result<(), Unusable>) -> Result<(), Unusable> {
    let mut reader = RecordReader::new(map.bytes());
    let mut behind = Behind::default();
    while let Some(record) = reader.advance().map_err(|_| Unusable::Broken)? {
        visit(record)?;
        behind.reach(map, reader.position());
    }
    Ok(())
}

fn series_view(record: &[u8]) -> Result<SeriesView<'_>, Unusable> {
    let mut decoder = Decoder::new(&record[1..]);
    let wal_ref = decoder.u64()?;
    let from = decoder.position();
    for _ in 0..decoder.count(2)? {
        decoder.text()?;
        decoder.text()?;
    }
    let labels = &record[1 + from..1 + decoder.position()];
    // Once the chunk range.
    decoder.u64()?;
    if decoder.uvarint()? == 0 {
        return Ok(SeriesView { wal_ref, labels, chunk: None });
    }
    let (min_time, max_time) = (decoder.i64()?, decoder.i64()?);
    let encoding = Encoding::from_byte(decoder.u8()?).ok_or(Unusable::Broken)?;
    // The last value behind the chunk is in the chunk too.
    let chunk = ChunkView { min_time, max_time, encoding, bytes: decoder.text()? };
    Ok(SeriesView { wal_ref, labels, chunk: Some(chunk) })
}

fn each_tombstone(record: &[u8], mut visit: impl FnMut(Tombstone)) -> Result<(), Unusable> {
    let mut outer = Decoder::new(&record[1..]);
    let mut decoder = Decoder::new(outer.text()?);
    if decoder.u8()? != TOMBSTONES_FORMAT {
        return Err(Unusable::Broken);
    }
    while !decoder.is_empty() {
        let (series, min_time, max_time) = (decoder.uvarint()?, decoder.varint()?, decoder.varint()?);
        visit(Tombstone { series, min_time, max_time });
    }
    Ok(())
}

/// Enters the segments: one thread reads, this one enters.
fn enter_segments(maps: &[Map], replay: &mut Replay<'_>) -> Result<(), StorageError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        let reader = scope.spawn(move || read_segments(maps, &sender));
        for batch in receiver {
            for (wal_ref, labels, chunk) in batch.series {
                replay.enter_frozen(wal_ref, labels, chunk);
            }
            batch.tombstones.into_iter().for_each(|tombstone| replay.tombstone(tombstone));
            batch.exemplars.into_iter().for_each(|(series, exemplar)| replay.exemplar(series, exemplar));
            // Leaving ends the reader too.
            replay.check()?;
        }
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.map_err(|unusable| corrupt("snapshot".as_ref(), 0, unusable))
    })
}

/// A series with its open chunk and that one's first time.
type FrozenSeries = (WalRef, Labels, Option<(i64, FrozenChunk)>);

/// What was read and is to be entered, in this order.
#[derive(Default)]
struct Decoded {
    series: Vec<FrozenSeries>,
    tombstones: Vec<Tombstone>,
    exemplars: Vec<(WalRef, Exemplar)>,
}

fn read_segments(maps: &[Map], sender: &SyncSender<Decoded>) -> Result<(), Unusable> {
    let mut batch = Decoded::default();
    // Whoever takes them has given up if they cannot be sent.
    let send = |batch: &mut Decoded| sender.send(std::mem::take(batch)).map_err(|_| Unusable::Incomplete);
    for map in maps {
        each_record(map, |record| {
            match record.first() {
                Some(&kind::SERIES) => {
                    let view = series_view(record)?;
                    let chunk = view.chunk.map(|chunk| {
                        let ChunkView { min_time, max_time, encoding, bytes } = chunk;
                        (min_time, FrozenChunk { encoding, last_time: max_time, bytes: bytes.into() })
                    });
                    batch.series.push((view.wal_ref, read_labels(&mut Decoder::new(view.labels))?, chunk));
                }
                Some(&kind::TOMBSTONES) => each_tombstone(record, |tombstone| batch.tombstones.push(tombstone))?,
                _ => {
                    let mut push = |series, exemplar: Exemplar| batch.exemplars.push((series, exemplar));
                    decode_exemplars_body(&mut Decoder::new(&record[1..]), &mut push)?;
                }
            }
            if batch.series.len() >= BATCH_SERIES { send(&mut batch) } else { Ok(()) }
        })?;
    }
    send(&mut batch)
}

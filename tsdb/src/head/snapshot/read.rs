//! Reading a snapshot: looked through whole first, entered only if nothing is wrong with it.

use std::path::Path;

use model::storage::StorageError;

use super::check::{self, Checked};
use super::enter::enter;
use super::{COMPLEMENT, Found, LogPlace, TOMBSTONES_FORMAT, kind, list, remove_all};
use crate::chunk::Encoding;
use crate::codec::{Decoder, Truncated};
use crate::error::{corrupt, io_error};
use crate::fs::FileSystem;
use crate::head::replay::Replay;
use crate::mmap::{Behind, Map};
use crate::wal::checkpoint;
use crate::wal::reader::RecordReader;
use crate::wal::record::{RecordError, Tombstone, WalRef, decode};
use crate::wal::segment::{self, path_of};

/// A series of a snapshot, as it stands in a record.
pub(super) struct SeriesView<'a> {
    pub(super) wal_ref: WalRef,
    /// Count, and names and values in turn, each behind its length.
    pub(super) labels: &'a [u8],
    pub(super) chunk: Option<ChunkView<'a>>,
}

/// Its open chunk.
pub(super) struct ChunkView<'a> {
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    pub(super) encoding: Encoding,
    pub(super) bytes: &'a [u8],
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the snapshot's log segment {0} is gone or shorter")]
    Stale(u32),
    #[error("a record of the snapshot is broken")]
    Broken,
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    #[error("the snapshot is not whole")]
    Incomplete,
    #[error("the snapshot was not made by this version of this program")]
    Foreign,
    #[error("mapped chunks that go with the snapshot are missing")]
    Chunks,
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
pub(crate) fn load(
    fs: &dyn FileSystem,
    data: &Path,
    wal: &Path,
    replay: &mut Replay<'_>,
) -> Result<Option<LogPlace>, StorageError> {
    let Some(found) = list(data)?.pop() else {
        return Ok(None);
    };
    let (files, checked) = match open_and_check(&found, wal, replay) {
        Ok(sound) => sound,
        Err(Unusable::Storage(error @ StorageError::Io { .. })) => return Err(error),
        Err(unusable) => {
            replay.report.snapshot_refused = Some(corrupt(&found.directory, 0, unusable));
            return Ok(None);
        }
    };
    replay.head().mapped.take_listed(&checked.files)?;
    replay.expect_series(checked.series as usize);
    // They stand behind the series, and hold from the start.
    checked.tombstones.iter().for_each(|tombstone| replay.announce(*tombstone, false));
    let entered = enter(&files, replay).and_then(|()| enter_own(&files, &found.directory, replay));
    if let Err(error @ StorageError::Corrupt { .. }) = entered {
        // It was looked through: this is a fault of whoever wrote it, and the next start must not meet it again.
        remove_all(fs, data)?;
        return Err(error);
    }
    entered?;
    replay.note_last_ref(checked.last_ref);
    replay.check()?;
    replay.report.snapshot_series = replay.report.series;
    Ok(Some(found.place))
}

/// Enters what the complement has beside lists of chunks.
fn enter_own(files: &Files, directory: &Path, replay: &mut Replay<'_>) -> Result<(), StorageError> {
    for map in &files.complement {
        each_record(RecordReader::of_checked(map.bytes()), map, |record| {
            if !matches!(record.first(), Some(&(kind::SUMMARY | kind::MAPPED_CHUNKS))) {
                decode(record, replay)?;
            }
            Ok(())
        })
        .map_err(|unusable| corrupt(directory, 0, unusable))?;
    }
    Ok(())
}

/// The files of a snapshot.
pub(super) struct Files {
    pub(super) segments: Vec<Map>,
    /// Ours.
    pub(super) complement: Vec<Map>,
}

fn open_and_check(found: &Found, wal: &Path, replay: &Replay<'_>) -> Result<(Files, Checked), Unusable> {
    check_place(found.place, wal)?;
    let open = |directory: &Path| {
        let mut maps = Vec::new();
        for file in segment::list(directory)? {
            let path = path_of(directory, file.segment);
            let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
            map.will_be_read();
            maps.push(map);
        }
        Ok::<_, StorageError>(maps)
    };
    let files = Files { segments: open(&found.directory)?, complement: open(&found.directory.join(COMPLEMENT))? };
    if files.complement.is_empty() {
        // One of Prometheus does not tell which numbers the log has used up, and these must never be given again.
        return Err(Unusable::Foreign);
    }
    let checked = check::check(&files, replay.head().mapped.listed())?;
    Ok((files, checked))
}

/// The log must still have the place, and its checkpoint must not reach beyond it.
fn check_place(place: LogPlace, wal: &Path) -> Result<(), Unusable> {
    let is_passed = checkpoint::list(wal)?.last().is_some_and(|last| last.through >= place.segment);
    let segments = segment::list(wal)?;
    let has_it = segments.iter().any(|file| file.segment == place.segment && file.bytes >= place.offset);
    if is_passed || !has_it { Err(Unusable::Stale(place.segment)) } else { Ok(()) }
}

/// Hands over the records of a file.
pub(super) fn each_record(
    mut reader: RecordReader<'_>,
    map: &Map,
    mut visit: impl FnMut(&[u8]) -> Result<(), Unusable>,
) -> Result<(), Unusable> {
    let mut behind = Behind::default();
    while let Some(record) = reader.advance().map_err(|_| Unusable::Broken)? {
        visit(record)?;
        behind.reach(map, reader.position());
    }
    Ok(())
}

/// Takes the record of a series apart, and hands its names and values in turn to `visit`.
pub(super) fn series_view<'a>(record: &'a [u8], mut visit: impl FnMut(&'a [u8])) -> Result<SeriesView<'a>, Unusable> {
    let mut decoder = Decoder::new(&record[1..]);
    let wal_ref = decoder.u64()?;
    let from = decoder.position();
    for _ in 0..decoder.count(2)? {
        visit(decoder.text()?);
        visit(decoder.text()?);
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

/// Hands over the tombstones of their record.
pub(super) fn each_tombstone(record: &[u8], mut visit: impl FnMut(Tombstone)) -> Result<(), Unusable> {
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

//! Snapshots of the head that a clean stop leaves, so that the next start replays almost nothing.
//!
//! A directory `chunk_snapshot.N.M` as Prometheus' `memory-snapshot-on-shutdown` makes them: all series with their open
//! chunks, tombstones, exemplars, as of offset M of segment N of the write-ahead log. Beside them `complement` has what
//! that form has no place for. A snapshot only spares work: the log says everything too. So one that is damaged, not whole
//! or not of this log is thrown away, and one that was used is removed. Layout: `docs/formats/snapshot.md`.

mod check;
mod chunk_lists;
mod enter;
mod read;
mod write;

use std::path::{Path, PathBuf};

use model::storage::StorageError;

use crate::error::io_error;
use crate::fs::{self, FileSystem};

pub(crate) use read::load;

const PREFIX: &str = "chunk_snapshot.";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// The file of our own within a snapshot.
const COMPLEMENT: &str = "complement";

/// The first byte of a snapshot's record.
mod kind {
    pub(super) const SERIES: u8 = 1;
    pub(super) const TOMBSTONES: u8 = 2;
    pub(super) const EXEMPLARS: u8 = 3;
    /// Mapped chunks of series, in the complement.
    pub(super) const MAPPED_CHUNKS: u8 = 0xc2;
    /// The complement's last record, which tells what else there must be.
    pub(super) const SUMMARY: u8 = 0xc3;
}

/// The format of the tombstones within their record.
const TOMBSTONES_FORMAT: u8 = 1;

/// A place in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// A snapshot in the data directory.
#[derive(Debug, Clone)]
struct Found {
    place: LogPlace,
    directory: PathBuf,
}

fn name_of(place: LogPlace) -> String {
    format!("{PREFIX}{:06}.{:010}", place.segment, place.offset)
}

/// The snapshots of a data directory, oldest first.
fn list(data: &Path) -> Result<Vec<Found>, StorageError> {
    let entries = fs::list(data).map_err(|error| io_error(data, error))?;
    let mut found: Vec<Found> = entries
        .iter()
        .filter(|entry| entry.is_directory)
        .filter_map(|entry| {
            let (segment, offset) = entry.name.strip_prefix(PREFIX)?.split_once('.')?;
            let place = LogPlace { segment: segment.parse().ok()?, offset: offset.parse().ok()? };
            Some(Found { place, directory: data.join(&entry.name) })
        })
        .collect();
    found.sort_by_key(|found| found.place);
    Ok(found)
}

/// Removes all snapshots, half-written ones included.
pub(crate) fn remove_all(fs: &dyn FileSystem, data: &Path) -> Result<(), StorageError> {
    for entry in fs::list(data).map_err(|error| io_error(data, error))? {
        if entry.is_directory && entry.name.starts_with(PREFIX) {
            let path = data.join(&entry.name);
            fs.remove_directory(&path).map_err(|error| io_error(&path, error))?;
        }
    }
    Ok(())
}

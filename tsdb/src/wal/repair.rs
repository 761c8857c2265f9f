//! Writing a segment anew: to cut off damage, keeping the damaged file aside, or to make sure of what a sync may have lost.

use std::path::Path;

use model::storage::StorageError;

use super::segment::path_of;
use crate::error::io_error;
use crate::fs::FileSystem;
use crate::mmap::Map;

/// Replaces a segment by a durable copy of its first `length` bytes, or of all.
pub(crate) fn rewrite(
    fs: &dyn FileSystem,
    directory: &Path,
    segment: u32,
    length: Option<u64>,
) -> Result<(), StorageError> {
    let path = path_of(directory, segment);
    let temporary = directory.join(format!("{segment:08}.rewrite"));
    let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
    let bytes = map.bytes();
    let kept = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(bytes.len()).min(bytes.len());
    let write = || {
        let file = fs.create(&temporary)?;
        file.write_all(&bytes[..kept])?;
        file.sync()?;
        fs.rename(&temporary, &path)?;
        fs.sync_directory(directory)
    };
    write().map_err(|error| io_error(&temporary, error))
}

/// Cuts a damaged segment to its sound part and keeps the whole of it beside as `<segment>.damaged`.
pub(crate) fn set_aside(
    fs: &dyn FileSystem,
    directory: &Path,
    segment: u32,
    good_bytes: u64,
) -> Result<(), StorageError> {
    let path = path_of(directory, segment);
    let aside = directory.join(format!("{segment:08}.damaged"));
    let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
    let copy = || {
        let file = fs.create(&aside)?;
        file.write_all(map.bytes())?;
        file.sync()
    };
    copy().map_err(|error| io_error(&aside, error))?;
    rewrite(fs, directory, segment, Some(good_bytes))
}

//! Reading what chunks the files hold, for a start from the log.

use std::path::Path;

use model::storage::StorageError;

use super::{
    CHUNK_HEADER_BYTES_MIN, ChunkView, HEADER_BYTES, MAGIC, MappedChunk, MappedChunks, MappedFile, VERSION,
    sound_view_at,
};
use crate::chunk::{Encoding, OUT_OF_ORDER_BIT};
use crate::error::{corrupt, io_error};
use crate::mmap::Map;
use crate::wal::record::WalRef;

/// What [`MappedChunks::scan`] found: chunks by series in order of the files, and damage.
#[derive(Debug, Default)]
pub(crate) struct FoundChunks {
    pub(crate) by_series: hashbrown::HashMap<WalRef, Vec<MappedChunk>, foldhash::fast::RandomState>,
    /// Chunks of out-of-order samples.
    pub(crate) late_by_series: hashbrown::HashMap<WalRef, Vec<MappedChunk>, foldhash::fast::RandomState>,
    pub(crate) damage: Vec<StorageError>,
}

impl FoundChunks {
    /// The chunks of a series. The table gives room back as it empties, because the head grows meanwhile.
    pub(crate) fn take(&mut self, series: WalRef) -> Option<Vec<MappedChunk>> {
        let taken = self.by_series.remove(&series);
        if self.by_series.len() < self.by_series.capacity() / 4 {
            self.by_series.shrink_to_fit();
        }
        taken
    }
}

impl MappedChunks {
    /// Reads what chunks the files hold. What stands behind damage is removed.
    pub(crate) fn scan(&self) -> Result<FoundChunks, StorageError> {
        let mut found = FoundChunks::default();
        let maps: Vec<_> = self.files.read().iter().map(|(number, file)| (*number, file.map.clone())).collect();
        for (number, mut map) in maps {
            let path = self.path_of(number);
            let io = |error| io_error(&path, error);
            if !found.damage.is_empty() {
                self.fs.remove_file(&path).map_err(io)?;
                self.files.write().remove(&number);
                continue;
            }
            let scanned = scan(&path, number, map.bytes(), &mut found);
            match scanned.good_bytes {
                _ if found.damage.is_empty() => {}
                0 => {
                    self.fs.remove_file(&path).map_err(io)?;
                    self.files.write().remove(&number);
                    continue;
                }
                good => {
                    self.fs.cut_file(&path, good as u64).map_err(io)?;
                    map = Map::open(&path).map_err(io)?.into();
                }
            }
            // Looked at once, for the checksums.
            map.let_go(0..map.len());
            self.files.write().insert(number, MappedFile { map, max_time: scanned.max_time, late: 0 });
        }
        Ok(found)
    }
}

/// What a scan of a file found beside its chunks.
struct Scanned {
    max_time: i64,
    /// End of the last sound chunk; 0 if the file has no sound header.
    good_bytes: usize,
}

/// Enters the chunks of a file into `found`, up to the first damage.
fn scan(path: &Path, number: u32, bytes: &[u8], found: &mut FoundChunks) -> Scanned {
    let mut scanned = Scanned { max_time: i64::MIN, good_bytes: 0 };
    if bytes.iter().all(|b| *b == 0) {
        // Created, and nothing written before a crash.
        return scanned;
    }
    if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC.to_be_bytes() || bytes[4] != VERSION {
        found.damage.push(corrupt(path, 0, "not a file of head chunks of version 1"));
        return scanned;
    }
    scanned.good_bytes = HEADER_BYTES;
    while scanned.good_bytes < bytes.len() {
        let offset = scanned.good_bytes;
        let rest = &bytes[offset..];
        // Prometheus allocates its files ahead: zeros are their unused end.
        if rest.iter().take(CHUNK_HEADER_BYTES_MIN).all(|b| *b == 0) {
            break;
        }
        let view = match sound_view_at(bytes, offset) {
            Ok(view) => view,
            Err(reason) => {
                found.damage.push(corrupt(path, offset as u64, reason));
                break;
            }
        };
        scanned.max_time = scanned.max_time.max(view.max_time);
        enter(path, number, offset, &view, found);
        scanned.good_bytes += view.length;
    }
    scanned
}

fn enter(path: &Path, file: u32, offset: usize, view: &ChunkView<'_>, found: &mut FoundChunks) {
    let by_series = match view.encoding & OUT_OF_ORDER_BIT {
        0 => &mut found.by_series,
        _ => &mut found.late_by_series,
    };
    let span_ms = u32::try_from(view.max_time.wrapping_sub(view.min_time)).ok();
    match (Encoding::from_byte(view.encoding & !OUT_OF_ORDER_BIT), span_ms, u32::try_from(offset)) {
        (Some(encoding), Some(span_ms), Ok(offset)) => {
            let count = encoding.sample_count(view.data);
            let chunk = MappedChunk { max_time: view.max_time, file, offset, span_ms, count, encoding };
            let chunks = by_series.entry(view.series).or_default();
            // As many as there are mostly are few: no room is taken for more.
            chunks.reserve_exact(1);
            chunks.push(chunk);
        }
        _ => {
            let reason = format!("a chunk of encoding {} from {} to {}", view.encoding, view.min_time, view.max_time);
            found.damage.push(corrupt(path, offset as u64, reason));
        }
    }
}

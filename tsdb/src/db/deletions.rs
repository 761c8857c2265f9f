//! Deleting samples: what the blocks, the head and both logs are told of it, and what the logs tell at the next start.
//!
//! A deletion takes what there is; what is appended afterwards, late samples into the deleted range too, is seen. Each
//! segment of the write-behind log begins with a tombstone of no series, which says that it tells deletions of late
//! samples in order with these: Prometheus' does not, and there those of the write-ahead log hold for late samples too.

use std::path::Path;

use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::StorageError;

use super::Db;
use crate::error::{Error, io_error};
use crate::head::reader::TimeRange;
use crate::head::replay::Replay;
use crate::head::snapshot::LogPlace;
use crate::mmap::{Behind, Map};
use crate::wal::reader::RecordReader;
use crate::wal::record::{
    RecordSink, SampleValue, Tombstone, WalRef, decode, encode_mapped_markers, encode_tombstones, kind,
};
use crate::wal::segment::SegmentFile;
use crate::wal::{Wal, checkpoint, segment};

/// Tells that the log tells deletions. Series are numbered from 1.
const TELLS_DELETIONS: Tombstone = Tombstone { series: 0, min_time: 0, max_time: 0 };

/// Bytes of a log passed over at a time.
const PASSED_BYTES_MAX: usize = 4 << 20;

impl Db {
    /// Marks the samples of `matchers` in the closed range `[min_time, max_time]` as deleted. Returns how many series
    /// had any in that range, each counted once for every block and once for the head.
    ///
    /// # Errors
    /// If the log or a block cannot be written; what was deleted in the blocks before stays deleted.
    pub fn delete_series(
        &self,
        min_time: Timestamp,
        max_time: Timestamp,
        matchers: &[Matcher],
    ) -> Result<usize, Error> {
        self.check_writable()?;
        // What is deleted must not be on its way from the head into a block, or into another block.
        let _upkeep = self.upkeep.lock();
        let deleted = self.delete_in_blocks(TimeRange { min: min_time.0, max: max_time.0 }, matchers)?;
        let deletion = self.head.deletion_of(min_time.0, max_time.0, matchers);
        let encoded = |stones: &[(u32, Tombstone)]| {
            let mut record = Vec::new();
            encode_tombstones(stones.iter().map(|(_, stone)| stone), &mut record);
            record
        };
        let _gate = self.head.enter_gate();
        if !deletion.in_order.is_empty() {
            self.wal.append_record(&encoded(&deletion.in_order))?;
            self.head.enter_tombstones(&deletion.in_order);
        }
        if let Some(wbl) = self.wbl.get().filter(|_| !deletion.late.is_empty()) {
            let _late_commits = self.head.lock_late_commits();
            let markers = self.head.cut_late_of(&deletion.late)?;
            if !markers.is_empty() {
                let mut record = Vec::new();
                encode_mapped_markers(&markers, &mut record);
                wbl.append_record(&record)?;
            }
            wbl.append_record(&encoded(&deletion.late))?;
            self.head.enter_late_tombstones(&deletion.late);
        }
        Ok(deleted + deletion.series)
    }
}

/// Writes tombstones of late samples into the write-behind log; with none, only that it tells them.
pub(super) fn tell(wbl: &Wal, deleted: &[Tombstone]) -> Result<(), StorageError> {
    let mut record = Vec::new();
    encode_tombstones([&TELLS_DELETIONS].into_iter().chain(deleted), &mut record);
    wbl.append_record(&record)
}

/// Looks through the write-behind log for deletions: late samples are not shown before the replay is through with it.
///
/// # Errors
/// If the disk fails.
pub(super) fn announce_late(data: &Path, replay: &mut Replay<'_>) -> Result<(), StorageError> {
    let wbl = data.join("wbl");
    let segments = segment::list(&wbl)?;
    Announcer { replay, is_late: true }.look_through(&wbl, &segments, 0)
}

/// Looks through the write-ahead log, from a place on if a snapshot has what is before, so that queries during the replay
/// do not show what a later record deletes. Damage is met again, and told, by the replay.
///
/// # Errors
/// If the disk fails.
pub(super) fn announce(
    wal: &Path,
    segments: &[SegmentFile],
    from: Option<LogPlace>,
    replay: &mut Replay<'_>,
) -> Result<(), StorageError> {
    let mut announcer = Announcer { replay, is_late: false };
    let Some(place) = from else {
        if let Some(last) = checkpoint::list(wal)?.pop() {
            announcer.look_through(&last.directory, &segment::list(&last.directory)?, 0)?;
        }
        return announcer.look_through(wal, segments, 0);
    };
    let first = segments.partition_point(|file| file.segment < place.segment);
    announcer.look_through(wal, &segments[first..], place.offset as usize)
}

/// Takes the tombstones of the logs alone.
struct Announcer<'r, 'h> {
    replay: &'r mut Replay<'h>,
    is_late: bool,
}

impl Announcer<'_, '_> {
    /// The first segment is looked through from an offset on.
    fn look_through(&mut self, directory: &Path, segments: &[SegmentFile], from: usize) -> Result<(), StorageError> {
        for (at, file) in segments.iter().enumerate() {
            let path = segment::path_of(directory, file.segment);
            let map = Map::open(&path).map_err(|error| io_error(&path, error))?;
            let mut reader = RecordReader::starting_at(map.bytes(), if at == 0 { from } else { 0 });
            let mut behind = Behind::default();
            loop {
                behind.reach(&map, reader.position());
                // A part at a time, so that what was passed over is let go of.
                if !reader.pass_over_others(kind::TOMBSTONES, PASSED_BYTES_MAX) {
                    continue;
                }
                let Ok(Some(record)) = reader.advance() else {
                    break;
                };
                if record.first() == Some(&kind::TOMBSTONES) {
                    let _told_by_the_replay = decode(record, self);
                }
            }
            self.replay.check()?;
        }
        Ok(())
    }
}

impl RecordSink for Announcer<'_, '_> {
    fn tombstone(&mut self, tombstone: Tombstone) {
        if tombstone != TELLS_DELETIONS {
            self.replay.announce(tombstone, self.is_late);
        }
    }

    fn series(&mut self, _: WalRef, _: model::labels::Labels) {}
    fn sample(&mut self, _: WalRef, _: crate::chunk::Stamp, _: SampleValue) {}
    fn exemplar(&mut self, _: WalRef, _: model::exemplar::Exemplar) {}
    fn metadata(&mut self, _: WalRef, _: model::metadata::Metadata) {}
    fn mapped_marker(&mut self, _: crate::wal::record::MappedMarker) {}
    fn skipped(&mut self, _: u8) {}
}

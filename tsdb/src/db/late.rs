//! Upkeep of out-of-order samples: once the head has written a range out, the late ones become blocks of their own.
//!
//! The order: the write-behind log begins a new segment and all late samples so far go to mapped chunks, with no late
//! commit in between; the blocks are written, durable and open; readers that began before end; the head lets go of the
//! chunks, and the segments before go. A stop anywhere leaves the samples twice at most, and reading tells them once.

use model::sample::Timestamp;
use model::storage::StorageError;

use super::{Db, Upkeep, deletions};
use crate::head::late::LateToWrite;
use crate::wal::checkpoint;
use crate::wal::record::encode_mapped_markers;

/// Late chunks that stand in blocks and wait for the readers that began before.
#[derive(Debug)]
pub(super) struct WrittenLate {
    written: LateToWrite,
    last_reader: u64,
    /// The first segment of the write-behind log that is still needed.
    segment: u32,
}

impl Db {
    /// Writes late samples out as blocks if the head wrote a range out since the last time, as far as no reader is in
    /// the way.
    pub(super) fn compact_late(&self, upkeep: &mut Upkeep, now: Timestamp) -> Result<(), StorageError> {
        let Some(wbl) = self.wbl.get() else {
            return Ok(());
        };
        if let Some(written) = upkeep.written_late.take() {
            if self.head.isolation.has_reader_through(written.last_reader) {
                upkeep.written_late = Some(written);
                return Ok(());
            }
            self.head.release_late(&written.written);
            if let Some(through) = written.segment.checked_sub(1) {
                wbl.sync()?;
                checkpoint::remove_through(&*self.fs, wbl.directory(), through, &self.instruments.wbl)?;
                self.instruments.wbl.truncations.add(1);
            }
        }
        // Only what lies before the head's in-order samples: a block of late samples never reaches beyond those of others.
        let through = self.head.times.min_valid();
        if self.head.times.late().0 >= through || upkeep.late_written_at == Some(through) {
            return Ok(());
        }
        let (segment, to_write) = {
            let _late_commits = self.head.lock_late_commits();
            let segment = wbl.next_segment()?;
            deletions::tell(wbl, &[])?;
            let to_write = self.head.cut_all_late(through)?;
            if !to_write.kept.is_empty() {
                // The segments before are going to go, and these chunks are then all there is of their samples.
                self.head.mapped.sync()?;
                let mut record = Vec::new();
                encode_mapped_markers(&to_write.kept, &mut record);
                wbl.append_record(&record)?;
            }
            (segment, to_write)
        };
        self.write_out_of_order_blocks(now, &mut to_write.series(&self.head))?;
        upkeep.late_written_at = Some(through);
        let last_reader = self.head.isolation.last_reader();
        upkeep.written_late = Some(WrittenLate { written: to_write, last_reader, segment });
        Ok(())
    }
}

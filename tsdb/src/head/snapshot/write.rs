//! Writing a snapshot.

use std::io;
use std::path::Path;

use model::labels::Labels;
use model::storage::StorageError;

use super::chunk_lists::ChunkListWriter;
use super::{COMPLEMENT, LogPlace, TEMPORARY_SUFFIX, TOMBSTONES_FORMAT, kind, name_of};
use crate::chunk::{Encoding, OpenChunk};
use crate::codec::{put_text, put_uvarint, put_varint};
use crate::config::Compression;
use crate::error::io_error;
use crate::fs::FileSystem;
use crate::head::Head;
use crate::head::series::Series;
use crate::wal::Batch;
use crate::wal::output::Output;
use crate::wal::record::{SampleValue, SeriesRecord, encode_metadata, put_exemplars, put_labels, put_value};

/// Bytes of records gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;
/// Bytes of a segment: several threads look through them at once.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// Exemplars of one record.
const EXEMPLARS_PER_RECORD: usize = 10_000;
/// Series of one record of metadata.
const METADATA_PER_RECORD: usize = 1000;

impl Head {
    /// Writes a snapshot that goes with `place` in the log. The caller keeps commits and deletions out, and has mapped all
    /// full chunks and made them durable.
    pub(crate) fn write_snapshot(
        &self,
        fs: &dyn FileSystem,
        data: &Path,
        place: LogPlace,
        segment_bytes: u64,
    ) -> Result<(), StorageError> {
        let directory = data.join(name_of(place));
        let temporary = data.join(format!("{}{TEMPORARY_SUFFIX}", name_of(place)));
        let complement = temporary.join(COMPLEMENT);
        let write = || {
            fs.create_directory(&temporary)?;
            fs.create_directory(&complement)?;
            let segment_bytes = segment_bytes.min(SEGMENT_BYTES_MAX);
            let mut segments = Output::create(fs, &temporary, segment_bytes)?;
            let mut own = Output::create(fs, &complement, segment_bytes)?;
            let series = self.put_series(&mut segments, &mut own)?;
            self.put_tombstones(&mut segments)?;
            self.put_exemplars(&mut segments)?;
            segments.finish()?;
            self.put_complement(&mut own)?;
            self.put_summary(series, segments.total(), &mut own)?;
            own.finish()?;
            fs.sync_directory(&complement)?;
            fs.sync_directory(&temporary)?;
            fs.rename(&temporary, &directory)?;
            fs.sync_directory(data)
        };
        write().map_err(|error| io_error(&temporary, error))
    }

    /// Series to the segments, and their mapped chunks to the complement, in one order.
    fn put_series(&self, out: &mut Output<'_>, own: &mut Output<'_>) -> io::Result<u64> {
        let (mut batch, mut record, mut count) = (Batch::default(), Vec::new(), 0);
        let mut lists = ChunkListWriter::default();
        for slot in 0..self.slab.end() {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let labels = self.labels_at(slot);
            let series = cell.lock();
            // A series that the log does not know has no samples.
            if series.wal_ref == 0 || series.is_dead || !series.is_logged {
                continue;
            }
            record.clear();
            encode_series(&series, &labels, &mut record);
            lists.push(series.wal_ref, &series.mapped, series.late.as_ref().map_or(&[], |late| late.mapped()));
            count += 1;
            drop(series);
            if lists.is_full() {
                write_record(own, lists.record())?;
                lists.clear();
            }
            // Plain: it is read once, soon, and fast.
            batch.push(Compression::None, &record);
            if batch.bytes_len() >= GATHERED_BYTES {
                out.write(&batch)?;
                batch.clear();
            }
        }
        out.write(&batch)?;
        if !lists.is_empty() {
            write_record(own, lists.record())?;
        }
        Ok(count)
    }

    fn put_tombstones(&self, out: &mut Output<'_>) -> io::Result<()> {
        let mut stones = vec![TOMBSTONES_FORMAT];
        let tombstones = self.tombstones.read();
        for (slot, intervals) in tombstones.iter() {
            let Some(wal_ref) = self.slab.cell(slot).map(|cell| cell.lock().wal_ref) else {
                continue;
            };
            for interval in intervals {
                put_uvarint(&mut stones, wal_ref);
                put_varint(&mut stones, interval.min_time);
                put_varint(&mut stones, interval.max_time);
            }
        }
        let mut record = vec![kind::TOMBSTONES];
        put_text(&mut record, &stones);
        write_record(out, &record)
    }

    fn put_exemplars(&self, out: &mut Output<'_>) -> io::Result<()> {
        let known = |(labels, exemplar): (Labels, _)| {
            let id = self.find(&labels, labels.hash64())?;
            Some((id.wal_ref, exemplar))
        };
        let exemplars: Vec<_> = self.exemplars.all().into_iter().filter_map(known).collect();
        for part in exemplars.chunks(EXEMPLARS_PER_RECORD) {
            let mut record = vec![kind::EXEMPLARS];
            put_exemplars(part.iter().map(|(wal_ref, exemplar)| (*wal_ref, exemplar)), &mut record);
            write_record(out, &record)?;
        }
        Ok(())
    }

    /// Other numbers of series in the log, and metadata, as records of the log.
    fn put_complement(&self, out: &mut Output<'_>) -> io::Result<()> {
        let mut aliases = SeriesRecord::default();
        for (alias, id) in &*self.work.aliases.lock() {
            let labels = self.labels_at(id.slot);
            if self.find(&labels, labels.hash64()).is_some_and(|living| living.wal_ref == id.wal_ref) {
                aliases.push(*alias, &labels);
            }
        }
        if !aliases.bytes().is_empty() {
            write_record(out, aliases.bytes())?;
        }
        let metadata = self.metadata.read();
        let numbered = metadata.iter().filter_map(|(slot, metadata)| Some((self.id_at(slot)?.wal_ref, &**metadata)));
        let mut numbered: Vec<_> = numbered.collect();
        numbered.sort_unstable_by_key(|(wal_ref, _)| *wal_ref);
        for part in numbered.chunks(METADATA_PER_RECORD) {
            let mut record = Vec::new();
            encode_metadata(part.iter().copied(), &mut record);
            write_record(out, &record)?;
        }
        Ok(())
    }

    /// The last number given to a series, how many series and bytes the segments have, and what files of mapped chunks go with
    /// them.
    fn put_summary(&self, series: u64, bytes: u64, out: &mut Output<'_>) -> io::Result<()> {
        let mut record = vec![kind::SUMMARY];
        let files = self.mapped.listed();
        for number in [self.last_ref(), series, bytes, files.len() as u64] {
            put_uvarint(&mut record, number);
        }
        for file in files {
            put_uvarint(&mut record, u64::from(file.number));
            put_uvarint(&mut record, file.bytes);
            put_varint(&mut record, file.max_time);
        }
        write_record(out, &record)
    }
}

fn write_record(out: &mut Output<'_>, record: &[u8]) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.push(Compression::None, record);
    out.write(&batch)
}

/// Appends the record of a series: number, labels, and its open chunk with the last value in the form that Prometheus
/// wants beside it.
fn encode_series(series: &Series, labels: &Labels, out: &mut Vec<u8>) {
    out.push(kind::SERIES);
    out.extend_from_slice(&series.wal_ref.to_be_bytes());
    put_labels(out, labels);
    out.extend_from_slice(&0u64.to_be_bytes());
    let Some(open) = &series.open else {
        put_uvarint(out, 0);
        return;
    };
    put_uvarint(out, 1);
    out.extend_from_slice(&series.open_min_time().to_be_bytes());
    out.extend_from_slice(&open.last_time().to_be_bytes());
    out.push(open.encoding() as u8);
    put_text(out, open.bytes());
    match last_value_of(open) {
        // Once the last four samples; now zeros and the last value.
        value @ SampleValue::Float(_) => {
            out.extend_from_slice(&[0; 3 * 16 + 8]);
            put_value(out, &value);
        }
        value => put_value(out, &value),
    }
}

fn last_value_of(open: &OpenChunk) -> SampleValue {
    match open {
        OpenChunk::Xor(chunk) => SampleValue::Float(chunk.last_value()),
        OpenChunk::Xor2(chunk) => SampleValue::Float(chunk.last_value()),
        OpenChunk::Histogram(chunk) => SampleValue::Int(chunk.last().clone().into()),
        OpenChunk::FloatHistogram(chunk) => SampleValue::FloatHistogram(chunk.last().clone().into()),
        OpenChunk::Frozen(frozen) => match (frozen.thaw(0), frozen.encoding) {
            (Ok(thawed), _) => last_value_of(&thawed.chunk),
            // A chunk of ours always thaws; from another we do not read this value.
            (Err(_), Encoding::Xor | Encoding::Xor2) => SampleValue::Float(0.0),
            (Err(_), Encoding::Histogram | Encoding::StartedHistogram) => SampleValue::Int(Default::default()),
            (Err(_), _) => SampleValue::FloatHistogram(Default::default()),
        },
    }
}

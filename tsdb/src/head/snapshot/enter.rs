//! Entering a snapshot that was found to be sound: one thread reads, one makes the series, one indexes them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use model::exemplar::Exemplar;
use model::labels::SEPARATOR;
use model::storage::StorageError;

use super::chunk_lists::{ChunkList, read_list};
use super::kind;
use super::read::{ChunkView, Files, Unusable, each_record, each_tombstone, series_view};
use crate::chunk::frozen::FrozenChunk;
use crate::codec::Decoder;
use crate::error::corrupt;
use crate::head::load::{LoadedBatch, LoadedSeries, Rows};
use crate::head::replay::Replay;
use crate::mmap::{Behind, Map};
use crate::wal::reader::RecordReader;
use crate::wal::record::{RecordSink, Tombstone, WalRef, decode_exemplars_body};

/// Series of a batch on its way from the reader.
const BATCH_SERIES: usize = if cfg!(test) { 3 } else { 1000 };
/// Bytes of its labels after which a batch is full, whatever its series are. A record is shorter than 4 GiB less this.
const BATCH_BYTES: usize = 16 << 20;
/// Batches that wait to be entered, or to be indexed.
const BATCHES_MAX: usize = 4;

/// What was read and is to be entered, in this order.
#[derive(Default)]
struct Decoded {
    series: LoadedBatch,
    tombstones: Vec<Tombstone>,
    exemplars: Vec<(WalRef, Exemplar)>,
}

/// Enters the series with their chunks, tombstones and exemplars.
///
/// # Errors
/// If the head cannot hold them; or corrupt, if what was found to be sound is not.
pub(super) fn enter(files: &Files, replay: &mut Replay<'_>) -> Result<(), StorageError> {
    let head = replay.head();
    std::thread::scope(|scope| {
        let (sender, decoded) = sync_channel(BATCHES_MAX);
        let reader = scope.spawn(move || Reader::new(files).read(&sender));
        let (to_index, rows): (SyncSender<Rows>, Receiver<Rows>) = sync_channel(BATCHES_MAX);
        let indexer = scope.spawn(move || rows.into_iter().try_for_each(|rows| head.index_loaded(&rows)));
        let entered = enter_decoded(decoded, &to_index, replay);
        drop(to_index);
        let indexed = indexer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        indexed?;
        entered?;
        read.map_err(|unusable| corrupt("snapshot".as_ref(), 0, unusable))
    })
}

fn enter_decoded(
    decoded: Receiver<Decoded>,
    to_index: &SyncSender<Rows>,
    replay: &mut Replay<'_>,
) -> Result<(), StorageError> {
    // Leaving ends the other two.
    for batch in decoded {
        if !batch.series.series.is_empty() {
            let rows = replay.head().enter_loaded(batch.series, |series| replay.entered(series))?;
            if to_index.send(rows).is_err() {
                // The indexer tells why it ended.
                return Ok(());
            }
        }
        batch.tombstones.into_iter().for_each(|tombstone| replay.tombstone(tombstone));
        batch.exemplars.into_iter().for_each(|(series, exemplar)| replay.exemplar(series, exemplar));
        replay.check()?;
    }
    Ok(())
}

/// Takes the segments apart, and joins the lists of mapped chunks to their series.
struct Reader<'a> {
    segments: &'a [Map],
    lists: ChunkLists<'a>,
    /// The next list: its series is one of those to come.
    next: Option<ChunkList>,
    batch: Decoded,
}

impl<'a> Reader<'a> {
    fn new(files: &'a Files) -> Self {
        let lists = ChunkLists { maps: files.complement.iter(), current: None, record: Vec::new(), at: 0 };
        Self { segments: &files.segments, lists, next: None, batch: Decoded::default() }
    }

    fn read(mut self, sender: &SyncSender<Decoded>) -> Result<(), Unusable> {
        // Whoever takes them has given up if they cannot be sent.
        let send = |batch: &mut Decoded| sender.send(std::mem::take(batch)).map_err(|_| Unusable::Incomplete);
        self.next = self.lists.advance()?;
        for map in self.segments {
            each_record(RecordReader::of_checked(map.bytes()), map, |record| {
                self.take(record)?;
                let series = &self.batch.series;
                let is_full = series.series.len() >= BATCH_SERIES || series.text.len() >= BATCH_BYTES;
                if is_full { send(&mut self.batch) } else { Ok(()) }
            })?;
        }
        send(&mut self.batch)?;
        // All of them were of series in their order.
        if self.next.is_none() { Ok(()) } else { Err(Unusable::Broken) }
    }

    fn take(&mut self, record: &[u8]) -> Result<(), Unusable> {
        match record.first() {
            Some(&kind::SERIES) => self.take_series(record),
            Some(&kind::TOMBSTONES) => each_tombstone(record, |tombstone| self.batch.tombstones.push(tombstone)),
            _ => {
                let exemplars = &mut self.batch.exemplars;
                let mut push = |series, exemplar: Exemplar| exemplars.push((series, exemplar));
                Ok(decode_exemplars_body(&mut Decoder::new(&record[1..]), &mut push)?)
            }
        }
    }

    fn take_series(&mut self, record: &[u8]) -> Result<(), Unusable> {
        let LoadedBatch { series, text, ends } = &mut self.batch.series;
        let from = text.len();
        let view = series_view(record, |part| {
            text.extend_from_slice(part);
            // A batch is below 4 GiB.
            ends.push(text.len() as u32);
            text.push(SEPARATOR);
        })?;
        let list = match &self.next {
            Some(list) if list.series == view.wal_ref => std::mem::replace(&mut self.next, self.lists.advance()?),
            _ => None,
        };
        let ChunkList { mapped, late, .. } = list.unwrap_or_default();
        let open = view.chunk.map(|ChunkView { min_time, max_time, encoding, bytes }| {
            (min_time, FrozenChunk { encoding, last_time: max_time, bytes: bytes.into() })
        });
        if let (Some(last), Some((min_time, _))) = (mapped.last(), &open)
            && last.max_time >= *min_time
        {
            return Err(Unusable::Broken);
        }
        let label_hash = model::labels::hash_packed(&text[from..]);
        let wal_ref = view.wal_ref;
        series.push(LoadedSeries { wal_ref, label_hash, texts_end: ends.len(), open, mapped, late });
        Ok(())
    }
}

/// The lists of mapped chunks, one after the other.
struct ChunkLists<'a> {
    maps: std::slice::Iter<'a, Map>,
    current: Option<(RecordReader<'a>, &'a Map, Behind)>,
    /// The record being taken apart, as far as `at`.
    record: Vec<u8>,
    at: usize,
}

impl ChunkLists<'_> {
    fn advance(&mut self) -> Result<Option<ChunkList>, Unusable> {
        while self.at >= self.record.len() {
            if !self.next_record()? {
                return Ok(None);
            }
        }
        let mut decoder = Decoder::new(&self.record[self.at..]);
        let list = read_list(&mut decoder)?;
        self.at += decoder.position();
        Ok(Some(list))
    }

    /// Whether there is one more.
    fn next_record(&mut self) -> Result<bool, Unusable> {
        loop {
            let Some((reader, map, behind)) = &mut self.current else {
                let Some(map) = self.maps.next() else {
                    return Ok(false);
                };
                self.current = Some((RecordReader::of_checked(map.bytes()), map, Behind::default()));
                continue;
            };
            behind.reach(map, reader.position());
            match reader.advance().map_err(|_| Unusable::Broken)? {
                Some(record) if record.first() == Some(&kind::MAPPED_CHUNKS) => {
                    self.record.clear();
                    self.record.extend_from_slice(record);
                    self.at = 1;
                    return Ok(true);
                }
                Some(_) => {}
                None => self.current = None,
            }
        }
    }
}

//! Entering series of a snapshot in batches: what one of them shares with the one before is done once for both.
//!
//! Nobody appends meanwhile, and the snapshot's series are all there is: they get slots side by side. A batch enters the
//! slab first and is found by its labels after.

use std::ops::Range;

use model::storage::StorageError;

use super::Head;
use super::index::{find_in, insert_in};
use super::late::LateSamples;
use super::mapped_chunks::MappedChunk;
use super::replay::EnteredSeries;
use super::series::Series;
use super::slab::{self, Slot, page_of};
use super::symbols::Symbol;
use crate::chunk::frozen::FrozenChunk;
use crate::error::corrupt;
use crate::wal::record::WalRef;

/// Series as a snapshot has them.
#[derive(Debug, Default)]
pub(crate) struct LoadedBatch {
    pub(crate) series: Vec<LoadedSeries>,
    /// Their label sets in the packed form, one after the other.
    pub(crate) text: Vec<u8>,
    /// Where each name and each value of a label ends in it; a separator follows.
    pub(crate) ends: Vec<u32>,
}

/// A series of a batch.
#[derive(Debug)]
pub(crate) struct LoadedSeries {
    pub(crate) wal_ref: WalRef,
    pub(crate) label_hash: u64,
    /// Names and values of the batch up to this series' last one.
    pub(crate) texts_end: usize,
    /// The open chunk with its first time.
    pub(crate) open: Option<(i64, FrozenChunk)>,
    pub(crate) mapped: Vec<MappedChunk>,
    pub(crate) late: Vec<MappedChunk>,
}

/// Series in the slab that are not found by their labels yet.
#[derive(Debug)]
pub(crate) struct Rows {
    first: Slot,
    /// Label hash of each, and where its symbols end.
    series: Vec<(u64, usize)>,
    symbols: Vec<Symbol>,
}

impl Rows {
    fn symbols_of(&self) -> impl Iterator<Item = &[Symbol]> {
        let mut start = 0;
        self.series.iter().map(move |(_, end)| &self.symbols[std::mem::replace(&mut start, *end)..*end])
    }
}

impl Head {
    /// Makes the series of a batch, and hands each over.
    ///
    /// # Errors
    /// If there are too many, or what stands for labels is no text.
    pub(crate) fn enter_loaded(
        &self,
        batch: LoadedBatch,
        mut entered: impl FnMut(EnteredSeries),
    ) -> Result<Rows, StorageError> {
        let slots = self.slots_for(batch.series.len())?;
        let mut rows = Rows {
            first: slots.start,
            series: Vec::with_capacity(batch.series.len()),
            symbols: Vec::with_capacity(batch.ends.len()),
        };
        let mut tally = Tally::default();
        // Before any cell; readers wait for one batch at most.
        let mut symbols = self.symbols.write();
        let (mut text_start, mut text) = (0, 0);
        let mut page = None;
        for (loaded, slot) in batch.series.into_iter().zip(slots) {
            let ends = &batch.ends[text..loaded.texts_end];
            let texts = ends.iter().map(|end| {
                let start = std::mem::replace(&mut text_start, *end as usize + 1);
                &batch.text[start..*end as usize]
            });
            let own = symbols.intern_labels(texts).map_err(|_| corrupt("snapshot".as_ref(), 0, "labels no text"))?;
            text = loaded.texts_end;
            rows.symbols.extend_from_slice(&own);
            rows.series.push((loaded.label_hash, rows.symbols.len()));
            tally.count(&loaded);
            entered(loaded.entered_at(slot));
            let guard = match &mut page {
                Some((number, guard)) if *number == page_of(slot) => guard,
                _ => {
                    page = None;
                    let Some(found) = self.slab.page(page_of(slot)) else {
                        continue;
                    };
                    &mut page.insert((page_of(slot), found.lock())).1
                }
            };
            *guard.series_mut(slot) = loaded.into_series(own);
        }
        drop(page);
        drop(symbols);
        self.note_loaded(&tally);
        Ok(rows)
    }

    fn slots_for(&self, count: usize) -> Result<Range<Slot>, StorageError> {
        let limit = |name, max| StorageError::Limit { name, max };
        let series_max = self.limits.series_max;
        if self.instruments.head.series.value().saturating_add(count as i64) > series_max as i64 {
            return Err(limit("series_max", series_max));
        }
        self.slab.take_run(count).ok_or_else(|| limit("slots_max", slab::SLOTS_MAX as u64))
    }

    fn note_loaded(&self, tally: &Tally) {
        self.note_last_ref(tally.last_ref);
        if tally.min_time <= tally.max_time {
            self.times.extend(tally.min_time, tally.max_time);
        }
        if tally.late_min_time <= tally.late_max_time {
            self.times.extend_late(tally.late_min_time, tally.late_max_time);
        }
        self.mapped.hold(tally.late.iter());
        let instruments = &self.instruments.head;
        instruments.series_created.add(tally.series);
        instruments.series.add(tally.series as i64);
        instruments.chunks.add(tally.chunks);
    }

    /// Makes the series of a batch be found by their labels.
    ///
    /// # Errors
    /// If two of them have the same.
    pub(crate) fn index_loaded(&self, rows: &Rows) -> Result<(), StorageError> {
        self.postings.write().insert_rows(rows.first, rows.symbols_of());
        for (((hash, _), symbols), slot) in rows.series.iter().zip(rows.symbols_of()).zip(rows.first..) {
            let mut stripe = self.index.lock(*hash);
            let is_same = |slot| self.slab.cell(slot).is_some_and(|cell| *cell.lock().symbols == *symbols);
            if find_in(&stripe, *hash, is_same).is_some() {
                return Err(corrupt("snapshot".as_ref(), 0, "a series stands in it twice"));
            }
            insert_in(&mut stripe, *hash, slot);
        }
        Ok(())
    }
}

impl LoadedSeries {
    fn entered_at(&self, slot: Slot) -> EnteredSeries {
        let mapped_through = self.mapped.last().map_or(i64::MIN, |chunk| chunk.max_time);
        EnteredSeries { wal_ref: self.wal_ref, slot, chunks: self.mapped.len() + self.late.len(), mapped_through }
    }

    fn into_series(self, symbols: Box<[Symbol]>) -> Series {
        let mut series = Series::new(self.wal_ref, symbols);
        series.is_logged = true;
        series.mapped = self.mapped;
        if !self.late.is_empty() {
            let mut late = LateSamples::default();
            late.attach(self.late);
            series.late = Some(late.into());
        }
        if let Some((min_time, chunk)) = self.open {
            series.freeze(min_time, chunk);
        }
        series
    }
}

/// What a batch adds to the head's counts.
struct Tally {
    last_ref: WalRef,
    series: u64,
    chunks: i64,
    min_time: i64,
    max_time: i64,
    late_min_time: i64,
    late_max_time: i64,
    late: Vec<MappedChunk>,
}

impl Default for Tally {
    fn default() -> Self {
        let (min_time, max_time) = (i64::MAX, i64::MIN);
        let (late_min_time, late_max_time) = (min_time, max_time);
        Self { last_ref: 0, series: 0, chunks: 0, min_time, max_time, late_min_time, late_max_time, late: Vec::new() }
    }
}

impl Tally {
    fn count(&mut self, loaded: &LoadedSeries) {
        self.last_ref = self.last_ref.max(loaded.wal_ref);
        self.series += 1;
        let open = loaded.open.as_ref().map(|(min_time, chunk)| (*min_time, chunk.last_time));
        self.chunks += (loaded.mapped.len() + loaded.late.len() + usize::from(open.is_some())) as i64;
        // They follow each other.
        let first = loaded.mapped.first().map(|chunk| chunk.min_time()).or(open.map(|(min_time, _)| min_time));
        let last = open.map(|(_, max_time)| max_time).or(loaded.mapped.last().map(|chunk| chunk.max_time));
        if let (Some(first), Some(last)) = (first, last) {
            (self.min_time, self.max_time) = (self.min_time.min(first), self.max_time.max(last));
        }
        for chunk in &loaded.late {
            self.late_min_time = self.late_min_time.min(chunk.min_time());
            self.late_max_time = self.late_max_time.max(chunk.max_time);
        }
        self.late.extend_from_slice(&loaded.late);
    }
}

//! Batches on their way into the head.
//!
//! A sample is checked and staged when it is appended, and enters its series at the commit, after the log has it. While
//! it is staged its series is pinned. A series' record goes into the log with the first batch that holds a sample of it
//! and succeeds, whoever made the series.

use model::exemplar::Exemplar;
use model::histogram::{FloatHistogram, IntHistogram};
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::{Timestamp, is_stale};
use model::storage::{AppendError, Appender, NewValue, SeriesRef, StorageError};

use super::series::{Appended, Series};
use super::slab::Slot;
use super::{Head, SeriesId, split_ref};
use crate::chunk::{OpenChunk, Stamp};
use crate::exemplars::Verdict;
use crate::wal::record::{SampleValue, SeriesRecord, encode_exemplars, encode_metadata, encode_samples};
use crate::wal::{Batch, Wal};

/// The most samples of one batch.
pub(crate) const BATCH_SAMPLES_MAX: usize = 10_000_000;
/// The most exemplars of one batch.
const BATCH_EXEMPLARS_MAX: usize = 100_000;
/// Buffers kept for later appenders, and the largest kept.
const BUFFERS_MAX: usize = 16;
const BUFFER_SAMPLES_MAX: usize = 100_000;

/// Why samples of a batch were not taken.
#[derive(Debug, Default)]
struct Refused {
    out_of_order: u64,
    out_of_bounds: u64,
    duplicate: u64,
}

/// What an appender fills.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    staged: Vec<Staged>,
    /// Series that the log does not know yet, pinned.
    unlogged: Vec<(SeriesId, Labels)>,
    series_record: SeriesRecord,
    encoded: Vec<u8>,
    ends: Vec<usize>,
    /// With their timestamps.
    exemplars: Vec<(SeriesId, Exemplar)>,
    metadata: Vec<(SeriesId, Metadata)>,
    batch: Batch,
    cut: Vec<Slot>,
}

#[derive(Debug)]
struct Staged {
    series: SeriesId,
    stamp: Stamp,
    value: SampleValue,
}

/// One batch; see [`Appender`].
pub(crate) struct HeadAppender<'a> {
    head: &'a Head,
    wal: &'a Wal,
    buffers: Box<Buffers>,
    /// Samples before it are out of bounds; known from the first sample on.
    min_valid_time: Option<i64>,
    refused: Refused,
}

impl<'a> HeadAppender<'a> {
    pub(crate) fn new(head: &'a Head, wal: &'a Wal) -> Self {
        head.instruments.head.active_appenders.add(1);
        let buffers = head.work.buffers.lock().pop().unwrap_or_default();
        Self { head, wal, buffers, min_valid_time: None, refused: Refused::default() }
    }

    /// An appender takes what is at most half a block range behind the head's last sample, or behind its own first one
    /// if the head is empty.
    fn min_valid_time(&mut self, time: i64) -> i64 {
        *self.min_valid_time.get_or_insert_with(|| {
            let times = &self.head.times;
            let last = if times.max() == i64::MIN { time } else { times.max() };
            times.min_valid().max(last.saturating_sub(self.head.limits.chunks.range_ms / 2))
        })
    }

    fn stage(&mut self, slot: Slot, generation: u32, stamp: Stamp, value: NewValue<'_>) -> Result<(), AppendError> {
        let time = stamp.time;
        let min_valid_time = self.min_valid_time(time);
        let cell = self.head.slab.cell(slot).ok_or(AppendError::UnknownSeries)?;
        let mut series = cell.lock();
        if !series.is_alive(generation) {
            return Err(AppendError::UnknownSeries);
        }
        let value = owned(value, &series);
        if !series.check(time, value.as_ref(), min_valid_time)? {
            return Ok(());
        }
        series.pending += 1;
        let id = SeriesId { slot, wal_ref: series.wal_ref };
        let is_logged = series.is_logged;
        drop(series);
        if !is_logged {
            self.pin_unlogged(id);
        }
        self.buffers.staged.push(Staged { series: id, stamp, value });
        Ok(())
    }

    fn pin_unlogged(&mut self, id: SeriesId) {
        // A batch's samples of one series mostly come one after the other, if there is more than one at all.
        if self.buffers.unlogged.last().is_some_and(|(last, _)| last.wal_ref == id.wal_ref) {
            return;
        }
        self.buffers.unlogged.push((id, self.head.labels_at(id.slot)));
    }

    fn checked(&mut self, result: Result<(), AppendError>) -> Result<(), AppendError> {
        match &result {
            Err(AppendError::OutOfOrder) => self.refused.out_of_order += 1,
            Err(AppendError::OutOfBounds) => self.refused.out_of_bounds += 1,
            Err(AppendError::Duplicate) => self.refused.duplicate += 1,
            _ => {}
        }
        result
    }

    fn check_batch(&self, value: NewValue<'_>) -> Result<(), AppendError> {
        if self.buffers.staged.len() >= BATCH_SAMPLES_MAX {
            return Err(AppendError::Limit { name: "batch_samples_max", max: BATCH_SAMPLES_MAX as u64 });
        }
        match value {
            NewValue::IntHistogram(histogram) if !is_stale(histogram.sum) => Ok(histogram.validate()?),
            NewValue::FloatHistogram(histogram) if !is_stale(histogram.sum) => Ok(histogram.validate()?),
            _ => Ok(()),
        }
    }

    /// Writes the batch's records to the log.
    fn log(&mut self) -> Result<(), StorageError> {
        let Buffers { staged, unlogged, series_record, encoded, ends, batch, exemplars, metadata, .. } =
            &mut *self.buffers;
        let compression = self.wal.compression();
        batch.clear();
        series_record.clear();
        for (id, labels) in &*unlogged {
            series_record.push(id.wal_ref, labels);
        }
        if !series_record.bytes().is_empty() {
            batch.push(compression, series_record.bytes());
        }
        encoded.clear();
        ends.clear();
        encode_samples(staged.iter().map(|s| (s.series.wal_ref, s.stamp, &s.value)), encoded, ends);
        if !metadata.is_empty() {
            encode_metadata(metadata.iter().map(|(id, metadata)| (id.wal_ref, metadata)), encoded);
            ends.push(encoded.len());
        }
        if !exemplars.is_empty() {
            encode_exemplars(exemplars.iter().map(|(id, exemplar)| (id.wal_ref, exemplar)), encoded);
            ends.push(encoded.len());
        }
        let mut start = 0;
        for &end in &*ends {
            batch.push(compression, &encoded[start..end]);
            start = end;
        }
        if batch.is_empty() { Ok(()) } else { self.wal.append(batch) }
    }

    /// Lets the batch's samples into their series, all under one commit, and returns how many were taken.
    fn apply(&mut self) -> usize {
        let head = self.head;
        let commit = head.isolation.begin_commit();
        let low = head.isolation.low();
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let (mut floats, mut histograms, mut chunks, mut late) = (0, 0, 0, 0);
        for (id, _) in self.buffers.unlogged.drain(..) {
            if let Some(cell) = head.slab.cell(id.slot) {
                cell.lock().is_logged = true;
            }
        }
        for Staged { series: id, stamp, value } in self.buffers.staged.drain(..) {
            let time = stamp.time;
            let Some(cell) = head.slab.cell(id.slot) else {
                continue;
            };
            let mut series = cell.lock();
            series.pending -= 1;
            let is_first = series.open.is_none();
            match series.append(stamp, value.as_ref(), head.limits.chunks) {
                Appended::OutOfOrder => {
                    late += 1;
                    continue;
                }
                Appended::TakenAndCut => {
                    self.buffers.cut.push(id.slot);
                    chunks += 1;
                }
                Appended::Taken => chunks += i64::from(is_first),
            }
            series.marks.note(commit, low);
            drop(series);
            (min, max) = (min.min(time), max.max(time));
            match value {
                SampleValue::Float(_) => floats += 1,
                _ => histograms += 1,
            }
        }
        if min <= max {
            head.times.extend(min, max);
        }
        head.isolation.end_commit(commit);
        self.refused.out_of_order += late;
        self.apply_notes();
        let instruments = &head.instruments.head;
        instruments.float_samples.add(floats);
        instruments.histogram_samples.add(histograms);
        instruments.chunks_created.add(chunks as u64);
        instruments.chunks.add(chunks);
        instruments.last_commit.set(commit as i64);
        if !self.buffers.cut.is_empty() {
            head.note_full(self.buffers.cut.drain(..));
            // What cannot be mapped stays on the heap and is tried again; the samples are safe either way.
            let _retried_later = head.map_full_chunks();
        }
        (floats + histograms) as usize
    }

    /// Enters metadata and exemplars.
    fn apply_notes(&mut self) {
        if !self.buffers.metadata.is_empty() {
            let mut all = self.head.metadata.write();
            self.buffers.metadata.drain(..).for_each(|(id, metadata)| all.set(id.slot, &metadata));
        }
        if !self.buffers.exemplars.is_empty() {
            let head = self.head;
            let entered = self.buffers.exemplars.drain(..).map(|(id, exemplar)| (head.labels_at(id.slot), exemplar));
            head.exemplars.enter(entered, 0);
        }
    }

    /// Unpins the staged samples' series.
    fn unstage(&mut self) {
        for staged in self.buffers.staged.drain(..) {
            if let Some(cell) = self.head.slab.cell(staged.series.slot) {
                cell.lock().pending -= 1;
            }
        }
        self.buffers.unlogged.clear();
        self.buffers.exemplars.clear();
        self.buffers.metadata.clear();
    }
}

/// The value as it is stored. A float stale marker on a series of histograms ends it as a histogram.
fn owned(value: NewValue<'_>, series: &Series) -> SampleValue {
    match value {
        NewValue::Float(float) if is_stale(float) => match &series.open {
            Some(OpenChunk::Histogram(_)) => {
                SampleValue::Int(IntHistogram { sum: float, ..IntHistogram::default() }.into())
            }
            Some(OpenChunk::FloatHistogram(_)) => {
                SampleValue::FloatHistogram(FloatHistogram { sum: float, ..FloatHistogram::default() }.into())
            }
            _ => SampleValue::Float(float),
        },
        NewValue::Float(float) => SampleValue::Float(float),
        NewValue::IntHistogram(histogram) => SampleValue::Int(histogram.clone().into()),
        NewValue::FloatHistogram(histogram) => SampleValue::FloatHistogram(histogram.clone().into()),
    }
}

impl Appender for HeadAppender<'_> {
    fn append(&mut self, labels: &Labels, timestamp: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        self.check_batch(value)?;
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels("a series needs at least one label".into()));
        }
        if timestamp.0 < self.min_valid_time(timestamp.0) {
            self.refused.out_of_bounds += 1;
            return Err(AppendError::OutOfBounds);
        }
        loop {
            let (id, _) = self.head.find_or_create(labels, None)?;
            let result = self.stage(id.slot, id.wal_ref as u32, timestamp.0.into(), value);
            // Removed between finding and staging: it is no longer in the index, so the next turn makes it anew.
            if matches!(result, Err(AppendError::UnknownSeries)) {
                continue;
            }
            return self.checked(result).map(|()| id.series_ref());
        }
    }

    fn append_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        self.check_batch(value)?;
        let (slot, generation) = split_ref(series);
        let result = self.stage(slot, generation, timestamp.0.into(), value);
        self.checked(result)
    }

    fn append_started(
        &mut self,
        series: SeriesRef,
        start: Timestamp,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        self.check_batch(value)?;
        let (slot, generation) = split_ref(series);
        // A start after the sample is none.
        let start = if start < timestamp { start.0 } else { 0 };
        let result = self.stage(slot, generation, Stamp { time: timestamp.0, start }, value);
        self.checked(result)
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError> {
        let (id, last_time) = self.noted(series)?;
        let labels = self.head.labels_at(id.slot);
        let timestamp = exemplar.timestamp.or(last_time.map(Timestamp)).ok_or(AppendError::OutOfBounds)?;
        let exemplar = Exemplar { timestamp: Some(timestamp), ..exemplar.clone() };
        match self.head.exemplars.check(&labels, &exemplar, 0) {
            Ok(Verdict::Accept) if self.buffers.exemplars.len() < BATCH_EXEMPLARS_MAX => {
                self.buffers.exemplars.push((id, exemplar));
                Ok(())
            }
            Ok(Verdict::Accept) => {
                Err(AppendError::Limit { name: "batch_exemplars_max", max: BATCH_EXEMPLARS_MAX as u64 })
            }
            Ok(Verdict::Same) => Ok(()),
            Ok(Verdict::Disabled) => {
                self.head.instruments.head.exemplars_dropped.add(1);
                Ok(())
            }
            Err(error) => {
                if matches!(error, AppendError::OutOfOrder) {
                    self.head.instruments.exemplars.out_of_order.add(1);
                }
                Err(error)
            }
        }
    }

    fn update_metadata(&mut self, series: SeriesRef, metadata: &Metadata) -> Result<(), AppendError> {
        let (id, _) = self.noted(series)?;
        if self.head.metadata.read().of(id.slot).is_none_or(|known| **known != *metadata) {
            self.buffers.metadata.push((id, metadata.clone()));
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<usize, StorageError> {
        self.log()?;
        Ok(self.apply())
    }

    fn rollback(self: Box<Self>) {}
}

impl HeadAppender<'_> {
    /// A living series of which something is to be noted, with its last time, that of this batch included. If the log
    /// does not know the series yet, it will with this batch.
    fn noted(&mut self, series: SeriesRef) -> Result<(SeriesId, Option<i64>), AppendError> {
        let (slot, generation) = split_ref(series);
        let cell = self.head.slab.cell(slot).ok_or(AppendError::UnknownSeries)?;
        let (id, last_time, is_logged) = {
            let series = cell.lock();
            if !series.is_alive(generation) {
                return Err(AppendError::UnknownSeries);
            }
            (SeriesId { slot, wal_ref: series.wal_ref }, series.last_time(), series.is_logged)
        };
        let staged = self.buffers.staged.iter().rfind(|staged| staged.series.wal_ref == id.wal_ref);
        let last_time = staged.map(|staged| staged.stamp.time).or(last_time);
        // A staged sample of it has pinned it for the log already.
        if !is_logged && staged.is_none() {
            self.pin_unlogged(id);
        }
        Ok((id, last_time))
    }
}

impl Drop for HeadAppender<'_> {
    fn drop(&mut self) {
        self.unstage();
        let instruments = &self.head.instruments.head;
        instruments.active_appenders.add(-1);
        instruments.out_of_order_samples.add(self.refused.out_of_order);
        instruments.out_of_bound_samples.add(self.refused.out_of_bounds);
        instruments.duplicate_samples.add(self.refused.duplicate);
        let mut kept = self.head.work.buffers.lock();
        if kept.len() < BUFFERS_MAX && self.buffers.staged.capacity() <= BUFFER_SAMPLES_MAX {
            kept.push(std::mem::take(&mut self.buffers));
        }
    }
}

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

use super::blocks::OpenAppender;
use super::commit::Committed;
use super::series::{Admission, Bounds, Series};
use super::slab::{Page, Slot, page_of};
use super::{Head, SeriesId, split_ref};
use crate::chunk::{OpenChunk, Stamp};
use crate::exemplars::Verdict;
use crate::wal::record::{FloatRecord, Grouping, SampleValue, SeriesRecord};
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
    too_old: u64,
    duplicate: u64,
}

/// What an appender fills.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(super) staged: Vec<Staged>,
    /// The log's record of what is staged, as long as that is nothing but floats without starts.
    pub(super) floats: FloatRecord,
    /// Out-of-order samples.
    pub(super) late: Vec<Staged>,
    /// Series that the log does not know yet, pinned.
    pub(super) unlogged: Vec<(SeriesId, Labels)>,
    /// With their timestamps.
    pub(super) exemplars: Vec<(SeriesId, Exemplar)>,
    pub(super) metadata: Vec<(SeriesId, Metadata)>,
    pub(super) series_record: SeriesRecord,
    pub(super) encoded: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) batch: Batch,
    pub(super) grouping: Grouping,
    pub(super) cut: Vec<Slot>,
}

impl Buffers {
    /// Stages a sample that is in order.
    #[inline]
    fn stage(&mut self, series: SeriesId, stamp: Stamp, value: SampleValue) {
        if let SampleValue::Float(float) = value
            && stamp.start == 0
            && self.floats.count() == self.staged.len()
        {
            self.floats.push(series.wal_ref, stamp.time, float);
        }
        self.staged.push(Staged { series, stamp, value });
    }
}

#[derive(Debug)]
pub(super) struct Staged {
    pub(super) series: SeriesId,
    pub(super) stamp: Stamp,
    pub(super) value: SampleValue,
}

/// One batch; see [`Appender`].
pub(crate) struct HeadAppender<'a> {
    head: &'a Head,
    wal: &'a Wal,
    /// The log of out-of-order samples, if there is one.
    wbl: Option<&'a Wal>,
    buffers: Box<Buffers>,
    /// Known from the first sample on.
    bounds: Option<Bounds>,
    /// The page of the last sample with its number: the next one's mostly is the same.
    page: Option<(usize, &'a Page)>,
    refused: Refused,
    /// Tells that it is at work, until it is dropped.
    _open: OpenAppender<'a>,
}

impl<'a> HeadAppender<'a> {
    pub(crate) fn new(head: &'a Head, wal: &'a Wal, wbl: Option<&'a Wal>) -> Self {
        let _open = head.appenders.begin();
        head.instruments.head.active_appenders.add(1);
        let buffers = head.work.buffers.lock().pop().unwrap_or_default();
        Self { head, wal, wbl, buffers, bounds: None, page: None, refused: Refused::default(), _open }
    }

    /// An appender takes what is at most half a block range behind the head's last sample, or behind its own first one
    /// if the head is empty; and beyond that what is within the out-of-order window.
    fn bounds(&mut self, time: i64) -> Bounds {
        *self.bounds.get_or_insert_with(|| {
            let times = &self.head.times;
            let last = if times.max() == i64::MIN { time } else { times.max() };
            let in_order = times.min_valid().max(last.saturating_sub(self.head.limits.chunks.range_ms / 2));
            let window_ms = if self.wbl.is_some() { self.head.late_window_ms() } else { 0 };
            Bounds { in_order, late: (window_ms > 0).then(|| last.saturating_sub(window_ms)) }
        })
    }

    /// Stages a float of a known series; the usual one without looking at what is rare.
    #[inline]
    fn stage_float(&mut self, slot: Slot, generation: u32, time: i64, value: f64) -> Result<(), AppendError> {
        let bounds = self.bounds(time);
        let number = page_of(slot);
        let page = match self.page {
            Some((last, page)) if last == number => page,
            _ => {
                let page = self.head.slab.page(number).ok_or(AppendError::UnknownSeries)?;
                self.page = Some((number, page));
                page
            }
        };
        let mut guard = page.lock();
        let series = guard.series_mut(slot);
        let is_usual = series.is_alive(generation)
            && series.pending == 0
            && series.is_logged
            && series.is_open_for_float(time)
            && time >= bounds.in_order
            && self.buffers.staged.len() < BATCH_SAMPLES_MAX;
        if is_usual {
            series.pending = 1;
            let id = SeriesId { slot, wal_ref: series.wal_ref };
            drop(guard);
            self.buffers.stage(id, time.into(), SampleValue::Float(value));
            return Ok(());
        }
        drop(guard);
        self.check_batch(NewValue::Float(value))?;
        self.stage(slot, generation, time.into(), NewValue::Float(value))
    }

    fn stage(&mut self, slot: Slot, generation: u32, stamp: Stamp, value: NewValue<'_>) -> Result<(), AppendError> {
        let bounds = self.bounds(stamp.time);
        self.stage_within(bounds, slot, generation, stamp, value)
    }

    fn stage_within(
        &mut self,
        bounds: Bounds,
        slot: Slot,
        generation: u32,
        stamp: Stamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        let cell = self.head.slab.cell(slot).ok_or(AppendError::UnknownSeries)?;
        let mut series = cell.lock();
        if !series.is_alive(generation) {
            return Err(AppendError::UnknownSeries);
        }
        series.thaw(self.head.limits.chunks);
        let value = owned(value, &series);
        let mut admission = series.check(stamp.time, value.as_ref(), bounds)?;
        let id = SeriesId { slot, wal_ref: series.wal_ref };
        if series.pending > 0 && bounds.late.is_some_and(|late| stamp.time >= late) && self.is_behind_staged(id, stamp)
        {
            admission = Admission::Late;
        }
        if admission == Admission::Same {
            return Ok(());
        }
        if series.pending > 0 {
            // Perhaps two samples of this batch: their order is to be kept whatever kinds they are of.
            self.buffers.grouping = Grouping::InOrder;
        }
        series.pending += 1;
        let is_logged = series.is_logged;
        drop(series);
        match admission {
            Admission::Late => self.buffers.late.push(Staged { series: id, stamp, value }),
            _ => self.buffers.stage(id, stamp, value),
        }
        if !is_logged {
            self.pin_unlogged(id);
        }
        Ok(())
    }

    /// Whether this batch has a later sample of the series.
    fn is_behind_staged(&self, id: SeriesId, stamp: Stamp) -> bool {
        let last = self.buffers.staged.iter().rfind(|staged| staged.series.wal_ref == id.wal_ref);
        last.is_some_and(|last| stamp.time < last.stamp.time)
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
            Err(AppendError::TooOld) => self.refused.too_old += 1,
            Err(AppendError::Duplicate) => self.refused.duplicate += 1,
            _ => {}
        }
        result
    }

    fn check_batch(&self, value: NewValue<'_>) -> Result<(), AppendError> {
        if self.buffers.staged.len() + self.buffers.late.len() >= BATCH_SAMPLES_MAX {
            return Err(AppendError::Limit { name: "batch_samples_max", max: BATCH_SAMPLES_MAX as u64 });
        }
        match value {
            NewValue::IntHistogram(histogram) if !is_stale(histogram.sum) => Ok(histogram.validate()?),
            NewValue::FloatHistogram(histogram) if !is_stale(histogram.sum) => Ok(histogram.validate()?),
            _ => Ok(()),
        }
    }

    /// Unpins the staged samples' series.
    fn unstage(&mut self) {
        for staged in self.buffers.staged.drain(..).chain(self.buffers.late.drain(..)) {
            if let Some(cell) = self.head.slab.cell(staged.series.slot) {
                cell.lock().pending -= 1;
            }
        }
        self.buffers.floats.clear();
        self.buffers.unlogged.clear();
        self.buffers.exemplars.clear();
        self.buffers.metadata.clear();
        self.buffers.grouping = Grouping::ByKind;
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

/// A start after the sample is none.
fn stamp(start: Timestamp, timestamp: Timestamp) -> Stamp {
    Stamp { time: timestamp.0, start: if start < timestamp { start.0 } else { 0 } }
}

impl Appender for HeadAppender<'_> {
    fn append(&mut self, labels: &Labels, timestamp: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        self.append_with_start(labels, Timestamp(0), timestamp, value)
    }

    fn append_with_start(
        &mut self,
        labels: &Labels,
        start: Timestamp,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<SeriesRef, AppendError> {
        self.check_batch(value)?;
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels("a series needs at least one label".into()));
        }
        let bounds = self.bounds(timestamp.0);
        if timestamp.0 < bounds.in_order && bounds.late.is_none_or(|late| timestamp.0 < late) {
            let error = if bounds.late.is_some() { AppendError::TooOld } else { AppendError::OutOfBounds };
            return self.checked(Err(error)).map(|()| SeriesRef(0));
        }
        loop {
            let (id, _) = self.head.find_or_create(labels, None)?;
            let result = self.stage(id.slot, id.wal_ref as u32, stamp(start, timestamp), value);
            // Removed between finding and staging: it is no longer in the index, so the next turn makes it anew.
            if matches!(result, Err(AppendError::UnknownSeries)) {
                continue;
            }
            return self.checked(result).map(|()| id.series_ref());
        }
    }

    fn append_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        let (slot, generation) = split_ref(series);
        let result = match value {
            NewValue::Float(float) => self.stage_float(slot, generation, timestamp.0, float),
            _ => {
                self.check_batch(value)?;
                self.stage(slot, generation, timestamp.0.into(), value)
            }
        };
        if result.is_ok() { result } else { self.checked(result) }
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
        let result = self.stage(slot, generation, stamp(start, timestamp), value);
        self.checked(result)
    }

    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels("a series needs at least one label".into()));
        }
        let (id, _) = self.head.find_or_create(labels, None)?;
        Ok(id.series_ref())
    }

    fn append_in_order(
        &mut self,
        series: SeriesRef,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        self.check_batch(value)?;
        let bounds = Bounds { late: None, ..self.bounds(timestamp.0) };
        let (slot, generation) = split_ref(series);
        self.stage_within(bounds, slot, generation, timestamp.0.into(), value)
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError> {
        let (id, last_time) = self.noted(series)?;
        let labels = self.head.labels_at(id.slot);
        let timestamp = exemplar.timestamp.or(last_time.map(Timestamp)).ok_or(AppendError::OutOfBounds)?;
        let exemplar = Exemplar { timestamp: Some(timestamp), ..exemplar.clone() };
        match self.head.exemplars.check(&labels, &exemplar, self.head.late_window_ms()) {
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
        let Committed { count, late } = super::commit::commit(self.head, self.wal, self.wbl, &mut self.buffers)?;
        self.refused.out_of_order += late;
        Ok(count)
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
        let staged =
            self.buffers.staged.iter().chain(&self.buffers.late).rfind(|staged| staged.series.wal_ref == id.wal_ref);
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
        instruments.too_old_samples.add(self.refused.too_old);
        instruments.duplicate_samples.add(self.refused.duplicate);
        let mut kept = self.head.work.buffers.lock();
        if kept.len() < BUFFERS_MAX && self.buffers.staged.capacity() <= BUFFER_SAMPLES_MAX {
            kept.push(std::mem::take(&mut self.buffers));
        }
    }
}

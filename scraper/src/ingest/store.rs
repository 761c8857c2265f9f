//! One line of a page into the storage: found in the cache or made a series, within the job's budget, with what belongs
//! to it (start, metadata, exemplar); and the end of the series whose lines are gone.

use exposition::parse::ExemplarText;
use exposition::parse::series::exemplar_labels_of;
use model::exemplar::Exemplar;
use model::histogram::{BucketNumber, FloatHistogram, Histogram, IntHistogram, ResetHint};
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{AppendError, NewValue, SeriesRef};

use super::family::Family;
use super::{IngestError, Ingestion, Line, Origin};
use crate::series_budget::MetricSlot;
use crate::series_cache::{EntryIndex, Fate, Known, SERIES_BYTES_MAX};

/// How far a sample's own timestamp may lie ahead of its scrape.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

impl Ingestion<'_> {
    /// Brings a value to its series, and gives that unless the value was dropped or is the second on its page.
    #[inline]
    pub(super) fn store(&mut self, line: Line<'_>) -> Result<Option<SeriesRef>, IngestError> {
        self.counts.scraped += 1;
        let own_timestamp = line.timestamp.filter(|_| self.rules.honor_timestamps);
        let timestamp = match own_timestamp {
            None => self.timestamp,
            Some(own) if own > self.timestamp.0 + AHEAD_MS_MAX => {
                self.counts.out_of_bounds += 1;
                self.count_kept()?;
                return Ok(None);
            }
            Some(own) => Timestamp(own),
        };
        let stored = match self.cache.find(line.series, line.predicted) {
            Some(Known { fate: Fate::Dropped, .. }) => return Ok(None),
            Some(known) if known.repeated && own_timestamp.is_none() && matches!(known.fate, Fate::Series(..)) => {
                self.counts.duplicate += 1;
                self.count_kept()?;
                return Ok(None);
            }
            Some(known) => self.store_known(line, timestamp, known)?,
            None => self.create(line, timestamp, None)?,
        };
        let Some((index, series)) = stored else { return Ok(None) };
        self.cache.track(index, own_timestamp.is_none() || self.rules.track_timestamps);
        if self.family.is_changed && self.rules.features.metadata {
            self.note_metadata(line.series, series)?;
        }
        self.count_kept()?;
        Ok(Some(series))
    }

    #[inline]
    fn store_known(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Known,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let (series, slot) = match known.fate {
            Fate::Series(series, slot) => (series, slot),
            Fate::Excess(slot) if known.counted || self.admits(known.index, slot)? => {
                return self.create(line, timestamp, Some(Known { counted: true, ..known }));
            }
            Fate::Excess(_) | Fate::Dropped => return Ok(None),
        };
        if !known.counted && !self.admits(known.index, slot)? {
            return Ok(None);
        }
        if self.family.is_changed && self.rules.features.type_and_unit_labels {
            return self.relabel(line, timestamp, Known { counted: true, ..known }, series);
        }
        if self.rules.features.start_synthesis && line.start == 0 {
            return self.store_synthesized(line, timestamp, known, series);
        }
        self.append_known(line, timestamp, known, series)
    }

    #[inline]
    fn append_known(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Known,
        series: SeriesRef,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let result = match line.start {
            0 => self.appender.append_ref(series, timestamp, line.value),
            start => {
                let is_news = self.cache.note_start(known.index, start);
                self.append_started(series, timestamp, line, is_news)
            }
        };
        match result {
            Err(AppendError::UnknownSeries) => self.create(line, timestamp, Some(Known { counted: true, ..known })),
            other => {
                if other.is_err() && self.rules.features.start_synthesis {
                    // The next value is a first one again.
                    self.cache.forget_origin(known.index);
                }
                self.count_refusal(other)?;
                Ok(Some((known.index, series)))
            }
        }
    }

    /// A known line whose page tells no start: counted from its first value, which is kept back.
    fn store_synthesized(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Known,
        series: SeriesRef,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let advanced = self.cache.origin(known.index).map(|origin| origin.advance(line.value, timestamp));
        match advanced {
            Some(Some((start, adjusted))) => {
                let line = Line { value: adjusted.as_new_value(), start, in_order: true, ..line };
                self.append_known(line, timestamp, known, series)
            }
            None if self.is_cumulative(line.series) => {
                self.begin(line, timestamp, known.index);
                Ok(Some((known.index, series)))
            }
            _ => {
                self.cache.forget_origin(known.index);
                self.append_known(line, timestamp, known, series)
            }
        }
    }

    /// Remembers where the counting of a series begins.
    fn begin(&mut self, line: Line<'_>, timestamp: Timestamp, index: EntryIndex) {
        if let Some(origin) = Origin::begin(line.value, timestamp) {
            self.cache.set_origin(index, origin);
        }
    }

    /// Whether a line counts up, as far as its page says.
    fn is_cumulative(&self, series: &str) -> bool {
        let of_family = || self.family.has(series);
        match self.family.metric_type {
            MetricType::Counter | MetricType::Histogram => of_family(),
            // Its quantiles go up and down.
            MetricType::Summary => of_family() && Family::is_total_of_summary(series),
            _ => false,
        }
    }

    /// A line whose labels are other than before, since its family says something else of itself.
    fn relabel(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Known,
        before: SeriesRef,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let stored = self.create(line, timestamp, Some(known))?;
        if stored.is_some_and(|(_, series)| series != before) {
            self.end(before)?;
        }
        Ok(stored)
    }

    /// A line seen for the first time, whose series is gone from storage, or which now has other labels.
    fn create(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Option<Known>,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        if line.series.len() > SERIES_BYTES_MAX {
            return Err(IngestError::SeriesLength(line.series.len()));
        }
        let Some(labels) = self.rules.stored_labels(line.series, &self.family)? else {
            self.drop_line(line.series, known);
            return Ok(None);
        };
        // A place is given back where it was taken, whatever the name is now.
        let slot = match known.map(|known| known.fate) {
            Some(Fate::Series(_, slot) | Fate::Excess(slot)) => slot,
            Some(Fate::Dropped) | None => self.budget.slot(&self.rules.limits, labels.metric_name().unwrap_or("")),
        };
        if known.is_none() && self.budget.admit(&self.rules.limits, slot).is_err() {
            self.cache.insert(line.series, Fate::Excess(slot));
            self.counts.excess += 1;
            self.count_kept()?;
            return Ok(None);
        }
        // Of a series whose counting begins now, only the place is made.
        let begins = self.rules.features.start_synthesis && line.start == 0 && self.is_cumulative(line.series);
        let appended = match begins {
            true => self.appender.series(&labels),
            false => self.append(&labels, timestamp, line),
        };
        let series = match appended {
            Ok(series) => series,
            Err(error) => {
                // Refused by its time: not remembered, tried anew by labels at the next scrape.
                if known.is_none() {
                    self.budget.release(&[slot]);
                }
                self.count_refusal(Err(error))?;
                self.count_kept()?;
                return Ok(None);
            }
        };
        let index = match known {
            Some(known) => {
                self.cache.update(known.index, Fate::Series(series, slot));
                known.index
            }
            None => {
                self.counts.series_added += 1;
                let index = self.cache.insert(line.series, Fate::Series(series, slot));
                self.cache.count(index);
                index
            }
        };
        if line.start != 0 {
            self.cache.note_start(index, line.start);
        }
        if begins {
            self.begin(line, timestamp, index);
        }
        if self.rules.features.metadata && !self.family.is_changed {
            self.note_metadata(line.series, series)?;
        }
        Ok(Some((index, series)))
    }

    /// Metric relabelling drops the line.
    fn drop_line(&mut self, series: &str, known: Option<Known>) {
        let Some(known) = known else {
            self.cache.insert(series, Fate::Dropped);
            return;
        };
        if let (Fate::Series(_, slot) | Fate::Excess(slot), true) = (known.fate, known.counted) {
            self.budget.release(&[slot]);
        }
        self.cache.update(known.index, Fate::Dropped);
    }

    /// Takes a place of the job's budget for a remembered line that holds none; whether there was one.
    fn admits(&mut self, index: EntryIndex, slot: MetricSlot) -> Result<bool, IngestError> {
        if self.budget.admit(&self.rules.limits, slot).is_ok() {
            self.cache.count(index);
            return Ok(true);
        }
        self.cache.update(index, Fate::Excess(slot));
        self.counts.excess += 1;
        self.count_kept()?;
        Ok(false)
    }

    /// Appends by labels, with what is known of the start.
    fn append(&mut self, labels: &Labels, timestamp: Timestamp, line: Line<'_>) -> Result<SeriesRef, AppendError> {
        let is_started = line.start != 0;
        if is_started
            && self.rules.features.start_zeros
            && let Ok(series) = self.appender.series(labels)
        {
            match self.append_started(series, timestamp, line, true) {
                // Gone again in the meantime.
                Err(AppendError::UnknownSeries) => {}
                other => return other.map(|()| series),
            }
        }
        match is_started && self.rules.features.start_timestamps {
            true => self.appender.append_with_start(labels, Timestamp(line.start), timestamp, line.value),
            false => self.appender.append(labels, timestamp, line.value),
        }
    }

    /// Appends a value whose counting began at a known time, with a zero there if that is wanted and news.
    fn append_started(
        &mut self,
        series: SeriesRef,
        timestamp: Timestamp,
        line: Line<'_>,
        is_news: bool,
    ) -> Result<(), AppendError> {
        let start = Timestamp(line.start);
        if is_news && self.rules.features.start_zeros && start < timestamp {
            let zero = zero_like(line.value);
            // Mostly the series has samples after its start, or the head is past it: then there is nothing to inject.
            if let Err(AppendError::Storage(error)) = self.appender.append_in_order(series, start, zero.as_new_value())
            {
                return Err(error.into());
            }
        }
        match self.rules.features.start_timestamps {
            true => self.appender.append_started(series, start, timestamp, line.value),
            false if line.in_order => self.appender.append_in_order(series, timestamp, line.value),
            false => self.appender.append_ref(series, timestamp, line.value),
        }
    }

    fn note_metadata(&mut self, text: &str, series: SeriesRef) -> Result<(), IngestError> {
        if !self.family.has(text) {
            return Ok(());
        }
        let Some(metadata) = self.metadata.get(&self.family.name) else { return Ok(()) };
        // Metadata that is not taken is no reason to lose the sample.
        match self.appender.update_metadata(series, metadata) {
            Err(AppendError::Storage(error)) => Err(AppendError::Storage(error).into()),
            _ => Ok(()),
        }
    }

    fn count_kept(&mut self) -> Result<(), IngestError> {
        self.counts.kept += 1;
        if self.counts.kept > self.rules.samples_max { Err(IngestError::SampleLimit) } else { Ok(()) }
    }

    /// A sample refused by its time is counted, and the scrape goes on; anything else fails it.
    #[inline]
    fn count_refusal(&mut self, result: Result<(), AppendError>) -> Result<(), IngestError> {
        match result {
            Ok(()) => {}
            Err(AppendError::OutOfOrder) => self.counts.out_of_order += 1,
            Err(AppendError::Duplicate) => self.counts.duplicate += 1,
            Err(AppendError::OutOfBounds | AppendError::TooOld) => self.counts.out_of_bounds += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) fn exemplar(&mut self, series: SeriesRef, text: ExemplarText<'_>) -> Result<(), IngestError> {
        let labels = exemplar_labels_of(text.labels)?;
        let timestamp = text.timestamp.map(Timestamp);
        let result = self.appender.append_exemplar(series, &Exemplar { labels, value: text.value, timestamp });
        // An exemplar that comes again, or late, is no reason to lose its sample.
        match result {
            Err(AppendError::Storage(error)) => Err(AppendError::Storage(error).into()),
            _ => Ok(()),
        }
    }

    /// Ends a series. One that is gone from storage, or has a sample from the future, needs no marker.
    fn end(&mut self, series: SeriesRef) -> Result<(), IngestError> {
        match self.appender.append_in_order(series, self.timestamp, NewValue::Float(STALE_NAN)) {
            Err(AppendError::Storage(error)) => Err(AppendError::Storage(error).into()),
            _ => Ok(()),
        }
    }

    pub(super) fn mark_vanished(&mut self) -> Result<(), IngestError> {
        let mut released = Vec::new();
        let mut failure = None;
        let (appender, timestamp) = (&mut *self.appender, self.timestamp);
        self.cache.vanished(|gone| {
            released.extend(gone.released);
            let Some(series) = gone.stale else { return };
            let marker = NewValue::Float(STALE_NAN);
            // As in `end`.
            if let Err(AppendError::Storage(error)) = appender.append_in_order(series, timestamp, marker) {
                failure = Some(error);
            }
        });
        self.budget.release(&released);
        failure.map_or(Ok(()), |error| Err(AppendError::Storage(error).into()))
    }
}

/// A value of no observations yet.
enum Zero {
    Float,
    Int(Box<IntHistogram>),
    FloatHistogram(Box<FloatHistogram>),
}

impl Zero {
    fn as_new_value(&self) -> NewValue<'_> {
        match self {
            Zero::Float => NewValue::Float(0.0),
            Zero::Int(histogram) => NewValue::IntHistogram(histogram),
            Zero::FloatHistogram(histogram) => NewValue::FloatHistogram(histogram),
        }
    }
}

/// The zero that `value` grew from; of histograms with their layout, so that both go into one chunk.
fn zero_like(value: NewValue<'_>) -> Zero {
    match value {
        NewValue::Float(_) => Zero::Float,
        NewValue::IntHistogram(histogram) => Zero::Int(Box::new(empty_like(histogram))),
        NewValue::FloatHistogram(histogram) => Zero::FloatHistogram(Box::new(empty_like(histogram))),
    }
}

fn empty_like<B: BucketNumber>(histogram: &Histogram<B>) -> Histogram<B>
where
    Histogram<B>: Default,
{
    Histogram {
        reset_hint: ResetHint::Reset,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        custom_values: histogram.custom_values.clone(),
        ..Histogram::default()
    }
}

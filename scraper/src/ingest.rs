//! Ingestion of one page: every line through the series cache into one storage batch, and stale markers for the lines
//! that are gone.

mod classic;
mod rules;

use std::borrow::Cow;

use exposition::parse::protobuf::{HistogramValue, ProtobufPage};
use exposition::parse::series::{SeriesError, labels_of};
use exposition::parse::{Entry, ExemplarText, Format, HistogramLine, ParseError, Parser, SampleLine, validate};
use model::exemplar::Exemplar;
use model::metadata::MetricType;
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{AppendError, Appender, NewValue, SeriesRef};

use crate::limits::LimitError;
use crate::metadata_cache::MetadataCache;
use crate::series_cache::{EntryIndex, Fate, SeriesCache};
use classic::{ClassicHistograms, Converted};
pub use rules::SampleRules;

/// What a page contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Samples on the page.
    pub scraped: u64,
    /// Of these, kept by metric relabelling.
    pub kept: u64,
    /// Series that this target did not have at its last scrapes.
    pub series_added: u64,
    /// Samples refused because the series has a later one.
    pub out_of_order: u64,
    /// Samples refused because the series has another value at that time.
    pub duplicate: u64,
    /// Samples refused because they are too old or too far ahead.
    pub out_of_bounds: u64,
}

/// Why a page is not taken. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The page departs from its format.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A series on it is malformed.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// A name is invalid under the job's scheme.
    #[error("{0}")]
    Name(#[from] model::labels::LabelsError),
    /// More samples than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// A native histogram has more buckets than `native_histogram_bucket_limit`, however coarse.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// A label limit.
    #[error(transparent)]
    LabelLimit(#[from] LimitError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] AppendError),
}

/// A value on its way to its series.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    /// Name and labels as the page writes them.
    series: &'a str,
    predicted: bool,
    value: NewValue<'a>,
    timestamp: Option<i64>,
}

/// One page on its way into one batch.
pub struct Ingestion<'a> {
    rules: &'a SampleRules,
    cache: &'a mut SeriesCache,
    appender: &'a mut dyn Appender,
    /// When the scrape began: the time of samples without their own.
    timestamp: Timestamp,
    counts: Counts,
    /// The type given last, which `le` and `quantile` are read under.
    family: MetricType,
    /// Its name, where classic histograms are converted.
    family_name: String,
    classic: ClassicHistograms,
    /// Series that came as native histograms: their classic form is not converted.
    native: Vec<String>,
}

impl<'a> Ingestion<'a> {
    /// Starts a scrape.
    pub fn new(
        rules: &'a SampleRules,
        cache: &'a mut SeriesCache,
        appender: &'a mut dyn Appender,
        timestamp: Timestamp,
    ) -> Self {
        cache.begin();
        Self {
            rules,
            cache,
            appender,
            timestamp,
            counts: Counts::default(),
            family: MetricType::Unknown,
            family_name: String::new(),
            classic: ClassicHistograms::default(),
            native: Vec::new(),
        }
    }

    /// Takes a whole page.
    ///
    /// # Errors
    /// The batch must then be rolled back.
    pub fn page(mut self, format: Format, page: &[u8], metadata: &mut MetadataCache) -> Result<Counts, IngestError> {
        metadata.begin();
        match format {
            Format::Text => self.text(Parser::text(validate(page)?), metadata)?,
            Format::OpenMetrics => self.text(Parser::open_metrics(validate(page)?), metadata)?,
            Format::Protobuf => {
                let page = ProtobufPage::decode(page, self.rules.native_histograms())?;
                for entry in page.entries() {
                    self.entry(entry, metadata)?;
                }
            }
        }
        self.flush_classic()?;
        self.mark_vanished()?;
        self.cache.end();
        Ok(self.counts)
    }

    fn text(&mut self, mut parser: Parser<'_>, metadata: &mut MetadataCache) -> Result<(), IngestError> {
        while let Some(entry) = parser.advance(self.cache.predicted())? {
            self.entry(entry, metadata)?;
        }
        Ok(())
    }

    #[inline]
    fn entry(&mut self, entry: Entry<'_>, metadata: &mut MetadataCache) -> Result<(), IngestError> {
        match entry {
            Entry::Sample(line) => return self.sample(&line),
            Entry::Histogram(line) => return self.histogram(&line),
            Entry::Type { name, metric_type } => {
                self.family = metric_type;
                if self.rules.histograms.classic_to_custom {
                    self.flush_classic()?;
                    self.family_name = name.to_owned();
                }
                metadata.set_type(name, metric_type);
            }
            Entry::Help { name, text } => metadata.set_help(name, text),
            Entry::Unit { name, unit } => metadata.set_unit(name, unit),
        }
        Ok(())
    }

    /// Ends every series of the target: what a scrape that failed, or the last one, leaves behind.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn nothing(mut self) -> Result<(), IngestError> {
        self.mark_vanished()
    }

    #[inline]
    fn sample(&mut self, line: &SampleLine<'_>) -> Result<(), IngestError> {
        let is_classic = self.rules.histograms.classic_to_custom && self.family == MetricType::Histogram;
        if is_classic && self.gather(line)? && !self.rules.histograms.always_classic {
            return Ok(());
        }
        let SampleLine { series, predicted, value, timestamp, .. } = *line;
        let stored = self.store(Line { series, predicted, value: NewValue::Float(value), timestamp })?;
        match (stored, line.exemplar) {
            (Some(series), Some(exemplar)) => self.exemplar(series, exemplar),
            _ => Ok(()),
        }
    }

    fn histogram(&mut self, line: &HistogramLine<'_>) -> Result<(), IngestError> {
        if self.rules.histograms.classic_to_custom {
            self.native.push(line.series.to_owned());
        }
        let series = self.native_histogram(line.series, line.value, line.timestamp)?;
        line.exemplars.iter().try_for_each(|exemplar| match series {
            Some(series) => self.exemplar(series, exemplar),
            None => Ok(()),
        })
    }

    fn native_histogram(
        &mut self,
        series: &str,
        value: &HistogramValue,
        timestamp: Option<i64>,
    ) -> Result<Option<SeriesRef>, IngestError> {
        let value = self.rules.limited(value.clone()).ok_or(IngestError::BucketLimit)?;
        let value = match &value {
            HistogramValue::Int(histogram) => NewValue::IntHistogram(histogram),
            HistogramValue::Float(histogram) => NewValue::FloatHistogram(histogram),
        };
        self.store(Line { series, predicted: series == self.cache.predicted(), value, timestamp })
    }

    /// Gathers a line of a classic histogram that is converted; whether it is one.
    fn gather(&mut self, line: &SampleLine<'_>) -> Result<bool, IngestError> {
        let Some((part, labels)) = classic::part_of(&labels_of(line.series)?, &self.family_name) else {
            return Ok(false);
        };
        let finished = self.classic.push(part, labels, line);
        if let Some(finished) = finished {
            self.converted(&finished)?;
        }
        Ok(true)
    }

    fn flush_classic(&mut self) -> Result<(), IngestError> {
        self.classic.finish().map_or(Ok(()), |last| self.converted(&last))
    }

    fn converted(&mut self, histogram: &Converted) -> Result<(), IngestError> {
        if self.native.contains(&histogram.series) {
            return Ok(());
        }
        let series = self.native_histogram(&histogram.series, &histogram.value, histogram.timestamp)?;
        histogram.exemplars.iter().try_for_each(|exemplar| match series {
            Some(series) => self.exemplar(series, exemplar.text()),
            None => Ok(()),
        })
    }

    /// Brings a value to its series, and gives that unless the value was dropped or is the second on its page.
    #[inline]
    fn store(&mut self, line: Line<'_>) -> Result<Option<SeriesRef>, IngestError> {
        self.counts.scraped += 1;
        let own_timestamp = line.timestamp.filter(|_| self.rules.honor_timestamps);
        let timestamp = own_timestamp.map_or(self.timestamp, Timestamp);
        let (index, series) = match self.cache.find(line.series, line.predicted) {
            Some((_, Fate::Dropped, _)) => return Ok(None),
            Some((_, Fate::Series(_), true)) if own_timestamp.is_none() => {
                self.counts.duplicate += 1;
                self.count_kept()?;
                return Ok(None);
            }
            Some((index, Fate::Series(series), _)) => {
                let result = self.appender.append_ref(series, timestamp, line.value);
                match result {
                    Err(AppendError::UnknownSeries) => match self.create(line, timestamp, Some(index))? {
                        Some(created) => created,
                        None => return Ok(None),
                    },
                    other => {
                        self.count_refusal(other)?;
                        (index, series)
                    }
                }
            }
            None => match self.create(line, timestamp, None)? {
                Some(created) => created,
                None => return Ok(None),
            },
        };
        self.cache.track(index, own_timestamp.is_none() || self.rules.track_timestamps);
        self.count_kept()?;
        Ok(Some(series))
    }

    /// A line seen for the first time, or whose series is gone from storage.
    fn create(
        &mut self,
        line: Line<'_>,
        timestamp: Timestamp,
        known: Option<EntryIndex>,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let Some(labels) = self.rules.stored_labels(line.series, self.family)? else {
            self.cache.insert(line.series, Fate::Dropped);
            return Ok(None);
        };
        let series = match self.appender.append(&labels, timestamp, line.value) {
            Ok(series) => series,
            Err(error) => {
                // Refused by its time: not remembered, tried anew by labels at the next scrape.
                self.count_refusal(Err(error))?;
                self.count_kept()?;
                return Ok(None);
            }
        };
        let index = match known {
            Some(index) => {
                self.cache.update(index, Fate::Series(series));
                index
            }
            None => {
                self.counts.series_added += 1;
                self.cache.insert(line.series, Fate::Series(series))
            }
        };
        Ok(Some((index, series)))
    }

    fn count_kept(&mut self) -> Result<(), IngestError> {
        self.counts.kept += 1;
        let limit = self.rules.limits.samples;
        if limit > 0 && self.counts.kept > limit { Err(IngestError::SampleLimit) } else { Ok(()) }
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

    fn exemplar(&mut self, series: SeriesRef, text: ExemplarText<'_>) -> Result<(), IngestError> {
        let labels = labels_of(text.labels)?;
        let timestamp = text.timestamp.map(Timestamp);
        let result = self.appender.append_exemplar(series, &Exemplar { labels, value: text.value, timestamp });
        // An exemplar that comes again, or late, is no reason to lose its sample.
        match result {
            Err(AppendError::Storage(error)) => Err(AppendError::Storage(error).into()),
            _ => Ok(()),
        }
    }

    fn mark_vanished(&mut self) -> Result<(), IngestError> {
        let mut failure = None;
        let (appender, timestamp) = (&mut *self.appender, self.timestamp);
        self.cache.vanished(|series, _| {
            // A series that is gone from storage, or has a sample from the future, needs no marker.
            if let Err(AppendError::Storage(error)) = appender.append_ref(series, timestamp, NewValue::Float(STALE_NAN))
            {
                failure = Some(error);
            }
        });
        failure.map_or(Ok(()), |error| Err(AppendError::Storage(error).into()))
    }
}

/// Text of a page that may be shown in an error: never more than a line.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const SHOWN_CHARS_MAX: usize = 300;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or(text))),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests;

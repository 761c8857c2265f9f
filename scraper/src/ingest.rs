//! Ingestion of one page: every line through the series cache into one storage batch, and stale markers for the lines
//! that are gone.

mod classic;
mod family;
mod rules;
mod store;
mod synthesis;

use std::borrow::Cow;
use std::collections::HashSet;

use exposition::parse::protobuf::{HistogramValue, ProtobufPage};
use exposition::parse::series::{SeriesError, labels_of};
use exposition::parse::{Entry, Format, HistogramLine, ParseError, Parser, SampleLine, validate};
use model::metadata::MetricType;
use model::sample::Timestamp;
use model::storage::{AppendError, Appender, NewValue, SeriesRef};

use crate::limits::LimitError;
use crate::metadata_cache::MetadataCache;
use crate::series_budget::SeriesBudget;
use crate::series_cache::{SERIES_BYTES_MAX, SeriesCache};
use classic::{ClassicHistograms, Converted};
use family::Family;
pub use rules::SampleRules;
pub use synthesis::Origin;

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
    /// Samples dropped because their series were new beyond a limit of active series.
    pub excess: u64,
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
    /// A name with its labels is longer than any can be remembered.
    #[error("a series of {0} bytes, more than {SERIES_BYTES_MAX}")]
    SeriesLength(usize),
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
    /// When its counting began; 0 if that is not known or not asked for.
    start: i64,
    /// Whether it is wanted only behind all others of its series.
    in_order: bool,
}

/// What outlasts the scrapes of one target.
#[derive(Debug)]
pub struct Remembered<'a> {
    /// Its lines.
    pub cache: &'a mut SeriesCache,
    /// Its families.
    pub metadata: &'a mut MetadataCache,
    /// Its job's active series.
    pub budget: &'a SeriesBudget,
}

/// One page on its way into one batch.
pub struct Ingestion<'a> {
    rules: &'a SampleRules,
    cache: &'a mut SeriesCache,
    metadata: &'a mut MetadataCache,
    budget: &'a SeriesBudget,
    appender: &'a mut dyn Appender,
    /// When the scrape began: the time of samples without their own.
    timestamp: Timestamp,
    /// What its page is in.
    format: Format,
    counts: Counts,
    family: Family,
    classic: ClassicHistograms,
    /// Series that came as native histograms: their classic form is not converted.
    native: HashSet<String>,
}

impl<'a> Ingestion<'a> {
    /// Starts a scrape.
    pub fn new(
        rules: &'a SampleRules,
        remembered: Remembered<'a>,
        appender: &'a mut dyn Appender,
        timestamp: Timestamp,
    ) -> Self {
        let Remembered { cache, metadata, budget } = remembered;
        cache.begin();
        Self {
            rules,
            cache,
            metadata,
            budget,
            appender,
            timestamp,
            format: Format::Text,
            counts: Counts::default(),
            family: Family::default(),
            classic: ClassicHistograms::default(),
            native: HashSet::new(),
        }
    }

    /// Takes a whole page. An empty one is valid in every format: the target has no series now.
    ///
    /// # Errors
    /// The batch must then be rolled back.
    pub fn page(mut self, format: Format, page: &[u8]) -> Result<Counts, IngestError> {
        self.metadata.begin();
        self.format = format;
        match format {
            _ if page.is_empty() => {}
            Format::Text => self.text(Parser::text(validate(page)?))?,
            Format::OpenMetrics if self.rules.features.wants_starts() => {
                self.text(Parser::open_metrics_with_starts(validate(page)?))?;
            }
            Format::OpenMetrics => self.text(Parser::open_metrics(validate(page)?))?,
            Format::Protobuf => {
                let page = ProtobufPage::decode(page, self.rules.native_histograms())?;
                for entry in page.entries() {
                    self.entry(entry)?;
                }
            }
        }
        self.flush_classic()?;
        self.mark_vanished()?;
        self.cache.end();
        Ok(self.counts)
    }

    fn text(&mut self, mut parser: Parser<'_>) -> Result<(), IngestError> {
        while let Some(entry) = parser.advance(self.cache.predicted())? {
            self.entry(entry)?;
        }
        Ok(())
    }

    #[inline]
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), IngestError> {
        match entry {
            Entry::Sample(line) => return self.sample(&line),
            Entry::Histogram(line) => return self.histogram(&line),
            Entry::Type { name, metric_type } => {
                self.enter_family(name)?;
                self.family.metric_type = metric_type;
                self.family.is_changed |= self.metadata.set_type(name, metric_type);
            }
            Entry::Help { name, text } => {
                self.enter_family(name)?;
                self.family.is_changed |= self.metadata.set_help(name, text, self.format);
            }
            Entry::Unit { name, unit } => {
                self.enter_family(name)?;
                unit.clone_into(&mut self.family.unit);
                self.family.is_changed |= self.metadata.set_unit(name, unit);
            }
        }
        Ok(())
    }

    fn enter_family(&mut self, name: &str) -> Result<(), IngestError> {
        if self.family.enter(name) { self.flush_classic() } else { Ok(()) }
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
        let is_classic = self.rules.histograms.classic_to_custom && self.family.metric_type == MetricType::Histogram;
        if is_classic && self.gather(line)? && !self.rules.histograms.always_classic {
            return Ok(());
        }
        let SampleLine { series, predicted, value, timestamp, start, .. } = *line;
        let start = if self.rules.features.wants_starts() { start } else { 0 };
        let stored =
            self.store(Line { series, predicted, value: NewValue::Float(value), timestamp, start, in_order: false })?;
        match (stored, line.exemplar) {
            (Some(series), Some(exemplar)) => self.exemplar(series, exemplar),
            _ => Ok(()),
        }
    }

    fn histogram(&mut self, line: &HistogramLine<'_>) -> Result<(), IngestError> {
        if self.rules.histograms.classic_to_custom {
            self.native.insert(line.series.to_owned());
        }
        let series = self.native_histogram(line.series, line.value, line.timestamp, line.start)?;
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
        start: i64,
    ) -> Result<Option<SeriesRef>, IngestError> {
        let value = self.rules.limited(value.clone()).ok_or(IngestError::BucketLimit)?;
        let value = match &value {
            HistogramValue::Int(histogram) => NewValue::IntHistogram(histogram),
            HistogramValue::Float(histogram) => NewValue::FloatHistogram(histogram),
        };
        let start = if self.rules.features.wants_starts() { start } else { 0 };
        self.store(Line {
            series,
            predicted: series == self.cache.predicted(),
            value,
            timestamp,
            start,
            in_order: false,
        })
    }

    /// Gathers a line of a classic histogram that is converted; whether it is one.
    fn gather(&mut self, line: &SampleLine<'_>) -> Result<bool, IngestError> {
        let Some((part, labels)) = classic::part_of(&labels_of(line.series)?, &self.family.name) else {
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
        let Converted { series, value, timestamp, start, exemplars } = histogram;
        if self.native.contains(series) {
            return Ok(());
        }
        let series = self.native_histogram(series, value, *timestamp, *start)?;
        exemplars.iter().try_for_each(|exemplar| match series {
            Some(series) => self.exemplar(series, exemplar.text()),
            None => Ok(()),
        })
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

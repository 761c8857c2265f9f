//! Ingestion of one page: every line through the series cache into one storage batch, and stale markers for the lines
//! that are gone.

use std::borrow::Cow;

use exposition::parse::series::{SeriesError, labels_of};
use exposition::parse::{Entry, ExemplarText, Format, ParseError, Parser, SampleLine};
use model::exemplar::Exemplar;
use model::labels::{BUCKET_BOUND, Labels, LabelsBuilder, METRIC_NAME, NameScheme, QUANTILE};
use model::metadata::MetricType;
use model::number::print_float_canonical;
use model::relabel::{self, RelabelRule, Verdict};
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{AppendError, Appender, NewValue, SeriesRef};

use crate::config::{JobConfig, Limits};
use crate::limits::{self, LimitError};
use crate::metadata_cache::MetadataCache;
use crate::series_cache::{EntryIndex, Fate, SeriesCache};

/// Prefix of scraped labels that clash with the target's, unless `honor_labels`.
const EXPORTED_PREFIX: &str = "exported_";

/// How samples of a target are turned into series; the same for each of its scrapes.
#[derive(Debug)]
pub struct SampleRules {
    target_labels: Labels,
    honor_labels: bool,
    honor_timestamps: bool,
    track_timestamps: bool,
    relabel: Vec<RelabelRule>,
    limits: Limits,
    names: NameScheme,
}

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
    /// A label limit.
    #[error(transparent)]
    LabelLimit(#[from] LimitError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] AppendError),
}

impl SampleRules {
    /// For one target of `job`.
    pub fn new(job: &JobConfig, target_labels: Labels) -> Self {
        Self {
            target_labels,
            honor_labels: job.written.honor_labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps: job.written.track_timestamps_staleness,
            relabel: job.metric_relabel.clone(),
            limits: job.limits,
            names: job.names,
        }
    }

    /// The labels a scraped series is stored under, or `None` if metric relabelling drops it.
    fn stored_labels(&self, series: &str, family: MetricType) -> Result<Option<Labels>, IngestError> {
        let scraped = labels_of(series)?;
        let mut builder = scraped.to_builder();
        normalise_bounds(&mut builder, family);
        self.add_target_labels(&scraped, &mut builder);
        if relabel::apply(&self.relabel, &mut builder) == Verdict::Drop {
            return Ok(None);
        }
        let labels = builder.build();
        if !labels.contains(METRIC_NAME) {
            return Err(
                SeriesError { series: series.into(), offset: 0, expected: "a metric name after relabelling" }.into()
            );
        }
        labels.validate(self.names)?;
        limits::check(&labels, &self.limits)?;
        Ok(Some(labels))
    }

    /// Target labels win over scraped ones, which are renamed, unless `honor_labels`.
    fn add_target_labels(&self, scraped: &Labels, builder: &mut LabelsBuilder) {
        for (name, value) in self.target_labels.iter() {
            let clash = scraped.get(name);
            if self.honor_labels {
                if clash.is_none() {
                    builder.set(name, value);
                }
                continue;
            }
            if let Some(scraped_value) = clash {
                let mut renamed = format!("{EXPORTED_PREFIX}{name}");
                while builder.get(&renamed).is_some() || self.target_labels.contains(&renamed) {
                    renamed.insert_str(0, EXPORTED_PREFIX);
                }
                builder.set(&renamed, scraped_value);
            }
            builder.set(name, value);
        }
    }
}

/// `le="1"` and `le="1.0"` are one bucket: Prometheus 3 stores the latter.
fn normalise_bounds(builder: &mut LabelsBuilder, family: MetricType) {
    let label = match family {
        MetricType::Histogram => BUCKET_BOUND,
        MetricType::Summary => QUANTILE,
        _ => return,
    };
    if let Some(bound) = builder.get(label).and_then(|text| text.parse::<f64>().ok()) {
        builder.set(label, &print_float_canonical(bound));
    }
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
        Self { rules, cache, appender, timestamp, counts: Counts::default(), family: MetricType::Unknown }
    }

    /// Takes a whole page.
    ///
    /// # Errors
    /// The batch must then be rolled back.
    pub fn page(mut self, format: Format, page: &str, metadata: &mut MetadataCache) -> Result<Counts, IngestError> {
        let mut parser = Parser::new(format, page);
        metadata.begin();
        while let Some(entry) = parser.advance(self.cache.predicted())? {
            match entry {
                Entry::Sample(line) => self.sample(&line)?,
                Entry::Type { name, metric_type } => {
                    self.family = metric_type;
                    metadata.set_type(name, metric_type);
                }
                Entry::Help { name, text } => metadata.set_help(name, text),
                Entry::Unit { name, unit } => metadata.set_unit(name, unit),
            }
        }
        self.mark_vanished()?;
        self.cache.end();
        Ok(self.counts)
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
        self.counts.scraped += 1;
        let own_timestamp = line.timestamp.filter(|_| self.rules.honor_timestamps);
        let timestamp = own_timestamp.map_or(self.timestamp, Timestamp);
        let (index, series) = match self.cache.find(line) {
            Some((_, Fate::Dropped, _)) => return Ok(()),
            Some((_, Fate::Series(_), true)) if own_timestamp.is_none() => {
                self.counts.duplicate += 1;
                return self.count_kept();
            }
            Some((index, Fate::Series(series), _)) => {
                let result = self.appender.append_ref(series, timestamp, NewValue::Float(line.value));
                match result {
                    Err(AppendError::UnknownSeries) => match self.create(line, timestamp, Some(index))? {
                        Some(created) => created,
                        None => return Ok(()),
                    },
                    other => {
                        self.count_refusal(other)?;
                        (index, series)
                    }
                }
            }
            None => match self.create(line, timestamp, None)? {
                Some(created) => created,
                None => return Ok(()),
            },
        };
        self.cache.track(index, own_timestamp.is_none() || self.rules.track_timestamps);
        if let Some(exemplar) = line.exemplar {
            self.exemplar(series, exemplar)?;
        }
        self.count_kept()
    }

    /// A line seen for the first time, or whose series is gone from storage.
    fn create(
        &mut self,
        line: &SampleLine<'_>,
        timestamp: Timestamp,
        known: Option<EntryIndex>,
    ) -> Result<Option<(EntryIndex, SeriesRef)>, IngestError> {
        let Some(labels) = self.rules.stored_labels(line.series, self.family)? else {
            self.cache.insert(line.series, Fate::Dropped);
            return Ok(None);
        };
        let series = match self.appender.append(&labels, timestamp, NewValue::Float(line.value)) {
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

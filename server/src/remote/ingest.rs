//! What other programs send, on its way into the storage: one batch a request, samples that are refused counted and
//! told, all others kept.

use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::metadata::{Metadata, MetricType};
use model::sample::Timestamp;
use model::storage::{AppendError, Appendable, Appender, NewValue, SeriesRef, StorageError};

use super::decode::{Incoming, NewExemplar, NewMetadata};
use super::histogram::Decoded;

/// How far ahead of the clock a sample may be, in ms.
pub const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;
/// Refusals that an answer tells; further ones are counted.
pub const REFUSALS_SHOWN_MAX: usize = 20;
const METRIC_TYPE_LABEL: &str = "__type__";
const METRIC_UNIT_LABEL: &str = "__unit__";

/// What is done beside storing samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct IngestOptions {
    /// A zero is stored where a counting began (`created-timestamp-zero-ingestion`).
    pub zero_at_start: bool,
    /// Starts are stored with their samples (`st-storage`).
    pub starts: bool,
    /// Type and unit become labels (`type-and-unit-labels`).
    pub type_and_unit: bool,
    /// Metadata is stored (`metadata-wal-records`).
    pub metadata: bool,
}

/// What was stored, and what not.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Numbers stored.
    pub samples: usize,
    /// Native histograms stored.
    pub histograms: usize,
    /// Exemplars stored.
    pub exemplars: usize,
    /// Samples of series whose labels are wrong.
    pub with_invalid_labels: usize,
    /// Samples stored whose series said nothing of its family.
    pub without_metadata: usize,
    refusals: Vec<String>,
    refusals_more: usize,
}

impl Outcome {
    /// Why samples were refused, a line each, or `None` if all are stored.
    pub fn refusal(&self) -> Option<String> {
        if self.refusals.is_empty() {
            return None;
        }
        let mut text = self.refusals.join("\n");
        if self.refusals_more > 0 {
            text.push_str(&format!("\nand {} more", self.refusals_more));
        }
        Some(text)
    }

    fn refuse(&mut self, text: String) {
        if self.refusals.len() < REFUSALS_SHOWN_MAX {
            self.refusals.push(text);
        } else {
            self.refusals_more += 1;
        }
    }
}

/// A sample whose labels are settled.
pub struct Arriving<'a> {
    /// The whole series, its name included.
    pub labels: &'a Labels,
    /// When its counting began, in ms; 0 if that is not known.
    pub start: i64,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// The value.
    pub value: NewValue<'a>,
    /// Exemplars of the sample.
    pub exemplars: &'a [Exemplar],
    /// What the series says of its family.
    pub metadata: Option<&'a Metadata>,
}

/// One request's batch. Dropped without [`Ingest::commit`], nothing of it is stored.
pub struct Ingest<'a> {
    appender: Box<dyn Appender + 'a>,
    options: IngestOptions,
    time_max: i64,
    outcome: Outcome,
}

/// A series of the batch: by ref as soon as the first sample is in.
struct Destination<'l> {
    labels: &'l Labels,
    known: Option<SeriesRef>,
}

impl<'a> Ingest<'a> {
    /// Begins a batch at `now`, in ms.
    pub fn begin(storage: &'a dyn Appendable, options: IngestOptions, now_ms: i64) -> Self {
        let time_max = now_ms.saturating_add(AHEAD_MAX_MS);
        Self { appender: storage.appender(), options, time_max, outcome: Outcome::default() }
    }

    /// Takes one series.
    ///
    /// # Errors
    /// If the storage fails; the batch is then to be dropped.
    pub fn series(&mut self, incoming: &Incoming<'_>) -> Result<(), StorageError> {
        let count = incoming.samples.len() + incoming.histograms.len();
        if let Some(fault) = &incoming.fault {
            self.outcome.with_invalid_labels += count;
            self.outcome.refuse(fault.clone());
            return Ok(());
        }
        let labels = match self.labels(incoming) {
            Ok(labels) => labels,
            Err(fault) => {
                self.outcome.with_invalid_labels += count;
                self.outcome.refuse(fault);
                return Ok(());
            }
        };
        if count == 0 {
            // Only 2.0 forbids it; in 1.0 a series may carry nothing but exemplars.
            if incoming.metadata.is_some() {
                let fault = "TimeSeries must contain at least one sample or histogram for series";
                self.outcome.refuse(format!("{fault} {labels}"));
                return Ok(());
            }
            if incoming.exemplars.is_empty() {
                return Ok(());
            }
        }
        let mut to = Destination { labels: &labels, known: None };
        for sample in &incoming.samples {
            let stored = self.sample(&mut to, sample.start, sample.timestamp, NewValue::Float(sample.value), || {
                NewValue::Float(0.0)
            })?;
            self.outcome.samples += usize::from(stored);
        }
        for histogram in &incoming.histograms {
            let (start, timestamp) = (histogram.start_timestamp, histogram.timestamp);
            let value = Decoded::from(histogram);
            let zero = value.zero();
            let stored = self.sample(&mut to, start, timestamp, value.as_value(), || zero.as_value())?;
            self.outcome.histograms += usize::from(stored);
        }
        for exemplar in &incoming.exemplars {
            self.exemplar(&to, exemplar)?;
        }
        self.metadata(&to, incoming.metadata, count)
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// If the storage fails; the batch is then to be dropped.
    pub fn arrive(&mut self, arriving: &Arriving<'_>) -> Result<(), StorageError> {
        let mut to = Destination { labels: arriving.labels, known: None };
        let zero = zero_of(arriving.value);
        let stored = self.sample(&mut to, arriving.start, arriving.time, arriving.value, || zero.as_value())?;
        match arriving.value {
            NewValue::Float(_) => self.outcome.samples += usize::from(stored),
            _ => self.outcome.histograms += usize::from(stored),
        }
        for exemplar in arriving.exemplars {
            self.store_exemplar(&to, exemplar)?;
        }
        self.store_metadata(&to, arriving.metadata.cloned(), 1)
    }

    /// Notes that something of the request was not taken.
    pub fn refuse(&mut self, text: String) {
        self.outcome.refuse(text);
    }

    /// Makes the batch durable and visible.
    ///
    /// # Errors
    /// If the storage fails; nothing is then stored.
    pub fn commit(self) -> Result<Outcome, StorageError> {
        self.appender.commit()?;
        Ok(self.outcome)
    }

    fn labels(&self, incoming: &Incoming<'_>) -> Result<Labels, String> {
        let own = match incoming.metadata {
            Some(metadata) if self.options.type_and_unit => with_type_and_unit(&incoming.labels, metadata),
            _ => None,
        };
        let pairs = own.as_deref().unwrap_or(&incoming.labels);
        let is_sorted = pairs.windows(2).all(|w| w[0].0 < w[1].0) && pairs.iter().all(|(_, value)| !value.is_empty());
        let labels = if is_sorted {
            Ok(Labels::from_sorted(pairs.iter().copied()))
        } else {
            Labels::from_pairs(pairs.iter().copied())
        };
        let labels = labels.map_err(|error| {
            let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            format!("invalid labels for series, labels {{{}}}: {error}", shown.join(", "))
        })?;
        if !labels.contains(METRIC_NAME) || labels.iter().any(|(name, _)| name.is_empty()) {
            return Err(format!("invalid metric name or labels, got {labels}"));
        }
        Ok(labels)
    }

    /// Appends one value; whether it was taken.
    fn sample<'z>(
        &mut self,
        to: &mut Destination<'_>,
        start: i64,
        timestamp: i64,
        value: NewValue<'_>,
        zero: impl FnOnce() -> NewValue<'z>,
    ) -> Result<bool, StorageError> {
        if timestamp > self.time_max {
            let fault = "out of bounds: timestamp is too far in the future";
            self.outcome.refuse(format!("{fault} for series {} at {timestamp}", to.labels));
            return Ok(false);
        }
        if self.options.zero_at_start && start != 0 && start < timestamp {
            // That it is late is the usual case: the zero came with an earlier request.
            if let Err(AppendError::Storage(error)) = self.append(to, 0, start, zero()) {
                return Err(error);
            }
        }
        let start = if self.options.starts { start } else { 0 };
        match self.append(to, start, timestamp, value) {
            Ok(()) => Ok(true),
            Err(AppendError::Storage(error)) => Err(error),
            Err(error) => {
                self.outcome.refuse(format!("{error} for series {} at {timestamp}", to.labels));
                Ok(false)
            }
        }
    }

    fn append(
        &mut self,
        to: &mut Destination<'_>,
        start: i64,
        timestamp: i64,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        let at = Timestamp(timestamp);
        match to.known {
            Some(series) if start != 0 => self.appender.append_started(series, Timestamp(start), at, value),
            Some(series) => self.appender.append_ref(series, at, value),
            None if start != 0 => {
                let series = self.appender.append_with_start(to.labels, Timestamp(start), at, value)?;
                to.known = Some(series);
                Ok(())
            }
            None => {
                to.known = Some(self.appender.append(to.labels, at, value)?);
                Ok(())
            }
        }
    }

    fn exemplar(&mut self, to: &Destination<'_>, new: &NewExemplar<'_>) -> Result<(), StorageError> {
        let labels = new.labels.clone().and_then(|pairs| Labels::from_pairs(pairs).map_err(|error| error.to_string()));
        let labels = match labels {
            Ok(labels) => labels,
            Err(fault) => {
                self.outcome.refuse(format!("parsing exemplar for series {}: {fault}", to.labels));
                return Ok(());
            }
        };
        let exemplar = Exemplar { labels, value: new.value, timestamp: Some(Timestamp(new.timestamp)) };
        self.store_exemplar(to, &exemplar)
    }

    fn store_exemplar(&mut self, to: &Destination<'_>, exemplar: &Exemplar) -> Result<(), StorageError> {
        // A series whose samples were all refused has nothing an exemplar could stand beside.
        let Some(series) = to.known else { return Ok(()) };
        match self.appender.append_exemplar(series, exemplar) {
            Ok(()) => self.outcome.exemplars += 1,
            Err(AppendError::Storage(error)) => return Err(error),
            Err(AppendError::OutOfOrder) => {
                self.outcome.refuse(format!("out of order exemplar for series {}", to.labels));
            }
            Err(error) => tracing::debug!(series = %to.labels, %error, "exemplar not stored"),
        }
        Ok(())
    }

    fn metadata(
        &mut self,
        to: &Destination<'_>,
        metadata: Option<NewMetadata<'_>>,
        count: usize,
    ) -> Result<(), StorageError> {
        let metadata = metadata.map(|metadata| Metadata {
            metric_type: metadata.metric_type,
            unit: metadata.unit.to_owned(),
            help: metadata.help.to_owned(),
        });
        self.store_metadata(to, metadata, count)
    }

    fn store_metadata(
        &mut self,
        to: &Destination<'_>,
        metadata: Option<Metadata>,
        count: usize,
    ) -> Result<(), StorageError> {
        let Some(metadata) = metadata else {
            self.outcome.without_metadata += count;
            return Ok(());
        };
        let (true, Some(series)) = (self.options.metadata, to.known) else { return Ok(()) };
        match self.appender.update_metadata(series, &metadata) {
            Err(AppendError::Storage(error)) => Err(error),
            Err(error) => {
                tracing::debug!(series = %to.labels, %error, "metadata not stored");
                self.outcome.without_metadata += count;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// What stands where the counting of a value began.
fn zero_of(value: NewValue<'_>) -> Zero {
    match value {
        NewValue::Float(_) => Zero::Float,
        NewValue::IntHistogram(histogram) => Zero::Histogram(Decoded::Int(histogram.clone()).zero()),
        NewValue::FloatHistogram(histogram) => Zero::Histogram(Decoded::Float(histogram.clone()).zero()),
    }
}

enum Zero {
    Float,
    Histogram(Decoded),
}

impl Zero {
    fn as_value(&self) -> NewValue<'_> {
        match self {
            Zero::Float => NewValue::Float(0.0),
            Zero::Histogram(histogram) => histogram.as_value(),
        }
    }
}

/// The labels with `__type__` and `__unit__`, which stand for any the sender gave; `None` if neither is known.
fn with_type_and_unit<'a>(labels: &[(&'a str, &'a str)], metadata: NewMetadata<'a>) -> Option<Vec<(&'a str, &'a str)>> {
    let is_known = metadata.metric_type != MetricType::Unknown;
    if !is_known && metadata.unit.is_empty() {
        return None;
    }
    let others = labels.iter().copied().filter(|(name, _)| *name != METRIC_TYPE_LABEL && *name != METRIC_UNIT_LABEL);
    let mut pairs: Vec<_> = others.collect();
    if is_known {
        pairs.push((METRIC_TYPE_LABEL, metadata.metric_type.as_str()));
    }
    pairs.push((METRIC_UNIT_LABEL, metadata.unit));
    Some(pairs)
}

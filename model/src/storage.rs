//! The contract between storage and everyone else: appending samples, and selecting series to read.
//!
//! `tsdb` implements it; `scraper`, `rules` and `promql` only know this file. Storage ranges are closed:
//! `[min_time, max_time]`, both ends included. (PromQL's windows are left-open; the engine converts.)
//!
//! Writing: [`Appendable::appender`] gives a batch. A sample enters by labels once, which yields a [`SeriesRef`]; from
//! then on by ref, which hashes nothing. [`Appender::commit`] makes the whole batch durable as one WAL record and
//! visible at once; a dropped appender is rolled back.
//!
//! Reading: [`Queryable::querier`] fixes a snapshot over a time range; [`Querier::select`] gives lightweight
//! [`Series`], each of which is decoded once, whole, into [`Columns`], on any thread.

use std::path::PathBuf;
use std::sync::Arc;

use crate::annotations::Annotations;
use crate::exemplar::Exemplar;
use crate::histogram::{FloatHistogram, IntHistogram};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::metadata::Metadata;
use crate::sample::{Sample, Timestamp, Value};

/// A series of the head by number: as long as it lives, its samples can be appended without its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u64);

/// A value on its way into storage, borrowed from whoever parsed it.
#[derive(Debug, Clone, Copy)]
pub enum NewValue<'a> {
    /// A number; [`crate::sample::STALE_NAN`] ends the series.
    Float(f64),
    /// A native histogram with integer counts.
    IntHistogram(&'a IntHistogram),
    /// A native histogram with float counts.
    FloatHistogram(&'a FloatHistogram),
}

impl From<f64> for NewValue<'_> {
    fn from(value: f64) -> Self {
        NewValue::Float(value)
    }
}

/// Why a sample was not taken. Each names what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The series has a later sample, and no out-of-order window reaches back to this one.
    #[error("out of order sample")]
    OutOfOrder,
    /// The series has another value at that very timestamp.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// The timestamp is too far in the past for the head to take.
    #[error("out of bounds")]
    OutOfBounds,
    /// Beyond the out-of-order window.
    #[error("too old sample")]
    TooOld,
    /// The series of that ref is gone (its samples were all truncated): append by labels again.
    #[error("unknown series")]
    UnknownSeries,
    /// The labels are empty or otherwise no series.
    #[error("invalid labels: {0}")]
    InvalidLabels(String),
    /// The histogram breaks its own rules.
    #[error(transparent)]
    InvalidHistogram(#[from] crate::histogram::HistogramError),
    /// A limit with a name was reached.
    #[error("limit {name} of {max} reached")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// Its value.
        max: u64,
    },
    /// The storage itself failed; see [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why storage could not read or write.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Not ready yet (replaying) or already closed.
    #[error("storage is not ready")]
    NotReady,
    /// Appends are refused after a failed write or sync; reads go on.
    #[error("storage refuses writes: {reason}")]
    WritesRefused {
        /// What failed first.
        reason: String,
    },
    /// A file holds what it cannot hold.
    #[error("{}: corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The operating system failed a call.
    #[error("{}: {source}", path.display())]
    Io {
        /// On which file or directory.
        path: PathBuf,
        /// How.
        source: Arc<std::io::Error>,
    },
    /// A limit with a name was reached.
    #[error("limit {name} of {max} reached")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// Its value.
        max: u64,
    },
    /// The caller gave up.
    #[error("query was canceled")]
    Cancelled,
}

/// Where batches of samples go.
pub trait Appendable: Send + Sync {
    /// Starts a batch. Nothing is visible or durable before its commit.
    fn appender(&self) -> Box<dyn Appender + '_>;
}

/// One batch of samples. Dropping it without a commit rolls it back.
pub trait Appender: Send {
    /// Appends by labels, creating the series if need be, and returns its ref for [`Appender::append_ref`].
    ///
    /// Creating a series counts in the head even if the batch is rolled back; it just stays without samples.
    ///
    /// # Errors
    /// See [`AppendError`]; the batch stays usable and this sample is not part of it.
    fn append(&mut self, labels: &Labels, timestamp: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError>;

    /// As [`Appender::append`], of a sample whose counting began at `start`.
    ///
    /// # Errors
    /// As [`Appender::append`].
    fn append_with_start(
        &mut self,
        labels: &Labels,
        start: Timestamp,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<SeriesRef, AppendError> {
        let _dropped = start;
        self.append(labels, timestamp, value)
    }

    /// Appends to a known series; touches no hash map.
    ///
    /// # Errors
    /// [`AppendError::UnknownSeries`] if the series is gone; else as [`Appender::append`].
    fn append_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: NewValue<'_>) -> Result<(), AppendError>;

    /// As [`Appender::append_ref`], of a sample whose counting began at `start` (OpenMetrics' created time). A storage
    /// that keeps no start timestamps drops it.
    ///
    /// # Errors
    /// As [`Appender::append_ref`].
    fn append_started(
        &mut self,
        series: SeriesRef,
        start: Timestamp,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        let _dropped = start;
        self.append_ref(series, timestamp, value)
    }

    /// The ref of a series, made if need be, ahead of its first sample of this batch: for those whose first sample is to
    /// be appended by ref. A storage that makes series with samples alone says [`AppendError::UnknownSeries`]; append by
    /// labels then.
    ///
    /// # Errors
    /// As [`Appender::append`].
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let _unused = labels;
        Err(AppendError::UnknownSeries)
    }

    /// As [`Appender::append_ref`], of a sample that is wanted only behind all others of its series: an out-of-order
    /// window does not apply to it, and that it is refused is expected and not counted. So are stale markers, and the
    /// zeros where counting began.
    ///
    /// # Errors
    /// As [`Appender::append_ref`].
    fn append_in_order(
        &mut self,
        series: SeriesRef,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        self.append_ref(series, timestamp, value)
    }

    /// Attaches an exemplar to a series of this batch.
    ///
    /// # Errors
    /// As [`Appender::append`]. A storage without exemplars accepts and counts them as dropped.
    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError>;

    /// Records what the series' family says of itself.
    ///
    /// # Errors
    /// [`AppendError::UnknownSeries`] if the series is gone.
    fn update_metadata(&mut self, series: SeriesRef, metadata: &Metadata) -> Result<(), AppendError>;

    /// Writes the batch as one WAL record and makes all of it visible at once. Returns how many samples it held.
    ///
    /// # Errors
    /// If the WAL cannot be written, nothing of the batch becomes visible.
    fn commit(self: Box<Self>) -> Result<usize, StorageError>;

    /// Drops the batch.
    fn rollback(self: Box<Self>);
}

/// Where series are read from.
pub trait Queryable: Send + Sync {
    /// A snapshot over `[min_time, max_time]`: what is committed later is not in it.
    ///
    /// # Errors
    /// If storage is not ready.
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError>;
}

/// Where exemplars are read from.
pub trait ExemplarQueryable: Send + Sync {
    /// The exemplars with a timestamp in `[min_time, max_time]` of the series that one of `selectors` accepts, ordered by
    /// labels, each series' by time. A series that several selectors accept comes once.
    ///
    /// # Errors
    /// If storage is not ready.
    fn exemplars(
        &self,
        min_time: Timestamp,
        max_time: Timestamp,
        selectors: &[Vec<Matcher>],
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StorageError>;
}

/// Whether series come ordered by their labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As storage finds them, cheapest.
    #[default]
    Any,
    /// By labels, ascending.
    ByLabels,
}

/// What the caller will do with the series: lets storage skip work, never changes what is right.
#[derive(Debug, Clone, Default)]
pub struct SelectHints {
    /// Time range really needed, narrower than the querier's: `(start, end)`, both included.
    pub range: Option<(Timestamp, Timestamp)>,
    /// Step of the query in ms; 0 for none.
    pub step_ms: i64,
    /// Width of the range selector in ms; 0 for none.
    pub window_ms: i64,
    /// The function that will be applied, empty if none; `series` means that only labels are wanted.
    pub function: String,
    /// The most series wanted; 0 for all.
    pub limit: usize,
}

/// Reads one snapshot.
pub trait Querier: Send + Sync {
    /// The series that all `matchers` accept. Matchers are never empty as a whole; a matcher on an absent label sees "".
    ///
    /// # Errors
    /// If storage is damaged or unreadable.
    fn select(
        &self,
        order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError>;

    /// Names of labels on series that `matchers` accept (all series if there are none), sorted; at most `limit` if not 0.
    ///
    /// # Errors
    /// If storage is damaged or unreadable.
    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError>;

    /// Values of label `name` on series that `matchers` accept, sorted; at most `limit` if not 0.
    ///
    /// # Errors
    /// If storage is damaged or unreadable.
    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError>;
}

/// A stream of series. A series comes once.
pub trait SeriesSet: Send {
    /// The next series, or `None` at the end.
    ///
    /// # Errors
    /// If storage is damaged or unreadable; the stream is then over.
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError>;

    /// What was odd about the reading without failing it, known at the end.
    fn annotations(&mut self) -> Annotations {
        Annotations::new()
    }
}

/// One series: cheap to hold, decoded on demand, on any thread.
pub trait Series: Send + Sync {
    /// Its labels, built on demand.
    fn labels(&self) -> Labels;

    /// Those of its labels that bear one of `names`; the others need not be built.
    fn labels_of(&self, names: &[String]) -> Labels {
        self.labels().filtered(|name| names.iter().any(|known| known.as_bytes() == name))
    }

    /// Appends all samples in the snapshot's range to `columns`, in order of time, stale markers included.
    ///
    /// # Errors
    /// If a chunk is damaged or unreadable.
    fn read(&self, columns: &mut Columns) -> Result<(), StorageError>;
}

/// The samples of one series, decoded: `timestamps[i]` belongs to `values[i]`.
///
/// A histogram sample at `i` leaves its sum in `values[i]` (the stale marker if it is one) and stands in `histograms`,
/// which is ordered by index and empty for float series. Invariant: `timestamps.len() == values.len()`, times rise
/// strictly, `starts.len() <= timestamps.len()`.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Milliseconds since the epoch.
    pub timestamps: Vec<i64>,
    /// The floats; for histograms, their sums.
    pub values: Vec<f64>,
    /// Histograms with the index of their sample.
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
    /// When each sample's counting began, in ms; 0 where that is not known, as it is past the end: most series have none.
    pub starts: Vec<i64>,
}

impl Columns {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Appends a float sample.
    pub fn push_float(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Appends a histogram sample.
    pub fn push_histogram(&mut self, timestamp: i64, histogram: Arc<FloatHistogram>) {
        // An index past u32 cannot occur: 2^32 histogram samples do not fit any query's limits.
        let index = u32::try_from(self.timestamps.len()).unwrap_or(u32::MAX);
        self.timestamps.push(timestamp);
        self.values.push(histogram.sum);
        self.histograms.push((index, histogram));
    }

    /// Notes when the counting of the last sample began; 0 if that is not known.
    pub fn note_start(&mut self, start: i64) {
        if start != 0 && !self.timestamps.is_empty() {
            self.starts.resize(self.timestamps.len() - 1, 0);
            self.starts.push(start);
        }
    }

    /// When the counting of the sample at `index` began, in ms; 0 if that is not known.
    pub fn start_at(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The histogram at sample `index`, if that sample is one.
    pub fn histogram_at(&self, index: usize) -> Option<&Arc<FloatHistogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let at = self.histograms.binary_search_by_key(&index, |(i, _)| *i as usize).ok()?;
        Some(&self.histograms[at].1)
    }

    /// The sample at `index`.
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn sample(&self, index: usize) -> Sample {
        let value = match self.histogram_at(index) {
            Some(histogram) => Value::Histogram(Arc::clone(histogram)),
            None => Value::Float(self.values[index]),
        };
        Sample { timestamp: Timestamp(self.timestamps[index]), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_tell_floats_from_histograms() {
        let mut columns = Columns::default();
        columns.push_float(1, 10.0);
        columns.push_histogram(2, Arc::new(FloatHistogram { sum: 7.0, ..FloatHistogram::default() }));
        columns.push_float(3, 30.0);
        assert_eq!(columns.values, [10.0, 7.0, 30.0]);
        assert!(columns.histogram_at(0).is_none() && columns.histogram_at(1).is_some());
        columns.note_start(2);
        columns.push_float(4, 40.0);
        assert_eq!((columns.start_at(0), columns.start_at(2), columns.start_at(3)), (0, 2, 0));
        assert_eq!(columns.sample(2), Sample { timestamp: Timestamp(3), value: Value::Float(30.0) });
        assert!(matches!(columns.sample(1).value, Value::Histogram(_)));
    }
}

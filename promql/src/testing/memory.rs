//! A storage in memory: series by labels, samples in order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use model::exemplar::Exemplar;
use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;
use model::sample::{Timestamp, Value};
use model::storage::{
    AppendError, Appendable, Appender, Columns, NewValue, Order, Querier, Queryable, SelectHints, Series, SeriesRef,
    SeriesSet, StorageError,
};

use crate::histogram;

type Samples = BTreeMap<i64, Value>;
type Data = BTreeMap<Labels, Arc<Samples>>;

/// Series in memory. Appending a sample twice replaces it.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    data: RwLock<Data>,
    /// Series that a ref was given for, by number.
    refs: Mutex<Vec<Labels>>,
}

impl MemoryStorage {
    /// Without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to a series.
    pub fn insert(&self, labels: &Labels, samples: impl IntoIterator<Item = (i64, Value)>) {
        let mut data = self.data.write().unwrap_or_else(PoisonError::into_inner);
        let series = Arc::make_mut(data.entry(labels.clone()).or_default());
        series.extend(samples);
        if series.values().any(|value| matches!(value, Value::Histogram(_))) {
            set_hints(series);
        }
    }

    fn snapshot(&self) -> Data {
        self.data.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Histograms come back with the hints that chunks on disk would give them.
fn set_hints(series: &mut Samples) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for value in series.values_mut() {
        let Value::Histogram(histogram) = value else {
            previous = None;
            continue;
        };
        let hint = histogram::stored_hint(histogram, previous.as_deref());
        previous = Some(Arc::clone(histogram));
        if histogram.reset_hint != hint {
            Arc::make_mut(histogram).reset_hint = hint;
        }
    }
}

impl Queryable for MemoryStorage {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(Snapshot { data: self.snapshot(), range: (min_time.0, max_time.0) }))
    }
}

struct Snapshot {
    data: Data,
    range: (i64, i64),
}

impl Snapshot {
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Arc<Samples>)> {
        self.data.iter().filter(|(labels, _)| matchers.iter().all(|m| m.matches_labels(labels)))
    }
}

impl Querier for Snapshot {
    fn select(
        &self,
        _order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        let range = hints.range.map_or(self.range, |(start, end)| (start.0, end.0));
        let series: Vec<One> = self
            .matching(matchers)
            .filter(|(_, samples)| range.0 <= range.1 && samples.range(range.0..=range.1).next().is_some())
            .map(|(labels, samples)| One { labels: labels.clone(), samples: Arc::clone(samples), range })
            .collect();
        Ok(Box::new(Set(series.into_iter())))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let names: BTreeSet<&str> = self.matching(matchers).flat_map(|(l, _)| l.iter().map(|(n, _)| n)).collect();
        Ok(names.into_iter().take(cap(limit)).map(str::to_owned).collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let values: BTreeSet<&str> = self.matching(matchers).filter_map(|(l, _)| l.get(name)).collect();
        Ok(values.into_iter().take(cap(limit)).map(str::to_owned).collect())
    }
}

fn cap(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

struct Set(std::vec::IntoIter<One>);

impl SeriesSet for Set {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        Ok(self.0.next().map(|one| Box::new(one) as Box<dyn Series>))
    }
}

struct One {
    labels: Labels,
    samples: Arc<Samples>,
    range: (i64, i64),
}

impl Series for One {
    fn labels(&self) -> Labels {
        self.labels.clone()
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        for (&time, value) in self.samples.range(self.range.0..=self.range.1) {
            match value {
                Value::Float(value) => columns.push_float(time, *value),
                Value::Histogram(histogram) => columns.push_histogram(time, Arc::clone(histogram)),
            }
        }
        Ok(())
    }
}

impl Appendable for MemoryStorage {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch { storage: self, pending: Vec::new() })
    }
}

struct Batch<'a> {
    storage: &'a MemoryStorage,
    pending: Vec<(Labels, i64, Value)>,
}

fn owned(value: NewValue<'_>) -> Value {
    match value {
        NewValue::Float(value) => Value::Float(value),
        NewValue::IntHistogram(histogram) => Value::Histogram(Arc::new(histogram.to_float())),
        NewValue::FloatHistogram(histogram) => Value::Histogram(Arc::new(FloatHistogram::clone(histogram))),
    }
}

impl Appender for Batch<'_> {
    fn append(&mut self, labels: &Labels, timestamp: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        let mut refs = self.storage.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let at = refs.iter().position(|known| known == labels).unwrap_or_else(|| {
            refs.push(labels.clone());
            refs.len() - 1
        });
        self.pending.push((labels.clone(), timestamp.0, owned(value)));
        Ok(SeriesRef(at as u64))
    }

    fn append_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        let refs = self.storage.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = usize::try_from(series.0).ok().and_then(|at| refs.get(at)).ok_or(AppendError::UnknownSeries)?;
        self.pending.push((labels.clone(), timestamp.0, owned(value)));
        Ok(())
    }

    fn append_exemplar(&mut self, _series: SeriesRef, _exemplar: &Exemplar) -> Result<(), AppendError> {
        // Nothing asks this storage for exemplars.
        Ok(())
    }

    fn update_metadata(&mut self, _series: SeriesRef, _metadata: &Metadata) -> Result<(), AppendError> {
        // Nothing asks this storage for metadata.
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        let count = self.pending.len();
        for (labels, time, value) in self.pending {
            self.storage.insert(&labels, [(time, value)]);
        }
        Ok(count)
    }

    fn rollback(self: Box<Self>) {}
}

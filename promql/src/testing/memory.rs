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

type Data = BTreeMap<Labels, Arc<Columns>>;

/// A sample with its start timestamp (0 if it has none): `(start, time, value)`.
type Started = (i64, i64, Value);

/// Series in memory. Appending a sample twice replaces it.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    data: RwLock<Arc<Data>>,
    refs: Mutex<Refs>,
}

/// Series that a ref was given for, by number.
#[derive(Debug, Default)]
struct Refs {
    labels: Vec<Labels>,
    numbers: BTreeMap<Labels, u64>,
}

impl MemoryStorage {
    /// Without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to a series.
    pub fn insert(&self, labels: &Labels, samples: impl IntoIterator<Item = (i64, Value)>) {
        self.insert_started(labels, samples.into_iter().map(|(time, value)| (0, time, value)));
    }

    /// Adds samples with start timestamps to a series: start (0 if unknown), time, value.
    pub fn insert_started(&self, labels: &Labels, samples: impl IntoIterator<Item = (i64, i64, Value)>) {
        let mut data = self.data.write().unwrap_or_else(PoisonError::into_inner);
        let columns = Arc::make_mut(Arc::make_mut(&mut data).entry(labels.clone()).or_default());
        let mut late: Vec<Started> = Vec::new();
        for sample in samples {
            if late.is_empty() && columns.timestamps.last().is_none_or(|last| sample.1 > *last) {
                push(columns, sample);
            } else {
                late.push(sample);
            }
        }
        if !late.is_empty() {
            merge(columns, late);
        }
    }

    /// Removes all series.
    pub fn clear(&self) {
        *self.data.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn snapshot(&self) -> Arc<Data> {
        Arc::clone(&self.data.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Appends the latest sample. Histograms get the hints that chunks on disk would give them.
fn push(columns: &mut Columns, (start, time, value): Started) {
    match value {
        Value::Float(value) => columns.push_float(time, value),
        Value::Histogram(mut histogram) => {
            let neighbour = columns.histograms.last().filter(|(at, _)| *at as usize + 1 == columns.len());
            let previous: Option<&FloatHistogram> = neighbour.map(|(_, h)| h.as_ref());
            let hint = histogram::stored_hint(&histogram, previous);
            if histogram.reset_hint != hint {
                Arc::make_mut(&mut histogram).reset_hint = hint;
            }
            columns.push_histogram(time, histogram);
        }
    }
    columns.note_start(start);
}

/// Puts samples among those that are there.
fn merge(columns: &mut Columns, late: Vec<Started>) {
    let known = (0..columns.len()).map(|i| {
        let sample = columns.sample(i);
        (sample.timestamp.0, (columns.start_at(i), sample.value))
    });
    let mut all: BTreeMap<i64, (i64, Value)> = known.collect();
    all.extend(late.into_iter().map(|(start, time, value)| (time, (start, value))));
    columns.clear();
    for (time, (start, value)) in all {
        push(columns, (start, time, value));
    }
}

impl Queryable for MemoryStorage {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(Snapshot { data: self.snapshot(), range: (min_time.0, max_time.0) }))
    }
}

struct Snapshot {
    data: Arc<Data>,
    range: (i64, i64),
}

impl Snapshot {
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Arc<Columns>)> {
        self.data.iter().filter(|(labels, _)| matchers.iter().all(|m| m.matches_labels(labels)))
    }
}

/// Indices of the samples in the closed range.
fn inside(columns: &Columns, (first, last): (i64, i64)) -> std::ops::Range<usize> {
    let from = columns.timestamps.partition_point(|t| *t < first);
    from..columns.timestamps.partition_point(|t| *t <= last).max(from)
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
            .map(|(labels, columns)| (labels, columns, inside(columns, range)))
            .filter(|(_, _, inside)| !inside.is_empty())
            .map(|(labels, columns, inside)| One { labels: labels.clone(), columns: Arc::clone(columns), inside })
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
    columns: Arc<Columns>,
    inside: std::ops::Range<usize>,
}

impl Series for One {
    fn labels(&self) -> Labels {
        self.labels.clone()
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let (from, to) = (self.inside.start, self.inside.end);
        let before = columns.len();
        columns.timestamps.extend_from_slice(&self.columns.timestamps[from..to]);
        columns.values.extend_from_slice(&self.columns.values[from..to]);
        let all = &self.columns.histograms;
        let first = all.partition_point(|(at, _)| (*at as usize) < from);
        for (at, histogram) in all[first..].iter().take_while(|(at, _)| (*at as usize) < to) {
            let at = *at as usize - from + before;
            columns.histograms.push((u32::try_from(at).unwrap_or(u32::MAX), Arc::clone(histogram)));
        }
        let starts = &self.columns.starts;
        if starts.len() > from {
            columns.starts.resize(before, 0);
            columns.starts.extend_from_slice(&starts[from..to.min(starts.len())]);
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
    pending: Vec<(Labels, Started)>,
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
        let number = match refs.numbers.get(labels) {
            Some(number) => *number,
            None => {
                let number = refs.labels.len() as u64;
                refs.labels.push(labels.clone());
                refs.numbers.insert(labels.clone(), number);
                number
            }
        };
        self.pending.push((labels.clone(), (0, timestamp.0, owned(value))));
        Ok(SeriesRef(number))
    }

    fn append_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        self.append_started(series, Timestamp(0), timestamp, value)
    }

    fn append_started(
        &mut self,
        series: SeriesRef,
        start: Timestamp,
        timestamp: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        let refs = self.storage.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = usize::try_from(series.0).ok().and_then(|at| refs.labels.get(at));
        let labels = labels.ok_or(AppendError::UnknownSeries)?;
        self.pending.push((labels.clone(), (start.0, timestamp.0, owned(value))));
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
        for (labels, sample) in self.pending {
            self.storage.insert_started(&labels, [sample]);
        }
        Ok(count)
    }

    fn rollback(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use model::labels;

    use super::*;

    #[test]
    fn samples_come_in_order_with_their_starts() {
        let storage = MemoryStorage::new();
        let labels = labels! { "a" => "b" };
        storage.insert_started(&labels, [(5, 10, Value::Float(1.0)), (0, 30, Value::Float(3.0))]);
        storage.insert_started(&labels, [(15, 20, Value::Float(2.0)), (25, 30, Value::Float(4.0))]);
        let querier = storage.querier(Timestamp(11), Timestamp(30)).unwrap();
        let matcher = Matcher::equal("a", "b");
        let mut set = querier.select(Order::Any, &SelectHints::default(), &[matcher]).unwrap();
        let series = set.advance().unwrap().unwrap();
        let mut columns = Columns::default();
        columns.push_float(1, 0.0);
        series.read(&mut columns).unwrap();
        assert_eq!(
            (columns.timestamps.as_slice(), columns.values.as_slice()),
            (&[1, 20, 30][..], &[0.0, 2.0, 4.0][..])
        );
        assert_eq!((columns.start_at(0), columns.start_at(1), columns.start_at(2)), (0, 15, 25));
        assert!(set.advance().unwrap().is_none());
    }
}

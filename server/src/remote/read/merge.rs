//! Series of several places as one: ordered by labels, samples by time; what is local counts where both have a sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::annotations::Annotations;
use model::labels::Labels;
use model::storage::{Columns, Series, SeriesSet, StorageError};

/// Local series as they come, merged with those held here.
pub(super) struct MergedSet<'a> {
    local: Box<dyn SeriesSet + 'a>,
    waiting: Option<Box<dyn Series>>,
    is_over: bool,
    remote: BTreeMap<Labels, Columns>,
    annotations: Annotations,
}

impl<'a> MergedSet<'a> {
    /// Of local series, which come ordered by labels.
    pub(super) fn new(local: Box<dyn SeriesSet + 'a>) -> Self {
        Self { local, waiting: None, is_over: false, remote: BTreeMap::new(), annotations: Annotations::new() }
    }

    /// Adds a series from elsewhere. Must be called before the first series is taken.
    pub(super) fn add(&mut self, labels: Labels, columns: Columns) {
        match self.remote.entry(labels) {
            std::collections::btree_map::Entry::Vacant(vacant) => drop(vacant.insert(columns)),
            std::collections::btree_map::Entry::Occupied(mut known) => {
                let merged = merged(known.get(), &columns);
                known.insert(merged);
            }
        }
    }

    /// Notes what is missing.
    pub(super) fn warn(&mut self, text: String) {
        self.annotations.warn(text);
    }
}

impl SeriesSet for MergedSet<'_> {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        if self.waiting.is_none() && !self.is_over {
            self.waiting = self.local.advance()?;
            self.is_over = self.waiting.is_none();
        }
        let remote_first = self.remote.first_key_value().map(|(labels, _)| labels);
        let order = match (&self.waiting, remote_first) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(local), Some(remote)) => local.labels().cmp(remote),
        };
        if order.is_lt() {
            return Ok(self.waiting.take());
        }
        let Some((labels, columns)) = self.remote.pop_first() else { return Ok(None) };
        let local = if order.is_eq() { self.waiting.take() } else { None };
        Ok(Some(Box::new(MergedSeries { labels, remote: Arc::new(columns), local })))
    }

    fn annotations(&mut self) -> Annotations {
        let mut all = self.local.annotations();
        all.merge(std::mem::take(&mut self.annotations));
        all
    }
}

struct MergedSeries {
    labels: Labels,
    remote: Arc<Columns>,
    local: Option<Box<dyn Series>>,
}

impl Series for MergedSeries {
    fn labels(&self) -> Labels {
        self.labels.clone()
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let Some(local) = &self.local else {
            (0..self.remote.len()).for_each(|index| push(columns, &self.remote, index));
            return Ok(());
        };
        let mut own = Columns::default();
        local.read(&mut own)?;
        let all = merged(&own, &self.remote);
        (0..all.len()).for_each(|index| push(columns, &all, index));
        Ok(())
    }
}

fn push(to: &mut Columns, from: &Columns, index: usize) {
    let time = from.timestamps[index];
    match from.histogram_at(index) {
        Some(histogram) => to.push_histogram(time, Arc::clone(histogram)),
        None => to.push_float(time, from.values[index]),
    }
    to.note_start(from.start_at(index));
}

/// By time; where both have a sample, that of `first`.
fn merged(first: &Columns, second: &Columns) -> Columns {
    let mut all = Columns::default();
    let (mut a, mut b) = (0, 0);
    while a < first.len() || b < second.len() {
        let (left, right) = (first.timestamps.get(a), second.timestamps.get(b));
        match (left, right) {
            (Some(left), Some(right)) if right < left => {
                push(&mut all, second, b);
                b += 1;
            }
            (None, Some(_)) => {
                push(&mut all, second, b);
                b += 1;
            }
            (_, right) => {
                b += usize::from(right.is_some() && right == left);
                push(&mut all, first, a);
                a += 1;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use model::labels;

    use super::*;

    struct Fixed(Vec<(Labels, Columns)>);

    struct One(Labels, Columns);

    impl Series for One {
        fn labels(&self) -> Labels {
            self.0.clone()
        }

        fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
            (0..self.1.len()).for_each(|index| push(columns, &self.1, index));
            Ok(())
        }
    }

    impl SeriesSet for Fixed {
        fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
            if self.0.is_empty() {
                return Ok(None);
            }
            let (labels, columns) = self.0.remove(0);
            Ok(Some(Box::new(One(labels, columns))))
        }
    }

    fn columns(samples: &[(i64, f64)]) -> Columns {
        let mut columns = Columns::default();
        samples.iter().for_each(|(time, value)| columns.push_float(*time, *value));
        columns
    }

    #[test]
    fn series_and_samples_are_merged_in_order() {
        let of = |name: &str| labels! { "__name__" => name };
        let local = Fixed(vec![(of("a"), columns(&[(5, 5.0), (6, 6.0)])), (of("c"), columns(&[(1, 1.0)]))]);
        let mut set = MergedSet::new(Box::new(local));
        set.add(of("b"), columns(&[(1, 1.0)]));
        set.add(of("a"), columns(&[(4, 4.0), (5, 50.0), (7, 7.0)]));
        set.add(of("b"), columns(&[(2, 2.0)]));
        let mut seen = Vec::new();
        while let Some(series) = set.advance().unwrap() {
            let mut read = Columns::default();
            series.read(&mut read).unwrap();
            let samples: Vec<_> = read.timestamps.into_iter().zip(read.values).collect();
            seen.push((series.labels().metric_name().unwrap().to_owned(), samples));
        }
        assert_eq!(
            seen,
            [
                ("a".to_owned(), vec![(4, 4.0), (5, 5.0), (6, 6.0), (7, 7.0)]),
                ("b".to_owned(), vec![(1, 1.0), (2, 2.0)]),
                ("c".to_owned(), vec![(1, 1.0)]),
            ]
        );
    }
}

//! Exemplars: the last ones of all series in one ring of fixed size, as Prometheus keeps them.
//!
//! A full ring drops its oldest exemplar for the next. Within a series exemplars stand by time; which are refused is
//! decided against the series' newest. Each that is accepted is in the write-ahead log.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::exemplar::{Exemplar, LABELS_CHARS_MAX};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::AppendError;

use crate::metrics::Instruments;
use crate::sync::RwLock;

/// The most exemplars there can be, by the numbers of the ring's places.
pub(crate) const EXEMPLARS_MAX: usize = 1 << 30;

/// The ring, shared by appenders and readers.
#[derive(Debug)]
pub(crate) struct Exemplars {
    ring: RwLock<Ring>,
    instruments: Arc<Instruments>,
}

/// What becomes of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    /// The series has this very one as its newest.
    Same,
    /// Nothing is kept: the size is 0.
    Disabled,
}

#[derive(Debug, Default)]
struct Ring {
    max: usize,
    /// `entries.len() <= max`; until the ring is full, `next == entries.len()`.
    entries: Vec<Entry>,
    next: usize,
    /// Places of each series' exemplars, by time. Never empty.
    by_series: HashMap<Labels, VecDeque<u32>, RandomState>,
}

#[derive(Debug)]
struct Entry {
    series: Labels,
    exemplar: Exemplar,
}

fn time_of(exemplar: &Exemplar) -> i64 {
    exemplar.timestamp.map_or(0, |timestamp| timestamp.0)
}

impl Ring {
    fn newest(&self, series: &Labels) -> Option<&Exemplar> {
        let last = self.by_series.get(series)?.back()?;
        self.entries.get(*last as usize).map(|entry| &entry.exemplar)
    }

    fn check(&self, series: &Labels, exemplar: &Exemplar, window_ms: i64) -> Result<Verdict, AppendError> {
        if self.max == 0 {
            return Ok(Verdict::Disabled);
        }
        let chars = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
        if exemplar.labels.iter().map(chars).sum::<usize>() > LABELS_CHARS_MAX {
            let (name, max) = ("exemplar_labels_chars_max", LABELS_CHARS_MAX as u64);
            return Err(AppendError::Limit { name, max });
        }
        let Some(newest) = self.newest(series) else {
            return Ok(Verdict::Accept);
        };
        if newest == exemplar {
            return Ok(Verdict::Same);
        }
        // Those of one time are ordered by value and then labels, so that the ones that a histogram exposes again and
        // again are known without looking at all of them.
        let (time, last) = (time_of(exemplar), time_of(newest));
        let is_late = time < last && time <= last.saturating_sub(window_ms);
        let is_same_time = time == last;
        let is_lower = is_same_time && exemplar.value < newest.value;
        let is_equal = is_same_time && exemplar.value == newest.value;
        if is_late || is_lower || (is_equal && exemplar.labels.hash64() < newest.labels.hash64()) {
            return Err(AppendError::OutOfOrder);
        }
        Ok(Verdict::Accept)
    }

    fn push(&mut self, series: Labels, exemplar: Exemplar) {
        let time = time_of(&exemplar);
        if self.has_earlier_at(&series, time) {
            return;
        }
        let at = self.next;
        let entry = Entry { series: series.clone(), exemplar };
        if at == self.entries.len() {
            self.entries.push(entry);
        } else {
            let dropped = std::mem::replace(&mut self.entries[at], entry);
            self.forget(&dropped.series, at as u32);
        }
        self.next = (at + 1) % self.max;
        let entries = &self.entries;
        let places = self.by_series.entry(series).or_default();
        // Nearly always at the end.
        let after = places.iter().rev().take_while(|place| time_of(&entries[**place as usize].exemplar) > time).count();
        places.insert(places.len() - after, at as u32);
    }

    /// Whether the series has an exemplar of that time other than its newest: another one is taken for the same.
    fn has_earlier_at(&self, series: &Labels, time: i64) -> bool {
        let Some(places) = self.by_series.get(series) else {
            return false;
        };
        let times = || places.iter().rev().map(|place| time_of(&self.entries[*place as usize].exemplar));
        times().next().is_some_and(|newest| time < newest) && times().any(|earlier| earlier == time)
    }

    fn forget(&mut self, series: &Labels, place: u32) {
        let Some(places) = self.by_series.get_mut(series) else {
            return;
        };
        places.retain(|found| *found != place);
        if places.is_empty() {
            self.by_series.remove(series);
        }
    }

    /// Takes everything out in the order it came.
    fn drain(&mut self) -> Vec<Entry> {
        self.by_series.clear();
        let split = if self.entries.len() == self.max { self.next } else { 0 };
        let mut entries = std::mem::take(&mut self.entries);
        let count = entries.len();
        entries.rotate_left(split.min(count));
        self.next = 0;
        entries
    }
}

impl Exemplars {
    /// A ring for `max` exemplars; none are kept if that is 0.
    pub(crate) fn new(max: usize, instruments: Arc<Instruments>) -> Self {
        instruments.exemplars.max.set(max as i64);
        Self { ring: RwLock::new(Ring { max, ..Ring::default() }), instruments }
    }

    /// Whether an exemplar, which has a timestamp, would be taken.
    ///
    /// # Errors
    /// If it is out of order, or its labels are too long.
    pub(crate) fn check(&self, series: &Labels, exemplar: &Exemplar, window_ms: i64) -> Result<Verdict, AppendError> {
        self.ring.read().check(series, exemplar, window_ms)
    }

    /// Enters exemplars that the log has; those that are out of order by now are left out.
    pub(crate) fn enter(&self, exemplars: impl IntoIterator<Item = (Labels, Exemplar)>, window_ms: i64) {
        let mut ring = self.ring.write();
        let instruments = &self.instruments.exemplars;
        for (series, exemplar) in exemplars {
            match ring.check(&series, &exemplar, window_ms) {
                Ok(Verdict::Accept) => {
                    ring.push(series, exemplar);
                    instruments.appended.add(1);
                }
                Ok(Verdict::Same | Verdict::Disabled) => {}
                Err(_) => instruments.out_of_order.add(1),
            }
        }
        self.show(&ring);
    }

    fn show(&self, ring: &Ring) {
        let instruments = &self.instruments.exemplars;
        instruments.in_storage.set(ring.entries.len() as i64);
        instruments.series_in_storage.set(ring.by_series.len() as i64);
        let oldest = if ring.entries.len() == ring.max { ring.next } else { 0 };
        let oldest_ms = ring.entries.get(oldest).map_or(0, |entry| time_of(&entry.exemplar));
        instruments.oldest_ms.set(oldest_ms);
    }

    /// Changes the size; the newest stay.
    pub(crate) fn resize(&self, max: usize) {
        let mut ring = self.ring.write();
        if ring.max == max {
            return;
        }
        let entries = ring.drain();
        ring.max = max;
        let surplus = entries.len().saturating_sub(max);
        for Entry { series, exemplar } in entries.into_iter().skip(surplus) {
            ring.push(series, exemplar);
        }
        self.instruments.exemplars.max.set(max as i64);
        self.show(&ring);
    }

    /// Those in the closed range of series that one of the selectors accepts, ordered by labels.
    pub(crate) fn select(
        &self,
        min_time: Timestamp,
        max_time: Timestamp,
        selectors: &[Vec<Matcher>],
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let ring = self.ring.read();
        let range = min_time.0..=max_time.0;
        let mut found: Vec<(Labels, Vec<Exemplar>)> = Vec::new();
        for (labels, places) in &ring.by_series {
            let accepts = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
            if !selectors.iter().any(accepts) {
                continue;
            }
            let exemplars = places.iter().map(|place| &ring.entries[*place as usize].exemplar);
            let exemplars: Vec<_> = exemplars.filter(|e| range.contains(&time_of(e))).cloned().collect();
            if !exemplars.is_empty() {
                found.push((labels.clone(), exemplars));
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// All of them in the order they came, with the labels of their series.
    pub(crate) fn all(&self) -> Vec<(Labels, Exemplar)> {
        let ring = self.ring.read();
        let split = if ring.entries.len() == ring.max { ring.next } else { 0 };
        let (newer, older) = ring.entries.split_at(split.min(ring.entries.len()));
        older.iter().chain(newer).map(|entry| (entry.series.clone(), entry.exemplar.clone())).collect()
    }
}

/// A hash of several values, for tables that hold shared ones.
pub(crate) fn hash_of(hasher: &RandomState, value: impl Hash) -> u64 {
    hasher.hash_one(value)
}

#[cfg(test)]
mod tests {
    use model::labels;

    use super::*;

    fn exemplar(trace: &str, value: f64, time: i64) -> Exemplar {
        Exemplar { labels: labels! { "trace_id" => trace }, value, timestamp: Some(Timestamp(time)) }
    }

    fn series(i: u32) -> Labels {
        labels! { "__name__" => "m", "i" => &i.to_string() }
    }

    fn ring(max: usize) -> Exemplars {
        Exemplars::new(max, Arc::default())
    }

    fn times(ring: &Exemplars) -> Vec<Vec<i64>> {
        let all = ring.select(Timestamp::MIN, Timestamp::MAX, &[vec![Matcher::equal("__name__", "m")]]);
        all.iter().map(|(_, exemplars)| exemplars.iter().map(time_of).collect()).collect()
    }

    #[test]
    fn the_oldest_make_place_for_the_newest() {
        let ring = ring(3);
        for time in 0..5 {
            ring.enter([(series(time as u32 % 2), exemplar("a", 1.0, time))], 0);
        }
        assert_eq!(times(&ring), [vec![2, 4], vec![3]]);
        let instruments = &ring.instruments.exemplars;
        assert_eq!(
            (instruments.appended.value(), instruments.in_storage.value(), instruments.oldest_ms.value()),
            (5, 3, 2)
        );
        ring.resize(2);
        assert_eq!(times(&ring), [vec![4], vec![3]]);
        ring.resize(4);
        ring.enter([(series(0), exemplar("b", 1.0, 9)), (series(0), exemplar("b", 1.0, 10))], 0);
        assert_eq!(times(&ring), [vec![4, 9, 10], vec![3]]);
        ring.enter([(series(7), exemplar("b", 1.0, 9))], 0);
        assert_eq!(times(&ring), [vec![4, 9, 10], vec![9]]);
        assert_eq!(ring.all().iter().map(|(_, e)| time_of(e)).collect::<Vec<_>>(), [4, 9, 10, 9]);
        ring.resize(0);
        assert_eq!(ring.check(&series(0), &exemplar("c", 1.0, 11), 0).unwrap(), Verdict::Disabled);
    }

    #[test]
    fn what_is_not_newer_is_refused_or_known() {
        let ring = ring(10);
        ring.enter([(series(0), exemplar("a", 2.0, 100))], 0);
        let check = |e, window| ring.check(&series(0), &e, window);
        assert_eq!(check(exemplar("a", 2.0, 100), 0).unwrap(), Verdict::Same);
        assert!(matches!(check(exemplar("a", 2.0, 99), 0), Err(AppendError::OutOfOrder)));
        assert!(matches!(check(exemplar("a", 1.0, 100), 0), Err(AppendError::OutOfOrder)));
        assert_eq!(check(exemplar("a", 3.0, 100), 0).unwrap(), Verdict::Accept);
        assert_eq!(check(exemplar("a", 2.0, 99), 10).unwrap(), Verdict::Accept);
        assert!(matches!(check(exemplar("a", 2.0, 90), 10), Err(AppendError::OutOfOrder)));
        let long = exemplar(&"ü".repeat(LABELS_CHARS_MAX - 8), 2.0, 101);
        assert_eq!(check(long, 0).unwrap(), Verdict::Accept, "characters count, not bytes");
        let long = exemplar(&"x".repeat(LABELS_CHARS_MAX - 7), 2.0, 101);
        assert!(matches!(check(long, 0), Err(AppendError::Limit { max: 128, .. })));
        ring.enter([95, 99, 95].map(|time| (series(0), exemplar("b", 1.0, time))), 10);
        assert_eq!(times(&ring), [[95, 99, 100]]);
    }
}

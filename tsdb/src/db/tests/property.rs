//! Random appends, in order and late, of floats, histograms and stale markers, exemplars, rollbacks, deletes and restarts
//! against a model of maps.

use std::collections::BTreeMap;

use model::exemplar::Exemplar;
use model::storage::{Appender, ExemplarQueryable};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Batch { samples: Vec<(usize, i64, u8)>, rolled_back: bool },
    Exemplars(Vec<(usize, i64, u8)>),
    Delete { series: usize, from: i64, width: i64 },
    Restart { killed: bool },
    Maintain,
    CleanTombstones,
}

const SERIES: usize = 4;
const RANGE_MS: i64 = 100_000;
const EXEMPLARS: usize = 7;

fn step() -> impl Strategy<Value = Step> {
    let sample = (0..SERIES, -12_000i64..20_000, prop_oneof![4 => 0u8..4, 1 => 4u8..8]);
    let exemplar = (0..SERIES, 0i64..6, 0u8..3);
    prop_oneof![
        8 => (proptest::collection::vec(sample, 1..12), proptest::bool::weighted(0.1))
            .prop_map(|(samples, rolled_back)| Step::Batch { samples, rolled_back }),
        2 => proptest::collection::vec(exemplar, 1..6).prop_map(Step::Exemplars),
        2 => (0..SERIES, -60_000i64..10_000, 0i64..50_000)
            .prop_map(|(series, from, width)| Step::Delete { series, from, width }),
        1 => any::<bool>().prop_map(|killed| Step::Restart { killed }),
        1 => Just(Step::Maintain),
        1 => Just(Step::CleanTombstones),
    ]
}

/// Appends the sample that a number stands for: floats, a stale marker, histograms of both kinds.
fn append_kind(appender: &mut dyn Appender, index: usize, time: i64, kind: u8) -> Result<SeriesRef, AppendError> {
    let count = u64::from(kind);
    let int = IntHistogram { count, zero_count: count, sum: bits_of(kind), ..IntHistogram::default() };
    let float = int.to_float();
    let value = match kind {
        0..4 => f64::from(kind).into(),
        4 => STALE_NAN.into(),
        5 | 6 => NewValue::IntHistogram(&int),
        _ => NewValue::FloatHistogram(&float),
    };
    appender.append(&series(index), Timestamp(time), value)
}

/// What is read where that number was written: the float, or the histogram's sum.
fn bits_of(kind: u8) -> f64 {
    match kind {
        4 => STALE_NAN,
        0..4 => f64::from(kind),
        _ => 100.0 + f64::from(kind),
    }
}

#[derive(Debug, Default)]
struct Model {
    /// Of several samples at one time the first counts.
    samples: [BTreeMap<i64, u8>; SERIES],
    /// Time and value of the last sample in order.
    last: [Option<(i64, u8)>; SERIES],
    max_time: Option<i64>,
    window_ms: i64,
    /// Series, time and value, oldest first.
    exemplars: Vec<(usize, i64, u8)>,
    /// The head has removed a series and its exemplars, or a checkpoint old ones: what is left of them is not modelled.
    has_lost_exemplars: bool,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Staged,
    Late,
    Ignored,
    OutOfOrder,
    OutOfBounds,
    TooOld,
    Duplicate,
}

impl Model {
    fn check(&self, staged: &[(usize, i64, u8)], (series, time, value): (usize, i64, u8), newest: i64) -> Outcome {
        let (bound, late_bound) = (newest - RANGE_MS / 2, newest - self.window_ms);
        let takes_late = self.window_ms > 0 && time >= late_bound;
        if time >= bound {
            match self.last[series] {
                Some((last, had)) if time == last && had == value => return Outcome::Ignored,
                Some((last, _)) if time == last => return Outcome::Duplicate,
                Some((last, _)) if time < last => {}
                _ => {
                    let staged = staged.iter().rfind(|(other, _, _)| *other == series);
                    let is_behind = staged.is_some_and(|(_, staged, _)| time < *staged);
                    return if is_behind && takes_late { Outcome::Late } else { Outcome::Staged };
                }
            }
        }
        match () {
            () if takes_late => Outcome::Late,
            () if self.window_ms > 0 => Outcome::TooOld,
            () if time < bound => Outcome::OutOfBounds,
            () => Outcome::OutOfOrder,
        }
    }

    /// How many samples are taken at least.
    fn commit(&mut self, staged: &[(usize, i64, u8)], late: &[(usize, i64, u8)]) -> usize {
        let mut count = 0;
        for (series, time, value) in staged {
            if self.last[*series].is_none_or(|(last, _)| last < *time) {
                self.samples[*series].entry(*time).or_insert(*value);
                self.last[*series] = Some((*time, *value));
                self.max_time = self.max_time.max(Some(*time));
                count += 1;
            }
        }
        for (series, time, value) in late {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.samples[*series].entry(*time) {
                entry.insert(*value);
                count += 1;
            }
        }
        count
    }

    /// Takes what there is; what comes later is seen.
    fn delete(&mut self, series: usize, from: i64, to: i64) {
        self.samples[series].retain(|time, _| !(from..=to).contains(time));
    }

    fn visible(&self, index: usize, min: i64, max: i64) -> Vec<(i64, u64)> {
        let seen = self.samples[index].range(min..=max);
        seen.map(|(time, kind)| (*time, bits_of(*kind).to_bits())).collect()
    }

    fn add_exemplar(&mut self, (series, time, value): (usize, i64, u8)) -> bool {
        let newest = self.exemplars.iter().filter(|(other, _, _)| *other == series).max_by_key(|e| (e.1, e.2));
        match newest {
            Some(newest) if *newest == (series, time, value) => return true,
            Some((_, last, _)) if time < *last && time <= *last - self.window_ms => return false,
            Some((_, last, _)) if time < *last && self.exemplars.iter().any(|e| (e.0, e.1) == (series, time)) => {
                return true;
            }
            Some((_, last, had)) if time == *last && value < *had => return false,
            _ => {}
        }
        self.exemplars.push((series, time, value));
        if self.exemplars.len() > EXEMPLARS {
            self.exemplars.remove(0);
        }
        true
    }
}

fn run_batch(db: &Db, model: &mut Model, samples: &[(usize, i64, u8)], rolled_back: bool) {
    let base = model.max_time.unwrap_or(1_000_000);
    let mut newest = None;
    let (mut staged, mut late) = (Vec::new(), Vec::new());
    let mut appender = db.appender();
    for &(index, offset, kind) in samples {
        let time = base + offset * 5;
        let newest = *newest.get_or_insert(model.max_time.unwrap_or(time));
        let result = append_kind(&mut *appender, index, time, kind);
        let outcome = model.check(&staged, (index, time, kind), newest);
        let expected = match &result {
            Ok(_) if matches!(outcome, Outcome::Ignored | Outcome::Late) => continue_as(&outcome),
            Ok(_) => Outcome::Staged,
            Err(AppendError::OutOfOrder) => Outcome::OutOfOrder,
            Err(AppendError::OutOfBounds) => Outcome::OutOfBounds,
            Err(AppendError::TooOld) => Outcome::TooOld,
            Err(AppendError::Duplicate) => Outcome::Duplicate,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(outcome, expected, "{result:?} at {time}");
        match outcome {
            Outcome::Staged => staged.push((index, time, kind)),
            Outcome::Late => late.push((index, time, kind)),
            _ => {}
        }
    }
    if rolled_back {
        appender.rollback();
        return;
    }
    let taken = appender.commit().unwrap();
    let least = model.commit(&staged, &late);
    assert!((least..=least + late.len()).contains(&taken), "{taken} taken, {least} of them new");
}

fn continue_as(outcome: &Outcome) -> Outcome {
    if *outcome == Outcome::Late { Outcome::Late } else { Outcome::Ignored }
}

fn run_exemplars(db: &Db, model: &mut Model, exemplars: &[(usize, i64, u8)]) {
    for &(index, offset, value) in exemplars {
        let newest = model.exemplars.iter().map(|e| e.1).max().unwrap_or(0);
        let time = newest.saturating_add(offset) - 2;
        // Exemplars of a series without samples go with it.
        let Some(series_ref) = known(db, index).filter(|_| !model.samples[index].is_empty()) else {
            continue;
        };
        let exemplar =
            Exemplar { labels: labels! { "trace" => "x" }, value: f64::from(value), timestamp: Some(Timestamp(time)) };
        let mut appender = db.appender();
        let result = appender.append_exemplar(series_ref, &exemplar);
        appender.commit().unwrap();
        assert_eq!(result.is_ok(), model.add_exemplar((index, time, value)), "{result:?} of {exemplar:?}");
    }
}

/// The ref of a series that has been appended to.
fn known(db: &Db, index: usize) -> Option<SeriesRef> {
    let labels = series(index);
    db.head.find(&labels, labels.hash64()).map(crate::head::SeriesId::series_ref)
}

fn compare(db: &Db, model: &Model) {
    for (min, max) in [(i64::MIN, i64::MAX), (1_050_000, 1_150_000)] {
        let expected = (0..SERIES).map(|index| (series(index).to_string(), model.visible(index, min, max)));
        let expected: Vec<_> = expected.filter(|(_, samples)| !samples.is_empty()).collect();
        let found = read(db, min, max, &metric()).into_iter().map(|(labels, samples)| {
            (labels, samples.into_iter().map(|(time, value)| (time, value.to_bits())).collect::<Vec<_>>())
        });
        let found: Vec<_> = found.filter(|(_, samples)| !samples.is_empty()).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let more: Vec<_> = found.1.iter().filter(|sample| !expected.1.contains(sample)).collect();
            let fewer: Vec<_> = expected.1.iter().filter(|sample| !found.1.contains(sample)).collect();
            assert!(found == expected, "{}: {more:?} more, {fewer:?} fewer", found.0);
        }
    }
    if model.has_lost_exemplars {
        return;
    }
    let mut exemplars: Vec<(String, Vec<(i64, f64)>)> = Vec::new();
    for index in 0..SERIES {
        let mut own: Vec<_> = model.exemplars.iter().filter(|e| e.0 == index).map(|e| (e.1, f64::from(e.2))).collect();
        own.sort_by_key(|(time, _)| *time);
        if !own.is_empty() {
            exemplars.push((series(index).to_string(), own));
        }
    }
    let all = db.exemplars(Timestamp::MIN, Timestamp::MAX, &[metric().to_vec()]).unwrap();
    let found: Vec<_> = all
        .into_iter()
        .map(|(labels, own)| {
            (labels.to_string(), own.iter().map(|e| (e.timestamp.unwrap().0, e.value)).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(found, exemplars);
}

fn run(steps: Vec<Step>, window_ms: i64) {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        samples_per_chunk: 8,
        block_range_ms: RANGE_MS,
        retention_ms: None,
        out_of_order_window_ms: window_ms,
        exemplars_max: EXEMPLARS as u64,
        ..small()
    };
    let mut db = Db::open(directory.path(), config.clone()).unwrap();
    let mut model = Model { window_ms, ..Model::default() };
    for step in steps {
        match step {
            Step::Batch { samples, rolled_back } => run_batch(&db, &mut model, &samples, rolled_back),
            Step::Exemplars(_) if model.has_lost_exemplars => {}
            Step::Exemplars(exemplars) => run_exemplars(&db, &mut model, &exemplars),
            Step::Delete { series: index, from, width } => {
                // Around the newest samples, so that late ones come into deleted ranges.
                let from = model.max_time.unwrap_or(1_000_000) + from;
                let to = from + width;
                let matchers = [Matcher::equal("i", &index.to_string())];
                db.delete_series(Timestamp(from), Timestamp(to), &matchers).unwrap();
                model.delete(index, from, to);
            }
            Step::Restart { killed } => {
                if killed {
                    *db.lock.lock() = None;
                    db.is_closed.store(true, Ordering::Release);
                }
                drop(db);
                db = Db::open(directory.path(), config.clone()).unwrap();
            }
            Step::CleanTombstones => db.clean_tombstones(Timestamp(0)).unwrap(),
            Step::Maintain => {
                let now = model.max_time.unwrap_or(0);
                db.maintain(Timestamp(now)).unwrap();
            }
        }
        let instruments = db.instruments();
        model.has_lost_exemplars |= instruments.head.series_removed.value() + instruments.wal.checkpoints.value() > 0;
        compare(&db, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_maps_do(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps, 0);
    }

    #[test]
    fn behaves_as_maps_do_with_late_samples(steps in proptest::collection::vec(step(), 1..80)) {
        run(steps, 40_000);
    }
}

//! Random appends, rollbacks, deletes and restarts against a model of maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Batch { samples: Vec<(usize, i64, u8)>, rolled_back: bool },
    Delete { series: usize, from: i64, width: i64 },
    Restart { killed: bool },
    Maintain,
}

const SERIES: usize = 4;
const RANGE_MS: i64 = 100_000;

fn step() -> impl Strategy<Value = Step> {
    let sample = (0..SERIES, -12_000i64..20_000, 0u8..4);
    prop_oneof![
        8 => (proptest::collection::vec(sample, 1..12), proptest::bool::weighted(0.1))
            .prop_map(|(samples, rolled_back)| Step::Batch { samples, rolled_back }),
        1 => (0..SERIES, 0i64..200_000, 0i64..50_000).prop_map(|(series, from, width)| Step::Delete { series, from, width }),
        1 => any::<bool>().prop_map(|killed| Step::Restart { killed }),
        1 => Just(Step::Maintain),
    ]
}

#[derive(Debug, Default)]
struct Model {
    /// Time and value of what is visible.
    samples: [BTreeMap<i64, u8>; SERIES],
    /// Time and value of the last sample appended, deleted or not.
    last: [Option<(i64, u8)>; SERIES],
    max_time: Option<i64>,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Staged,
    Ignored,
    OutOfOrder,
    OutOfBounds,
    Duplicate,
}

impl Model {
    fn check(&self, series: usize, time: i64, value: u8, bound: i64) -> Outcome {
        match self.last[series] {
            _ if time < bound => Outcome::OutOfBounds,
            Some((last, _)) if time < last => Outcome::OutOfOrder,
            Some((last, had)) if time == last && had == value => Outcome::Ignored,
            Some((last, _)) if time == last => Outcome::Duplicate,
            _ => Outcome::Staged,
        }
    }

    fn commit(&mut self, staged: &[(usize, i64, u8)]) -> usize {
        let mut count = 0;
        for (series, time, value) in staged {
            if self.last[*series].is_none_or(|(last, _)| last < *time) {
                self.samples[*series].insert(*time, *value);
                self.last[*series] = Some((*time, *value));
                self.max_time = self.max_time.max(Some(*time));
                count += 1;
            }
        }
        count
    }

    fn delete(&mut self, series: usize, from: i64, to: i64) {
        self.samples[series].retain(|time, _| !(from..=to).contains(time));
    }
}

fn run_batch(db: &Db, model: &mut Model, samples: &[(usize, i64, u8)], rolled_back: bool) {
    let base = model.max_time.unwrap_or(1_000_000);
    let mut bound = None;
    let mut staged = Vec::new();
    let mut appender = db.appender();
    for &(index, offset, value) in samples {
        let time = base + offset * 5;
        let bound = *bound.get_or_insert(model.max_time.unwrap_or(time) - RANGE_MS / 2);
        let result = appender.append(&series(index), Timestamp(time), f64::from(value).into());
        let outcome = model.check(index, time, value, bound);
        let expected = match &result {
            Ok(_) if outcome == Outcome::Ignored => Outcome::Ignored,
            Ok(_) => Outcome::Staged,
            Err(AppendError::OutOfOrder) => Outcome::OutOfOrder,
            Err(AppendError::OutOfBounds) => Outcome::OutOfBounds,
            Err(AppendError::Duplicate) => Outcome::Duplicate,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(outcome, expected, "{result:?} at {time}");
        if outcome == Outcome::Staged {
            staged.push((index, time, value));
        }
    }
    if rolled_back {
        appender.rollback();
    } else {
        assert_eq!(appender.commit().unwrap(), model.commit(&staged));
    }
}

fn compare(db: &Db, model: &Model) {
    for (min, max) in [(i64::MIN, i64::MAX), (1_050_000, 1_150_000)] {
        let expected = model.samples.iter().enumerate().map(|(index, samples)| {
            let samples = samples.iter().filter(|(time, _)| (min..=max).contains(*time));
            (series(index).to_string(), samples.map(|(time, value)| (*time, f64::from(*value))).collect::<Vec<_>>())
        });
        let expected: Vec<_> = expected.filter(|(_, samples)| !samples.is_empty()).collect();
        let mut found = read(db, min, max, &metric());
        found.retain(|(_, samples)| !samples.is_empty());
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_maps_do(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { samples_per_chunk: 8, block_range_ms: RANGE_MS, retention_ms: None, ..small() };
        let mut db = Db::open(directory.path(), config.clone()).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Batch { samples, rolled_back } => run_batch(&db, &mut model, &samples, rolled_back),
                Step::Delete { series: index, from, width } => {
                    let (from, to) = (1_000_000 + from, 1_000_000 + from + width);
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
                Step::Maintain => {
                    let now = model.max_time.unwrap_or(0);
                    db.maintain(Timestamp(now)).unwrap();
                }
            }
            compare(&db, &model);
        }
    }
}

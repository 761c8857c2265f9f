//! Speed of appending, decoding and selecting.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::labels;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Appendable, Columns, Order, Queryable, SelectHints, Series, SeriesRef};
use tsdb::{Config, Db};

const SCRAPE: usize = 1000;
const INTERVAL_MS: i64 = 15_000;

fn series(i: usize) -> Labels {
    labels! {
        "__name__" => &format!("metric_{}", i % 100), "instance" => &format!("host-{}:9100", i / 100 % 1000),
        "job" => "node", "mode" => ["idle", "user", "system", "iowait"][i % 4], "cpu" => &(i % 16).to_string(),
        "i" => &(i / 100_000).to_string(),
    }
}

fn fill(db: &Db, count: usize, time: i64) -> Vec<SeriesRef> {
    let mut appender = db.appender();
    let refs = (0..count).map(|i| appender.append(&series(i), Timestamp(time), 0.0.into()).expect("in order"));
    let refs = refs.collect();
    appender.commit().expect("the log is writable");
    refs
}

/// A scrape of 1,000 series by ref with the log on; counters that rise by whole numbers and by fractions.
fn append(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let refs = fill(&db, SCRAPE, 0);
    let mut step = 0i64;
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(SCRAPE as u64)).measurement_time(Duration::from_secs(8));
    group.bench_function("scrape_1000_by_ref_with_wal", |b| {
        b.iter(|| {
            step += 1;
            scrape(&db, &refs, step);
        });
    });
    group.bench_function("scrape_1000_by_labels_with_wal", |b| {
        let labels: Vec<_> = (0..SCRAPE).map(series).collect();
        b.iter(|| {
            step += 1;
            let mut appender = db.appender();
            for labels in &labels {
                appender.append(labels, Timestamp(step * INTERVAL_MS), (step as f64).into()).expect("in order");
            }
            appender.commit().expect("the log is writable")
        });
    });
    group.finish();
}

/// Appends one batch, as the first of these benches does.
fn scrape(db: &Db, refs: &[SeriesRef], step: i64) {
    let mut appender = db.appender();
    for (i, series) in refs.iter().enumerate() {
        let value = if i % 2 == 0 { (step * i as i64) as f64 } else { step as f64 * 0.37 + i as f64 };
        appender.append_ref(*series, Timestamp(step * INTERVAL_MS), value.into()).expect("in order");
    }
    appender.commit().expect("the log is writable");
}

/// Series of 2 h at 15 s, read whole: mapped chunks and the open one.
fn decode(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let refs = fill(&db, 100, 0);
    let steps = 480i64;
    for step in 1..steps {
        let mut appender = db.appender();
        for (i, series) in refs.iter().enumerate() {
            let value = match i % 4 {
                0 => 1.0,
                1 | 2 => (step * (i as i64 + 1)) as f64,
                _ => (step as f64 * 0.7).sin(),
            };
            appender.append_ref(*series, Timestamp(step * INTERVAL_MS), value.into()).expect("in order");
        }
        appender.commit().expect("the log is writable");
    }
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).expect("open");
    let all = [Matcher::equal("job", "node")];
    let mut set = querier.select(Order::Any, &SelectHints::default(), &all).expect("sound");
    let mut series: Vec<Box<dyn Series>> = Vec::new();
    while let Some(found) = set.advance().expect("sound") {
        series.push(found);
    }
    let mut group = c.benchmark_group("decode");
    for (name, kinds) in [("mixed", 0..4), ("constant", 0..1), ("whole_numbers", 1..3), ("fractions", 3..4)] {
        let chosen: Vec<_> = series.iter().enumerate().filter(|(i, _)| kinds.contains(&(i % 4))).collect();
        group.throughput(Throughput::Elements((chosen.len() as i64 * steps) as u64));
        let mut columns = Columns::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                for (_, series) in &chosen {
                    columns.clear();
                    series.read(&mut columns).expect("sound");
                    black_box(&columns);
                }
            });
        });
    }
    group.finish();
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).expect("a valid expression")
}

/// Postings and label values over one million series.
fn select(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    fill(&db, 1_000_000, 0);
    // Nothing lies in this range: what is measured is finding the series, not listing their chunks.
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).expect("open");
    let hints = SelectHints { limit: 1, ..SelectHints::default() };
    let mut group = c.benchmark_group("select");
    group.measurement_time(Duration::from_secs(3));
    let cases = [
        (
            "equal_regex_not",
            vec![
                matcher("job", MatchOp::Equal, "node"),
                matcher("instance", MatchOp::Regex, "host-1.*|host-2.*"),
                matcher("mode", MatchOp::NotEqual, "idle"),
            ],
        ),
        (
            "name_and_instance",
            vec![matcher("__name__", MatchOp::Equal, "metric_7"), matcher("instance", MatchOp::Equal, "host-77:9100")],
        ),
        ("literals", vec![matcher("instance", MatchOp::Regex, "host-1:9100|host-2:9100|host-3:9100")]),
    ];
    for (name, matchers) in &cases {
        group.bench_function(*name, |b| {
            b.iter(|| {
                let mut set = querier.select(Order::Any, &hints, matchers).expect("sound");
                set.advance().expect("sound").is_some()
            });
        });
    }
    group.bench_function("label_values_1000", |b| {
        b.iter_batched(|| (), |()| querier.label_values("instance", &[], 0).expect("sound"), BatchSize::SmallInput);
    });
    group.finish();
}

/// All values of a label that each series has another one of.
fn label_values(c: &mut Criterion) {
    const VALUES: usize = 100_000;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let mut appender = db.appender();
    for i in 0..VALUES {
        // In no order.
        let labels = labels! { "__name__" => "m", "pod" => &format!("workload-{:08x}", i * 2_654_435_761 % (1 << 32)) };
        appender.append(&labels, Timestamp(0), 0.0.into()).expect("in order");
    }
    appender.commit().expect("the log is writable");
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).expect("open");
    c.bench_function("label_values_100000", |b| {
        b.iter(|| {
            let values = querier.label_values("pod", &[], 0).expect("sound");
            assert_eq!(values.len(), VALUES);
            values
        });
    });
}

// The values of labels first, in a heap that is fresh.
criterion_group!(benches, label_values, append, decode, select);
criterion_main!(benches);

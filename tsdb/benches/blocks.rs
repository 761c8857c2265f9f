//! Speed of blocks: compacting them, and selecting from them.
//!
//! `cargo bench -p tsdb --bench blocks`

use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::labels;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Order, Queryable, SelectHints};
use tsdb::{BlockWriter, Config, Db};

const RANGE_MS: i64 = 2 * 60 * 60 * 1000;
const INTERVAL_MS: i64 = 15_000;

fn series(i: usize) -> Labels {
    labels! {
        "__name__" => &format!("metric_{}", i % 100), "instance" => &format!("host-{}:9100", i / 100 % 1000),
        "job" => "node", "mode" => ["idle", "user", "system", "iowait"][i % 4], "cpu" => &(i % 16).to_string(),
    }
}

/// Blocks of 2 h, one after the other, of series with `samples` each.
fn write(directory: &Path, series_count: usize, blocks: i64, samples: i64) {
    let mut writer = BlockWriter::create(directory, RANGE_MS, Timestamp(0)).expect("a scratch directory");
    for i in 0..series_count {
        for step in 0..blocks * samples {
            let (block, at) = (step / samples, step % samples);
            let value = match i % 3 {
                0 => 1.0,
                1 => (step * (i as i64 + 1)) as f64,
                _ => ((step * 31 + i as i64) % 97) as f64 / 8.0,
            };
            writer.append(Timestamp(block * RANGE_MS + at * INTERVAL_MS), value.into());
        }
        writer.end_series(&series(i)).expect("the disk works");
    }
    writer.finish().expect("the disk works");
}

fn open(directory: &Path) -> Db {
    let mut config = Config::default();
    config.retention_ms = None;
    Db::open(directory, config).expect("sound blocks")
}

/// Three blocks of 2 h with 10,000 series each into one of 6 h; a fourth lets them be compacted.
fn compact(c: &mut Criterion) {
    const SERIES: usize = 10_000;
    const SAMPLES: i64 = 480;
    let source = tempfile::tempdir().expect("a scratch directory");
    write(source.path(), SERIES, 4, SAMPLES);
    let source = open(source.path());
    let mut group = c.benchmark_group("compact");
    group.throughput(Throughput::Elements(SERIES as u64 * 3 * SAMPLES as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("10000_series_3_blocks", |b| {
        let copy = || {
            let directory = tempfile::tempdir().expect("a scratch directory");
            source.snapshot(directory.path(), tsdb::WithHead::No, Timestamp(0)).expect("hard links");
            let db = open(directory.path());
            (directory, db)
        };
        b.iter_batched(
            copy,
            |(directory, db)| {
                db.maintain(Timestamp(0)).expect("sound blocks");
                assert_eq!(db.block_metas().len(), 2);
                (directory, db)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).expect("a valid expression")
}

/// Series of a block by matchers, with the cache of postings (warm) and without (cold), and all their labels.
fn select(c: &mut Criterion) {
    let cases = [
        ("equal", vec![matcher("__name__", MatchOp::Equal, "metric_7"), matcher("job", MatchOp::Equal, "node")]),
        (
            "regex",
            vec![matcher("job", MatchOp::Equal, "node"), matcher("instance", MatchOp::Regex, "host-1.*|host-2.*")],
        ),
        ("negative", vec![matcher("job", MatchOp::Equal, "node"), matcher("mode", MatchOp::NotEqual, "idle")]),
    ];
    for count in [10_000, 100_000] {
        let directory = tempfile::tempdir().expect("a scratch directory");
        write(directory.path(), count, 1, 4);
        let warm = open(directory.path());
        let mut config = Config::default();
        (config.retention_ms, config.postings_cache_bytes) = (None, 0);
        config.lock_file = tsdb::LockFile::None;
        let cold = Db::open(directory.path(), config).expect("sound blocks");
        let mut group = c.benchmark_group(format!("select_{count}"));
        group.measurement_time(Duration::from_secs(3));
        for (name, matchers) in &cases {
            for (kind, db) in [("warm", &warm), ("cold", &cold)] {
                let hints = SelectHints { limit: 1, ..SelectHints::default() };
                let querier = db.querier(Timestamp(0), Timestamp(RANGE_MS)).expect("open");
                group.bench_function(format!("{name}_{kind}"), |b| {
                    b.iter(|| {
                        let mut set = querier.select(Order::Any, &hints, matchers).expect("sound");
                        assert!(set.advance().expect("sound").is_some());
                    });
                });
            }
        }
        let querier = warm.querier(Timestamp(0), Timestamp(RANGE_MS)).expect("open");
        group.bench_function("regex_all_labels", |b| {
            b.iter(|| {
                let hints = SelectHints::default();
                let mut set = querier.select(Order::ByLabels, &hints, &cases[1].1).expect("sound");
                let mut bytes = 0;
                while let Some(series) = set.advance().expect("sound") {
                    bytes += series.labels().as_bytes().len();
                }
                bytes
            });
        });
        group.bench_function("label_values", |b| b.iter(|| querier.label_values("instance", &[], 0).expect("sound")));
        group.finish();
    }
}

/// All values of a label that each series has another one of, in one block and in four that have the same.
fn label_values(c: &mut Criterion) {
    const VALUES: usize = 100_000;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut writer = BlockWriter::create(directory.path(), RANGE_MS, Timestamp(0)).expect("a scratch directory");
    for i in 0..VALUES {
        (0..4).for_each(|block| writer.append(Timestamp(block * RANGE_MS), 0.0.into()));
        let labels = labels! { "__name__" => "m", "pod" => &format!("workload-{:08x}", i * 42_949) };
        writer.end_series(&labels).expect("the disk works");
    }
    writer.finish().expect("the disk works");
    let db = open(directory.path());
    for (name, end) in [("label_values_100000_in_1_block", RANGE_MS - 1), ("label_values_100000_in_4_blocks", i64::MAX)]
    {
        let querier = db.querier(Timestamp(0), Timestamp(end)).expect("open");
        c.bench_function(name, |b| {
            b.iter(|| {
                let values = querier.label_values("pod", &[], 0).expect("sound");
                assert_eq!(values.len(), VALUES);
                values
            });
        });
    }
}

criterion_group!(benches, compact, select, label_values);
criterion_main!(benches);

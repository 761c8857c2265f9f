//! Range queries over data in memory, and parsing. Data: counters at a 15 s interval, with labels to group by.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::duration::Duration;
use model::labels;
use model::sample::{Timestamp, Value};
use promql::testing::MemoryStorage;
use promql::{Config, Engine, Options, QueryOptions, parse_with};

const INTERVAL_MS: i64 = 15_000;
const STEP: Duration = Duration::from_seconds(15);

/// `count` counters over `samples` scrapes, in 10 groups.
fn storage(count: i64, samples: i64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for series in 0..count {
        let labels = labels! {
            "__name__" => "http_requests_total",
            "instance" => &format!("host-{series}"),
            "job" => "api",
            "group" => &(series % 10).to_string(),
        };
        let values = (0..samples).map(|i| (i * INTERVAL_MS, Value::Float((i * (series % 7 + 1)) as f64)));
        storage.insert(&labels, values);
    }
    storage
}

fn bench_range(c: &mut Criterion) {
    let (series, samples) = (1_000, 20 + 240);
    let storage = storage(series, samples);
    let (start, end) = (Timestamp(20 * INTERVAL_MS), Timestamp((samples - 1) * INTERVAL_MS));
    let mut group = c.benchmark_group("range over 1000 series x 1 h at 15 s");
    group.sample_size(20);
    group.throughput(Throughput::Elements((series * 240) as u64));
    for query in [
        "http_requests_total",
        "rate(http_requests_total[5m])",
        "sum by (group) (rate(http_requests_total[5m]))",
        "sum by (group) (http_requests_total)",
        "max_over_time(http_requests_total[5m])",
        "topk(5, rate(http_requests_total[5m]))",
        "rate(http_requests_total[5m]) / on (instance) http_requests_total",
        "max_over_time(rate(http_requests_total[5m])[10m:1m])",
    ] {
        for threads in [1, 2] {
            let engine = Engine::new(Config { threads, ..Config::default() });
            group.bench_with_input(BenchmarkId::new(query, format!("{threads} threads")), &query, |b, query| {
                b.iter(|| engine.range(&storage, query, start, end, STEP, &QueryOptions::default()).unwrap());
            });
        }
    }
    group.finish();
}

fn bench_parse(c: &mut Criterion) {
    let query = "sum by (job, instance) (rate(http_requests_total{job=~\"api|web\", code!=\"500\"}[5m] offset 1h)) \
                 / on (job) group_left (team) max(build_info{env=\"prod\"}) > bool 0.95";
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(query.len() as u64));
    group.bench_function("a typical alert expression", |b| {
        b.iter(|| parse_with(black_box(query), &Options::default()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, bench_range, bench_parse);
criterion_main!(benches);

//! Queries over data in memory, and parsing. Data: counters scraped every 15 s, with labels to group by; histograms of
//! both kinds.
//!
//! Throughput is in samples looked at, as the statistics of a query count them: a window of 5 minutes at 15 s holds 20.
//! Allocations are those of one run on one thread.
#![allow(missing_docs, clippy::print_stdout, reason = "figures are printed")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::duration::Duration;
use model::histogram::{FloatHistogram, Span};
use model::labels;
use model::sample::{Timestamp, Value};
use promql::testing::MemoryStorage;
use promql::{Config, Engine, Options, QueryOptions, QueryResult, parse_with};

const INTERVAL_MS: i64 = 15_000;
/// Samples before the first step, so that all windows are full.
const BEFORE: i64 = 241;

/// What is asked, and when.
#[derive(Clone, Copy)]
struct Query {
    text: &'static str,
    /// Steps of 15 s; an instant query without.
    steps: i64,
}

fn counters(count: i64, steps: i64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for series in 0..count {
        let labels = labels! {
            "__name__" => "m",
            "instance" => &format!("host-{series}"),
            "job" => "api",
            "x" => &(series % 10).to_string(),
        };
        let values = (0..BEFORE + steps).map(|i| (i * INTERVAL_MS, Value::Float((i * (series % 7 + 1)) as f64 * 0.7)));
        storage.insert(&labels, values);
        if series < 10 {
            let info = labels! { "__name__" => "info", "x" => &series.to_string(), "team" => "t" };
            storage.insert(&info, (0..BEFORE + steps).map(|i| (i * INTERVAL_MS, Value::Float(1.0))));
        }
    }
    storage
}

/// Classic histograms of 12 buckets.
fn classic(count: i64, steps: i64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let bounds = ["0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "25.0", "50.0", "100.0", "250.0", "+Inf"];
    for series in 0..count {
        for (i, le) in bounds.iter().enumerate() {
            let labels = labels! { "__name__" => "h_bucket", "instance" => &series.to_string(), "le" => le };
            let rise = (i + 1) as f64 * (series % 5 + 1) as f64;
            storage.insert(&labels, (0..BEFORE + steps).map(|i| (i * INTERVAL_MS, Value::Float(i as f64 * rise))));
        }
    }
    storage
}

/// Native histograms of 40 buckets.
fn native(count: i64, steps: i64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for series in 0..count {
        let labels = labels! { "__name__" => "n", "instance" => &series.to_string() };
        let sample = |i: i64| {
            let positive: Vec<f64> = (0..40).map(|bucket| (i * (bucket + 1)) as f64).collect();
            let histogram = FloatHistogram {
                schema: 3,
                count: positive.iter().sum(),
                sum: i as f64 * 7.5,
                positive_spans: vec![Span { offset: -10, length: 40 }],
                positive,
                ..FloatHistogram::default()
            };
            (i * INTERVAL_MS, Value::Histogram(Arc::new(histogram)))
        };
        storage.insert(&labels, (0..BEFORE + steps).map(sample));
    }
    storage
}

fn run(engine: &Engine, storage: &MemoryStorage, query: Query) -> QueryResult {
    let start = Timestamp((BEFORE - 1) * INTERVAL_MS);
    let options = QueryOptions::default();
    let result = match query.steps {
        0 => engine.instant(storage, query.text, start, &options),
        steps => {
            let end = Timestamp(start.0 + (steps - 1) * INTERVAL_MS);
            engine.range(storage, query.text, start, end, Duration::from_millis(INTERVAL_MS), &options)
        }
    };
    result.unwrap()
}

fn bench(c: &mut Criterion, name: &str, storage: &MemoryStorage, queries: &[Query]) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    for query in queries {
        for threads in [1, 2] {
            let config = Config { threads, language: Options::all(), max_samples: u64::MAX >> 1, ..Config::default() };
            let engine = Engine::new(config);
            let mut samples = 0;
            let taken = allocation_counter::measure(|| samples = run(&engine, storage, *query).stats.total_samples);
            if threads == 1 {
                println!(
                    "{}: {} allocations of {} KiB in all",
                    query.text,
                    taken.count_total,
                    taken.bytes_total / 1024
                );
            }
            group.throughput(Throughput::Elements(samples.max(1)));
            let id = BenchmarkId::new(query.text, format!("{threads} threads"));
            group.bench_with_input(id, query, |b, query| b.iter(|| run(&engine, storage, *query)));
        }
    }
    group.finish();
}

fn bench_counters(c: &mut Criterion) {
    let range = |text| Query { text, steps: 1440 };
    let rates = "sum by (x) (rate(m[5m]))";
    bench(
        c,
        "1000 counters, 6 h at 15 s",
        &counters(1_000, 1440),
        &[
            range(rates),
            range("rate(m[1h])"),
            range("sum_over_time(m[1h])"),
            range("max_over_time(m[1h])"),
            range("avg_over_time(m[1h])"),
            range("stddev_over_time(m[1h])"),
            range("last_over_time(m[1h])"),
            range("quantile_over_time(0.9, m[1h])"),
            range("topk(5, rate(m[5m]))"),
            range("m * on (x) group_left (team) info"),
            range("max_over_time(rate(m[5m])[1h:1m])"),
        ],
    );
    bench(c, "10000 counters, 6 h at 15 s", &counters(10_000, 1440), &[range(rates)]);
    bench(
        c,
        "10000 counters, once",
        &counters(10_000, 0),
        &[Query { text: "m", steps: 0 }, Query { text: rates, steps: 0 }],
    );
    bench(
        c,
        "100000 counters, once",
        &counters(100_000, 0),
        &[Query { text: "count(m{instance=~\"host-.*7|host-5.+\"})", steps: 0 }],
    );
}

fn bench_histograms(c: &mut Criterion) {
    let quantiles = Query { text: "histogram_quantile(0.9, rate(h_bucket[5m]))", steps: 240 };
    bench(c, "1000 x 12 buckets, 1 h at 15 s", &classic(1_000, 240), &[quantiles]);
    let rates = Query { text: "sum(rate(n[5m]))", steps: 240 };
    bench(c, "100 native histograms, 1 h at 15 s", &native(100, 240), &[rates]);
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

criterion_group!(benches, bench_parse, bench_counters, bench_histograms);
criterion_main!(benches);

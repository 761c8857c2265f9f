//! The engine's limits, its errors, and that threads do not change what comes out.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::duration::Duration;
use model::labels;
use model::sample::{Timestamp, Value};
use promql::testing::MemoryStorage;
use promql::{CancelToken, Config, Engine, Error, ErrorKind, Options, QueryOptions, QueryResult, QueryValue};

/// `m{i, g}` for each `i < count`, with `samples` values at 15 s; `g` has 10 values.
fn storage(count: usize, samples: i64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for i in 0..count {
        let labels = labels! { "__name__" => "m", "i" => &i.to_string(), "g" => &(i % 10).to_string() };
        // Values that do not add up the same in every order.
        let value = |t: i64| 1.0 / (1.0 + i as f64) + t as f64 * 0.1;
        storage.insert(&labels, (0..samples).map(|t| (t * 15_000, Value::Float(value(t)))));
    }
    storage
}

fn range(engine: &Engine, storage: &MemoryStorage, query: &str, options: &QueryOptions) -> Result<QueryResult, Error> {
    engine.range(storage, query, Timestamp(0), Timestamp(3_600_000), Duration::from_seconds(15), options)
}

#[test]
fn threads_do_not_change_results() {
    let storage = storage(1_000, 240);
    let engine = |threads| Engine::new(Config { threads, language: Options::all(), ..Config::default() });
    let (one, four) = (engine(1), engine(4));
    for query in [
        "sum by (g) (rate(m[5m]))",
        "avg(m)",
        "topk by (g) (2, m)",
        "stddev by (g) (m) / on (g) group_right m",
        "quantile(0.3, sum_over_time(m[2m]))",
        "m and on (g) (m > 3)",
        "max_over_time(rate(m[1m])[5m:30s])",
    ] {
        let [a, b] = [&one, &four].map(|e| range(e, &storage, query, &QueryOptions::default()).unwrap());
        assert_eq!(a.value, b.value, "{query}");
        assert_eq!(a.stats.total_samples, b.stats.total_samples, "{query}");
    }
}

#[test]
fn aggregations_hold_groups_and_not_series() {
    let storage = storage(2_000, 240);
    // The series alone would take 2 000 x 241 x 8 bytes.
    let engine = Engine::new(Config { max_bytes: 1_000_000, ..Config::default() });
    let options = QueryOptions::default();
    let result = range(&engine, &storage, "sum by (g) (m)", &options).unwrap();
    let QueryValue::Matrix(series) = result.value else { panic!("a matrix") };
    assert_eq!(series.len(), 10);
    assert_eq!(result.stats.total_samples, 2_000 * 241 - 2_000 + 2_000);
    let engine = Engine::new(Config { max_samples: 100_000, ..Config::default() });
    let error = range(&engine, &storage, "m", &options).unwrap_err();
    let text = "query processing would load too many samples into memory in query execution";
    assert_eq!((error.to_string().as_str(), error.kind()), (text, ErrorKind::Execution));
}

#[test]
fn endless_steps_are_refused_before_memory_is_taken() {
    let (engine, storage) = (Engine::new(Config::default()), storage(1, 10));
    let options = QueryOptions::default();
    for query in ["max_over_time(m[290y:1ms])", "count_over_time(vector(1)[100y:1ms])", "m[20y:2ms]"] {
        let error = engine.instant(&storage, query, Timestamp(i64::MAX / 2), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Execution, "{query}");
    }
    let (start, end) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
    let error = engine.range(&storage, "time()", start, end, Duration::from_millis(1), &options).unwrap_err();
    assert!(error.to_string().contains("too many samples"));
}

#[test]
fn the_highest_tree_is_evaluated() {
    let (engine, storage) = (Engine::new(Config::default()), storage(2, 10));
    let chain = |term: &str, op: &str| vec![term; 390].join(op);
    for query in [chain("m", " + "), chain("m", " or "), chain("1", " + "), chain("m", " ^ 1 - ")] {
        let result = engine.instant(&storage, &query, Timestamp(100_000), &QueryOptions::default());
        assert!(result.is_ok() || result.is_err_and(|e| e.kind() == ErrorKind::BadData));
    }
    let nested = format!("{}m{}", "abs(".repeat(140), ")".repeat(140));
    assert!(engine.instant(&storage, &nested, Timestamp(100_000), &QueryOptions::default()).is_ok());
}

#[test]
fn bytes_are_limited_too() {
    let engine = Engine::new(Config { max_bytes: 100_000, ..Config::default() });
    let error = range(&engine, &storage(1_000, 240), "m", &QueryOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "query would hold more than 100000 bytes in memory (limit max_bytes)");
}

#[test]
fn memory_is_limited_for_all_queries_together() {
    // 1000 series x 241 steps x 8 bytes is about 2 MB; with its times, a result is twice that.
    let engine = Engine::new(Config { max_memory: 5_000_000, ..Config::default() });
    let (storage, options) = (storage(1_000, 240), QueryOptions::default());
    let result = range(&engine, &storage, "m", &options).unwrap();
    let held = engine.usage().held();
    assert!((3_800_000..4_000_000).contains(&held), "a result counts as long as it is there: {held}");
    drop(result);
    let error = range(&engine, &storage, "sort(m) + m", &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(error.to_string().contains("limit max_memory"), "{error}");
    assert_eq!(engine.usage().held(), 0, "all is given back");
    assert!(options.usage.peak() > 2_000_000);
}

#[test]
fn queries_end_when_told_to() {
    let storage = storage(1_000, 240);
    let engine = Engine::new(Config::default());
    let canceled = CancelToken::new();
    canceled.cancel();
    let error = range(&engine, &storage, "m", &QueryOptions { cancel: canceled, ..QueryOptions::default() });
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("query was canceled in")), (ErrorKind::Canceled, true));

    // A deadline that passes while the query runs.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let cancel = CancelToken::with_deadline(|| ASKED.fetch_add(1, Ordering::Relaxed) > 300);
    let error = range(&engine, &storage, "sum(m)", &QueryOptions { cancel, ..QueryOptions::default() }).unwrap_err();
    let text = "query timed out in expression evaluation";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Timeout, text));
}

#[test]
fn errors_say_what_and_where() {
    let (engine, storage) = (Engine::new(Config::default()), storage(3, 10));
    let kind_and_text = |query: &str| {
        let error = range(&engine, &storage, query, &QueryOptions::default()).unwrap_err();
        (error.kind().as_str(), error.to_string())
    };
    for (query, kind, text) in [
        ("sum(", "bad_data", "1:5: parse error: unclosed left parenthesis"),
        (
            "m[5m]",
            "bad_data",
            "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "m * on (x) m",
            "execution",
            "found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"m\", g=\"0\", i=\"0\"}, {__name__=\"m\", g=\"1\", i=\"1\"}];many-to-many matching not allowed: matching labels must be unique on one side",
        ),
        (
            "m * on (x) sum(m)",
            "execution",
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
        ),
        ("label_replace(m, \"g\", \"\", \"g\", \"(.*)\") * 0 + ignoring (i) group_left sum(m)", "", ""),
        (
            "label_replace(m, \"g\", \"\", \"g\", \"(\")",
            "execution",
            "invalid regular expression in label_replace(): (",
        ),
        ("topk(NaN, m)", "execution", "Parameter value is NaN"),
        ("m offset (1d/0)", "bad_data", "1:13: parse error: division by zero"),
        ("m[1m:0s]", "bad_data", "1:6: parse error: duration must be greater than 0"),
        (
            "abs(m or on (__name__) label_replace(m, \"__name__\", \"n\", \"i\", \".*\"))",
            "execution",
            "vector cannot contain metrics with the same labelset",
        ),
    ] {
        if text.is_empty() {
            assert!(range(&engine, &storage, query, &QueryOptions::default()).is_ok(), "{query}");
        } else {
            assert_eq!(kind_and_text(query), (kind, text.to_owned()), "{query}");
        }
    }
    let backwards =
        engine.range(&storage, "m", Timestamp(1), Timestamp(0), Duration::from_seconds(1), &QueryOptions::default());
    assert_eq!(backwards.unwrap_err().to_string(), "end timestamp must not be before start time");
    let still = engine.range(&storage, "m", Timestamp(0), Timestamp(1), Duration::ZERO, &QueryOptions::default());
    assert!(still.unwrap_err().to_string().starts_with("zero or negative query resolution step widths"));
}

#[test]
fn names_go_at_once_or_at_the_end() {
    let storage = storage(1, 10);
    let by_name = "sum by (__name__) (rate({__name__=\"m\"}[1m]))";
    for (delayed, expected) in [(false, "{}"), (true, "{__name__=\"m\"}")] {
        let engine = Engine::new(Config { delayed_name_removal: delayed, ..Config::default() });
        let result = engine.instant(&storage, by_name, Timestamp(100_000), &QueryOptions::default()).unwrap();
        let QueryValue::Vector { samples, .. } = result.value else { panic!("a vector") };
        // With delayed removal grouping still sees the name, and it goes in the end.
        let kept = if delayed { "{}" } else { expected };
        assert_eq!(samples[0].labels.to_string(), kept, "delayed: {delayed}");
    }
}

#[test]
fn what_two_sides_give_to_one_series_is_one_range() {
    // Found by comparing with Prometheus: `or` gives the same series from both sides, at different steps.
    let storage = MemoryStorage::new();
    let labels = labels! { "__name__" => "m" };
    storage.insert(&labels, [0, 1, 30, 31].map(|minute| (minute * 60_000, Value::Float(minute as f64))));
    let engine = Engine::new(Config::default());
    let query = "count_over_time((m or m offset 10m)[40m:1m])";
    let result = engine.instant(&storage, query, Timestamp(39 * 60_000), &QueryOptions::default()).unwrap();
    let QueryValue::Vector { samples, .. } = result.value else { panic!("a vector") };
    // 0 to 5, 10 to 15, and 30 to 35 minutes.
    assert_eq!((samples.len(), &samples[0].value), (1, &Value::Float(18.0)));
    let range =
        engine.instant(&storage, "(m or m offset 10m)[40m:1m]", Timestamp(39 * 60_000), &QueryOptions::default());
    let QueryValue::Matrix(series) = range.unwrap().value else { panic!("a matrix") };
    assert_eq!((series.len(), series[0].floats.len()), (1, 18));
}

#[test]
fn a_greedy_query_falls_alone() {
    // One sample each, which an instant selector sees at all of the steps.
    let (series, steps) = (20_000, 1_000);
    let storage = MemoryStorage::new();
    for i in 0..series {
        let labels = labels! { "__name__" => "m", "i" => &i.to_string(), "g" => &(i % 10).to_string() };
        storage.insert(&labels, [(0, Value::Float(1.0))]);
    }
    let limits = Config { max_samples: u64::MAX, max_bytes: 32 << 20, ..Config::default() };
    let engine = Engine::new(limits);
    let run = |query: &str| {
        let step = Duration::from_millis(290);
        engine.range(&storage, query, Timestamp(0), Timestamp(290 * (steps - 1)), step, &QueryOptions::default())
    };
    std::thread::scope(|scope| {
        let modest = scope.spawn(|| run("sum by (g) (m)"));
        let error = run("m").unwrap_err();
        assert!(error.to_string().contains("limit max_bytes"), "{error}");
        let result = modest.join().unwrap().unwrap();
        let QueryValue::Matrix(groups) = result.value else { panic!("a matrix") };
        assert_eq!((groups.len(), groups[0].floats[999].1), (10, f64::from(series) / 10.0));
        // All points together would take 160 MB.
        assert!(result.stats.peak_bytes < 16 << 20, "{} bytes", result.stats.peak_bytes);
    });
    assert_eq!(engine.usage().held(), 0);
}

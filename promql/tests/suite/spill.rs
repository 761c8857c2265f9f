//! Series of a range query that wait in a file: the answer is the one from memory.

use model::duration::Duration;
use model::labels;
use model::sample::{Timestamp, Value};
use promql::testing::{MemoryStorage, load_script};
use promql::{Config, Engine, Error, MatrixSeries, Options, QueryOptions, QueryValue, Spill};

fn spilling(memory_max: u64) -> QueryOptions {
    let directory = std::env::temp_dir();
    QueryOptions { spill: Some(Spill { directory, memory_max }), ..QueryOptions::default() }
}

fn range(engine: &Engine, data: &MemoryStorage, query: &str, options: &QueryOptions) -> Result<QueryValue, Error> {
    let (start, end) = (Timestamp(0), Timestamp(600_000));
    engine.range(data, query, start, end, Duration::from_seconds(30), options).map(|result| result.value)
}

fn held(value: QueryValue) -> Vec<MatrixSeries> {
    match value {
        QueryValue::Matrix(series) => series,
        QueryValue::Spilled(matrix) => matrix.into_series().collect::<Result<_, _>>().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_waits_in_a_file_comes_back_as_it_was() {
    let script = "load 30s\n  m{i=\"1\"} 1 2 _x3 NaN 5 Inf\n  m{i=\"0\"} _x4 7x9\n  m{i=\"2\"} stale 1x3 -0 _ 4\n  \
        other{i=\"0\"} 1x3\n  other{i=\"9\"} _x8 3x9\n  h {{schema:0 sum:1 count:2 buckets:[1 1]}}x9\n";
    let data = load_script(script).unwrap();
    let engine = Engine::new(Config { language: Options::all(), ..Config::default() });
    for query in [
        "m",
        "{__name__=~\".+\"}",
        "m * 2",
        "rate(m[1m])",
        "label_replace(m{i=\"1\"}, \"i\", \"x\", \"\", \"\") > 6",
        "nothing",
        "1",
    ] {
        let expected = format!("{:?}", held(range(&engine, &data, query, &QueryOptions::default()).unwrap()));
        for memory_max in [0, 400, u64::MAX] {
            let value = range(&engine, &data, query, &spilling(memory_max)).unwrap();
            if let QueryValue::Spilled(matrix) = &value {
                let has_floats = !matrix.is_empty();
                assert_eq!(
                    matrix.is_in_file(),
                    has_floats && memory_max < 400 || memory_max == 400 && matrix.len() > 2,
                    "{query}"
                );
            }
            assert_eq!(format!("{:?}", held(value)), expected, "{query} with {memory_max} bytes");
        }
    }
}

/// Names that go at the very end: series of the same labels are joined if they never meet, and a fault if they do.
#[test]
fn series_of_the_same_labels_are_joined_or_refused_from_the_file_too() {
    let engine = Engine::new(Config { delayed_name_removal: true, ..Config::default() });
    let apart = load_script("load 30s\n  a{i=\"1\"} 1x4\n  b{i=\"1\"} _x15 2x4\n").unwrap();
    let query = "{__name__=~\"a|b\"} * 1";
    let series = held(range(&engine, &apart, query, &spilling(0)).unwrap());
    assert_eq!(series, held(range(&engine, &apart, query, &QueryOptions::default()).unwrap()));
    assert_eq!(series.len(), 1);
    let together = load_script("load 30s\n  a{i=\"1\"} 1x9\n  b{i=\"1\"} _x5 2x9\n").unwrap();
    let told = |options: &QueryOptions| range(&engine, &together, query, options).unwrap_err().to_string();
    assert_eq!(told(&spilling(0)), told(&QueryOptions::default()));
}

#[test]
fn a_file_that_cannot_be_made_fails_the_query_and_names_its_directory() {
    let data = load_script("load 30s\n  m 1x9\n").unwrap();
    let engine = Engine::new(Config::default());
    let spill = Some(Spill { directory: "/nonexistent/here".into(), memory_max: 0 });
    let told = range(&engine, &data, "m", &QueryOptions { spill, ..QueryOptions::default() }).unwrap_err();
    assert!(told.to_string().starts_with("/nonexistent/here: "), "{told}");
}

/// What waits in a file counts as what is held: one limit bounds both.
#[test]
fn the_limit_on_bytes_holds_for_the_file_too() {
    let data = MemoryStorage::new();
    for i in 0..1_000 {
        let labels = labels! { "__name__" => "m", "i" => &i.to_string() };
        data.insert(&labels, (0..21).map(|t| (t * 30_000, Value::Float(t as f64))));
    }
    let bytes = 1_000 * 21 * 8;
    let refused = Engine::new(Config { max_bytes: bytes / 2, ..Config::default() });
    assert!(matches!(range(&refused, &data, "m", &spilling(10_000)), Err(Error::Limit(_))));
    let allowed = Engine::new(Config { max_bytes: bytes * 2, ..Config::default() });
    let QueryValue::Spilled(matrix) = range(&allowed, &data, "m", &spilling(10_000)).unwrap() else {
        panic!("not stepped")
    };
    assert!(matrix.is_in_file());
    assert_eq!(matrix.into_series().map(|series| series.unwrap().floats.len()).sum::<usize>(), 1_000 * 21);
}

#[test]
fn range_vectors_wait_in_a_file_too() {
    let script = "load 30s\n  m{i=\"1\"} 1 2 _x3 NaN 5 Inf\n  m{i=\"0\"} _x4 7x9\n  \
        h {{schema:0 sum:1 count:2 buckets:[1 1]}}x9\n";
    let data = load_script(script).unwrap();
    let engine = Engine::new(Config::default());
    for query in ["{__name__=~\".+\"}[5m]", "rate(m[1m])[5m:10s]", "nothing[5m]"] {
        let value = |options: &QueryOptions| engine.instant(&data, query, Timestamp(300_000), options).unwrap().value;
        let expected = format!("{:?}", held(value(&QueryOptions::default())));
        for memory_max in [0, u64::MAX] {
            let found = value(&spilling(memory_max));
            let QueryValue::Spilled(matrix) = &found else { panic!("{found:?}") };
            assert_eq!(matrix.is_in_file(), memory_max == 0 && !matrix.is_empty());
            assert_eq!(format!("{:?}", held(found)), expected, "{query} with {memory_max} bytes");
        }
    }
}

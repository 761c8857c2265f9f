//! How much memory a wide query really takes: in a process of its own, by what the system says of it.

use std::process::Command;

use model::annotations::Annotations;
use model::duration::Duration;
use model::labels;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Columns, Order, Querier, Queryable, SelectHints, Series, SeriesSet, StorageError};
use promql::{Config, Engine, Error, QueryOptions, QueryResult, QueryValue, Spill};

const SERIES: u32 = 100_000;
const STEPS: i64 = 1_000;
const STEP_MS: i64 = 15_000;
const MEBIBYTE: u64 = 1 << 20;
/// Set in the process that runs the queries.
const CHILD: &str = "PROMQL_MEMORY_CHILD";

/// Counters that are made up when they are read: the data takes no memory.
struct Wide;

struct One(u32);

struct Set(std::ops::Range<u32>);

impl Queryable for Wide {
    fn querier(&self, _: Timestamp, _: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(Wide))
    }
}

impl Querier for Wide {
    fn select(&self, _: Order, _: &SelectHints, matchers: &[Matcher]) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        let is_asked = |name: &str| matchers.iter().any(|matcher| matcher.value() == name);
        let count = if is_asked("few") {
            1_000
        } else if is_asked("some") {
            SERIES / 5
        } else {
            SERIES
        };
        Ok(Box::new(Set(0..count)))
    }

    fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

impl SeriesSet for Set {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        Ok(self.0.next().map(|i| Box::new(One(i)) as Box<dyn Series>))
    }

    fn annotations(&mut self) -> Annotations {
        Annotations::new()
    }
}

impl Series for One {
    fn labels(&self) -> Labels {
        labels! {
            "__name__" => "m",
            "group" => &(self.0 % 10).to_string(),
            "instance" => &format!("host-{}.example.org:9100", self.0),
            "job" => "wide",
        }
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        (0..STEPS / 4).for_each(|i| columns.push_float(i * 4 * STEP_MS, (i * i64::from(self.0)) as f64));
        Ok(())
    }
}

fn run(engine: &Engine, query: &str) -> Result<QueryResult, Error> {
    let (end, step) = (Timestamp((STEPS - 1) * STEP_MS), Duration::from_millis(STEP_MS));
    engine.range(&Wide, query, Timestamp(0), end, step, &QueryOptions::default())
}

/// Of a result that waits in a file, the points are counted as they are read back.
fn run_spilling(query: &str) -> (usize, usize) {
    let engine = Engine::new(Config { threads: 2, ..Config::default() });
    let spill = Spill { directory: std::env::temp_dir(), memory_max: 8 * MEBIBYTE };
    let options = QueryOptions { spill: Some(spill), ..QueryOptions::default() };
    let (end, step) = (Timestamp((STEPS - 1) * STEP_MS), Duration::from_millis(STEP_MS));
    let result = engine.range(&Wide, query, Timestamp(0), end, step, &options).unwrap();
    let QueryValue::Spilled(matrix) = result.value else { panic!("{:?}", result.value) };
    assert!(matrix.is_in_file());
    (matrix.len(), matrix.into_series().map(|series| series.unwrap().floats.len()).sum())
}

fn points(result: &QueryResult) -> (usize, usize) {
    let QueryValue::Matrix(series) = &result.value else { panic!("{:?}", result.value) };
    (series.len(), series.iter().map(|series| series.floats.len()).sum())
}

/// The most memory the process ever held, and what it holds now.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// In the child: a wide aggregation stays small, its series as they are do not fit and fall alone.
fn measure() {
    let limits = Config { max_samples: u64::MAX, max_bytes: 100 * MEBIBYTE, threads: 2, ..Config::default() };
    let engine = Engine::new(limits);
    let before = resident().1;
    let sums = run(&engine, "sum by (group) (m)").unwrap();
    assert_eq!(points(&sums), (10, 10 * STEPS as usize));
    let peak = resident().0 - before;
    assert!(peak < 100 * MEBIBYTE, "{} MiB", peak / MEBIBYTE);
    let series = SERIES as usize / 5;
    assert_eq!(run_spilling("{job=\"some\"}"), (series, series * STEPS as usize));
    let peak = resident().0 - before;
    assert!(peak < 100 * MEBIBYTE, "a result of 153 MiB took {} MiB", peak / MEBIBYTE);
    std::thread::scope(|scope| {
        let few = scope.spawn(|| run(&engine, "sum by (group) (rate({job=\"few\"}[5m]))"));
        let error = run(&engine, "m").unwrap_err().to_string();
        assert_eq!(error, "query would hold more than 104857600 bytes in memory (limit max_bytes)");
        let few = few.join().unwrap().unwrap();
        assert_eq!(points(&few).0, 10);
    });
    let peak = resident().0 - before;
    assert!(peak < 250 * MEBIBYTE, "a query that is refused does not hold much more: {} MiB", peak / MEBIBYTE);
}

#[test]
fn wide_aggregations_are_small_and_wide_results_refused() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::wide_aggregations_are_small_and_wide_results_refused", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

//! Labels that nothing looks at are not built, and nobody can tell.

use model::duration::Duration;
use model::labels;
use model::labels::Labels;
use model::sample::{Timestamp, Value};
use promql::testing::MemoryStorage;
use promql::{Config, Engine, Options, QueryOptions};

use crate::peer::data::Data;
use crate::peer::expressions::Generator;

fn explained(query: &str) -> String {
    let engine = Engine::new(Config { language: Options::all(), ..Config::default() });
    engine.explain(query, Timestamp(0), Timestamp(0), None).unwrap().to_string()
}

/// The labels that each selector of a plan is to have, in order; `*` for all.
fn looked_at(query: &str) -> Vec<String> {
    let selects = explained(query);
    let selects = selects.lines().filter(|line| line.contains(" select "));
    let names = |line: &str| line.rsplit_once(" labels (").map(|(_, names)| names.trim_end_matches(')').to_owned());
    selects.map(|line| names(line).unwrap_or_else(|| "*".to_owned())).collect()
}

#[test]
fn the_plan_tells_which_labels_are_looked_at() {
    for (query, expected) in [
        ("m", &["*"][..]),
        ("sum(m)", &[""]),
        ("sum by (b, a) (rate(m[5m]))", &["a, b"]),
        ("sum by (x) (-abs(m) * 2)", &["x"]),
        ("sum by (x) (max_over_time(rate(m[5m])[1h:1m]))", &["x"]),
        ("sum by (x) (m @ 10)", &["x"]),
        ("count_values by (x) (\"v\", m)", &["x"]),
        ("scalar(m)", &[""]),
        ("absent(m)", &[""]),
        ("absent_over_time(m[5m])", &[""]),
        // The names of these are not known to be the same.
        ("sum by (x) (rate({job=\"a\"}[5m]))", &["*"]),
        ("sum by (x) ({job=\"a\"})", &["x"]),
        ("sum without (x) (m)", &["*"]),
        ("topk by (x) (1, m)", &["*"]),
        ("sum by (x) (topk(1, m))", &["*"]),
        ("sum by (x) (label_replace(m, \"x\", \"1\", \"y\", \".*\"))", &["*"]),
        ("sum by (le) (histogram_quantile(0.9, m))", &["*"]),
        ("m / n", &["*", "*"]),
        ("m / on (a, b) n", &["a, b", "a, b"]),
        ("m / on (a) group_left (b) n", &["*", "a, b"]),
        ("m / on (a) group_right (b) n", &["a, b", "*"]),
        ("m and on (a) n", &["*", "a"]),
        ("m unless on (a) n", &["*", "a"]),
        ("m or on (a) n", &["*", "*"]),
        ("sum by (x) (m and n)", &["*", "*"]),
        ("sum by (x) (m) / on (x) group_right () n", &["x", "*"]),
    ] {
        assert_eq!(looked_at(query), expected, "{query}");
    }
}

fn storage(series: &[Labels]) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for labels in series {
        storage.insert(labels, (0..40).map(|i| (i * 15_000, Value::Float(i as f64))));
    }
    storage
}

fn run(storage: &MemoryStorage, query: &str, whole_labels: bool) -> String {
    let engine = Engine::new(Config { language: Options::all(), ..Config::default() });
    let options = QueryOptions { whole_labels, ..QueryOptions::default() };
    match engine.instant(storage, query, Timestamp(590_000), &options) {
        Ok(result) => format!("{:?} {:?}", result.value, result.annotations),
        Err(error) => error.to_string(),
    }
}

#[test]
fn series_that_are_the_same_without_their_names_are_still_met() {
    let series = [
        labels! { "__name__" => "m", "x" => "1", "y" => "1" },
        labels! { "__name__" => "m", "x" => "1", "y" => "1", "__type__" => "counter" },
        labels! { "__name__" => "n", "x" => "1", "y" => "1" },
        labels! { "__name__" => "o", "x" => "1", "y" => "1" },
        labels! { "__name__" => "o", "x" => "1", "y" => "2" },
    ];
    let storage = storage(&series);
    let same = "vector cannot contain metrics with the same labelset";
    for (query, expected) in [
        ("sum by (x) (abs(m))", same),
        ("sum by (x) (rate(m[5m]))", same),
        ("sum by (x) (rate({__name__=~\"n|o\"}[5m]))", same),
        ("sum by (x) (rate(o[5m]))", "Vector"),
        // The fault names labels that the join does not look at.
        ("n + on (x) o", "[{__name__=\"o\", x=\"1\", y=\"1\"}, {__name__=\"o\", x=\"1\", y=\"2\"}]"),
        ("o * on (x) group_left () n", "y: \"2\""),
    ] {
        let (cut, whole) = (run(&storage, query, false), run(&storage, query, true));
        assert_eq!(cut, whole, "{query}");
        assert!(cut.contains(expected) || expected.starts_with('y'), "{query}: {cut}");
    }
}

#[test]
fn generated_expressions_have_the_same_answer_with_all_labels_and_without() {
    let data = Data::new(7);
    let engine = Engine::new(Config::default());
    let mut generator = Generator::new(7);
    let mut cut = 0;
    for _ in 0..1_000 {
        let (query, (start, end, step)) = (generator.expression(), generator.times());
        let (start, end, step) = (Timestamp(start * 1000), Timestamp(end * 1000), Duration::from_seconds(step));
        let run = |whole_labels| {
            let options = QueryOptions { whole_labels, ..QueryOptions::default() };
            let result = engine.range(&data.storage, &query, start, end, step, &options);
            // Bits, so that NaN is the same as NaN.
            result.map(|r| format!("{:?} {:?}", r.value, r.annotations)).map_err(|e| e.to_string())
        };
        assert_eq!(run(false), run(true), "{query}");
        cut += usize::from(engine.explain(&query, start, end, Some(step)).unwrap().to_string().contains(" labels ("));
    }
    assert!(cut > 200, "{cut} expressions do without some labels");
}

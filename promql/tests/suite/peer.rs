//! The same expressions on the same data, here and in Debian's Prometheus: the answers must be the same.
//!
//! Expressions are generated. `CRESSET_PEER_SEED` and `CRESSET_PEER_EXPRESSIONS` choose which and how many. Debian's is
//! 2.42, whose windows have their left edge in them: samples lie at odd milliseconds, and subqueries have ranges that are
//! no multiple of their step, so that nothing ever lies on an edge. What 2.42 does not have is not generated. Its sums
//! are not compensated: values are compared with a tolerance that covers that.

pub(crate) mod data;
pub(crate) mod expressions;
mod prometheus;

use std::collections::BTreeMap;

use model::duration::Duration;
use model::sample::Timestamp;
use promql::{Config, Engine, QueryOptions, QueryValue};

use self::data::{Data, START};
use self::expressions::Generator;
use self::prometheus::{Prometheus, Scratch, is_installed};

/// Of the larger value.
const TOLERANCE: f64 = 1e-8;
/// Below this, values count as nothing.
const NOTHING: f64 = 1e-7;
/// The same for sums, of which cancelling may leave more: 2.42 does not compensate them.
const NOTHING_OF_SUMS: f64 = 1e-4;

/// Series by their labels, values by milliseconds.
type Matrix = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn ours(engine: &Engine, data: &Data, query: &str, times: (i64, i64, i64)) -> Result<Matrix, String> {
    let (start, end, step) = (Timestamp(times.0 * 1000), Timestamp(times.1 * 1000), Duration::from_seconds(times.2));
    let result = engine.range(&data.storage, query, start, end, step, &QueryOptions::default());
    let QueryValue::Matrix(series) = result.map_err(|error| error.to_string())?.value else {
        return Err("no matrix".to_owned());
    };
    let labels = |series: &promql::MatrixSeries| {
        series.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Ok(series.iter().map(|s| (labels(s), s.floats.iter().map(|(t, v)| (t.0, *v)).collect())).collect())
}

fn close(a: f64, b: f64, nothing: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= (TOLERANCE * a.abs().max(b.abs())).max(nothing)
}

/// The first difference, if there is one.
fn difference(query: &str, ours: &Matrix, theirs: &Matrix) -> Option<String> {
    let nothing = if query.contains("sum") { NOTHING_OF_SUMS } else { NOTHING };
    for (labels, values) in theirs {
        let Some(found) = ours.get(labels) else { return Some(format!("{labels:?} is missing")) };
        for (time, value) in values {
            match found.get(time) {
                Some(found) if close(*found, *value, nothing) => {}
                found => return Some(format!("{labels:?} at {time}: {found:?} instead of {value}")),
            }
        }
        if let Some((time, value)) = found.iter().find(|(time, _)| !values.contains_key(time)) {
            return Some(format!("{labels:?} at {time}: {value} instead of nothing"));
        }
    }
    ours.keys().find(|labels| !theirs.contains_key(*labels)).map(|labels| format!("{labels:?} is too much"))
}

#[test]
fn answers_are_those_of_prometheus() {
    if !is_installed() {
        return;
    }
    let (seed, count) = (number("CRESSET_PEER_SEED", 1), number("CRESSET_PEER_EXPRESSIONS", 200));
    let data = Data::new(seed);
    let scratch = Scratch::new("peer");
    let prometheus = Prometheus::with_data(&scratch.0, &data.open_metrics);
    let engine = Engine::new(Config { threads: 2, ..Config::default() });
    let mut generator = Generator::new(seed);
    let mut differences = Vec::new();
    let mut failed = 0;
    for _ in 0..count {
        let query = generator.expression();
        let times = generator.times();
        let (ours, theirs) = (ours(&engine, &data, &query, times), prometheus.range(&query, times));
        let found = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => difference(&query, ours, theirs),
            (Err(_), Err(_)) => {
                failed += 1;
                None
            }
            // 3.x joins series that a sign made the same, where they do not overlap.
            (Ok(_), Err(error)) if error.contains("same labelset") && query.contains("-(") => None,
            (Ok(_), Err(error)) => Some(format!("they fail: {error}")),
            // 3.x looks for several partners before it looks whether a comparison holds.
            (Err(error), Ok(_)) if error.contains("multiple matches for labels") => None,
            (Err(error), Ok(_)) => Some(format!("we fail: {error}")),
        };
        if let Some(found) = found {
            differences.push(format!("{query} {times:?}\n    {found}"));
        }
    }
    println!("{count} expressions, {failed} of them failed in both, {} differ", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(failed * 3 < count, "most expressions have a value");
}

/// Of what 2.42 evaluates as 3.x does; it holds no less than the rest of the query when it comes to these operators.
#[test]
fn as_many_samples_are_held_as_in_prometheus() {
    if !is_installed() {
        return;
    }
    let data = Data::new(3);
    let scratch = Scratch::new("peaks");
    let prometheus = Prometheus::with_data(&scratch.0, &data.open_metrics);
    let engine = Engine::new(Config::default());
    let (start, end, step) = (START + 1800, START + 2400, 60);
    for query in [
        "g",
        "g + 1",
        "1 + 2 * 3",
        "-g * 2",
        "abs(g)",
        "clamp(g, 1, 2)",
        "g + odd",
        "g + on (job, instance) odd * 2",
        "g * on (job) group_left (version) info",
        "(g > 0.5) or odd",
        "g and odd",
        "g unless absent",
        "rate(c_total[2m]) / 2",
        "c_total / c_total @ end()",
        "histogram_quantile(0.5, h_bucket)",
        "absent(odd)",
        "vector(1) + g",
        "time() - timestamp(g)",
        "scalar(info{job=\"a\"}) * g",
        "sort(g)",
        "label_replace(g, \"x\", \"1\", \"\", \"\") * 2",
    ] {
        let (from, to) = (Timestamp(start * 1000), Timestamp(end * 1000));
        let options = QueryOptions::default();
        let ours = engine.range(&data.storage, query, from, to, Duration::from_seconds(step), &options).unwrap();
        let theirs = prometheus.peak_samples(query, (start, end, step)).unwrap();
        assert_eq!(ours.stats.peak_samples, theirs, "{query}");
    }
}

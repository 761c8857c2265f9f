//! Prometheus and this crate open each other's directories and find the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use model::histogram::{IntHistogram, Span};
use model::labels;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Appendable, Columns, NewValue, Order, Queryable, SelectHints};
use serde_json::Value;
use tsdb::{Config, Db};

use crate::prometheus::{Prometheus, is_installed};

pub(crate) type Found = BTreeMap<String, Vec<(i64, f64)>>;

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Everything our database holds from `min` to `max`.
pub(crate) fn ours(directory: &Path, min: i64, max: i64) -> Found {
    let db = Db::open(directory, Config::default()).unwrap();
    let report = db.replay_report();
    assert!(report.damage.is_empty(), "{report:?}");
    assert_eq!((report.samples_unknown, report.records_broken), (0, 0), "{report:?}");
    let querier = db.querier(Timestamp(min), Timestamp(max)).unwrap();
    let all = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
    let mut set = querier.select(Order::Any, &SelectHints::default(), &all).unwrap();
    let mut found = Found::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        let samples = columns.timestamps.into_iter().zip(columns.values).filter(|(_, v)| !model::sample::is_stale(*v));
        found.insert(series.labels().to_string(), samples.collect());
    }
    found.retain(|_, samples| !samples.is_empty());
    found
}

/// A matrix of Prometheus' API.
pub(crate) fn theirs(matrix: &Value) -> Found {
    let series = |entry: &Value| {
        let pairs =
            entry["metric"].as_object().unwrap().iter().map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()));
        let samples = entry["values"].as_array().unwrap().iter().map(|pair| {
            let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
            ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, value)
        });
        (Labels::from_pairs(pairs).unwrap().to_string(), samples.collect())
    };
    matrix.as_array().unwrap().iter().map(series).collect()
}

pub(crate) fn assert_same(a: &Found, b: &Found) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (labels, samples) in a {
        // The API's JSON knows one NaN.
        let bits_of = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        let bits = |samples: &[(i64, f64)]| samples.iter().map(|(t, v)| (*t, bits_of(*v))).collect::<Vec<_>>();
        assert_eq!(bits(samples), bits(&b[labels]), "{labels}");
    }
}

pub(crate) fn histogram(step: u64) -> IntHistogram {
    IntHistogram {
        schema: 1,
        zero_threshold: 1e-128,
        zero_count: step,
        count: 4 * step,
        sum: 10.0 * step as f64,
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 3, length: 1 }],
        positive: vec![step as i64, 0],
        negative_spans: vec![Span { offset: -2, length: 1 }],
        negative: vec![step as i64],
        ..IntHistogram::default()
    }
}

#[test]
fn prometheus_starts_on_our_directory_and_answers_the_same() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let start = (now_ms() - 5 * 3_600_000) / 1000 * 1000;
    let steps = 1000i64;
    let end = start + (steps - 1) * 15_000;
    {
        let db = Db::open(&data, Config::default()).unwrap();
        for step in 0..steps {
            let mut appender = db.appender();
            let time = Timestamp(start + step * 15_000);
            for i in 0..50 {
                let labels = labels! { "__name__" => "m", "i" => &i.to_string(), "text" => "a \"b\"\n\\ ü" };
                let value = if i % 2 == 0 { step as f64 } else { (step * i) as f64 / 7.0 };
                appender.append(&labels, time, value.into()).unwrap();
            }
            let labels = labels! { "__name__" => "h" };
            appender.append(&labels, time, NewValue::IntHistogram(&histogram(step as u64))).unwrap();
            appender.commit().unwrap();
        }
    }
    let expected = ours(&data, start, end);
    assert_eq!(expected.len(), 51);
    for keep_mapped in [true, false] {
        if !keep_mapped {
            std::fs::remove_dir_all(data.join("chunks_head")).unwrap();
        }
        let prometheus = Prometheus::start(&data, scratch.path(), false);
        let at = end as f64 / 1000.0;
        let mut floats = expected.clone();
        floats.retain(|labels, _| labels.contains("\"m\""));
        assert_same(&theirs(&prometheus.query("m[6h]", at)), &floats);
        let counts = prometheus.query("sum(count_over_time(h[6h]))", at);
        assert_eq!(counts[0]["value"][1], steps.to_string());
        let last = prometheus.query("h", at);
        assert_eq!(last[0]["histogram"][1]["count"], (4 * (steps - 1)).to_string());
        assert_eq!(last[0]["histogram"][1]["sum"], (10 * (steps - 1)).to_string());
        assert_eq!(last[0]["histogram"][1]["buckets"].as_array().unwrap().len(), 4);
        prometheus.kill();
        assert_same(&ours(&data, start, end), &expected);
    }
}

#[test]
fn we_open_what_a_killed_prometheus_left_and_find_the_same() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let prometheus = Prometheus::start(&data, scratch.path(), true);
    let asked_until = loop {
        let now = now_ms();
        let scrapes = prometheus.query("count_over_time(up[5m])", now as f64 / 1000.0);
        if scrapes[0]["value"][1].as_str().is_some_and(|count| count.parse::<u32>().unwrap() >= 4) {
            break now;
        }
    };
    let expected = theirs(&prometheus.query("{__name__=~\".+\"}[5m]", asked_until as f64 / 1000.0));
    prometheus.kill();
    assert!(expected.len() > 300, "{}", expected.len());
    assert_same(&ours(&data, i64::MIN, asked_until), &expected);
    // And back again.
    let prometheus = Prometheus::start(&data, scratch.path(), false);
    let again = theirs(&prometheus.query("{__name__=~\".+\"}[5m]", asked_until as f64 / 1000.0));
    assert_same(&again, &expected);
}

#[test]
fn prometheus_reads_the_snapshot_of_our_clean_stop() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let start = (now_ms() - 1_200_000) / 1000 * 1000;
    let steps = 50i64;
    let end = start + (steps - 1) * 15_000;
    {
        let db = Db::open(&data, Config::default()).unwrap();
        for step in 0..steps {
            let mut appender = db.appender();
            let time = Timestamp(start + step * 15_000);
            for i in 0..50 {
                let labels = labels! { "__name__" => "m", "i" => &i.to_string(), "text" => "a \"b\"\n\\ ü" };
                appender.append(&labels, time, ((step * i) as f64 / 7.0).into()).unwrap();
            }
            appender.commit().unwrap();
        }
        let gone = [Matcher::new("i", MatchOp::Equal, "7").unwrap()];
        db.delete_series(Timestamp(start), Timestamp(start + 300_000), &gone).unwrap();
        db.close().unwrap();
    }
    let is_snapshot = |name: &str| name.starts_with("chunk_snapshot.");
    let names = || std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().any(|name| is_snapshot(&name)), "a clean stop leaves one");
    let copy = scratch.path().join("copy");
    copy_directory(&data, &copy);
    let floats = ours(&copy, start, end);
    assert_eq!(floats.len(), 50);
    assert!(floats.values().any(|samples| (samples.len() as i64) < steps), "some are deleted");

    // This version has either snapshots or native histograms.
    let prometheus = Prometheus::start_with(&data, scratch.path(), false, "memory-snapshot-on-shutdown");
    assert!(prometheus.starting.contains("Chunk snapshot loading time"), "{}", prometheus.starting);
    let at = end as f64 / 1000.0;
    assert_same(&theirs(&prometheus.query("m[1h]", at)), &floats);
    prometheus.kill();
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

//! Blocks between this crate and Debian's Prometheus and promtool, both ways.

use std::path::Path;
use std::process::Command;

use model::labels;
use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::{Appendable, NewValue};
use tsdb::{BlockWriter, Config, Db};

use crate::prometheus::{Prometheus, is_installed};
use crate::side_by_side::{Found, assert_same, histogram, now_ms, ours, theirs};

const STEP_MS: i64 = 60_000;
/// Eleven hours.
const STEPS: i64 = 660;
const SERIES: i64 = 20;

fn labels_of(i: i64) -> Labels {
    labels! { "__name__" => "m", "i" => &i.to_string(), "half" => if i % 2 == 0 { "a \"b\"\n\\ ü" } else { "odd" } }
}

/// Fills a database as scrapes do, with upkeep, and returns the times of the first and the last sample.
fn fill(data: &Path, config: Config) -> (i64, i64) {
    let start = (now_ms() - 12 * 3_600_000) / STEP_MS * STEP_MS;
    let db = Db::open(data, config).unwrap();
    for step in 0..STEPS {
        let mut appender = db.appender();
        let time = Timestamp(start + step * STEP_MS);
        for i in 0..SERIES {
            let value = if i % 2 == 0 { step as f64 } else { (step * i) as f64 / 7.0 };
            appender.append(&labels_of(i), time, value.into()).unwrap();
        }
        let labels = labels! { "__name__" => "h" };
        appender.append(&labels, time, NewValue::IntHistogram(&histogram(step as u64))).unwrap();
        appender.commit().unwrap();
        db.maintain(time).unwrap();
    }
    (start, start + (STEPS - 1) * STEP_MS)
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/promtool").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "promtool {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The samples that `promtool tsdb dump` prints, of floats.
fn dumped(data: &Path) -> Found {
    let mut found = Found::new();
    for line in promtool(&["tsdb", "dump", data.to_str().unwrap()]).lines() {
        let (rest, time) = line.rsplit_once(' ').unwrap();
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        found.entry(labels.to_owned()).or_default().push((time.parse().unwrap(), value.parse().unwrap()));
    }
    found.retain(|labels, _| labels.contains("\"m\""));
    found
}

#[test]
fn promtool_and_prometheus_read_our_blocks() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let (start, end) = fill(&data, Config::default());
    let expected = ours(&data, start, end);
    assert_eq!(expected.len() as i64, SERIES + 1);
    let mut floats = expected.clone();
    floats.retain(|labels, _| labels.contains("\"m\""));
    assert!(floats.values().all(|samples| samples.len() as i64 == STEPS));

    let metas = Db::open(&data, Config::default()).unwrap().block_metas();
    assert!(metas.iter().any(|meta| meta.compaction.level == 2), "some are compacted: {metas:?}");
    let listed = promtool(&["tsdb", "list", data.to_str().unwrap()]);
    for meta in &metas {
        let line = listed.lines().find(|line| line.contains(&meta.ulid.to_string())).expect("every block is listed");
        assert!(line.contains(&format!(" {} ", meta.stats.num_samples)), "{line}");
        let analyzed = promtool(&["tsdb", "analyze", data.to_str().unwrap(), &meta.ulid.to_string()]);
        assert!(analyzed.contains(&format!("Series: {}\n", SERIES + 1)), "{analyzed}");
        assert!(analyzed.contains("Label names: 3\n"), "{analyzed}");
    }
    assert_same(&dumped(&data), &floats);

    let prometheus = Prometheus::start(&data, scratch.path(), false);
    let at = end as f64 / 1000.0;
    assert_same(&theirs(&prometheus.query("m[12h]", at)), &floats);
    let counts = prometheus.query("sum(count_over_time(h[12h]))", at);
    assert_eq!(counts[0]["value"][1], STEPS.to_string());
    let of_matchers = prometheus.query(r#"count(count_over_time(m{half!="odd",i=~"1.*"}[12h]))"#, at);
    assert_eq!(of_matchers[0]["value"][1], "5");
    prometheus.kill();
    assert_same(&ours(&data, start, end), &expected);
}

#[test]
fn we_read_the_blocks_that_prometheus_writes() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    // All in the log and the head: the blocks are its own.
    let mut config = Config::default();
    config.block_range_ms = 1 << 31;
    let (start, end) = fill(&data, config);
    let expected = ours(&data, start, end);
    std::fs::remove_dir_all(data.join("chunks_head")).unwrap();
    let prometheus = Prometheus::start(&data, scratch.path(), false);
    let name = prometheus.snapshot();
    prometheus.kill();
    let copy = data.join("snapshots").join(name);
    let found = ours(&copy, start, end);
    assert_same(&found, &expected);
    let metas = Db::open(&copy, Config::default()).unwrap().block_metas();
    assert!(!metas.is_empty() && metas.iter().all(|meta| meta.stats.num_series > 0));
}

#[test]
fn we_read_the_blocks_that_promtool_backfills_and_go_on() {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let start = (now_ms() - 30 * 3_600_000) / 1000;
    let mut text = String::from("# TYPE m gauge\n");
    let mut expected = Found::new();
    for i in 0..10i64 {
        let labels = labels_of(i);
        for step in 0..300 {
            let (time, value) = (start + step * 240, (step * i) as f64 / 3.0);
            let half = labels.get("half").unwrap().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text.push_str(&format!("m{{i=\"{i}\",half=\"{half}\"}} {value} {time}\n"));
            expected.entry(labels.to_string()).or_default().push((time * 1000, value));
        }
    }
    text.push_str("# EOF\n");
    let input = scratch.path().join("input.om");
    std::fs::write(&input, text).unwrap();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", input.to_str().unwrap(), data.to_str().unwrap()]);
    assert_same(&ours(&data, i64::MIN, i64::MAX), &expected);
    let db = Db::open(&data, Config::default()).unwrap();
    let before = db.block_metas().len();
    db.maintain(Timestamp(now_ms())).unwrap();
    assert!(db.block_metas().len() < before, "they are compacted");
    drop(db);
    assert_same(&ours(&data, i64::MIN, i64::MAX), &expected);
    assert_same(&dumped(&data), &expected);
}

/// Samples of all blocks of a directory, and bytes of their indexes and chunks.
fn samples_and_bytes(data: &Path) -> (u64, u64) {
    let (mut samples, mut bytes) = (0, 0);
    for block in std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(meta) = std::fs::read(block.join("meta.json")) else {
            continue;
        };
        let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
        samples += meta["stats"]["numSamples"].as_u64().unwrap();
        let chunks = std::fs::read_dir(block.join("chunks")).unwrap().map(|entry| entry.unwrap().path());
        bytes += chunks.chain([block.join("index")]).map(|path| path.metadata().unwrap().len()).sum::<u64>();
    }
    (samples, bytes)
}

/// Series of 900 samples each, written by promtool and by us: the same samples, and no more bytes.
fn check_bytes(series: impl Iterator<Item = (Labels, Vec<(i64, f64)>)>) {
    if !is_installed() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (theirs, own) = (scratch.path().join("theirs"), scratch.path().join("ours"));
    let mut text = String::from("# TYPE m gauge\n");
    let mut writer = BlockWriter::create(&own, 2 * 3_600_000, Timestamp(now_ms())).unwrap();
    let mut count = 0;
    for (labels, samples) in series {
        let pairs: Vec<String> = labels
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let pairs = pairs.join(",");
        for (time, value) in samples {
            let (seconds, millis) = (time / 1000, time % 1000);
            text.push_str(&format!("m{{{pairs}}} {value} {seconds}.{millis:03}\n"));
            writer.append(Timestamp(time), value.into());
            count += 1;
        }
        writer.end_series(&labels).unwrap();
    }
    text.push_str("# EOF\n");
    writer.finish().unwrap();
    let input = scratch.path().join("input.om");
    std::fs::write(&input, text).unwrap();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", input.to_str().unwrap(), theirs.to_str().unwrap()]);
    assert_same(&ours(&theirs, i64::MIN, i64::MAX), &ours(&own, i64::MIN, i64::MAX));
    let ((their_samples, their_bytes), (own_samples, own_bytes)) =
        (samples_and_bytes(&theirs), samples_and_bytes(&own));
    assert_eq!((their_samples, own_samples), (count, count));
    assert!(own_bytes <= their_bytes, "{own_bytes} bytes, promtool's take {their_bytes}");
}

fn node_labels(i: i64) -> Labels {
    labels! { "__name__" => "m", "i" => &i.to_string(), "job" => "node", "mode" => ["a", "b"][i as usize % 2] }
}

/// Scrapes every 15 s, half of the series' not to the millisecond.
fn scraped_at(i: i64, step: i64) -> i64 {
    1_700_000_000_000 + step * 15_000 + if i % 2 == 0 { 0 } else { step * 7919 % 13 }
}

/// Numbers below `below` without order, the same every time.
fn noise(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn blocks_of_the_same_samples_take_no_more_bytes_than_those_of_promtool() {
    check_bytes((0..300i64).map(|i| {
        let mut counter = 0;
        // Counters, fractions, constants, decimals.
        let samples = (0..900i64).map(|step| {
            counter += step * (i + 3) % 17;
            let value = match i / 2 % 4 {
                0 => counter as f64,
                1 => (step as f64 * 0.7 + i as f64).sin(),
                2 => 1.0,
                _ => ((step * 31 + i) % 997) as f64 / 100.0,
            };
            (scraped_at(i, step), value)
        });
        (node_labels(i), samples.collect())
    }));
}

#[test]
fn nor_do_those_of_gauges_and_counters_with_noise() {
    check_bytes((0..300i64).map(|i| {
        let mut state = i as u64;
        let (mut bytes, mut seconds, mut gauge) = (1e9, 0.0, 50_000i64);
        // Bytes sent, processor time, memory free, a temperature.
        let samples = (0..900i64).map(|step| {
            bytes += noise(&mut state, 3_000_000) as f64;
            seconds += noise(&mut state, 1500) as f64 / 100.0;
            gauge += noise(&mut state, 2001) as i64 - 1000;
            let value = match i / 2 % 4 {
                0 => bytes,
                1 => seconds,
                2 => (gauge * 4096) as f64,
                _ => 40.0 + noise(&mut state, 100) as f64 / 10.0,
            };
            (scraped_at(i, step), value)
        });
        (node_labels(i), samples.collect())
    }));
}

#[test]
fn nor_do_those_of_classic_histograms() {
    check_bytes((0..300i64).map(|i| {
        let (of, bucket) = (i / 10, i % 10);
        // The same for all buckets of a histogram, which hold ever more of it.
        let mut state = of as u64;
        let mut count = 0;
        let samples = (0..900i64).map(|step| {
            count += noise(&mut state, 200) * (bucket as u64 + 1) / 10;
            (scraped_at(of, step), count as f64)
        });
        let bound = if bucket == 9 { "+Inf".to_owned() } else { format!("{}", (1 << bucket) as f64 / 100.0) };
        let labels = labels! { "__name__" => "m", "handler" => &format!("/api/{of}"), "job" => "api", "le" => &bound };
        (labels, samples.collect())
    }));
}

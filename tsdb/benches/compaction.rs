//! Memory and speed of writing the head out as a block and of compacting blocks.
//!
//! `cargo bench -p tsdb --bench compaction [-- <series> <seconds between samples> <blocks, up to 4>]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::labels::LabelsBuilder;
use model::sample::Timestamp;
use model::storage::{Appendable, SeriesRef};
use tsdb::{Config, Db};

const BATCH: usize = 1000;
const RANGE_MS: i64 = 2 * 60 * 60 * 1000;

/// Bytes of a field of this process' status.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or("x 0");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The most anonymous memory while `work` runs, looked at all the time: pages of files, which the system takes back, are no
/// part of it.
fn most_anonymous(work: impl FnOnce()) -> u64 {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(status("RssAnon:"));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        work();
        is_over.store(true, Ordering::Relaxed);
        watcher.join().expect("it only looks")
    })
}

fn main() {
    let arguments: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let argument = |at: usize, default| arguments.get(at).copied().unwrap_or(default);
    let (count, interval_ms, blocks) = (argument(0, 1_000_000), argument(1, 60) as i64 * 1000, argument(2, 4));
    let directory = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let refs = create(&db, count);
    // The head is written out when it spans three hours; before that only full chunks are mapped.
    let mut step = 1;
    while step * interval_ms <= RANGE_MS / 2 * 3 {
        append(&db, &refs, step, interval_ms);
        step += 1;
    }
    append(&db, &refs, step, interval_ms);
    for (at, round) in
        ["first block", "second block", "third block", "fourth block and compaction"].iter().take(blocks).enumerate()
    {
        let now = Timestamp(step * interval_ms);
        let (before, samples) = (status("RssAnon:"), db.instruments().blocks.samples_written.value());
        let started = Instant::now();
        let peak = most_anonymous(|| db.maintain(now).expect("the disk works")).saturating_sub(before);
        let seconds = started.elapsed().as_secs_f64();
        let written = db.instruments().blocks.samples_written.value() - samples;
        println!(
            "{round}: {written} samples in {seconds:.1} s, {:.1} million/s; at most {} MiB above the head's {} MiB",
            written as f64 / seconds / 1e6,
            peak >> 20,
            before >> 20,
        );
        let samples: u64 = db.block_metas().iter().map(|meta| meta.stats.num_samples).sum();
        println!("  {:?}: {:.2} bytes per sample in blocks", db.disk_usage(), bytes_per_sample(&db, samples));
        if at + 1 == blocks {
            break;
        }
        for _ in 0..RANGE_MS / interval_ms {
            step += 1;
            append(&db, &refs, step, interval_ms);
        }
    }
}

fn bytes_per_sample(db: &Db, samples: u64) -> f64 {
    db.disk_usage().map_or(0, |usage| usage.blocks) as f64 / samples.max(1) as f64
}

fn create(db: &Db, count: usize) -> Vec<SeriesRef> {
    let mut refs = Vec::with_capacity(count);
    for start in (0..count).step_by(BATCH) {
        let mut appender = db.appender();
        for i in start..count.min(start + BATCH) {
            let mut labels = LabelsBuilder::new();
            labels.set("__name__", &format!("fleet_metric_number_{}_total", i % 100));
            labels.set("instance", &format!("10.20.{}.{}:9100", i / 256_000, i / 1000 % 256));
            labels.set("pod", &format!("workload-7d9c8b6f5-{:05x}", i / 1000));
            labels.set("device", &format!("device{}", i / 100 % 10));
            labels.set("namespace", &format!("namespace-{}", i / 50_000));
            labels.set("job", "node").set("cluster", "production-eu-1").set("region", "eu-central-1");
            labels.set("zone", ["a", "b", "c"][i / 1000 % 3]).set("team", ["x", "y"][i / 1000 % 2]);
            refs.push(appender.append(&labels.build(), Timestamp(0), 0.0.into()).expect("in order"));
        }
        appender.commit().expect("the log is writable");
    }
    refs
}

fn append(db: &Db, refs: &[SeriesRef], step: i64, interval_ms: i64) {
    for (batch, refs) in refs.chunks(BATCH).enumerate() {
        let mut appender = db.appender();
        for (i, series) in refs.iter().enumerate() {
            // A third constant, a third counters, a third gauges with fractions.
            let value = match i % 3 {
                0 => 1.0,
                1 => (step * (i as i64 + batch as i64)) as f64,
                _ => ((step * 31 + i as i64) % 97) as f64 / 8.0,
            };
            appender.append_ref(*series, Timestamp(step * interval_ms), value.into()).expect("in order");
        }
        appender.commit().expect("the log is writable");
    }
}

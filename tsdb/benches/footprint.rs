//! Memory per series: one million series of 10 labels with two hours of samples, then a start from the snapshot and a replay.
//!
//! `cargo bench -p tsdb --bench footprint [-- <series> <samples>]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use model::labels::LabelsBuilder;
use model::sample::Timestamp;
use model::storage::{Appendable, SeriesRef};
use tsdb::{Config, Db, OnStop};

const BATCH: usize = 1000;
const INTERVAL_MS: i64 = 15_000;

/// Resident and anonymous bytes of this process.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or("x 0");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (field("VmRSS:"), field("RssAnon:"))
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(1_000_000);
    let samples = numbers.get(1).copied().unwrap_or(60) as i64;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let (resident, anonymous) = memory();
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let started = Instant::now();
    let refs = create(&db, count);
    println!("created {count} series in {:?}", started.elapsed());
    report("after one sample", count, resident, anonymous);
    let started = Instant::now();
    for step in 1..samples {
        append(&db, &refs, step);
        db.maintain(Timestamp(step * INTERVAL_MS)).expect("the disk works");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("appended {:.1} million samples/s", count as f64 * (samples - 1) as f64 / seconds / 1e6);
    report(&format!("after {samples} samples"), count, resident, anonymous);
    println!("disk: {:?}, symbols {} bytes", db.disk_usage().expect("readable"), db.symbol_table_bytes());
    drop(refs);
    drop(db);
    let started = Instant::now();
    let db = Db::open(directory.path(), Config::default()).expect("what we wrote");
    println!("started from the snapshot in {:.2} s", started.elapsed().as_secs_f64());
    drop(db);
    let mut config = Config::default();
    config.on_stop = OnStop::Nothing;
    let started = Instant::now();
    let db = Db::open(directory.path(), config).expect("what we wrote");
    let seconds = started.elapsed().as_secs_f64();
    println!("replayed in {seconds:.1} s: {:.1} million samples/s", count as f64 * samples as f64 / seconds / 1e6);
    println!("{:?}", db.replay_report());
    report("after replay (with what the first run left to the allocator)", count, resident, anonymous);
}

fn create(db: &Db, count: usize) -> Vec<SeriesRef> {
    let mut refs = Vec::with_capacity(count);
    for start in (0..count).step_by(BATCH) {
        let mut appender = db.appender();
        for i in start..count.min(start + BATCH) {
            let mut labels = LabelsBuilder::new();
            // A fleet: 100 metrics with 10 variants on each of 1,000 instances.
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

fn append(db: &Db, refs: &[SeriesRef], step: i64) {
    for (batch, refs) in refs.chunks(BATCH).enumerate() {
        let mut appender = db.appender();
        for (i, series) in refs.iter().enumerate() {
            // A third constant, a third counters, a third gauges with fractions.
            let value = match i % 3 {
                0 => 1.0,
                1 => (step * (i as i64 + batch as i64)) as f64,
                _ => ((step * 31 + i as i64) % 97) as f64 / 8.0,
            };
            appender.append_ref(*series, Timestamp(step * INTERVAL_MS), value.into()).expect("in order");
        }
        appender.commit().expect("the log is writable");
    }
}

fn report(when: &str, count: usize, resident: u64, anonymous: u64) {
    let (resident_now, anonymous_now) = memory();
    let each = |now: u64, before: u64| now.saturating_sub(before) / count as u64;
    let (resident, anonymous) = (each(resident_now, resident), each(anonymous_now, anonymous));
    println!("{when}: {resident} bytes resident per series, {anonymous} of them on the heap");
}

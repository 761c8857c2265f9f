//! Memory per series: one million series of 10 labels with two hours of samples, all churned once if asked for, then a
//! start from the snapshot and a replay, each in a process of its own.
//!
//! `cargo bench -p tsdb --bench footprint [-- <series> <samples> [churn]]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use model::labels::LabelsBuilder;
use model::sample::Timestamp;
use model::storage::{Appendable, SeriesRef};
use tsdb::{Config, Db, OnStop};

const BATCH: usize = 1000;
const INTERVAL_MS: i64 = 15_000;

/// Resident and anonymous bytes of this process, and the most that were resident.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    anonymous: u64,
    peak: u64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or("x 0");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Self { resident: field("VmRSS:"), anonymous: field("RssAnon:"), peak: field("VmHWM:") }
    }

    fn print(self, when: &str, before: Self, count: usize) {
        let each = |now: u64, before: u64| now.saturating_sub(before) / count as u64;
        let (resident, anonymous) = (each(self.resident, before.resident), each(self.anonymous, before.anonymous));
        let peak = each(self.peak, before.resident);
        println!(
            "{when}: {resident} bytes resident per series, {anonymous} of them on the heap, at most {peak} so far"
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize| arguments.get(at).and_then(|argument| argument.parse::<usize>().ok());
    match arguments.first().map(String::as_str) {
        Some(how @ ("start" | "replay")) => {
            let directory = std::path::PathBuf::from(&arguments[1]);
            open_again(how, &directory, number(2).unwrap_or(1), number(3).unwrap_or(1));
        }
        _ => run(number(0).unwrap_or(1_000_000), number(1).unwrap_or(60), arguments.iter().any(|a| a == "churn")),
    }
}

fn run(count: usize, samples: usize, is_churned: bool) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let before = Memory::now();
    let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
    let (started, worked) = (Instant::now(), cpu_seconds());
    let mut refs = create(&db, count, 0);
    println!("created {count} series in {:?}, {:.1} s of CPU", started.elapsed(), cpu_seconds() - worked);
    Memory::now().print("after one sample", before, count);
    let (started, worked) = (Instant::now(), cpu_seconds());
    for step in 1..samples as i64 {
        append(&db, &refs, step);
        db.maintain(Timestamp(step * INTERVAL_MS)).expect("the disk works");
    }
    let appended = count as f64 * (samples - 1) as f64 / 1e6;
    let (seconds, worked) = (started.elapsed().as_secs_f64(), cpu_seconds() - worked);
    println!("appended {:.1} million samples/s, {:.1} million by CPU time", appended / seconds, appended / worked);
    Memory::now().print(&format!("after {samples} samples"), before, count);
    if is_churned {
        refs = create(&db, count, samples as i64);
        Memory::now().print("after all were churned once", before, count);
    }
    println!("disk: {:?}, symbols {} bytes", db.disk_usage().expect("readable"), db.symbol_table_bytes());
    drop(refs);
    db.close().expect("the disk works");
    drop(db);
    // In processes of their own: the most that was resident then is theirs.
    for how in ["start", "replay"] {
        let mut again = std::process::Command::new(std::env::current_exe().expect("Linux"));
        again.arg(how).arg(directory.path()).args([count.to_string(), samples.to_string()]);
        assert!(again.status().expect("a process").success());
    }
}

/// Starts from the snapshot of the last stop, or replays the log.
fn open_again(how: &str, directory: &std::path::Path, count: usize, samples: usize) {
    let before = Memory::now();
    let mut config = Config::default();
    if how == "replay" {
        config.on_stop = OnStop::Nothing;
    }
    let (started, worked) = (Instant::now(), cpu_seconds());
    let db = Db::open(directory, config).expect("what we wrote");
    let (seconds, worked) = (started.elapsed().as_secs_f64(), cpu_seconds() - worked);
    let million = (count * samples) as f64 / 1e6;
    println!("{how}: {seconds:.2} s, {worked:.2} s of CPU; {:.1} million samples/s if replayed", million / seconds);
    println!("{:?}", db.replay_report());
    Memory::now().print(how, before, count);
}

/// Seconds of processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    // In ticks of 10 ms: user and system.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Creates the fleet at a step of time; another step makes other pods.
fn create(db: &Db, count: usize, step: i64) -> Vec<SeriesRef> {
    let mut refs = Vec::with_capacity(count);
    for start in (0..count).step_by(BATCH) {
        let mut appender = db.appender();
        for i in start..count.min(start + BATCH) {
            let mut labels = LabelsBuilder::new();
            // A fleet: 100 metrics with 10 variants on each of 1,000 instances.
            labels.set("__name__", &format!("fleet_metric_number_{}_total", i % 100));
            labels.set("instance", &format!("10.20.{}.{}:9100", i / 256_000, i / 1000 % 256));
            labels.set("pod", &format!("workload-{step}d9c8b6f5-{:05x}", i / 1000));
            labels.set("device", &format!("device{}", i / 100 % 10));
            labels.set("namespace", &format!("namespace-{}", i / 50_000));
            labels.set("job", "node").set("cluster", "production-eu-1").set("region", "eu-central-1");
            labels.set("zone", ["a", "b", "c"][i / 1000 % 3]).set("team", ["x", "y"][i / 1000 % 2]);
            refs.push(appender.append(&labels.build(), Timestamp(step * INTERVAL_MS), 0.0.into()).expect("in order"));
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

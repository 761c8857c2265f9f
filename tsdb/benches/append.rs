//! Appending by ref with the log on, batches of 1,000 series: time and processor time of a sample, on one thread and on two
//! that append series of their own. Each figure is of the best of some rounds, which on a busy machine tells most.
//!
//! `cargo bench -p tsdb --bench append [-- <rounds> <batches of a round>]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use model::labels;
use model::sample::Timestamp;
use model::storage::{Appendable, SeriesRef};
use tsdb::{Config, Db};

const SCRAPE: usize = 1000;
/// So short that no thread gets further ahead of the other within a round than the head takes.
const INTERVAL_MS: i64 = 1000;

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (rounds, batches) =
        (arguments.first().copied().unwrap_or(20), arguments.get(1).copied().unwrap_or(2000) as i64);
    let mut alone = 0.0;
    for threads in [1, 2] {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let db = Db::open(directory.path(), Config::default()).expect("an empty directory");
        let targets: Vec<_> = (0..threads).map(|target| create(&db, target)).collect();
        let (mut time, mut processor) = (f64::MAX, f64::MAX);
        let mut step = 0;
        for _ in 0..rounds {
            let (began, worked) = (Instant::now(), cpu_seconds());
            std::thread::scope(|scope| {
                for refs in &targets {
                    let db = &db;
                    scope.spawn(move || (step + 1..=step + batches).for_each(|step| scrape(db, refs, step)));
                }
            });
            let samples = (threads * SCRAPE) as f64 * batches as f64;
            time = f64::min(time, began.elapsed().as_secs_f64() / samples);
            processor = f64::min(processor, (cpu_seconds() - worked) / samples);
            step += batches;
            db.maintain(Timestamp(step * INTERVAL_MS)).expect("the disk works");
        }
        let million = 1e-6 / time;
        println!("{threads} threads: {million:.2} million samples/s, {:.0} ns of CPU for a sample", processor * 1e9);
        if threads == 1 {
            alone = million;
        } else {
            println!("{:.2} times as many as one", million / alone);
        }
    }
}

/// Series of a target. Those in between keep the targets' series in pages of their own.
fn create(db: &Db, target: usize) -> Vec<SeriesRef> {
    let mut appender = db.appender();
    let refs = (0..2 * SCRAPE).map(|i| {
        let labels = labels! {
            "__name__" => &format!("metric_{}", i % 100), "instance" => &format!("host-{target}:9100"),
            "job" => "node", "i" => &(i / 100).to_string(),
        };
        appender.append(&labels, Timestamp(0), 0.0.into()).expect("in order")
    });
    let mut refs: Vec<_> = refs.collect();
    appender.commit().expect("the log is writable");
    refs.truncate(SCRAPE);
    refs
}

/// Counters that rise by whole numbers, and by fractions.
fn scrape(db: &Db, refs: &[SeriesRef], step: i64) {
    let mut appender = db.appender();
    for (i, series) in refs.iter().enumerate() {
        let value = if i % 2 == 0 { (step * i as i64) as f64 } else { step as f64 * 0.37 + i as f64 };
        appender.append_ref(*series, Timestamp(step * INTERVAL_MS), value.into()).expect("in order");
    }
    appender.commit().expect("the log is writable");
}

/// Seconds of processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    // In ticks of 10 ms: user and system.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

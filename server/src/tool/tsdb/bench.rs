//! `tool tsdb bench write`: how fast this machine takes samples in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Subcommand;
use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::{Appendable, NewValue, SeriesRef};
use tsdb::Db;

use super::say;

/// Series of one batch, as one target of a scrape would have.
const BATCH_SERIES: usize = 1000;
/// Time between scrapes, in ms.
const INTERVAL_MS: i64 = 30_000;
/// Scrapes between two turns of upkeep.
const UPKEEP_SCRAPES: usize = 60;

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Run a write performance benchmark
    Write {
        /// Set the output path
        #[arg(long, default_value = "benchout")]
        out: PathBuf,
        /// Number of metrics to read
        #[arg(long, default_value_t = 10_000)]
        metrics: usize,
        /// Number of scrapes to simulate
        #[arg(long, default_value_t = 3000)]
        scrapes: usize,
        /// File with the labels of one series a line, as JSON objects; made-up ones if absent
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: BenchCommand) -> Result<()> {
    let BenchCommand::Write { out, metrics, scrapes, file } = command;
    let series = match file {
        Some(file) => read(&file, metrics)?,
        None => (0..metrics).map(made_up).collect::<Result<_>>()?,
    };
    let directory = out.join("storage");
    let db = Db::open(&directory, tsdb::Config::default())?;
    let began = Instant::now();
    let mut refs: Vec<Option<SeriesRef>> = vec![None; series.len()];
    let mut samples = 0;
    for scrape in 0..scrapes {
        let at = Timestamp(scrape as i64 * INTERVAL_MS);
        for (batch, known) in series.chunks(BATCH_SERIES).zip(refs.chunks_mut(BATCH_SERIES)) {
            let mut appender = db.appender();
            for (i, (labels, known)) in batch.iter().zip(known).enumerate() {
                let value = NewValue::Float((scrape * (i + 1)) as f64);
                match known {
                    Some(series) => appender.append_ref(*series, at, value)?,
                    None => *known = Some(appender.append(labels, at, value)?),
                }
            }
            samples += appender.commit()?;
        }
        if scrape % UPKEEP_SCRAPES == 0 {
            db.maintain(at)?;
        }
    }
    let ingested = began.elapsed();
    db.close()?;
    say(&format!(" > total samples: {samples}"));
    say(&format!(" > samples/sec: {:.0}", samples as f64 / ingested.as_secs_f64()));
    say(&format!(" > ingestion: {ingested:.3?}"));
    say(&format!(" > block and log writing at the end: {:.3?}", began.elapsed() - ingested));
    Ok(())
}

fn read(file: &std::path::Path, limit: usize) -> Result<Vec<Labels>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(limit);
    lines
        .map(|(i, line)| {
            let place = || format!("{}:{}", file.display(), i + 1);
            let pairs: BTreeMap<String, String> = serde_json::from_str(line).with_context(place)?;
            Labels::from_pairs(pairs).with_context(place)
        })
        .collect()
}

fn made_up(number: usize) -> Result<Labels> {
    let text = |n: usize| n.to_string();
    Ok(Labels::from_pairs([
        ("__name__", format!("metric_{}", number % 100)),
        ("instance", format!("host-{}:9100", number / 100 % 50)),
        ("job", "bench".to_owned()),
        ("number", text(number)),
    ])?)
}

//! `tool tsdb`: looking into a data directory and filling one, as `promtool tsdb` does.

mod analyze;
mod backfill;
mod bench;

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use model::labels::{Labels, METRIC_NAME};
use model::number::print_float_general;
use model::sample::Timestamp;
use model::storage::{Columns, Order, Queryable, SelectHints};
use tsdb::{BlockView, ReadOnlyDb};

use super::say;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum TsdbCommand {
    /// List tsdb blocks
    List {
        /// Print human readable values
        #[arg(short = 'r', long = "human-readable")]
        human_readable: bool,
        /// Database path
        #[arg(default_value = "data/")]
        path: PathBuf,
    },
    /// Analyze churn, label pair cardinality and compaction efficiency
    Analyze(analyze::AnalyzeArgs),
    /// Dump data (series+samples or optionally just series) from a TSDB
    Dump {
        #[command(flatten)]
        what: DumpArgs,
        /// Output format of the dump
        #[arg(long, default_value = "prom")]
        format: DumpFormat,
    },
    /// Dump samples into OpenMetrics text format, native histograms excluded
    DumpOpenmetrics {
        #[command(flatten)]
        what: DumpArgs,
    },
    /// Import samples from input and produce TSDB blocks
    CreateBlocksFrom(backfill::BackfillFlags),
    /// Run benchmarks
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// What to dump.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Root directory where a sandbox directory will be created and removed; the database path if absent
    #[arg(long = "sandbox-dir-root")]
    sandbox: Option<PathBuf>,
    /// Minimum timestamp to dump, in milliseconds since the Unix epoch
    #[arg(long = "min-time", default_value_t = i64::MIN, allow_hyphen_values = true)]
    min_time: i64,
    /// Maximum timestamp to dump, in milliseconds since the Unix epoch
    #[arg(long = "max-time", default_value_t = i64::MAX, allow_hyphen_values = true)]
    max_time: i64,
    /// Series selector. Can be specified multiple times
    #[arg(long = "match", default_value = "{__name__=~'(?s:.*)'}")]
    selectors: Vec<String>,
    /// Database path
    #[arg(default_value = "data/")]
    path: PathBuf,
}

/// How samples are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// Labels, value, timestamp.
    Prom,
    /// Labels as JSON.
    Seriesjson,
}

/// Runs one command.
///
/// # Errors
/// If the directory or the input cannot be used.
pub async fn run(command: TsdbCommand) -> Result<()> {
    match command {
        TsdbCommand::List { human_readable, path } => {
            let db = open(&path, None)?;
            print_blocks(&db.blocks(), human_readable);
            Ok(())
        }
        TsdbCommand::Analyze(args) => analyze::run(&args),
        TsdbCommand::Dump { what, format: DumpFormat::Prom } => dump(&what, &mut print_samples),
        TsdbCommand::Dump { what, format: DumpFormat::Seriesjson } => {
            let mut seen = HashSet::new();
            dump(&what, &mut |out, labels, _| {
                let json = serde_json::to_string(labels)?;
                if seen.insert(json.clone()) {
                    writeln!(out, "{json}")?;
                }
                Ok(())
            })
        }
        TsdbCommand::DumpOpenmetrics { what } => {
            dump(&what, &mut print_open_metrics)?;
            say("# EOF");
            Ok(())
        }
        TsdbCommand::CreateBlocksFrom(command) => backfill::run(command).await,
        TsdbCommand::Bench(command) => bench::run(command),
    }
}

fn open(path: &Path, sandbox: Option<&Path>) -> Result<ReadOnlyDb> {
    let db = ReadOnlyDb::open(path, sandbox.unwrap_or(path)).with_context(|| format!("opening {}", path.display()))?;
    for damage in &db.replay_report().damage {
        super::complain(&format!("warning: {damage}"));
    }
    Ok(db)
}

type Print<'a> = dyn FnMut(&mut dyn Write, &Labels, &Columns) -> Result<()> + 'a;

fn dump(what: &DumpArgs, print: &mut Print<'_>) -> Result<()> {
    let selectors = what.selectors.iter().map(|text| promql::parse_selector(text)).collect::<Result<Vec<_>, _>>()?;
    let db = open(&what.path, what.sandbox.as_deref())?;
    let querier = db.querier(Timestamp(what.min_time), Timestamp(what.max_time))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut columns = Columns::default();
    // With several selectors a series comes once.
    let mut seen = HashSet::new();
    for matchers in &selectors {
        let mut set = querier.select(Order::ByLabels, &SelectHints::default(), matchers)?;
        while let Some(series) = set.advance()? {
            let labels = series.labels();
            if selectors.len() > 1 && !seen.insert(labels.clone()) {
                continue;
            }
            columns.clear();
            series.read(&mut columns)?;
            print(&mut out, &labels, &columns)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn print_samples(out: &mut dyn Write, labels: &Labels, columns: &Columns) -> Result<()> {
    for (i, (time, value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
        match columns.histogram_at(i) {
            Some(histogram) => writeln!(out, "{labels} {} {time}", promql::histogram::print(histogram))?,
            None => writeln!(out, "{labels} {} {time}", print_float_general(*value))?,
        }
    }
    Ok(())
}

fn print_open_metrics(out: &mut dyn Write, labels: &Labels, columns: &Columns) -> Result<()> {
    let name = labels.metric_name().unwrap_or("");
    let pairs = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
    let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}={}", model::quote::quote(value))).collect();
    for (i, (time, value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
        if columns.histogram_at(i).is_none() {
            let seconds = *time as f64 / 1000.0;
            writeln!(out, "{name}{{{}}} {} {seconds:.3}", pairs.join(","), print_float_general(*value))?;
        }
    }
    Ok(())
}

/// A table of blocks, as promtool prints it.
fn print_blocks(blocks: &[BlockView], human_readable: bool) {
    let header = ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    let time = |ms: i64| match jiff::Timestamp::from_second(ms / 1000) {
        Ok(time) if human_readable => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        _ => ms.to_string(),
    };
    for block in blocks {
        let meta = block.meta();
        rows.push(vec![
            meta.ulid.to_string(),
            time(meta.min_time),
            time(meta.max_time),
            go_duration(meta.max_time - meta.min_time),
            meta.stats.num_samples.to_string(),
            meta.stats.num_chunks.to_string(),
            meta.stats.num_series.to_string(),
            if human_readable { binary_bytes(block.bytes()) } else { block.bytes().to_string() },
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len() + 2).max().unwrap_or(0).max(13);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    for row in &rows {
        let (last, others) = row.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
        let padded = others.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        say(&format!("{}{last}", padded.collect::<String>()));
    }
}

/// As Go prints durations: `2h0m0s`, `1m30.5s`.
fn go_duration(ms: i64) -> String {
    let (sign, ms) = if ms < 0 { ("-", ms.unsigned_abs()) } else { ("", ms.unsigned_abs()) };
    if ms < 1000 {
        return if ms == 0 { "0s".into() } else { format!("{sign}{ms}ms") };
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{point}{fraction}s", rest / 1000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

/// `3KiB12B`: every unit that is needed.
fn binary_bytes(bytes: u64) -> String {
    let units = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    let parts = units.iter().filter_map(|(unit, shift)| {
        let count = bytes >> shift & if *shift == 60 { u64::MAX } else { 1023 };
        (count > 0).then(|| format!("{count}{unit}"))
    });
    let text: String = parts.collect();
    if text.is_empty() { "0B".into() } else { text }
}

/// A block by its ULID, or the last one.
fn block_of(db: &ReadOnlyDb, ulid: Option<&str>) -> Result<BlockView> {
    let blocks = db.blocks();
    let found = match ulid {
        None => blocks.last(),
        Some(ulid) => blocks.iter().find(|block| block.meta().ulid.to_string() == ulid),
    };
    match (found, ulid) {
        (Some(block), _) => Ok(block.clone()),
        (None, Some(ulid)) => bail!("block {ulid} not found"),
        (None, None) => bail!("no blocks found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_printed_as_go_does() {
        let durations = [0, 5, 1500, 90_000, 7_200_000, 7_199_999].map(go_duration);
        assert_eq!(durations, ["0s", "5ms", "1.5s", "1m30s", "2h0m0s", "1h59m59.999s"]);
        assert_eq!([0, 5, 2048, 1_048_577].map(binary_bytes), ["0B", "5B", "2KiB", "1MiB1B"]);
    }
}

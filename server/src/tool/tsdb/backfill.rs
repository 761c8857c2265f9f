//! `tool tsdb create-blocks-from`: blocks of samples that come from elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use exposition::parse::series::labels_of;
use exposition::parse::{Entry, Parser, validate};
use model::duration::Duration;
use model::labels::{Labels, METRIC_NAME};
use model::sample::Timestamp;
use model::storage::NewValue;
use net::clock::Clock;
use rules::config::{GroupConfig, RuleConfig};
use tsdb::BlockWriter;

use super::super::client::{Client, ClientFlags, pair};
use super::{open, print_blocks};

/// Two hours, in ms.
const BLOCK_RANGE_MS: i64 = 2 * 60 * 60 * 1000;
/// How many ranges of blocks there are, as in promtool.
const BLOCK_LEVELS: u32 = 10;
/// Steps of one range query to the server.
const STEPS_MAX: i64 = 10_000;

/// What blocks are made from, and what is told of them.
#[derive(Debug, Args)]
pub struct BackfillFlags {
    #[command(flatten)]
    made: MadeFlags,
    #[command(subcommand)]
    command: BackfillCommand,
}

/// Of the blocks that are made.
#[derive(Debug, Args)]
struct MadeFlags {
    /// Print human readable values
    #[arg(short = 'r', long = "human-readable", global = true)]
    human_readable: bool,
    /// Do not print created blocks
    #[arg(short = 'q', long, global = true)]
    quiet: bool,
    /// Maximum duration created blocks may span. Anything less than 2h is ignored
    #[arg(long = "max-block-duration", default_value = "2h", hide = true, global = true)]
    max_duration: Duration,
}

impl MadeFlags {
    /// The largest range of upstream's levels, each three times the one before, that is not above the greatest allowed.
    fn range_ms(&self) -> i64 {
        let ranges = (0..BLOCK_LEVELS).map(|level| BLOCK_RANGE_MS * 3_i64.pow(level));
        ranges.take_while(|range| *range <= self.max_duration.as_millis()).last().unwrap_or(BLOCK_RANGE_MS)
    }
}

/// Where samples come from.
#[derive(Debug, Subcommand)]
pub enum BackfillCommand {
    /// Import samples from OpenMetrics input and produce TSDB blocks
    Openmetrics {
        /// Label to attach to metrics, as name=value. Can be specified multiple times
        #[arg(long = "label", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// The input file; every sample needs a timestamp
        input: PathBuf,
        /// Output directory for generated blocks
        #[arg(default_value = "data/")]
        output: PathBuf,
    },
    /// Create blocks of data for new recording rules
    Rules {
        #[command(flatten)]
        client: ClientFlags,
        /// The URL of the server with the data the rules evaluate
        #[arg(long, default_value = "http://localhost:9090")]
        url: String,
        /// The time to start backfilling from (RFC3339 or Unix timestamp)
        #[arg(long)]
        start: String,
        /// The time up to which to backfill; three hours ago if absent
        #[arg(long)]
        end: Option<String>,
        /// Output directory for generated blocks
        #[arg(long = "output-dir", default_value = "data/")]
        output: PathBuf,
        /// How frequently to evaluate rules where their group does not say
        #[arg(long = "eval-interval", default_value = "60s")]
        interval: Duration,
        /// Rule files with the recording rules; alerting rules are left out
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Samples by series; times in ms.
type Series = BTreeMap<Labels, Vec<(i64, f64)>>;

pub(super) async fn run(BackfillFlags { made, command }: BackfillFlags) -> Result<()> {
    match command {
        BackfillCommand::Openmetrics { labels, input, output } => write(&read(&input, &labels)?, &output, &made),
        BackfillCommand::Rules { client, url, start, end, output, interval, files } => {
            let start = time(&start)?;
            let end = match end {
                Some(text) => time(&text)?,
                None => Clock::System.now_ms() - 3 * 60 * 60 * 1000,
            };
            if end <= start {
                bail!("end time is not after start time");
            }
            let client = client.connect(&url, Vec::new()).await?;
            for file in &files {
                let content = crate::config::rule_file(file, rules::config::Reading::default());
                for group in &content.map_err(|faults| anyhow!(faults.join("\n")))?.groups {
                    let group = &group.value;
                    let step = group.interval.filter(|step| !step.is_zero()).unwrap_or(interval);
                    for rule in group.rules.iter().map(|rule| &rule.value).filter(|rule| !rule.record.is_empty()) {
                        let series = evaluate(&client, &rule.expr, (start, end), step).await;
                        let series = series.with_context(|| format!("{}: rule {:?}", file.display(), rule.record))?;
                        write(&recorded(series, rule, group)?, &output, &made)?;
                    }
                }
            }
            Ok(())
        }
    }
}

/// The series as the rule names them, with the labels of its group and its own.
fn recorded(series: Series, rule: &RuleConfig, group: &GroupConfig) -> Result<Series> {
    let mut named = Series::new();
    for (labels, samples) in series {
        let mut builder = labels.to_builder();
        builder.set(METRIC_NAME, &rule.record);
        for (name, value) in group.labels.iter().chain(&rule.labels) {
            builder.set(name, value);
        }
        let labels = builder.build();
        if named.contains_key(&labels) {
            bail!("rule {:?} gives series {labels} twice", rule.record);
        }
        named.insert(labels, samples);
    }
    Ok(named)
}

fn time(text: &str) -> Result<i64> {
    crate::http::parse_time(text).map(|time| time.0).map_err(|e| anyhow!(e))
}

/// Reads a page whose samples all have timestamps.
fn read(input: &Path, extra: &[(String, String)]) -> Result<Series> {
    let bytes = std::fs::read(input).with_context(|| input.display().to_string())?;
    let mut parser = Parser::open_metrics(validate(&bytes)?);
    let mut series = Series::new();
    // Lines of one series mostly follow each other, or come in the same order again.
    let mut known: std::collections::HashMap<&str, Labels> = std::collections::HashMap::new();
    while let Some(entry) = parser.advance("").with_context(|| input.display().to_string())? {
        let Entry::Sample(line) = entry else { continue };
        let Some(timestamp) = line.timestamp else {
            bail!("{}: byte {}: expected timestamp for series {}, got none", input.display(), line.offset, line.series);
        };
        let labels = match known.get(line.series) {
            Some(labels) => labels.clone(),
            None => {
                let mut builder = labels_of(line.series)?.to_builder();
                for (name, value) in extra {
                    builder.set(name, value);
                }
                let labels = builder.build();
                known.insert(line.series, labels.clone());
                labels
            }
        };
        series.entry(labels).or_default().push((timestamp, line.value));
    }
    Ok(series)
}

/// Asks a server for the values of a rule, in parts it can answer.
async fn evaluate(client: &Client, expression: &str, (start, end): (i64, i64), step: Duration) -> Result<Series> {
    let mut series = Series::new();
    let mut from = start;
    while from <= end {
        let to = end.min(from + step.as_millis() * STEPS_MAX);
        let seconds = |ms: i64| (ms as f64 / 1000.0).to_string();
        let params = [
            ("query", expression.to_owned()),
            ("start", seconds(from)),
            ("end", seconds(to)),
            ("step", step.as_seconds().to_string()),
        ];
        let data = client.ask("query_range", &params).await?;
        for found in data["result"].as_array().into_iter().flatten() {
            let labels: BTreeMap<String, String> = serde_json::from_value(found["metric"].clone())?;
            let samples = series.entry(Labels::from_pairs(labels)?).or_default();
            for point in found["values"].as_array().into_iter().flatten() {
                let (Some(at), Some(value)) = (point[0].as_f64(), point[1].as_str()) else {
                    bail!("the server's answer is not the API's");
                };
                let value: f64 = value.parse().with_context(|| format!("{value:?} is no number"))?;
                samples.push(((at * 1000.0).round() as i64, value));
            }
        }
        from = to + step.as_millis();
    }
    Ok(series)
}

fn write(series: &Series, output: &Path, how: &MadeFlags) -> Result<()> {
    if series.is_empty() {
        return Ok(());
    }
    let mut writer = BlockWriter::create(output, how.range_ms(), Timestamp(Clock::System.now_ms()))?;
    for (labels, samples) in series {
        if !labels.contains(METRIC_NAME) {
            bail!("series {labels} has no metric name");
        }
        for (time, value) in samples {
            writer.append(Timestamp(*time), NewValue::Float(*value));
        }
        writer.end_series(labels)?;
    }
    let made = writer.finish()?;
    if !how.quiet {
        let db = open(output, None)?;
        let is_made = |ulid| made.iter().any(|meta| meta.ulid == ulid);
        let blocks: Vec<_> = db.blocks().into_iter().filter(|block| is_made(block.meta().ulid)).collect();
        print_blocks(&blocks, how.human_readable);
    }
    Ok(())
}

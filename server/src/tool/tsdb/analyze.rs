//! `tool tsdb analyze`: what makes a block large.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use tsdb::{BlockView, RawChunk};

use super::{block_of, go_duration, open, say};

/// What to analyze.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// How many items to show in each list
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Run extended analysis
    #[arg(long)]
    extended: bool,
    /// Series selector to analyze
    #[arg(long = "match")]
    selector: Option<String>,
    /// Database path
    #[arg(default_value = "data/")]
    path: PathBuf,
    /// Block to analyze; the last block if absent
    block: Option<String>,
}

/// What was counted of a label pair.
#[derive(Debug, Default)]
struct Churn {
    /// How much of the block's range its series leave uncovered, in ms.
    uncovered: u64,
    series: u64,
}

/// What was counted of chunks.
#[derive(Debug, Default)]
struct Chunks {
    total: usize,
    float_samples: Vec<usize>,
    float_bytes: Vec<usize>,
    histogram_samples: Vec<usize>,
    histogram_bytes: Vec<usize>,
}

impl Chunks {
    fn count(&mut self, chunk: &RawChunk<'_>) {
        self.total += 1;
        // XOR and XOR2 hold floats, the others histograms.
        let (samples, bytes) = match chunk.encoding {
            1 | 4 => (&mut self.float_samples, &mut self.float_bytes),
            _ => (&mut self.histogram_samples, &mut self.histogram_bytes),
        };
        samples.push(usize::from(chunk.samples));
        bytes.push(chunk.data.len());
    }

    fn print(self) {
        say("\nCompaction analysis:\n");
        for (what, mut counts) in [
            ("samples per float chunk", self.float_samples),
            ("bytes per float chunk", self.float_bytes),
            ("samples per histogram chunk", self.histogram_samples),
            ("bytes per histogram chunk", self.histogram_bytes),
        ] {
            print_histogram(what, &mut counts, self.total);
        }
    }
}

/// What was counted of a block.
#[derive(Debug, Default)]
struct Counts {
    pairs: HashMap<String, Churn>,
    /// What series with a label leave uncovered, in ms.
    names: HashMap<String, u64>,
    values: HashMap<String, HashMap<String, u64>>,
    entries: u64,
    matched: u64,
    chunks: Chunks,
}

impl Counts {
    fn of(block: &BlockView, matchers: &[Matcher]) -> Result<Self> {
        let mut counts = Self::default();
        let range = block.meta().max_time - block.meta().min_time;
        block.each_series(matchers, |labels, raw| {
            let covered = raw.last().zip(raw.first()).map_or(0, |(last, first)| last.max_time - first.min_time);
            counts.count(labels, (range - covered).max(0) as u64);
            raw.iter().for_each(|chunk| counts.chunks.count(chunk));
            Ok(())
        })?;
        Ok(counts)
    }

    fn count(&mut self, labels: &Labels, uncovered: u64) {
        self.matched += 1;
        for (name, value) in labels.iter() {
            let pair = self.pairs.entry(format!("{name}={value}")).or_default();
            pair.uncovered += uncovered;
            pair.series += 1;
            *self.names.entry(name.to_owned()).or_default() += uncovered;
            *self.values.entry(name.to_owned()).or_default().entry(value.to_owned()).or_default() += 1;
            self.entries += 1;
        }
    }

    /// The lists with their titles; `range` is the block's, in ms.
    fn lists(&self, range: i64) -> [(&'static str, Vec<(u64, String)>); 6] {
        let share = |uncovered: u64| (uncovered as f64 / range as f64) as u64;
        let of_values = |count: &dyn Fn(&HashMap<String, u64>) -> u64| -> Vec<(u64, String)> {
            self.values.iter().map(|(name, values)| (count(values), name.clone())).collect()
        };
        let of_pairs = |count: &dyn Fn(&Churn) -> u64| -> Vec<(u64, String)> {
            self.pairs.iter().map(|(pair, churn)| (count(churn), pair.clone())).collect()
        };
        let metrics = self.values.get("__name__").into_iter().flatten();
        [
            ("Label pairs most involved in churning", of_pairs(&|churn| share(churn.uncovered))),
            (
                "Label names most involved in churning",
                self.names.iter().map(|(name, uncovered)| (share(*uncovered), name.clone())).collect(),
            ),
            ("Most common label pairs", of_pairs(&|churn| churn.series)),
            (
                "Label names with highest cumulative label value length",
                of_values(&|values| values.keys().map(|value| value.len() as u64).sum()),
            ),
            ("Highest cardinality labels", of_values(&|values| values.len() as u64)),
            ("Highest cardinality metric names", metrics.map(|(name, series)| (*series, name.clone())).collect()),
        ]
    }
}

pub(super) fn run(args: &AnalyzeArgs) -> Result<()> {
    let matchers = match &args.selector {
        Some(text) => promql::parse_selector(text)?,
        None => vec![Matcher::new("__name__", MatchOp::Regex, "(?s:.*)")?],
    };
    let db = open(&args.path, None)?;
    let block = block_of(&db, args.block.as_deref())?;
    let counts = Counts::of(&block, &matchers)?;
    print_summary(&block, &counts, args.selector.as_deref());
    let meta = block.meta();
    for (title, list) in counts.lists((meta.max_time - meta.min_time).max(1)) {
        print_list(title, list, args.limit);
    }
    if args.extended {
        counts.chunks.print();
    }
    Ok(())
}

fn print_summary(block: &BlockView, counts: &Counts, selector: Option<&str>) {
    let meta = block.meta();
    say(&format!("Block ID: {}", meta.ulid));
    say(&format!("Duration: {}", go_duration(meta.max_time - meta.min_time)));
    say(&format!("Total Series: {}", meta.stats.num_series));
    if let Some(text) = selector {
        say(&format!("Matcher: {text}"));
    }
    say(&format!("Label names: {}", counts.values.len()));
    if selector.is_some() {
        say(&format!("Matched series: {}", counts.matched));
    }
    say(&format!("Postings (unique label pairs): {}", counts.pairs.len()));
    say(&format!("Postings entries (total label pairs): {}", counts.entries));
}

fn print_list(title: &str, mut list: Vec<(u64, String)>, limit: usize) {
    say(&format!("\n{title}:"));
    // Equal counts by name, so that two runs print the same.
    list.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    list.iter().take(limit).for_each(|(count, name)| say(&format!("{count} {name}")));
}

fn print_histogram(what: &str, counts: &mut [usize], total: usize) {
    counts.sort_unstable();
    let (Some(first), Some(last)) = (counts.first().copied(), counts.last().copied()) else {
        say(&format!("{what}: N/A\n"));
        return;
    };
    let mut step = 10;
    while step < (last - first) / 10 && step <= 10_000 {
        step *= 10;
    }
    let start = first - first % step;
    let end = last - last % step + step;
    let mut buckets = vec![0_usize; (end - start) / step + 1];
    counts.iter().for_each(|count| buckets[(count - start) / step] += 1);
    let average = counts.iter().sum::<usize>() / counts.len();
    say(&format!("{what} (min/avg/max): {first}/{average}/{last}"));
    let width = |number: usize| number.to_string().len();
    let (left, right) = (width(end), width(end + step));
    let most = width(buckets.iter().copied().max().unwrap_or(0));
    for (i, count) in buckets.iter().enumerate() {
        let bar = "#".repeat(100 * count / total.max(1));
        let (from, to) = (i * step + start + 1, (i + 1) * step + start);
        say(&format!("[{from:left$}, {to:right$}]: {count:most$} {bar}"));
    }
    say("");
}

//! `tool tsdb analyze`: what makes a block large.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use model::matcher::{MatchOp, Matcher};

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

/// What was counted of a label pair or a label.
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

pub(super) fn run(args: &AnalyzeArgs) -> Result<()> {
    let matchers = match &args.selector {
        Some(text) => promql::parse_selector(text)?,
        None => vec![Matcher::new("__name__", MatchOp::Regex, "(?s:.*)")?],
    };
    let db = open(&args.path, None)?;
    let block = block_of(&db, args.block.as_deref())?;
    let meta = block.meta();
    let range = (meta.max_time - meta.min_time).max(1);
    let mut pairs: HashMap<String, Churn> = HashMap::new();
    let mut names: HashMap<String, u64> = HashMap::new();
    let mut values: HashMap<String, HashMap<String, u64>> = HashMap::new();
    let (mut entries, mut matched) = (0, 0);
    let mut chunks = Chunks::default();
    block.each_series(&matchers, |labels, raw| {
        let covered = raw.last().zip(raw.first()).map_or(0, |(last, first)| last.max_time - first.min_time);
        let uncovered = (meta.max_time - meta.min_time - covered).max(0) as u64;
        matched += 1;
        for (name, value) in labels.iter() {
            let pair = pairs.entry(format!("{name}={value}")).or_default();
            pair.uncovered += uncovered;
            pair.series += 1;
            *names.entry(name.to_owned()).or_default() += uncovered;
            *values.entry(name.to_owned()).or_default().entry(value.to_owned()).or_default() += 1;
            entries += 1;
        }
        for chunk in raw {
            chunks.total += 1;
            // XOR and XOR2 hold floats, the others histograms.
            let (samples, bytes) = match chunk.encoding {
                1 | 4 => (&mut chunks.float_samples, &mut chunks.float_bytes),
                _ => (&mut chunks.histogram_samples, &mut chunks.histogram_bytes),
            };
            samples.push(usize::from(chunk.samples));
            bytes.push(chunk.data.len());
        }
        Ok(())
    })?;
    say(&format!("Block ID: {}", meta.ulid));
    say(&format!("Duration: {}", go_duration(meta.max_time - meta.min_time)));
    say(&format!("Total Series: {}", meta.stats.num_series));
    if let Some(text) = &args.selector {
        say(&format!("Matcher: {text}"));
    }
    say(&format!("Label names: {}", values.len()));
    if args.selector.is_some() {
        say(&format!("Matched series: {matched}"));
    }
    say(&format!("Postings (unique label pairs): {}", pairs.len()));
    say(&format!("Postings entries (total label pairs): {entries}"));
    let share = |uncovered: u64| (uncovered as f64 / range as f64) as u64;
    let of_values = |count: &dyn Fn(&HashMap<String, u64>) -> u64| -> Vec<(u64, String)> {
        values.iter().map(|(name, values)| (count(values), name.clone())).collect()
    };
    let metrics = values.get("__name__").into_iter().flatten();
    let lists: [(&str, Vec<(u64, String)>); 6] = [
        (
            "Label pairs most involved in churning",
            pairs.iter().map(|(pair, churn)| (share(churn.uncovered), pair.clone())).collect(),
        ),
        (
            "Label names most involved in churning",
            names.iter().map(|(name, uncovered)| (share(*uncovered), name.clone())).collect(),
        ),
        ("Most common label pairs", pairs.iter().map(|(pair, churn)| (churn.series, pair.clone())).collect()),
        (
            "Label names with highest cumulative label value length",
            of_values(&|values| values.keys().map(|value| value.len() as u64).sum()),
        ),
        ("Highest cardinality labels", of_values(&|values| values.len() as u64)),
        ("Highest cardinality metric names", metrics.map(|(name, series)| (*series, name.clone())).collect()),
    ];
    for (title, list) in lists {
        print_list(title, list, args.limit);
    }
    if args.extended {
        say("\nCompaction analysis:\n");
        for (what, mut counts) in [
            ("samples per float chunk", chunks.float_samples),
            ("bytes per float chunk", chunks.float_bytes),
            ("samples per histogram chunk", chunks.histogram_samples),
            ("bytes per histogram chunk", chunks.histogram_bytes),
        ] {
            print_histogram(what, &mut counts, chunks.total);
        }
    }
    Ok(())
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

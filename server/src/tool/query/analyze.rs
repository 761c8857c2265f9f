//! `tool query analyze`: how many buckets of histograms are in use, as `promtool` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use model::duration::Duration;
use serde_json::Value;

use super::super::client::ClientFlags;
use super::super::say;

const HEADER: &str = "Bucket stats for each histogram series over time
------------------------------------------------
First the min, avg, and max number of populated buckets, followed by the total
number of buckets (only if different from the max number of populated buckets
which is typical for classic but not native histograms).
";
const FOOTER: &str = "
Aggregated bucket stats
-----------------------
Each line shows min/avg/max over the series above.";

/// Flags of `query analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeFlags {
    /// Server to query
    #[arg(long)]
    server: String,
    /// Type of metric: histogram
    #[arg(long = "type")]
    metric_type: String,
    /// Time frame to analyze
    #[arg(long, default_value = "1h")]
    duration: Duration,
    /// Query time (RFC3339 or Unix timestamp), defaults to now
    #[arg(long)]
    time: Option<String>,
    /// Series selector. Can be specified multiple times
    #[arg(long = "match", required = true)]
    selectors: Vec<String>,
}

pub(super) async fn run(flags: AnalyzeFlags, client: &ClientFlags) -> Result<()> {
    if flags.metric_type != "histogram" {
        bail!("analyze type is {}, must be 'histogram'", flags.metric_type);
    }
    let client = client.connect(&flags.server, Vec::new()).await?;
    say(HEADER);
    let (mut native, mut classic) = (Summary::default(), Summary::default());
    for selector in &flags.selectors {
        let mut params = vec![("query", format!("{selector}[{}]", flags.duration))];
        params.extend(flags.time.clone().map(|time| ("time", time)));
        let data = client.ask("query", &params).await?;
        if data["resultType"] != "matrix" {
            bail!("query of buckets resulted in non-Matrix");
        }
        let mut by_histogram: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for series in data["result"].as_array().into_iter().flatten() {
            // Nobody mixes both kinds in one series: with numbers it is a bucket of a classic one.
            if !has(series, "values") {
                if let Some(usage) = native_usage(series) {
                    say(&format!("- {} (native): {usage}", printed(series, &[])));
                    native.add(&usage);
                }
            } else if let Some(name) = classic_name(series) {
                let key = format!("{name}{}", printed(series, &["__name__", "le"]));
                by_histogram.entry(key).or_default().push(series);
            }
        }
        for (key, buckets) in by_histogram {
            if let Some(usage) = classic_usage(buckets)? {
                say(&format!("- {key} (classic): {usage}"));
                classic.add(&usage);
            }
        }
    }
    say(FOOTER);
    for (kind, summary) in [("Native", native), ("Classic", classic)] {
        if summary.series > 0 {
            say(&format!("\n{kind} {summary}"));
        }
    }
    Ok(())
}

fn has(series: &Value, key: &str) -> bool {
    series[key].as_array().is_some_and(|list| !list.is_empty())
}

/// The name of a classic histogram's bucket.
fn classic_name(series: &Value) -> Option<&str> {
    let metric = &series["metric"];
    metric.get("le")?;
    metric["__name__"].as_str().filter(|name| name.ends_with("_bucket"))
}

/// Labels in braces, without some.
fn printed(series: &Value, without: &[&str]) -> String {
    let labels = series["metric"].as_object().into_iter().flatten();
    let shown = labels.filter(|(name, _)| !without.contains(&name.as_str()));
    let pairs: Vec<String> =
        shown.map(|(name, value)| format!("{name}={}", model::quote::quote(value.as_str().unwrap_or("")))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// How many buckets are populated over time, and how many there are.
#[derive(Debug, PartialEq)]
struct Usage {
    min: usize,
    average: f64,
    max: usize,
    total: usize,
}

impl Usage {
    fn of(populated: &[usize], total: usize) -> Self {
        let sum: usize = populated.iter().sum();
        Self {
            min: populated.iter().copied().min().unwrap_or(0),
            average: sum as f64 / populated.len() as f64,
            max: populated.iter().copied().max().unwrap_or(0),
            total,
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:.3}/{}", self.min, self.average, self.max)?;
        if self.max == self.total { Ok(()) } else { write!(f, "/{}", self.total) }
    }
}

/// Of a series of native histograms; nothing with fewer than two.
fn native_usage(series: &Value) -> Option<Usage> {
    let histograms = series["histograms"].as_array().filter(|list| list.len() > 1)?;
    let mut all = BTreeSet::new();
    let mut populated = Vec::with_capacity(histograms.len());
    for histogram in histograms {
        let buckets = histogram[1]["buckets"].as_array().map_or(&[][..], Vec::as_slice);
        populated.push(buckets.len());
        // Rule and bounds say which bucket it is.
        all.extend(buckets.iter().map(|bucket| format!("{} {} {}", bucket[0], bucket[1], bucket[2])));
    }
    Some(Usage::of(&populated, all.len()))
}

/// Of the buckets of one classic histogram; nothing with fewer than two samples.
fn classic_usage(mut buckets: Vec<&Value>) -> Result<Option<Usage>> {
    let bound = |series: &Value| series["metric"]["le"].as_str().and_then(|le| le.parse().ok()).unwrap_or(0.0_f64);
    buckets.sort_by(|a, b| bound(a).total_cmp(&bound(b)));
    let values = |series: &Value| -> Vec<(f64, f64)> {
        let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_str()?.parse().ok()?));
        series["values"].as_array().into_iter().flatten().filter_map(point).collect()
    };
    let columns: Vec<Vec<(f64, f64)>> = buckets.iter().map(|series| values(series)).collect();
    let samples = columns.first().map_or(0, Vec::len);
    if samples < 2 {
        return Ok(None);
    }
    let mut populated = Vec::with_capacity(samples);
    for at in 0..samples {
        let mut count = 0;
        let mut previous: Option<(f64, f64)> = None;
        // What is shorter than the first ends the count: buckets behind it are taken as empty.
        for current in columns.iter().map_while(|column| column.get(at).copied()) {
            if previous.is_some_and(|(time, _)| time != current.0) {
                return Err(anyhow!("matrix result is not time aligned"));
            }
            let own = current.1 - previous.map_or(0.0, |(_, value)| value);
            count += usize::from(own.abs() >= 1.0);
            previous = Some(current);
        }
        populated.push(count);
    }
    Ok(Some(Usage::of(&populated, columns.len())))
}

/// Smallest, mean and largest of some numbers.
#[derive(Debug, Default, PartialEq)]
struct Spread {
    min: usize,
    sum: usize,
    max: usize,
}

impl Spread {
    fn add(&mut self, number: usize, is_first: bool) {
        self.min = if is_first { number } else { self.min.min(number) };
        self.max = self.max.max(number);
        self.sum += number;
    }

    fn shown(&self, count: usize) -> String {
        format!("{}/{:.3}/{}", self.min, self.sum as f64 / count as f64, self.max)
    }
}

/// Usage of several histograms.
#[derive(Debug, Default)]
struct Summary {
    series: usize,
    min: Spread,
    average: Spread,
    max: Spread,
    total: Spread,
}

impl Summary {
    fn add(&mut self, usage: &Usage) {
        let is_first = self.series == 0;
        self.series += 1;
        self.min.add(usage.min, is_first);
        // Whole ones, as upstream counts.
        self.average.add(usage.average as usize, is_first);
        self.max.add(usage.max, is_first);
        self.total.add(usage.total, is_first);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.series;
        writeln!(f, "histogram series ({count} in total):")?;
        writeln!(f, "- min populated: {}", self.min.shown(count))?;
        writeln!(f, "- avg populated: {}", self.average.shown(count))?;
        write!(f, "- max populated: {}", self.max.shown(count))?;
        if self.max == self.total { Ok(()) } else { write!(f, "\n- total: {}", self.total.shown(count)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn buckets_in_use_are_counted() {
        let bucket = |le: &str, values: [&str; 2]| json!({"metric": {"__name__": "h_bucket", "le": le}, "values": [[1, values[0]], [2, values[1]]]});
        let series = [bucket("+Inf", ["5", "9"]), bucket("1", ["2", "3"]), bucket("2", ["2", "5"])];
        let usage = classic_usage(series.iter().collect()).unwrap().unwrap();
        assert_eq!(usage.to_string(), "2/2.500/3");
        assert_eq!(classic_name(&series[0]), Some("h_bucket"));
        let bucket = |left: &str| json!([0, left, "9", "1"]);
        let native = json!({"metric": {}, "histograms": [
            [1, {"buckets": [bucket("1")]}], [2, {"buckets": [bucket("2"), bucket("3")]}]]});
        let usage = native_usage(&native).unwrap();
        assert_eq!(usage.to_string(), "1/1.500/2/3");
        let mut summary = Summary::default();
        summary.add(&usage);
        let told = "histogram series (1 in total):\n- min populated: 1/1.000/1\n- avg populated: 1/1.000/1\n\
            - max populated: 2/2.000/2\n- total: 3/3.000/3";
        assert_eq!(summary.to_string(), told);
    }
}

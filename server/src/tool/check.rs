//! `tool check`: files, pages, servers and discovery.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use model::duration::Duration;
use model::labels::Labels;
use rules::config::{RuleFile, UnknownFields};
use scraper::discovery::{Discovery, Sink, static_groups};
use scraper::target::{Outcome, TargetGroup, discovered_labels, from_discovered};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failed, complain, lint, say};
use crate::app::USER_AGENT;
use crate::config::{self, Config, Depth, Reading};
use crate::features::Features;
use crate::flags::{CheckCommand, Mode, ServerUrl};
use crate::web_config;

/// The input is valid and against conventions; exit code 3, as upstream has it.
#[derive(Debug, thiserror::Error)]
#[error("{0} problems found")]
pub struct LintProblems(usize);

pub(super) async fn run(command: CheckCommand, features: &Features) -> Result<()> {
    match command {
        CheckCommand::Config { syntax_only, agent, rules, lint, files } => {
            let mode = if agent { Mode::Agent } else { Mode::Server };
            let reading = Reading { mode, rules: rules.reading(features), ..Reading::default() };
            check_files(&files, &lint, |file| check_config(file, syntax_only, reading, &lint))
        }
        CheckCommand::Rules { rules, lint, files } => check_rules(&files, rules.reading(features), &lint),
        CheckCommand::Healthy(server) => check_server(&server, "healthy").await,
        CheckCommand::Ready(server) => check_server(&server, "ready").await,
        CheckCommand::Metrics { extended, lint } => check_metrics(extended, lint == "none"),
        CheckCommand::WebConfig { files } => check_web_configs(&files),
        CheckCommand::ServiceDiscovery { timeout, file, job } => discover(&file, &job, timeout).await,
    }
}

/// Which conventions are checked, beside what makes a file valid.
#[derive(Debug, Clone, clap::Args)]
pub struct LintFlags {
    /// Linting checks to apply, separated by commas: all, duplicate-rules, too-long-scrape-interval, none
    #[arg(long, default_value = "duplicate-rules", value_delimiter = ',')]
    lint: Vec<String>,
    /// Make lint errors exit with exit code 3
    #[arg(long = "lint-fatal")]
    lint_fatal: bool,
    /// The server's maximum query lookback duration, which scrape intervals are compared with
    #[arg(long = "query.lookback-delta", default_value = "5m")]
    lookback: Duration,
}

impl LintFlags {
    fn has(&self, check: &str) -> bool {
        self.lint.iter().any(|name| name == check || name == "all")
    }

    fn tell_unknown(&self) {
        for name in &self.lint {
            if !["all", "duplicate-rules", "too-long-scrape-interval", "none"].contains(&name.as_str()) {
                say(&format!("WARNING: unknown lint option: {name:?}"));
            }
        }
    }
}

/// How rule files are read.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct RuleFileFlags {
    /// Ignore unknown fields in the rule groups: files may carry notes for others, which the server refuses
    #[arg(long = "ignore-unknown-fields")]
    ignore_unknown_fields: bool,
}

impl RuleFileFlags {
    fn reading(self, features: &Features) -> rules::config::Reading {
        let unknown_fields = match self.ignore_unknown_fields {
            true => UnknownFields::Ignored,
            false => UnknownFields::Refused,
        };
        rules::config::Reading { language: features.language, unknown_fields }
    }
}

/// What became of a file.
enum Checked {
    Valid,
    AgainstConventions,
    Invalid,
}

/// Checks each file; invalid ones fail the command, and so do those against conventions if that is asked for.
fn check_files(files: &[PathBuf], lint: &LintFlags, check: impl Fn(&Path) -> Checked) -> Result<()> {
    lint.tell_unknown();
    let (mut invalid, mut problems) = (0, 0);
    for file in files {
        say(&format!("Checking {}", file.display()));
        match check(file) {
            Checked::Valid => {}
            Checked::AgainstConventions => problems += 1,
            Checked::Invalid => invalid += 1,
        }
    }
    if invalid > 0 {
        return Err(Failed.into());
    }
    if problems > 0 && lint.lint_fatal { Err(LintProblems(problems).into()) } else { Ok(()) }
}

fn check_config(file: &Path, syntax_only: bool, reading: Reading, lint: &LintFlags) -> Checked {
    let depth = if syntax_only { Depth::SyntaxOnly } else { Depth::Whole };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("  FAILED: {}: {error}", file.display()));
            return Checked::Invalid;
        }
    };
    let config = match config::parse(file, &text, depth, reading) {
        Ok(config) => config,
        Err(error) => {
            match error.0.as_slice() {
                [fault] => complain(&format!("  FAILED: {fault}")),
                faults => {
                    complain("  FAILED:");
                    faults.iter().for_each(|fault| complain(&format!("    {fault}")));
                }
            }
            say("");
            return Checked::Invalid;
        }
    };
    if depth == Depth::Whole && !config.rule_files.is_empty() {
        say(&format!("  SUCCESS: {} rule files found", config.rule_files.len()));
    }
    config.not_run.iter().for_each(|told| say(&format!("  WARNING: {told}")));
    let has_problems = config_problems(&config, lint);
    if !has_problems {
        say(&format!(" SUCCESS: {} is valid prometheus config file syntax", file.display()));
    }
    say("");
    let rules = config.rule_files.iter().map(|(name, content)| {
        say(&format!("Checking {name}"));
        tell_rules(content, lint)
    });
    // Each is told, whatever the first says.
    let rule_problems = rules.filter(|is_fine| !is_fine).count();
    if has_problems || rule_problems > 0 { Checked::AgainstConventions } else { Checked::Valid }
}

/// Intervals at which samples are stale before the next comes.
fn config_problems(config: &Config, lint: &LintFlags) -> bool {
    let too_long = config.jobs.iter().find(|job| job.interval >= lint.lookback);
    match too_long.filter(|_| lint.has("too-long-scrape-interval")) {
        None => false,
        Some(job) => {
            complain(&format!(
                "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, interval: {}",
                job.name, job.interval
            ));
            true
        }
    }
}

fn check_rules(files: &[PathBuf], reading: rules::config::Reading, lint: &LintFlags) -> Result<()> {
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let parsed = rules::config::parse(Path::new("standard input"), &text, reading);
        let parsed = parsed.map_err(|faults| faults.iter().map(ToString::to_string).collect());
        return check_files(&[PathBuf::from("standard input")], lint, |_| judge_rules(&parsed, lint));
    }
    check_files(files, lint, |file| judge_rules(&config::rule_file(file, reading), lint))
}

fn judge_rules(parsed: &Result<RuleFile, Vec<String>>, lint: &LintFlags) -> Checked {
    match parsed {
        Err(faults) => {
            complain("  FAILED:");
            faults.iter().for_each(|fault| complain(fault));
            Checked::Invalid
        }
        Ok(content) if tell_rules(content, lint) => Checked::Valid,
        Ok(_) => Checked::AgainstConventions,
    }
}

/// Tells how many rules there are, or which are there twice; whether all is well.
fn tell_rules(content: &RuleFile, lint: &LintFlags) -> bool {
    let doubled = if lint.has("duplicate-rules") { duplicates(content) } else { Vec::new() };
    if doubled.is_empty() {
        let rules: usize = content.groups.iter().map(|group| group.value.rules.len()).sum();
        say(&format!("  SUCCESS: {rules} rules found\n"));
        return true;
    }
    complain("  FAILED:");
    let mut text = format!("lint error {} duplicate rule(s) found.", doubled.len());
    for (metric, labels) in &doubled {
        text.push_str(&format!("\nMetric: {metric}\nLabel(s):"));
        labels.iter().for_each(|(name, value)| text.push_str(&format!("\n\t{name}: {value}")));
    }
    complain(&format!("{text}\nMight cause inconsistency while recording expressions"));
    say("");
    false
}

/// Rules of the same name and labels, each once, sorted.
fn duplicates(content: &RuleFile) -> Vec<(String, BTreeMap<String, String>)> {
    let mut seen: BTreeMap<(String, BTreeMap<String, String>), usize> = BTreeMap::new();
    for group in &content.groups {
        for rule in &group.value.rules {
            let rule = &rule.value;
            let name = if rule.alert.is_empty() { &rule.record } else { &rule.alert };
            let mut labels = group.value.labels.clone();
            labels.extend(rule.labels.clone());
            *seen.entry((name.clone(), labels)).or_default() += 1;
        }
    }
    seen.into_iter().filter(|(_, count)| *count > 1).map(|(rule, _)| rule).collect()
}

/// A page from standard input. Problems of style end with exit code 3.
fn check_metrics(extended: bool, without_lint: bool) -> Result<()> {
    if without_lint && !extended {
        bail!("at least one of --extended or linting must be enabled");
    }
    let mut page = String::new();
    std::io::stdin().read_to_string(&mut page)?;
    let report = lint::report(&page).map_err(|error| anyhow!("error while linting: {error}"))?;
    if extended {
        let total: usize = report.cardinality.iter().map(|(_, count)| count).sum();
        let width = report.cardinality.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(6) + 4;
        say(&format!("{:width$}{:<15}Percentage", "Metric", "Cardinality"));
        for (name, count) in &report.cardinality {
            let share = 100.0 * *count as f64 / total.max(1) as f64;
            say(&format!("{name:width$}{count:<15}{share:.2}%"));
        }
        say(&format!("{:width$}{total:<15}100%", "Total"));
    }
    if without_lint || report.problems.is_empty() {
        return Ok(());
    }
    report.problems.iter().for_each(|(name, text)| complain(&format!("{name} {text}")));
    Err(LintProblems(report.problems.len()).into())
}

fn check_web_configs(files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        match web_config::check(file) {
            Ok(()) => say(&format!("{} SUCCESS", file.display())),
            Err(fault) => {
                complain(&format!("{} FAILED: {fault}", file.display()));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

/// Asks whether a server is `what`.
async fn check_server(server: &ServerUrl, what: &str) -> Result<()> {
    let client = server.client.connect(&server.url, Vec::new()).await?;
    let url = client.url(&format!("-/{what}"))?;
    let response = client.request(reqwest::Method::GET, &url).await?.send().await?;
    match response.status().is_success() {
        true => {
            say(&format!("  SUCCESS: {}", response.text().await?.trim_end()));
            Ok(())
        }
        false => bail!("check failed: URL={url}, status={}", response.status().as_u16()),
    }
}

/// Looks for the targets of a job, for as long as `timeout`, and prints what relabelling makes of each.
async fn discover(file: &Path, job: &str, timeout: Duration) -> Result<()> {
    let config = config::load(file, Reading::default()).map_err(|error| anyhow!("Cannot load config {error}"))?;
    let Some(job) = config.jobs.iter().find(|known| known.name == job) else {
        let names: String = config.jobs.iter().map(|known| format!("\n\t{}", known.name)).collect();
        bail!("Job {job} not found. Select one of:{names}");
    };
    let (sender, mut updates) = mpsc::channel(16);
    let metrics = scraper::metrics::Metrics::register(&exposition::registry::Registry::new());
    let mut groups: BTreeMap<(usize, String), TargetGroup> = BTreeMap::new();
    let mut running = Vec::new();
    for (number, discovery) in Discovery::all_of(&job.discovery).into_iter().enumerate() {
        if let Discovery::Static(listed) = &discovery {
            let listed = static_groups(listed).into_iter();
            groups.extend(listed.map(|group| ((number, group.source.clone()), group)));
            continue;
        }
        running.push(discovery.start(Sink::new(&job.name, number, sender.clone()), metrics.clone(), USER_AGENT).await?);
    }
    drop(sender);
    if !running.is_empty() {
        let gathered = async {
            while let Some(update) = updates.recv().await {
                for group in update.groups {
                    groups.insert((update.discovery, group.source.clone()), group);
                }
            }
        };
        // The time is up: what was found is all there is to show.
        let _elapsed = tokio::time::timeout(timeout.as_std(), gathered).await;
    }
    running.iter().for_each(tokio::task::JoinHandle::abort);
    let mut shown: Vec<Value> = Vec::new();
    for group in groups.values() {
        for target in &group.targets {
            let discovered = discovered_labels(job, group, target);
            let result = shown_target(discovered.clone(), from_discovered(job, discovered));
            if !shown.contains(&result) {
                shown.push(result);
            }
        }
    }
    say(&serde_json::to_string_pretty(&shown)?);
    Ok(())
}

fn shown_target(discovered: Labels, outcome: Result<Outcome, scraper::target::TargetError>) -> Value {
    match outcome {
        Ok(Outcome::Target(target)) => json!({"discoveredLabels": discovered, "labels": target.labels}),
        Ok(Outcome::Dropped(_)) => json!({"discoveredLabels": discovered, "labels": {}}),
        Err(error) => json!({"discoveredLabels": discovered, "labels": {}, "error": error.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_stand_twice_are_found() {
        let text = "groups:\n- name: a\n  labels: {x: '1'}\n  rules:\n  - {record: r, expr: up}\n- name: b\n  rules:\n  \
            - {record: r, expr: up, labels: {x: '1'}}\n  - {record: r, expr: up}\n";
        let content = rules::config::parse(Path::new("r.yml"), text, rules::config::Reading::default()).unwrap();
        let labels = BTreeMap::from([("x".to_owned(), "1".to_owned())]);
        assert_eq!(duplicates(&content), [("r".to_owned(), labels)]);
    }
}

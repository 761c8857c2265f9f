//! Checks, queries, tests and work on data directories, as `promtool` has them.

mod lint;
mod promql;
mod push;
mod query;
mod testing;
mod tsdb;

pub use self::promql::PromqlCommand;
pub use self::push::PushCommand;
pub use self::query::QueryCommand;
use self::query::ask;
pub use self::testing::TestCommand;
pub use self::tsdb::TsdbCommand;

use std::io::Read as _;
use std::path::PathBuf;

use crate::config::{self, Depth};
use crate::flags::{CheckCommand, ToolCommand};
use crate::web_config;
use anyhow::{Result, bail};

/// Runs one command. What it prints goes to standard output, faults to standard error.
///
/// # Errors
/// If a file is bad or a query fails.
pub async fn run(command: ToolCommand) -> Result<()> {
    match command {
        ToolCommand::Check(CheckCommand::Config { syntax_only, files }) => check_configs(syntax_only, &files),
        ToolCommand::Check(CheckCommand::Metrics { extended, lint }) => check_metrics(extended, lint == "none"),
        ToolCommand::Check(CheckCommand::WebConfig { files }) => check_web_configs(&files),
        ToolCommand::Check(CheckCommand::Rules { files }) => check_rules(&files),
        ToolCommand::Check(CheckCommand::Healthy(server)) => check_server(&server.url, "healthy").await,
        ToolCommand::Check(CheckCommand::Ready(server)) => check_server(&server.url, "ready").await,
        ToolCommand::Test(command) => testing::run(command),
        ToolCommand::Tsdb(command) => tsdb::run(command).await,
        ToolCommand::Promql(command) => promql::run(command),
        ToolCommand::Push(command) => push::run(command).await,
        ToolCommand::Query(command) => query::run(command).await,
    }
}

#[allow(clippy::print_stdout, reason = "a command's output")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "a command's errors")]
fn complain(text: &str) {
    eprintln!("{text}");
}

fn check_configs(syntax_only: bool, files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        say(&format!("Checking {}", file.display()));
        let depth = if syntax_only { Depth::SyntaxOnly } else { Depth::Whole };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                complain(&format!("  FAILED: {}: {error}", file.display()));
                failed += 1;
                continue;
            }
        };
        match config::parse(file, &text, depth) {
            Ok(config) => {
                if depth == Depth::Whole && !config.rule_files.is_empty() {
                    say(&format!("  SUCCESS: {} rule files found", config.rule_files.len()));
                }
                config.not_run.iter().for_each(|told| say(&format!("  WARNING: {told}")));
                say(&format!(" SUCCESS: {} is valid prometheus config file syntax\n", file.display()));
            }
            Err(error) => {
                complain("  FAILED:");
                error.0.iter().for_each(|fault| complain(&format!("    {fault}")));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

/// A page from standard input. Problems of style end with exit code 3.
fn check_metrics(extended: bool, without_lint: bool) -> Result<()> {
    if without_lint && !extended {
        bail!("at least one of --extended or linting must be enabled");
    }
    let mut page = String::new();
    std::io::stdin().read_to_string(&mut page)?;
    let report = lint::report(&page).map_err(|error| anyhow::anyhow!("error while linting: {error}"))?;
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

/// The input is valid and against conventions; exit code 3, as upstream has it.
#[derive(Debug, thiserror::Error)]
#[error("{0} problems found")]
pub struct LintProblems(usize);

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

fn check_rules(files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        say(&format!("Checking {}", file.display()));
        match config::rule_file(file) {
            Ok(content) => {
                let rules: usize = content.groups.iter().map(|group| group.value.rules.len()).sum();
                say(&format!("  SUCCESS: {rules} rules found\n"));
            }
            Err(faults) => {
                complain("  FAILED:");
                faults.iter().for_each(|fault| complain(&format!("    {fault}")));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

/// Asks whether a server is `what`.
async fn check_server(url: &str, what: &str) -> Result<()> {
    let url = format!("{}/-/{what}", url.trim_end_matches('/'));
    let response = reqwest::get(&url).await?;
    match response.status().is_success() {
        true => {
            say(&format!("  SUCCESS: {}", response.text().await?.trim_end()));
            Ok(())
        }
        false => bail!("check failed: URL={url}, status={}", response.status().as_u16()),
    }
}

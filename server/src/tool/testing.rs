//! `tool test`: unit tests of rules, and PromQL scripts.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rules::testing::{Options, Streams};

use super::{Failed, complain, say};
use crate::features::Features;

/// Tests, and where their results go.
#[derive(Debug, Args)]
pub struct TestFlags {
    /// File path to store JUnit XML test results
    #[arg(long, global = true)]
    junit: Option<PathBuf>,
    #[command(subcommand)]
    command: TestCommand,
}

/// The kinds of tests.
#[derive(Debug, Subcommand)]
pub enum TestCommand {
    /// Unit tests for rules
    Rules {
        /// Only run test groups whose names match the regular expression. Can be specified multiple times
        #[arg(long)]
        run: Vec<String>,
        /// Enable unit test debugging
        #[arg(long)]
        debug: bool,
        /// Print colored differential output between expected & received output
        #[arg(long)]
        diff: bool,
        /// Ignore unknown fields in the rule files
        #[arg(long = "ignore-unknown-fields")]
        ignore_unknown_fields: bool,
        /// The unit test files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Scripts in upstream's test language for PromQL
    Promql {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs tests.
///
/// # Errors
/// If one fails or a file cannot be read.
pub fn run(TestFlags { junit, command }: TestFlags, features: &Features) -> Result<()> {
    match command {
        TestCommand::Rules { run, debug, diff, ignore_unknown_fields, files } => {
            let engine = promql::Config {
                language: features.language,
                delayed_name_removal: features.delayed_name_removal,
                ..promql::Config::default()
            };
            let options = Options { run, debug, diff, ignore_unknown_fields, engine, ..Options::default() };
            let mut xml = match &junit {
                Some(path) => Some(std::fs::File::create(path).with_context(|| path.display().to_string())?),
                None => None,
            };
            let mut streams = Streams {
                out: &mut std::io::stdout().lock(),
                err: &mut std::io::stderr().lock(),
                junit: xml.as_mut().map(|file| file as &mut dyn std::io::Write),
            };
            match rules::testing::run(&files, &options, &mut streams)? {
                true => Ok(()),
                false => Err(Failed.into()),
            }
        }
        TestCommand::Promql { files } => scripts(&files),
    }
}

fn scripts(files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report = promql::testing::run_script(&text).with_context(|| file.display().to_string())?;
        say(&format!("{}: {}/{}", file.display(), report.passed, report.total));
        for failure in &report.failures {
            complain(&format!("{}:{}: {}: {}", file.display(), failure.line, failure.query, failure.message));
        }
        failed += report.total - report.passed;
    }
    if failed > 0 { bail!("{failed} evaluations failed") } else { Ok(()) }
}

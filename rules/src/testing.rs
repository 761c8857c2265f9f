//! Unit tests of rules, as `promtool test rules` runs them: files of input series, and what rules and expressions must
//! make of them.
//!
//! ```text
//! test file -> file::TestFile -> rule files, once per test group -> group::Group on a storage in memory
//!   -> input series and evaluations, one step after the other -> alerts and expressions compared -> report, JUnit XML
//! ```
//!
//! Texts are promtool's; what it prints to standard error goes to [`Streams::err`].

mod case;
mod difference;
mod file;
mod glob;
mod junit;
mod report;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::duration::Duration;
use model::pattern::{PatternError, Search};
use net::clock::Clock;

use self::case::Case;
use self::file::TestFile;
use self::junit::Suite;

/// The largest test file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How tests are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only test groups whose name matches one of these regular expressions; all if there are none (`--run`).
    pub run: Vec<String>,
    /// Tells what is done, and shows all series in the end (`--debug`).
    pub debug: bool,
    /// Shows what differs between what was expected and what came, in colours (`--diff`).
    pub diff: bool,
    /// Fields that rule files must not have are skipped (`--ignore-unknown-fields`).
    pub ignore_unknown_fields: bool,
    /// The language and semantics of expressions. Lookback, limits and the interval of subqueries are promtool's.
    pub engine: promql::Config,
    /// For the time of the test run in JUnit XML, and how long tests took.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run: Vec::new(),
            debug: false,
            diff: false,
            ignore_unknown_fields: false,
            engine: promql::Config::default(),
            clock: Clock::System,
        }
    }
}

/// Where results go.
pub struct Streams<'a> {
    /// What promtool prints.
    pub out: &'a mut dyn Write,
    /// Faults, warnings and debugging.
    pub err: &'a mut dyn Write,
    /// JUnit XML, if it is wanted (`--junit`).
    pub junit: Option<&'a mut dyn Write>,
}

/// Why tests could not be run at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// Results could not be written.
    #[error("writing test results: {0}")]
    Write(#[from] io::Error),
    /// `run` is no regular expression.
    #[error("invalid regular expression {pattern:?} for test names: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: PatternError,
    },
}

/// Runs the tests of all files, in their order; `true` if all passed. Blocks.
///
/// # Errors
/// If nothing could be run or results could not be written. Tests that fail are no error.
pub fn run(files: &[PathBuf], options: &Options, streams: &mut Streams<'_>) -> Result<bool, TestError> {
    let pattern = options.run.join("|");
    let filter = match options.run.is_empty() {
        true => None,
        false => Some(Search::new(&pattern).map_err(|reason| TestError::Pattern { pattern, reason })?),
    };
    let mut suites = Vec::new();
    let mut passed = true;
    for path in files {
        writeln!(streams.out, "Unit Testing:  {}", path.display())?;
        let mut suite = Suite::new(path.display().to_string());
        let faults = run_file(path, options, filter.as_ref(), streams.err, &mut suite)?;
        if faults.is_empty() {
            writeln!(streams.out, "  SUCCESS")?;
        } else {
            passed = false;
            writeln!(streams.err, "  FAILED:")?;
            for fault in faults {
                writeln!(streams.err, "{fault}")?;
                writeln!(streams.out)?;
            }
        }
        writeln!(streams.out)?;
        suites.push(suite);
    }
    if let Some(xml) = &mut streams.junit {
        xml.write_all(junit::print(&suites).as_bytes())?;
    }
    Ok(passed)
}

/// Runs the tests of a file; gives what failed.
fn run_file(
    path: &Path,
    options: &Options,
    filter: Option<&Search>,
    err: &mut dyn Write,
    suite: &mut Suite,
) -> Result<Vec<String>, TestError> {
    let file = match TestFile::read(path) {
        Ok(file) => file,
        Err(fault) => {
            suite.abort(&fault);
            return Ok(vec![fault]);
        }
    };
    let mut rule_files = Vec::new();
    for pattern in &file.rule_files {
        let found = glob::matching(path.parent().unwrap_or(Path::new("")), pattern);
        if found.is_empty() {
            writeln!(err, "  WARNING: no file match pattern {pattern}")?;
        }
        rule_files.extend(found);
    }
    suite.begin(options.clock.now_ms());
    if let Some(name) = file.repeated_group() {
        let fault = format!("group name repeated in evaluation order: {name}");
        suite.abort(&fault);
        return Ok(vec![fault]);
    }
    let interval = file.evaluation_interval.filter(|i| !i.is_zero()).unwrap_or(Duration::from_seconds(60));
    let mut faults = Vec::new();
    for (number, group) in file.tests.iter().enumerate() {
        if filter.is_some_and(|filter| !filter.is_match(&group.name)) {
            continue;
        }
        let name = if group.name.is_empty() { format!("unnamed#{number}") } else { group.name.clone() };
        suite.case(&name);
        let case = Case { file: &file, group, name: &name, interval, rule_files: &rule_files, options };
        let failed = case.run(err)?;
        failed.iter().for_each(|fault| suite.fail(fault));
        faults.extend(failed);
    }
    Ok(faults)
}

#[cfg(test)]
mod tests;

//! Checks, queries, tests and work on data directories, as `promtool` has them.

mod check;
mod debug;
mod lint;
mod promql;
mod push;
mod query;
mod testing;
mod token;
mod tsdb;

pub use self::check::{LintFlags, LintProblems};
pub use self::debug::DebugCommand;
pub use self::promql::PromqlCommand;
pub use self::push::PushCommand;
pub use self::query::QueryCommand;
use self::query::ask;
pub use self::testing::{TestCommand, TestsFailed};
pub use self::token::TokenCommand;
pub use self::tsdb::TsdbCommand;

use anyhow::Result;

use crate::flags::ToolCommand;

/// Runs one command. What it prints goes to standard output, faults to standard error.
///
/// # Errors
/// If a file is bad or a query fails.
pub async fn run(command: ToolCommand) -> Result<()> {
    match command {
        ToolCommand::Check(command) => check::run(command).await,
        ToolCommand::Test(command) => testing::run(command),
        ToolCommand::Tsdb(command) => tsdb::run(command).await,
        ToolCommand::Promql(command) => promql::run(command),
        ToolCommand::Push(command) => push::run(command).await,
        ToolCommand::Debug(command) => debug::run(command).await,
        ToolCommand::Token(command) => token::run(command),
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

//! Checks, queries, tests and work on data directories, as `promtool` has them.

mod check;
mod client;
mod debug;
mod lint;
mod promql;
mod push;
mod query;
mod testing;
mod token;
mod tsdb;

pub use self::check::{LintFlags, LintProblems, RuleFileFlags};
pub use self::client::ClientFlags;
pub use self::debug::DebugCommand;
pub use self::promql::PromqlCommand;
pub use self::push::PushFlags;
pub use self::query::QueryFlags;
pub use self::testing::TestFlags;
pub use self::token::TokenCommand;
pub use self::tsdb::TsdbCommand;

use anyhow::Result;

use crate::features::Features;
use crate::flags::{ToolCommand, ToolFlags};

/// Something failed, and has said what.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub struct Failed;

/// Runs one command. What it prints goes to standard output, faults to standard error.
///
/// # Errors
/// If a file is bad or a query fails.
pub async fn run(flags: ToolFlags) -> Result<()> {
    let features = Features::from_names(&flags.features);
    match flags.command {
        ToolCommand::Check(command) => check::run(command, &features).await,
        ToolCommand::Test(flags) => testing::run(flags, &features),
        ToolCommand::Tsdb(command) => tsdb::run(command).await,
        ToolCommand::Promql(command) => promql::run(command),
        ToolCommand::Push(flags) => push::run(flags).await,
        ToolCommand::Debug(command) => debug::run(command).await,
        ToolCommand::Token(command) => token::run(command),
        ToolCommand::Query(flags) => query::run(flags).await,
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

//! `tool promql`: formatting and editing queries.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use model::matcher::MatchOp;

use super::say;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum PromqlCommand {
    /// Format PromQL query to pretty printed form
    Format {
        /// PromQL query
        query: String,
    },
    /// Edit label matchers contained within an existing PromQL query
    #[command(subcommand)]
    LabelMatchers(MatchersCommand),
}

/// What to do with label matchers.
#[derive(Debug, Subcommand)]
pub enum MatchersCommand {
    /// Set a label matcher in the query
    Set {
        /// Type of the label matcher to set
        #[arg(short = 't', long = "type", default_value = "=")]
        op: Op,
        /// PromQL query
        query: String,
        /// Name of the label matcher to set
        name: String,
        /// Value of the label matcher to set
        value: String,
    },
    /// Delete a label from the query
    Delete {
        /// PromQL query
        query: String,
        /// Name of the label to delete
        name: String,
    },
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Op {
    #[value(name = "=")]
    Equal,
    #[value(name = "!=")]
    NotEqual,
    #[value(name = "=~")]
    Regex,
    #[value(name = "!~")]
    NotRegex,
}

impl From<Op> for MatchOp {
    fn from(op: Op) -> Self {
        match op {
            Op::Equal => MatchOp::Equal,
            Op::NotEqual => MatchOp::NotEqual,
            Op::Regex => MatchOp::Regex,
            Op::NotRegex => MatchOp::NotRegex,
        }
    }
}

/// Runs one command.
///
/// # Errors
/// If the query or the matcher is none.
pub fn run(command: PromqlCommand) -> Result<()> {
    let parse = |query: &str| promql::parse_with(query, &promql::Options::all());
    match command {
        PromqlCommand::Format { query } => say(&promql::format(&parse(&query)?)),
        PromqlCommand::LabelMatchers(MatchersCommand::Set { op, query, name, value }) => {
            let mut expr = parse(&query)?;
            promql::set_matcher(&mut expr, op.into(), &name, &value)?;
            say(&promql::format(&expr));
        }
        PromqlCommand::LabelMatchers(MatchersCommand::Delete { query, name }) => {
            let mut expr = parse(&query)?;
            promql::delete_matchers(&mut expr, &name);
            say(&promql::format(&expr));
        }
    }
    Ok(())
}

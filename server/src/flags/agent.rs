//! Agent mode: it scrapes and sends on, and answers no queries.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use model::bytes::ByteSize;
use model::duration::Duration;

use super::{TsdbFlags, WalCompression};

/// What samples are kept for where nothing is said: a receiver may be away that long before the queue's own files count.
const RETENTION: Duration = Duration::from_seconds(4 * 3600);
/// Beginnings of flags that need what an agent does not have.
const OF_SERVERS: [&str; 5] = ["storage.tsdb.", "storage.remote.read-", "query.", "rules.", "alertmanager."];
/// The beginning of flags that only an agent has.
const OF_AGENTS: &str = "storage.agent.";

/// Flags of agent mode.
#[derive(Debug, Clone, Args)]
pub struct AgentFlags {
    /// Run in agent mode: scrape and send on, without queries, rules and alerts
    #[arg(long = "agent")]
    agent: bool,
    /// Base path for metrics storage in agent mode
    #[arg(long = "storage.agent.path", default_value = "data-agent/")]
    agent_path: PathBuf,
    #[arg(long = "storage.agent.wal-compression", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    agent_wal_compression: bool,
    #[arg(long = "storage.agent.wal-compression-type", hide = true, default_value = "snappy")]
    agent_wal_compression_type: WalCompression,
    #[arg(long = "storage.agent.wal-segment-size", hide = true)]
    agent_segment_size: Option<ByteSize>,
    // The log goes when what it held is in a block, and blocks go by their age.
    #[arg(long = "storage.agent.wal-truncate-frequency", hide = true)]
    agent_truncate_frequency: Option<Duration>,
    #[arg(long = "storage.agent.retention.min-time", hide = true)]
    agent_retention_min: Option<Duration>,
    /// Maximum age samples may be before being forgotten in agent mode
    #[arg(long = "storage.agent.retention.max-time", hide = true)]
    agent_retention_max: Option<Duration>,
    #[arg(long = "storage.agent.no-lockfile", hide = true)]
    agent_no_lockfile: bool,
    #[arg(long = "storage.agent.checkpoint-from-in-memory-series", hide = true)]
    agent_checkpoint: bool,
    #[arg(long = "storage.agent.checkpoint-batch-size", hide = true)]
    agent_checkpoint_batch: Option<u64>,
}

/// What the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything.
    #[default]
    Server,
    /// Scraping and sending on.
    Agent,
}

impl Mode {
    /// What the program calls itself, as upstream's does.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Server => "Prometheus Server",
            Mode::Agent => "Prometheus Agent",
        }
    }
}

/// Flags that do not go together with the mode the server runs in; exit code 3, as upstream has it.
#[derive(Debug, thiserror::Error)]
#[error("the following flag(s) can not be used in {mode} mode: {flags:?}")]
pub struct WrongMode {
    mode: &'static str,
    flags: Vec<String>,
}

impl AgentFlags {
    /// The mode, by the switch or by upstream's older feature of that name; `given` are the flags of the command line.
    ///
    /// # Errors
    /// If a flag of the other mode is given.
    pub fn mode(&self, features: &[String], given: &BTreeSet<String>) -> Result<Mode, WrongMode> {
        let is_agent = self.agent || features.iter().any(|feature| feature == "agent");
        let (mode, name) = if is_agent { (Mode::Agent, "agent") } else { (Mode::Server, "server") };
        let is_wrong = |flag: &&String| match mode {
            Mode::Agent => OF_SERVERS.iter().any(|begin| flag.starts_with(begin)),
            Mode::Server => flag.starts_with(OF_AGENTS),
        };
        let flags: Vec<String> = given.iter().filter(is_wrong).map(|flag| format!("--{flag}")).collect();
        if !flags.is_empty() {
            return Err(WrongMode { mode: name, flags });
        }
        if is_agent {
            self.tell_unused();
        }
        Ok(mode)
    }

    fn tell_unused(&self) {
        let set = [
            ("storage.agent.wal-truncate-frequency", self.agent_truncate_frequency.is_some()),
            ("storage.agent.retention.min-time", self.agent_retention_min.is_some()),
            ("storage.agent.checkpoint-from-in-memory-series", self.agent_checkpoint),
            ("storage.agent.checkpoint-batch-size", self.agent_checkpoint_batch.is_some()),
        ];
        for (flag, _) in set.iter().filter(|(_, is_set)| *is_set) {
            tracing::warn!(flag, "this flag is accepted and has no effect here");
        }
    }

    /// The storage of an agent: where, how, and whether it is locked.
    pub fn storage(&self, tsdb: &TsdbFlags) -> (PathBuf, TsdbFlags, tsdb::LockFile) {
        let tsdb = TsdbFlags {
            retention: Some(self.agent_retention_max.unwrap_or(RETENTION)),
            wal_compression: self.agent_wal_compression,
            wal_compression_type: self.agent_wal_compression_type,
            wal_segment_size: self.agent_segment_size,
            ..tsdb.clone()
        };
        let lock = if self.agent_no_lockfile { tsdb::LockFile::None } else { tsdb::LockFile::Lock };
        (self.agent_path.clone(), tsdb, lock)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        agent: AgentFlags,
        #[command(flatten)]
        tsdb: TsdbFlags,
    }

    #[test]
    fn flags_of_the_other_mode_are_refused() {
        let flags = |args: &[&str]| Flags::parse_from(["cresset"].iter().chain(args)).agent;
        let given = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(flags(&[]).mode(&[], &given(&["query.timeout"])).unwrap(), Mode::Server);
        assert_eq!(flags(&["--agent"]).mode(&[], &given(&["agent", "storage.agent.path"])).unwrap(), Mode::Agent);
        assert_eq!(flags(&[]).mode(&["agent".into()], &given(&[])).unwrap(), Mode::Agent);
        let error = flags(&["--agent"]).mode(&[], &given(&["storage.tsdb.path", "query.timeout"])).unwrap_err();
        let told =
            "the following flag(s) can not be used in agent mode: [\"--query.timeout\", \"--storage.tsdb.path\"]";
        assert_eq!(error.to_string(), told);
        let error = flags(&[]).mode(&[], &given(&["storage.agent.path"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the following flag(s) can not be used in server mode: [\"--storage.agent.path\"]"
        );
        let whole = Flags::parse_from(["cresset", "--agent", "--storage.agent.retention.max-time=2h"]);
        let (path, tsdb, _) = whole.agent.storage(&whole.tsdb);
        assert_eq!((path, tsdb.retention), (PathBuf::from("data-agent/"), Some(Duration::from_seconds(7200))));
    }
}

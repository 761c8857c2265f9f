//! Flags of `prometheus` that charts and operators pass and that have nothing to act on here. They are accepted so that
//! command lines go on working; whoever sets one to something that would matter is told.

use clap::{ArgAction, Args};
use model::duration::Duration;

#[derive(Debug, Clone, Args)]
pub struct UnusedFlags {
    // The number of threads follows the container's limits by itself, and so does the memory of queries.
    #[arg(long = "auto-gomaxprocs", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    auto_gomaxprocs: bool,
    #[arg(long = "auto-gomemlimit", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    auto_gomemlimit: bool,
    #[arg(long = "auto-gomemlimit.ratio", hide = true, default_value_t = 0.9)]
    gomemlimit_ratio: f64,
    #[arg(long = "auto-gomemlimit.refresh-interval", hide = true, default_value = "0s")]
    gomemlimit_refresh: Duration,
    // Head chunks are mapped when they are full, without a queue.
    #[arg(long = "storage.tsdb.head-chunks-write-queue-size", hide = true, default_value_t = 0)]
    head_chunks_queue: u64,
    // Overlapping blocks are always compacted into one.
    #[arg(long = "storage.tsdb.allow-overlapping-compaction", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    overlapping_compaction: bool,
    // Blocks written here are known at once, and no other program writes into the directory.
    #[arg(long = "storage.tsdb.block-reload-interval", hide = true, default_value = "1m")]
    block_reload: Duration,
    #[arg(long = "storage.tsdb.delayed-compaction.max-percent", hide = true, default_value_t = 10)]
    delayed_compaction: u32,
    #[arg(long = "storage.tsdb.delay-compact-file.path", hide = true, default_value = "")]
    delay_compact_file: String,
    // Targets that are discovered are scraped at once.
    #[arg(long = "scrape.discovery-reload-interval", hide = true, default_value = "5s")]
    discovery_reload: Duration,
    // Independent rules of a group are evaluated one after the other.
    #[arg(long = "rules.max-concurrent-evals", hide = true, default_value_t = 4)]
    concurrent_evals: u32,
}

impl UnusedFlags {
    /// Tells which flags have no effect.
    pub fn tell(&self) {
        let differing = [
            ("storage.tsdb.head-chunks-write-queue-size", self.head_chunks_queue != 0),
            ("storage.tsdb.allow-overlapping-compaction", !self.overlapping_compaction),
            ("storage.tsdb.block-reload-interval", self.block_reload != Duration::from_seconds(60)),
            ("storage.tsdb.delayed-compaction.max-percent", self.delayed_compaction != 10),
            ("storage.tsdb.delay-compact-file.path", !self.delay_compact_file.is_empty()),
            ("scrape.discovery-reload-interval", self.discovery_reload != Duration::from_seconds(5)),
            ("rules.max-concurrent-evals", self.concurrent_evals != 4),
        ];
        for (flag, _) in differing.iter().filter(|(_, differs)| *differs) {
            tracing::warn!(flag, "this flag is accepted and has no effect here");
        }
    }
}

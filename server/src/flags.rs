//! Flags of each subcommand, with the names and defaults of the program it replaces.

mod agent;
mod kingpin;
mod scrape;
mod unused;
pub mod web;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::bytes::ByteSize;
use model::duration::Duration;

use crate::log::{LogFormat, LogLevel};
use crate::tool::{
    ClientFlags, DebugCommand, LintFlags, PromqlCommand, PushFlags, QueryFlags as ToolQueryFlags, RuleFileFlags,
    TestFlags, TokenCommand, TsdbCommand,
};
pub use agent::{AgentFlags, Mode, WrongMode};
pub use kingpin::normalised;
pub use scrape::ScrapeFlags;
pub use unused::UnusedFlags;
pub use web::{NotificationFlags, RemoteFlags, WebFlags};

/// A whole monitoring stack in one binary.
#[derive(Debug, Parser)]
#[command(name = "cresset", version, propagate_version = true, max_term_width = 120, disable_help_subcommand = true)]
#[command(
    about = "A whole monitoring stack: scraper, time series database, PromQL, alert router, cluster API, exporters.\n\n\
    Without a subcommand everything runs in one process on embedded defaults, data under ./data."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub stack: StackFlags,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The server alone, as `prometheus` would run: scraping, storage, queries, rules
    Server(Box<ServerFlags>),
    /// The alert router alone, as `alertmanager` would run
    Alertmanager(AlertmanagerFlags),
    /// One exporter alone
    #[command(subcommand)]
    Exporter(ExporterCommand),
    /// The cluster API alone
    Cluster(ClusterFlags),
    /// Checks and queries, as `promtool` has them
    Tool(ToolFlags),
}

#[derive(Debug, Subcommand)]
pub enum ExporterCommand {
    /// The machine's metrics, as `node_exporter` would run
    Node(Box<NodeFlags>),
}

/// A tool, and what of the language it knows.
#[derive(Debug, Args)]
pub struct ToolFlags {
    /// Comma separated feature names to enable
    #[arg(long = "enable-feature", value_delimiter = ',', global = true)]
    pub features: Vec<String>,
    /// As promtool wants for some commands; here all of them are enabled
    #[arg(long, global = true)]
    pub experimental: bool,
    #[command(subcommand)]
    pub command: ToolCommand,
}

#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// Check whether files are valid
    #[command(subcommand)]
    Check(CheckCommand),
    /// Run a query against a server
    Query(ToolQueryFlags),
    /// Push to a server
    Push(PushFlags),
    /// Unit testing
    Test(TestFlags),
    /// Run tsdb commands
    #[command(subcommand)]
    Tsdb(TsdbCommand),
    /// Fetch debug information
    #[command(subcommand)]
    Debug(DebugCommand),
    /// API tokens of the server
    #[command(subcommand)]
    Token(TokenCommand),
    /// PromQL formatting and editing
    #[command(subcommand)]
    Promql(PromqlCommand),
}

#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Check configuration files
    Config {
        /// Only the files' own text, not what they name
        #[arg(long = "syntax-only")]
        syntax_only: bool,
        /// Check the files for agent mode
        #[arg(long)]
        agent: bool,
        #[command(flatten)]
        rules: RuleFileFlags,
        #[command(flatten)]
        lint: LintFlags,
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Perform service discovery for the given job name and report the results, including relabeling
    ServiceDiscovery {
        /// The time to wait for discovery results
        #[arg(long, default_value = "30s")]
        timeout: Duration,
        /// The configuration file
        file: PathBuf,
        /// The job to run service discovery for
        job: String,
    },
    /// Check if the server is healthy
    Healthy(ServerUrl),
    /// Check if the server is ready
    Ready(ServerUrl),
    /// Check metrics from standard input against conventions
    Metrics {
        /// Print extended information related to the cardinality of the metrics
        #[arg(long)]
        extended: bool,
        /// Linting checks to apply
        #[arg(long, default_value = "all", value_parser = ["all", "none"])]
        lint: String,
    },
    /// Check if the web config files are valid or not
    WebConfig {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check rule files
    Rules {
        #[command(flatten)]
        rules: RuleFileFlags,
        #[command(flatten)]
        lint: LintFlags,
        /// The files; standard input if there are none
        files: Vec<PathBuf>,
    },
}

/// A server to ask.
#[derive(Debug, Args)]
pub struct ServerUrl {
    /// The URL for the server
    #[arg(long, default_value = "http://localhost:9090")]
    pub url: String,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Only log messages with the given severity or above
    #[arg(id = "log.level", long = "log.level", default_value = "info", global = true)]
    pub level: LogLevel,
    /// Output format of log messages
    #[arg(id = "log.format", long = "log.format", default_value = "logfmt", global = true)]
    pub format: LogFormat,
}

/// Flags of the whole stack.
#[derive(Debug, Clone, Args)]
pub struct StackFlags {
    /// Directory of all data
    #[arg(long = "data.path", default_value = "data")]
    pub data: PathBuf,
    /// Server configuration; the embedded one if absent
    #[arg(long = "config.file")]
    pub config: Option<PathBuf>,
    /// Alert router configuration; the embedded one if absent
    #[arg(long = "alertmanager.config.file")]
    pub alertmanager_config: Option<PathBuf>,
    /// Address of the server
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9090")]
    pub listen: String,
    /// Address of the alert router
    #[arg(long = "alertmanager.listen-address", default_value = "127.0.0.1:9093")]
    pub alertmanager_listen: String,
    /// Address of the node exporter
    #[arg(long = "node.listen-address", default_value = "127.0.0.1:9100")]
    pub node_listen: String,
    /// Address of the cluster API
    #[arg(long = "cluster.listen-address", default_value = "127.0.0.1:6443")]
    pub cluster_listen: String,
    #[command(flatten)]
    pub tsdb: TsdbFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of the storage.
#[derive(Debug, Clone, Args)]
pub struct TsdbFlags {
    /// How long to retain samples in storage; 15d if set nowhere
    #[arg(long = "storage.tsdb.retention.time")]
    pub retention: Option<Duration>,
    /// Maximum number of bytes that can be stored for blocks, with a unit: B, KB, MB, GB, TB, PB, EB
    #[arg(long = "storage.tsdb.retention.size")]
    pub retention_size: Option<ByteSize>,
    /// Compress the write-ahead log
    #[arg(long = "storage.tsdb.wal-compression", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub wal_compression: bool,
    /// How the write-ahead log is compressed
    #[arg(long = "storage.tsdb.wal-compression-type", hide = true, default_value = "snappy")]
    pub wal_compression_type: WalCompression,
    /// Size at which to split write-ahead log segments
    #[arg(long = "storage.tsdb.wal-segment-size", hide = true)]
    pub wal_segment_size: Option<ByteSize>,
    /// The maximum size of a single file of a block's chunks
    #[arg(long = "storage.tsdb.max-block-chunk-segment-size", hide = true)]
    pub block_segment_size: Option<ByteSize>,
    /// Target number of samples per chunk
    #[arg(long = "storage.tsdb.samples-per-chunk", hide = true, default_value_t = 120)]
    pub samples_per_chunk: u16,
    /// Minimum duration of a data block before being persisted
    #[arg(long = "storage.tsdb.min-block-duration", hide = true, default_value = "2h")]
    pub block_range: Duration,
    /// Maximum duration compacted blocks may span; 10% of the retention, 31d at most, if absent
    #[arg(long = "storage.tsdb.max-block-duration", hide = true)]
    pub block_range_max: Option<Duration>,
}

/// How the write-ahead log is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WalCompression {
    /// Fast.
    Snappy,
    /// Small.
    Zstd,
}

/// Flags of the query engine.
#[derive(Debug, Clone, Args)]
pub struct QueryFlags {
    /// Maximum time a query may take before being aborted
    #[arg(long = "query.timeout", default_value = "2m")]
    pub timeout: Duration,
    /// Maximum number of queries executed concurrently
    #[arg(long = "query.max-concurrency", default_value_t = 20)]
    pub concurrency_max: usize,
    /// Maximum number of samples a single query can load into memory
    #[arg(long = "query.max-samples", default_value_t = 50_000_000)]
    pub samples_max: u64,
    /// Maximum number of bytes that all queries together may hold in memory; a quarter of what is available if absent
    #[arg(long = "query.max-memory")]
    pub memory_max: Option<ByteSize>,
    /// Maximum number of bytes that a single query may hold in memory; that of all together if absent
    #[arg(long = "query.max-memory-per-query")]
    pub memory_of_one_max: Option<ByteSize>,
    /// Finished series of a query with many times that are held in memory, in bytes; those beyond wait in a file of the data
    /// directory, without a name, until they are sent
    #[arg(long = "query.max-result-memory", default_value = "32MB")]
    pub result_memory_max: ByteSize,
    /// The maximum lookback duration for retrieving metrics during expression evaluations
    #[arg(long = "query.lookback-delta", default_value = "5m")]
    pub lookback: Duration,
}

/// Flags of the rule engine.
#[derive(Debug, Clone, Args)]
pub struct RuleFlags {
    /// Max time to tolerate outage for restoring "for" state of alert
    #[arg(long = "rules.alert.for-outage-tolerance", default_value = "1h")]
    pub outage_tolerance: Duration,
    /// Minimum duration between alert and restored "for" state; only alerts with a longer "for" are restored
    #[arg(long = "rules.alert.for-grace-period", default_value = "10m")]
    pub grace_period: Duration,
    /// Minimum amount of time to wait before resending an alert to Alertmanager
    #[arg(long = "rules.alert.resend-delay", default_value = "1m")]
    pub resend_delay: Duration,
}

/// Flags of `cresset server`, those of `prometheus`.
#[derive(Debug, Clone, Args)]
pub struct ServerFlags {
    /// Configuration file path
    #[arg(long = "config.file", default_value = "prometheus.yml")]
    pub config: PathBuf,
    /// Replace ${NAME} and ${NAME:-default} in the configuration's values by variables of the environment
    #[arg(long = "config.expand-env")]
    pub expand_env: bool,
    /// Reload the configuration when its file, or one that it names, changes
    #[arg(long = "config.auto-reload")]
    pub auto_reload: bool,
    /// How often they are looked at
    #[arg(long = "config.auto-reload-interval", default_value = "30s")]
    pub auto_reload_interval: Duration,
    /// Base path for metrics storage
    #[arg(long = "storage.tsdb.path", default_value = "data/")]
    pub storage: PathBuf,
    #[command(flatten)]
    pub tsdb: TsdbFlags,
    /// Do not create lockfile in data directory
    #[arg(long = "storage.tsdb.no-lockfile")]
    pub no_lockfile: bool,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub remote: RemoteFlags,
    #[command(flatten)]
    pub notifications: NotificationFlags,
    #[command(flatten)]
    pub scrape: ScrapeFlags,
    #[command(flatten)]
    pub unused: UnusedFlags,
    #[command(flatten)]
    pub agent: AgentFlags,
    /// Comma separated feature names to enable
    #[arg(long = "enable-feature", value_delimiter = ',')]
    pub features: Vec<String>,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `cresset alertmanager`.
#[derive(Debug, Clone, Args)]
pub struct AlertmanagerFlags {
    /// Alertmanager configuration file name
    #[arg(long = "config.file", default_value = "alertmanager.yml")]
    pub config: PathBuf,
    /// Base path for data storage
    #[arg(long = "storage.path", default_value = "data/")]
    pub storage: PathBuf,
    /// How long to keep data for
    #[arg(long = "data.retention", default_value = "120h")]
    pub retention: Duration,
    /// Address to listen on
    #[arg(long = "web.listen-address", default_value = ":9093")]
    pub listen: String,
    /// The URL under which Alertmanager is externally reachable
    #[arg(long = "web.external-url")]
    pub external_url: Option<String>,
    /// Path to configuration file that can enable TLS or authentication
    #[arg(long = "web.config.file", default_value = "")]
    pub web_config: String,
    /// Listen address for cluster peers; only the empty one, which means none, is supported by this version
    #[arg(long = "cluster.listen-address")]
    pub cluster_listen: Option<String>,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `cresset exporter node`.
#[derive(Debug, Clone, Args)]
pub struct NodeFlags {
    /// Addresses on which to expose metrics
    #[arg(long = "web.listen-address", default_value = ":9100")]
    pub listen: String,
    /// Path to configuration file that can enable TLS or authentication
    #[arg(long = "web.config.file", default_value = "")]
    pub web_config: String,
    /// Path under which to expose metrics
    #[arg(long = "web.telemetry-path", default_value = "/metrics")]
    pub path: String,
    /// Maximum number of parallel scrape requests, 0 for no limit
    #[arg(long = "web.max-requests", default_value_t = 40)]
    pub requests_max: usize,
    /// Exclude metrics about the exporter itself
    #[arg(long = "web.disable-exporter-metrics")]
    pub no_own_metrics: bool,
    /// procfs mountpoint
    #[arg(long = "path.procfs", default_value = "/proc")]
    pub procfs: PathBuf,
    /// sysfs mountpoint
    #[arg(long = "path.sysfs", default_value = "/sys")]
    pub sysfs: PathBuf,
    /// rootfs mountpoint
    #[arg(long = "path.rootfs", default_value = "/")]
    pub rootfs: PathBuf,
    /// Set all collectors to disabled by default
    #[arg(long = "collector.disable-defaults")]
    pub disable_defaults: bool,
    /// Collectors to run beside the defaults, or alone after --collector.disable-defaults (also --collector.NAME)
    #[arg(long = "collector", value_name = "NAME", hide = true)]
    pub collectors: Vec<String>,
    /// Collectors not to run (also --no-collector.NAME)
    #[arg(long = "no-collector", value_name = "NAME", hide = true)]
    pub no_collectors: Vec<String>,
    /// Regexp of mount points to exclude for filesystem collector
    #[arg(long = "collector.filesystem.mount-points-exclude")]
    pub mount_points_exclude: Option<String>,
    /// Regexp of filesystem types to exclude for filesystem collector
    #[arg(long = "collector.filesystem.fs-types-exclude")]
    pub fs_types_exclude: Option<String>,
    /// Regexp of devices to exclude for diskstats
    #[arg(long = "collector.diskstats.device-exclude")]
    pub disk_exclude: Option<String>,
    /// Regexp of net devices to exclude
    #[arg(long = "collector.netdev.device-exclude")]
    pub netdev_exclude: Option<String>,
    /// Regexp of net devices to include
    #[arg(long = "collector.netdev.device-include")]
    pub netdev_include: Option<String>,
    /// Regexp of fields to return for vmstat collector
    #[arg(long = "collector.vmstat.fields")]
    pub vmstat_fields: Option<String>,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `cresset cluster`.
#[derive(Debug, Clone, Args)]
pub struct ClusterFlags {
    /// Directory of all data
    #[arg(long = "data.path", default_value = "data")]
    pub data: PathBuf,
    /// Address to listen on
    #[arg(long = "cluster.listen-address", default_value = "0.0.0.0:6443")]
    pub listen: String,
    /// Host that the kubeconfig names; follows from the address if absent
    #[arg(long = "cluster.advertise-host")]
    pub advertise_host: Option<String>,
    #[command(flatten)]
    pub log: LogFlags,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_flag_of_upstream_is_known() {
        Cli::command().debug_assert();
        let given = [
            "--config.file=x",
            "--storage.tsdb.path=y",
            "--web.config.file=w",
            "--web.cors.origin=.*",
            "--web.page-title=t",
            "--web.user-assets=u",
            "--web.read-timeout=1m",
            "--web.search.max-limit=5",
            "--web.max-notifications-subscribers=4",
            "--web.enable-otlp-receiver",
            "--storage.remote.flush-deadline=1m",
            "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest",
            "--storage.remote.read-sample-limit=1",
            "--storage.remote.read-concurrent-limit=2",
            "--storage.remote.read-max-bytes-in-frame=3",
            "--alertmanager.notification-queue-capacity=4",
            "--alertmanager.notification-batch-size=5",
            "--no-alertmanager.drain-notification-queue-on-shutdown",
            "--rules.max-concurrent-evals=4",
            "--no-auto-gomaxprocs",
            "--auto-gomemlimit.ratio=0.8",
            "--storage.tsdb.head-chunks-write-queue-size=0",
            "--storage.tsdb.allow-overlapping-compaction",
            "--storage.tsdb.delay-compact-file.path=f",
            "--storage.tsdb.block-reload-interval=1m",
            "--storage.tsdb.delayed-compaction.max-percent=10",
            "--scrape.discovery-reload-interval=5s",
            "--scrape.adjust-timestamps",
            "--scrape.timestamp-tolerance=3ms",
            "--web.console.templates=consoles",
            "--web.console.libraries=console_libraries",
        ];
        let args = ["cresset", "server"].into_iter().chain(given).map(str::to_owned);
        let cli = Cli::try_parse_from(normalised(args)).unwrap();
        let Some(Command::Server(flags)) = cli.command else { panic!("another command") };
        assert!(!flags.notifications.drain);
        assert_eq!(flags.scrape.tolerance(), Duration::from_millis(3));
        let cli = Cli::try_parse_from(["cresset", "server", "--scrape.adjust-timestamps=false"]).unwrap();
        let Some(Command::Server(flags)) = cli.command else { panic!("another command") };
        assert!(flags.scrape.tolerance().is_zero());
    }
}

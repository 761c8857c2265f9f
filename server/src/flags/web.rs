//! Flags of what the server shows and takes over HTTP, and of what it sends: web, remote storage, notifications.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser};
use model::duration::Duration;

use crate::http::Message;

/// `--web.*`
#[derive(Debug, Clone, Args)]
pub struct WebFlags {
    /// Address to listen on for UI, API, and telemetry
    #[arg(long = "web.listen-address", default_value = "0.0.0.0:9090")]
    pub listen: Vec<String>,
    /// Path to configuration file that can enable TLS or authentication
    #[arg(long = "web.config.file", default_value = "")]
    pub config_file: String,
    /// Path to file of API tokens, with the roles and matchers of each
    #[arg(long = "web.api-tokens.file", default_value = "")]
    pub api_tokens_file: String,
    /// Maximum duration before timing out read of the request, and closing idle connections
    #[arg(long = "web.read-timeout", default_value = "5m")]
    pub read_timeout: Duration,
    /// Maximum number of simultaneous connections
    #[arg(long = "web.max-connections", default_value_t = 512)]
    pub connections_max: usize,
    /// Limits the maximum number of subscribers that can concurrently receive live notifications
    #[arg(long = "web.max-notifications-subscribers", default_value_t = 16)]
    pub subscribers_max: usize,
    /// The URL under which the server is externally reachable
    #[arg(long = "web.external-url")]
    pub external_url: Option<String>,
    /// Prefix for the internal routes of web endpoints; the path of the external URL if absent
    #[arg(long = "web.route-prefix")]
    pub route_prefix: Option<String>,
    /// Path to static asset directory, available at /user
    #[arg(long = "web.user-assets")]
    pub user_assets: Option<PathBuf>,
    /// Enable shutdown and reload via HTTP request
    #[arg(long = "web.enable-lifecycle")]
    pub lifecycle: bool,
    /// Enable API endpoints for admin control actions
    #[arg(long = "web.enable-admin-api")]
    pub admin: bool,
    /// Enable API endpoint accepting remote write requests
    #[arg(long = "web.enable-remote-write-receiver")]
    pub remote_write: bool,
    /// List of the remote write protobuf messages to accept when receiving the remote writes
    #[arg(long = "web.remote-write-receiver.accepted-protobuf-messages", value_delimiter = ',', value_parser = message,
        default_values = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])]
    pub remote_write_messages: Vec<Message>,
    /// Enable API endpoint accepting OTLP write requests
    #[arg(long = "web.enable-otlp-receiver")]
    pub otlp: bool,
    /// Maximum number of results a search may ask for
    #[arg(long = "web.search.max-limit", default_value_t = 10_000)]
    pub search_max: usize,
    /// Document title of the web UI
    #[arg(long = "web.page-title", default_value = "Prometheus Time Series Collection and Processing Server")]
    pub page_title: String,
    /// Regex for CORS origin; it is fully anchored
    #[arg(long = "web.cors.origin", default_value = ".*")]
    pub cors_origin: String,
    // Set by charts and operators; this program has no consoles. Told when set.
    #[arg(long = "web.console.templates", hide = true)]
    pub console_templates: Option<String>,
    #[arg(long = "web.console.libraries", hide = true)]
    pub console_libraries: Option<String>,
}

fn message(name: &str) -> Result<Message, String> {
    Message::from_name(name).ok_or_else(|| {
        let (v1, v2) = (Message::V1.name(), Message::V2.name());
        format!("unknown type for remote write protobuf message {name}, supported: {v1}, {v2}")
    })
}

/// `--storage.remote.*`
#[derive(Debug, Clone, Args)]
pub struct RemoteFlags {
    /// How long to wait flushing sample on shutdown or config reload
    #[arg(long = "storage.remote.flush-deadline", default_value = "1m")]
    pub flush_deadline: Duration,
    /// Maximum overall number of samples to return via the remote read interface, in a single query; 0 for no limit;
    /// streamed answers are not limited
    #[arg(long = "storage.remote.read-sample-limit", default_value_t = 50_000_000)]
    pub read_samples_max: usize,
    /// Maximum number of concurrent remote read calls
    #[arg(long = "storage.remote.read-concurrent-limit", default_value_t = 10)]
    pub reads_max: usize,
    /// Maximum number of bytes in a single frame for streaming remote read response types before marshalling
    #[arg(long = "storage.remote.read-max-bytes-in-frame", default_value_t = 1_048_576)]
    pub frame_bytes_max: usize,
}

/// `--alertmanager.*`
#[derive(Debug, Clone, Args)]
pub struct NotificationFlags {
    /// The capacity of the queue for pending Alertmanager notifications
    #[arg(long = "alertmanager.notification-queue-capacity", default_value_t = 10_000)]
    pub queue_capacity: usize,
    /// The maximum number of notifications per batch to send to the Alertmanager
    #[arg(long = "alertmanager.notification-batch-size", default_value_t = 256)]
    pub batch_size: usize,
    /// Send any outstanding Alertmanager notifications when shutting down
    #[arg(long = "alertmanager.drain-notification-queue-on-shutdown", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub drain: bool,
}

/// The three, for the stack, which has none of these flags.
#[derive(Debug, Parser)]
struct Unset {
    #[command(flatten)]
    web: WebFlags,
    #[command(flatten)]
    remote: RemoteFlags,
    #[command(flatten)]
    notifications: NotificationFlags,
}

/// What holds where no such flag is given.
pub fn defaults() -> (WebFlags, RemoteFlags, NotificationFlags) {
    let Unset { web, remote, notifications } = Unset::parse_from(["cresset"]);
    (web, remote, notifications)
}

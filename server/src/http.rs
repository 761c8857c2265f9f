//! The HTTP API: what Prometheus serves, on what this process runs.

mod access;
mod active;
mod admin;
mod agent;
mod cardinality;
mod cors;
mod envelope;
mod export;
mod features;
mod federate;
mod import;
mod json;
mod labels;
mod lines;
mod negotiate;
mod notifications;
mod observe;
mod openapi;
mod otlp;
mod params;
mod query;
mod remote_read;
mod remote_write;
mod rules;
mod search;
mod self_metrics;
mod slots;
mod status;
mod streamed;
mod targets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::rules::manager::Manager as RuleManager;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{any, delete, get, post};
use exposition::registry::Registry;
use model::duration::Duration;
use model::labels::Labels;
use model::pattern::Pattern;
use net::clock::Clock;
use parking_lot::{Mutex, RwLock};
use promql::Engine;
use promql::active::ActiveQueries;
use scraper::config::JobConfig;
use scraper::manager::Manager as ScrapeManager;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tsdb::Db;

use self::access::Guard;
use self::cors::Origins;
use self::slots::{LOOKUPS_MAX, Turns, WRITES_MAX};
use crate::access::Role;
use crate::config::OtlpConfig;
use crate::features::Features;
use crate::flags::{Mode, WebFlags};
use crate::notifications::Notifications;
use crate::otlp::DeltaState;
use crate::query_log::QueryLog;
use crate::remote::DECODED_BYTES_MAX;
use crate::remote::read::Readable;

pub use export::EXPORTS_MAX;
pub use import::IMPORTS_MAX;
pub use observe::HttpMetrics;
pub use params::parse_time;
pub use remote_read::Limits as ReadLimits;
pub use remote_write::{Message, Metrics as RemoteWriteMetrics};
pub use status::rfc3339;

/// The largest form body of a query.
const FORM_BYTES_MAX: usize = 10 * 1024 * 1024;

/// A request to reload; answered when it is done.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What `status/config`, `/-/ready` and their kin show: changes with each reload.
#[derive(Debug, Default)]
pub struct ConfigStatus {
    /// The configuration in force, secrets masked.
    pub printed: String,
    /// When it was loaded, in milliseconds since the epoch.
    pub loaded_ms: i64,
    /// Whether the last reload succeeded.
    pub last_successful: bool,
    /// The scrape jobs.
    pub jobs: Vec<JobConfig>,
    /// Labels added to what leaves this server.
    pub external_labels: Labels,
    /// How OTLP becomes series.
    pub otlp: Arc<OtlpConfig>,
}

/// Everything the API shows and uses.
pub struct Api {
    /// Where alerts go at this moment.
    pub alertmanagers: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The storage.
    pub db: Arc<Db>,
    /// The storage, and what is read from elsewhere with it.
    pub readable: Arc<Readable>,
    /// The query engine.
    pub engine: Arc<Engine>,
    /// When finished series of a range query leave memory.
    pub spill: promql::Spill,
    /// How long a query may take.
    pub query_timeout: Duration,
    /// Queries that may run at a time; others wait.
    pub query_slots: Arc<Semaphore>,
    /// Targets.
    pub scraper: ScrapeManager,
    /// Rules.
    pub rules: Arc<RuleManager>,
    /// Own metrics.
    pub registry: Registry,
    /// The configuration.
    pub config: RwLock<ConfigStatus>,
    /// Flags and their values.
    pub flags: BTreeMap<String, String>,
    /// When the process started, in milliseconds since the epoch.
    pub started_ms: i64,
    /// Queries that run.
    pub queries: Arc<ActiveQueries>,
    /// Where queries are logged, if that is configured.
    pub query_log: Arc<QueryLog>,
    /// Experimental parts.
    pub features: Features,
    /// The time.
    pub clock: Clock,
    /// Where reload requests go.
    pub reloads: mpsc::Sender<ReloadRequest>,
    /// Told to end the program.
    pub quit: Arc<Notify>,
    /// Whether queries are answered yet.
    pub ready: AtomicBool,
    /// `--web.*`
    pub web: WebFlags,
    /// Origins of other pages that may read answers (`--web.cors.origin`).
    pub cors_origin: Pattern,
    /// What is told to whoever looks.
    pub notifications: Arc<Notifications>,
    /// Whether changes of the configuration's files are looked for.
    pub auto_reload: bool,
    /// Counts of requests.
    pub http_metrics: HttpMetrics,
    /// Counts of the remote-write receiver.
    pub remote_write_metrics: RemoteWriteMetrics,
    /// Sums of series that send deltas.
    pub otlp_deltas: Mutex<DeltaState>,
    /// Limits of remote reads.
    pub read_limits: ReadLimits,
    /// Exports at a time: each holds a thread while it is written.
    pub export_slots: Arc<Semaphore>,
    /// Imports at a time.
    pub import_slots: Arc<Semaphore>,
    /// Remote reads answered at a time.
    pub read_slots: Arc<Semaphore>,
    /// The working directory at the start.
    pub cwd: PathBuf,
    /// Where the server is reached.
    pub external_url: String,
    /// What the server is for.
    pub mode: Mode,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
}

/// All routes, under `prefix` (empty, or beginning with a slash and not ending in one).
pub fn routes(api: Arc<Api>, prefix: &str) -> Router {
    let guard = |role: Role, is_confining: bool| {
        from_fn_with_state(Guard { api: Arc::clone(&api), role, is_confining }, access::check)
    };
    let turns = |kind, max| from_fn_with_state(Turns::new(kind, max), slots::wait);
    let v1 = Router::new()
        .merge(
            query_routes().merge(lookup_routes().layer(turns("lookups", LOOKUPS_MAX))).layer(guard(Role::Read, true)),
        )
        .merge(status_routes().layer(guard(Role::Read, false)))
        .merge(write_routes().layer(turns("writes", WRITES_MAX)).layer(guard(Role::Write, false)))
        .merge(admin_routes().layer(guard(Role::Admin, false)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(slots::hurry))
        .layer(from_fn_with_state(Origins::new(api.cors_origin.clone()), cors::mark));
    let seen_by_all = Router::new()
        .route("/federate", get(federate::federate).layer(turns("federation", LOOKUPS_MAX)))
        .route("/version", get(status::version))
        .route("/-/healthy", get(status::healthy))
        .route("/-/ready", get(status::ready))
        .route("/graph", get(page))
        .route("/query", get(page))
        .route("/", get(page))
        .nest_service("/user", user_assets(&api.web));
    let lifecycle = Router::new()
        .route("/-/reload", post(status::reload).put(status::reload).get(posts_only))
        .route("/-/quit", post(status::quit).put(status::quit).get(posts_only));
    let router = Router::new()
        .nest("/api/v1", v1)
        .route("/api/v1/", any(not_found))
        .merge(seen_by_all.layer(guard(Role::Read, true)))
        .merge(Router::new().route("/metrics", get(status::metrics)).layer(guard(Role::Read, false)))
        .merge(lifecycle.layer(guard(Role::Admin, false)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&api), observe::observe));
    let nosniff =
        SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let router = match api.mode {
        Mode::Agent => router.layer(from_fn(agent::refuse)),
        Mode::Server => router,
    };
    let router = router.with_state(api).layer(nosniff).layer(CompressionLayer::new());
    match prefix.trim_end_matches('/') {
        "" => router,
        prefix => {
            let home = format!("{prefix}/");
            Router::new().nest(prefix, router).route("/", get(move || async move { Redirect::temporary(&home) }))
        }
    }
}

/// Upstream's words for a method that an endpoint does not have.
async fn method_not_allowed() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

async fn posts_only() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed")
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found\n")
}

/// What shows series or what belongs to them, with limits of its own or cheap. As with lookups, answers are confined to
/// the series that a token's matchers accept.
fn query_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(query::parse).post(query::parse))
        .route("/metadata", get(targets::metadata))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(targets::target_metadata))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/status/buildinfo", get(status::build))
        .route("/status/walreplay", get(status::wal_replay))
        .route("/features", get(features::list))
        .route("/read", post(remote_read::read))
        .route("/openapi.yaml", get(openapi::show))
}

/// What looks series up without evaluating anything.
fn lookup_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/series", get(labels::series).post(labels::series))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/status/cardinality", get(cardinality::show))
        .route("/search/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/search/label_names", get(search::label_names).post(search::label_names))
        .route("/search/label_values", get(search::label_values).post(search::label_values))
        .route("/export", get(export::export).post(export::export))
}

/// What the server shows of itself as a whole.
fn status_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/targets/relabel_steps", get(targets::relabel_steps))
        .route("/scrape_pools", get(targets::pools))
        .route("/scrape_pools/config", get(targets::pool_config))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtime))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(status::blocks))
        .route("/status/self_metrics", get(self_metrics::list))
        .route("/status/active_queries", get(active::list))
        .route("/notifications", get(notifications::list))
        .route("/notifications/live", get(notifications::live))
}

/// What takes samples.
fn write_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/write", any(remote_write::write))
        .route("/otlp/v1/metrics", post(otlp::metrics))
        .route("/import", post(import::import))
        .layer(DefaultBodyLimit::max(DECODED_BYTES_MAX))
}

/// What changes the storage, or what others do.
fn admin_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/status/active_queries/{id}", delete(active::cancel))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
}

/// The page with a query box, until the web UI arrives.
async fn page(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
        frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(titled(include_str!("../ui/index.html"), &api.web.page_title)))
}

/// The page under the title that is configured.
fn titled(page: &str, title: &str) -> String {
    let escaped = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    page.replace("<title>Cresset</title>", &format!("<title>{escaped}</title>"))
}

/// Files of `--web.user-assets`; nothing is there without it.
fn user_assets(web: &WebFlags) -> Router {
    match &web.user_assets {
        Some(directory) => Router::new().fallback_service(ServeDir::new(directory)),
        None => Router::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_a_text() {
        let page = titled(include_str!("../ui/index.html"), "A <b> & c");
        assert!(page.contains("<title>A &lt;b&gt; &amp; c</title>"));
    }
}

//! What the server says of itself, and what it is told to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use exposition::structured::{families_of, push_protobuf};
use serde::Serialize;
use tokio::sync::oneshot;
use tsdb::{BlockMeta, NamedCount};

use super::Api;
use super::envelope::{ApiError, ErrorType, success};
use super::negotiate::{PageFormat, Wanted};
use super::params::Params;

/// The most entries of each list of `status/tsdb`.
const LIST_MAX: usize = 10_000;

/// A time as the API writes it; out of the calendar's range it is the epoch.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[derive(Serialize)]
struct Yaml<'a> {
    yaml: &'a str,
}

pub(super) async fn config(State(api): State<Arc<Api>>) -> Response {
    success(Yaml { yaml: &api.config.read().printed })
}

pub(super) async fn flags(State(api): State<Arc<Api>>) -> Response {
    success(&api.flags)
}

#[derive(Serialize)]
struct Address {
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alertmanagers {
    active_alertmanagers: Vec<Address>,
    dropped_alertmanagers: Vec<Address>,
}

pub(super) async fn alertmanagers(State(api): State<Arc<Api>>) -> Response {
    let urls = (api.alertmanagers)();
    success(Alertmanagers {
        active_alertmanagers: urls.into_iter().map(|url| Address { url }).collect(),
        dropped_alertmanagers: Vec::new(),
    })
}

#[derive(Serialize)]
struct RuntimeInfo {
    #[serde(rename = "startTime")]
    start_time: String,
    #[serde(rename = "CWD")]
    cwd: String,
    hostname: String,
    #[serde(rename = "serverTime")]
    server_time: String,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
    #[serde(rename = "lastConfigTime")]
    last_config_time: String,
    #[serde(rename = "corruptionCount")]
    corruption_count: u64,
    #[serde(rename = "goroutineCount")]
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    gomaxprocs: usize,
    #[serde(rename = "GOMEMLIMIT")]
    gomemlimit: i64,
    #[serde(rename = "GOGC")]
    gogc: String,
    #[serde(rename = "GODEBUG")]
    godebug: String,
    #[serde(rename = "storageRetention")]
    storage_retention: String,
}

pub(super) async fn runtime(State(api): State<Arc<Api>>) -> Response {
    let config = api.config.read();
    success(RuntimeInfo {
        start_time: rfc3339(api.started_ms),
        cwd: api.cwd.display().to_string(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        server_time: rfc3339(api.clock.now_ms()),
        reload_config_success: config.last_successful,
        last_config_time: rfc3339(config.loaded_ms),
        corruption_count: api.db.instruments().wal.corruptions.value(),
        // Tasks are what comes closest here.
        goroutine_count: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        gomaxprocs: std::thread::available_parallelism().map_or(1, usize::from),
        gomemlimit: i64::MAX,
        gogc: String::new(),
        godebug: String::new(),
        storage_retention: crate::storage::shown(&api.db.retention()),
    })
}

/// The version of Prometheus whose API this is: clients decide by it what they may ask.
pub const API_VERSION: &str = "3.14.0";

fn build_info() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("version", API_VERSION.to_owned()),
        ("revision", format!("cresset-{}", env!("CARGO_PKG_VERSION"))),
        ("branch", String::new()),
        ("buildUser", String::new()),
        ("buildDate", String::new()),
        ("goVersion", String::new()),
    ])
}

pub(super) async fn build() -> Response {
    success(build_info())
}

pub(super) async fn version() -> Response {
    axum::Json(build_info()).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TsdbStatus {
    head_stats: HeadStats,
    series_count_by_metric_name: Vec<Stat>,
    label_value_count_by_label_name: Vec<Stat>,
    memory_in_bytes_by_label_name: Vec<Stat>,
    series_count_by_label_value_pair: Vec<Stat>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadStats {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Stat {
    name: String,
    value: u64,
}

fn stats(counts: Vec<NamedCount>) -> Vec<Stat> {
    counts.into_iter().map(|count| Stat { name: count.name, value: count.value }).collect()
}

pub(super) async fn tsdb(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let limit = match params.get("limit") {
        "" => 10,
        text => {
            let bad = |text: String| ApiError::new(ErrorType::BadData, text);
            let limit = text.parse().ok().filter(|limit| *limit >= 1);
            let limit = limit.ok_or_else(|| bad("limit must be a positive number".into()))?;
            if limit > LIST_MAX {
                return Err(bad(format!("limit must not exceed {LIST_MAX}")));
            }
            limit
        }
    };
    let db = Arc::clone(&api.db);
    let joined = tokio::task::spawn_blocking(move || (db.head_statistics(), db.top_lists(limit)));
    let (head, lists) = joined.await.map_err(|e| ApiError::new(ErrorType::Internal, e.to_string()))?;
    Ok(success(TsdbStatus {
        head_stats: HeadStats {
            num_series: head.series,
            num_label_pairs: head.label_pairs,
            chunk_count: head.chunks,
            min_time: head.min_time,
            max_time: head.max_time,
        },
        series_count_by_metric_name: stats(lists.series_by_metric_name),
        label_value_count_by_label_name: stats(lists.label_values_by_label_name),
        memory_in_bytes_by_label_name: stats(lists.memory_bytes_by_label_name),
        series_count_by_label_value_pair: stats(lists.series_by_label_pair),
    }))
}

#[derive(Serialize)]
struct Blocks {
    blocks: Vec<Arc<BlockMeta>>,
}

/// What each block says of itself in its `meta.json`.
pub(super) async fn blocks(State(api): State<Arc<Api>>) -> Response {
    success(Blocks { blocks: api.db.block_metas() })
}

#[derive(Serialize)]
struct WalReplay {
    min: u64,
    max: u64,
    current: u64,
}

/// How far the replay of the log has come; queries are answered meanwhile.
pub(super) async fn wal_replay(State(api): State<Arc<Api>>) -> Response {
    let (min, max, current) = api.db.config().replay_progress.segments();
    success(WalReplay { min, max, current })
}

/// Own metrics, in the form that the client asks for. Their names need no escaping.
pub(super) async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let wanted = Wanted::new(&headers, &[PageFormat::Text, PageFormat::OpenMetrics, PageFormat::Protobuf]);
    let page = match wanted.format {
        PageFormat::Text => api.registry.text().map(String::into_bytes).map_err(|error| error.to_string()),
        PageFormat::OpenMetrics => {
            api.registry.openmetrics().map(String::into_bytes).map_err(|error| error.to_string())
        }
        PageFormat::Protobuf => {
            let text = api.registry.text().map_err(|error| error.to_string());
            text.and_then(|page| families_of(&page)).map(|families| {
                let mut page = Vec::new();
                families.iter().for_each(|family| push_protobuf(family, wanted.escaping, &mut page));
                page
            })
        }
    };
    match page {
        Ok(page) => ([(header::CONTENT_TYPE, wanted.content_type())], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

pub(super) async fn healthy(State(api): State<Arc<Api>>) -> String {
    format!("{} is Healthy.\n", api.mode.name())
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    if api.ready.load(Ordering::Acquire) {
        return format!("{} is Ready.\n", api.mode.name()).into_response();
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-prometheus-stopping", header::HeaderValue::from_static("false"));
    (StatusCode::SERVICE_UNAVAILABLE, headers, "Service Unavailable").into_response()
}

const NO_LIFECYCLE: &str = "Lifecycle API is not enabled.";

pub(super) async fn reload(State(api): State<Arc<Api>>) -> Response {
    if !api.web.lifecycle {
        return (StatusCode::FORBIDDEN, NO_LIFECYCLE).into_response();
    }
    let (reply, answer) = oneshot::channel();
    let result = match api.reloads.send(reply).await {
        Ok(()) => answer.await.unwrap_or_else(|_| Err("the server is stopping".into())),
        Err(_) => Err("the server is stopping".into()),
    };
    match result {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response()
        }
    }
}

pub(super) async fn quit(State(api): State<Arc<Api>>) -> Response {
    if !api.web.lifecycle {
        return (StatusCode::FORBIDDEN, NO_LIFECYCLE).into_response();
    }
    api.quit.notify_one();
    "Requesting termination... Goodbye!".into_response()
}

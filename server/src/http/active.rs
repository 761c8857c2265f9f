//! Queries that run: the list, and ending one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, ErrorType, success};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    id: u64,
    query: String,
    /// Seconds since the epoch.
    started: f64,
    /// How long it has run.
    seconds: f64,
    /// What it holds in memory, and the most it held.
    bytes: u64,
    peak_bytes: u64,
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    let now = api.clock.now_ms();
    let queries = api.queries.list().into_iter().map(|query| Query {
        id: query.id,
        query: query.query,
        started: query.started.0 as f64 / 1000.0,
        seconds: (now - query.started.0).max(0) as f64 / 1000.0,
        bytes: query.bytes,
        peak_bytes: query.peak_bytes,
    });
    success(queries.collect::<Vec<_>>())
}

pub(super) async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let number: u64 = id.parse().map_err(|_| ApiError::parameter("id", format!("{id:?} is no number")))?;
    match api.queries.cancel(number) {
        true => Ok(success(serde_json::Value::Null)),
        false => Err(ApiError::new(ErrorType::NotFound, format!("no query with id {number} is running"))),
    }
}

//! What an agent does not answer.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::envelope::{ApiError, ErrorType};

/// What needs samples, rules or alerts, by its place under `/api/v1`.
const UNAVAILABLE: [&str; 26] = [
    "/query",
    "/query_range",
    "/query_exemplars",
    "/format_query",
    "/parse_query",
    "/labels",
    "/label/{name}/values",
    "/series",
    "/alertmanagers",
    "/alerts",
    "/rules",
    "/read",
    "/export",
    "/import",
    "/search/metric_names",
    "/search/label_names",
    "/search/label_values",
    "/status/tsdb",
    "/status/tsdb/blocks",
    "/status/cardinality",
    "/status/active_queries",
    "/status/active_queries/{id}",
    "/admin/tsdb/delete_series",
    "/admin/tsdb/clean_tombstones",
    "/admin/tsdb/snapshot",
    "/federate",
];

/// Refuses what an agent has no answer to.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let place = path.split_once("/api/v1").map_or(path, |(_, place)| place);
    if UNAVAILABLE.contains(&place) || place.ends_with("/federate") {
        return ApiError::new(ErrorType::Execution, "unavailable with Prometheus Agent").into_response();
    }
    next.run(request).await
}

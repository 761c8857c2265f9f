//! Queries: instant and range, on the blocking pool, cancelled when the client goes.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use model::duration::Duration;
use model::sample::Timestamp;
use promql::{CancelToken, QueryOptions, QueryResult};

use super::Api;
use super::envelope::{ApiError, ErrorType, success, success_raw};
use super::json::query_data;
use super::params::Params;

/// The most points per series of a range query.
const POINTS_MAX: i64 = 11_000;

pub(super) async fn instant(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit("limit")?;
    let time = params.time("time")?.unwrap_or(Timestamp(api.clock.now_ms()));
    let query = params.get("query").to_owned();
    let run = move |api: &Api, options: &QueryOptions| api.engine.instant(&*api.db, &query, time, options);
    let result = run_query(&api, &params, run).await?;
    Ok(answer(result, limit))
}

pub(super) async fn range(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit("limit")?;
    let required = |name: &'static str| {
        params.time(name)?.ok_or_else(|| ApiError::parameter(name, "cannot parse \"\" to a valid timestamp"))
    };
    let (start, end) = (required("start")?, required("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step =
        params.duration("step")?.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step.is_zero() {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", text));
    }
    if (end - start) / step.as_millis() > POINTS_MAX {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. \
            Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::new(ErrorType::BadData, text));
    }
    let query = params.get("query").to_owned();
    let run = move |api: &Api, options: &QueryOptions| api.engine.range(&*api.db, &query, start, end, step, options);
    let result = run_query(&api, &params, run).await?;
    Ok(answer(result, limit))
}

pub(super) async fn format(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let expr = api.engine.parse(params.get("query"))?;
    Ok(success(promql::print(&expr)))
}

fn answer(result: QueryResult, limit: usize) -> Response {
    let (data, truncated) = query_data(&result.value, limit);
    let mut annotations = result.annotations;
    if truncated {
        annotations.warn("results truncated due to limit");
    }
    success_raw(&data, &annotations)
}

/// Cancels its query when dropped: axum drops the request's future when the client goes.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a query within its timeout, waiting for a slot included.
async fn run_query(
    api: &Arc<Api>,
    params: &Params,
    run: impl FnOnce(&Api, &QueryOptions) -> Result<QueryResult, promql::Error> + Send + 'static,
) -> Result<QueryResult, ApiError> {
    let asked: Option<Duration> = params.duration("timeout")?;
    let timeout = asked.filter(|t| !t.is_zero()).map_or(api.query_timeout, |t| t.min(api.query_timeout)).as_std();
    let lookback = params.duration("lookback_delta")?.filter(|d| !d.is_zero());
    let deadline = Instant::now() + timeout;
    let slot = tokio::time::timeout(timeout, Arc::clone(&api.query_slots).acquire_owned());
    let slot = match slot.await {
        Ok(Ok(slot)) => slot,
        _ => return Err(ApiError::new(ErrorType::Timeout, "query timed out in query queue")),
    };
    let cancel = CancelToken::with_deadline(move || Instant::now() >= deadline);
    let _cancel = CancelOnDrop(cancel.clone());
    let options = QueryOptions { lookback, cancel, ..QueryOptions::default() };
    let api = Arc::clone(api);
    let joined = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        run(&api, &options)
    });
    match joined.await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "query failed unexpectedly");
            Err(ApiError::new(ErrorType::Internal, "the query failed unexpectedly; the log says more"))
        }
    }
}

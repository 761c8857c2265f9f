//! Queries: instant and range, on the blocking pool, cancelled when the client goes.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::annotations::Annotations;
use model::duration::Duration;
use model::labels::Labels;
use model::number::print_float;
use model::sample::Timestamp;
use model::storage::ExemplarQueryable as _;
use promql::{CancelToken, QueryOptions, QueryResult};
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, ErrorType, envelope_end, number, success, success_raw};
use super::json::{Sink, point_count, write_data};
use super::params::{Params, parse_duration};
use super::streamed::{self, Gone};
use crate::access::Access;
use crate::query_log::LoggedQuery;

/// The most points per series of a range query.
const POINTS_MAX: i64 = 11_000;

pub(super) async fn instant(
    State(api): State<Arc<Api>>,
    access: Access,
    method: Method,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit("limit")?;
    let time = params.time("time")?.unwrap_or(Timestamp(api.clock.now_ms()));
    if params.get("explain") == "true" {
        return explained(&api, &params, time, time, None);
    }
    let query = params.get("query").to_owned();
    let run = move |api: &Api, options: &QueryOptions| {
        api.engine.instant(&access.view(&*api.readable), &query, time, options)
    };
    let asked = Asked { start: time, end: time, step_seconds: 0.0, method, path: "/api/v1/query" };
    Ok(answer(run_query(&api, &params, asked, run).await?, limit, &params))
}

pub(super) async fn range(
    State(api): State<Arc<Api>>,
    access: Access,
    method: Method,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit("limit")?;
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
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
    if params.get("explain") == "true" {
        return explained(&api, &params, start, end, Some(step));
    }
    let query = params.get("query").to_owned();
    let run = move |api: &Api, options: &QueryOptions| {
        api.engine.range(&access.view(&*api.readable), &query, start, end, step, options)
    };
    let asked = Asked { start, end, step_seconds: step.as_seconds(), method, path: "/api/v1/query_range" };
    Ok(answer(run_query(&api, &params, asked, run).await?, limit, &params))
}

pub(super) async fn format(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let expr = api.engine.parse(params.get("query"))?;
    Ok(success(promql::format(&expr)))
}

/// How a query would be run, without running it (`explain=true`).
fn explained(
    api: &Api,
    params: &Params,
    start: Timestamp,
    end: Timestamp,
    step: Option<Duration>,
) -> Result<Response, ApiError> {
    let plan = api.engine.explain(params.get("query"), start, end, step)?;
    Ok(success_raw(&plan.to_json(), &Annotations::new()))
}

pub(super) async fn parse(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let expr = api.engine.parse(params.get("query"))?;
    Ok(success_raw(&promql::to_json(&expr), &Annotations::new()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeriesExemplars {
    series_labels: Labels,
    exemplars: Vec<ShownExemplar>,
}

#[derive(Serialize)]
struct ShownExemplar {
    labels: Labels,
    value: String,
    #[serde(serialize_with = "number")]
    timestamp: f64,
}

/// Exemplars of the series that a query's selectors accept; no content if it has none.
pub(super) async fn exemplars(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
) -> Result<Response, ApiError> {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(ApiError::new(ErrorType::BadData, "end timestamp must not be before start timestamp"));
    }
    let parsed = api.engine.parse(params.get("query"));
    let expr = parsed.map_err(|error| ApiError::new(ErrorType::BadData, error.to_string()))?;
    let selectors: Vec<_> = expr.selectors().into_iter().map(|selector| access.confine(&selector.matchers)).collect();
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let found = api.db.exemplars(start, end, &selectors)?;
    let shown = found.into_iter().map(|(series_labels, exemplars)| SeriesExemplars {
        series_labels,
        exemplars: exemplars
            .into_iter()
            .map(|exemplar| ShownExemplar {
                labels: exemplar.labels,
                value: print_float(exemplar.value),
                timestamp: exemplar.timestamp.map_or(0.0, |time| time.0 as f64 / 1000.0),
            })
            .collect(),
    });
    Ok(success(shown.collect::<Vec<_>>()))
}

/// A result, and how long it took to get.
struct Answered {
    result: QueryResult,
    queued: f64,
    total: f64,
}

/// Results of more points are written while they are sent.
const POINTS_AT_ONCE: usize = 2_000;

/// The answer; a large one is never in memory as a text.
fn answer(answered: Answered, limit: usize, params: &Params) -> Response {
    let stats = params.get("stats");
    let with_stats = !stats.is_empty();
    let mut answered = answered;
    if !matches!(stats, "" | "true" | "all") {
        answered.result.annotations.warn(format!(
            "value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
                use \"true\" or \"all\""
        ));
    }
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    if point_count(&answered.result.value) <= POINTS_AT_ONCE {
        let mut body = Vec::with_capacity(1024);
        if write_answer(&mut body, answered, limit, with_stats).is_err() {
            return ApiError::new(ErrorType::Internal, "the result cannot be read back").into_response();
        }
        return (content_type, body).into_response();
    }
    let body = streamed::body(move |out| write_answer(out, answered, limit, with_stats));
    (content_type, body).into_response()
}

fn write_answer(out: &mut impl Sink, answered: Answered, limit: usize, with_stats: bool) -> Result<(), Gone> {
    let Answered { result, queued, total } = answered;
    out.buffer().extend_from_slice(br#"{"status":"success","data":"#);
    let is_cut = write_data(out, result.value, limit)?;
    let buffer = out.buffer();
    if with_stats {
        buffer.extend_from_slice(format!(r#","stats":{}"#, result.stats.to_json(queued, total)).as_bytes());
    }
    if let Some(plan) = &result.plan {
        buffer.extend_from_slice(format!(r#","plan":{}"#, plan.to_json()).as_bytes());
    }
    buffer.push(b'}');
    let mut annotations = result.annotations;
    if is_cut {
        annotations.warn("results truncated due to limit");
    }
    buffer.extend_from_slice(envelope_end(&annotations).as_bytes());
    out.checkpoint()
}

/// Cancels its query when dropped: axum drops the request's future when the client goes.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What was asked for, for the query log.
struct Asked {
    start: Timestamp,
    end: Timestamp,
    step_seconds: f64,
    method: Method,
    path: &'static str,
}

/// Runs a query within its timeout, waiting for a slot included.
async fn run_query(
    api: &Arc<Api>,
    params: &Params,
    asked: Asked,
    run: impl FnOnce(&Api, &QueryOptions) -> Result<QueryResult, promql::Error> + Send + 'static,
) -> Result<Answered, ApiError> {
    let limit: Option<Duration> = params.duration("timeout")?;
    let timeout = limit.filter(|t| !t.is_zero()).map_or(api.query_timeout, |t| t.min(api.query_timeout)).as_std();
    let lookback = match params.get("lookback_delta") {
        "" => None,
        text => Some(parse_duration(text).map_err(|error| {
            ApiError::new(ErrorType::BadData, format!("error parsing lookback delta duration: {error}"))
        })?),
    };
    let lookback = lookback.filter(|lookback| !lookback.is_zero());
    let began = Instant::now();
    let deadline = began + timeout;
    let slot = tokio::time::timeout(timeout, Arc::clone(&api.query_slots).acquire_owned());
    let slot = match slot.await {
        Ok(Ok(slot)) => slot,
        _ => return Err(ApiError::new(ErrorType::Timeout, "query timed out in query queue")),
    };
    let cancel = CancelToken::with_deadline(move || Instant::now() >= deadline);
    let _cancel = CancelOnDrop(cancel.clone());
    let queued = began.elapsed().as_secs_f64();
    let options = QueryOptions {
        lookback,
        cancel,
        per_step_stats: params.get("stats") == "all" && api.features.per_step_stats,
        analyze: params.get("analyze") == "true",
        uncounted: params.get("stats").is_empty() && params.get("analyze") != "true" && !api.query_log.is_on(),
        clock: Some(Arc::new(move || began.elapsed().as_nanos() as u64)),
        spill: Some(api.spill.clone()),
        ..QueryOptions::default()
    };
    let (api, query) = (Arc::clone(api), params.get("query").to_owned());
    let joined = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let started = Timestamp(api.clock.now_ms());
        let _listed = api.queries.register(&query, started, &options.cancel, &options.usage);
        let result = run(&api, &options)?;
        let Asked { start, end, step_seconds, method, path } = &asked;
        let logged = LoggedQuery {
            query: &query,
            start: *start,
            end: *end,
            step_seconds: *step_seconds,
            stats: &result.stats,
            queued_seconds: queued,
            total_seconds: began.elapsed().as_secs_f64(),
            request: Some((method.as_str(), path)),
        };
        api.query_log.note(Timestamp(api.clock.now_ms()), &logged);
        Ok::<_, promql::Error>(result)
    });
    match joined.await {
        Ok(result) => Ok(Answered { result: result?, queued, total: began.elapsed().as_secs_f64() }),
        Err(error) => {
            tracing::error!(%error, "query failed unexpectedly");
            Err(ApiError::new(ErrorType::Internal, "the query failed unexpectedly; the log says more"))
        }
    }
}

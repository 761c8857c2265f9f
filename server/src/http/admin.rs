//! The admin endpoints of the storage, behind `--web.enable-admin-api`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::sample::Timestamp;
use serde::Serialize;
use tsdb::{Db, WithHead};

use super::Api;
use super::envelope::{ApiError, ErrorType, success};
use super::params::Params;

/// Runs work on the storage where it may block, if the endpoints are enabled.
async fn on_storage<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Db) -> Result<T, tsdb::Error> + Send + 'static,
) -> Result<T, ApiError> {
    if !api.web.admin {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    let db = Arc::clone(&api.db);
    let internal = |text: String| ApiError::new(ErrorType::Internal, text);
    let joined = tokio::task::spawn_blocking(move || work(&db)).await.map_err(|e| internal(e.to_string()))?;
    joined.map_err(|e| internal(e.to_string()))
}

pub(super) async fn delete_series(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    if !api.web.admin {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    params.whole()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::new(ErrorType::BadData, "no match[] parameter provided"));
    }
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    // What a selector accepts goes, be it everything.
    let selectors = params.any_selectors().map_err(|error| ApiError::parameter("match[]", error))?;
    let work =
        move |db: &Db| selectors.iter().try_for_each(|matchers| db.delete_series(start, end, matchers).map(drop));
    on_storage(&api, work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn clean_tombstones(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let now = Timestamp(api.clock.now_ms());
    on_storage(&api, move |db| db.clean_tombstones(now)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct Snapshot {
    name: String,
}

pub(super) async fn snapshot(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    if !api.web.admin {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    let wrong = |error| ApiError::parameter("skip_head", format!("unable to parse boolean: {error}"));
    let with_head = match params.truth("skip_head").map_err(wrong)? {
        Some(true) => WithHead::No,
        Some(false) | None => WithHead::Yes,
    };
    let now = api.clock.now_ms();
    let time = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    // Upstream's form: the time, and what keeps two of one second apart.
    let name = format!("{}-{:016x}", time.strftime("%Y%m%dT%H%M%SZ"), rand::random::<u64>());
    let (folder, at) = (name.clone(), Timestamp(now));
    on_storage(&api, move |db| db.snapshot(&db.directory().join("snapshots").join(folder), with_head, at)).await?;
    Ok(success(Snapshot { name }))
}

//! Notifications: as a list, and live as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use super::Api;
use super::envelope::success;
use crate::notifications::Notification;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    success(api.notifications.list())
}

pub(super) async fn live(State(api): State<Arc<Api>>) -> Response {
    let Some((now, changes)) = api.notifications.subscribe() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    // One that is behind goes on with what is left.
    let changes = BroadcastStream::new(changes).filter_map(Result::ok);
    let events = tokio_stream::iter(now).chain(changes).map(event);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn event(notification: Notification) -> Result<Event, Infallible> {
    // A notification always has a form in JSON.
    Ok(Event::default().data(serde_json::to_string(&notification).unwrap_or_default()))
}

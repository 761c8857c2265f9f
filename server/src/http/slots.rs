//! How many requests of one kind are worked on at a time: the others wait, and are told when they have waited too long.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutBody;

/// Requests for series, labels, values, exemplars and pages of samples.
pub(super) const LOOKUPS_MAX: usize = 40;
/// Requests that bring samples; each may hold a body, packed and unpacked.
pub(super) const WRITES_MAX: usize = 32;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing of a body may come.
const BODY_STALL_MAX: Duration = Duration::from_secs(60);

/// Gives a body up of which nothing comes for too long.
pub(super) async fn hurry(request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(TimeoutBody::new(BODY_STALL_MAX, body)))).await
}

/// Turns of one kind of request.
#[derive(Clone)]
pub(super) struct Turns {
    slots: Arc<Semaphore>,
    kind: &'static str,
    max: usize,
    patience: Duration,
}

impl Turns {
    pub(super) fn new(kind: &'static str, max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), kind, max, patience: PATIENCE }
    }
}

/// Works on a request when it is its turn.
pub(super) async fn wait(State(turns): State<Turns>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(turns.patience, turns.slots.acquire()).await {
        Ok(Ok(_turn)) => next.run(request).await,
        _ => {
            let text = format!("{} requests at a time is the limit of {}\n", turns.max, turns.kind);
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn requests_wait_for_their_turn() {
        let turns = Turns { patience: Duration::from_millis(1), ..Turns::new("naps", 2) };
        let (enter, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let nap = {
            let (enter, entered) = (Arc::clone(&enter), Arc::clone(&entered));
            move || async move {
                entered.add_permits(1);
                enter.acquire().await.unwrap().forget();
            }
        };
        let router = Router::new().route("/", get(nap)).layer(from_fn_with_state(turns, wait));
        let ask = || tokio::spawn(router.clone().oneshot(Request::new(Body::empty())));
        let (first, second) = (ask(), ask());
        entered.acquire_many(2).await.unwrap().forget();
        let third = ask().await.unwrap().unwrap();
        assert_eq!((third.status().as_u16(), &third.headers()["retry-after"]), (503, &"5".parse().unwrap()));
        enter.add_permits(3);
        assert_eq!(first.await.unwrap().unwrap().status(), 200);
        assert_eq!(second.await.unwrap().unwrap().status(), 200);
        assert_eq!(ask().await.unwrap().unwrap().status(), 200, "a turn is free again");
    }
}

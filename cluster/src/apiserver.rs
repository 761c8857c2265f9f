//! The API server: HTTP requests in, objects, tables, streams of events or Status failures out.
//!
//! The way of a request: credentials → path and query (`route`, `options`) → body (`body`) → the rules of objects
//! ([`crate::objects`]) → the representation the client asked for (`reply`). Nothing but health is anonymous.

pub mod authn;
mod body;
mod discovery;
mod negotiate;
mod openapi;
mod options;
mod patch;
mod protobuf;
mod reply;
mod route;
mod selector;
mod stream;
mod table;
mod verbs;
mod version;

pub(crate) use version::git_version;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use net::shutdown::Shutdown;
use tokio::sync::Semaphore;

use crate::api::status::Failure;
use crate::apiserver::authn::Authenticator;
use crate::apiserver::discovery::Discovery;
use crate::apiserver::openapi::OpenApi;
use crate::apiserver::route::Route;
use crate::objects::Objects;

/// Limits of the API server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Watches open at once.
    pub watches_max: usize,
    /// Other requests in work at once.
    pub requests_max: usize,
    /// How long a request other than a watch may take.
    pub request_timeout: Duration,
    /// The most objects of one page, even if the client asks for larger ones. Lists that are not asked for in pages
    /// are whole.
    pub page_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 3 << 20,
            watches_max: 1000,
            requests_max: 400,
            request_timeout: Duration::from_secs(60),
            page_max: 10_000,
        }
    }
}

/// The API server's state, shared by all requests.
pub struct ApiServer {
    objects: Arc<Objects>,
    authenticator: Authenticator,
    discovery: Discovery,
    openapi: OpenApi,
    limits: Limits,
    watches: Arc<Semaphore>,
    requests: Semaphore,
    shutdown: Shutdown,
}

impl ApiServer {
    /// A server of these objects. Watches end when the shutdown signal is raised.
    pub fn new(objects: Arc<Objects>, authenticator: Authenticator, limits: Limits, shutdown: Shutdown) -> Self {
        Self {
            discovery: Discovery::build(),
            openapi: OpenApi::build(objects.schema()),
            objects,
            authenticator,
            limits,
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            requests: Semaphore::new(limits.requests_max),
            shutdown,
        }
    }

    /// The router to serve.
    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(Arc::new(self))
    }

    async fn dispatch(&self, parts: Parts, body: &mut Body) -> Result<Response, Failure> {
        let route = Route::parse(parts.uri.path());
        if matches!(route, Some(Route::Health)) {
            return Ok("ok".into_response());
        }
        self.authenticator.authenticate(&parts.headers)?;
        let route = route.ok_or_else(Failure::no_such_path)?;
        match route {
            Route::Resource(target) => self.resource(target, parts, body).await,
            _ if parts.method != Method::GET && parts.method != Method::HEAD => Err(Failure::method_not_allowed()),
            Route::Health => Ok("ok".into_response()),
            Route::Version => Ok(reply::json(StatusCode::OK, &version::document())),
            Route::OpenApiIndex => Ok(self.openapi.index()),
            Route::OpenApi(group_version) => self.openapi.document(&group_version),
            route => self.discovery.answer(&route, &parts.headers),
        }
    }
}

async fn answer(State(server): State<Arc<ApiServer>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let outcome = server.dispatch(parts, &mut body).await;
    body::drain(&mut body).await;
    match outcome {
        Ok(response) => response,
        Err(failure) => {
            if failure.code >= 500 {
                tracing::warn!(%method, path, code = failure.code, message = failure.message, "request failed");
            } else {
                tracing::debug!(%method, path, code = failure.code, message = failure.message, "request refused");
            }
            failed(&failure)
        }
    }
}

fn failed(failure: &Failure) -> Response {
    let code = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply::json(code, &failure.to_value());
    if let Some(seconds) = failure.details.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if failure.code == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

//! Which roles which endpoints ask for, and whose answers may be confined to some series.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::sample::Timestamp;

use super::Api;
use super::envelope::{ApiError, ErrorType};
use crate::access::{Access, Role};

/// What the gate gave along; everything where it asks for nothing.
impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Access>().cloned().unwrap_or_default())
    }
}

/// Who may call some endpoints.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) api: Arc<Api>,
    pub(super) role: Role,
    /// Whether the answers are confined to the series that a token's matchers accept.
    pub(super) is_confining: bool,
}

/// Lets a request through to its endpoint, or refuses it.
pub(super) async fn check(State(guard): State<Guard>, access: Access, request: Request, next: Next) -> Response {
    if access.is_over(Timestamp(guard.api.clock.now_ms())) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\", error_description=\"expired\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "Unauthorized\n").into_response();
    }
    if !access.has(guard.role) {
        let text = format!("the API token lacks the role {}", guard.role.as_str());
        return ApiError::new(ErrorType::Forbidden, text).into_response();
    }
    if access.is_confined() && !guard.is_confining {
        let text = "the API token is confined by matchers, and this endpoint shows more than series";
        return ApiError::new(ErrorType::Forbidden, text).into_response();
    }
    next.run(request).await
}

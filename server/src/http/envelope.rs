//! The API's envelope: `{"status":"success","data":...}`, and its errors with their codes.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::annotations::Annotations;
use model::storage::StorageError;
use promql::ErrorKind;
use serde::{Serialize, Serializer};

/// What an error is, as `errorType` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorType {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
    NotFound,
    /// Beyond upstream's: an API token does not allow it.
    Forbidden,
}

impl ErrorType {
    fn as_str(self) -> &'static str {
        match self {
            ErrorType::BadData => "bad_data",
            ErrorType::Execution => "execution",
            ErrorType::Canceled => "canceled",
            ErrorType::Timeout => "timeout",
            ErrorType::Internal => "internal",
            ErrorType::Unavailable => "unavailable",
            ErrorType::NotFound => "not_found",
            ErrorType::Forbidden => "forbidden",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // nginx' code for "client closed request", as upstream uses it.
            ErrorType::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            ErrorType::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::NotFound => StatusCode::NOT_FOUND,
            ErrorType::Forbidden => StatusCode::FORBIDDEN,
            ErrorType::Internal | ErrorType::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct ApiError {
    kind: ErrorType,
    text: String,
}

impl ApiError {
    pub(super) fn new(kind: ErrorType, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The text alone, for endpoints outside the envelope.
    pub(super) fn text(self) -> String {
        self.text
    }

    /// A parameter that cannot be, as upstream words it.
    pub(super) fn parameter(name: &str, error: impl std::fmt::Display) -> Self {
        Self::new(ErrorType::BadData, format!("invalid parameter {name:?}: {error}"))
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::new(ErrorType::Internal, error.to_string())
    }
}

impl From<promql::Error> for ApiError {
    fn from(error: promql::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::BadData => ErrorType::BadData,
            ErrorKind::Execution => ErrorType::Execution,
            ErrorKind::Timeout => ErrorType::Timeout,
            ErrorKind::Canceled => ErrorType::Canceled,
            ErrorKind::Internal => ErrorType::Internal,
        };
        match error {
            promql::Error::Parse(error) => Self::parameter("query", error),
            error => Self::new(kind, error.to_string()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    status: &'static str,
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Failure { status: "error", error_type: self.kind.as_str(), error: &self.text };
        (self.kind.status(), axum::Json(body)).into_response()
    }
}

/// A number as Go's encoder writes it: a whole one without a fraction.
pub(super) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    /// Beyond these, not every whole number is one.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
        return serializer.serialize_i64(*value as i64);
    }
    serializer.serialize_f64(*value)
}

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

/// A successful answer.
pub(super) fn success(data: impl Serialize) -> Response {
    axum::Json(Success { status: "success", data }).into_response()
}

/// A successful answer whose data is JSON already.
pub(super) fn success_raw(data: &str, annotations: &Annotations) -> Response {
    let body = format!(r#"{{"status":"success","data":{data}{}"#, envelope_end(annotations));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What stands behind the data of a successful answer: warnings, notes, and the closing brace.
pub(super) fn envelope_end(annotations: &Annotations) -> String {
    let mut end = String::new();
    for (name, texts) in [("warnings", annotations.shown_warnings()), ("infos", annotations.shown_infos())] {
        if let (false, Ok(list)) = (texts.is_empty(), serde_json::to_string(&texts)) {
            end.push_str(&format!(r#","{name}":{list}"#));
        }
    }
    end.push('}');
    end
}

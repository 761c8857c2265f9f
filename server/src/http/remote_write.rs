//! The remote-write receiver, versions 1.0 and 2.0: snappy-compressed protobuf, each request one batch.
//!
//! Unlike upstream's 1.0, a sample that is refused does not take the rest of its request with it: a sender drops what a
//! 400 answers, so the rest would be lost.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use exposition::registry::Registry;
use model::storage::StorageError;
use prometheus_client::metrics::counter::Counter;

use super::Api;
use crate::remote::decode::{self, DecodeError, Incoming};
use crate::remote::ingest::{Ingest, Outcome};
use crate::remote::{DECODED_BYTES_MAX, decompress};

const PROTOBUF: &str = "application/x-protobuf";

/// Which message a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0.
    V2,
}

impl Message {
    /// Its full name, as in content types and flags.
    pub fn name(self) -> &'static str {
        match self {
            Message::V1 => "prometheus.WriteRequest",
            Message::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The message of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Message::V1, Message::V2].into_iter().find(|message| message.name() == name)
    }
}

fn names(messages: &[Message]) -> String {
    messages.iter().map(|message| message.name()).collect::<Vec<_>>().join(", ")
}

/// Counts of the receiver, under Prometheus' names.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    invalid_labels: Counter,
    without_metadata: Counter,
}

impl Metrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|r| {
            r.register(
                "prometheus_api_remote_write_invalid_labels_samples",
                "Samples of remote write requests refused because of their labels",
                metrics.invalid_labels.clone(),
            );
            r.register(
                "prometheus_api_remote_write_without_metadata_appended_samples",
                "Samples of remote write requests stored without metadata",
                metrics.without_metadata.clone(),
            );
        });
        metrics
    }
}

pub(super) async fn write(State(api): State<Arc<Api>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if !api.web.remote_write {
        let text = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n").into_response();
    }
    let message = match negotiate(&headers, &api.web.remote_write_messages) {
        Ok(message) => message,
        Err(text) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text + "\n").into_response(),
    };
    let joined = tokio::task::spawn_blocking(move || {
        let decoded = decompress(&body, DECODED_BYTES_MAX).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
        store(&api, message, &decoded)
    });
    match joined.await {
        Ok(Ok(outcome)) => answer(message, &outcome),
        Ok(Err((code, text))) => (code, text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What was written is told in headers, by the specification of 2.0; refusals are a 400 then too.
fn answer(message: Message, outcome: &Outcome) -> Response {
    let mut response = match outcome.refusal() {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(text) => (StatusCode::BAD_REQUEST, text + "\n").into_response(),
    };
    if message == Message::V2 {
        let written = [
            ("x-prometheus-remote-write-samples-written", outcome.samples),
            ("x-prometheus-remote-write-histograms-written", outcome.histograms),
            ("x-prometheus-remote-write-exemplars-written", outcome.exemplars),
        ];
        for (name, count) in written {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

fn store(api: &Api, message: Message, body: &[u8]) -> Result<Outcome, (StatusCode, String)> {
    let mut ingest = Ingest::begin(&*api.db, api.features.ingest, api.clock.now_ms());
    let mut take = |series: &Incoming<'_>| ingest.series(series);
    let read = match message {
        Message::V1 => decode::v1(body, &mut take),
        Message::V2 => decode::v2(body, &mut take),
    };
    let internal = |error: StorageError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    match read {
        Ok(()) => {}
        Err(DecodeError::Taker(error)) => return Err(internal(error)),
        Err(error) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
    }
    let outcome = ingest.commit().map_err(internal)?;
    api.remote_write_metrics.invalid_labels.inc_by(outcome.with_invalid_labels as u64);
    api.remote_write_metrics.without_metadata.inc_by(outcome.without_metadata as u64);
    Ok(outcome)
}

fn negotiate(headers: &HeaderMap, accepted: &[Message]) -> Result<Message, String> {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("").trim();
    match text(header::CONTENT_ENCODING) {
        "" | "snappy" => {}
        other => {
            return Err(format!(
                "{other} encoding (compression) is not accepted by this server; only snappy is acceptable"
            ));
        }
    }
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';');
    let media_type = parts.next().unwrap_or("");
    if !media_type.is_empty() && media_type.trim() != PROTOBUF {
        return Err(format!("expected {PROTOBUF} as the first (media) part, got {content_type} content-type"));
    }
    let mut message = Message::V1;
    for part in parts {
        let Some((key, value)) = part.split_once('=') else {
            let rule = "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values";
            return Err(format!("{rule}, got {part} in {content_type} content-type"));
        };
        if key.trim() == "proto" {
            let known = Message::from_name(value.trim().trim_matches('"'));
            message = known.ok_or_else(|| {
                let supported = names(&[Message::V1, Message::V2]);
                format!(
                    "got {content_type} content type; unknown type for remote write protobuf message {value}, supported: {supported}"
                )
            })?;
        }
    }
    if !accepted.contains(&message) {
        let (name, accepted) = (message.name(), names(accepted));
        return Err(format!("{name} protobuf message is not accepted by this server; only accepts {accepted}"));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_choose_the_message() {
        let both = [Message::V1, Message::V2];
        let chosen = |content_type: &str, encoding: &str, accepted: &[Message]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
            negotiate(&headers, accepted)
        };
        assert_eq!(negotiate(&HeaderMap::new(), &both), Ok(Message::V1));
        assert_eq!(chosen("application/x-protobuf", "snappy", &both), Ok(Message::V1));
        assert_eq!(chosen("application/x-protobuf;proto=io.prometheus.write.v2.Request", "", &both), Ok(Message::V2));
        assert_eq!(chosen("application/x-protobuf; proto=prometheus.WriteRequest", "", &both), Ok(Message::V1));
        let refused = chosen("application/x-protobuf;proto=io.prometheus.write.v2.Request", "", &[Message::V1]);
        assert_eq!(
            refused.unwrap_err(),
            "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest"
        );
        assert!(chosen("text/plain", "snappy", &both).unwrap_err().contains("got text/plain content-type"));
        assert!(chosen("application/x-protobuf;proto", "", &both).is_err());
        assert!(chosen("application/x-protobuf;proto=x", "", &both).unwrap_err().contains("message x, supported"));
        assert!(chosen("application/x-protobuf", "zstd", &both).unwrap_err().starts_with("zstd encoding"));
    }
}

//! The OTLP receiver (`--web.enable-otlp-receiver`): metrics over HTTP, as protobuf or JSON.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

use super::Api;
use crate::otlp::{Converter, OtlpOptions};
use crate::remote::DECODED_BYTES_MAX;
use crate::remote::ingest::Ingest;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

pub(super) async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.web.otlp {
        let text = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok()).unwrap_or("").to_owned();
    let (content_type, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let joined = tokio::task::spawn_blocking(move || {
        let request = decoded(&content_type, &encoding, &body).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
        store(&api, &request)
    });
    match joined.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err((code, text))) => (code, text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn decoded(content_type: &str, encoding: &str, body: &[u8]) -> Result<ExportMetricsServiceRequest, String> {
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type != JSON && media_type != PROTOBUF {
        return Err(format!("unsupported content type: {content_type}, supported: [{JSON}, {PROTOBUF}]"));
    }
    let plain;
    let body = match encoding {
        "" => body,
        "gzip" => {
            let mut text = Vec::new();
            let limit = DECODED_BYTES_MAX as u64 + 1;
            flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut text).map_err(|e| format!("gzip: {e}"))?;
            plain = text;
            &plain
        }
        other => {
            return Err(format!("unsupported compression: {other}. Only \"gzip\" or no compression supported"));
        }
    };
    if body.len() > DECODED_BYTES_MAX {
        return Err(format!("decoded size exceeds the {DECODED_BYTES_MAX} bytes limit"));
    }
    match media_type {
        JSON => serde_json::from_slice(body).map_err(|error| format!("JSON: {error}")),
        _ => ExportMetricsServiceRequest::decode(body).map_err(|error| error.to_string()),
    }
}

fn store(api: &Api, request: &ExportMetricsServiceRequest) -> Result<(), (StatusCode, String)> {
    let internal = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text);
    let config = Arc::clone(&api.config.read().otlp);
    let now_ms = api.clock.now_ms();
    let mut ingest = Ingest::begin(&*api.db, api.features.ingest, now_ms);
    let options = OtlpOptions {
        config: &config,
        native_delta: api.features.otlp_native_delta,
        deltas: api.features.otlp_delta_to_cumulative.then_some(&api.otlp_deltas),
        type_and_unit: api.features.ingest.type_and_unit,
        lookback_ms: api.engine.config().lookback.as_millis(),
        now_ms,
    };
    let faults = Converter::new(options, &mut ingest).take(request).map_err(|error| internal(error.to_string()))?;
    let outcome = ingest.commit().map_err(|error| internal(error.to_string()))?;
    if !faults.is_empty() {
        return Err(internal(faults.join("\n")));
    }
    outcome.refusal().map_or(Ok(()), |text| Err((StatusCode::BAD_REQUEST, text)))
}

//! The remote-write receiver, version 1: snappy-compressed protobuf, written as one batch.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::{AppendError, Appendable, NewValue};
use prost::Message;

use super::Api;

/// The largest request after decompression.
const DECODED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// `prometheus.WriteRequest`, what this receiver uses of it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`
#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

/// `prometheus.Label`
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `prometheus.Sample`
#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// `prometheus.Histogram`: only that there is one, to refuse it by name.
#[derive(Clone, Copy, PartialEq, Message)]
struct Histogram {}

pub(super) async fn write(State(api): State<Arc<Api>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if !api.remote_write {
        let text = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if let Err(text) = check_headers(&headers) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    let request = match decode(&body) {
        Ok(request) => request,
        Err(text) => return (StatusCode::BAD_REQUEST, text).into_response(),
    };
    let joined = tokio::task::spawn_blocking(move || store(&api, &request));
    match joined.await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err((code, text))) => (code, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok()).unwrap_or("");
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    if !media_type.is_empty() && media_type != "application/x-protobuf" {
        return Err(format!("unsupported content type {content_type:?}\n"));
    }
    if let Some(proto) = parts.find_map(|part| part.strip_prefix("proto="))
        && proto != "prometheus.WriteRequest"
    {
        return Err(format!("unsupported protobuf message {proto:?}, expected prometheus.WriteRequest\n"));
    }
    match text(header::CONTENT_ENCODING) {
        "" | "snappy" => Ok(()),
        other => {
            Err(format!("{other} encoding (compression) is not accepted by this server; only snappy is acceptable\n"))
        }
    }
}

fn decode(body: &[u8]) -> Result<WriteRequest, String> {
    let size = snap::raw::decompress_len(body).map_err(|e| format!("snappy: {e}\n"))?;
    if size > DECODED_BYTES_MAX {
        return Err(format!("request decodes to {size} bytes, more than the limit of {DECODED_BYTES_MAX}\n"));
    }
    let decoded = snap::raw::Decoder::new().decompress_vec(body).map_err(|e| format!("snappy: {e}\n"))?;
    WriteRequest::decode(decoded.as_slice()).map_err(|e| format!("protobuf: {e}\n"))
}

/// Samples that are refused by their time or labels are told in a 400 after all others are stored.
fn store(api: &Api, request: &WriteRequest) -> Result<(), (StatusCode, String)> {
    let mut appender = api.db.appender();
    let mut refused: Option<String> = None;
    for series in &request.timeseries {
        let labels = Labels::from_pairs(series.labels.iter().map(|l| (&l.name, &l.value)));
        let labels = match labels {
            Ok(labels) if labels.contains(model::labels::METRIC_NAME) => labels,
            Ok(labels) => {
                refused.get_or_insert_with(|| format!("invalid labels {labels}: no metric name"));
                continue;
            }
            Err(error) => {
                refused.get_or_insert_with(|| error.to_string());
                continue;
            }
        };
        if !series.histograms.is_empty() {
            refused
                .get_or_insert_with(|| format!("series {labels}: native histograms are not accepted by this version"));
        }
        let mut known = None;
        for sample in &series.samples {
            let at = Timestamp(sample.timestamp);
            let value = NewValue::Float(sample.value);
            let result = match known {
                Some(series) => appender.append_ref(series, at, value),
                None => appender.append(&labels, at, value).map(|series| known = Some(series)),
            };
            match result {
                Ok(()) => {}
                Err(AppendError::Storage(error)) => {
                    return Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
                }
                Err(error) => {
                    refused.get_or_insert_with(|| format!("{error}; series={labels} timestamp={}", sample.timestamp));
                }
            }
        }
    }
    appender.commit().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    refused.map_or(Ok(()), |text| Err((StatusCode::BAD_REQUEST, text + "\n")))
}

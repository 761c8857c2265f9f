//! The remote-read server: samples in one message, or chunks streamed series by series.
//!
//! Format: Prometheus' `prompb/remote.proto`; a streamed answer is a row of frames, each its length as a varint, the
//! CRC32-C of the message, and a `ChunkedReadResponse`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Columns, Order, Queryable, SelectHints, Series, StorageError};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::streamed::{self, BodyWriter, Gone};
use crate::access::Access;
use crate::remote::messages::{
    Chunk, ChunkedReadResponse, ChunkedSeries, Label, LabelMatcher, Query, QueryResult, ReadRequest, ReadResponse,
    ResponseType, Sample, TimeSeries,
};
use crate::remote::{DECODED_BYTES_MAX, decompress, histogram};

const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Limits of reading (`--storage.remote.read-*`).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Samples of one answer that is not streamed; 0 for no limit.
    pub samples: usize,
    /// Bytes of a frame, about.
    pub frame_bytes: usize,
}

/// Why a read failed: what the client is told.
type Failure = (StatusCode, String);

pub(super) async fn read(State(api): State<Arc<Api>>, access: Access, body: Bytes) -> Response {
    let Ok(slot) = Arc::clone(&api.read_slots).acquire_owned().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    };
    let request = match decoded(&body) {
        Ok(request) => request,
        Err(text) => return (StatusCode::BAD_REQUEST, text + "\n").into_response(),
    };
    let accepted = &request.accepted_response_types;
    let known = accepted.iter().find_map(|&number| ResponseType::try_from(number).ok());
    match known {
        Some(ResponseType::StreamedXorChunks) => {
            let body = streamed::body(move |out| streamed_chunks(&api, &access, &request, slot, out));
            ([(header::CONTENT_TYPE, STREAMED)], body).into_response()
        }
        None if !accepted.is_empty() => {
            let text = format!("server does not support any of the requested response types: {accepted:?}");
            (StatusCode::BAD_REQUEST, text + "; supported: SAMPLES, STREAMED_XOR_CHUNKS\n").into_response()
        }
        _ => {
            let joined = tokio::task::spawn_blocking(move || samples(&api, &access, &request, slot));
            let result = joined.await.unwrap_or_else(|e| Err((StatusCode::INTERNAL_SERVER_ERROR, e.to_string())));
            match result {
                Ok(body) => {
                    ([(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")], body)
                        .into_response()
                }
                Err((code, text)) => (code, text + "\n").into_response(),
            }
        }
    }
}

fn decoded(body: &[u8]) -> Result<ReadRequest, String> {
    let body = decompress(body, DECODED_BYTES_MAX)?;
    ReadRequest::decode(body.as_slice()).map_err(|error| format!("protobuf: {error}"))
}

/// The matchers of a query. One that asks for an external label's value asks for a label that storage does not have.
fn matchers(query: &Query, external: &Labels) -> Result<Vec<Matcher>, Failure> {
    query.matchers.iter().map(|wire| matcher(wire, external)).collect()
}

fn matcher(wire: &LabelMatcher, external: &Labels) -> Result<Matcher, Failure> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let op = match wire.r#type {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(bad(format!("invalid matcher type {other} of label {:?}", wire.name))),
    };
    let is_external = op == MatchOp::Equal && external.get(&wire.name) == Some(wire.value.as_str());
    let value = if is_external { "" } else { &wire.value };
    Matcher::new(&wire.name, op, value).map_err(|error| bad(error.to_string()))
}

fn hints(query: &Query) -> SelectHints {
    let Some(hints) = &query.hints else { return SelectHints::default() };
    let has_range = hints.start_ms != 0 || hints.end_ms != 0;
    SelectHints {
        range: has_range.then_some((Timestamp(hints.start_ms), Timestamp(hints.end_ms))),
        step_ms: hints.step_ms,
        window_ms: hints.range_ms,
        function: hints.func.clone(),
        limit: 0,
    }
}

/// Calls `take` with each series of a query, ordered by labels as they are stored.
fn each_series(
    api: &Api,
    access: &Access,
    query: &Query,
    external: &Labels,
    mut take: impl FnMut(Vec<Label>, &dyn Series) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: StorageError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let matchers = matchers(query, external)?;
    let (start, end) = (Timestamp(query.start_timestamp_ms), Timestamp(query.end_timestamp_ms));
    let querier = access.view(&*api.db).querier(start, end).map_err(failed)?;
    let mut set = querier.select(Order::ByLabels, &hints(query), &matchers).map_err(failed)?;
    while let Some(series) = set.advance().map_err(failed)? {
        take(with_external(&series.labels(), external), &*series)?;
    }
    Ok(())
}

/// A series' labels and, where it does not have them itself, those of this server; sorted.
fn with_external(labels: &Labels, external: &Labels) -> Vec<Label> {
    let added = external.iter().filter(|(name, _)| !labels.contains(name));
    let pair = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let mut all: Vec<Label> = labels.iter().chain(added).map(pair).collect();
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    all
}

fn samples(api: &Api, access: &Access, request: &ReadRequest, slot: OwnedSemaphorePermit) -> Result<Vec<u8>, Failure> {
    let _slot = slot;
    let external = api.config.read().external_labels.clone();
    let limit = api.read_limits.samples;
    let mut columns = Columns::default();
    let mut answer = ReadResponse::default();
    for query in &request.queries {
        let mut result = QueryResult::default();
        let mut count = 0;
        each_series(api, access, query, &external, |labels, series| {
            columns.clear();
            series.read(&mut columns).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
            count += columns.len();
            if limit > 0 && count > limit {
                return Err((StatusCode::BAD_REQUEST, format!("exceeded sample limit ({limit})")));
            }
            result.timeseries.push(time_series(labels, &columns));
            Ok(())
        })?;
        answer.results.push(result);
    }
    let compressed = snap::raw::Encoder::new().compress_vec(&answer.encode_to_vec());
    compressed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("snappy: {error}")))
}

fn time_series(labels: Vec<Label>, columns: &Columns) -> TimeSeries {
    let mut series = TimeSeries { labels, ..TimeSeries::default() };
    for (index, &timestamp) in columns.timestamps.iter().enumerate() {
        match columns.histogram_at(index) {
            Some(value) => series.histograms.push(histogram::from_float(value, timestamp)),
            None => {
                series.samples.push(Sample { value: columns.values[index], timestamp, start_timestamp: 0 });
            }
        }
    }
    series
}

/// An error once frames are on their way can only break the answer off.
fn streamed_chunks(
    api: &Api,
    access: &Access,
    request: &ReadRequest,
    slot: OwnedSemaphorePermit,
    out: &mut BodyWriter,
) -> Result<(), Gone> {
    let _slot = slot;
    let external = api.config.read().external_labels.clone();
    let mut columns = Columns::default();
    for (query_index, query) in (0..).zip(&request.queries) {
        let mut gone = false;
        let result = each_series(api, access, query, &external, |labels, series| {
            columns.clear();
            series.read(&mut columns).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
            push_frames(out, labels, &columns, query_index, api.read_limits.frame_bytes).map_err(|Gone| {
                gone = true;
                (StatusCode::INTERNAL_SERVER_ERROR, Gone.to_string())
            })
        });
        match result {
            Err(_) if gone => return Err(Gone),
            Err((_, text)) => {
                out.fail(&text);
                return Ok(());
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// One series, in as many frames as its chunks need.
fn push_frames(
    out: &mut BodyWriter,
    labels: Vec<Label>,
    columns: &Columns,
    query_index: i64,
    frame_bytes: usize,
) -> Result<(), Gone> {
    let labels_bytes: usize = labels.iter().map(Message::encoded_len).sum();
    let room = frame_bytes.saturating_sub(labels_bytes);
    let mut chunks = Vec::new();
    let mut used = 0;
    let mut encoded = tsdb::chunks::encode(columns).into_iter().peekable();
    while let Some(chunk) = encoded.next() {
        let chunk = Chunk {
            min_time_ms: chunk.min_time,
            max_time_ms: chunk.max_time,
            r#type: i32::from(chunk.encoding),
            data: chunk.data,
        };
        used += chunk.encoded_len();
        chunks.push(chunk);
        if used < room && encoded.peek().is_some() {
            continue;
        }
        let series = ChunkedSeries { labels: labels.clone(), chunks: std::mem::take(&mut chunks) };
        push_frame(out, &ChunkedReadResponse { chunked_series: vec![series], query_index })?;
        used = 0;
    }
    Ok(())
}

fn push_frame(out: &mut BodyWriter, message: &ChunkedReadResponse) -> Result<(), Gone> {
    let bytes = message.encode_to_vec();
    let buffer = out.buffer();
    // A vector grows: writing into it cannot fail.
    let _written = prost::encode_length_delimiter(bytes.len(), buffer);
    buffer.extend_from_slice(&checksum(&bytes).to_be_bytes());
    buffer.extend_from_slice(&bytes);
    out.checkpoint()
}

/// CRC32-C, as each frame carries it.
#[expect(clippy::cast_possible_truncation, reason = "a CRC32 has 32 bits")]
fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

//! One destination of remote read: the request, and both kinds of answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Columns, SelectHints};
use net::client::HttpClient;
use prost::Message as _;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use super::{Prepared, asked_labels};
use crate::config::RemoteReadConfig;
use crate::remote::histogram::Decoded;
use crate::remote::messages::{
    ChunkedReadResponse, Label, LabelMatcher, Query, ReadHints, ReadRequest, ReadResponse, ResponseType,
};
use crate::remote::send::headers;
use crate::remote::wire::Fields;

/// Bytes of one answer, compressed or streamed.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Bytes of an answer of samples once it is decompressed.
const SAMPLES_BYTES_MAX: usize = 1 << 30;

/// A destination.
pub(super) struct Source {
    pub(super) name: String,
    /// Matchers a query must have for this destination to be asked.
    pub(super) required: BTreeMap<String, String>,
    pub(super) read_recent: bool,
    filter_external: bool,
    external: Labels,
    client: HttpClient,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    frame_bytes_max: usize,
    runtime: tokio::runtime::Handle,
}

/// Builds the clients of a configuration.
///
/// # Errors
/// If a section is wrong.
pub async fn prepare(configs: &[RemoteReadConfig], external: &Labels, user_agent: &str) -> anyhow::Result<Prepared> {
    let mut sources = Vec::new();
    for config in configs {
        let name = if config.name.is_empty() { config.url.clone() } else { config.name.clone() };
        let url: Url = config.url.parse().with_context(|| format!("remote_read {name}: url"))?;
        let name = if config.name.is_empty() { url.host_str().unwrap_or("").to_owned() } else { name };
        let client = HttpClient::new(config.http_client(), user_agent).await;
        sources.push(Source {
            required: config.required_matchers.clone(),
            read_recent: config.read_recent,
            filter_external: config.filter_external_labels,
            external: external.clone(),
            client: client.with_context(|| format!("remote_read {name}"))?,
            url,
            headers: headers(&config.headers).map_err(anyhow::Error::msg)?,
            timeout: config.remote_timeout.as_std(),
            frame_bytes_max: usize::try_from(config.chunked_read_limit).unwrap_or(usize::MAX),
            runtime: tokio::runtime::Handle::current(),
            name,
        });
    }
    Ok(Prepared(Arc::from(sources)))
}

/// Series as they are merged with the local ones.
type Read = Vec<(Labels, Columns)>;

impl Source {
    /// Asks for series. Blocks: to be called where a query runs, never on an async worker.
    pub(super) fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        matchers: &[Matcher],
        hints: &SelectHints,
    ) -> Result<Read, String> {
        let added = if self.filter_external { asked_labels(&self.external, matchers) } else { Vec::new() };
        let request = request(start, end, matchers, &added, hints);
        let (streamed, body) = self.runtime.block_on(self.ask(&request))?;
        let mut found = if streamed { chunks(&body, self.frame_bytes_max)? } else { samples(&body)? };
        if !added.is_empty() {
            // What was asked for is taken off: local series do not have it either.
            let is_added = |name: &[u8]| added.iter().any(|(added, _)| added.as_bytes() == name);
            found.iter_mut().for_each(|(labels, _)| *labels = labels.filtered(|name| !is_added(name)));
        }
        Ok(found)
    }

    async fn ask(&self, request: &ReadRequest) -> Result<(bool, Vec<u8>), String> {
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).map_err(|e| e.to_string())?;
        let request = self.client.request(Method::POST, &self.url).await.map_err(|e| e.to_string())?;
        let request = request
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .header("accept-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0")
            .body(body);
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            return Err(format!("server returned HTTP status {status}: {}", text.lines().next().unwrap_or("")));
        }
        let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        let streamed = content_type.starts_with("application/x-streamed-protobuf");
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        Ok((streamed, body))
    }
}

fn request(
    start: Timestamp,
    end: Timestamp,
    matchers: &[Matcher],
    added: &[(String, String)],
    hints: &SelectHints,
) -> ReadRequest {
    let wire = |matcher: &Matcher| LabelMatcher {
        r#type: match matcher.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        },
        name: matcher.name().to_owned(),
        value: matcher.value().to_owned(),
    };
    let added = added.iter().map(|(name, value)| LabelMatcher { r#type: 0, name: name.clone(), value: value.clone() });
    let range = hints.range.unwrap_or((start, end));
    let query = Query {
        start_timestamp_ms: start.0,
        end_timestamp_ms: end.0,
        matchers: matchers.iter().map(wire).chain(added).collect(),
        hints: Some(ReadHints {
            step_ms: hints.step_ms,
            func: hints.function.clone(),
            start_ms: range.0.0,
            end_ms: range.1.0,
            range_ms: hints.window_ms,
            ..ReadHints::default()
        }),
    };
    ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![ResponseType::StreamedXorChunks.into(), ResponseType::Samples.into()],
    }
}

fn labels_of(labels: &[Label]) -> Result<Labels, String> {
    Labels::from_pairs(labels.iter().map(|label| (&label.name, &label.value))).map_err(|error| error.to_string())
}

/// An answer of samples.
fn samples(body: &[u8]) -> Result<Read, String> {
    let plain = crate::remote::decompress(body, SAMPLES_BYTES_MAX)?;
    let answer = ReadResponse::decode(plain.as_slice()).map_err(|error| error.to_string())?;
    let mut read = Read::new();
    for series in answer.results.iter().flat_map(|result| &result.timeseries) {
        let floats = series.samples.iter().map(|sample| (sample.timestamp, None, sample.value));
        let histograms = series.histograms.iter().map(|wire| (wire.timestamp, Some(wire), 0.0));
        let mut all: Vec<_> = floats.chain(histograms).collect();
        all.sort_by_key(|(time, ..)| *time);
        all.dedup_by_key(|(time, ..)| *time);
        let mut columns = Columns::default();
        for (time, wire, value) in all {
            match wire.map(Decoded::from) {
                None => columns.push_float(time, value),
                Some(Decoded::Int(histogram)) => columns.push_histogram(time, Arc::new(histogram.to_float())),
                Some(Decoded::Float(histogram)) => columns.push_histogram(time, Arc::new(histogram)),
            }
        }
        read.push((labels_of(&series.labels)?, columns));
    }
    Ok(read)
}

/// A streamed answer: frames of chunks; a series may go on in the next frame.
fn chunks(body: &[u8], frame_bytes_max: usize) -> Result<Read, String> {
    let mut read = Read::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (message, after) = frame(rest, frame_bytes_max, body.len() - rest.len())?;
        rest = after;
        let message = ChunkedReadResponse::decode(message).map_err(|error| error.to_string())?;
        for series in &message.chunked_series {
            let labels = labels_of(&series.labels)?;
            if read.last().is_none_or(|(last, _)| *last != labels) {
                read.push((labels, Columns::default()));
            }
            let Some((_, columns)) = read.last_mut() else { continue };
            for chunk in &series.chunks {
                tsdb::chunks::decode_into(chunk.r#type, &chunk.data, columns).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(read)
}

/// The first frame's message, and what stands behind it.
fn frame(bytes: &[u8], max: usize, offset: usize) -> Result<(&[u8], &[u8]), String> {
    let cut = || format!("frame at byte {offset}: cut");
    let (length, header) = Fields::length_prefix(bytes).ok_or_else(cut)?;
    if length > max {
        return Err(format!(
            "frame at byte {offset}: message size exceeded the limit {max} bytes; got: {length} bytes"
        ));
    }
    let checksum: [u8; 4] = bytes.get(header..header + 4).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
    let message = bytes.get(header + 4..header + 4 + length).ok_or_else(cut)?;
    if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, message) != u64::from(u32::from_be_bytes(checksum)) {
        return Err(format!("frame at byte {offset}: wrong checksum"));
    }
    Ok((message, &bytes[header + 4 + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::messages::{Chunk, ChunkedSeries};

    #[test]
    fn frames_of_one_series_are_joined_and_damage_is_told() {
        let mut body = Vec::new();
        for part in 0..2 {
            let mut columns = Columns::default();
            (0..200).for_each(|i| columns.push_float(part * 200 + i, i as f64));
            let chunks = tsdb::chunks::encode(&columns).into_iter().map(|chunk| Chunk {
                min_time_ms: chunk.min_time,
                max_time_ms: chunk.max_time,
                r#type: i32::from(chunk.encoding),
                data: chunk.data,
            });
            let labels = vec![Label { name: "__name__".into(), value: "a".into() }];
            let series = ChunkedSeries { labels, chunks: chunks.collect() };
            let message = ChunkedReadResponse { chunked_series: vec![series], query_index: 0 }.encode_to_vec();
            prost::encode_length_delimiter(message.len(), &mut body).unwrap();
            let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &message) as u32;
            body.extend_from_slice(&checksum.to_be_bytes());
            body.extend_from_slice(&message);
        }
        let read = chunks(&body, 1 << 20).unwrap();
        assert_eq!((read.len(), read[0].1.len()), (1, 400));
        assert!(chunks(&body, 10).unwrap_err().contains("exceeded the limit 10 bytes"));
        for end in (1..body.len()).step_by(17) {
            drop(chunks(&body[..end], 1 << 20));
        }
        body[20] ^= 1;
        assert!(chunks(&body, 1 << 20).unwrap_err().contains("checksum"));
    }
}

//! Fetching a page: one request with Prometheus' headers, decompressed, every size bounded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use exposition::parse::{Format, FormatError};
use net::client::{ClientError, HttpClient};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::config::{EscapingScheme, JobConfig, ScrapeProtocol};
use crate::gunzip::Gunzip;

/// The largest page that is read where no `body_size_limit` is configured, uncompressed.
pub const BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How much memory is taken ahead for a body that says how long it is.
const BODY_AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// A page as it came.
#[derive(Debug)]
pub struct Page {
    /// Uncompressed.
    pub body: Bytes,
    /// Its grammar.
    pub format: Format,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The request could not be made or was not answered.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The connection failed; the library's chain of causes, without the URL.
    #[error("{0}")]
    Transport(String),
    /// The scrape took longer than its timeout.
    #[error("context deadline exceeded")]
    Timeout,
    /// Not 200.
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    /// More than `body_size_limit`.
    #[error("body size limit exceeded")]
    BodyTooLarge,
    /// The compressed body does not decompress.
    #[error("gzip: {0}")]
    Compression(std::io::Error),
    /// The content type tells no format.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What all requests of a job have in common.
#[derive(Debug)]
pub struct Fetcher {
    accept: HeaderValue,
    compression: bool,
    body_bytes_max: u64,
    fallback: Option<Format>,
    gunzip: Gunzip,
}

impl Fetcher {
    /// For the targets of `job`.
    pub fn new(job: &JobConfig) -> Self {
        let limit = job.limits.body_bytes;
        Self {
            accept: accept_header(&job.protocols, job.escaping),
            compression: job.compression,
            body_bytes_max: if limit == 0 { BODY_BYTES_MAX } else { limit },
            fallback: job.written.fallback_scrape_protocol.map(ScrapeProtocol::format),
            gunzip: Gunzip::default(),
        }
    }

    /// Fetches the page at `url` within `timeout`, connecting included.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, client: &HttpClient, url: &Url, timeout: Duration) -> Result<Page, FetchError> {
        match tokio::time::timeout(timeout, self.fetch_unbounded(client, url, timeout)).await {
            Ok(page) => page,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn fetch_unbounded(&self, client: &HttpClient, url: &Url, timeout: Duration) -> Result<Page, FetchError> {
        let mut request = client
            .request(Method::GET, url)
            .await?
            .header(ACCEPT, self.accept.clone())
            .header(TIMEOUT_HEADER, timeout.as_secs_f64().to_string());
        request = match self.compression {
            true => request.header(ACCEPT_ENCODING, "gzip"),
            false => request.header(ACCEPT_ENCODING, "identity"),
        };
        let mut response = request.send().await.map_err(transport)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let header = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        let format = Format::from_content_type(header(CONTENT_TYPE), self.fallback)?;
        let gzipped = header(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
        let told = response.content_length().unwrap_or(0).min(self.body_bytes_max).min(BODY_AHEAD_BYTES_MAX);
        let mut body = BytesMut::with_capacity(told as usize);
        while let Some(piece) = response.chunk().await.map_err(transport)? {
            if (body.len() + piece.len()) as u64 > self.body_bytes_max {
                return Err(FetchError::BodyTooLarge);
            }
            body.extend_from_slice(&piece);
        }
        let body = if gzipped { self.decompress(&body)? } else { body.freeze() };
        Ok(Page { body, format })
    }

    fn decompress(&self, compressed: &[u8]) -> Result<Bytes, FetchError> {
        let body = self.gunzip.decompress(compressed, self.body_bytes_max).map_err(FetchError::Compression)?;
        body.map(Bytes::from).ok_or(FetchError::BodyTooLarge)
    }
}

/// Each protocol with a falling weight, and anything else last.
fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> HeaderValue {
    let mut weight = protocols.len() + 1;
    let mut parts: Vec<String> = Vec::with_capacity(weight);
    for protocol in protocols {
        let escaping = match protocol.has_escaping() {
            true => format!(";escaping={}", escaping.as_str()),
            false => String::new(),
        };
        parts.push(format!("{}{escaping};q=0.{weight}", protocol.content_type()));
        weight -= 1;
    }
    parts.push(format!("*/*;q=0.{weight}"));
    HeaderValue::from_str(&parts.join(",")).expect("media types are ASCII")
}

/// The innermost causes say what happened ("connection refused"); the URL is known to whoever reads the error.
fn transport(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    FetchError::Transport(text)
}

#[cfg(test)]
mod tests;

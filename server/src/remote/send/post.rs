//! One request on its way: sent until it is answered for good.

use std::time::Duration;

use bytes::Bytes;
use net::backoff::Backoff;
use net::client::HttpClient;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::cloud::Signer;
use crate::config::WriteMessage;

/// Bytes of an answer that are shown in a log.
const ANSWER_SHOWN_MAX: usize = 512;
/// The longest wait that an answer may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Where and how requests are sent.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: HttpClient,
    /// How a cloud provider wants it, beside what the client does.
    pub(super) signer: Option<Signer>,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) message: WriteMessage,
    pub(super) retry_429: bool,
    pub(super) backoff: (Duration, Duration),
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Everything is there.
    Done,
    /// To be tried again, not before the time asked for.
    Again { reason: String, after: Option<Duration> },
    /// Refused for good.
    Refused(String),
}

impl Endpoint {
    /// Sends a request once.
    pub(super) async fn attempt(&self, body: Bytes, message: WriteMessage, number: u32) -> Attempt {
        let again = |reason: String| Attempt::Again { reason, after: None };
        let (content_type, version) = match message {
            WriteMessage::V1 => ("application/x-protobuf", "0.1.0"),
            WriteMessage::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let request = match self.client.request(Method::POST, &self.url).await {
            Ok(request) => request,
            Err(error) => return again(error.to_string()),
        };
        let mut request = request
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .header("content-encoding", "snappy")
            .header("content-type", content_type)
            .header("x-prometheus-remote-write-version", version)
            .body(body);
        if number > 0 {
            request = request.header("retry-attempt", number);
        }
        let (client, built) = request.build_split();
        let mut built = match built {
            Ok(built) => built,
            Err(error) => return again(chain(&error.without_url())),
        };
        if let Some(signer) = &self.signer
            && let Err(reason) = signer.authenticate(&mut built).await
        {
            return again(reason);
        }
        let response = match client.execute(built).await {
            Ok(response) => response,
            // The URL may hold a secret.
            Err(error) => return again(chain(&error.without_url())),
        };
        let status = response.status();
        if status.is_success() {
            return Attempt::Done;
        }
        let after = response.headers().get("retry-after").and_then(retry_after);
        let text = response.text().await.unwrap_or_default();
        let first = text.lines().next().unwrap_or("");
        let shown: String = first.chars().take(ANSWER_SHOWN_MAX).collect();
        let reason = format!("server returned HTTP status {status}: {shown}");
        let is_passing = status.is_server_error() || (status == StatusCode::TOO_MANY_REQUESTS && self.retry_429);
        if is_passing { Attempt::Again { reason, after } } else { Attempt::Refused(reason) }
    }

    /// Sends a request until it is answered; `failed` is told of each attempt that will be repeated.
    ///
    /// # Errors
    /// Why the request is refused for good.
    pub(super) async fn deliver(
        &self,
        body: Bytes,
        message: WriteMessage,
        mut failed: impl FnMut(u32, &str),
    ) -> Result<(), String> {
        let mut backoff = Backoff::new(self.backoff.0, self.backoff.1);
        for number in 0.. {
            match self.attempt(body.clone(), message, number).await {
                Attempt::Done => return Ok(()),
                Attempt::Refused(reason) => return Err(reason),
                Attempt::Again { reason, after } => {
                    failed(number, &reason);
                    let wait = backoff.advance();
                    tokio::time::sleep(after.map_or(wait, |after| after.min(RETRY_AFTER_MAX))).await;
                }
            }
        }
        Err("too many attempts".into())
    }
}

/// An error with its causes: the first alone says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(date.duration_since(jiff::Timestamp::now())).ok()
}

/// Headers of a section, checked when the configuration was read.
///
/// # Errors
/// If one is none after all.
pub fn headers(given: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let pair = |(name, value): (&String, &String)| {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name:?}: {error}"))?;
        let value = HeaderValue::from_str(value).map_err(|error| format!("header {name:?}: {error}"))?;
        Ok((key, value))
    };
    given.iter().map(pair).collect()
}

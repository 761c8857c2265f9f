//! Discovery by asking again and again: what mechanisms that poll have in common.

use std::collections::BTreeSet;
use std::time::Duration;

use model::labels::{Labels, LabelsBuilder};
use net::auth::masked_url;
use net::client::{ClientError, HttpClient};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::Sink;
use crate::metrics::Metrics;
use crate::target::TargetGroup;

/// The largest answer that is read, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefreshError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Answer(String),
    #[error("{name}: {reason}")]
    Lookup { name: String, reason: String },
}

/// Something that can be asked for all targets.
pub(super) trait Refresh: Send {
    /// Its name in metrics and logs.
    const MECHANISM: &'static str;

    /// All groups there are.
    fn refresh(&mut self) -> impl Future<Output = Result<Vec<TargetGroup>, RefreshError>> + Send;
}

/// Asks once an interval until the manager is gone. A refresh that fails keeps the last targets.
pub(super) async fn run<R: Refresh>(mut source: R, interval: Duration, sink: Sink, metrics: Metrics) {
    let labels = vec![("mechanism", R::MECHANISM.to_owned())];
    let mut known: BTreeSet<String> = BTreeSet::new();
    loop {
        match source.refresh().await {
            Ok(mut groups) => {
                let found: BTreeSet<String> = groups.iter().map(|group| group.source.clone()).collect();
                let gone = known.difference(&found);
                groups.extend(gone.map(|source| TargetGroup { source: source.clone(), ..TargetGroup::default() }));
                known = found;
                if !sink.send(groups).await {
                    return;
                }
            }
            Err(error) => {
                metrics.refresh_failures.get_or_create(&labels).inc();
                tracing::error!(mechanism = R::MECHANISM, %error, "unable to refresh target groups");
            }
        }
        tokio::time::sleep(interval).await;
    }
}

/// Gets JSON.
pub(super) async fn json<T: DeserializeOwned>(
    client: &HttpClient,
    url: &Url,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> Result<(T, reqwest::header::HeaderMap), RefreshError> {
    let mut request = client.request(Method::GET, url).await?.timeout(timeout);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() != StatusCode::OK {
        return Err(RefreshError::Answer(format!("{}: server returned HTTP status {}", url.path(), response.status())));
    }
    let answered = response.headers().clone();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(RefreshError::Answer(format!("{}: answer larger than {BODY_BYTES_MAX} bytes", url.path())));
        }
        body.extend_from_slice(&piece);
    }
    let value = serde_json::from_slice(&body).map_err(|e| RefreshError::Answer(format!("{}: {e}", url.path())))?;
    Ok((value, answered))
}

/// A URL from its text.
pub(super) fn url(text: &str) -> Result<Url, RefreshError> {
    Url::parse(text).map_err(|e| RefreshError::Answer(format!("{:?}: {e}", masked_url(text))))
}

/// `host:port`, IPv6 addresses in brackets.
pub(super) fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Collects labels under a prefix; those without a value are left out.
pub(super) struct MetaLabels {
    prefix: &'static str,
    labels: LabelsBuilder,
}

impl MetaLabels {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, labels: LabelsBuilder::new() }
    }

    pub(super) fn address(&mut self, address: &str) -> &mut Self {
        self.labels.set("__address__", address);
        self
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.labels.set(&format!("{}{name}", self.prefix), value);
        self
    }

    pub(super) fn build(&self) -> Labels {
        self.labels.build()
    }
}

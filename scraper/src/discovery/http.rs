//! HTTP discovery: a web server lists target groups as JSON.

use std::time::Duration;

use net::client::HttpClient;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Url};

use super::{Sink, static_group};
use crate::config::{HttpSdConfig, StaticConfig};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

/// The largest answer that is read.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Label with the URL a target was listed at.
const URL_LABEL: &str = "__meta_url";

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Client(#[from] net::client::ClientError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Answer(String),
}

/// Runs until the manager is gone. A refresh that fails keeps the last targets.
pub(super) async fn run(config: HttpSdConfig, client: HttpClient, sink: Sink, metrics: Metrics) {
    let interval = config.refresh_interval.as_std();
    let mut count = 0;
    loop {
        match refresh(&config.url, &client, interval).await {
            Ok(mut groups) => {
                let found = groups.len();
                let gone = (found..count).map(|i| TargetGroup { source: source(&config.url, i), ..Default::default() });
                groups.extend(gone);
                count = found;
                if !sink.send(groups).await {
                    return;
                }
            }
            Err(error) => {
                metrics.http_failures.inc();
                tracing::error!(%error, "unable to refresh target groups");
            }
        }
        tokio::time::sleep(interval).await;
    }
}

fn source(url: &str, index: usize) -> String {
    format!("{url}:{index}")
}

async fn refresh(url: &str, client: &HttpClient, interval: Duration) -> Result<Vec<TargetGroup>, RefreshError> {
    let parsed = Url::parse(url).map_err(|e| RefreshError::Answer(e.to_string()))?;
    let request = client
        .request(Method::GET, &parsed)
        .await?
        .header(ACCEPT, "application/json")
        .header("x-prometheus-refresh-interval-seconds", interval.as_secs_f64().to_string())
        .timeout(interval);
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(RefreshError::Answer(format!("server returned HTTP status {}", response.status())));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return Err(RefreshError::Answer(format!("unsupported content type {content_type:?}")));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(RefreshError::Answer(format!("answer larger than {BODY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    let configs: Vec<StaticConfig> = serde_json::from_slice(&body).map_err(|e| RefreshError::Answer(e.to_string()))?;
    let groups = configs.iter().enumerate().map(|(i, config)| {
        let mut group = static_group(config, source(url, i));
        group.labels = group.labels.to_builder().set(URL_LABEL, url).build();
        group
    });
    Ok(groups.collect())
}

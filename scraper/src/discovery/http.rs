//! HTTP discovery: a web server lists target groups as JSON.

use net::client::{ClientError, HttpClient};

use super::refresh::{Refresh, RefreshError, json, url};
use super::static_group;
use crate::config::{HttpSdConfig, StaticConfig};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

/// Label with the URL a target was listed at.
const URL_LABEL: &str = "__meta_url";

pub(super) struct Http {
    config: HttpSdConfig,
    client: HttpClient,
    metrics: Metrics,
}

impl Http {
    pub(super) async fn new(config: HttpSdConfig, metrics: Metrics, user_agent: &str) -> Result<Self, ClientError> {
        let client = HttpClient::new(config.http_client(), user_agent).await?;
        Ok(Self { config, client, metrics })
    }
}

impl Refresh for Http {
    const MECHANISM: &'static str = "http";

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, RefreshError> {
        let groups = self.groups().await;
        if groups.is_err() {
            self.metrics.http_failures.inc();
        }
        groups
    }
}

impl Http {
    async fn groups(&self) -> Result<Vec<TargetGroup>, RefreshError> {
        let interval = self.config.refresh_interval.as_std();
        let seconds = interval.as_secs_f64().to_string();
        let headers = [("accept", "application/json"), ("x-prometheus-refresh-interval-seconds", seconds.as_str())];
        let address = &self.config.url;
        let (configs, answered) = json::<Vec<StaticConfig>>(&self.client, &url(address)?, &headers, interval).await?;
        let content_type = answered.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
            return Err(RefreshError::Answer(format!("unsupported content type {content_type:?}")));
        }
        let groups = configs.iter().enumerate().map(|(i, config)| {
            let mut group = static_group(config, format!("{address}:{i}"));
            group.labels = group.labels.to_builder().set(URL_LABEL, address).build();
            group
        });
        Ok(groups.collect())
    }
}

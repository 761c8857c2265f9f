//! The webhook receiver: Prometheus' JSON, version 4, by POST.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use model::labels::Labels;
use net::auth::SecretSource;
use net::client::{ClientError, HttpClient, HttpClientConfig};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;

use super::{Failure, Notification, Sender, status};
use crate::alert::{Alert, rfc3339};
use crate::config::WebhookConfig;

/// How much of an answer is quoted in an error.
const ANSWER_CHARS_MAX: usize = 200;
/// How long a request may take where nothing is configured; the group's interval bounds all attempts together.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One endpoint.
#[derive(Debug)]
pub struct Webhook {
    url: SecretSource,
    client: HttpClient,
    max_alerts: usize,
    timeout: Duration,
}

impl Webhook {
    /// From its configuration, which was checked.
    ///
    /// # Errors
    /// If its HTTP client cannot be built.
    pub async fn new(config: &WebhookConfig, http: HttpClientConfig) -> Result<Self, ClientError> {
        let url = SecretSource::from_pair(&config.url, &config.url_file)
            .ok_or_else(|| ClientError::Config("one of url or url_file must be configured".into()))?;
        let client = HttpClient::new(http, concat!("Alertmanager/", env!("CARGO_PKG_VERSION"))).await?;
        let timeout = config.timeout.filter(|t| !t.is_zero()).map_or(DEFAULT_TIMEOUT, |t| t.as_std());
        Ok(Self { url, client, max_alerts: config.max_alerts as usize, timeout })
    }

    async fn post(&self, notification: &Notification) -> Result<(), Failure> {
        let address = self.url.load().await.map_err(|e| Failure::Final(e.to_string()))?;
        let url = Url::parse(address.reveal()).map_err(|_| Failure::Final("the configured url is no URL".into()))?;
        let request = self.client.request(Method::POST, &url).await.map_err(|e| Failure::Final(e.to_string()))?;
        let body = Message::of(notification, self.max_alerts);
        let sent = request.timeout(self.timeout).json(&body).send().await;
        let response = sent.map_err(|e| Failure::Retry(with_causes(&e.without_url())))?;
        let code = response.status();
        if code.is_success() {
            return Ok(());
        }
        let answer = response.text().await.unwrap_or_default();
        let text = format!("unexpected status code {}: {}", code.as_u16(), shortened(&answer));
        match code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS {
            true => Err(Failure::Retry(text)),
            false => Err(Failure::Final(text)),
        }
    }
}

impl Sender for Webhook {
    fn send<'a>(
        &'a self,
        notification: &'a Notification,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>> {
        Box::pin(self.post(notification))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(ANSWER_CHARS_MAX).collect()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The body, as Alertmanager's documentation of webhooks has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<MessageAlert<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
    #[serde(rename = "notification_reason")]
    notification_reason: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// Go's zero time: alerts that go on have no end.
const NO_END: &str = "0001-01-01T00:00:00Z";

impl<'a> Message<'a> {
    fn of(notification: &'a Notification, max_alerts: usize) -> Self {
        let count = notification.alerts.len();
        let shown = if max_alerts == 0 { count } else { count.min(max_alerts) };
        let now_ms = notification.now_ms;
        Self {
            receiver: &notification.receiver,
            status: notification.status(),
            alerts: notification.alerts.iter().take(shown).map(|alert| message_alert(alert, now_ms)).collect(),
            group_labels: &notification.group_labels,
            common_labels: notification.common_labels(),
            common_annotations: common_annotations(&notification.alerts),
            external_url: &notification.external_url,
            version: "4",
            group_key: &notification.group_key,
            truncated_alerts: count - shown,
            notification_reason: notification.reason.as_str(),
        }
    }
}

fn message_alert(alert: &Alert, now_ms: i64) -> MessageAlert<'_> {
    let resolved = alert.is_resolved_at(now_ms);
    MessageAlert {
        status: status(resolved),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.starts_at_ms),
        ends_at: if resolved { rfc3339(alert.ends_at_ms) } else { NO_END.into() },
        generator_url: &alert.generator_url,
        fingerprint: format!("{:016x}", alert.fingerprint()),
    }
}

fn common_annotations(alerts: &[Alert]) -> BTreeMap<&str, &str> {
    let Some((first, rest)) = alerts.split_first() else { return BTreeMap::new() };
    let shared = |(name, value): &(&String, &String)| rest.iter().all(|a| a.annotations.get(*name) == Some(*value));
    first.annotations.iter().filter(shared).map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

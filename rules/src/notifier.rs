//! The notifier: where alerts go once they fire.
//!
//! Two implementations of [`Notifier`]: [`HttpNotifier`] here, for any Alertmanager, and the server's own, which hands
//! alerts to the router in the same process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use jiff::Timestamp as Time;
use model::duration::Duration;
use model::labels::{Labels, LabelsBuilder, NameScheme};
use model::relabel::{self, RelabelConfig, RelabelRule, Verdict};
use net::client::{ClientError, HttpClient};
use net::with_http_client;
use parking_lot::Mutex;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Alerts that may wait for one Alertmanager; the oldest are dropped beyond it.
pub const QUEUE_MAX: usize = 10_000;
/// Alerts sent at once.
pub const BATCH_MAX: usize = 256;
/// How long one request may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_seconds(10);

/// An alert on its way to a router. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at_ms: i64,
    /// Until when it fires if nothing more is heard, or when it ended.
    pub ends_at_ms: i64,
    /// Whether it has ended.
    pub resolved: bool,
    /// Where its expression can be looked at.
    pub generator_url: String,
}

/// Takes alerts. Must not block: it queues.
pub trait Notifier: Send + Sync {
    /// Takes alerts that fire or have ended.
    fn notify(&self, notices: Vec<Notice>);
}

/// The `alerting` section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertingConfig {
    /// Applied to each alert before it is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

with_http_client! {
    /// One entry of `alertmanagers`.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct AlertmanagerConfig {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub timeout: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub api_version: Option<ApiVersion>,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub path_prefix: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scheme: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub static_configs: Vec<Addresses>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub alert_relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub relabel_configs: Vec<RelabelConfig>,
    }
}

/// The API to speak: there is one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiVersion {
    /// `/api/v2/alerts`
    V2,
}

/// Addresses of Alertmanagers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Addresses {
    /// `host:port`.
    pub targets: Vec<String>,
    /// Labels for `relabel_configs`.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Why the section cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifierError {
    /// A rule is wrong.
    #[error("alerting: {0}")]
    Relabel(#[from] relabel::RelabelError),
    /// An address makes no URL.
    #[error("alerting: alertmanager {address:?}: {reason}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A client cannot be built.
    #[error("alerting: {0}")]
    Client(#[from] ClientError),
}

impl AlertingConfig {
    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &std::path::Path) {
        for alertmanager in &mut self.alertmanagers {
            alertmanager.resolve_http_paths(directory);
        }
    }

    /// Checks the section without connecting anywhere.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn validate(&self) -> Result<(), NotifierError> {
        compile(&self.alert_relabel_configs)?;
        for alertmanager in &self.alertmanagers {
            compile(&alertmanager.alert_relabel_configs)?;
            alertmanager.http_client().validate()?;
            urls(alertmanager)?;
        }
        Ok(())
    }
}

fn compile(rules: &[RelabelConfig]) -> Result<Vec<RelabelRule>, relabel::RelabelError> {
    rules.iter().cloned().map(|rule| RelabelRule::new(rule, NameScheme::Utf8)).collect()
}

/// Where the Alertmanagers of a section listen, after relabelling.
fn urls(config: &AlertmanagerConfig) -> Result<Vec<Url>, NotifierError> {
    let rules = compile(&config.relabel_configs)?;
    let prefix = config.path_prefix.trim_matches('/');
    let path = if prefix.is_empty() { "/api/v2/alerts".to_owned() } else { format!("/{prefix}/api/v2/alerts") };
    let mut urls = Vec::new();
    for group in &config.static_configs {
        for address in &group.targets {
            let mut labels: LabelsBuilder = group.labels.to_builder();
            labels.set("__address__", address);
            labels.set("__scheme__", config.scheme.as_deref().unwrap_or("http"));
            labels.set("__alerts_path__", &path);
            if relabel::apply(&rules, &mut labels) == Verdict::Drop {
                continue;
            }
            let part = |name| labels.get(name).unwrap_or("");
            let text = format!("{}://{}{}", part("__scheme__"), part("__address__"), part("__alerts_path__"));
            let bad = |reason: String| NotifierError::Address { address: address.clone(), reason };
            let url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(bad("must be host:port with scheme http or https".into()));
            }
            urls.push(url);
        }
    }
    Ok(urls)
}

/// Sends alerts to every configured Alertmanager, each from a queue of its own.
pub struct HttpNotifier {
    external_labels: Labels,
    relabel: Vec<RelabelRule>,
    receivers: Vec<Receiver>,
}

struct Receiver {
    url: Url,
    relabel: Vec<RelabelRule>,
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Notice>>,
    arrived: Notify,
    /// Notified when the queue has been found empty.
    drained: Notify,
}

impl HttpNotifier {
    /// Starts one sender for each Alertmanager.
    ///
    /// # Errors
    /// If the section is wrong.
    pub async fn start(
        config: &AlertingConfig,
        external_labels: Labels,
        metrics: &Metrics,
        user_agent: &str,
    ) -> Result<Self, NotifierError> {
        let mut receivers = Vec::new();
        for alertmanager in &config.alertmanagers {
            let client = Arc::new(HttpClient::new(alertmanager.http_client(), user_agent).await?);
            for url in urls(alertmanager)? {
                let queue = Arc::new(Queue::default());
                let sender = Sender {
                    url: url.clone(),
                    client: Arc::clone(&client),
                    timeout: alertmanager.timeout.unwrap_or(DEFAULT_TIMEOUT).as_std(),
                    queue: Arc::clone(&queue),
                    metrics: metrics.clone(),
                };
                let relabel = compile(&alertmanager.alert_relabel_configs)?;
                receivers.push(Receiver { url, relabel, queue, task: tokio::spawn(sender.run()) });
            }
        }
        metrics.queue_capacity.set(QUEUE_MAX as i64);
        metrics.alertmanagers.set(receivers.len() as i64);
        Ok(Self { external_labels, relabel: compile(&config.alert_relabel_configs)?, receivers })
    }

    /// Where alerts go.
    pub fn urls(&self) -> Vec<Url> {
        self.receivers.iter().map(|receiver| receiver.url.clone()).collect()
    }

    /// Waits until the queues are empty, but no longer than `patience`.
    pub async fn drain(&self, patience: StdDuration) {
        let drained = async {
            for receiver in &self.receivers {
                let notified = receiver.queue.drained.notified();
                if !receiver.queue.waiting.lock().is_empty() {
                    notified.await;
                }
            }
        };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!("not all alerts could be sent before the stop");
        }
    }

    /// The labels an alert is sent under, or `None` if a rule drops it.
    fn relabelled(&self, labels: &Labels, rules: &[RelabelRule]) -> Option<Labels> {
        let mut builder = labels.to_builder();
        (relabel::apply(rules, &mut builder) == Verdict::Keep).then(|| builder.build())
    }
}

impl Drop for HttpNotifier {
    fn drop(&mut self) {
        self.receivers.iter().for_each(|receiver| receiver.task.abort());
    }
}

impl Notifier for HttpNotifier {
    fn notify(&self, notices: Vec<Notice>) {
        let mut common = Vec::with_capacity(notices.len());
        for mut notice in notices {
            let mut builder = notice.labels.to_builder();
            for (name, value) in self.external_labels.iter() {
                if builder.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            if let Some(labels) = self.relabelled(&builder.build(), &self.relabel) {
                notice.labels = labels;
                common.push(notice);
            }
        }
        for receiver in &self.receivers {
            let own = common.iter().filter_map(|notice| {
                let labels = self.relabelled(&notice.labels, &receiver.relabel)?;
                Some(Notice { labels, ..notice.clone() })
            });
            let mut waiting = receiver.queue.waiting.lock();
            waiting.extend(own);
            while waiting.len() > QUEUE_MAX {
                waiting.pop_front();
            }
            drop(waiting);
            receiver.queue.arrived.notify_one();
        }
    }
}

/// Empties one queue into one Alertmanager.
struct Sender {
    url: Url,
    client: Arc<HttpClient>,
    timeout: StdDuration,
    queue: Arc<Queue>,
    metrics: Metrics,
}

impl Sender {
    async fn run(self) {
        let labels = vec![("alertmanager", self.url.to_string())];
        loop {
            let batch: Vec<Notice> = {
                let mut waiting = self.queue.waiting.lock();
                let count = waiting.len().min(BATCH_MAX);
                let batch = waiting.drain(..count).collect();
                self.metrics.queue_length.get_or_create(&labels).set(waiting.len() as i64);
                batch
            };
            if batch.is_empty() {
                self.queue.drained.notify_waiters();
                self.queue.arrived.notified().await;
                continue;
            }
            let count = batch.len() as u64;
            self.metrics.sent.get_or_create(&labels).inc_by(count);
            // A batch that fails is dropped: rules send again what still fires.
            if let Err(error) = self.send(&batch).await {
                self.metrics.errors.get_or_create(&labels).inc_by(count);
                self.metrics.dropped.get_or_create(&vec![]).inc_by(count);
                tracing::error!(alertmanager = %self.url, count, error, "error sending alerts");
            }
        }
    }

    async fn send(&self, batch: &[Notice]) -> Result<(), String> {
        let body: Vec<WireAlert<'_>> = batch.iter().map(WireAlert::from).collect();
        let request = self.client.request(Method::POST, &self.url).await.map_err(|e| e.to_string())?;
        let response =
            request.timeout(self.timeout).json(&body).send().await.map_err(|e| e.without_url().to_string())?;
        if response.status().is_success() { Ok(()) } else { Err(format!("bad response status {}", response.status())) }
    }
}

/// An alert as API v2 takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert<'a> {
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl<'a> From<&'a Notice> for WireAlert<'a> {
    fn from(notice: &'a Notice) -> Self {
        Self {
            labels: &notice.labels,
            annotations: &notice.annotations,
            starts_at: rfc3339(notice.starts_at_ms),
            ends_at: rfc3339(notice.ends_at_ms),
            generator_url: &notice.generator_url,
        }
    }
}

/// A time as the API writes it. Out of the calendar's range it is the epoch.
fn rfc3339(ms: i64) -> String {
    Time::from_millisecond(ms).unwrap_or(Time::UNIX_EPOCH).to_string()
}

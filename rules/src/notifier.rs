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
use net::client::{ClientError, HttpClient, HttpClientConfig, RequestSigner};
use parking_lot::{Mutex, RwLock};
use reqwest::{Method, Url};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Default of [`QueueLimits::capacity`].
pub const QUEUE_MAX: usize = 10_000;
/// Default of [`QueueLimits::batch`].
pub const BATCH_MAX: usize = 256;
/// Bounds of what is sent.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Alerts that may wait for one Alertmanager; the oldest are dropped beyond it.
    pub capacity: usize,
    /// Alerts sent at once.
    pub batch: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { capacity: QUEUE_MAX, batch: BATCH_MAX }
    }
}

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

/// Where alerts go: the `alerting` section, its discovery aside.
#[derive(Debug, Clone, Default)]
pub struct AlertingConfig {
    /// Applied to each alert before it is sent.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where to send.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// A set of Alertmanagers that are reached in one way. Which there are is told by [`HttpNotifier::set_discovered`].
#[derive(Debug, Clone)]
pub struct AlertmanagerConfig {
    /// How they are reached.
    pub http: HttpClientConfig,
    /// What signs requests, if they want it.
    pub signer: Option<Arc<dyn RequestSigner>>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Stands before the API's path.
    pub path_prefix: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Applied to each alert before it is sent to these.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Applied to what was discovered.
    pub relabel_configs: Vec<RelabelConfig>,
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
    /// Checks the section without connecting anywhere.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn validate(&self) -> Result<(), NotifierError> {
        compile(&self.alert_relabel_configs)?;
        for alertmanager in &self.alertmanagers {
            compile(&alertmanager.alert_relabel_configs)?;
            compile(&alertmanager.relabel_configs)?;
            alertmanager.http.validate()?;
        }
        Ok(())
    }
}

fn compile(rules: &[RelabelConfig]) -> Result<Vec<RelabelRule>, relabel::RelabelError> {
    rules.iter().cloned().map(|rule| RelabelRule::new(rule, NameScheme::Utf8)).collect()
}

/// A set of Alertmanagers, ready.
struct Set {
    client: Arc<HttpClient>,
    config: AlertmanagerConfig,
    relabel: Vec<RelabelRule>,
    alert_relabel: Vec<RelabelRule>,
}

impl Set {
    /// Where a discovered Alertmanager takes alerts, or `None` if relabelling drops it.
    fn url(&self, discovered: &Labels) -> Result<Option<Url>, NotifierError> {
        let prefix = self.config.path_prefix.trim_matches('/');
        let path = if prefix.is_empty() { "/api/v2/alerts".to_owned() } else { format!("/{prefix}/api/v2/alerts") };
        let mut labels: LabelsBuilder = discovered.to_builder();
        labels.set("__scheme__", &self.config.scheme);
        labels.set("__alerts_path__", &path);
        if relabel::apply(&self.relabel, &mut labels) == Verdict::Drop {
            return Ok(None);
        }
        let part = |name| labels.get(name).unwrap_or("");
        let text = format!("{}://{}{}", part("__scheme__"), part("__address__"), part("__alerts_path__"));
        let bad = |reason: String| NotifierError::Address { address: part("__address__").to_owned(), reason };
        let url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad("must be host:port with scheme http or https".into()));
        }
        Ok(Some(url))
    }
}

/// Sends alerts to every Alertmanager, each from a queue of its own.
pub struct HttpNotifier {
    external_labels: Labels,
    relabel: Vec<RelabelRule>,
    sets: Vec<Set>,
    receivers: RwLock<Vec<Receiver>>,
    limits: QueueLimits,
    metrics: Metrics,
}

struct Receiver {
    /// Which set it belongs to.
    set: usize,
    url: Url,
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
    /// Builds the clients. There is nobody to send to before [`HttpNotifier::set_discovered`].
    ///
    /// # Errors
    /// If the section is wrong.
    pub async fn new(
        config: AlertingConfig,
        external_labels: Labels,
        limits: QueueLimits,
        metrics: &Metrics,
        user_agent: &str,
    ) -> Result<Self, NotifierError> {
        let mut sets = Vec::new();
        for config in config.alertmanagers {
            sets.push(Set {
                client: Arc::new(HttpClient::new(config.http.clone(), user_agent).await?),
                relabel: compile(&config.relabel_configs)?,
                alert_relabel: compile(&config.alert_relabel_configs)?,
                config,
            });
        }
        metrics.queue_capacity.set(limits.capacity as i64);
        metrics.alertmanagers.set(0);
        let (relabel, metrics) = (compile(&config.alert_relabel_configs)?, metrics.clone());
        Ok(Self { external_labels, relabel, sets, receivers: RwLock::default(), limits, metrics })
    }

    /// Says which Alertmanagers there are in set number `set`, each by its labels with `__address__`. Those that stay
    /// keep their queues. Must be called on an async runtime.
    pub fn set_discovered<'a>(&self, set: usize, discovered: impl IntoIterator<Item = &'a Labels>) {
        let Some(own) = self.sets.get(set) else { return };
        let mut urls: Vec<Url> = Vec::new();
        for labels in discovered {
            match own.url(labels) {
                Ok(Some(url)) if !urls.contains(&url) => urls.push(url),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "alertmanager refused"),
            }
        }
        let mut receivers = self.receivers.write();
        receivers.retain(|receiver| {
            let stays = receiver.set != set || urls.contains(&receiver.url);
            if !stays {
                receiver.task.abort();
            }
            stays
        });
        for url in urls {
            if receivers.iter().any(|receiver| receiver.set == set && receiver.url == url) {
                continue;
            }
            let queue = Arc::new(Queue::default());
            let sender = Sender {
                signer: own.config.signer.clone(),
                url: url.clone(),
                client: Arc::clone(&own.client),
                timeout: own.config.timeout.as_std(),
                queue: Arc::clone(&queue),
                batch_max: self.limits.batch.max(1),
                metrics: self.metrics.clone(),
            };
            receivers.push(Receiver { set, url, queue, task: tokio::spawn(sender.run()) });
        }
        self.metrics.alertmanagers.set(receivers.len() as i64);
    }

    /// Where alerts go.
    pub fn urls(&self) -> Vec<Url> {
        self.receivers.read().iter().map(|receiver| receiver.url.clone()).collect()
    }

    /// Waits until the queues are empty, but no longer than `patience`.
    pub async fn drain(&self, patience: StdDuration) {
        let drained = async {
            let queues: Vec<_> = self.receivers.read().iter().map(|receiver| Arc::clone(&receiver.queue)).collect();
            for queue in queues {
                let notified = queue.drained.notified();
                if !queue.waiting.lock().is_empty() {
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
        self.receivers.read().iter().for_each(|receiver| receiver.task.abort());
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
        for receiver in &*self.receivers.read() {
            let own = common.iter().filter_map(|notice| {
                let labels = self.relabelled(&notice.labels, &self.sets[receiver.set].alert_relabel)?;
                Some(Notice { labels, ..notice.clone() })
            });
            let mut waiting = receiver.queue.waiting.lock();
            waiting.extend(own);
            while waiting.len() > self.limits.capacity {
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
    signer: Option<Arc<dyn RequestSigner>>,
    timeout: StdDuration,
    queue: Arc<Queue>,
    batch_max: usize,
    metrics: Metrics,
}

impl Sender {
    async fn run(self) {
        let labels = vec![("alertmanager", self.url.to_string())];
        loop {
            let batch: Vec<Notice> = {
                let mut waiting = self.queue.waiting.lock();
                let count = waiting.len().min(self.batch_max);
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
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let (client, request) = request.timeout(self.timeout).json(&body).build_split();
        let mut request = request.map_err(failed)?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut request).await?;
        }
        let response = client.execute(request).await.map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use exposition::registry::Registry;
    use model::labels;
    use model::relabel::Action;

    use super::*;

    #[tokio::test]
    async fn alertmanagers_come_and_go_with_discovery() {
        let drop_b = RelabelConfig {
            source_labels: vec!["__address__".into()],
            regex: "b:.*".into(),
            action: Action::Drop,
            ..RelabelConfig::default()
        };
        let set = AlertmanagerConfig {
            http: HttpClientConfig::default(),
            signer: None,
            timeout: DEFAULT_TIMEOUT,
            path_prefix: "/am/".into(),
            scheme: "http".into(),
            alert_relabel_configs: Vec::new(),
            relabel_configs: vec![drop_b],
        };
        let config = AlertingConfig { alert_relabel_configs: Vec::new(), alertmanagers: vec![set.clone(), set] };
        let metrics = Metrics::register(&Registry::new());
        let notifier =
            HttpNotifier::new(config, Labels::empty(), QueueLimits::default(), &metrics, "test").await.unwrap();
        let at = |address: &str| labels! { "__address__" => address };
        notifier.set_discovered(0, &[at("a:1"), at("a:1"), at("b:1"), at("not a host")]);
        notifier.set_discovered(1, &[at("c:1")]);
        let urls = || notifier.urls().into_iter().map(String::from).collect::<Vec<_>>();
        assert_eq!(urls(), ["http://a:1/am/api/v2/alerts", "http://c:1/am/api/v2/alerts"]);
        assert_eq!(metrics.alertmanagers.get(), 2);
        notifier.set_discovered(0, &[at("d:1")]);
        assert_eq!(urls(), ["http://c:1/am/api/v2/alerts", "http://d:1/am/api/v2/alerts"]);
        notifier.set_discovered(0, []);
        notifier.set_discovered(2, &[at("e:1")]);
        assert_eq!(urls(), ["http://c:1/am/api/v2/alerts"]);
    }
}

//! The router: what takes alerts in, and what the API looks at.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::labels::Labels;
use net::clock::Clock;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::alert::Alert;
use crate::alerts::Alerts;
use crate::config::{Config, ConfigError};
use crate::dispatch::{Dispatcher, EVENTS_MAX, Event, GroupViews, Plan};
use crate::inhibit::{InhibitRule, inhibited_by};
use crate::journal::JournalError;
use crate::metrics::Metrics;
use crate::notify_log::NotifyLog;
use crate::pipeline::Pipeline;
use crate::receiver;
use crate::route::Route;
use crate::silence::Silences;

/// State that outlives a reload.
#[derive(Debug)]
pub struct State {
    /// The alerts there are.
    pub alerts: Alerts,
    /// Silences.
    pub silences: Silences,
}

/// How a router is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where silences and the notification log are kept.
    pub data_dir: PathBuf,
    /// How long ended silences and entries of the log are kept, in milliseconds (`--data.retention`).
    pub retention_ms: i64,
    /// Where the router is reached.
    pub external_url: String,
    /// The time.
    pub clock: Clock,
}

/// An alert as it comes in: what it leaves open is filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PostedAlert {
    /// Labels; empty values are left out.
    pub labels: BTreeMap<String, String>,
    /// Annotations; empty values are left out.
    pub annotations: BTreeMap<String, String>,
    /// When it began; now if absent.
    pub starts_at_ms: Option<i64>,
    /// When it ended or will; `resolve_timeout` from now if absent.
    pub ends_at_ms: Option<i64>,
    /// Where it came from.
    pub generator_url: String,
}

/// Why an alert is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// It says nothing.
    #[error("at least one label pair required")]
    NoLabels,
    /// A name that may not be.
    #[error("invalid label set: {0}")]
    BadLabels(String),
    /// It ended before it began.
    #[error("start time must be before end time")]
    EndsBeforeStart,
    /// There are too many alerts.
    #[error("too many alerts: limit is {}", crate::alerts::ALERTS_MAX)]
    TooMany,
}

struct Running {
    config: Config,
    plan: Arc<Plan>,
    events: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

/// The alert router.
pub struct Router {
    options: Options,
    /// Alerts and silences.
    pub state: Arc<State>,
    log: Arc<NotifyLog>,
    /// Instruments.
    pub metrics: Metrics,
    running: Mutex<Running>,
    groups: GroupViews,
    /// When it started, in milliseconds since the epoch.
    pub started_ms: i64,
}

impl Router {
    /// Opens the state in the data directory and starts with a configuration.
    ///
    /// # Errors
    /// If state or configuration cannot be used.
    pub async fn start(options: Options, config: Config, metrics: Metrics) -> Result<Arc<Self>, StartError> {
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(|source| JournalError::Io { path: dir.clone(), source })?;
        let silences = Silences::open(&dir.join("silences"), options.retention_ms)?;
        let log = Arc::new(NotifyLog::open(&dir.join("nflog"))?);
        let state = Arc::new(State { alerts: Alerts::default(), silences });
        let groups: GroupViews = Arc::new(RwLock::new(BTreeMap::new()));
        let running = run(&options, config, &state, &log, &metrics, &groups).await?;
        metrics.reload_successful.set(1);
        let started_ms = options.clock.now_ms();
        let running = Mutex::new(running);
        Ok(Arc::new(Self { options, state, log, metrics, running, groups, started_ms }))
    }

    /// Goes on under another configuration; alerts, silences and the log stay. All or nothing.
    ///
    /// # Errors
    /// If the configuration cannot be used; the old one goes on.
    pub async fn reload(&self, config: Config) -> Result<(), ConfigError> {
        let fresh = run(&self.options, config, &self.state, &self.log, &self.metrics, &self.groups).await;
        self.metrics.reload_successful.set(i64::from(fresh.is_ok()));
        let fresh = fresh?;
        let events = fresh.events.clone();
        let old = std::mem::replace(&mut *self.running.lock(), fresh);
        old.task.abort();
        for alert in self.state.alerts.firing(self.options.clock.now_ms()) {
            if events.send(Event::Alert(alert)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Takes one alert.
    ///
    /// # Errors
    /// See [`AlertError`].
    pub async fn accept(&self, posted: PostedAlert) -> Result<(), AlertError> {
        let now_ms = self.options.clock.now_ms();
        let alert = self.complete(posted, now_ms).inspect_err(|_| {
            self.metrics.invalid.inc();
        })?;
        let status = receiver::status(alert.is_resolved_at(now_ms));
        self.metrics.received.get_or_create(&vec![("status", status.to_owned())]).inc();
        let merged = self.state.alerts.put(alert, now_ms).ok_or(AlertError::TooMany)?;
        let events = self.running.lock().events.clone();
        // While a reload swaps dispatchers, the new one is given all alerts anyway.
        let _sent = events.send(Event::Alert(merged)).await;
        Ok(())
    }

    fn complete(&self, posted: PostedAlert, now_ms: i64) -> Result<Alert, AlertError> {
        let labels = Labels::from_pairs(&posted.labels).map_err(|e| AlertError::BadLabels(e.to_string()))?;
        if labels.is_empty() {
            return Err(AlertError::NoLabels);
        }
        if posted.labels.keys().any(String::is_empty) {
            return Err(AlertError::BadLabels("empty label name".into()));
        }
        let resolve_timeout = self.running.lock().config.global.resolve_timeout.as_millis();
        let ends_by_timeout = posted.ends_at_ms.is_none();
        let ends_at_ms = posted.ends_at_ms.unwrap_or(now_ms + resolve_timeout);
        // An alert that only says that it ended began when it ended, at the latest.
        let starts_at_ms = posted.starts_at_ms.unwrap_or(now_ms.min(ends_at_ms));
        if ends_at_ms < starts_at_ms {
            return Err(AlertError::EndsBeforeStart);
        }
        let mut annotations = posted.annotations;
        annotations.retain(|_, text| !text.is_empty());
        Ok(Alert {
            labels,
            annotations,
            starts_at_ms,
            ends_at_ms,
            updated_at_ms: now_ms,
            generator_url: posted.generator_url,
            ends_by_timeout,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.running.lock().config.clone()
    }

    /// Names of the receivers that an alert goes to.
    pub fn receivers_of(&self, labels: &Labels) -> Vec<String> {
        let plan = Arc::clone(&self.running.lock().plan);
        plan.root.matching(labels).iter().map(|route| route.options.receiver.clone()).collect()
    }

    /// Fingerprints of the alerts that inhibit `labels` now.
    pub fn inhibited_by(&self, labels: &Labels, firing: &[Alert]) -> Vec<u64> {
        let plan = Arc::clone(&self.running.lock().plan);
        inhibited_by(&plan.inhibitions, labels, firing)
    }

    /// Groups as they stand, by key.
    pub fn groups(&self) -> BTreeMap<String, crate::dispatch::GroupView> {
        self.groups.read().clone()
    }

    /// The time.
    pub fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    /// Forgets what has ended long enough ago; to be called now and then.
    pub fn collect_garbage(&self) {
        let now_ms = self.now_ms();
        self.state.alerts.collect_garbage(now_ms);
        self.state.silences.collect_garbage(now_ms);
        self.log.collect_garbage(now_ms);
    }
}

/// Why a router cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its state cannot be used.
    #[error(transparent)]
    State(#[from] JournalError),
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

async fn run(
    options: &Options,
    config: Config,
    state: &Arc<State>,
    log: &Arc<NotifyLog>,
    metrics: &Metrics,
    groups: &GroupViews,
) -> Result<Running, ConfigError> {
    let root_config = config.route.clone().ok_or_else(|| ConfigError::Invalid("no route provided in config".into()))?;
    if !config.templates.is_empty() {
        tracing::warn!("templates are configured, but no receiver of this version uses them");
    }
    let mut receivers = HashMap::new();
    for receiver in &config.receivers {
        receivers.insert(receiver.name.clone(), receiver::integrations(&config, receiver).await?);
    }
    let inhibitions = config.inhibit_rules.iter().map(InhibitRule::new).collect::<Result<_, _>>()?;
    let plan = Arc::new(Plan { root: Route::build(&root_config)?, receivers, inhibitions });
    let pipeline = Pipeline {
        log: Arc::clone(log),
        metrics: metrics.clone(),
        clock: options.clock,
        external_url: options.external_url.as_str().into(),
        retention_ms: options.retention_ms,
    };
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let dispatcher =
        Dispatcher::new(Arc::clone(&plan), Arc::clone(state), pipeline, Arc::clone(groups), events.clone());
    let task = tokio::spawn(dispatcher.run(received));
    Ok(Running { config, plan, events, task })
}

/// Reads a configuration file and makes its paths its own.
///
/// # Errors
/// If it cannot be read or used.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::Invalid(format!("unable to read {}: {e}", path.display())))?;
    let mut config = Config::parse(&text)?;
    config.resolve_paths(path.parent().unwrap_or(Path::new(".")));
    Ok(config)
}

#[cfg(test)]
mod tests;

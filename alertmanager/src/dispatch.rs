//! The dispatcher: one actor that owns all groups and flushes each when its time has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::labels::Labels;
use net::clock::Clock;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::alert::Alert;
use crate::inhibit::{InhibitRule, inhibited_by};
use crate::metrics::Metrics;
use crate::pipeline::{Flush, Pipeline};
use crate::receiver::Integration;
use crate::route::Route;
use crate::router::State;

/// How many events may wait for the dispatcher.
pub const EVENTS_MAX: usize = 10_000;
/// The most groups; alerts that would make further ones are dropped and told.
pub const GROUPS_MAX: usize = 200_000;

/// What the dispatcher is told.
#[derive(Debug)]
pub enum Event {
    /// An alert that is new or changed.
    Alert(Alert),
    /// A flush has ended; the alerts it reported as ended are no longer needed if it succeeded.
    Flushed {
        /// The group.
        key: String,
        /// Fingerprints of ended alerts and when they were last heard of.
        resolved: Vec<(u64, i64)>,
        /// Whether all integrations were told.
        succeeded: bool,
    },
}

/// Routes, receivers and inhibitions of one configuration.
pub struct Plan {
    /// Root of the tree.
    pub root: Arc<Route>,
    /// Integrations by receiver.
    pub receivers: HashMap<String, Vec<Integration>>,
    /// Inhibitions.
    pub inhibitions: Vec<InhibitRule>,
}

/// A group as the API shows it.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Its labels.
    pub labels: Labels,
    /// Its receiver.
    pub receiver: String,
    /// Fingerprints of its alerts.
    pub alerts: Vec<u64>,
}

/// Groups by key, shared with the API.
pub type GroupViews = Arc<RwLock<BTreeMap<String, GroupView>>>;

struct Group {
    route: Arc<Route>,
    labels: Labels,
    alerts: HashMap<u64, Alert>,
    flush_at: Instant,
    flushed: bool,
    /// A flush is under way.
    busy: bool,
}

/// Owns the groups of one configuration; ends when its events do.
pub struct Dispatcher {
    plan: Arc<Plan>,
    state: Arc<State>,
    pipeline: Pipeline,
    metrics: Metrics,
    clock: Clock,
    groups: HashMap<String, Group>,
    views: GroupViews,
    events: mpsc::Sender<Event>,
}

impl Dispatcher {
    /// Prepares a dispatcher. It sends itself events through `events`.
    pub fn new(
        plan: Arc<Plan>,
        state: Arc<State>,
        pipeline: Pipeline,
        views: GroupViews,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (metrics, clock) = (pipeline.metrics.clone(), pipeline.clock);
        views.write().clear();
        Self { plan, state, pipeline, metrics, clock, groups: HashMap::new(), views, events }
    }

    /// Runs until aborted.
    pub async fn run(mut self, mut received: mpsc::Receiver<Event>) {
        loop {
            let next = self.groups.values().filter(|g| !g.busy).map(|g| g.flush_at).min();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = received.recv() => match event {
                    Some(Event::Alert(alert)) => self.insert(alert),
                    Some(Event::Flushed { key, resolved, succeeded }) => self.flushed(&key, &resolved, succeeded),
                    None => return,
                },
                () = sleep => self.flush_due(),
            }
        }
    }

    fn insert(&mut self, alert: Alert) {
        for route in self.plan.root.matching(&alert.labels) {
            let labels = route.group_labels(&alert.labels);
            let key = format!("{}:{labels}", route.key);
            let now_ms = self.clock.now_ms();
            if !self.groups.contains_key(&key) {
                if self.groups.len() >= GROUPS_MAX {
                    tracing::error!(limit = GROUPS_MAX, "too many alert groups; alert dropped");
                    continue;
                }
                // What ended before anybody heard of it needs no group.
                if alert.is_resolved_at(now_ms) {
                    continue;
                }
                let wait = route.options.group_wait;
                // An alert that began long ago, as after a restart, need not wait.
                let waited = alert.starts_at_ms + wait.as_millis() < now_ms;
                let flush_at = Instant::now() + if waited { std::time::Duration::ZERO } else { wait.as_std() };
                let group = Group {
                    route: Arc::clone(&route),
                    labels: labels.clone(),
                    alerts: HashMap::new(),
                    flush_at,
                    flushed: false,
                    busy: false,
                };
                self.groups.insert(key.clone(), group);
                self.metrics.groups.set(self.groups.len() as i64);
            }
            if let Some(group) = self.groups.get_mut(&key) {
                let waited = alert.starts_at_ms + route.options.group_wait.as_millis() < now_ms;
                if !group.flushed && waited && !group.busy {
                    group.flush_at = group.flush_at.min(Instant::now());
                }
                group.alerts.insert(alert.fingerprint(), alert.clone());
                let view = GroupView {
                    labels,
                    receiver: route.options.receiver.clone(),
                    alerts: group.alerts.keys().copied().collect(),
                };
                self.views.write().insert(key, view);
            }
        }
    }

    fn flush_due(&mut self) {
        let now = Instant::now();
        let now_ms = self.clock.now_ms();
        let firing = self.state.alerts.firing(now_ms);
        let due: Vec<String> =
            self.groups.iter().filter(|(_, g)| !g.busy && g.flush_at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let interval = group.route.options.group_interval.as_std();
            group.busy = true;
            group.flushed = true;
            group.flush_at = now + interval;
            let mut alerts: Vec<Alert> = group.alerts.values().cloned().collect();
            alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
            let resolved: Vec<(u64, i64)> = alerts
                .iter()
                .filter(|a| a.is_resolved_at(now_ms))
                .map(|a| (a.fingerprint(), a.updated_at_ms))
                .collect();
            let flush = Flush {
                group_key: key.clone(),
                group_labels: group.labels.clone(),
                alerts: unmuted(&self.plan, &self.state, &self.metrics, alerts, &firing, now_ms),
                repeat_interval: group.route.options.repeat_interval,
                deadline: now + interval,
                now_ms,
            };
            let integrations = self.plan.receivers.get(&group.route.options.receiver).cloned().unwrap_or_default();
            tokio::spawn(notify(self.pipeline.clone(), flush, integrations, resolved, self.events.clone()));
        }
    }

    fn flushed(&mut self, key: &str, resolved: &[(u64, i64)], succeeded: bool) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.busy = false;
        if succeeded {
            for (fingerprint, updated_at_ms) in resolved {
                // Unless it was heard of again meanwhile.
                if group.alerts.get(fingerprint).is_some_and(|alert| alert.updated_at_ms == *updated_at_ms) {
                    group.alerts.remove(fingerprint);
                }
            }
        }
        if group.alerts.is_empty() {
            self.groups.remove(key);
            self.views.write().remove(key);
            self.metrics.groups.set(self.groups.len() as i64);
        }
    }
}

/// Takes out what is inhibited or silenced.
fn unmuted(
    plan: &Plan,
    state: &State,
    metrics: &Metrics,
    alerts: Vec<Alert>,
    firing: &[Alert],
    now_ms: i64,
) -> Vec<Alert> {
    let mute = |reason: &str| {
        metrics.suppressed.get_or_create(&vec![("reason", reason.to_owned())]).inc();
        false
    };
    let passes = |alert: &Alert| {
        if !inhibited_by(&plan.inhibitions, &alert.labels, firing).is_empty() {
            return mute("inhibition");
        }
        if !state.silences.silenced_by(&alert.labels, now_ms).is_empty() {
            return mute("silence");
        }
        true
    };
    alerts.into_iter().filter(|alert| passes(alert)).collect()
}

/// Tells all integrations of a receiver, each on its own.
async fn notify(
    pipeline: Pipeline,
    flush: Flush,
    integrations: Vec<Integration>,
    resolved: Vec<(u64, i64)>,
    events: mpsc::Sender<Event>,
) {
    let key = flush.group_key.clone();
    let mut told = tokio::task::JoinSet::new();
    for integration in integrations {
        let (pipeline, flush) = (pipeline.clone(), flush.clone());
        told.spawn(async move { pipeline.run(flush, &integration).await });
    }
    let mut succeeded = true;
    while let Some(result) = told.join_next().await {
        succeeded &= result.unwrap_or(false);
    }
    // The dispatcher may be gone after a reload.
    let _sent = events.send(Event::Flushed { key, resolved, succeeded }).await;
}

//! Rule groups: rules evaluated one after the other, once an interval, each seeing what those before it wrote.

use std::collections::HashMap;
use std::sync::Arc;

use model::duration::Duration;
use model::labels::Labels;
use model::sample::{STALE_NAN, Timestamp, Value};
use model::storage::{AppendError, Appendable, Appender, NewValue, Queryable, SeriesRef, StorageError};
use net::clock::Clock;
use parking_lot::RwLock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::alerting::{Alert, AlertState, Expand};
use crate::evaluate::{Evaluator, VectorSample};
use crate::metrics::Metrics;
use crate::notifier::{Notice, Notifier};
use crate::restore::{RestoreConfig, restore};
use crate::rule::{Kind, Rule, RuleHealth};

/// What all groups of a server share.
pub struct GroupContext {
    /// Where series are written.
    pub storage: Arc<dyn Appendable>,
    /// Where state is restored from.
    pub queryable: Arc<dyn Queryable>,
    /// Evaluates expressions.
    pub evaluator: Arc<dyn Evaluator>,
    /// Where alerts go.
    pub notifier: Arc<dyn Notifier>,
    /// Instruments.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// The server's own, for templates.
    pub external_labels: Labels,
    /// Where the server is reached, for templates and links.
    pub external_url: String,
    /// How often an alert that goes on firing is sent again.
    pub resend_delay: Duration,
    /// How state is restored.
    pub restore: RestoreConfig,
}

/// A group and its state: what the API shows.
#[derive(Debug, Clone)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// Time between evaluations.
    pub interval: Duration,
    /// How far back it looks.
    pub query_offset: Duration,
    /// The most series or alerts a rule may give; 0 for any number.
    pub limit: u64,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// When the last evaluation began, in milliseconds since the epoch.
    pub evaluated_ms: Option<i64>,
    /// How long it took.
    pub seconds: f64,
}

impl GroupState {
    /// `file;name`, the group's key in metrics.
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

/// Series that a rule wrote at its last evaluation.
type Written = HashMap<Labels, SeriesRef>;

/// A group on its way through time.
pub struct Group {
    context: Arc<GroupContext>,
    state: Arc<RwLock<GroupState>>,
    /// By the rule's position.
    written: Vec<Written>,
    /// Series of rules that are gone since a reload: they go stale at the next evaluation.
    orphaned: Written,
}

/// How a group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is gone: its series go stale.
    MarkStale,
    /// Another takes over, or the program ends: nothing is marked, so that alerts' state can be restored.
    Leave,
}

impl Group {
    /// A group that starts afresh.
    pub fn new(context: Arc<GroupContext>, state: GroupState) -> Self {
        let written = vec![Written::new(); state.rules.len()];
        Self { context, state: Arc::new(RwLock::new(state)), written, orphaned: Written::new() }
    }

    /// The group's state, shared with whoever shows it.
    pub fn state(&self) -> Arc<RwLock<GroupState>> {
        Arc::clone(&self.state)
    }

    /// Takes over the alerts and series of `old` rules that are still there.
    pub fn take_over(&mut self, old: Group) {
        let mut old_rules: Vec<Option<(Rule, Written)>> =
            old.state.read().rules.iter().cloned().zip(old.written).map(Some).collect();
        let mut state = self.state.write();
        for (rule, written) in state.rules.iter_mut().zip(&mut self.written) {
            let same = |old: &&mut Option<(Rule, Written)>| old.as_ref().is_some_and(|(o, _)| rule.continues(o));
            let Some((before, series)) = old_rules.iter_mut().find(same).and_then(Option::take) else { continue };
            *written = series;
            rule.status = before.status;
            if let (Kind::Alerting(rule), Kind::Alerting(before)) = (&mut rule.kind, before.kind) {
                rule.alerts = before.alerts;
                rule.restored = before.restored;
            }
        }
        self.orphaned = old.orphaned;
        self.orphaned.extend(old_rules.into_iter().flatten().flat_map(|(_, series)| series));
    }

    /// Evaluates until told to stop; an evaluation that takes longer than the interval makes the next be missed.
    pub async fn run(mut self, mut stop: oneshot::Receiver<Stop>) -> Group {
        let (interval, key, count) = {
            let state = self.state.read();
            (state.interval, state.key(), state.rules.len())
        };
        let labels = vec![("rule_group", key.clone())];
        let metrics = self.context.metrics.clone();
        metrics.rules.get_or_create(&labels).set(count as i64);
        metrics.interval.get_or_create(&labels).set(interval.as_seconds());
        let mut slot = first_slot(self.context.clock.now_ms(), interval, &key);
        let mut next = Instant::now() + wait_until(slot, &self.context.clock);
        let how = loop {
            tokio::select! {
                biased;
                how = &mut stop => break how.unwrap_or(Stop::Leave),
                () = tokio::time::sleep_until(next) => {}
            }
            let at = Timestamp(slot);
            let group = tokio::task::spawn_blocking(move || {
                self.evaluate(at);
                self
            });
            self = match group.await {
                Ok(group) => group,
                // The evaluation panicked: a bug. The group cannot go on, the others do.
                Err(error) => {
                    tracing::error!(group = key, %error, "rule group failed");
                    std::panic::resume_unwind(error.into_panic());
                }
            };
            metrics.iterations.get_or_create(&labels).inc();
            slot += interval.as_millis();
            next += interval.as_std();
            while next < Instant::now() {
                metrics.iterations_missed.get_or_create(&labels).inc();
                slot += interval.as_millis();
                next += interval.as_std();
            }
        };
        if how == Stop::MarkStale {
            let all = self.written.drain(..).flatten().chain(self.orphaned.drain()).collect();
            self.mark_stale(&all, Timestamp(self.context.clock.now_ms()));
        }
        self
    }

    /// One evaluation at the slot's time. Blocks.
    pub fn evaluate(&mut self, slot: Timestamp) {
        let started = std::time::Instant::now();
        let (count, limit, offset, key) = {
            let state = self.state.read();
            (state.rules.len(), state.limit, state.query_offset, state.key())
        };
        let at = slot - offset.as_millis();
        let labels = vec![("rule_group", key)];
        let mut samples = 0;
        for number in 0..count {
            samples += self.evaluate_rule(number, at, limit, &labels);
        }
        let orphaned = std::mem::take(&mut self.orphaned);
        self.mark_stale(&orphaned, at);
        let seconds = started.elapsed().as_secs_f64();
        let mut state = self.state.write();
        state.evaluated_ms = Some(slot.0);
        state.seconds = seconds;
        drop(state);
        let metrics = &self.context.metrics;
        metrics.last_duration.get_or_create(&labels).set(seconds);
        metrics.last_evaluation.get_or_create(&labels).set(slot.as_seconds());
        metrics.last_samples.get_or_create(&labels).set(samples as i64);
    }

    /// Evaluates one rule; gives how many samples it wrote.
    fn evaluate_rule(
        &mut self,
        number: usize,
        at: Timestamp,
        limit: u64,
        labels: &Vec<(&'static str, String)>,
    ) -> usize {
        let started = std::time::Instant::now();
        // Evaluated on a copy, so that the API is never kept waiting by a query.
        let mut rule = self.state.read().rules[number].clone();
        let metrics = self.context.metrics.clone();
        metrics.evaluations.get_or_create(labels).inc();
        let result = self.context.evaluator.evaluate(rule.expr(), at).map_err(|e| e.to_string());
        let outcome = result.and_then(|vector| self.apply(&mut rule, at, &vector, limit));
        let (health, count) = match outcome.and_then(|series| self.write(number, at, &series)) {
            Ok(count) => (RuleHealth::Good, count),
            Err(error) => {
                metrics.evaluation_failures.get_or_create(labels).inc();
                tracing::warn!(rule = rule.name(), error, "evaluating rule failed");
                (RuleHealth::Bad(error), 0)
            }
        };
        rule.status.health = health;
        rule.status.evaluated_ms = Some(at.0);
        rule.status.seconds = started.elapsed().as_secs_f64();
        if let Kind::Alerting(alerting) = &mut rule.kind {
            let due = alerting.to_send(at, self.context.resend_delay);
            self.send(due, at, &rule);
        }
        self.state.write().rules[number] = rule;
        count
    }

    fn apply(
        &self,
        rule: &mut Rule,
        at: Timestamp,
        vector: &[VectorSample],
        limit: u64,
    ) -> Result<Vec<VectorSample>, String> {
        match &mut rule.kind {
            Kind::Recording(recording) => recording.record(vector, limit).map_err(|e| e.to_string()),
            Kind::Alerting(alerting) => {
                let expand = TemplateExpander { context: &self.context, name: alerting.name.clone(), at };
                alerting.evaluate(at, vector, limit, &expand).map_err(|e| e.to_string())?;
                if !alerting.restored
                    && let Err(error) = restore(alerting, &*self.context.queryable, at, &self.context.restore)
                {
                    tracing::warn!(rule = alerting.name, %error, "state of alerts could not be restored");
                }
                Ok(alerting.series())
            }
        }
    }

    /// Writes a rule's series; those it no longer gives go stale.
    fn write(&mut self, number: usize, at: Timestamp, series: &[VectorSample]) -> Result<usize, String> {
        let mut appender = self.context.storage.appender();
        let mut written = Written::with_capacity(series.len());
        let before = &self.written[number];
        let mut refused = 0;
        for sample in series {
            match append(&mut *appender, before.get(&sample.labels).copied(), sample, at) {
                Ok(series) => drop(written.insert(sample.labels.clone(), series)),
                Err(
                    AppendError::OutOfOrder | AppendError::Duplicate | AppendError::OutOfBounds | AppendError::TooOld,
                ) => {
                    refused += 1;
                }
                Err(error) => {
                    appender.rollback();
                    return Err(error.to_string());
                }
            }
        }
        for (labels, series) in before.iter().filter(|(labels, _)| !written.contains_key(*labels)) {
            if let Err(AppendError::Storage(error)) = appender.append_ref(*series, at, NewValue::Float(STALE_NAN)) {
                tracing::warn!(%labels, %error, "stale marker could not be written");
            }
        }
        appender.commit().map_err(|e: StorageError| e.to_string())?;
        self.written[number] = written;
        if refused > 0 {
            tracing::warn!(refused, "samples of a rule were refused by their time");
        }
        Ok(series.len())
    }

    fn mark_stale(&self, series: &Written, at: Timestamp) {
        if series.is_empty() {
            return;
        }
        let mut appender = self.context.storage.appender();
        for series in series.values() {
            // A series that is gone, or has a later sample, needs no marker.
            let _refused = appender.append_ref(*series, at, NewValue::Float(STALE_NAN));
        }
        if let Err(error) = appender.commit() {
            tracing::warn!(%error, "stale markers could not be written");
        }
    }

    fn send(&self, alerts: Vec<Alert>, at: Timestamp, rule: &Rule) {
        if alerts.is_empty() {
            return;
        }
        let interval = self.state.read().interval.max(self.context.resend_delay);
        let notices = alerts.into_iter().map(|alert| Notice {
            starts_at_ms: alert.fired_at.unwrap_or(alert.active_at),
            ends_at_ms: alert.resolved_at.unwrap_or(at.0 + 4 * interval.as_millis()),
            resolved: alert.state == AlertState::Inactive,
            generator_url: generator_url(&self.context.external_url, rule.expr()),
            labels: alert.labels,
            annotations: alert.annotations,
        });
        self.context.notifier.notify(notices.collect());
    }
}

fn append(
    appender: &mut dyn Appender,
    known: Option<SeriesRef>,
    sample: &VectorSample,
    at: Timestamp,
) -> Result<SeriesRef, AppendError> {
    let value = match &sample.value {
        Value::Float(value) => NewValue::Float(*value),
        Value::Histogram(histogram) => NewValue::FloatHistogram(histogram),
    };
    match known.map(|series| (series, appender.append_ref(series, at, value))) {
        Some((series, Ok(()))) => Ok(series),
        Some((_, Err(error))) if !matches!(error, AppendError::UnknownSeries) => Err(error),
        _ => appender.append(&sample.labels, at, value),
    }
}

/// Where an expression can be looked at.
fn generator_url(external_url: &str, expr: &str) -> String {
    let mut url = format!("{}/graph", external_url.trim_end_matches('/'));
    if let Ok(mut parsed) = reqwest::Url::parse(&url) {
        parsed.query_pairs_mut().append_pair("g0.expr", expr).append_pair("g0.tab", "1");
        url = parsed.into();
    }
    url
}

/// The first slot after `now`: groups are spread over their interval by name, and keep their phase over restarts.
fn first_slot(now: i64, interval: Duration, key: &str) -> i64 {
    let interval = interval.as_millis().max(1);
    let offset = (model::labels::hash_packed(key.as_bytes()) % interval as u64) as i64;
    let base = now - now.rem_euclid(interval) + offset;
    if base > now { base } else { base + interval }
}

fn wait_until(slot: i64, clock: &Clock) -> std::time::Duration {
    std::time::Duration::from_millis((slot - clock.now_ms()).max(0) as u64)
}

/// Expands an alert's templates with the server's data and queries.
struct TemplateExpander<'a> {
    context: &'a Arc<GroupContext>,
    name: String,
    at: Timestamp,
}

impl Expand for TemplateExpander<'_> {
    fn expand(&self, text: &str, labels: &Labels, value: f64) -> String {
        let (evaluator, at) = (Arc::clone(&self.context.evaluator), self.at);
        let query = move |expression: &str| {
            let vector = evaluator.evaluate(expression, at).map_err(|e| e.to_string())?;
            Ok(vector
                .into_iter()
                .filter_map(|sample| match sample.value {
                    Value::Float(value) => Some(template::QuerySample { labels: sample.labels, value }),
                    Value::Histogram(_) => None,
                })
                .collect())
        };
        let context = template::Context {
            labels: labels.clone(),
            external_labels: self.context.external_labels.clone(),
            external_url: self.context.external_url.clone(),
            value,
            now_ms: at.0,
            query: Arc::new(query),
        };
        template::expand(&format!("__alert_{}", self.name), text, &context).unwrap_or_else(|error| {
            tracing::warn!(alert = self.name, %error, "expanding alert template failed");
            format!("<error expanding template: {error}>")
        })
    }
}

#[cfg(test)]
mod tests;

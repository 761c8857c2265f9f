//! Alerting rules: the state machine of their alerts.
//!
//! `inactive -> pending -> firing -> (kept firing) -> inactive`, driven by one evaluation after the other. Pure: time and
//! results come in, series to write and alerts to send go out.

use std::collections::{BTreeMap, HashMap};

use model::duration::Duration;
use model::labels::{ALERT_NAME, Labels, METRIC_NAME};
use model::sample::{Timestamp, Value};

use crate::evaluate::VectorSample;
use crate::rule::{ResultError, without_name};

/// How long a resolved alert is kept and sent again, in case its end got lost.
pub const RESOLVED_RETENTION_MS: i64 = 15 * 60 * 1000;

/// The series that says which alerts there are.
pub const ALERTS: &str = "ALERTS";
/// The series that says since when, from which state is restored after a restart.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
const ALERT_STATE: &str = "alertstate";

/// Where an alert stands. Ordered: a rule is as far as its furthest alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Its condition no longer holds.
    Inactive,
    /// Its condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// As the API and the `ALERTS` series show it.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// One alert of a rule. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Where it stands.
    pub state: AlertState,
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations, expanded.
    pub annotations: BTreeMap<String, String>,
    /// The value at the last evaluation that gave one.
    pub value: f64,
    /// Since when its condition holds.
    pub active_at: i64,
    /// Since when it fires.
    pub fired_at: Option<i64>,
    /// When it ended.
    pub resolved_at: Option<i64>,
    /// Since when it fires on although its condition ended.
    pub keep_firing_since: Option<i64>,
    /// When it was last handed to the notifier.
    pub last_sent_at: Option<i64>,
}

impl Alert {
    /// Whether the notifier should hear of it now: on each change, and again after `resend_delay`.
    fn needs_sending(&self, at: i64, resend_delay: Duration) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let Some(last) = self.last_sent_at else { return true };
        self.resolved_at.is_some_and(|resolved| resolved > last) || last + resend_delay.as_millis() < at
    }
}

/// Expands a template of the rule for one alert.
pub trait Expand {
    /// `text` for an alert with these labels and value. Failures become part of the text.
    fn expand(&self, text: &str, labels: &Labels, value: f64) -> String;
}

/// An alerting rule and its alerts.
#[derive(Debug, Clone)]
pub struct AlertingRule {
    /// The alert's name.
    pub name: String,
    /// PromQL.
    pub expr: String,
    /// How long an alert is pending.
    pub hold: Duration,
    /// How long an alert goes on firing after its condition ended.
    pub keep_firing: Duration,
    /// Labels, as templates.
    pub labels: BTreeMap<String, String>,
    /// Annotations, as templates.
    pub annotations: BTreeMap<String, String>,
    /// Its alerts by the hash of their labels, resolved ones for a while too.
    pub alerts: HashMap<u64, Alert>,
    /// Whether state of before a restart was looked for.
    pub restored: bool,
}

impl AlertingRule {
    /// A rule without alerts.
    pub fn new(
        name: String,
        expr: String,
        hold: Duration,
        keep_firing: Duration,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self { name, expr, hold, keep_firing, labels, annotations, alerts: HashMap::new(), restored: false }
    }

    /// The furthest state of its alerts.
    pub fn state(&self) -> AlertState {
        self.alerts.values().map(|a| a.state).max().unwrap_or(AlertState::Inactive)
    }

    /// Alerts that are pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|a| a.state != AlertState::Inactive)
    }

    /// Moves all alerts on by one evaluation.
    ///
    /// # Errors
    /// If two alerts would have the same labels, or they are more than `limit` (0 for any number): then all of the
    /// rule's alerts are cleared in the latter case and left alone in the former.
    pub fn evaluate(
        &mut self,
        at: Timestamp,
        result: &[VectorSample],
        limit: u64,
        expand: &dyn Expand,
    ) -> Result<(), ResultError> {
        let mut present: HashMap<u64, Alert> = HashMap::with_capacity(result.len());
        for sample in result {
            let alert = self.alert_of(at, sample, expand);
            if present.insert(alert.labels.hash64(), alert).is_some() {
                return Err(ResultError::DuplicateLabels("alert"));
            }
        }
        let alive = |alert: &Alert| alert.state != AlertState::Inactive;
        for (hash, fresh) in &present {
            match self.alerts.get_mut(hash).filter(|known| alive(known)) {
                Some(known) => {
                    known.value = fresh.value;
                    known.annotations.clone_from(&fresh.annotations);
                }
                None => {
                    self.alerts.insert(*hash, fresh.clone());
                }
            }
        }
        let (hold, keep_firing) = (self.hold.as_millis(), self.keep_firing.as_millis());
        self.alerts.retain(|hash, alert| match present.contains_key(hash) {
            true => {
                hold_on(alert, at.0, hold);
                true
            }
            false => let_go(alert, at.0, keep_firing),
        });
        let count = self.active().count();
        if limit > 0 && count as u64 > limit {
            self.alerts.clear();
            return Err(ResultError::Limit { limit, count, what: "alerts" });
        }
        Ok(())
    }

    fn alert_of(&self, at: Timestamp, sample: &VectorSample, expand: &dyn Expand) -> Alert {
        let value = match &sample.value {
            Value::Float(value) => *value,
            Value::Histogram(histogram) => histogram.sum,
        };
        // Templates see the labels of the result, without its name.
        let mut builder = without_name(sample);
        let seen = sample.labels.clone();
        for (name, text) in &self.labels {
            builder.set(name, &expand.expand(text, &seen, value));
        }
        builder.set(ALERT_NAME, &self.name);
        let annotations =
            self.annotations.iter().map(|(name, text)| (name.clone(), expand.expand(text, &seen, value))).collect();
        Alert {
            state: AlertState::Pending,
            labels: builder.build(),
            annotations,
            value,
            active_at: at.0,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
            last_sent_at: None,
        }
    }

    /// `ALERTS` and `ALERTS_FOR_STATE` as they stand.
    pub fn series(&self) -> Vec<VectorSample> {
        let mut series = Vec::new();
        for alert in self.active() {
            let mut builder = alert.labels.to_builder();
            builder.set(METRIC_NAME, ALERTS_FOR_STATE);
            let since = Value::Float((alert.active_at as f64 / 1000.0).floor());
            series.push(VectorSample { labels: builder.build(), value: since });
            builder.set(METRIC_NAME, ALERTS).set(ALERT_STATE, alert.state.as_str());
            series.push(VectorSample { labels: builder.build(), value: Value::Float(1.0) });
        }
        series
    }

    /// Alerts that the notifier should hear of now; they count as sent.
    pub fn to_send(&mut self, at: Timestamp, resend_delay: Duration) -> Vec<Alert> {
        let mut sent = Vec::new();
        for alert in self.alerts.values_mut() {
            if alert.needs_sending(at.0, resend_delay) {
                alert.last_sent_at = Some(at.0);
                sent.push(alert.clone());
            }
        }
        sent
    }
}

/// The condition holds.
fn hold_on(alert: &mut Alert, at: i64, hold: i64) {
    alert.keep_firing_since = None;
    if alert.state == AlertState::Pending && at - alert.active_at >= hold {
        alert.state = AlertState::Firing;
        alert.fired_at = Some(at);
    }
}

/// The condition does not hold; gives whether the alert is kept.
fn let_go(alert: &mut Alert, at: i64, keep_firing: i64) -> bool {
    if alert.state == AlertState::Firing && keep_firing > 0 {
        let since = *alert.keep_firing_since.get_or_insert(at);
        if at - since < keep_firing {
            return true;
        }
    }
    let long_resolved = alert.resolved_at.is_some_and(|resolved| at - resolved > RESOLVED_RETENTION_MS);
    if alert.state == AlertState::Pending || long_resolved {
        return false;
    }
    if alert.state != AlertState::Inactive {
        alert.state = AlertState::Inactive;
        alert.resolved_at = Some(at);
        alert.keep_firing_since = None;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    struct Plain;

    impl Expand for Plain {
        fn expand(&self, text: &str, labels: &Labels, value: f64) -> String {
            text.replace("{i}", labels.get("i").unwrap_or("")).replace("{v}", &value.to_string())
        }
    }

    fn rule(hold: i64, keep: i64) -> AlertingRule {
        AlertingRule::new(
            "a".into(),
            "x".into(),
            Duration::from_seconds(hold),
            Duration::from_seconds(keep),
            BTreeMap::from([("severity".into(), "page{i}".into())]),
            BTreeMap::from([("text".into(), "value {v}".into())]),
        )
    }

    /// Evaluates at `seconds` with one series if `present`; gives the state, and what is sent.
    fn step(rule: &mut AlertingRule, seconds: i64, present: bool) -> (AlertState, Vec<AlertState>) {
        let sample = VectorSample { labels: labels! { "__name__" => "x", "i" => "1" }, value: Value::Float(2.0) };
        let result = if present { vec![sample] } else { vec![] };
        let at = Timestamp(seconds * 1000);
        rule.evaluate(at, &result, 0, &Plain).unwrap();
        let sent = rule.to_send(at, Duration::from_seconds(60));
        (rule.state(), sent.iter().map(|a| a.state).collect())
    }

    #[test]
    fn a_story_of_one_alert() {
        use AlertState::{Firing, Inactive, Pending};
        let mut rule = rule(30, 20);
        for (seconds, present, state, sent) in [
            (0, true, Pending, vec![]),
            (15, true, Pending, vec![]),
            (30, true, Firing, vec![Firing]),
            (45, true, Firing, vec![]),
            (95, true, Firing, vec![Firing]),
            (100, false, Firing, vec![]),
            (110, true, Firing, vec![]),
            (120, false, Firing, vec![]),
            (140, false, Inactive, vec![Inactive]),
            (150, false, Inactive, vec![]),
            (205, false, Inactive, vec![Inactive]),
            (1100, false, Inactive, vec![]),
        ] {
            let (now, was_sent) = step(&mut rule, seconds, present);
            assert_eq!(now, state, "at {seconds} s");
            if seconds != 1100 {
                assert_eq!(was_sent, sent, "sent at {seconds} s");
            }
        }
        assert!(rule.alerts.is_empty(), "forgotten a quarter of an hour after it ended");
    }

    #[test]
    fn a_pending_alert_whose_condition_ends_is_forgotten() {
        let mut rule = rule(30, 0);
        step(&mut rule, 0, true);
        assert_eq!(step(&mut rule, 15, false), (AlertState::Inactive, vec![]));
        assert!(rule.alerts.is_empty());
    }

    #[test]
    fn series_and_templates() {
        let mut rule = rule(0, 0);
        step(&mut rule, 10, true);
        let alert = rule.active().next().unwrap();
        assert_eq!(alert.labels, labels! { "alertname" => "a", "i" => "1", "severity" => "page1" });
        assert_eq!(alert.annotations["text"], "value 2");
        let series: Vec<String> = rule.series().iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(
            series,
            [
                r#"{__name__="ALERTS_FOR_STATE", alertname="a", i="1", severity="page1"}"#,
                r#"{__name__="ALERTS", alertname="a", alertstate="firing", i="1", severity="page1"}"#
            ]
        );
    }

    #[test]
    fn too_many_alerts_clear_all_of_them() {
        let mut rule = rule(0, 0);
        let sample = |i: &str| VectorSample { labels: labels! { "i" => i }, value: Value::Float(1.0) };
        let error = rule.evaluate(Timestamp(0), &[sample("1"), sample("2")], 1, &Plain).unwrap_err();
        assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
        assert!(rule.alerts.is_empty());
        let twice = rule.evaluate(Timestamp(0), &[sample("1"), sample("1")], 0, &Plain);
        assert_eq!(twice, Err(ResultError::DuplicateLabels("alert")));
    }
}

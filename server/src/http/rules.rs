//! Rules and alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::labels::Labels;
use model::number::push_float_exponent;
use rules::alerting::{Alert, AlertState, AlertingRule};
use rules::group::GroupState;
use rules::rule::{Kind, Rule};
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, success};
use super::params::Params;
use super::status::rfc3339;

const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
struct WireGroups {
    groups: Vec<WireGroup>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireGroup {
    name: String,
    file: String,
    rules: Vec<WireRule>,
    interval: f64,
    limit: u64,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireRule {
    Alerting(Box<WireAlerting>),
    Recording(Box<WireRecording>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAlerting {
    state: &'static str,
    name: String,
    query: String,
    duration: f64,
    keep_firing_for: f64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<Vec<WireAlert>>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    evaluation_time: f64,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireRecording {
    name: String,
    query: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    evaluation_time: f64,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    state: &'static str,
    active_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<String>,
    value: String,
}

impl From<&Alert> for WireAlert {
    fn from(alert: &Alert) -> Self {
        let mut value = String::new();
        push_float_exponent(&mut value, alert.value);
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: alert.state.as_str(),
            active_at: rfc3339(alert.active_at),
            keep_firing_since: alert.keep_firing_since.map(rfc3339),
            value,
        }
    }
}

fn wire_alerts(rule: &AlertingRule) -> Vec<WireAlert> {
    let mut alerts: Vec<&Alert> = rule.active().collect();
    alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    alerts.into_iter().map(WireAlert::from).collect()
}

/// Which rules are wanted; an empty list accepts all.
struct Filter {
    kind: &'static str,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    with_alerts: bool,
}

impl Filter {
    fn new(params: &Params) -> Result<Self, ApiError> {
        let kind = match params.get("type").to_lowercase().as_str() {
            "" => "",
            "alert" => "alerting",
            "record" => "recording",
            other => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
        };
        let with_alerts = match params.get("exclude_alerts") {
            "" | "false" | "0" => true,
            "true" | "1" => false,
            other => return Err(ApiError::parameter("exclude_alerts", format!("{other:?} is not true or false"))),
        };
        let list = |name| params.all(name).map(str::to_owned).collect();
        Ok(Self { kind, names: list("rule_name[]"), groups: list("rule_group[]"), files: list("file[]"), with_alerts })
    }

    fn accepts_group(&self, group: &GroupState) -> bool {
        (self.groups.is_empty() || self.groups.contains(&group.name))
            && (self.files.is_empty() || self.files.contains(&group.file))
    }

    fn show(&self, rule: &Rule) -> Option<WireRule> {
        if !self.names.is_empty() && !self.names.iter().any(|name| name == rule.name()) {
            return None;
        }
        let status = &rule.status;
        let health = status.health.as_str();
        let last_error = status.health.error().unwrap_or("").to_owned();
        let last_evaluation = status.evaluated_ms.map_or_else(|| NEVER.into(), rfc3339);
        match &rule.kind {
            Kind::Alerting(alerting) if self.kind != "recording" => Some(WireRule::Alerting(Box::new(WireAlerting {
                state: if status.evaluated_ms.is_none() { "unknown" } else { alerting.state().as_str() },
                name: alerting.name.clone(),
                query: alerting.expr.clone(),
                duration: alerting.hold.as_seconds(),
                keep_firing_for: alerting.keep_firing.as_seconds(),
                labels: alerting.labels.clone(),
                annotations: alerting.annotations.clone(),
                alerts: self.with_alerts.then(|| wire_alerts(alerting)),
                health,
                last_error,
                evaluation_time: status.seconds,
                last_evaluation,
                kind: "alerting",
            }))),
            Kind::Recording(recording) if self.kind != "alerting" => {
                Some(WireRule::Recording(Box::new(WireRecording {
                    name: recording.record.clone(),
                    query: recording.expr.clone(),
                    labels: recording.labels.clone(),
                    health,
                    last_error,
                    evaluation_time: status.seconds,
                    last_evaluation,
                    kind: "recording",
                })))
            }
            _ => None,
        }
    }
}

pub(super) async fn rules(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let filter = Filter::new(&params)?;
    let mut groups = Vec::new();
    for group in api.rules.groups().iter().filter(|group| filter.accepts_group(group)) {
        let rules: Vec<WireRule> = group.rules.iter().filter_map(|rule| filter.show(rule)).collect();
        // A group that a filter left empty is not shown.
        if rules.is_empty() && !group.rules.is_empty() {
            continue;
        }
        groups.push(WireGroup {
            name: group.name.clone(),
            file: group.file.clone(),
            rules,
            interval: group.interval.as_seconds(),
            limit: group.limit,
            evaluation_time: group.seconds,
            last_evaluation: group.evaluated_ms.map_or_else(|| NEVER.into(), rfc3339),
        });
    }
    Ok(success(WireGroups { groups }))
}

#[derive(Serialize)]
struct WireAlerts {
    alerts: Vec<WireAlert>,
}

pub(super) async fn alerts(State(api): State<Arc<Api>>) -> Response {
    let mut alerts = Vec::new();
    for group in api.rules.groups() {
        for rule in &group.rules {
            if let Kind::Alerting(alerting) = &rule.kind
                && alerting.state() != AlertState::Inactive
            {
                alerts.extend(wire_alerts(alerting));
            }
        }
    }
    success(WireAlerts { alerts })
}

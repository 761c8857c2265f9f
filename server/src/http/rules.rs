//! Rules and alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::labels::Labels;
use model::matcher::Matcher;
use model::number::push_float_exponent;
use rules::alerting::{Alert, AlertState, AlertingRule};
use rules::group::GroupState;
use rules::rule::{Kind, Rule};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Api;
use super::envelope::{ApiError, ErrorType, number, success};
use super::params::{Params, parse_integer};
use super::status::rfc3339;
use crate::access::Access;

const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireGroups {
    groups: Vec<WireGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireGroup {
    name: String,
    file: String,
    rules: Vec<WireRule>,
    #[serde(serialize_with = "number")]
    interval: f64,
    limit: u64,
    #[serde(serialize_with = "number")]
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
    #[serde(serialize_with = "number")]
    duration: f64,
    #[serde(serialize_with = "number")]
    keep_firing_for: f64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Null if they are not wanted.
    alerts: Option<Vec<WireAlert>>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    #[serde(serialize_with = "number")]
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
    labels: BTreeMap<String, String>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    #[serde(serialize_with = "number")]
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

fn wire_alerts(rule: &AlertingRule, access: &Access) -> Vec<WireAlert> {
    let mut alerts: Vec<&Alert> = rule.active().filter(|alert| access.sees(&alert.labels)).collect();
    alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    alerts.into_iter().map(WireAlert::from).collect()
}

/// Which rules are wanted; an empty list accepts all.
struct Filter {
    kind: &'static str,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    /// Of which a rule's own labels must satisfy one.
    selectors: Vec<Vec<Matcher>>,
    access: Access,
    with_alerts: bool,
}

impl Filter {
    fn new(access: Access, params: &Params) -> Result<Self, ApiError> {
        params.whole()?;
        let selectors = params.selectors().map_err(|error| ApiError::new(ErrorType::BadData, error))?;
        let kind = match params.get("type").to_lowercase().as_str() {
            "" => "",
            "alert" => "alerting",
            "record" => "recording",
            other => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
        };
        let wrong = |error| ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {error}"));
        let excluded = params.truth("exclude_alerts").map_err(wrong)?;
        let list = |name| params.all(name).map(str::to_owned).collect();
        Ok(Self {
            kind,
            names: list("rule_name[]"),
            groups: list("rule_group[]"),
            files: list("file[]"),
            selectors,
            access,
            with_alerts: excluded != Some(true),
        })
    }

    fn accepts_group(&self, group: &GroupState) -> bool {
        (self.groups.is_empty() || self.groups.contains(&group.name))
            && (self.files.is_empty() || self.files.contains(&group.file))
    }

    fn accepts_labels(&self, rule: &Rule) -> bool {
        let labels = labels_of(rule);
        let accepts = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).map_or("", String::as_str));
        self.access.sees_value_of(|name| labels.get(name).map(String::as_str))
            && (self.selectors.is_empty() || self.selectors.iter().any(|matchers| matchers.iter().all(accepts)))
    }

    fn show(&self, rule: &Rule) -> Option<WireRule> {
        if !self.names.is_empty() && !self.names.iter().any(|name| name == rule.name()) || !self.accepts_labels(rule) {
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
                alerts: self.with_alerts.then(|| wire_alerts(alerting, &self.access)),
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

/// The labels that a rule adds.
fn labels_of(rule: &Rule) -> &BTreeMap<String, String> {
    match &rule.kind {
        Kind::Alerting(alerting) => &alerting.labels,
        Kind::Recording(recording) => &recording.labels,
    }
}

/// A page of groups: how many it may hold, and the token of its first.
struct Page {
    groups_max: usize,
    begin: String,
}

impl Page {
    /// Reads `group_limit` and `group_next_token`; no page if all groups are wanted.
    fn new(params: &Params) -> Result<Option<Self>, ApiError> {
        let (limit, begin) = (params.get("group_limit"), params.get("group_next_token"));
        let wrong = |text: String| ApiError::parameter("group_limit", text);
        if limit.is_empty() {
            let text = "group_limit needs to be present in order to paginate over the groups";
            return if begin.is_empty() { Ok(None) } else { Err(ApiError::parameter("group_next_token", text)) };
        }
        let number = parse_integer(limit).and_then(|number| match i32::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => Err(format!("strconv.Atoi: parsing {limit:?}: value out of range")),
        });
        let number = number.map_err(|error| {
            let error = error.replacen("Atoi", "ParseInt", 1);
            wrong(format!("group_limit needs to be a valid number: {error}"))
        })?;
        let groups_max = usize::try_from(number).ok().filter(|number| *number > 0);
        let groups_max = groups_max.ok_or_else(|| wrong("group_limit needs to be greater than 0".into()))?;
        Ok(Some(Self { groups_max, begin: begin.to_owned() }))
    }
}

/// What names the group that a page begins with, as upstream makes it.
fn token_of(group: &GroupState) -> String {
    let digest = Sha256::digest(format!("{};{}", group.file, group.name).as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn rules(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let filter = Filter::new(access, &params)?;
    let page = Page::new(&params)?;
    let all = api.rules.groups();
    let mut all = all.iter().peekable();
    if let Some(page) = page.as_ref().filter(|page| !page.begin.is_empty()) {
        while all.next_if(|group| token_of(group) != page.begin).is_some() {}
        if all.peek().is_none() {
            let text = format!("invalid group_next_token '{}'. were rule groups changed?", page.begin);
            return Err(ApiError::parameter("group_next_token", text));
        }
    }
    let mut groups = Vec::new();
    let mut group_next_token = None;
    for group in all.filter(|group| filter.accepts_group(group)) {
        let rules: Vec<WireRule> = group.rules.iter().filter_map(|rule| filter.show(rule)).collect();
        // A group without rules, or that a filter left empty, is not shown.
        if rules.is_empty() {
            continue;
        }
        if page.as_ref().is_some_and(|page| page.groups_max == groups.len()) {
            group_next_token = Some(token_of(group));
            break;
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
    Ok(success(WireGroups { groups, group_next_token }))
}

#[derive(Serialize)]
struct WireAlerts {
    alerts: Vec<WireAlert>,
}

pub(super) async fn alerts(State(api): State<Arc<Api>>, access: Access) -> Response {
    let mut alerts = Vec::new();
    for group in api.rules.groups() {
        for rule in &group.rules {
            if let Kind::Alerting(alerting) = &rule.kind
                && alerting.state() != AlertState::Inactive
            {
                alerts.extend(wire_alerts(alerting, &access));
            }
        }
    }
    success(WireAlerts { alerts })
}

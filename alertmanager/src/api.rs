//! API v2, as Alertmanager's OpenAPI document has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router as HttpRouter, body::Bytes};
use jiff::Timestamp as Time;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::pattern::Pattern;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, rfc3339};
use crate::matchers;
use crate::router::{PostedAlert, Router};
use crate::silence::{Silence, SilenceError, SilenceState};

/// The largest body that is read.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The API's routes, to be nested under `/api/v2`.
pub fn routes(router: Arc<Router>) -> HttpRouter {
    HttpRouter::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/alerts", get(alerts).post(post_alerts))
        .route("/alerts/groups", get(groups))
        .route("/silences", get(silences).post(post_silence))
        .route("/silence/{id}", get(silence).delete(delete_silence))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(router)
}

/// An answer that says what was wrong: a JSON string, as upstream answers.
struct Fault(StatusCode, String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn bad_request(error: impl std::fmt::Display) -> Fault {
    Fault(StatusCode::BAD_REQUEST, error.to_string())
}

/// Query parameters, repeated ones kept.
struct Params(Vec<(String, String)>);

impl Params {
    fn new(query: Option<String>) -> Self {
        Self(url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.all(name).last() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad_request(format!("{name} must be true or false, got {other:?}"))),
        }
    }

    fn matchers(&self) -> Result<Vec<Matcher>, Fault> {
        let mut all = Vec::new();
        for text in self.all("filter").chain(self.all("filter[]")) {
            all.extend(matchers::parse(text).map_err(bad_request)?);
        }
        Ok(all)
    }
}

async fn status(State(router): State<Arc<Router>>) -> Response {
    let original = serde_saphyr::to_string(&router.config()).unwrap_or_default();
    Json(serde_json::json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": {
            "version": env!("CARGO_PKG_VERSION"), "revision": "", "branch": "", "buildUser": "", "buildDate": "",
            "goVersion": "",
        },
        "config": { "original": original },
        "uptime": rfc3339(router.started_ms),
    }))
    .into_response()
}

async fn receivers(State(router): State<Arc<Router>>) -> Response {
    let names: Vec<_> = router.config().receivers.iter().map(|r| serde_json::json!({ "name": r.name })).collect();
    Json(names).into_response()
}

/// `postableAlert`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WirePosted {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Option<Time>,
    ends_at: Option<Time>,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

/// Go's zero time stands for "not set".
fn set_time(time: Option<Time>) -> Option<i64> {
    let zero: Time = Time::from_second(-62_135_596_800).unwrap_or(Time::MIN);
    time.filter(|time| *time > zero).map(Time::as_millisecond)
}

/// Those that are valid are taken even if others are not.
async fn post_alerts(State(router): State<Arc<Router>>, body: Bytes) -> Result<StatusCode, Fault> {
    let posted: Vec<WirePosted> = serde_json::from_slice(&body).map_err(bad_request)?;
    let mut faults = Vec::new();
    for alert in posted {
        let mut labels = alert.labels;
        labels.retain(|_, value| !value.is_empty());
        let posted = PostedAlert {
            labels,
            annotations: alert.annotations,
            starts_at_ms: set_time(alert.starts_at),
            ends_at_ms: set_time(alert.ends_at),
            generator_url: alert.generator_url,
        };
        if let Err(error) = router.accept(posted).await {
            faults.push(error.to_string());
        }
    }
    if faults.is_empty() { Ok(StatusCode::OK) } else { Err(bad_request(faults.join("; "))) }
}

/// `gettableAlert`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert {
    annotations: BTreeMap<String, String>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<WireReceiver>,
    starts_at: String,
    status: WireAlertStatus,
    updated_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    labels: Labels,
}

#[derive(Debug, Serialize)]
struct WireReceiver {
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAlertStatus {
    inhibited_by: Vec<String>,
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// Which alerts are wanted.
struct AlertFilter {
    matchers: Vec<Matcher>,
    receiver: Option<Pattern>,
    active: bool,
    silenced: bool,
    inhibited: bool,
}

impl AlertFilter {
    fn new(params: &Params) -> Result<Self, Fault> {
        let receiver = params.all("receiver").last().map(Pattern::new).transpose().map_err(bad_request)?;
        Ok(Self {
            matchers: params.matchers()?,
            receiver,
            active: params.flag("active")?,
            silenced: params.flag("silenced")?,
            inhibited: params.flag("inhibited")?,
        })
    }

    /// The alert as the API shows it, if it is wanted.
    fn show(&self, router: &Router, alert: &Alert, firing: &[Alert], now_ms: i64) -> Option<WireAlert> {
        if !self.matchers.iter().all(|matcher| matcher.matches_labels(&alert.labels)) {
            return None;
        }
        let receivers = router.receivers_of(&alert.labels);
        if self.receiver.as_ref().is_some_and(|wanted| !receivers.iter().any(|name| wanted.is_match(name))) {
            return None;
        }
        let silenced_by = router.state.silences.silenced_by(&alert.labels, now_ms);
        let inhibited_by: Vec<String> =
            router.inhibited_by(&alert.labels, firing).iter().map(|f| format!("{f:016x}")).collect();
        let suppressed = !silenced_by.is_empty() || !inhibited_by.is_empty();
        let unwanted = (!self.active && !suppressed)
            || (!self.silenced && !silenced_by.is_empty())
            || (!self.inhibited && !inhibited_by.is_empty());
        if unwanted {
            return None;
        }
        Some(WireAlert {
            annotations: alert.annotations.clone(),
            ends_at: rfc3339(alert.ends_at_ms),
            fingerprint: format!("{:016x}", alert.fingerprint()),
            receivers: receivers.into_iter().map(|name| WireReceiver { name }).collect(),
            starts_at: rfc3339(alert.starts_at_ms),
            status: WireAlertStatus {
                inhibited_by,
                muted_by: Vec::new(),
                silenced_by,
                state: if suppressed { "suppressed" } else { "active" },
            },
            updated_at: rfc3339(alert.updated_at_ms),
            generator_url: alert.generator_url.clone(),
            labels: alert.labels.clone(),
        })
    }
}

async fn alerts(State(router): State<Arc<Router>>, RawQuery(query): RawQuery) -> Result<Response, Fault> {
    let filter = AlertFilter::new(&Params::new(query))?;
    let now_ms = router.now_ms();
    let firing = router.state.alerts.firing(now_ms);
    let mut shown: Vec<WireAlert> =
        firing.iter().filter_map(|alert| filter.show(&router, alert, &firing, now_ms)).collect();
    shown.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    Ok(Json(shown).into_response())
}

#[derive(Debug, Serialize)]
struct WireGroup {
    labels: Labels,
    receiver: WireReceiver,
    alerts: Vec<WireAlert>,
}

async fn groups(State(router): State<Arc<Router>>, RawQuery(query): RawQuery) -> Result<Response, Fault> {
    let filter = AlertFilter::new(&Params::new(query))?;
    let now_ms = router.now_ms();
    let firing = router.state.alerts.firing(now_ms);
    let mut groups = Vec::new();
    for view in router.groups().into_values() {
        let alerts = view.alerts.iter().filter_map(|fingerprint| router.state.alerts.get(*fingerprint));
        let alerts: Vec<WireAlert> = alerts
            .filter(|alert| !alert.is_resolved_at(now_ms))
            .filter_map(|alert| filter.show(&router, &alert, &firing, now_ms))
            .collect();
        if !alerts.is_empty() {
            groups.push(WireGroup { labels: view.labels, receiver: WireReceiver { name: view.receiver }, alerts });
        }
    }
    Ok(Json(groups).into_response())
}

/// `matcher`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl WireMatcher {
    fn of(matcher: &Matcher) -> Self {
        Self {
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
            is_regex: matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex),
            is_equal: matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex),
        }
    }

    fn compile(&self) -> Result<Matcher, Fault> {
        if self.name.is_empty() {
            return Err(bad_request("matcher without a name"));
        }
        let op = match (self.is_equal, self.is_regex) {
            (true, false) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (false, true) => MatchOp::NotRegex,
        };
        Matcher::new(&self.name, op, &self.value).map_err(bad_request)
    }
}

/// `postableSilence`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePostedSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<WireMatcher>,
    starts_at: Time,
    ends_at: Time,
    created_by: String,
    comment: String,
}

fn wire_silence(silence: &Silence, now_ms: i64) -> serde_json::Value {
    serde_json::json!({
        "id": silence.id,
        "status": { "state": silence.state_at(now_ms).as_str() },
        "updatedAt": rfc3339(silence.updated_at_ms),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": rfc3339(silence.ends_at_ms),
        "matchers": silence.matchers.iter().map(WireMatcher::of).collect::<Vec<_>>(),
        "startsAt": rfc3339(silence.starts_at_ms),
    })
}

/// Active ones first, those that end soonest before others; then pending, then expired ones.
async fn silences(State(router): State<Arc<Router>>, RawQuery(query): RawQuery) -> Result<Response, Fault> {
    let params = Params::new(query);
    let wanted = params.matchers()?;
    let states = [
        (SilenceState::Active, params.flag("active")?),
        (SilenceState::Pending, params.flag("pending")?),
        (SilenceState::Expired, params.flag("expired")?),
    ];
    let now_ms = router.now_ms();
    // A filter names matchers that the silence has, by the value they compare with.
    let fits = |silence: &Silence| {
        wanted
            .iter()
            .all(|filter| silence.matchers.iter().any(|m| m.name() == filter.name() && filter.matches(m.value())))
    };
    let mut shown: Vec<Silence> = router.state.silences.all().into_iter().filter(fits).collect();
    let rank = |silence: &Silence| states.iter().position(|(state, _)| *state == silence.state_at(now_ms));
    shown.retain(|silence| rank(silence).is_some_and(|i| states[i].1));
    shown.sort_by_key(|silence| (rank(silence), silence.ends_at_ms, silence.id.clone()));
    let shown: Vec<_> = shown.iter().map(|silence| wire_silence(silence, now_ms)).collect();
    Ok(Json(shown).into_response())
}

async fn post_silence(State(router): State<Arc<Router>>, body: Bytes) -> Result<Response, Fault> {
    let posted: WirePostedSilence = serde_json::from_slice(&body).map_err(bad_request)?;
    let silence = Silence {
        id: posted.id.unwrap_or_default(),
        matchers: posted.matchers.iter().map(WireMatcher::compile).collect::<Result<_, _>>()?,
        starts_at_ms: posted.starts_at.as_millisecond(),
        ends_at_ms: posted.ends_at.as_millisecond(),
        updated_at_ms: 0,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    let id = router.state.silences.set(silence, router.now_ms()).map_err(silence_fault)?;
    Ok(Json(serde_json::json!({ "silenceID": id })).into_response())
}

async fn silence(State(router): State<Arc<Router>>, Path(id): Path<String>) -> Result<Response, Fault> {
    let silence = router.state.silences.get(&id);
    let silence = silence.ok_or_else(|| Fault(StatusCode::NOT_FOUND, format!("silence {id} not found")))?;
    Ok(Json(wire_silence(&silence, router.now_ms())).into_response())
}

async fn delete_silence(State(router): State<Arc<Router>>, Path(id): Path<String>) -> Result<Response, Fault> {
    router.state.silences.expire(&id, router.now_ms()).map_err(silence_fault)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], "").into_response())
}

fn silence_fault(error: SilenceError) -> Fault {
    let code = match error {
        SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
        SilenceError::Journal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    Fault(code, error.to_string())
}

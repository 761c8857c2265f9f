//! Targets and what they say of their metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;
use model::relabel::{RelabelConfig, Verdict};
use scraper::config::JobConfig;
use scraper::pool::PoolView;
use scraper::target::Target;
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, ErrorType, number, success};
use super::params::Params;
use super::status::rfc3339;
use crate::access::Access;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTargets {
    active_targets: Vec<WireTarget>,
    dropped_targets: Vec<WireDropped>,
    /// Null if dropped ones are not wanted.
    dropped_target_counts: Option<BTreeMap<String, usize>>,
    /// Jobs with limits of their series; not upstream's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    series_limits: BTreeMap<String, WireSeriesLimits>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSeriesLimits {
    active_series: u64,
    active_series_limit: u64,
    metric_series_limit: u64,
    samples_over_active_limit: u64,
    samples_over_metric_limit: u64,
}

impl WireSeriesLimits {
    fn of(view: &PoolView) -> Option<Self> {
        let counts = view.series.counts();
        let (active_series_limit, metric_series_limit) = (view.limits.active_series, view.limits.metric_series);
        (active_series_limit > 0 || metric_series_limit > 0).then_some(Self {
            active_series: counts.active,
            active_series_limit,
            metric_series_limit,
            samples_over_active_limit: counts.over_active_limit,
            samples_over_metric_limit: counts.over_metric_limit,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTarget {
    discovered_labels: Labels,
    labels: Labels,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    #[serde(serialize_with = "number")]
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireDropped {
    discovered_labels: Labels,
    scrape_pool: String,
}

pub(super) async fn targets(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let (active, mut dropped) = match params.get("state").to_lowercase().as_str() {
        "active" => (true, false),
        "dropped" => (false, true),
        "" | "any" => (true, true),
        _ => (false, false),
    };
    // What was dropped has no labels that a series could have.
    dropped &= !access.is_confined();
    let pool = params.get("scrapePool");
    let mut shown = WireTargets {
        active_targets: vec![],
        dropped_targets: vec![],
        dropped_target_counts: dropped.then(BTreeMap::new),
        series_limits: BTreeMap::new(),
    };
    for view in api.scraper.pools() {
        // These are of all pools, whichever is asked for.
        if let Some(counts) = &mut shown.dropped_target_counts {
            counts.insert(view.job.clone(), view.dropped_count);
        }
        if !pool.is_empty() && view.job != pool {
            continue;
        }
        if active {
            let seen = view.active.iter().filter(|active| access.sees(&active.target.labels));
            shown.active_targets.extend(seen.map(|active| wire_target(&api, &view.job, &active.target)));
        }
        let limits = WireSeriesLimits::of(&view).filter(|_| !access.is_confined());
        shown.series_limits.extend(limits.map(|limits| (view.job.clone(), limits)));
        if dropped {
            shown.dropped_targets.extend(
                view.dropped
                    .into_iter()
                    .map(|discovered_labels| WireDropped { discovered_labels, scrape_pool: view.job.clone() }),
            );
        }
    }
    Ok(success(shown))
}

fn wire_target(api: &Api, pool: &str, target: &Target) -> WireTarget {
    let status = target.status.lock().clone();
    WireTarget {
        discovered_labels: target.discovered.clone(),
        labels: target.labels.clone(),
        scrape_pool: pool.to_owned(),
        scrape_url: target.url.to_string(),
        global_url: global_url(api, target),
        last_error: status.last_error,
        last_scrape: status.last_scrape_ms.map_or_else(|| "0001-01-01T00:00:00Z".into(), rfc3339),
        last_scrape_duration: status.last_duration_seconds,
        health: status.health.as_str(),
        scrape_interval: target.interval.to_string(),
        scrape_timeout: target.timeout.to_string(),
    }
}

/// A target on this machine as others reach it: under the host of the external URL; this server itself under its port
/// and scheme too.
fn global_url(api: &Api, target: &Target) -> String {
    let mut url = target.url.clone();
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let external = url::Url::parse(&api.external_url).ok();
    if let (true, Some((external, host))) = (local, external.as_ref().and_then(|e| Some((e, e.host_str()?)))) {
        if api.listening.iter().any(|own| url.port_or_known_default() == Some(own.port())) {
            // What was part of a URL can be part of another.
            let _set = (url.set_scheme(external.scheme()), url.set_port(external.port()));
        }
        let _set = url.set_host(Some(host));
    }
    url.into()
}

#[derive(Serialize)]
struct WirePools {
    #[serde(rename = "scrapePools")]
    scrape_pools: Vec<String>,
}

pub(super) async fn pools(State(api): State<Arc<Api>>) -> Response {
    success(WirePools { scrape_pools: api.scraper.pools().into_iter().map(|view| view.job).collect() })
}

#[derive(Serialize, PartialEq)]
struct WireMetadata {
    #[serde(rename = "type")]
    metric_type: &'static str,
    help: String,
    unit: String,
}

impl From<&Metadata> for WireMetadata {
    fn from(metadata: &Metadata) -> Self {
        Self { metric_type: metadata.metric_type.as_str(), help: metadata.help.clone(), unit: metadata.unit.clone() }
    }
}

/// How much is wanted at most; everything if it is not given or negative.
fn limit(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    match params.get(name) {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(limit) => Ok(usize::try_from(limit).ok()),
            Err(_) => Err(ApiError::new(ErrorType::BadData, format!("{name} must be a number"))),
        },
    }
}

pub(super) async fn metadata(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params, "limit")?;
    let per_metric = self::limit(&params, "limit_per_metric")?.filter(|limit| *limit > 0);
    let metric = params.get("metric");
    let mut all: BTreeMap<String, Vec<WireMetadata>> = BTreeMap::new();
    let targets = api.scraper.pools().into_iter().flat_map(|view| view.active);
    for active in targets.filter(|active| access.sees(&active.target.labels)) {
        for (name, metadata) in active.metadata.lock().iter().filter(|(name, _)| metric.is_empty() || *name == metric) {
            let known = all.entry(name.to_owned()).or_default();
            let wire = WireMetadata::from(metadata);
            if per_metric.is_none_or(|limit| known.len() < limit) && !known.contains(&wire) {
                known.push(wire);
            }
        }
    }
    if let Some(limit) = limit {
        all = all.into_iter().take(limit).collect();
    }
    Ok(success(all))
}

#[derive(Serialize)]
struct WireTargetMetadata {
    target: Labels,
    #[serde(skip_serializing_if = "String::is_empty")]
    metric: String,
    #[serde(flatten)]
    metadata: WireMetadata,
}

pub(super) async fn target_metadata(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params, "limit")?;
    let metric = params.get("metric");
    let matchers: Vec<Matcher> = match params.get("match_target") {
        "" => Vec::new(),
        text => promql::parse_selector(text).map_err(|e| ApiError::parameter("match_target", e))?,
    };
    let mut found = Vec::new();
    for active in api.scraper.pools().into_iter().flat_map(|view| view.active) {
        let labels = &active.target.labels;
        if !access.sees(labels) || !matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
            continue;
        }
        for (name, metadata) in active.metadata.lock().iter().filter(|(name, _)| metric.is_empty() || *name == metric) {
            // Who asks for one metric knows its name.
            let metric = if metric.is_empty() { name.to_owned() } else { String::new() };
            found.push(WireTargetMetadata { target: labels.clone(), metric, metadata: metadata.into() });
        }
    }
    found.sort_by(|a, b| (&a.target, &a.metric).cmp(&(&b.target, &b.metric)));
    if let Some(limit) = limit {
        found.truncate(limit);
    }
    Ok(success(found))
}

/// The job that parameter `scrapePool` names.
fn job_of(api: &Api, params: &Params) -> Result<JobConfig, ApiError> {
    let pool = params.get("scrapePool");
    if pool.is_empty() {
        return Err(ApiError::new(ErrorType::BadData, "no scrapePool parameter provided"));
    }
    let found = api.config.read().jobs.iter().find(|job| job.name == pool).cloned();
    found.ok_or_else(|| {
        let text = format!("error retrieving scrape config: scrape pool {pool:?} not found");
        ApiError::new(ErrorType::BadData, text)
    })
}

#[derive(Serialize)]
struct PoolConfig {
    yaml: String,
}

/// The configuration of one pool, secrets masked.
pub(super) async fn pool_config(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let job = job_of(&api, &params)?;
    let yaml = serde_saphyr::to_string(&job.written).map_err(|e| ApiError::new(ErrorType::Internal, e.to_string()))?;
    Ok(success(PoolConfig { yaml }))
}

#[derive(Serialize)]
struct RelabelSteps {
    steps: Vec<RelabelStep>,
}

#[derive(Serialize)]
struct RelabelStep {
    rule: RelabelConfig,
    output: Labels,
    keep: bool,
}

/// What is wrong with a text that should be JSON; of the commonest faults in the words of Go's decoder.
fn json_fault(text: &str, error: &serde_json::Error) -> String {
    let first = text.trim_start().chars().next();
    match (error.classify(), first) {
        (serde_json::error::Category::Eof, _) => "unexpected end of JSON input".into(),
        (serde_json::error::Category::Data, Some('[')) => {
            "json: cannot unmarshal array into Go value of type map[string]string".into()
        }
        (serde_json::error::Category::Syntax, Some(c)) if !r#"{["-0123456789tfn"#.contains(c) => {
            format!("invalid character {c:?} looking for beginning of value")
        }
        _ => error.to_string(),
    }
}

/// What each relabelling rule of a pool makes of given labels.
pub(super) async fn relabel_steps(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let bad = |text: String| ApiError::new(ErrorType::BadData, text);
    if params.get("scrapePool").is_empty() {
        return Err(bad("no scrapePool parameter provided".into()));
    }
    if params.get("labels").is_empty() {
        return Err(bad("no labels parameter provided".into()));
    }
    let text = params.get("labels");
    let given: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|e| bad(format!("error parsing labels: {}", json_fault(text, &e))))?;
    let given = Labels::from_pairs(given).map_err(|e| bad(format!("error parsing labels: {e}")))?;
    let job = job_of(&api, &params)?;
    let mut labels = given.to_builder();
    let mut keep = true;
    let steps = job.relabel.iter().map(|rule| {
        keep = keep && rule.apply(&mut labels) == Verdict::Keep;
        let output = if keep { labels.build() } else { Labels::empty() };
        RelabelStep { rule: rule.config().clone(), output, keep }
    });
    Ok(success(RelabelSteps { steps: steps.collect() }))
}

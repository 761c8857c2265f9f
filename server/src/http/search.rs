//! Search for names of metrics and labels and for values, as completion asks for it (feature `search-api`): lines of JSON,
//! batches of results and then how it ended.

mod score;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{Querier, Queryable, StorageError};
use serde::Serialize;

use super::Api;
use super::envelope::{ApiError, ErrorType};
use super::params::Params;
use super::streamed::{self, BodyWriter, Gone};
use crate::access::Access;
use score::{Algorithm, Terms};

const NDJSON: &str = "application/x-ndjson; charset=utf-8";
const LIMIT: usize = 100;
const BATCH_SIZE: usize = 100;
const TERMS_MAX: usize = 32;
const HOUR_MS: i64 = 3_600_000;

/// What is looked for.
enum Kind {
    MetricNames { with_metadata: bool },
    LabelNames,
    LabelValues { label: String },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Up,
    Down,
    Score,
}

struct Search {
    selectors: Vec<Vec<Matcher>>,
    terms: Terms,
    order: Order,
    with_score: bool,
    start: Timestamp,
    end: Timestamp,
    limit: usize,
    batch_size: usize,
}

#[derive(Serialize)]
struct Found<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    r#type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
}

#[derive(Serialize)]
struct Batch<'a> {
    results: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Trailer {
    status: &'static str,
    has_more: bool,
}

pub(super) async fn metric_names(state: State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let with_metadata = boolean(&params, "include_metadata", false)?;
    run(state, access, &params, Kind::MetricNames { with_metadata }, "metric_names").await
}

pub(super) async fn label_names(state: State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    run(state, access, &params, Kind::LabelNames, "label_names").await
}

pub(super) async fn label_values(state: State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let label = params.get("label").to_owned();
    run(state, access, &params, Kind::LabelValues { label }, "label_values").await
}

async fn run(
    State(api): State<Arc<Api>>,
    access: Access,
    params: &Params,
    kind: Kind,
    endpoint: &'static str,
) -> Result<Response, ApiError> {
    if !api.features.search {
        return Err(ApiError::new(ErrorType::Unavailable, "search API disabled"));
    }
    let search = Search::new(params, &api, endpoint)?;
    if matches!(&kind, Kind::LabelValues { label } if label.is_empty()) {
        return Err(bad("missing required parameter \"label\""));
    }
    let metadata = match kind {
        Kind::MetricNames { with_metadata: true } => metadata(&api, &access),
        _ => HashMap::new(),
    };
    let joined = tokio::task::spawn_blocking(move || {
        let found = search.found(&access.view(&*api.db), &kind)?;
        Ok::<_, StorageError>((search, kind, found))
    });
    let failed = |error: tokio::task::JoinError| ApiError::new(ErrorType::Internal, error.to_string());
    let (search, kind, found) = joined.await.map_err(failed)??;
    let body = streamed::body(move |out| write(out, &search, &kind, &found, &metadata));
    Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response())
}

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorType::BadData, text)
}

fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(bad(format!("invalid {name} {other:?}: must be boolean"))),
    }
}

fn positive(params: &Params, name: &str, default: usize) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => {
            let number = text.parse().ok().filter(|number: &usize| *number > 0);
            number.ok_or_else(|| bad(format!("invalid {name} {text:?}: must be a positive integer")))
        }
    }
}

/// Metadata by family, the first that a target tells.
fn metadata(api: &Api, access: &Access) -> HashMap<String, Metadata> {
    let mut all = HashMap::new();
    let targets = api.scraper.pools().into_iter().flat_map(|view| view.active);
    for active in targets.filter(|active| access.sees(&active.target.labels)) {
        for (name, metadata) in active.metadata.lock().iter() {
            all.entry(name.to_owned()).or_insert_with(|| metadata.clone());
        }
    }
    all
}

impl Search {
    fn new(params: &Params, api: &Api, endpoint: &str) -> Result<Self, ApiError> {
        let now = Timestamp(api.clock.now_ms());
        let start = params.time("start")?.unwrap_or(now - HOUR_MS);
        let end = params.time("end")?.unwrap_or(now);
        if end < start {
            return Err(bad("end timestamp must not be before start timestamp"));
        }
        let selectors = params.selectors().map_err(bad)?;
        let given: Vec<&str> = params.all("search[]").collect();
        if given.len() > TERMS_MAX {
            return Err(bad(format!("too many search[] terms: got {}, maximum is {TERMS_MAX}", given.len())));
        }
        let threshold = match params.get("fuzz_threshold") {
            "" => 0,
            text => {
                let number = text.parse().ok().filter(|number: &u8| *number <= 100);
                number.ok_or_else(|| bad(format!("invalid fuzz_threshold {text:?}: must be 0-100")))?
            }
        };
        let algorithm = match params.get("fuzz_alg") {
            "" | "subsequence" => Algorithm::Subsequence,
            "jarowinkler" => Algorithm::JaroWinkler,
            other => {
                return Err(bad(format!("unsupported fuzz_alg {other:?}: must be one of [subsequence jarowinkler]")));
            }
        };
        let is_case_sensitive = boolean(params, "case_sensitive", true)?;
        let with_score = boolean(params, "include_score", false)?;
        let order = order(params, &given, endpoint)?;
        let limit_max = api.web.search_max;
        let default = if limit_max > 0 { LIMIT.min(limit_max) } else { LIMIT };
        let limit = positive(params, "limit", default)?;
        if limit_max > 0 && limit > limit_max {
            let text =
                format!("limit {limit} exceeds the configured maximum ({limit_max}, see --web.search.max-limit)");
            return Err(bad(text));
        }
        let batch_size = positive(params, "batch_size", BATCH_SIZE)?;
        let terms = Terms::new(&given, algorithm, f64::from(threshold) / 100.0, is_case_sensitive);
        Ok(Self { selectors, terms, order, with_score, start, end, limit, batch_size })
    }

    /// What matches, with scores, ordered; one more than the limit if there are more.
    fn found(&self, storage: &dyn Queryable, kind: &Kind) -> Result<Vec<(String, f64)>, StorageError> {
        let querier = storage.querier(self.start, self.end)?;
        let ask = |querier: &dyn Querier, matchers: &[Matcher]| match kind {
            Kind::MetricNames { .. } => querier.label_values(METRIC_NAME, matchers, 0),
            Kind::LabelNames => querier.label_names(matchers, 0),
            Kind::LabelValues { label } => querier.label_values(label, matchers, 0),
        };
        let mut all = BTreeSet::new();
        if self.selectors.is_empty() {
            all.extend(ask(&*querier, &[])?);
        }
        for matchers in &self.selectors {
            all.extend(ask(&*querier, matchers)?);
        }
        let scored = all.into_iter().filter_map(|text| Some((self.terms.score(&text)?, text)));
        let mut found: Vec<(String, f64)> = scored.map(|(score, text)| (text, score)).collect();
        match self.order {
            Order::Up => {}
            Order::Down => found.reverse(),
            // Stable: equal scores stay in order of their texts.
            Order::Score => found.sort_by(|a, b| b.1.total_cmp(&a.1)),
        }
        found.truncate(self.limit.saturating_add(1));
        Ok(found)
    }
}

fn order(params: &Params, terms: &[&str], endpoint: &str) -> Result<Order, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    if !direction.is_empty() && by.is_empty() {
        return Err(bad("sort_dir is only valid when sort_by is set"));
    }
    if !direction.is_empty() && by == "score" {
        return Err(bad("sort_dir is not supported for sort_by=score"));
    }
    if !matches!(direction, "" | "asc" | "dsc") {
        return Err(bad(format!("invalid sort_dir {direction:?}: must be \"asc\" or \"dsc\"")));
    }
    match by {
        "score" if terms.is_empty() => Err(bad("sort_by=score requires search[] to be set")),
        "score" => Ok(Order::Score),
        "alpha" if direction == "dsc" => Ok(Order::Down),
        "" | "alpha" => Ok(Order::Up),
        other => Err(bad(format!("invalid sort_by {other:?} for {endpoint}: must be \"alpha\" or \"score\""))),
    }
}

fn write(
    out: &mut BodyWriter,
    search: &Search,
    kind: &Kind,
    found: &[(String, f64)],
    metadata: &HashMap<String, Metadata>,
) -> Result<(), Gone> {
    let has_more = found.len() > search.limit;
    let shown = &found[..found.len().min(search.limit)];
    let is_value = matches!(kind, Kind::LabelValues { .. });
    let entry = |(text, score): &'_ (String, f64)| -> Found<'_> {
        let metadata = metadata.get(text);
        Found {
            name: None,
            value: None,
            score: search.with_score.then_some(*score),
            r#type: metadata.map_or("", |metadata| metadata.metric_type.as_str()),
            help: metadata.map_or("", |metadata| &metadata.help),
            unit: metadata.map_or("", |metadata| &metadata.unit),
        }
    };
    // The first batch comes even if it is empty.
    let mut batches = shown.chunks(search.batch_size);
    let mut next = Some(batches.next().unwrap_or(&[]));
    while let Some(batch) = next {
        let results = batch.iter().map(|pair| {
            let text = Some(pair.0.as_str());
            let (name, value) = if is_value { (None, text) } else { (text, None) };
            Found { name, value, ..entry(pair) }
        });
        line(out, &Batch { results: results.collect() })?;
        next = batches.next();
    }
    line(out, &Trailer { status: "success", has_more })
}

fn line(out: &mut BodyWriter, line: &impl Serialize) -> Result<(), Gone> {
    // These types always have a form in JSON.
    let text = serde_json::to_string(line).unwrap_or_default();
    out.text(&text)?;
    out.text("\n")?;
    out.flush()
}

//! Series, label names and label values.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::annotations::Annotations;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Order, Querier, Queryable, SelectHints, StorageError};

use super::Api;
use super::envelope::{ApiError, ErrorType, envelope_end};
use super::json::{Sink, append_labels, append_string, write_list};
use super::params::Params;
use super::streamed::{self, Gone};
use crate::access::Access;

/// What `U__` begins: a UTF-8 name with every other character as `_hex_`.
const ESCAPED_PREFIX: &str = "U__";

struct Scope {
    start: Timestamp,
    end: Timestamp,
    limit: usize,
    selectors: Vec<Vec<Matcher>>,
}

impl Scope {
    fn new(params: &Params) -> Result<Self, ApiError> {
        let limit = params.limit("limit")?;
        let start = params.time("start")?.unwrap_or(Timestamp::MIN);
        let end = params.time("end")?.unwrap_or(Timestamp::MAX);
        let selectors = params.selectors().map_err(|error| ApiError::new(ErrorType::BadData, error))?;
        Ok(Self { start, end, limit, selectors })
    }
}

pub(super) async fn series(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    params.whole()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::new(ErrorType::BadData, "no match[] parameter provided"));
    }
    // Here alone upstream names the parameter.
    params.limit("limit")?;
    params.time("start")?;
    params.time("end")?;
    params.selectors().map_err(|error| ApiError::parameter("match[]", error))?;
    let scope = Scope::new(&params)?;
    let limit = scope.limit;
    let found = blocking(
        &api,
        access,
        move |querier| {
            let mut all: Vec<Labels> = Vec::new();
            let hints = SelectHints { function: "series".into(), ..SelectHints::default() };
            for matchers in &scope.selectors {
                let mut set = querier.select(Order::Any, &hints, matchers)?;
                while let Some(series) = set.advance()? {
                    all.push(series.labels());
                }
            }
            all.sort_unstable();
            all.dedup();
            Ok(all)
        },
        (scope.start, scope.end),
    )
    .await?;
    Ok(listed(found, limit, append_labels))
}

pub(super) async fn names(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Response, ApiError> {
    let scope = Scope::new(&params)?;
    let limit = scope.limit;
    let ask = |querier: &dyn Querier, matchers: &[Matcher]| querier.label_names(matchers, 0);
    Ok(listed(union(&api, access, scope, ask).await?, limit, |out, text| append_string(out, text)))
}

pub(super) async fn values(
    State(api): State<Arc<Api>>,
    access: Access,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescaped(&name);
    if name.is_empty() {
        return Err(ApiError::new(ErrorType::BadData, "invalid label name: \"\""));
    }
    let scope = Scope::new(&params)?;
    let limit = scope.limit;
    let ask = move |querier: &dyn Querier, matchers: &[Matcher]| querier.label_values(&name, matchers, 0);
    Ok(listed(union(&api, access, scope, ask).await?, limit, |out, text| append_string(out, text)))
}

/// What any of the selectors gives, sorted; everything if there is none.
async fn union(
    api: &Arc<Api>,
    access: Access,
    scope: Scope,
    ask: impl Fn(&dyn Querier, &[Matcher]) -> Result<Vec<String>, StorageError> + Send + 'static,
) -> Result<Vec<String>, ApiError> {
    let range = (scope.start, scope.end);
    blocking(
        api,
        access,
        move |querier| {
            let mut all: BTreeSet<String> = BTreeSet::new();
            if scope.selectors.is_empty() {
                return ask(querier, &[]);
            }
            for matchers in &scope.selectors {
                all.extend(ask(querier, matchers)?);
            }
            Ok(all.into_iter().collect())
        },
        range,
    )
    .await
}

async fn blocking<T: Send + 'static>(
    api: &Arc<Api>,
    access: Access,
    work: impl FnOnce(&dyn Querier) -> Result<T, StorageError> + Send + 'static,
    range: (Timestamp, Timestamp),
) -> Result<T, ApiError> {
    let db = Arc::clone(&api.db);
    let joined = tokio::task::spawn_blocking(move || {
        let querier = access.view(&*db).querier(range.0, range.1)?;
        work(&*querier)
    });
    joined.await.map_err(|e| ApiError::new(ErrorType::Internal, e.to_string()))?.map_err(Into::into)
}

/// Lists of more items are written while they are sent.
const ITEMS_AT_ONCE: usize = 2_000;

/// A list as the API's data, at most `limit` items of it if that is not 0.
fn listed<T: Send + 'static>(items: Vec<T>, limit: usize, append: fn(&mut Vec<u8>, &T)) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    if items.len() > ITEMS_AT_ONCE {
        let body = streamed::body(move |out| write_listed(out, items, limit, append));
        return (content_type, body).into_response();
    }
    let mut body = Vec::with_capacity(1024);
    // Memory does not go away.
    let _written = write_listed(&mut body, items, limit, append);
    (content_type, body).into_response()
}

fn write_listed<S: Sink, T>(
    out: &mut S,
    items: Vec<T>,
    limit: usize,
    append: fn(&mut Vec<u8>, &T),
) -> Result<(), Gone> {
    out.buffer().extend_from_slice(br#"{"status":"success","data":"#);
    let is_cut = write_list(out, items.into_iter(), limit, |out, item| {
        append(out.buffer(), &item);
        Ok(())
    })?;
    let mut annotations = Annotations::new();
    if is_cut {
        annotations.warn("results truncated due to limit");
    }
    out.buffer().extend_from_slice(envelope_end(&annotations).as_bytes());
    out.checkpoint()
}

/// `U__my_2e_metric` is `my.metric`; other names are as they are.
fn unescaped(name: &str) -> String {
    let Some(escaped) = name.strip_prefix(ESCAPED_PREFIX) else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let decoded = after
            .split_once('_')
            .and_then(|(hex, tail)| Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, tail)));
        match decoded {
            Some((c, tail)) => {
                out.push(c);
                rest = tail;
            }
            // Not an escaped name after all.
            None => return name.to_owned(),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in
            [("up", "up"), ("U__my_2e_metric", "my.metric"), ("U__a__b", "a_b"), ("U__x_zz_", "U__x_zz_")]
        {
            assert_eq!(super::unescaped(escaped), name);
        }
    }
}

//! Parameters: from the query string and, for POST, from a form.

mod decode;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use model::duration::Duration;
use model::matcher::Matcher;
use model::sample::Timestamp;

pub use decode::parse_time;
pub(super) use decode::{parse_duration, parse_integer};

use super::envelope::{ApiError, ErrorType};

/// All parameters of a request, repeated ones kept; those of a form come first.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// What is wrong with the first pair that could not be read. Most endpoints pass over such pairs, as upstream's do.
    fault: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let mut params = Self { pairs: Vec::new(), fault: None };
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        if form && (request.method() == Method::POST || request.method() == Method::PUT) {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|e| ApiError::new(ErrorType::BadData, format!("error parsing form values: {e}")))?;
            params.read(&body)?;
        }
        params.read(query.as_bytes())?;
        Ok(params)
    }
}

impl Params {
    fn read(&mut self, text: &[u8]) -> Result<(), ApiError> {
        let fault = decode::read(text, &mut self.pairs).map_err(|error| ApiError::new(ErrorType::BadData, error))?;
        self.fault = self.fault.take().or(fault);
        Ok(())
    }

    /// Refuses a request of which a parameter could not be read.
    pub(super) fn whole(&self) -> Result<(), ApiError> {
        match &self.fault {
            Some(fault) => Err(ApiError::new(ErrorType::BadData, format!("error parsing form values: {fault}"))),
            None => Ok(()),
        }
    }

    /// The first value; an absent parameter is empty.
    pub(super) fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// All values.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time, if given.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text)
                .map(Some)
                .map_err(|error| ApiError::parameter(name, format!("invalid time value for '{name}': {error}"))),
        }
    }

    /// A time that must be given.
    pub(super) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name)).map_err(|error| ApiError::parameter(name, error))
    }

    /// A duration, if given.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration(text).map(Some).map_err(|error| ApiError::parameter(name, error)),
        }
    }

    /// A count, 0 if absent.
    pub(super) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        match self.get(name) {
            "" => Ok(0),
            text => {
                let limit = parse_integer(text).map_err(|error| ApiError::parameter(name, error))?;
                usize::try_from(limit).map_err(|_| ApiError::parameter(name, "limit must be non-negative"))
            }
        }
    }

    /// A truth value, if given, in any of the spellings that Go's `strconv.ParseBool` takes.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, String> {
        match self.get(name) {
            "" => Ok(None),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            text => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
        }
    }

    /// The selectors of all `match[]`, as they are.
    pub(super) fn any_selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        self.all("match[]").map(|text| promql::parse_selector(text).map_err(|error| error.to_string())).collect()
    }

    /// The selectors of all `match[]`, each of which must exclude something.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let selectors = self.any_selectors()?;
        match selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
            true => Err("match[] must contain at least one non-empty matcher".into()),
            false => Ok(selectors),
        }
    }
}

//! Parameters: from the query string and, for POST, from a form; times and durations as Prometheus reads them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use model::duration::Duration;
use model::matcher::Matcher;
use model::sample::Timestamp;

use super::envelope::{ApiError, ErrorType};

/// Upstream's words for "all the time there is".
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";

/// All parameters of a request, repeated ones kept; those of a form come first.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let mut all = Vec::new();
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        if request.method() == Method::POST && form {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|e| ApiError::new(ErrorType::BadData, format!("error parsing form values: {e}")))?;
            all.extend(url::form_urlencoded::parse(&body).into_owned());
        }
        all.extend(url::form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Self(all))
    }
}

impl Params {
    /// The first value; an absent parameter is empty.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// All values.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time, if given.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text).map(Some).map_err(|error| ApiError::parameter(name, error)),
        }
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
            text => text.parse().map_err(|_| ApiError::parameter(name, "limit must be non-negative")),
        }
    }

    /// The selectors of all `match[]`.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let parse = |text| promql::parse_selector(text).map_err(|error| ApiError::parameter("match[]", error));
        let selectors: Vec<Vec<Matcher>> = self.all("match[]").map(parse).collect::<Result<_, _>>()?;
        match selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
            true => Err(ApiError::parameter("match[]", "match[] must contain at least one non-empty matcher")),
            false => Ok(selectors),
        }
    }
}

/// Unix seconds with a fraction, or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() || seconds.abs() > 9e15 {
            return Err(format!("cannot parse {text:?} to a valid timestamp"));
        }
        return Ok(Timestamp::from_seconds(seconds));
    }
    match text {
        MIN_TIME => Ok(Timestamp(i64::MIN / 1000)),
        MAX_TIME => Ok(Timestamp(i64::MAX / 1000)),
        _ => text
            .parse::<jiff::Timestamp>()
            .map(|time| Timestamp(time.as_millisecond()))
            .map_err(|_| format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// Seconds with a fraction, or a Prometheus duration.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        if !(ms.is_finite() && (0.0..9.2e15).contains(&ms)) {
            // What is not positive is told by whoever needs it to be.
            return if ms < 0.0 { Ok(Duration::ZERO) } else { Err(invalid()) };
        }
        return Ok(Duration::from_millis(ms as i64));
    }
    text.parse().map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time("1435781451.781"), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(Timestamp(1_435_781_451_781)));
        assert!(parse_time(MIN_TIME).is_ok_and(|t| t.0 < 0) && parse_time(MAX_TIME).is_ok_and(|t| t.0 > 0));
        for text in ["NaN", "Inf", "x", "1e300"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_seconds(300)));
        assert!(parse_duration("5x").is_err());
    }
}

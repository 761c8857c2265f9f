//! Parameters: from the query string and, for POST, from a form; times and durations as Prometheus reads them.

use std::num::IntErrorKind;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use model::duration::Duration;
use model::matcher::Matcher;
use model::sample::Timestamp;

use super::envelope::{ApiError, ErrorType};

/// The most parameters of a request; dashboards send some dozens.
const PARAMETERS_MAX: usize = 10_000;
/// Upstream's words for "all the time there is".
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";

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
    /// Reads `a=b&c=d`. A pair with a semicolon or a broken escape is left out, as Go's `url.ParseQuery` does.
    fn read(&mut self, text: &[u8]) -> Result<(), ApiError> {
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if self.pairs.len() == PARAMETERS_MAX {
                let text = format!("more than {PARAMETERS_MAX} parameters");
                return Err(ApiError::new(ErrorType::BadData, text));
            }
            match fault_of(pair) {
                Some(fault) => _ = self.fault.get_or_insert(fault),
                None => self.pairs.extend(url::form_urlencoded::parse(pair).into_owned()),
            }
        }
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

/// What is wrong with `name=value`, in Go's words.
fn fault_of(pair: &[u8]) -> Option<String> {
    if pair.contains(&b';') {
        return Some("invalid semicolon separator in query".into());
    }
    let mut escapes = pair.iter().enumerate().filter(|(_, byte)| **byte == b'%').map(|(at, _)| at);
    let broken = escapes.find(|at| {
        let digits = pair.get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })?;
    let shown = String::from_utf8_lossy(&pair[broken..(broken + 3).min(pair.len())]).into_owned();
    Some(format!("invalid URL escape {shown:?}"))
}

/// An integer, with Go's words for what is none.
pub(super) fn parse_integer(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|error| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {reason}")
    })
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
        _ => Some(text)
            .filter(|text| is_rfc3339(text))
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map(|time| Timestamp(time.as_millisecond()))
            .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// Whether a text has RFC 3339's form with capital `T` and `Z`: jiff reads more.
fn is_rfc3339(text: &str) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let shaped = date_time.bytes().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == *form,
    });
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let is_offset = |zone: &str| {
        let bytes = zone.as_bytes();
        bytes.len() == 6
            && matches!(bytes[0], b'+' | b'-')
            && bytes[3] == b':'
            && [1, 2, 4, 5].iter().all(|at| bytes[*at].is_ascii_digit())
    };
    shaped && (zone == "Z" || is_offset(zone))
}

/// Seconds with a fraction, or a Prometheus duration.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        // Upstream counts nanoseconds in 64 bits.
        if (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(invalid() + ". It overflows int64");
        }
        // What is not positive is told by whoever needs it to be.
        return Ok(Duration::from_millis((seconds * 1000.0).max(0.0) as i64));
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
        assert_eq!(
            parse_duration("1e30").unwrap_err(),
            "cannot parse \"1e30\" to a valid duration. It overflows int64"
        );
        for text in ["2015-07-01 20:10:51Z", "2015-07-01T20:10Z", "2015-07-01t20:10:51z", "2015-07-01T20:10:51+01"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_that_cannot_be_read_are_left_out() {
        let mut params = Params { pairs: Vec::new(), fault: None };
        params.read(b"a=1&b=%zz&a=2&c=x;y&&d=%41+b&e").unwrap();
        assert_eq!(params.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((params.get("b"), params.get("c"), params.get("d"), params.get("e")), ("", "", "A b", ""));
        assert_eq!(params.fault.as_deref(), Some("invalid URL escape \"%zz\""));
        assert!(params.read(&b"a=1&".repeat(PARAMETERS_MAX)).is_err());
    }

    #[test]
    fn numbers_are_refused_in_upstreams_words() {
        assert_eq!(parse_integer("x1").unwrap_err(), "strconv.Atoi: parsing \"x1\": invalid syntax");
        assert_eq!(
            parse_integer("99999999999999999999").unwrap_err(),
            "strconv.Atoi: parsing \"99999999999999999999\": value out of range"
        );
        assert_eq!(parse_integer("-3"), Ok(-3));
    }
}

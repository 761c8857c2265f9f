//! Forms, times, durations and numbers as Prometheus reads them. It knows nothing of the server, so that the fuzz target
//! can include it.

use std::num::IntErrorKind;

use model::duration::Duration;
use model::sample::Timestamp;

/// The most parameters of a request; dashboards send some dozens.
const PARAMETERS_MAX: usize = 10_000;
/// Upstream's words for "all the time there is".
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";

/// Reads `a=b&c=d` behind the pairs that are there. A pair with a semicolon or a broken escape is left out, as Go's
/// `url.ParseQuery` does; what is wrong with the first such is told.
///
/// # Errors
/// If there are too many.
pub fn read(text: &[u8], pairs: &mut Vec<(String, String)>) -> Result<Option<String>, String> {
    let mut first_fault = None;
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == PARAMETERS_MAX {
            return Err(format!("more than {PARAMETERS_MAX} parameters"));
        }
        match fault_of(pair) {
            Some(fault) => _ = first_fault.get_or_insert(fault),
            None => pairs.extend(url::form_urlencoded::parse(pair).into_owned()),
        }
    }
    Ok(first_fault)
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
pub fn parse_integer(text: &str) -> Result<i64, String> {
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
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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
        let mut pairs = Vec::new();
        let fault = read(b"a=1&b=%zz&a=2&c=x;y&&d=%41+b&e", &mut pairs).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("a", "1"), pair("a", "2"), pair("d", "A b"), pair("e", "")]);
        assert_eq!(fault.as_deref(), Some("invalid URL escape \"%zz\""));
        assert!(read(&b"a=1&".repeat(PARAMETERS_MAX), &mut pairs).is_err());
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

    /// What the fuzz target feeds, with what it has found worth keeping.
    #[test]
    fn the_corpus_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/params");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let mut pairs = Vec::new();
            if read(&bytes, &mut pairs).is_ok() {
                for (name, value) in &pairs {
                    let _read = (parse_time(value), parse_duration(value), parse_integer(name));
                }
            }
            count += 1;
        }
        assert!(count >= 8, "{count}");
    }
}

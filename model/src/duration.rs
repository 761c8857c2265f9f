//! Durations as Prometheus writes them: `1d12h`, `90s`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units from the longest, with their length in milliseconds. `y` is 365 days, `w` is 7.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// A length of time in whole milliseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    ms: i64,
}

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units, each unit once, from the longest to the shortest.
    #[error("not a valid duration string: {0:?}")]
    Invalid(String),
    /// Does not fit in 64 bits of nanoseconds, as upstream.
    #[error("duration out of range")]
    OutOfRange,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { ms: 0 };

    /// From milliseconds.
    ///
    /// # Panics
    /// If `ms` is negative.
    pub const fn from_millis(ms: i64) -> Self {
        assert!(ms >= 0, "durations are not negative");
        Self { ms }
    }

    /// From whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds * 1000)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.ms
    }

    /// In seconds.
    pub fn as_seconds(self) -> f64 {
        self.ms as f64 / 1000.0
    }

    /// As the standard library has it.
    pub const fn as_std(self) -> StdDuration {
        StdDuration::from_millis(self.ms as u64)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.ms == 0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    /// Parses `((\d+)y)?((\d+)w)?((\d+)d)?((\d+)h)?((\d+)m)?((\d+)s)?((\d+)ms)?`, or a bare `0`.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        match text {
            "" => return Err(DurationError::Empty),
            "0" => return Ok(Self::ZERO),
            _ => {}
        }
        let invalid = || DurationError::Invalid(text.to_owned());
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let unit_len = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(unit_len);
            let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
            if digits == 0 {
                return Err(invalid());
            }
            let number: i64 = number.parse().map_err(|_| DurationError::OutOfRange)?;
            total = number
                .checked_mul(*unit_ms)
                .and_then(|ms| total.checked_add(ms))
                .filter(|ms| ms.checked_mul(1_000_000).is_some())
                .ok_or(DurationError::OutOfRange)?;
            rest = tail;
        }
        Ok(Self { ms: total })
    }
}

impl fmt::Display for Duration {
    /// The longest units first; years and weeks only when they divide it evenly, as upstream prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, unit_ms) in UNITS {
            let whole_only = matches!(unit, "y" | "w");
            if whole_only && rest % unit_ms != 0 {
                continue;
            }
            let count = rest / unit_ms;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                rest -= count * unit_ms;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_in_order_each_once() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("324ms", 324),
            ("3s", 3000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("4d1h", 349_200_000),
            ("14d", 1_209_600_000),
            ("3w2d1h", 1_987_200_000 + 3_600_000),
            ("10y", 315_360_000_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().as_millis(), ms, "{text}");
        }
        for text in ["1", "1y1m1d", "-1w", "1.5d", "d", "", "m1", "1s1s", "1h ", "5ms1s", "1µs"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert_eq!("294y".parse::<Duration>(), Err(DurationError::OutOfRange));
        assert_eq!("99999999999999999999s".parse::<Duration>(), Err(DurationError::OutOfRange));
    }

    #[test]
    fn prints_as_upstream() {
        for (text, printed) in [
            ("0s", "0s"),
            ("324ms", "324ms"),
            ("60s", "1m"),
            ("90s", "1m30s"),
            ("24h", "1d"),
            ("25h", "1d1h"),
            ("28d", "4w"),
            ("3w2d1h", "23d1h"),
            ("365d", "1y"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), printed);
        }
    }
}

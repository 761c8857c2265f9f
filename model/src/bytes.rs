//! Sizes in bytes as Prometheus' configuration writes them: `512MB`, `1GiB`; every unit is a power of 1024.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid size {0:?}, expected a number with one of the units B, KB, MB, GB, TB, PB, EB")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ByteSizeError(text.to_owned());
        if text == "0" {
            return Ok(Self(0));
        }
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.replace('i', "");
        let power = UNITS.iter().position(|u| *u == unit).ok_or_else(invalid)?;
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let bytes = number * 1024_f64.powi(power as i32);
        (bytes < u64::MAX as f64).then_some(Self(bytes as u64)).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides it evenly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = self.0;
        let mut unit = 0;
        while number > 0 && number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
            number /= 1024;
            unit += 1;
        }
        if number == 0 { f.write_str("0") } else { write!(f, "{number}{}", UNITS[unit]) }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes, printed) in [
            ("0", 0, "0"),
            ("15MB", 15 << 20, "15MB"),
            ("1KiB", 1024, "1KB"),
            ("1.5GB", 1536 << 20, "1536MB"),
            ("7B", 7, "7B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed));
        }
        for text in ["", "1", "1kb", "MB", "-1MB", "99EB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}

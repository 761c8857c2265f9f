//! Names of blocks: 48 bits of time and 80 of chance, as 26 digits of Crockford's base 32, which sort by time.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;

/// A block's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ulid(pub u128);

/// The text is not 26 digits of that alphabet, or its number exceeds 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a ULID")]
pub struct UlidError(String);

impl Ulid {
    /// A new name at `now_ms`.
    pub(crate) fn new(now_ms: i64) -> Self {
        // The standard library seeds each of these hashers from the system's source of chance.
        let chance = || u128::from(std::collections::hash_map::RandomState::new().build_hasher().finish());
        let time = u128::from(now_ms.max(0) as u64) & ((1 << 48) - 1);
        Self(time << 80 | (chance() << 64 | chance()) & ((1 << 80) - 1))
    }

    /// When it was given, in ms.
    pub fn time_ms(self) -> i64 {
        (self.0 >> 80) as i64
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |at: usize| char::from(DIGITS[(self.0 >> (5 * (LENGTH - 1 - at)) & 31) as usize]);
        f.write_str(&(0..LENGTH).map(digit).collect::<String>())
    }
}

impl FromStr for Ulid {
    type Err = UlidError;

    fn from_str(text: &str) -> Result<Self, UlidError> {
        let error = || UlidError(text.chars().take(64).collect());
        if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
            return Err(error());
        }
        let mut number = 0u128;
        for byte in text.bytes() {
            let digit = DIGITS.iter().position(|digit| *digit == byte.to_ascii_uppercase()).ok_or_else(error)?;
            number = number << 5 | digit as u128;
        }
        Ok(Self(number))
    }
}

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ulid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed_and_sort_by_time() {
        for text in ["01BKGV7JBM69T2G1BGBGM6KB12", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000"] {
            assert_eq!(text.parse::<Ulid>().unwrap().to_string(), text);
        }
        assert_eq!("01ARYZ6S41TSV4RRFFQ69G5FAV".parse::<Ulid>().unwrap().time_ms(), 1_469_918_176_385);
        for broken in ["", "01BKGV7JBM69T2G1BGBGM6KB1", "01BKGV7JBM69T2G1BGBGM6KBUU", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"] {
            assert!(broken.parse::<Ulid>().is_err(), "{broken}");
        }
        assert!(Ulid::new(1000) < Ulid::new(1001));
        assert_ne!(Ulid::new(1000), Ulid::new(1000));
        assert_eq!(Ulid::new(1_700_000_000_123).time_ms(), 1_700_000_000_123);
    }
}

//! Number and duration literals.

use model::duration::{Duration, DurationError};
use model::quote::quote;

use super::Parser;
use crate::ast::NumberLiteral;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// Reads a literal; a bad one is recorded and counts as 0.
    pub(super) fn number_literal(&mut self) -> NumberLiteral {
        let token = self.next();
        let duration = token.kind == Kind::Duration;
        let value = if duration { self.duration_seconds(token) } else { self.number(token) };
        NumberLiteral { value, duration, span: token.span }
    }

    fn number(&mut self, token: Token) -> f64 {
        let text = self.text_of(token);
        parse_number(text).unwrap_or_else(|reason| {
            let message = format!("error parsing number: strconv.ParseFloat: parsing {}: {reason}", quote(text));
            self.fault(token.span, message);
            0.0
        })
    }

    fn duration_seconds(&mut self, token: Token) -> f64 {
        let text = self.text_of(token);
        match text.parse::<Duration>() {
            Ok(duration) => duration.as_seconds(),
            Err(error) => {
                let message = unknown_unit(text).unwrap_or_else(|| describe(&error));
                self.fault(token.span, message);
                0.0
            }
        }
    }
}

fn describe(error: &DurationError) -> String {
    match error {
        DurationError::Invalid(text) => format!("not a valid duration string: {}", quote(text)),
        other => other.to_string(),
    }
}

/// Upstream names the first unit it does not know.
fn unknown_unit(text: &str) -> Option<String> {
    let unit = text
        .split(|c: char| c.is_ascii_digit())
        .filter(|unit| !unit.is_empty())
        .find(|unit| !matches!(*unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms"))?;
    Some(format!("unknown unit {} in duration {}", quote(unit), quote(text)))
}

/// A number as Go reads it: an integer with an optional base prefix (a leading 0 is octal), else a float.
pub(crate) fn parse_number(text: &str) -> Result<f64, &'static str> {
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let plain = text.replace('_', "");
    let (digits, radix) = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => (plain.get(2..).unwrap_or_default(), 16),
        [b'0', _, ..] => (plain.get(1..).unwrap_or_default(), 8),
        _ => (plain.as_str(), 10),
    };
    if let Ok(integer) = i64::from_str_radix(digits, radix) {
        return Ok(integer as f64);
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_infinite() => Err("value out of range"),
        Ok(value) => Ok(value),
        Err(_) => Err("invalid syntax"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_does() {
        for (text, value) in
            [("1", 1.0), ("0755", 493.0), ("08", 8.0), ("0x1F", 31.0), ("1_000", 1000.0), ("1e3", 1000.0), (".5", 0.5)]
        {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert_eq!(parse_number("9223372036854775808"), Ok(9_223_372_036_854_775_808.0));
        assert_eq!(parse_number("1e999"), Err("value out of range"));
        assert!(parse_number("0xg").is_err());
    }
}

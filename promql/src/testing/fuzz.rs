//! What must hold for any text whatever, for fuzzing.

use crate::parser::{Options, parse_selector, parse_with};
use crate::series_description::parse_series_description;

/// Parses bytes as a query; what parses is printed, formatted and written as JSON, and the printed text parses to the
/// same again.
///
/// # Panics
/// If that does not hold: a fault of this crate.
pub fn check_parser(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(parse_selector(&text));
    // With large numbers a short description stands for very many values.
    if text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() < 4) {
        drop(parse_series_description(&text));
    }
    let Ok(expr) = parse_with(&text, &Options::all()) else { return };
    let printed = crate::print(&expr);
    assert!(!crate::format(&expr).is_empty() && crate::to_json(&expr).starts_with('{'), "{text}");
    if let Ok(again) = parse_with(&printed, &Options::all()) {
        assert_eq!(crate::print(&again), printed, "a fixed point");
    }
}

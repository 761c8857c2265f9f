//! Escapes that stand for one character: `\n`, `\x7F`, `\x{10FFFF}`, `\123`, `\.`.

use super::cursor::Cursor;
use crate::pattern::PatternError;

/// Reads an escape, at its backslash. The number may be a surrogate, which is no character of any text.
pub(super) fn code_point(cursor: &mut Cursor<'_>) -> Result<u32, PatternError> {
    let start = cursor.offset();
    cursor.skip(1);
    let Some(c) = cursor.bump() else {
        return Err(PatternError { reason: "trailing backslash at end of expression: ``".into(), offset: start });
    };
    let found = match c {
        // A single digit would be a reference back to a group, which RE2 has not.
        '1'..='7' if !matches!(cursor.peek(), Some('0'..='7')) => None,
        '0'..='7' => Some(octal(cursor, c)),
        'x' => hexadecimal(cursor),
        'a' => Some(0x07),
        'f' => Some(0x0C),
        'n' => Some(0x0A),
        'r' => Some(0x0D),
        't' => Some(0x09),
        'v' => Some(0x0B),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    found.ok_or_else(|| cursor.refuse("invalid escape sequence", start))
}

/// Up to three octal digits, of which `first` is read.
fn octal(cursor: &mut Cursor<'_>, first: char) -> u32 {
    let mut value = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = cursor.bump_if(|c| c.is_digit(8)).and_then(|c| c.to_digit(8)) else {
            break;
        };
        value = value * 8 + digit;
    }
    value
}

/// Two hexadecimal digits, or any number of them in braces. What is wrong is read too, to be shown.
fn hexadecimal(cursor: &mut Cursor<'_>) -> Option<u32> {
    let first = cursor.bump()?;
    if first != '{' {
        let second = cursor.bump();
        return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
    }
    let mut value = None;
    loop {
        let c = cursor.bump()?;
        if c == '}' {
            return value;
        }
        let next = value.unwrap_or(0) * 16 + c.to_digit(16)?;
        if next > u32::from(char::MAX) {
            return None;
        }
        value = Some(next);
    }
}

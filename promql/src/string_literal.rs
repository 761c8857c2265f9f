//! Quoted strings of PromQL: where they end, and what they stand for (Go's escapes; raw in backquotes).

/// One byte or one character of an unquoted string.
enum Piece {
    Byte(u8),
    Char(char),
}

/// The length of the string literal that `text` starts with, quotes included, or what is wrong with it.
pub(crate) fn scan(text: &str) -> Result<usize, String> {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else { return Err("unterminated quoted string".to_owned()) };
    if quote == '`' {
        let end = chars.find(|(_, c)| *c == '`').ok_or_else(|| "unterminated raw string".to_owned())?;
        return Ok(end.0 + 1);
    }
    let mut at = 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match rest.chars().next() {
            None | Some('\n') => return Err("unterminated quoted string".to_owned()),
            Some('\\') => at += escape(rest, quote)?.1,
            Some(c) if c == quote => return Ok(at + 1),
            Some(c) => at += c.len_utf8(),
        }
    }
}

/// What the literal stands for, or why it cannot be unquoted. Escaped bytes that are no UTF-8 become U+FFFD.
pub(crate) fn unquote(literal: &str) -> Result<String, String> {
    unquote_bytes(literal)
        .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Whether the literal stands for text, or its escapes for bytes that are no UTF-8.
pub(crate) fn is_text(literal: &str) -> bool {
    unquote_bytes(literal).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

fn unquote_bytes(literal: &str) -> Result<Vec<u8>, String> {
    let invalid = || "invalid syntax".to_owned();
    let mut chars = literal.chars();
    let quote = chars.next().ok_or_else(invalid)?;
    let inner = literal.get(1..literal.len().saturating_sub(1)).ok_or_else(invalid)?;
    if quote == '`' {
        return Ok(inner.replace('\r', "").into_bytes());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(c) = inner.get(at..).and_then(|rest| rest.chars().next()) {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            at += c.len_utf8();
            continue;
        }
        let (piece, length) = escape(inner.get(at..).unwrap_or_default(), quote).map_err(|_| invalid())?;
        match piece {
            Piece::Byte(b) => bytes.push(b),
            Piece::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        at += length;
    }
    Ok(bytes)
}

/// The escape that `text` (at its backslash) starts with, and its length.
fn escape(text: &str, quote: char) -> Result<(Piece, usize), String> {
    let unfinished = || "escape sequence not terminated".to_owned();
    let c = text.chars().nth(1).ok_or_else(unfinished)?;
    let simple = |b: u8| Ok((Piece::Byte(b), 2));
    let (skip, count, base, max) = match c {
        'a' => return simple(0x07),
        'b' => return simple(0x08),
        'f' => return simple(0x0c),
        'n' => return simple(b'\n'),
        'r' => return simple(b'\r'),
        't' => return simple(b'\t'),
        'v' => return simple(0x0b),
        '\\' => return simple(b'\\'),
        c if c == quote => return Ok((Piece::Char(quote), 1 + quote.len_utf8())),
        '0'..='7' => (1, 3, 8, 255),
        'x' => (2, 2, 16, 255),
        'u' => (2, 4, 16, 0x10_ffff),
        'U' => (2, 8, 16, 0x10_ffff),
        c => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    let mut value: u64 = 0;
    let mut length = skip;
    for c in text.get(skip..).unwrap_or_default().chars().map(Some).chain(std::iter::repeat(None)).take(count) {
        let c = c.ok_or_else(unfinished)?;
        let digit =
            c.to_digit(base).ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        value = value * u64::from(base) + u64::from(digit);
        length += 1;
    }
    let bad = || "escape sequence is an invalid Unicode code point".to_owned();
    if value > max {
        return Err(bad());
    }
    let value = u32::try_from(value).map_err(|_| bad())?;
    if max == 255 {
        return Ok((Piece::Byte(u8::try_from(value).map_err(|_| bad())?), length));
    }
    Ok((Piece::Char(char::from_u32(value).ok_or_else(bad)?), length))
}

/// Go's `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// Go's `%q` of a character.
pub(crate) fn quote_char(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = model::quote::quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(literal: &str, expected: Result<&str, &str>) {
        let result = scan(literal).and_then(|_| unquote(literal));
        assert_eq!(result.as_deref().map_err(String::as_str), expected, "{literal}");
    }

    #[test]
    fn escapes_are_gos() {
        check(r#""a\n\x41\101\u00e9\U0001F980\"'""#, Ok("a\nAAé🦀\"'"));
        check(r"'\'\\'", Ok("'\\"));
        check(r"`a\nb`", Ok("a\\nb"));
        check(r#""\xff""#, Ok("\u{fffd}"));
        check(r#""\xe2\x98\xba""#, Ok("☺"));
    }

    #[test]
    fn faults_have_upstreams_words() {
        check(r#""\c""#, Err("unknown escape sequence U+0063 'c'"));
        check(r#""\x.""#, Err("illegal character U+002E '.' in escape sequence"));
        check("\"\\", Err("escape sequence not terminated"));
        check("`abc", Err("unterminated raw string"));
        check("'a\nb'", Err("unterminated quoted string"));
        check(r#""\ud800""#, Err("escape sequence is an invalid Unicode code point"));
    }
}

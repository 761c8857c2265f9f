//! The series part of a line, `name{label="value",...}` or `{"name","label"="value"}`: finding its end, and turning it
//! into labels.

use std::borrow::Cow;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};

use super::Format;

/// Why a series text is not one. The offset is relative to the series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("series {series:?}, byte {offset}: expected {expected}")]
pub struct SeriesError {
    /// The text.
    pub series: String,
    /// Where in it.
    pub offset: usize,
    /// What should have stood there.
    pub expected: &'static str,
}

/// The length of the series that `line` begins with, or `None` if it begins with none. Quotes are respected; the labels
/// themselves are checked by [`labels_of`].
#[inline]
pub(super) fn series_len(line: &[u8]) -> Option<usize> {
    series_len_after(line, 0).map(|(_, len)| len)
}

/// The lengths of the bare name and of the series that `line` begins with, as [`series_len`]. The first `known` bytes are
/// those of a metric name, which are not looked at again.
#[inline]
pub(super) fn series_len_after(line: &[u8], known: usize) -> Option<(usize, usize)> {
    let name_len = seek(line, known, name_ends, |byte| !is_name_byte(byte));
    let mut at = name_len;
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    if line.get(at) != Some(&b'{') {
        return (name_len > 0 && !line[0].is_ascii_digit()).then_some((name_len, name_len));
    }
    at += 1;
    loop {
        let ends = |word| equal(word, b'"') | equal(word, b'}') | equal(word, b'\n');
        at = seek(line, at, ends, |byte| matches!(byte, b'"' | b'}' | b'\n'));
        match line.get(at)? {
            b'}' => return Some((name_len, at + 1)),
            b'"' => at = string_end(line, at + 1)?,
            _ => return None,
        }
    }
}

/// The place of the first byte from `at` on that is looked for, or the end. `word_has` marks the highest bit of such bytes
/// of eight at once; of those marked only the first must be right. `byte_is` says it of one byte.
#[inline(always)]
fn seek(bytes: &[u8], mut at: usize, word_has: impl Fn(u64) -> u64, byte_is: impl Fn(u8) -> bool) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let marks = word_has(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes.get(at..).and_then(|rest| rest.iter().position(|byte| byte_is(*byte))).map_or(bytes.len(), |n| at + n)
}

/// One bit, and the highest, of each byte.
const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Marks bytes equal to `byte`. Above the first, a byte that differs in its lowest bit alone may be marked too.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let differing = word ^ (ONES * u64::from(byte));
    differing.wrapping_sub(ONES) & !differing & HIGHS
}

/// Marks bytes that are none of a metric name, each exactly.
#[inline(always)]
fn name_ends(word: u64) -> u64 {
    let low = word & !HIGHS;
    // Sums of seven-bit numbers stay within their bytes.
    let at_least = |word: u64, byte: u8| word + ONES * u64::from(0x80 - byte);
    let folded = low | (ONES * 0x20);
    let letters = at_least(folded, b'a') & !at_least(folded, b'z' + 1);
    let digits_and_colon = at_least(low, b'0') & !at_least(low, b':' + 1);
    let underscores = !((low ^ (ONES * u64::from(b'_'))) + ONES * 0x7f);
    (word | !(letters | digits_and_colon | underscores)) & HIGHS
}

/// Bytes of metric names; of label names all but the colon.
static NAME_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_' || byte as u8 == b':';
        byte += 1;
    }
    bytes
};

#[inline]
pub(super) fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[usize::from(byte)]
}

/// One past the quote that ends the string whose first byte is at `at`. A string may hold line breaks.
#[inline]
fn string_end(line: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let ends = |word| equal(word, b'"') | equal(word, b'\\');
        at = seek(line, at, ends, |byte| matches!(byte, b'"' | b'\\'));
        match line.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// A family's name at `at`, bare or quoted, and where it ends.
pub(super) fn family_name(page: &str, at: usize) -> Option<(&str, usize)> {
    let rest = page.as_bytes().get(at..)?;
    if rest.first() == Some(&b'"') {
        let end = string_end(rest, 1)?;
        return Some((page.get(at + 1..at + end - 1)?, at + end));
    }
    let len = rest.iter().position(|&b| !is_name_byte(b)).unwrap_or(rest.len());
    (len > 0 && !rest[0].is_ascii_digit()).then(|| (page.get(at..at + len).unwrap_or(""), at + len))
}

/// The labels of a series text, the metric name among them; labels with empty values are left out. Blanks may stand
/// anywhere between the parts, also in place of a comma.
///
/// # Errors
/// If the text is not a series; names what was expected and where. A label given twice is an error.
pub fn labels_of(series: &str) -> Result<Labels, SeriesError> {
    labels_with(series, true)
}

/// The labels of an exemplar, `{label="value",...}`.
///
/// # Errors
/// As [`labels_of`].
pub fn exemplar_labels_of(text: &str) -> Result<Labels, SeriesError> {
    labels_with(text, false)
}

fn labels_with(series: &str, has_metric: bool) -> Result<Labels, SeriesError> {
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    let mut cursor = Cursor { text: series, at: 0 };
    let name = cursor.bare_name();
    if !name.is_empty() {
        if !is_legacy_metric_name(name) || !has_metric {
            return Err(cursor.expected_at(0, "a metric name"));
        }
        builder.set(METRIC_NAME, name);
        seen.push(Cow::Borrowed(METRIC_NAME));
    }
    cursor.skip_blanks();
    let mut is_named = !name.is_empty();
    if cursor.at < series.len() {
        let mut pairs = Vec::new();
        cursor.labels(!has_metric || is_named, |label, value, offset| {
            is_named |= matches!(label, LabelName::Metric);
            pairs.push((label, value, offset));
        })?;
        for (label, value, offset) in pairs {
            let label = match label {
                LabelName::Metric => Cow::Borrowed(METRIC_NAME),
                LabelName::Label(label) => label,
            };
            if seen.contains(&label) {
                return Err(SeriesError { series: series.into(), offset, expected: "each label once" });
            }
            builder.set(&label, &value);
            seen.push(label);
        }
    }
    if has_metric && !is_named {
        return Err(cursor.expected_at(0, "a metric name"));
    }
    Ok(builder.build())
}

/// What stands before a value in braces.
enum LabelName<'a> {
    /// Nothing: the value is the metric's name.
    Metric,
    Label(Cow<'a, str>),
}

/// Where a text departs from the strict form that OpenMetrics demands: no blanks or line breaks outside strings, a comma
/// between labels, no metric name among those of an exemplar. The rest is checked by [`labels_of`]'s rules.
pub(super) fn strict_fault(text: &str, is_exemplar: bool) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut at = memchr::memchr(b'{', bytes)?;
    if let Some(blank) = bytes[..at].iter().position(|byte| !is_name_byte(*byte)) {
        return Some((blank, "'{' or a space and a value"));
    }
    let mut has_name = at > 0;
    at += 1;
    while bytes.get(at) != Some(&b'}') {
        let start = at;
        let quoted = bytes.get(at) == Some(&b'"');
        at = match quoted {
            true => string_end(bytes, at + 1).unwrap_or(bytes.len()),
            false => at + bytes[at..].iter().position(|&b| !is_name_byte(b) || b == b':').unwrap_or(0),
        };
        if at == start || bytes[start].is_ascii_digit() {
            return Some((start, "a label name"));
        }
        if quoted && !is_exemplar && !has_name && matches!(bytes.get(at), Some(b',' | b'}')) {
            has_name = true;
        } else {
            if bytes.get(at) != Some(&b'=') {
                return Some((at, "'='"));
            }
            if bytes.get(at + 1) != Some(&b'"') {
                return Some((at + 1, "a string in double quotes"));
            }
            let value = at + 2;
            at = string_end(bytes, value).unwrap_or(bytes.len());
            let is_refused = |byte: &u8| *byte == b'\n' || is_exemplar && *byte == 0;
            if let Some(refused) = bytes[value..at].iter().position(is_refused) {
                return Some((value + refused, "a closing quote"));
            }
        }
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => break,
            _ => return Some((at, "',' or '}'")),
        }
    }
    (!is_exemplar && !has_name).then_some((0, "a metric name"))
}

/// Undoes the escapes of a help text: `\\` and `\n`, in OpenMetrics also `\"`.
pub fn unescape_help(text: &str, format: Format) -> Cow<'_, str> {
    unescape(text, format == Format::OpenMetrics)
}

fn unescape(text: &str, has_quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if has_quotes => out.push('"'),
            // Unknown escapes stay as written, as upstream leaves them.
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

/// The names and values of a series text as they are written, still escaped; the metric name in braces comes with an
/// empty name. Of a text that is no series, whatever looks like pairs.
#[derive(Debug, Clone)]
pub(super) struct RawPairs<'a> {
    cursor: Cursor<'a>,
}

impl<'a> RawPairs<'a> {
    pub(super) fn of(series: &'a str) -> Self {
        let at = memchr::memchr(b'{', series.as_bytes()).map_or(series.len(), |brace| brace + 1);
        Self { cursor: Cursor { text: series, at } }
    }
}

impl<'a> Iterator for RawPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let cursor = &mut self.cursor;
        while matches!(cursor.peek(), Some(b' ' | b'\t' | b',')) {
            cursor.at += 1;
        }
        let name = match cursor.peek()? {
            b'"' => {
                let name = cursor.raw_string()?;
                cursor.skip_blanks();
                if cursor.peek() != Some(b'=') {
                    return Some(("", name));
                }
                name
            }
            _ => cursor.bare_name(),
        };
        cursor.skip_blanks();
        if cursor.peek() != Some(b'=') {
            return None;
        }
        cursor.at += 1;
        cursor.skip_blanks();
        Some((name, cursor.raw_string()?))
    }
}

#[derive(Debug, Clone)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn bare_name(&mut self) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().position(|&b| !is_name_byte(b)).unwrap_or(rest.len());
        let name = self.text.get(self.at..self.at + len).unwrap_or("");
        self.at += len;
        name
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SeriesError> {
        self.skip_blanks();
        if self.peek() != Some(byte) {
            return Err(self.expected_at(self.at, expected));
        }
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    fn expected_at(&self, offset: usize, expected: &'static str) -> SeriesError {
        SeriesError { series: self.text.to_owned(), offset, expected }
    }

    /// `"..."` from here on, unescaped.
    fn string(&mut self) -> Result<Cow<'a, str>, SeriesError> {
        self.expect_quote()?;
        let start = self.at;
        let end = string_end(self.text.as_bytes(), start).ok_or_else(|| self.expected_at(start, "a closing quote"))?;
        self.at = end;
        Ok(unescape(self.text.get(start..end - 1).unwrap_or(""), true))
    }

    /// `"..."` from here on, as written.
    fn raw_string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at = string_end(self.text.as_bytes(), start)?;
        self.text.get(start..self.at - 1)
    }

    fn expect_quote(&mut self) -> Result<(), SeriesError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected_at(self.at, "a string in double quotes"));
        }
        self.at += 1;
        Ok(())
    }

    /// `{a="x","b.c"="y",}`; a quoted string alone is the metric name, allowed once and only if none stood before.
    fn labels(
        &mut self,
        mut has_name: bool,
        mut push: impl FnMut(LabelName<'a>, Cow<'a, str>, usize),
    ) -> Result<(), SeriesError> {
        self.expect(b'{', "'{'")?;
        while self.peek() != Some(b'}') {
            let start = self.at;
            let quoted = self.peek() == Some(b'"');
            let label = if quoted { self.string()? } else { Cow::Borrowed(self.bare_name()) };
            // Upstream's scanner takes such a byte for the end of the page; in values it passes.
            if label.contains('\0') {
                return Err(self.expected_at(start, "a name without NUL"));
            }
            self.skip_blanks();
            let after_value = !quoted || self.peek() == Some(b'=');
            if !after_value {
                if has_name || label.is_empty() {
                    return Err(self.expected_at(start, "one metric name"));
                }
                has_name = true;
                push(LabelName::Metric, label, start);
            } else {
                if label.is_empty() || !(quoted || is_legacy_label_name(&label)) {
                    return Err(self.expected_at(start, "a label name"));
                }
                self.expect(b'=', "'='")?;
                let value = self.string()?;
                push(LabelName::Label(label), value, start);
                self.skip_blanks();
            }
            match self.peek() {
                Some(b',') => self.expect(b',', "','")?,
                Some(b'}') => break,
                // The text format lets the comma be left out after a value.
                Some(byte) if after_value && (is_name_byte(byte) || byte == b'"') => {}
                _ => return Err(self.expected_at(self.at, "',' or '}'")),
            }
        }
        self.expect(b'}', "'}'")?;
        if self.at != self.text.len() {
            return Err(self.expected_at(self.at, "the end of the series"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(series: &str, expected: Result<&str, &str>) {
        assert_eq!(series_len(format!("{series} 1\n").as_bytes()), Some(series.len()), "length of {series}");
        let labels = labels_of(series).map(|l| l.to_string()).map_err(|e| e.expected.to_owned());
        assert_eq!(labels.as_deref().map_err(|e| e.as_str()), expected, "{series}");
    }

    /// Byte by byte, as [`seek`] must find it.
    #[test]
    fn eight_bytes_at_once_are_seen_as_each_alone() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly letters, with any byte in any place.
            let mut bytes = *b"abZ_9:xyabcdef\"}{= ";
            bytes[(state >> 33) as usize % 19] = (state >> 40) as u8;
            bytes[(state >> 17) as usize % 19] = (state >> 50) as u8;
            for from in 0..bytes.len() {
                let naive = |is: fn(u8) -> bool| from + bytes[from..].iter().position(|b| is(*b)).unwrap_or(19 - from);
                assert_eq!(
                    seek(&bytes, from, name_ends, |b| !is_name_byte(b)),
                    naive(|b| !is_name_byte(b)),
                    "{bytes:?}"
                );
                let ends = |word| equal(word, b'"') | equal(word, b'\\');
                let is_end = |byte: u8| matches!(byte, b'"' | b'\\');
                assert_eq!(seek(&bytes, from, ends, is_end), naive(|b| matches!(b, b'"' | b'\\')), "{bytes:?}");
            }
        }
    }

    #[test]
    fn reads_names_and_labels() {
        check("up", Ok(r#"{__name__="up"}"#));
        check(r#"a:b{x="1",y="2"}"#, Ok(r#"{__name__="a:b", x="1", y="2"}"#));
        check(r#"m { x = "1" , y="a\"}\\\n" , }"#, Ok(r#"{__name__="m", x="1", y="a\"}\\\n"}"#));
        check(r#"{"my.metric","l.n"="v",a="b"}"#, Ok(r#"{__name__="my.metric", a="b", "l.n"="v"}"#));
        check(r#"m{}"#, Ok(r#"{__name__="m"}"#));
        check(r#"m{x=""}"#, Ok(r#"{__name__="m"}"#));
        check(r#"m{x="1" y="2"}"#, Ok(r#"{__name__="m", x="1", y="2"}"#));
        check(r#"{a="b","m"}"#, Ok(r#"{__name__="m", a="b"}"#));
        check(r#"m{x="a\qb"}"#, Ok(r#"{__name__="m", x="a\\qb"}"#));
    }

    #[test]
    fn says_what_is_missing_where() {
        check(r#"m{x="1",x="2"}"#, Err("each label once"));
        check(r#"m{0x="1"}"#, Err("a label name"));
        check(r#"m{x=1}"#, Err("a string in double quotes"));
        check(r#"m{x "1"}"#, Err("'='"));
        check(r#"m{x="1"; y="2"}"#, Err("',' or '}'"));
        check(r#"{"m" y="2"}"#, Err("',' or '}'"));
        check(r#"{a="ok"}"#, Err("a metric name"));
        check(r#"{__name__="ok"}"#, Err("a metric name"));
        check(r#"m{__name__="n"}"#, Err("each label once"));
        check(r#"{A}"#, Err("'='"));
        check(r#"m{=""}"#, Err("a label name"));
        check(r#"m{x="1",,y="2"}"#, Err("a label name"));
        check(r#"m{x='1'}"#, Err("a string in double quotes"));
        check(r#"m{"n"}"#, Err("one metric name"));
        assert_eq!(exemplar_labels_of(r#"{a="b"}"#).map(|l| l.to_string()), Ok(r#"{a="b"}"#.to_owned()));
        assert!(exemplar_labels_of(r#"{"m",a="b"}"#).is_err() && exemplar_labels_of("m").is_err());
        assert_eq!(series_len(br#"{"a","b = "c"} 1"#), None);
        assert_eq!(series_len(b"m{x=\"1\n"), None);
        assert_eq!(series_len(b"0m 1\n"), None);
    }

    #[test]
    fn the_strict_form_has_no_blanks() {
        let fault = |text: &str| strict_fault(text, false).map(|(_, expected)| expected);
        for text in ["m", "m{}", r#"m{a="b",}"#, r#"{"m","a b"="c d",e="f"}"#, r#"m{a="\"",b="\\"}"#, "m{a=\"\0\"}"] {
            assert_eq!(fault(text), None, "{text}");
        }
        for (text, expected) in [
            (r#"m {a="b"}"#, "'{' or a space and a value"),
            (r#"m{ a="b"}"#, "a label name"),
            (r#"m{a="b", c="d"}"#, "a label name"),
            (r#"m{a="b"c="d"}"#, "',' or '}'"),
            (r#"m{,a="b"}"#, "a label name"),
            (r#"m{a ="b"}"#, "'='"),
            (r#"m{a='b'}"#, "a string in double quotes"),
            (r#"{a="b",}"#, "a metric name"),
            (r#"m{"n"}"#, "'='"),
            ("m{a=\"b\nc\"}", "a closing quote"),
        ] {
            assert_eq!(fault(text), Some(expected), "{text}");
        }
        assert_eq!(strict_fault(r#"{a="b"}"#, true), None);
        assert_eq!(strict_fault(r#"{a}"#, true), Some((2, "'='")));
        assert_eq!(strict_fault(r#"{"a",b="c"}"#, true), Some((4, "'='")));
    }
}

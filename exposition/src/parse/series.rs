//! The series part of a line, `name{label="value",...}` or `{"name","label"="value"}`: finding its end, and turning it
//! into labels.

use std::borrow::Cow;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};

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
    let mut at = line.iter().position(|&b| !is_name_byte(b)).unwrap_or(line.len());
    let name_len = at;
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    if line.get(at) != Some(&b'{') {
        return (name_len > 0 && !line[0].is_ascii_digit()).then_some(name_len);
    }
    at += 1;
    loop {
        let step = memchr::memchr3(b'"', b'}', b'\n', line.get(at..)?)?;
        at += step + 1;
        match line[at - 1] {
            b'}' => return Some(at),
            b'"' => at = string_end(line, at)?,
            _ => return None,
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// One past the quote that ends the string whose first byte is at `at`.
fn string_end(line: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr3(b'"', b'\\', b'\n', line.get(at..)?)?;
        match line[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

/// The labels of a series text, the metric name among them; labels with empty values are left out.
///
/// # Errors
/// If the text is not a series; names what was expected and where. A label given twice is an error.
pub fn labels_of(series: &str) -> Result<Labels, SeriesError> {
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut owned: Vec<String> = Vec::new();
    let mut cursor = Cursor { text: series, at: 0 };
    let name = cursor.bare_name();
    if !name.is_empty() {
        if !is_legacy_metric_name(name) {
            return Err(cursor.expected_at(0, "a metric name"));
        }
        builder.set(METRIC_NAME, name);
    }
    cursor.skip_blanks();
    if cursor.at < series.len() {
        let mut pairs = Vec::new();
        cursor.labels(!name.is_empty(), |label, value, offset| pairs.push((label, value, offset)))?;
        for (label, value, offset) in pairs {
            let duplicate = seen.contains(&&*label) || owned.iter().any(|o| *o == *label);
            if duplicate {
                return Err(SeriesError { series: series.into(), offset, expected: "each label once" });
            }
            builder.set(&label, &value);
            match label {
                Cow::Borrowed(text) => seen.push(text),
                Cow::Owned(text) => owned.push(text),
            }
        }
    }
    Ok(builder.build())
}

/// Undoes the escapes of a help text: `\\` and `\n` (and `\"` in OpenMetrics).
pub fn unescape_help(text: &str) -> Cow<'_, str> {
    unescape(text)
}

fn unescape(text: &str) -> Cow<'_, str> {
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
            Some(c @ ('\\' | '"')) => out.push(c),
            // Unknown escapes stay as written, as upstream leaves them.
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

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
        Ok(unescape(self.text.get(start..end - 1).unwrap_or("")))
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
        mut push: impl FnMut(Cow<'a, str>, Cow<'a, str>, usize),
    ) -> Result<(), SeriesError> {
        self.expect(b'{', "'{'")?;
        while self.peek() != Some(b'}') {
            let start = self.at;
            let quoted = self.peek() == Some(b'"');
            let label = if quoted { self.string()? } else { Cow::Borrowed(self.bare_name()) };
            self.skip_blanks();
            if quoted && self.peek() != Some(b'=') {
                if has_name || label.is_empty() {
                    return Err(self.expected_at(start, "one metric name"));
                }
                has_name = true;
                push(Cow::Borrowed(METRIC_NAME), label, start);
            } else {
                if label.is_empty() || !(quoted || is_legacy_label_name(&label)) {
                    return Err(self.expected_at(start, "a label name"));
                }
                self.expect(b'=', "'='")?;
                let value = self.string()?;
                push(label, value, start);
                self.skip_blanks();
            }
            match self.peek() {
                Some(b',') => self.expect(b',', "','")?,
                Some(b'}') => break,
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

    #[test]
    fn reads_names_and_labels() {
        check("up", Ok(r#"{__name__="up"}"#));
        check(r#"a:b{x="1",y="2"}"#, Ok(r#"{__name__="a:b", x="1", y="2"}"#));
        check(r#"m { x = "1" , y="a\"}\\\n" , }"#, Ok(r#"{__name__="m", x="1", y="a\"}\\\n"}"#));
        check(r#"{"my.metric","l.n"="v",a="b"}"#, Ok(r#"{__name__="my.metric", a="b", "l.n"="v"}"#));
        check(r#"m{}"#, Ok(r#"{__name__="m"}"#));
        check(r#"m{x=""}"#, Ok(r#"{__name__="m"}"#));
        check(r#"m{x="a\qb"}"#, Ok(r#"{__name__="m", x="a\\qb"}"#));
    }

    #[test]
    fn says_what_is_missing_where() {
        check(r#"m{x="1",x="2"}"#, Err("each label once"));
        check(r#"m{0x="1"}"#, Err("a label name"));
        check(r#"m{x=1}"#, Err("a string in double quotes"));
        check(r#"m{x "1"}"#, Err("'='"));
        check(r#"m{x="1" y="2"}"#, Err("',' or '}'"));
        check(r#"m{"n"}"#, Err("one metric name"));
        assert_eq!(series_len(b"m{x=\"1\n"), None);
        assert_eq!(series_len(b"0m 1\n"), None);
    }
}

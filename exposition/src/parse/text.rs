//! The text format, versions 0.0.4 and 1.0.0.

use model::metadata::MetricType;

use super::number::{float, short_float};
use super::series::{family_name, series_len_after};
use super::{Entry, ParseError, SampleLine};

/// Parses a text page line by line. See [`super::Parser::advance`] for the contract.
#[derive(Debug, Clone)]
pub struct TextParser<'a> {
    page: &'a str,
    /// `0 <= at <= page.len()`, always at the beginning of a line between calls.
    at: usize,
    /// The bare name last spoken of, of a family or a series: it mostly comes again. Empty if there was none.
    family: &'a str,
}

impl<'a> TextParser<'a> {
    /// Starts at the top of `page`.
    pub fn new(page: &'a str) -> Self {
        Self { page, at: 0, family: "" }
    }

    /// The next entry; see [`super::Parser::advance`].
    ///
    /// # Errors
    /// Where the page departs from the format.
    #[inline]
    pub fn advance(&mut self, predicted: &str) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            let bytes = self.page.as_bytes();
            let Some(&first) = bytes.get(self.at) else { return Ok(None) };
            match first {
                b'\n' | b' ' | b'\t' => self.at += 1,
                b'#' => {
                    if let Some(entry) = self.comment()? {
                        return Ok(Some(entry));
                    }
                }
                _ => return self.sample(predicted).map(|line| Some(Entry::Sample(line))),
            }
        }
    }

    #[inline]
    fn sample(&mut self, predicted: &str) -> Result<SampleLine<'a>, ParseError> {
        let offset = self.at;
        let rest = &self.page.as_bytes()[offset..];
        let is_predicted = !predicted.is_empty()
            && matches!(rest.get(predicted.len()), Some(b' ' | b'\t'))
            && rest.starts_with(predicted.as_bytes());
        let len = match is_predicted {
            true => predicted.len(),
            false => {
                let known = if rest.starts_with(self.family.as_bytes()) { self.family.len() } else { 0 };
                let lengths = series_len_after(rest, known);
                let (name_len, len) = lengths.ok_or_else(|| self.expected(offset, "a metric name and labels"))?;
                if known == 0 {
                    self.family = self.slice(offset, offset + name_len);
                }
                len
            }
        };
        let series = self.slice(offset, offset + len);
        let value_at = self.skip_blanks(offset + len);
        let (value, len) = match short_float(&self.page.as_bytes()[value_at..]) {
            Some(short) => short,
            None => self.value(value_at)?,
        };
        let timestamp = self.timestamp(value_at + len)?;
        Ok(SampleLine { series, predicted: is_predicted, value, timestamp, start: 0, exemplar: None, offset })
    }

    #[cold]
    fn value(&self, at: usize) -> Result<(f64, usize), ParseError> {
        let end = self.word_end(at);
        let value = float(self.slice(at, end)).ok_or_else(|| self.expected(at, "a value"))?;
        Ok((value, end - at))
    }

    /// The optional timestamp in milliseconds, and the end of the line.
    #[inline]
    fn timestamp(&mut self, at: usize) -> Result<Option<i64>, ParseError> {
        let bytes = self.page.as_bytes();
        if bytes.get(at) == Some(&b'\n') {
            self.at = at + 1;
            return Ok(None);
        }
        let start = self.skip_blanks(at);
        let end = self.word_end(start);
        let timestamp = match end > start {
            true => {
                // Digits alone: a sign is no part of a timestamp.
                let digits = self.slice(start, end);
                let parsed = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
                Some(parsed.ok_or_else(|| self.expected(start, "a timestamp in ms"))?)
            }
            false => None,
        };
        let end = self.skip_blanks(end);
        match bytes.get(end) {
            Some(b'\n') => self.at = end + 1,
            None => self.at = end,
            Some(_) => return Err(self.expected(end, "the end of the line")),
        }
        Ok(timestamp)
    }

    /// `# HELP`, `# TYPE`, or a comment to skip.
    fn comment(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let start = self.at;
        let bytes = self.page.as_bytes();
        let line_end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |n| start + n);
        self.at = (line_end + 1).min(bytes.len());
        let keyword_at = self.skip_blanks(start + 1);
        let keyword = bytes.get(keyword_at..keyword_at + 4).unwrap_or(b"");
        let is_keyword = keyword_at > start + 1
            && matches!(keyword, b"HELP" | b"TYPE")
            && matches!(bytes.get(keyword_at + 4), Some(b' ' | b'\t'));
        if !is_keyword {
            return Ok(None);
        }
        let name_at = self.skip_blanks(keyword_at + 4);
        let (name, name_end) = match self.is_family_again(name_at) {
            true => (self.family, name_at + self.family.len()),
            false => family_name(self.page, name_at).ok_or_else(|| self.expected(name_at, "a metric name"))?,
        };
        self.family = if bytes[name_at] == b'"' { "" } else { name };
        // One blank divides; further ones are part of the text.
        let text_at = (name_end + 1).min(line_end);
        let text = self.slice(text_at, line_end);
        if keyword == b"HELP" {
            return Ok(Some(Entry::Help { name, text }));
        }
        let metric_type = match text {
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "summary" => MetricType::Summary,
            "untyped" => MetricType::Unknown,
            _ => return Err(self.expected(text_at, "a metric type")),
        };
        Ok(Some(Entry::Type { name, metric_type }))
    }

    /// Whether the name at a place is that of the family before, bare.
    fn is_family_again(&self, at: usize) -> bool {
        let rest = &self.page.as_bytes()[at..];
        !self.family.is_empty()
            && rest.starts_with(self.family.as_bytes())
            && matches!(rest.get(self.family.len()), Some(b' ' | b'\t'))
    }

    #[inline]
    fn skip_blanks(&self, mut at: usize) -> usize {
        while matches!(self.page.as_bytes().get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    }

    fn word_end(&self, at: usize) -> usize {
        let rest = &self.page.as_bytes()[at..];
        at + rest.iter().position(|b| matches!(b, b' ' | b'\t' | b'\n')).unwrap_or(rest.len())
    }

    /// Both ends lie beside ASCII bytes, so the slice is never `None`.
    #[inline]
    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.page.get(start..end).unwrap_or("")
    }

    #[cold]
    fn expected(&self, offset: usize, expected: &'static str) -> ParseError {
        ParseError::at(self.page, offset, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(page: &str) -> Result<Vec<Entry<'_>>, ParseError> {
        let mut parser = TextParser::new(page);
        let mut entries = Vec::new();
        while let Some(entry) = parser.advance("")? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn reads_a_page() {
        let page =
            "# HELP m Some \\n help.\n# TYPE m counter\n# a comment\n\nm{a=\"b\"} 1 1000\n  m 2.5\nn\t-Inf \nx 3";
        let entries = entries(page).unwrap();
        assert_eq!(entries[0], Entry::Help { name: "m", text: "Some \\n help." });
        assert_eq!(entries[1], Entry::Type { name: "m", metric_type: MetricType::Counter });
        let samples: Vec<(&str, f64, Option<i64>)> = entries
            .iter()
            .filter_map(|e| match e {
                Entry::Sample(s) => Some((s.series, s.value, s.timestamp)),
                _ => None,
            })
            .collect();
        let expected =
            [("m{a=\"b\"}", 1.0, Some(1000)), ("m", 2.5, None), ("n", f64::NEG_INFINITY, None), ("x", 3.0, None)];
        assert_eq!(samples, expected);
    }

    #[test]
    fn a_predicted_series_is_taken_only_if_the_line_has_it_whole() {
        let mut parser = TextParser::new("ab 1\nab{x=\"1\"} 2\n");
        let Ok(Some(Entry::Sample(first))) = parser.advance("a") else { panic!() };
        assert!(!first.predicted && first.series == "ab");
        let Ok(Some(Entry::Sample(second))) = parser.advance("ab{x=\"1\"}") else { panic!() };
        assert!(second.predicted && second.value == 2.0);
    }

    #[test]
    fn errors_name_line_and_byte() {
        for (page, line, offset, expected) in [
            ("a 1\nb\n", 2, 5, "a value"),
            ("a 1\nb{x=\"1\" 1\n", 2, 4, "a metric name and labels"),
            ("a x\n", 1, 2, "a value"),
            ("a 1 2 3\n", 1, 6, "the end of the line"),
            ("a 1 1.5\n", 1, 4, "a timestamp in ms"),
            ("a 1\r\n", 1, 2, "a value"),
            ("# TYPE a nonsense\n", 1, 9, "a metric type"),
            ("# HELP 0a x\n", 1, 7, "a metric name"),
            ("# HELP \n", 1, 7, "a metric name"),
            ("# TYPE #\n", 1, 7, "a metric name"),
            ("# TYPE a gauge \n", 1, 9, "a metric type"),
            ("# TYPE a  gauge\n", 1, 9, "a metric type"),
            ("# TYPE a info\n", 1, 9, "a metric type"),
            ("# TYPE a\n", 1, 8, "a metric type"),
            ("a 1 -5\n", 1, 4, "a timestamp in ms"),
            ("a 1 +5\n", 1, 4, "a timestamp in ms"),
            ("a 1 1_2\n", 1, 4, "a timestamp in ms"),
            ("a 1 99999999999999999999\n", 1, 4, "a timestamp in ms"),
            ("a true\n", 1, 2, "a value"),
            ("a 1_2\n", 1, 2, "a value"),
            ("a 1e999\n", 1, 2, "a value"),
            ("a 1{\n", 1, 2, "a value"),
            ("a\0 1\n", 1, 1, "a value"),
            ("a{b=\"\0", 1, 0, "a metric name and labels"),
            ("a 0x10\n", 1, 2, "a value"),
            ("a{b=\"c", 1, 0, "a metric name and labels"),
        ] {
            let error = entries(page).unwrap_err();
            assert_eq!((error.line, error.offset, error.expected), (line, offset, expected), "{page:?}");
        }
    }

    #[test]
    fn lenient_where_upstream_is() {
        for (page, expected) in [
            ("#\tTYPE a\tcounter\n", 1),
            ("#HELP 0 is a comment\n# HELPless\n#\n# HELP\n", 0),
            ("# HELP a\n# HELP a \n", 2),
            ("a{b=\"c\"}1\n", 1),
            ("a{b=\"line\nbreak\"} 1 5", 1),
            ("{\"u.x\",\"l.x\"=\"1\"} 1\n", 1),
            ("a{b=\"\0\"} 1\n", 1),
            ("a 1 123\t \n\n\t\n b 2", 2),
        ] {
            assert_eq!(entries(page).map(|entries| entries.len()), Ok(expected), "{page:?}");
        }
        assert!(entries("# HELP \"u.x\" h\n# TYPE u.x counter\n").is_err(), "quoted once is not quoted always");
        let help = entries("# HELP a  two\n# HELP \"b\\\"c\" x").unwrap();
        assert_eq!(help[0], Entry::Help { name: "a", text: " two" });
        assert_eq!(help[1], Entry::Help { name: "b\\\"c", text: "x" });
    }
}

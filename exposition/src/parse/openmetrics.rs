//! OpenMetrics text, versions 0.0.1 and 1.0.0: one space between parts, seconds as timestamps, exemplars, `# EOF`.

use super::number::float;
use super::series::series_len;
use super::text::family_name;
use super::{Entry, ExemplarText, ParseError, SampleLine};

/// Parses an OpenMetrics page line by line. See [`super::Parser::advance`] for the contract.
#[derive(Debug, Clone)]
pub struct OpenMetricsParser<'a> {
    page: &'a str,
    /// `0 <= at <= page.len()`, at the beginning of a line between calls.
    at: usize,
    /// `# EOF` was seen.
    ended: bool,
}

impl<'a> OpenMetricsParser<'a> {
    /// Starts at the top of `page`.
    pub fn new(page: &'a str) -> Self {
        Self { page, at: 0, ended: false }
    }

    /// The next entry; see [`super::Parser::advance`].
    ///
    /// # Errors
    /// Where the page departs from the format; a page without `# EOF` at its end is cut short.
    #[inline]
    pub fn advance(&mut self, predicted: &str) -> Result<Option<Entry<'a>>, ParseError> {
        match self.page.as_bytes().get(self.at) {
            None if self.ended => Ok(None),
            None => Err(self.expected(self.at, "# EOF at the end of the page")),
            Some(_) if self.ended => Err(self.expected(self.at, "nothing after # EOF")),
            Some(b'#') => self.comment(),
            Some(_) => self.sample(predicted).map(|line| Some(Entry::Sample(line))),
        }
    }

    #[inline]
    fn sample(&mut self, predicted: &str) -> Result<SampleLine<'a>, ParseError> {
        let offset = self.at;
        let rest = &self.page.as_bytes()[offset..];
        let is_predicted =
            !predicted.is_empty() && rest.starts_with(predicted.as_bytes()) && rest.get(predicted.len()) == Some(&b' ');
        let len = match is_predicted {
            true => predicted.len(),
            false => series_len(rest).ok_or_else(|| self.expected(offset, "a metric name and labels"))?,
        };
        let series = self.slice(offset, offset + len);
        let (value, mut at) = self.number(offset + len, "a value")?;
        let mut timestamp = None;
        if self.follows(at, b" ") && !self.follows(at, b" # ") {
            let (seconds, end) = self.number(at, "a timestamp in seconds")?;
            timestamp = Some(self.milliseconds(seconds, at + 1)?);
            at = end;
        }
        let mut exemplar = None;
        if self.follows(at, b" # ") {
            let (parsed, end) = self.exemplar(at + 3)?;
            exemplar = Some(parsed);
            at = end;
        }
        self.line_end(at)?;
        Ok(SampleLine { series, predicted: is_predicted, value, timestamp, start: 0, exemplar, offset })
    }

    /// `{labels} value [timestamp]`.
    fn exemplar(&self, at: usize) -> Result<(ExemplarText<'a>, usize), ParseError> {
        let rest = self.page.as_bytes().get(at..).unwrap_or(&[]);
        let braces = rest.first() == Some(&b'{');
        let len = series_len(rest).filter(|_| braces).ok_or_else(|| self.expected(at, "an exemplar's labels"))?;
        let labels = self.slice(at, at + len);
        let (value, mut end) = self.number(at + len, "an exemplar's value")?;
        let mut timestamp = None;
        if self.follows(end, b" ") {
            let (seconds, after) = self.number(end, "an exemplar's timestamp")?;
            timestamp = Some(self.milliseconds(seconds, end + 1)?);
            end = after;
        }
        Ok((ExemplarText { labels, value, timestamp }, end))
    }

    /// A space and a number.
    #[inline]
    fn number(&self, at: usize, what: &'static str) -> Result<(f64, usize), ParseError> {
        if !self.follows(at, b" ") {
            return Err(self.expected(at, what));
        }
        let rest = &self.page.as_bytes()[at + 1..];
        let len = rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(rest.len());
        let end = at + 1 + len;
        let value = float(self.slice(at + 1, end)).ok_or_else(|| self.expected(at + 1, what))?;
        Ok((value, end))
    }

    fn milliseconds(&self, seconds: f64, at: usize) -> Result<i64, ParseError> {
        if !seconds.is_finite() {
            return Err(self.expected(at, "a finite timestamp"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn comment(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let start = self.at;
        let line_end = memchr::memchr(b'\n', &self.page.as_bytes()[start..]).map_or(self.page.len(), |n| start + n);
        let line = self.slice(start, line_end);
        if line == "# EOF" {
            self.ended = true;
            self.at = (line_end + 1).min(self.page.len());
            return self.advance("");
        }
        self.line_end(line_end)?;
        let keyword = line.get(2..6).filter(|_| line.starts_with("# ") && line.as_bytes().get(6) == Some(&b' '));
        let keyword = keyword.ok_or_else(|| self.expected(start, "# HELP, # TYPE, # UNIT or # EOF"))?;
        let name_at = start + 7;
        let (name, name_end) =
            family_name(self.page, name_at).ok_or_else(|| self.expected(name_at, "a metric name"))?;
        let text = match self.follows(name_end, b" ") {
            true => self.slice(name_end + 1, line_end),
            false => "",
        };
        Ok(Some(match keyword {
            "HELP" => Entry::Help { name, text },
            "UNIT" => self.unit(name, text, name_end)?,
            "TYPE" => {
                Entry::Type { name, metric_type: text.parse().map_err(|_| self.expected(name_end, "a metric type"))? }
            }
            _ => return Err(self.expected(start + 2, "HELP, TYPE, UNIT or EOF")),
        }))
    }

    fn unit(&self, name: &'a str, unit: &'a str, at: usize) -> Result<Entry<'a>, ParseError> {
        let fits = unit.is_empty() || name.strip_suffix(unit).is_some_and(|base| base.ends_with('_'));
        if !fits {
            return Err(self.expected(at, "a unit that the metric's name ends in"));
        }
        Ok(Entry::Unit { name, unit })
    }

    fn line_end(&mut self, at: usize) -> Result<(), ParseError> {
        if !self.follows(at, b"\n") {
            return Err(self.expected(at, "the end of the line"));
        }
        self.at = at + 1;
        Ok(())
    }

    fn follows(&self, at: usize, text: &[u8]) -> bool {
        self.page.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(text))
    }

    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.page.get(start..end).unwrap_or("")
    }

    fn expected(&self, offset: usize, expected: &'static str) -> ParseError {
        ParseError::at(self.page, offset, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(page: &str) -> Result<Vec<SampleLine<'_>>, ParseError> {
        let mut parser = OpenMetricsParser::new(page);
        let mut samples = Vec::new();
        while let Some(entry) = parser.advance("")? {
            if let Entry::Sample(sample) = entry {
                samples.push(sample);
            }
        }
        Ok(samples)
    }

    #[test]
    fn reads_timestamps_in_seconds_and_exemplars() {
        let page = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds h\n\
            a_seconds_total{x=\"1\"} 17.0 1520879607.789 # {trace_id=\"é\"} 0.67 1520879607.1\nb 1 # {} 2\n# EOF\n";
        let samples = samples(page).unwrap();
        assert_eq!(samples[0].timestamp, Some(1_520_879_607_789));
        let exemplar = samples[0].exemplar.unwrap();
        assert_eq!((exemplar.labels, exemplar.value), ("{trace_id=\"é\"}", 0.67));
        assert_eq!(exemplar.timestamp, Some(1_520_879_607_100));
        assert_eq!((samples[1].timestamp, samples[1].exemplar.unwrap().value), (None, 2.0));
    }

    #[test]
    fn strict_where_the_format_is() {
        for (page, expected) in [
            ("a 1\n", "# EOF at the end of the page"),
            ("a 1\n# EOF\na 2\n", "nothing after # EOF"),
            ("a  1\n# EOF\n", "a value"),
            ("a 1 \n# EOF\n", "a timestamp in seconds"),
            ("a 1 NaN\n# EOF\n", "a finite timestamp"),
            ("\n# EOF\n", "a metric name and labels"),
            ("# comment\n# EOF\n", "# HELP, # TYPE, # UNIT or # EOF"),
            ("# UNIT a seconds\n# EOF\n", "a unit that the metric's name ends in"),
            ("a 1 # x 1\n# EOF\n", "an exemplar's labels"),
            ("# EO", "the end of the line"),
        ] {
            assert_eq!(samples(page).unwrap_err().expected, expected, "{page:?}");
        }
        assert_eq!(samples("a 1\n# EOF").map(|s| s.len()), Ok(1));
    }
}

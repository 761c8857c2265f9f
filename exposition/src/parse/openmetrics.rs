//! OpenMetrics text, versions 0.0.1 and 1.0.0: one space between parts, seconds as timestamps, exemplars, `# EOF`.

use super::created::CreatedLines;
use super::number::{float, short_float};
use super::series::{family_name, series_len, strict_fault};
use super::{Entry, ExemplarText, ParseError, SampleLine};

/// Parses an OpenMetrics page line by line. See [`super::Parser::advance`] for the contract.
#[derive(Debug, Clone)]
pub struct OpenMetricsParser<'a> {
    page: &'a str,
    /// `0 <= at <= page.len()`, at the beginning of a line between calls.
    at: usize,
    /// `# EOF` was seen.
    ended: bool,
    /// If starts are wanted.
    created: Option<CreatedLines<'a>>,
}

impl<'a> OpenMetricsParser<'a> {
    /// Starts at the top of `page`.
    pub fn new(page: &'a str) -> Self {
        Self { page, at: 0, ended: false, created: None }
    }

    /// As [`OpenMetricsParser::new`]; `_created` lines become the `start` of their samples.
    pub fn with_starts(page: &'a str) -> Self {
        Self { created: Some(CreatedLines::default()), ..Self::new(page) }
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
            Some(_) if self.created.is_some() => self.sample_with_start(predicted),
            Some(_) => self.sample(predicted).map(|line| Some(Entry::Sample(line))),
        }
    }

    fn sample_with_start(&mut self, predicted: &str) -> Result<Option<Entry<'a>>, ParseError> {
        // In a loop, not by calling itself: a page may have any number of such lines.
        while self.page.as_bytes().get(self.at).is_some_and(|first| *first != b'#') {
            let mut line = self.sample(predicted)?;
            let Some(created) = &mut self.created else { return Ok(Some(Entry::Sample(line))) };
            if !created.is_created(line.series) {
                line.start = created.start_of(self.page, line.series, self.at);
                return Ok(Some(Entry::Sample(line)));
            }
        }
        match self.page.as_bytes().get(self.at) {
            Some(_) => self.comment(),
            None => Err(self.expected(self.at, "# EOF at the end of the page")),
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
        if !is_predicted {
            self.check(series, offset, false)?;
        }
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
        self.check(labels, at, true)?;
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
        if let Some((value, len)) = short_float(rest).filter(|(_, len)| rest.get(*len) != Some(&b'\t')) {
            return Ok((value, at + 1 + len));
        }
        let len = rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(rest.len());
        let end = at + 1 + len;
        let value = float(self.slice(at + 1, end)).ok_or_else(|| self.expected(at + 1, what))?;
        Ok((value, end))
    }

    /// Blanks and commas must be where this format wants them.
    fn check(&self, series: &str, at: usize, is_exemplar: bool) -> Result<(), ParseError> {
        match strict_fault(series, is_exemplar) {
            Some((offset, expected)) => Err(self.expected(at + offset, expected)),
            None => Ok(()),
        }
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
        if !self.follows(name_end, b" ") {
            return Err(self.expected(name_end, "a space and a text"));
        }
        let text = self.slice(name_end + 1, line_end);
        let entry = match keyword {
            "HELP" => Entry::Help { name, text },
            "UNIT" => self.unit(name, text, name_end)?,
            "TYPE" => {
                // "untyped" is the word of the text format.
                let metric_type = text.parse().ok().filter(|_| text != "untyped");
                Entry::Type {
                    name,
                    metric_type: metric_type.ok_or_else(|| self.expected(name_end + 1, "a metric type"))?,
                }
            }
            _ => return Err(self.expected(start + 2, "HELP, TYPE, UNIT or EOF")),
        };
        if let Some(created) = &mut self.created {
            let metric_type = if let Entry::Type { metric_type, .. } = entry { Some(metric_type) } else { None };
            created.enter(name, metric_type);
        }
        Ok(Some(entry))
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
            ("", "# EOF at the end of the page"),
            ("a 1", "the end of the line"),
            ("# EOF\n\n", "nothing after # EOF"),
            ("# EOFa 1", "the end of the line"),
            (" a 1\n# EOF\n", "a metric name and labels"),
            (" {\"a\"} 1\n# EOF\n", "'{' or a space and a value"),
            ("a {b=\"c\"} 1\n# EOF\n", "'{' or a space and a value"),
            ("a{b=\"c\" d=\"e\"} 1\n# EOF\n", "',' or '}'"),
            ("a\t1\n# EOF\n", "a value"),
            ("a 1\t2\n# EOF\n", "a value"),
            ("a 1 2 \n# EOF\n", "the end of the line"),
            ("a 1 1 1\n# EOF\n", "the end of the line"),
            ("a 1 1_2\n# EOF\n", "a timestamp in seconds"),
            ("a 1\r\n# EOF\n", "a value"),
            ("#  TYPE c counter\n# EOF\n", "# HELP, # TYPE, # UNIT or # EOF"),
            ("#\tTYPE c counter\n# EOF\n", "# HELP, # TYPE, # UNIT or # EOF"),
            ("# TYPE u untyped\n# EOF\n", "a metric type"),
            ("# TYPE c counter \n# EOF\n", "a metric type"),
            ("# TYPE c  counter\n# EOF\n", "a metric type"),
            ("# TYPE m\n# EOF\n", "a space and a text"),
            ("# HELP m\n# EOF\n", "a space and a text"),
            ("# HELP \n# EOF\n", "a metric name"),
            ("# UNIT metricsuffix suffix\n# EOF\n", "a unit that the metric's name ends in"),
            ("a 1 # {b} 1\n# EOF\n", "'='"),
            ("a 1 # {b=\"c\"}\n# EOF\n", "an exemplar's value"),
            ("a 1 # {b=\"c\",,d=\"e\"} 1\n# EOF\n", "a label name"),
            ("a 1 # {b=\"\0\"} 1\n# EOF\n", "a closing quote"),
            ("a 1 # {b=\"c\"} 4 NaN\n# EOF\n", "a finite timestamp"),
            ("a 1 # {b=\"c\"} 4", "the end of the line"),
        ] {
            assert_eq!(samples(page).unwrap_err().expected, expected, "{page:?}");
        }
        assert_eq!(samples("a 1\n# EOF").map(|s| s.len()), Ok(1));
        let valid = "# HELP a \n# UNIT a \n# TYPE a stateset\n{\"u.x\",\"l.x\"=\"\0\",} nan 1e-3\na 1 -1.5\n# EOF\n";
        assert_eq!(samples(valid).map(|s| s.iter().map(|s| s.timestamp).collect()), Ok(vec![Some(1), Some(-1500)]));
    }

    /// Series and starts as read with starts.
    fn starts(page: &str) -> Vec<(&str, i64)> {
        let mut parser = OpenMetricsParser::with_starts(page);
        let mut starts = Vec::new();
        while let Some(entry) = parser.advance("").unwrap() {
            if let Entry::Sample(sample) = entry {
                starts.push((sample.series, sample.start));
            }
        }
        starts
    }

    #[test]
    fn created_lines_start_the_samples_of_their_labels() {
        let page = "# HELP c x\n# TYPE c counter\nc_total{a=\"1\"} 1\nc_created{a=\"1\"} 1.5\nc_total{a=\"2\"} 1\n\
            c_total{a=\"3\"} 1\nc_created{a=\"3\"} 2\nc_total 1\n\
            # TYPE h histogram\nh_bucket{le=\"1\",b=\"\\\"\"} 1\nh_bucket{le=\"+Inf\",b=\"\\\"\"} 1\nh_sum{b=\"\\\"\"} 1\n\
            h_created{b=\"\\\"\"} 3\nh_count{b=\"\\\"\"} 1\n\
            # TYPE s summary\ns{quantile=\"1\"} 1\ns_sum 1\ns_created 4 # {} 1\n\
            # TYPE \"u.x\" counter\n{\"u.x_total\",a=\"1\"} 1\n{\"u.x_created\",a=\"1\"} 5\n# EOF\n";
        let starts: Vec<i64> = starts(page).into_iter().map(|(_, start)| start).collect();
        assert_eq!(starts, [1500, 0, 2000, 0, 3000, 3000, 3000, 3000, 4000, 4000, 5000]);
    }

    #[test]
    fn created_lines_of_other_types_are_samples() {
        let page = "# TYPE g gauge\ng_created 1\n# TYPE c counter\nc_total 1\n# TYPE d counter\nd_created 2\n# EOF\n";
        assert_eq!(starts(page), [("g_created", 0), ("c_total", 0)]);
    }
}

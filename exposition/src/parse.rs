//! Parsing of metrics pages: what a page consists of, which format it is in, what can be wrong with it.
//!
//! Formats: text 0.0.4 and 1.0.0 (Prometheus' exposition formats page), OpenMetrics 0.0.1 and 1.0.0, and protobuf.

pub mod openmetrics;
pub mod protobuf;
pub mod series;
pub mod text;

mod created;
mod number;

use model::metadata::MetricType;

use protobuf::{Exemplars, HistogramValue};

/// One thing a page says, borrowed from the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP name text`, the text still escaped; see [`series::unescape_help`].
    Help {
        /// The family's name.
        name: &'a str,
        /// Its help as written.
        text: &'a str,
    },
    /// `# TYPE name type`.
    Type {
        /// The family's name.
        name: &'a str,
        /// Its type.
        metric_type: MetricType,
    },
    /// `# UNIT name unit` (OpenMetrics).
    Unit {
        /// The family's name.
        name: &'a str,
        /// Its unit.
        unit: &'a str,
    },
    /// A sample.
    Sample(SampleLine<'a>),
    /// A native histogram (protobuf).
    Histogram(HistogramLine<'a>),
}

/// A sample that is a native histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramLine<'a> {
    /// Name and labels as a text page would write them.
    pub series: &'a str,
    /// The value.
    pub value: &'a HistogramValue,
    /// Milliseconds since the epoch, if it has a timestamp.
    pub timestamp: Option<i64>,
    /// When its counting began, in milliseconds since the epoch; 0 if that is not said.
    pub start: i64,
    /// Its exemplars.
    pub exemplars: Exemplars<'a>,
}

/// A line with a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as written: what the scraper's cache is keyed by.
    pub series: &'a str,
    /// Whether `series` is the one that was predicted.
    pub predicted: bool,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch, if the line has a timestamp.
    pub timestamp: Option<i64>,
    /// When its counting began, in milliseconds since the epoch; 0 if that is not said with the sample (protobuf), or
    /// not asked for (OpenMetrics).
    pub start: i64,
    /// The exemplar, if the line has one (OpenMetrics, protobuf).
    pub exemplar: Option<ExemplarText<'a>>,
    /// Where the line begins, in bytes from the start of the page.
    pub offset: usize,
}

/// An exemplar as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExemplarText<'a> {
    /// `{...}`, for [`series::labels_of`].
    pub labels: &'a str,
    /// The observed value.
    pub value: f64,
    /// When, in milliseconds since the epoch.
    pub timestamp: Option<i64>,
}

/// What is wrong with a page, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {offset}: expected {expected}, got {found:?}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// From the start of the page.
    pub offset: usize,
    /// What should have stood there.
    pub expected: &'static str,
    /// The beginning of what stands there.
    pub found: String,
}

/// How much of the page an error quotes, in characters.
const QUOTED_MAX: usize = 40;

impl ParseError {
    pub(crate) fn at(page: &str, offset: usize, expected: &'static str) -> Self {
        let before = page.as_bytes().get(..offset).unwrap_or(page.as_bytes());
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let rest = page.get(offset..).unwrap_or("");
        let found = rest.lines().next().unwrap_or("").chars().take(QUOTED_MAX).collect();
        Self { line, offset, expected, found }
    }
}

/// Which grammar a page follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain`.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `application/vnd.google.protobuf` with delimited `io.prometheus.client.MetricFamily` messages; see [`protobuf`].
    Protobuf,
}

/// Why a page's content type does not tell its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// No `Content-Type` header.
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    Missing,
    /// A type that is no metrics page.
    #[error("received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target")]
    Unsupported(String),
}

impl Format {
    /// From a `Content-Type` header, or from `fallback` where that says nothing usable, as Prometheus 3 decides.
    ///
    /// # Errors
    /// If neither names a format that can be parsed.
    pub fn from_content_type(content_type: Option<&str>, fallback: Option<Format>) -> Result<Self, FormatError> {
        let Some(content_type) = content_type.map(str::trim).filter(|t| !t.is_empty()) else {
            return fallback.ok_or(FormatError::Missing);
        };
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Ok(Format::OpenMetrics)
        } else if media_type.eq_ignore_ascii_case("text/plain") {
            Ok(Format::Text)
        } else if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            Ok(Format::Protobuf)
        } else {
            fallback.ok_or_else(|| FormatError::Unsupported(content_type.to_owned()))
        }
    }
}

/// Checks once that a whole page is UTF-8; everything after borrows from the result.
///
/// # Errors
/// Names the first byte that is not.
pub fn validate(page: &[u8]) -> Result<&str, ParseError> {
    simdutf8::basic::from_utf8(page).map_err(|_| {
        let valid = std::str::from_utf8(page).err().map_or(0, |e| e.valid_up_to());
        let line = memchr::memchr_iter(b'\n', &page[..valid]).count() + 1;
        let found = String::from_utf8_lossy(&page[valid..page.len().min(valid + 8)]).into_owned();
        ParseError { line, offset: valid, expected: "UTF-8", found }
    })
}

/// A parser of either text format.
#[derive(Debug, Clone)]
pub enum Parser<'a> {
    /// Of text pages.
    Text(text::TextParser<'a>),
    /// Of OpenMetrics pages.
    OpenMetrics(openmetrics::OpenMetricsParser<'a>),
}

impl<'a> Parser<'a> {
    /// Starts at the top of a page of text.
    pub fn text(page: &'a str) -> Self {
        Parser::Text(text::TextParser::new(page))
    }

    /// Starts at the top of a page of OpenMetrics.
    pub fn open_metrics(page: &'a str) -> Self {
        Parser::OpenMetrics(openmetrics::OpenMetricsParser::new(page))
    }

    /// As [`Parser::open_metrics`]; `_created` lines are not samples but tell the `start` of those they belong to.
    pub fn open_metrics_with_starts(page: &'a str) -> Self {
        Parser::OpenMetrics(openmetrics::OpenMetricsParser::with_starts(page))
    }

    /// The next entry, or `None` at the end of the page.
    ///
    /// `predicted` is the series the caller expects next, or empty: if the line begins with it, name and labels are not
    /// scanned again.
    ///
    /// # Errors
    /// Where the page departs from its format. The parser must not be used after an error.
    #[inline]
    pub fn advance(&mut self, predicted: &str) -> Result<Option<Entry<'a>>, ParseError> {
        match self {
            Parser::Text(parser) => parser.advance(predicted),
            Parser::OpenMetrics(parser) => parser.advance(predicted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real pages of upstream's own benches, where they are at hand.
    #[test]
    fn real_pages_parse_whole() {
        let folder = std::env::var_os("CRESSET_CONFORMANCE_DIR").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
            std::path::PathBuf::from,
        );
        if !folder.is_dir() {
            assert!(std::env::var_os("CI").is_none(), "{} must be there in CI", folder.display());
            return;
        }
        for (file, format) in [
            ("alltypes.237mfs.prom.txt", Format::Text),
            ("alltypes.237mfs.nometa.prom.txt", Format::Text),
            ("alltypes.5mfs.om.txt", Format::OpenMetrics),
            ("1histogram.om.txt", Format::OpenMetrics),
        ] {
            let bytes = std::fs::read(folder.join("exposition").join(file)).unwrap();
            let mut text = validate(&bytes).unwrap().to_owned();
            // Pieces of pages lack their end.
            if format == Format::OpenMetrics && !text.contains("# EOF") {
                text.push_str("# EOF\n");
            }
            let mut parser = match format {
                Format::OpenMetrics => Parser::open_metrics(&text),
                _ => Parser::text(&text),
            };
            let mut samples = 0;
            while let Some(entry) = parser.advance("").unwrap_or_else(|e| panic!("{file}: {e}")) {
                if let Entry::Sample(line) = entry {
                    series::labels_of(line.series).unwrap_or_else(|e| panic!("{file}: {e}"));
                    samples += 1;
                }
            }
            assert!(samples > 10, "{file} has {samples} samples");
        }
    }
}

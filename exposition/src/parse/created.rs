//! `_created` lines of OpenMetrics read as when the counting of the samples before them began.
//!
//! A family's `_created` line mostly comes after the samples of the same labels, so each sample looks ahead for the next
//! such line. What was found is kept, also the one that the page is past: every line is scanned ahead once.

use model::metadata::MetricType;

use super::number::float;
use super::series::{RawPairs, series_len};

const SUFFIX: &str = "_created";

/// Finds the starts of a page's samples.
#[derive(Debug, Clone, Default)]
pub(super) struct CreatedLines<'a> {
    family: &'a str,
    metric_type: MetricType,
    /// The first `_created` line that begins at or after the place last asked for, with its series and time.
    next: Option<(usize, &'a str, i64)>,
    /// No other such line of the family begins before this place.
    scanned: usize,
    /// The last such line that the page is past.
    passed: Option<(&'a str, i64)>,
}

impl<'a> CreatedLines<'a> {
    /// The page says something of a family; its type, if that is it.
    pub(super) fn enter(&mut self, name: &'a str, metric_type: Option<MetricType>) {
        if let Some(metric_type) = metric_type {
            self.metric_type = metric_type;
        } else if self.family != name {
            self.metric_type = MetricType::Unknown;
        }
        self.family = name;
        (self.next, self.scanned, self.passed) = (None, 0, None);
    }

    fn has_starts(&self) -> bool {
        matches!(self.metric_type, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
    }

    /// Whether a series is such a line and no sample of its own.
    pub(super) fn is_created(&self, series: &str) -> bool {
        self.has_starts() && name_of(series).ends_with(SUFFIX)
    }

    /// When the counting of `series` began, in milliseconds since the epoch, if the page says so in a line of the family
    /// that begins at `at` or after it; else 0.
    pub(super) fn start_of(&mut self, page: &'a str, series: &str, at: usize) -> i64 {
        if !self.has_starts() {
            return 0;
        }
        if self.next.is_none_or(|(line, ..)| line < at) {
            self.passed = self.next.map(|(_, created, start)| (created, start)).or(self.passed);
            self.seek(page, at.max(self.scanned));
        }
        let ahead = self.next.map(|(_, created, start)| (created, start));
        let lines = [self.passed, ahead].into_iter().flatten();
        lines.into_iter().find(|(created, _)| self.belongs(series, created)).map_or(0, |(_, start)| start)
    }

    fn seek(&mut self, page: &'a str, mut at: usize) {
        self.next = None;
        let bytes = page.as_bytes();
        while bytes.get(at).is_some_and(|first| *first != b'#') {
            let rest = &bytes[at..];
            let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
            let Some(len) = series_len(line) else { break };
            let series = page.get(at..at + len).unwrap_or("");
            if name_of(series).ends_with(SUFFIX) {
                let value = page.get(at + len + 1..at + line.len()).and_then(|rest| rest.split(' ').next());
                let start = value.and_then(float).map_or(0, |seconds| (seconds * 1000.0) as i64);
                self.next = Some((at, series, start));
                self.scanned = at;
                return;
            }
            at += line.len() + 1;
        }
        self.scanned = usize::MAX;
    }

    /// Whether both are of the family and their labels are the same, but for the one that tells buckets or quantiles.
    fn belongs(&self, series: &str, created: &str) -> bool {
        let left_out = match self.metric_type {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let labels = |series| RawPairs::of(series).filter(move |(name, _)| !name.is_empty() && *name != left_out);
        name_of(created).strip_suffix(SUFFIX) == Some(self.family)
            && name_of(series).starts_with(self.family)
            && labels(series).eq(labels(created))
    }
}

/// The metric's name as it is written, without quotes.
fn name_of(series: &str) -> &str {
    if series.starts_with('{') {
        return RawPairs::of(series).find(|(name, _)| name.is_empty()).map_or("", |(_, metric)| metric);
    }
    series.split(['{', ' ']).next().unwrap_or("")
}

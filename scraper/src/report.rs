//! The series every target gets beside its own: `up` and `scrape_*`.

use model::labels::{Labels, METRIC_NAME};
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{AppendError, Appender, NewValue, SeriesRef};

/// Names in the order of [`Report::values`]; the last three only with extra scrape metrics.
const NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
/// How many of them every target has.
const ALWAYS: usize = 5;

/// What one scrape came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// In the order of the names.
    pub values: [f64; 8],
}

impl Report {
    /// The scrape's result, how long it took, its counts; then the configured timeout and sample limit, and the body's
    /// size (-1 if that was the limit exceeded).
    pub fn new(up: bool, seconds: f64, counts: &crate::ingest::Counts, timeout: f64, limit: u64, bytes: i64) -> Self {
        Self {
            values: [
                f64::from(u8::from(up)),
                seconds,
                counts.scraped as f64,
                counts.kept as f64,
                counts.series_added as f64,
                timeout,
                limit as f64,
                bytes as f64,
            ],
        }
    }

    /// Ends all of them.
    pub fn stale() -> Self {
        Self { values: [STALE_NAN; 8] }
    }
}

/// Writes reports of one target.
#[derive(Debug)]
pub struct Reporter {
    target_labels: Labels,
    refs: [Option<SeriesRef>; 8],
    count: usize,
}

impl Reporter {
    /// For a target with these labels; `extra` adds the last three series.
    pub fn new(target_labels: Labels, extra: bool) -> Self {
        Self { target_labels, refs: [None; 8], count: if extra { NAMES.len() } else { ALWAYS } }
    }

    /// Appends a report.
    ///
    /// # Errors
    /// If the storage fails. A report that storage refuses by its time is left out, as upstream does.
    pub fn append(&mut self, appender: &mut dyn Appender, at: Timestamp, report: &Report) -> Result<(), AppendError> {
        for (i, name) in NAMES.iter().enumerate().take(self.count) {
            let value = NewValue::Float(report.values[i]);
            let result = match self.refs[i] {
                Some(series) => appender.append_ref(series, at, value),
                None => Err(AppendError::UnknownSeries),
            };
            let result = match result {
                Err(AppendError::UnknownSeries) => {
                    let labels = self.target_labels.to_builder().set(METRIC_NAME, name).build();
                    appender.append(&labels, at, value).map(|series| self.refs[i] = Some(series))
                }
                other => other,
            };
            match result {
                Ok(())
                | Err(
                    AppendError::OutOfOrder | AppendError::Duplicate | AppendError::OutOfBounds | AppendError::TooOld,
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

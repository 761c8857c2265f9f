//! Exemplars: a reference to data outside the series, usually a trace, beside one of its samples.

use crate::labels::Labels;
use crate::sample::Timestamp;

/// The longest label set of an exemplar, in UTF-8 characters of names and values (OpenMetrics 1.0).
pub const LABELS_CHARS_MAX: usize = 128;

/// An observation with labels of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Labels such as `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed; `None` means at the time of the sample it belongs to.
    pub timestamp: Option<Timestamp>,
}

//! What a metric family says of itself: type, unit, help.

use std::fmt;
use std::str::FromStr;

/// The type of a metric family, as exposition formats name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricType {
    /// Only rises, but for resets.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts in buckets.
    Histogram,
    /// Counts in buckets, not cumulative over time.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Constant labels about the target.
    Info,
    /// One of several states.
    StateSet,
    /// Not said.
    #[default]
    Unknown,
}

impl MetricType {
    /// The name used in the HTTP API and in OpenMetrics.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }
}

impl MetricType {
    /// The type's number in the messages of remote write; see [`MetricType::from_wire_number`].
    pub fn wire_number(self) -> u64 {
        match self {
            MetricType::Unknown => 0,
            MetricType::Counter => 1,
            MetricType::Gauge => 2,
            MetricType::Histogram => 3,
            MetricType::GaugeHistogram => 4,
            MetricType::Summary => 5,
            MetricType::Info => 6,
            MetricType::StateSet => 7,
        }
    }

    /// The type by its number in the messages of remote write (`MetricMetadata.MetricType` of Prometheus'
    /// `prompb/types.proto`, the same in 2.0); one not known is none.
    pub fn from_wire_number(number: u64) -> Self {
        let known = [
            MetricType::Counter,
            MetricType::Gauge,
            MetricType::Histogram,
            MetricType::GaugeHistogram,
            MetricType::Summary,
            MetricType::Info,
            MetricType::StateSet,
        ];
        known.into_iter().find(|metric_type| metric_type.wire_number() == number).unwrap_or_default()
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a metric type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid metric type {0:?}")]
pub struct UnknownMetricType(pub String);

impl FromStr for MetricType {
    type Err = UnknownMetricType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "gaugehistogram" => MetricType::GaugeHistogram,
            "summary" => MetricType::Summary,
            "info" => MetricType::Info,
            "stateset" => MetricType::StateSet,
            // "untyped" is the text format's word, "unknown" OpenMetrics'.
            "unknown" | "untyped" => MetricType::Unknown,
            other => return Err(UnknownMetricType(other.to_owned())),
        })
    }
}

/// Type, unit and help of a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The family's type.
    pub metric_type: MetricType,
    /// Its unit, empty if none.
    pub unit: String,
    /// Its help text, empty if none.
    pub help: String,
}

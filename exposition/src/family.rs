//! Metric families as collectors produce them, before they are printed.

use model::labels::{Labels, LabelsBuilder};
use model::metadata::MetricType;

/// A metric family: one name, type and help, and its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// The name as sampled; for counters with `_total`.
    pub name: String,
    /// What it means.
    pub help: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its samples, in the order they are printed.
    pub samples: Vec<FamilySample>,
}

/// A sample of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySample {
    /// What follows the family's name: empty, or `_bucket`, `_sum`, `_count`.
    pub suffix: &'static str,
    /// Labels without the metric name.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch, if not "now".
    pub timestamp: Option<i64>,
}

impl MetricFamily {
    /// A family without samples.
    pub fn new(name: impl Into<String>, help: impl Into<String>, metric_type: MetricType) -> Self {
        Self { name: name.into(), help: help.into(), metric_type, samples: Vec::new() }
    }

    /// A gauge without samples.
    pub fn gauge(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, help, MetricType::Gauge)
    }

    /// A counter without samples.
    pub fn counter(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, help, MetricType::Counter)
    }

    /// Adds a sample with these labels; empty values are left out.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in labels {
            builder.set(name, value);
        }
        self.samples.push(FamilySample { suffix: "", labels: builder.build(), value, timestamp: None });
        self
    }

    /// The family with one more sample.
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.push(labels, value);
        self
    }
}

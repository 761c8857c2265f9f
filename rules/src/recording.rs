//! Recording rules: the result of an expression under a new name.

use std::collections::{BTreeMap, HashSet};

use model::labels::METRIC_NAME;

use crate::evaluate::VectorSample;
use crate::rule::{ResultError, without_name};

/// A recording rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingRule {
    /// Name of the series.
    pub record: String,
    /// PromQL.
    pub expr: String,
    /// Labels to set; an empty value deletes.
    pub labels: BTreeMap<String, String>,
}

impl RecordingRule {
    /// The series to write for a result.
    ///
    /// # Errors
    /// If two of them would be the same, or they are more than `limit` (0 for any number).
    pub fn record(&self, result: &[VectorSample], limit: u64) -> Result<Vec<VectorSample>, ResultError> {
        let mut seen = HashSet::with_capacity(result.len());
        let mut recorded = Vec::with_capacity(result.len());
        for sample in result {
            let mut builder = without_name(sample);
            for (name, value) in &self.labels {
                builder.set(name, value);
            }
            builder.set(METRIC_NAME, &self.record);
            let labels = builder.build();
            if !seen.insert(labels.clone()) {
                return Err(ResultError::DuplicateLabels("rule"));
            }
            recorded.push(VectorSample { labels, value: sample.value.clone() });
        }
        if limit > 0 && recorded.len() as u64 > limit {
            return Err(ResultError::Limit { limit, count: recorded.len(), what: "series" });
        }
        Ok(recorded)
    }
}

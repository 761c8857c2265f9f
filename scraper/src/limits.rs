//! Label limits: how many, how long.

use model::labels::Labels;

use crate::config::Limits;

/// The most samples of one scrape where no `sample_limit` is configured.
pub const SAMPLES_MAX: u64 = 10_000_000;

/// A series breaks a label limit. The whole scrape fails, as upstream has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Too many labels.
    #[error("label_limit exceeded (metric: {metric:.50}, number of labels: {count}, limit: {max})")]
    Count {
        /// The metric's name.
        metric: String,
        /// Labels it has.
        count: usize,
        /// The limit.
        max: u64,
    },
    /// A name too long.
    #[error(
        "label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, length: {bytes}, limit: {max})"
    )]
    Name {
        /// The metric's name.
        metric: String,
        /// The label's name.
        name: String,
        /// Its length in bytes.
        bytes: usize,
        /// The limit.
        max: u64,
    },
    /// A value too long.
    #[error(
        "label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, value: {value:.50}, length: {bytes}, limit: {max})"
    )]
    Value {
        /// The metric's name.
        metric: String,
        /// The label's name.
        name: String,
        /// Its value.
        value: String,
        /// The value's length in bytes.
        bytes: usize,
        /// The limit.
        max: u64,
    },
}

/// Checks a series after relabelling.
///
/// # Errors
/// The first limit it breaks.
pub fn check(labels: &Labels, limits: &Limits) -> Result<(), LimitError> {
    if limits.labels == 0 && limits.label_name_bytes == 0 && limits.label_value_bytes == 0 {
        return Ok(());
    }
    let metric = || labels.metric_name().unwrap_or("").to_owned();
    let exceeds = |bytes: usize, max: u64| max > 0 && bytes as u64 > max;
    let count = labels.len();
    if exceeds(count, limits.labels) {
        return Err(LimitError::Count { metric: metric(), count, max: limits.labels });
    }
    for (name, value) in labels.iter() {
        if exceeds(name.len(), limits.label_name_bytes) {
            let (bytes, max) = (name.len(), limits.label_name_bytes);
            return Err(LimitError::Name { metric: metric(), name: name.into(), bytes, max });
        }
        if exceeds(value.len(), limits.label_value_bytes) {
            let (bytes, max) = (value.len(), limits.label_value_bytes);
            return Err(LimitError::Value { metric: metric(), name: name.into(), value: value.into(), bytes, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    #[test]
    fn each_limit_is_named() {
        let labels = labels! { "__name__" => "m", "abcdef" => "1234567" };
        let check = |labels_max, name_max, value_max| {
            let limits = Limits {
                labels: labels_max,
                label_name_bytes: name_max,
                label_value_bytes: value_max,
                ..Limits::default()
            };
            super::check(&labels, &limits).err().map(|e| e.to_string())
        };
        assert_eq!(check(2, 8, 7), None);
        assert_eq!(check(0, 0, 0), None);
        assert!(check(1, 0, 0).unwrap().starts_with("label_limit exceeded (metric: m, number of labels: 2, limit: 1"));
        assert!(check(0, 7, 0).unwrap().starts_with("label_name_length_limit"));
        assert!(check(0, 0, 6).unwrap().contains("value: 1234567, length: 7, limit: 6"));
    }
}

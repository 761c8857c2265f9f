//! The metric family that the lines of a page now belong to, as far as the page says.

use model::metadata::MetricType;

/// What was last said of a family, and of which.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Its name.
    pub(super) name: String,
    /// Its type, which `le` and `quantile` are read under.
    pub(super) metric_type: MetricType,
    /// Its unit, empty if none.
    pub(super) unit: String,
    /// Whether this page says something of it that the page before did not.
    pub(super) is_changed: bool,
}

impl Family {
    /// Something is said of the family `name`: whether it is another than before.
    pub(super) fn enter(&mut self, name: &str) -> bool {
        if self.name == name {
            return false;
        }
        name.clone_into(&mut self.name);
        self.metric_type = MetricType::Unknown;
        self.unit.clear();
        self.is_changed = false;
        true
    }

    /// Whether a series of this text is one of the family's.
    pub(super) fn has(&self, series: &str) -> bool {
        let Some(suffix) = name_of(series).strip_prefix(self.name.as_str()) else { return false };
        let suffixes: &[&str] = match self.metric_type {
            MetricType::Counter => &["_total", "_created"],
            MetricType::Histogram => &["_bucket", "_sum", "_count", "_created"],
            MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            MetricType::Summary => &["_sum", "_count", "_created"],
            MetricType::Info => &["_info"],
            _ => &[],
        };
        !self.name.is_empty() && (suffix.is_empty() || suffixes.contains(&suffix))
    }

    /// Whether a series of a summary is no quantile.
    pub(super) fn is_total_of_summary(series: &str) -> bool {
        let name = name_of(series);
        name.ends_with("_count") || name.ends_with("_sum")
    }
}

/// The metric's name as a series text has it, bare or quoted.
fn name_of(series: &str) -> &str {
    match series.strip_prefix("{\"") {
        Some(quoted) => quoted.split('"').next().unwrap_or(""),
        None => series.split(['{', ' ', '\t']).next().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_from_those_of_other_families() {
        let mut family = Family::default();
        assert!(!family.has("a"), "nothing was said yet");
        assert!(family.enter("a") && !family.enter("a"));
        family.metric_type = MetricType::Histogram;
        let own = ["a", "a_bucket{le=\"1\"}", "a_sum", "{\"a_count\",x=\"1\"}"];
        assert!(own.iter().all(|series| family.has(series)));
        assert!(["ab", "a_total", "b_sum", "{\"b\"}"].iter().all(|series| !family.has(series)));
        assert!(family.enter("b"));
        assert_eq!((family.metric_type, family.has("b_sum")), (MetricType::Unknown, false));
    }
}

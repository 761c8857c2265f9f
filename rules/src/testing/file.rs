//! Test files: strict YAML.

use std::collections::BTreeMap;
use std::path::Path;

use model::duration::Duration;
use serde::Deserialize;
use serde::de::Error as _;

/// A test file.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestFile {
    /// Patterns, relative to the file.
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval: Option<Duration>,
    /// Names of rule groups, those to be evaluated first coming first.
    pub(super) group_eval_order: Vec<String>,
    pub(super) tests: Vec<TestGroup>,
    /// Neighbouring floats count as equal.
    pub(super) fuzzy_compare: bool,
}

/// Input series, and the tests on them.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestGroup {
    /// Between the values of input series; the evaluation interval if absent.
    pub(super) interval: Option<Duration>,
    pub(super) input_series: Vec<InputSeries>,
    pub(super) alert_rule_test: Vec<AlertTest>,
    pub(super) promql_expr_test: Vec<ExprTest>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
    pub(super) name: String,
    pub(super) start_timestamp: StartTimestamp,
}

/// A series with its values in the expanding notation.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InputSeries {
    pub(super) series: String,
    pub(super) values: String,
}

/// Which alerts of a name fire at a time.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AlertTest {
    pub(super) eval_time: Span,
    pub(super) alertname: String,
    pub(super) exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectedAlert {
    pub(super) exp_labels: BTreeMap<String, String>,
    pub(super) exp_annotations: BTreeMap<String, String>,
}

/// What an expression gives at a time.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExprTest {
    pub(super) expr: String,
    pub(super) eval_time: Span,
    pub(super) exp_samples: Vec<ExpectedSample>,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    /// If not empty, `value` does not count.
    pub(super) histogram: String,
}

/// Time from the start of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl Default for Span {
    fn default() -> Self {
        Self(Duration::ZERO)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Duration::deserialize(deserializer).map(Self)
    }
}

/// The time of the first value: RFC 3339, or seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StartTimestamp {
    pub(super) ms: i64,
}

impl<'de> Deserialize<'de> for StartTimestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(seconds) = text.parse::<f64>() {
            return Ok(Self { ms: (seconds * 1000.0).round() as i64 });
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Self { ms: time.as_millisecond() }),
            Err(error) => Err(D::Error::custom(format!("cannot parse {text:?} to a valid timestamp: {error}"))),
        }
    }
}

impl TestFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if text.len() > super::FILE_BYTES_MAX {
            return Err(format!("{}: larger than {} bytes", path.display(), super::FILE_BYTES_MAX));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |l| format!(":{}:{}", l.line(), l.column()));
            let message = error.to_string();
            format!("{}{place}: {}", path.display(), message.lines().next().unwrap_or_default())
        })
    }

    /// A name that stands twice in the order of groups.
    pub(super) fn repeated_group(&self) -> Option<&str> {
        let order = &self.group_eval_order;
        let again = |(at, name): &(usize, &String)| order[..*at].contains(name);
        order.iter().enumerate().find(again).map(|(_, name)| name.as_str())
    }
}

impl TestGroup {
    /// The latest time that a test asks for.
    pub(super) fn last_time(&self) -> Duration {
        let alerts = self.alert_rule_test.iter().map(|test| test.eval_time.0);
        let expressions = self.promql_expr_test.iter().map(|test| test.eval_time.0);
        alerts.chain(expressions).max().unwrap_or(Duration::ZERO)
    }
}

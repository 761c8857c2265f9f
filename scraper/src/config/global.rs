//! The `global` section.

use std::path::Path;

use model::bytes::ByteSize;
use model::duration::Duration;
use model::labels::{Labels, LabelsBuilder, NameScheme};
use serde::{Deserialize, Serialize};

use super::is_default;
use super::places::KeyFault;
use super::protocol::{EscapingScheme, ScrapeProtocol, ValidationScheme, validate_protocols};

/// Default of `scrape_interval` and `evaluation_interval`.
pub const DEFAULT_INTERVAL: Duration = Duration::from_seconds(60);
/// Default of `scrape_timeout`, cut to the interval where that is shorter.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_seconds(10);

/// The `global` section. An interval of 0 means its default, as upstream has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct GlobalConfig {
    pub scrape_interval: Duration,
    /// Absent: 10 s, or the interval where that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    pub evaluation_interval: Duration,
    #[serde(skip_serializing_if = "is_default")]
    pub rule_query_offset: Duration,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query_log_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scrape_failure_log_file: String,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub external_labels: Labels,
    #[serde(skip_serializing_if = "is_default")]
    pub body_size_limit: ByteSize,
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    /// Not upstream's: see [`super::ScrapeConfig`].
    #[serde(skip_serializing_if = "is_default")]
    pub active_series_limit: u64,
    /// Not upstream's: see [`super::ScrapeConfig`].
    #[serde(skip_serializing_if = "is_default")]
    pub metric_series_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    pub metric_name_validation_scheme: ValidationScheme,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_escaping_scheme: Option<EscapingScheme>,
    pub scrape_native_histograms: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub convert_classic_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub always_scrape_classic_histograms: bool,
    pub extra_scrape_metrics: bool,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: DEFAULT_INTERVAL,
            scrape_timeout: None,
            scrape_protocols: None,
            evaluation_interval: DEFAULT_INTERVAL,
            rule_query_offset: Duration::ZERO,
            query_log_file: String::new(),
            scrape_failure_log_file: String::new(),
            external_labels: Labels::empty(),
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            active_series_limit: 0,
            metric_series_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: ValidationScheme::Utf8,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

impl GlobalConfig {
    /// Fills in defaults and checks what a type cannot say; gives all that is wrong. `environment` gives the values that
    /// `$NAME` and `${NAME}` in external labels stand for.
    pub fn resolve(&mut self, environment: impl Fn(&str) -> Option<String>) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        if self.scrape_interval.is_zero() {
            self.scrape_interval = DEFAULT_INTERVAL;
        }
        if self.evaluation_interval.is_zero() {
            self.evaluation_interval = DEFAULT_INTERVAL;
        }
        let given = self.scrape_timeout.filter(|timeout| !timeout.is_zero());
        if given.is_some_and(|timeout| timeout > self.scrape_interval) {
            faults.push(KeyFault::of("scrape_timeout", "global scrape timeout greater than scrape interval"));
        }
        self.scrape_timeout = Some(given.unwrap_or(DEFAULT_TIMEOUT).min(self.scrape_interval));
        if let Some(protocols) = &self.scrape_protocols
            && let Err(reason) = validate_protocols(protocols)
        {
            faults.push(KeyFault::of("scrape_protocols", format!("{reason} for global config")));
        }
        let scheme: NameScheme = self.metric_name_validation_scheme.into();
        let mut labels = LabelsBuilder::new();
        for (name, value) in self.external_labels.iter() {
            if !scheme.label_name_is_valid(name) {
                faults
                    .push(KeyFault::of(name, format!("{name:?} is not a valid label name")).within("external_labels"));
            }
            labels.set(name, &expand(value, &environment));
        }
        self.external_labels = labels.build();
        faults.into_iter().map(|fault| fault.told_of("global").within("global")).collect()
    }

    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &Path) {
        for file in [&mut self.query_log_file, &mut self.scrape_failure_log_file] {
            if !file.is_empty() {
                *file = directory.join(&*file).to_string_lossy().into_owned();
            }
        }
    }
}

/// Replaces `$NAME` and `${NAME}` by what `environment` says, by nothing if it says nothing; `$$` is a `$`.
pub fn expand(text: &str, environment: &impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, after) = if let Some(braced) = after.strip_prefix('{') {
            match braced.split_once('}') {
                Some((name, after)) => (name, after),
                // Without its end it is no variable; Go leaves out the two characters.
                None => ("", braced),
            }
        } else if let Some(after) = after.strip_prefix('$') {
            ("$", after)
        } else {
            after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
        };
        match name {
            "$" => expanded.push('$'),
            "" if after.len() == rest.len() - before.len() - 1 => expanded.push('$'),
            name => match environment(name) {
                Some(value) if !value.is_empty() => expanded.push_str(&value),
                _ => tracing::warn!(name, "empty environment variable in external labels"),
            },
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_upstream_does() {
        let environment = |name: &str| (name == "TEST").then(|| "TestValue".to_owned());
        let expanded = |text: &str| expand(text, &environment);
        assert_eq!(expanded("foo${TEST}bar"), "fooTestValuebar");
        assert_eq!(expanded("foo$TEST"), "fooTestValue");
        assert_eq!(expanded("foo$$TEST"), "foo$TEST");
        assert_eq!(expanded("foo${NONE}bar"), "foobar");
        assert_eq!(expanded("100$"), "100$");
        assert_eq!(expanded("plain"), "plain");
    }
}

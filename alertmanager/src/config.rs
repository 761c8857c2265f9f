//! `alertmanager.yml`: strict, checked whole, defaults as upstream has them.

use std::collections::BTreeMap;
use std::path::Path;

use model::duration::Duration;
use model::matcher::{MatchOp, Matcher};
use net::auth::Secret;
use net::client::{ClientError, HttpClientConfig};
use net::with_http_client;
use serde::{Deserialize, Serialize};

use crate::matchers::{self, MatcherError};

/// The largest configuration, in bytes.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How deep routes may nest.
pub const ROUTE_DEPTH_MAX: usize = 64;

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Defaults of the rest.
    pub global: GlobalConfig,
    /// The root of the tree of routes.
    pub route: Option<RouteConfig>,
    /// Which alerts make which others superfluous.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inhibit_rules: Vec<InhibitConfig>,
    /// Where notifications go.
    pub receivers: Vec<ReceiverConfig>,
    /// Template files: no receiver of this version uses any; a warning says so.
    pub templates: Vec<String>,
}

/// `global`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalConfig {
    /// How long an alert lasts whose sender names no end.
    pub resolve_timeout: Duration,
    /// How receivers make requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpSection>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self { resolve_timeout: Duration::from_seconds(300), http_config: None }
    }
}

with_http_client! {
    /// `http_config`.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct HttpSection {
    }
}

/// A route. Absent keys are the parent's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct RouteConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub receiver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    pub r#continue: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matchers: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub r#match: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_re: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
}

/// An inhibition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct InhibitConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_matchers: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match_re: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_matchers: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match_re: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
}

/// A receiver: a name and its integrations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiverConfig {
    /// Unique.
    pub name: String,
    /// HTTP endpoints that take Prometheus' webhook JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhook_configs: Vec<WebhookConfig>,
    /// The program's own log: beyond Alertmanager.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_configs: Vec<LogConfig>,
}

/// `webhook_configs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Whether it hears of ended alerts; true if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
    /// Where to post; a secret, since it often holds a token.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    /// File with the URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url_file: String,
    /// How requests are made, if not as the global section says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpSection>,
    /// The most alerts in one notification; 0 for all.
    pub max_alerts: u64,
    /// How long one request may take; none of its own if absent or zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// `log_configs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Whether it hears of ended alerts; true if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not YAML, or of a wrong shape.
    #[error("line {line}, column {column}: {reason}")]
    Yaml {
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
        /// What is wrong.
        reason: String,
    },
    /// A rule between keys is broken.
    #[error("{0}")]
    Invalid(String),
    /// Matchers do not parse.
    #[error("{place}: {source}")]
    Matchers {
        /// Of what.
        place: String,
        /// What is wrong.
        source: MatcherError,
    },
    /// An HTTP client cannot be built.
    #[error("receiver {receiver:?}: {source}")]
    Client {
        /// Of which receiver.
        receiver: String,
        /// Why.
        source: ClientError,
    },
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(ConfigError::Invalid(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        let config: Config = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
            let reason = error.to_string();
            ConfigError::Yaml { line, column, reason: reason.lines().next().unwrap_or("").to_owned() }
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        let mut names: Vec<&str> = Vec::new();
        for receiver in &self.receivers {
            if receiver.name.is_empty() {
                return invalid("missing name in receiver".into());
            }
            if names.contains(&receiver.name.as_str()) {
                return invalid(format!("notification config name {:?} is not unique", receiver.name));
            }
            names.push(&receiver.name);
            for webhook in &receiver.webhook_configs {
                webhook.validate(&receiver.name)?;
            }
        }
        let Some(root) = &self.route else { return invalid("no route provided in config".into()) };
        if root.receiver.is_empty() {
            return invalid("root route must specify a default receiver".into());
        }
        if !(root.matchers.is_empty() && root.r#match.is_empty() && root.match_re.is_empty()) {
            return invalid("root route must not have any matchers".into());
        }
        if root.r#continue {
            return invalid("root route must not have continue set to true".into());
        }
        root.validate(&names, 0)?;
        for rule in &self.inhibit_rules {
            rule.source()?;
            rule.target()?;
        }
        Ok(())
    }

    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &Path) {
        if let Some(http) = &mut self.global.http_config {
            http.resolve_http_paths(directory);
        }
        for webhook in self.receivers.iter_mut().flat_map(|r| &mut r.webhook_configs) {
            if !webhook.url_file.is_empty() {
                webhook.url_file = directory.join(&webhook.url_file).to_string_lossy().into_owned();
            }
            if let Some(http) = &mut webhook.http_config {
                http.resolve_http_paths(directory);
            }
        }
    }

    /// The client configuration of a webhook.
    pub fn http_client(&self, webhook: &WebhookConfig) -> HttpClientConfig {
        let section = webhook.http_config.as_ref().or(self.global.http_config.as_ref());
        section.map(HttpSection::http_client).unwrap_or_default()
    }
}

impl WebhookConfig {
    fn validate(&self, receiver: &str) -> Result<(), ConfigError> {
        let fault = match (self.url.is_empty(), self.url_file.is_empty()) {
            (true, true) => "one of url or url_file must be configured",
            (false, false) => "at most one of url & url_file must be configured",
            _ => {
                if let Some(http) = &self.http_config {
                    http.http_client()
                        .validate()
                        .map_err(|source| ConfigError::Client { receiver: receiver.to_owned(), source })?;
                }
                if !self.url.is_empty() && reqwest::Url::parse(self.url.reveal()).is_err() {
                    return Err(ConfigError::Invalid(format!("receiver {receiver:?}: webhook url is no URL")));
                }
                return Ok(());
            }
        };
        Err(ConfigError::Invalid(format!("receiver {receiver:?}: {fault}")))
    }
}

impl RouteConfig {
    fn validate(&self, receivers: &[&str], depth: usize) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        if depth > ROUTE_DEPTH_MAX {
            return invalid(format!("routes nest deeper than {ROUTE_DEPTH_MAX}"));
        }
        if !self.receiver.is_empty() && !receivers.contains(&self.receiver.as_str()) {
            return invalid(format!("undefined receiver {:?} used in route", self.receiver));
        }
        let group_by = self.group_by.as_deref().unwrap_or(&[]);
        if group_by.iter().any(|l| l == "...") && group_by.len() > 1 {
            return invalid("cannot have wildcard group_by (`...`) and other labels at the same time".into());
        }
        if let Some((i, label)) = group_by.iter().enumerate().find(|(i, l)| group_by.iter().take(*i).any(|o| o == *l)) {
            return invalid(format!("duplicated label {label:?} in group_by (entry {})", i + 1));
        }
        if self.group_interval.is_some_and(Duration::is_zero) {
            return invalid("group_interval cannot be zero".into());
        }
        if self.repeat_interval.is_some_and(Duration::is_zero) {
            return invalid("repeat_interval cannot be zero".into());
        }
        self.compiled_matchers()?;
        self.routes.iter().try_for_each(|route| route.validate(receivers, depth + 1))
    }

    /// All of its matchers, old and new forms.
    ///
    /// # Errors
    /// If one does not parse.
    pub fn compiled_matchers(&self) -> Result<Vec<Matcher>, ConfigError> {
        compile("route", &self.matchers, &self.r#match, &self.match_re)
    }
}

impl InhibitConfig {
    /// What must fire.
    ///
    /// # Errors
    /// If a matcher does not parse.
    pub fn source(&self) -> Result<Vec<Matcher>, ConfigError> {
        compile("inhibit_rules: source", &self.source_matchers, &self.source_match, &self.source_match_re)
    }

    /// What is then superfluous.
    ///
    /// # Errors
    /// If a matcher does not parse.
    pub fn target(&self) -> Result<Vec<Matcher>, ConfigError> {
        compile("inhibit_rules: target", &self.target_matchers, &self.target_match, &self.target_match_re)
    }
}

fn compile(
    place: &str,
    texts: &[String],
    equal: &BTreeMap<String, String>,
    regex: &BTreeMap<String, String>,
) -> Result<Vec<Matcher>, ConfigError> {
    let fault = |source| ConfigError::Matchers { place: place.to_owned(), source };
    let mut all: Vec<Matcher> = equal.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    for (name, value) in regex {
        let matcher = Matcher::new(name, MatchOp::Regex, value);
        all.push(matcher.map_err(|source| fault(MatcherError::Pattern { text: value.clone(), source }))?);
    }
    for text in texts {
        all.extend(matchers::parse(text).map_err(fault)?);
    }
    // The order decides the group key, which upstream sorts by name, too.
    all.sort_by(|a, b| (a.name(), a.value(), a.op()).cmp(&(b.name(), b.value(), b.op())));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| Config::parse(text).unwrap_err().to_string();
        assert!(fault("receivers: [{name: a}]").contains("no route provided"));
        assert!(fault("route: {receiver: b}\nreceivers: [{name: a}]").contains("undefined receiver \"b\""));
        assert!(fault("route: {receiver: a, matchers: [a=b]}\nreceivers: [{name: a}]").contains("root route must not"));
        assert!(
            fault("route: {receiver: a, routes: [{matchers: ['a=~(']}]}\nreceivers: [{name: a}]").contains("route: ")
        );
        assert!(fault("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]").contains("one of url"));
        let unknown = fault("route:\n  receiver: a\n  grop_by: [x]\nreceivers: [{name: a}]");
        assert!(unknown.starts_with("line 3") && unknown.contains("grop_by"), "{unknown}");
    }

    #[test]
    fn secrets_are_masked_when_printed() {
        let config =
            Config::parse("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/token'}]}]")
                .unwrap();
        assert!(!format!("{config:?}").contains("token"));
        assert!(serde_json::to_string(&config).unwrap().contains("<secret>"));
    }
}

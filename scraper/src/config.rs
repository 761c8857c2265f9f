//! The `global` and `scrape_configs` sections of `prometheus.yml`, with upstream's keys, defaults and cross-checks.
//!
//! Source: Prometheus' configuration page. A [`ScrapeConfig`] is as written until [`ScrapeConfig::resolve`] has filled
//! in what it inherits from [`GlobalConfig`]; the scraper works with [`JobConfig`]s only.

use std::collections::BTreeMap;
use std::path::Path;

use model::bytes::ByteSize;
use model::duration::Duration;
use model::labels::{Labels, NameScheme, is_legacy_label_name};
use model::relabel::{RelabelConfig, RelabelError, RelabelRule};
use net::client::ClientError;
use net::with_http_client;
use serde::{Deserialize, Serialize};

use exposition::parse::Format;

/// Default of `scrape_interval` and `evaluation_interval`.
pub const DEFAULT_INTERVAL: Duration = Duration::from_seconds(60);
/// Default of `scrape_timeout`, cut to the interval where that is shorter.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_seconds(10);

/// What is wrong with a section that parsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A job is wrong.
    #[error("scrape config {job:?}: {reason}")]
    Job {
        /// Its name.
        job: String,
        /// What is wrong.
        reason: String,
    },
    /// A job without a name.
    #[error("job_name is empty")]
    NoName,
    /// Two jobs of one name.
    #[error("found multiple scrape configs with job name {0:?}")]
    DuplicateJob(String),
    /// The global section is wrong.
    #[error("global: {0}")]
    Global(String),
}

/// Limits that a job inherits from the global section; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Samples per scrape after metric relabelling.
    pub samples: u64,
    /// Targets per job after relabelling.
    pub targets: u64,
    /// Labels per series.
    pub labels: u64,
    /// Bytes of a label name.
    pub label_name_bytes: u64,
    /// Bytes of a label value.
    pub label_value_bytes: u64,
    /// Bytes of a page, uncompressed.
    pub body_bytes: u64,
    /// Dropped targets that are remembered to be shown.
    pub keep_dropped_targets: u64,
}

/// The `global` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct GlobalConfig {
    pub scrape_interval: Duration,
    /// Absent: 10 s, or the interval where that is shorter.
    pub scrape_timeout: Option<Duration>,
    pub evaluation_interval: Duration,
    pub rule_query_offset: Duration,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub external_labels: Labels,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query_log_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scrape_failure_log_file: String,
    #[serde(skip_serializing_if = "is_default")]
    pub body_size_limit: ByteSize,
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
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
    #[serde(skip_serializing_if = "is_default")]
    pub extra_scrape_metrics: bool,
    pub metric_name_validation_scheme: ValidationScheme,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scrape_protocols: Vec<ScrapeProtocol>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: DEFAULT_INTERVAL,
            scrape_timeout: None,
            evaluation_interval: DEFAULT_INTERVAL,
            rule_query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
            query_log_file: String::new(),
            scrape_failure_log_file: String::new(),
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            extra_scrape_metrics: false,
            metric_name_validation_scheme: ValidationScheme::Utf8,
            scrape_protocols: Vec::new(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `metric_name_validation_scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationScheme {
    /// Any UTF-8 name.
    #[default]
    Utf8,
    /// The names of Prometheus 2.
    Legacy,
}

impl From<ValidationScheme> for NameScheme {
    fn from(scheme: ValidationScheme) -> Self {
        match scheme {
            ValidationScheme::Utf8 => NameScheme::Utf8,
            ValidationScheme::Legacy => NameScheme::Legacy,
        }
    }
}

/// A format that a target may be asked for, in `scrape_protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum ScrapeProtocol {
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    #[serde(rename = "PrometheusText0.0.4")]
    Text0,
}

impl ScrapeProtocol {
    /// Its media type with version.
    pub fn content_type(self) -> &'static str {
        match self {
            ScrapeProtocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            ScrapeProtocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::Text1 => "text/plain;version=1.0.0",
            ScrapeProtocol::Text0 => "text/plain;version=0.0.4",
        }
    }

    /// The grammar it follows.
    pub fn format(self) -> Format {
        match self {
            ScrapeProtocol::OpenMetrics1 | ScrapeProtocol::OpenMetrics0 => Format::OpenMetrics,
            ScrapeProtocol::Text1 | ScrapeProtocol::Text0 => Format::Text,
        }
    }
}

/// What is asked for where nothing is configured, best first.
pub const DEFAULT_PROTOCOLS: [ScrapeProtocol; 4] =
    [ScrapeProtocol::OpenMetrics1, ScrapeProtocol::OpenMetrics0, ScrapeProtocol::Text1, ScrapeProtocol::Text0];

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

with_http_client! {
    /// One entry of `scrape_configs`, as written. Absent limits are inherited.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct ScrapeConfig {
        pub job_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_interval: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_timeout: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fallback_scrape_protocol: Option<ScrapeProtocol>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metrics_path: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scheme: Option<Scheme>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub params: BTreeMap<String, Vec<String>>,
        pub honor_labels: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub honor_timestamps: Option<bool>,
        #[serde(skip_serializing_if = "is_default")]
        pub track_timestamps_staleness: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_compression: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub extra_scrape_metrics: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub body_size_limit: Option<ByteSize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sample_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub target_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_name_length_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub label_value_length_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub keep_dropped_targets: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metric_name_validation_scheme: Option<ValidationScheme>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub metric_relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub static_configs: Vec<StaticConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub file_sd_configs: Vec<FileSdConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub http_sd_configs: Vec<HttpSdConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub kubernetes_sd_configs: Vec<KubernetesSdConfig>,
    }
}

/// Targets listed in the configuration, or in a file that discovery reads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host:port`.
    pub targets: Vec<String>,
    /// Labels that all of them get.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Paths ending in `.json`, `.yml` or `.yaml`, `*` allowed in the last element.
    pub files: Vec<String>,
    /// How often files are read again.
    #[serde(default = "five_minutes")]
    pub refresh_interval: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_seconds(300)
}

with_http_client! {
    /// `http_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct HttpSdConfig {
        /// Answers with a JSON list of target groups.
        pub url: String,
        /// How often it is asked; a minute if absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub refresh_interval: Option<Duration>,
    }
}

/// What kind of object becomes a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the kinds of the cluster API")]
pub enum Role {
    Node,
    #[default]
    Pod,
    Service,
    Endpoints,
}

impl Role {
    /// As configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Pod => "pod",
            Role::Service => "service",
            Role::Endpoints => "endpoints",
        }
    }
}

with_http_client! {
    /// `kubernetes_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct KubernetesSdConfig {
        /// The API server; empty means in-cluster, or what `kubeconfig_file` says.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub api_server: String,
        /// A kubeconfig with server and credentials.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub kubeconfig_file: String,
        /// What becomes a target.
        pub role: Role,
        /// Where to look; everywhere if empty.
        #[serde(skip_serializing_if = "is_default")]
        pub namespaces: NamespaceDiscovery,
        /// Which objects to look at.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub selectors: Vec<KubernetesSelector>,
        /// Whose metadata to add.
        #[serde(skip_serializing_if = "is_default")]
        pub attach_metadata: AttachMetadata,
    }
}

/// Namespaces that discovery looks at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceDiscovery {
    /// The namespace the program itself runs in.
    pub own_namespace: bool,
    /// By name.
    pub names: Vec<String>,
}

/// Restricts the objects of one role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSelector {
    /// Of which role.
    pub role: Role,
    /// Label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Field selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// Whose labels and annotations are added to targets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachMetadata {
    /// The node's that a pod runs on.
    pub node: bool,
}

/// A job ready to run: everything inherited is filled in, rules are compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// As written, with what it inherits filled in: what `status/config` shows.
    pub written: ScrapeConfig,
    /// Name of the job.
    pub name: String,
    /// Time between scrapes.
    pub interval: Duration,
    /// How long a scrape may take; `timeout <= interval`.
    pub timeout: Duration,
    /// Formats to ask for, best first.
    pub protocols: Vec<ScrapeProtocol>,
    /// Whether timestamps on pages are used.
    pub honor_timestamps: bool,
    /// Whether pages may be compressed.
    pub compression: bool,
    /// Whether the `scrape_*` extras are written.
    pub extra_metrics: bool,
    /// Limits.
    pub limits: Limits,
    /// Which names are valid.
    pub names: NameScheme,
    /// For targets.
    pub relabel: Vec<RelabelRule>,
    /// For samples.
    pub metric_relabel: Vec<RelabelRule>,
}

impl GlobalConfig {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.scrape_interval.is_zero() || self.evaluation_interval.is_zero() {
            return Err(ConfigError::Global("scrape_interval and evaluation_interval must be greater than 0".into()));
        }
        if self.scrape_timeout.is_some_and(|timeout| timeout > self.scrape_interval) {
            return Err(ConfigError::Global("global scrape timeout greater than scrape interval".into()));
        }
        let scheme: NameScheme = self.metric_name_validation_scheme.into();
        match self.external_labels.iter().find(|(name, _)| !scheme.label_name_is_valid(name)) {
            Some((name, _)) => Err(ConfigError::Global(format!("{name:?} is not a valid label name"))),
            None => Ok(()),
        }
    }
}

impl ScrapeConfig {
    /// Fills in what is inherited, checks, and compiles.
    ///
    /// # Errors
    /// Names the job and what is wrong with it.
    pub fn resolve(mut self, global: &GlobalConfig) -> Result<JobConfig, ConfigError> {
        if self.job_name.is_empty() {
            return Err(ConfigError::NoName);
        }
        let job = self.job_name.clone();
        let fail = |reason: String| ConfigError::Job { job: job.clone(), reason };
        let interval = *self.scrape_interval.get_or_insert(global.scrape_interval);
        if interval.is_zero() {
            return Err(fail("scrape_interval must be greater than 0".into()));
        }
        let inherited = global.scrape_timeout.unwrap_or(DEFAULT_TIMEOUT).min(interval);
        let timeout = *self.scrape_timeout.get_or_insert(inherited);
        if timeout > interval {
            return Err(fail(format!("scrape timeout {timeout} is greater than scrape interval {interval}")));
        }
        self.http_client().validate().map_err(|e: ClientError| fail(e.to_string()))?;
        self.validate_targets().map_err(&fail)?;
        let scheme = *self.metric_name_validation_scheme.get_or_insert(global.metric_name_validation_scheme);
        let names: NameScheme = scheme.into();
        let compile = |rules: &[RelabelConfig]| -> Result<Vec<RelabelRule>, ConfigError> {
            let rules = rules.iter().cloned().map(|rule| RelabelRule::new(rule, names));
            rules.collect::<Result<_, RelabelError>>().map_err(|e| fail(e.to_string()))
        };
        let relabel = compile(&self.relabel_configs)?;
        let metric_relabel = compile(&self.metric_relabel_configs)?;
        let protocols = self.protocols(global).map_err(&fail)?;
        self.metrics_path.get_or_insert_with(|| "/metrics".into());
        self.scheme.get_or_insert_default();
        Ok(JobConfig {
            name: self.job_name.clone(),
            interval,
            timeout,
            protocols,
            honor_timestamps: *self.honor_timestamps.get_or_insert(true),
            compression: *self.enable_compression.get_or_insert(true),
            extra_metrics: self.extra_scrape_metrics.unwrap_or(global.extra_scrape_metrics),
            limits: self.limits(global),
            names,
            relabel,
            metric_relabel,
            written: self,
        })
    }

    fn protocols(&self, global: &GlobalConfig) -> Result<Vec<ScrapeProtocol>, String> {
        let own = self.scrape_protocols.clone();
        let protocols = own.unwrap_or_else(|| match global.scrape_protocols.is_empty() {
            true => DEFAULT_PROTOCOLS.to_vec(),
            false => global.scrape_protocols.clone(),
        });
        for (i, protocol) in protocols.iter().enumerate() {
            if protocols.iter().take(i).any(|earlier| earlier == protocol) {
                return Err(format!("duplicated protocol in scrape_protocols: {}", protocol.content_type()));
            }
        }
        if protocols.is_empty() {
            return Err("scrape_protocols cannot be empty".into());
        }
        Ok(protocols)
    }

    fn limits(&self, global: &GlobalConfig) -> Limits {
        Limits {
            samples: self.sample_limit.unwrap_or(global.sample_limit),
            targets: self.target_limit.unwrap_or(global.target_limit),
            labels: self.label_limit.unwrap_or(global.label_limit),
            label_name_bytes: self.label_name_length_limit.unwrap_or(global.label_name_length_limit),
            label_value_bytes: self.label_value_length_limit.unwrap_or(global.label_value_length_limit),
            body_bytes: self.body_size_limit.unwrap_or(global.body_size_limit).0,
            keep_dropped_targets: self.keep_dropped_targets.unwrap_or(global.keep_dropped_targets),
        }
    }

    fn validate_targets(&self) -> Result<(), String> {
        for group in &self.static_configs {
            if let Some(target) = group.targets.iter().find(|t| t.contains('/') || t.is_empty()) {
                return Err(format!("{target:?} is not a valid hostname"));
            }
        }
        for config in &self.file_sd_configs {
            if config.files.is_empty() {
                return Err("file service discovery config must contain at least one path name".into());
            }
            if let Some(file) = config.files.iter().find(|f| !crate::discovery::file::is_valid_pattern(f)) {
                return Err(format!("path name {file:?} is not valid for file discovery"));
            }
        }
        for config in &self.http_sd_configs {
            config.http_client().validate().map_err(|e| format!("http_sd_configs: {e}"))?;
            let url =
                url::Url::parse(&config.url).map_err(|e| format!("http_sd_configs: url {:?}: {e}", config.url))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err("http_sd_configs: URL scheme must be 'http' or 'https' and a host must be set".into());
            }
        }
        self.kubernetes_sd_configs.iter().try_for_each(KubernetesSdConfig::validate)
    }

    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &Path) {
        self.resolve_http_paths(directory);
        for config in &mut self.file_sd_configs {
            for file in &mut config.files {
                *file = directory.join(&*file).to_string_lossy().into_owned();
            }
        }
        for config in &mut self.http_sd_configs {
            config.resolve_http_paths(directory);
        }
        for config in &mut self.kubernetes_sd_configs {
            config.resolve_http_paths(directory);
            if !config.kubeconfig_file.is_empty() {
                config.kubeconfig_file = directory.join(&config.kubeconfig_file).to_string_lossy().into_owned();
            }
        }
    }
}

impl KubernetesSdConfig {
    fn validate(&self) -> Result<(), String> {
        self.http_client().validate().map_err(|e| format!("kubernetes_sd_configs: {e}"))?;
        if self.namespaces.own_namespace {
            for (key, value) in [("kubeconfig_file", &self.kubeconfig_file), ("api_server", &self.api_server)] {
                if !value.is_empty() {
                    return Err(format!("cannot use '{key}' and 'namespaces.own_namespace' simultaneously"));
                }
            }
        }
        if !self.kubeconfig_file.is_empty() && !self.api_server.is_empty() {
            return Err("cannot use 'kubeconfig_file' and 'api_server' simultaneously".into());
        }
        if !self.kubeconfig_file.is_empty() && self.http_client() != net::client::HttpClientConfig::default() {
            return Err("cannot use a custom HTTP client configuration together with 'kubeconfig_file'".into());
        }
        for (i, selector) in self.selectors.iter().enumerate() {
            let allowed = match self.role {
                Role::Endpoints => matches!(selector.role, Role::Pod | Role::Service | Role::Endpoints),
                Role::Pod => matches!(selector.role, Role::Pod | Role::Node),
                role => selector.role == role,
            };
            if !allowed {
                return Err(format!(
                    "{} role does not support a selector of role {}",
                    self.role.as_str(),
                    selector.role.as_str()
                ));
            }
            if self.selectors.iter().take(i).any(|earlier| earlier.role == selector.role) {
                return Err(format!("duplicated selector role: {}", selector.role.as_str()));
            }
        }
        Ok(())
    }
}

/// Replaces what cannot stand in a label name by `_`, as discovery does with keys of labels and annotations.
pub fn sanitize_label_name(name: &str) -> String {
    if is_legacy_label_name(name) {
        return name.to_owned();
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

//! The `remote_write` and `remote_read` sections.

use std::collections::BTreeMap;
use std::path::Path;

use model::bytes::ByteSize;
use model::duration::Duration;
use model::labels::NameScheme;
use model::relabel::RelabelConfig;
use net::auth::{Secret, serialize_masked_url};
use net::with_http_client;
use scraper::config::places::KeyFault;
use scraper::config::rule_faults;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Headers that the client sets itself.
const RESERVED: [&str; 13] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
];

/// Checks headers of a section; `of_authorization` says what stands in place of an `Authorization` header.
pub(super) fn validate_headers(headers: &BTreeMap<String, String>, of_authorization: &str) -> Result<(), String> {
    for header in headers.keys().map(|header| header.to_lowercase()) {
        if header == "authorization" {
            return Err(of_authorization.to_owned());
        }
        if RESERVED.contains(&header.as_str()) || header.starts_with("x-amz-") {
            return Err(format!("{header} is a reserved header. It must not be changed"));
        }
    }
    Ok(())
}

const AUTHORIZATION: &str = "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, \
                             azuread or google_iam parameter";

/// Which message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WriteMessage {
    /// Remote write 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    /// Remote write 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

fn half_minute() -> Duration {
    Duration::from_seconds(30)
}

fn minute() -> Duration {
    Duration::from_seconds(60)
}

fn yes() -> bool {
    true
}

fn fifty_million() -> u64 {
    50_000_000
}

with_http_client! {
    /// One entry of `remote_write`.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct RemoteWriteConfig {
        #[serde(serialize_with = "serialize_masked_url")]
        pub url: String,
        #[serde(default = "half_minute")]
        pub remote_timeout: Duration,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub write_relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        #[serde(skip_serializing_if = "is_default")]
        pub send_exemplars: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub send_native_histograms: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub round_robin_dns: bool,
        pub protobuf_message: WriteMessage,
        #[serde(skip_serializing_if = "is_default")]
        pub failed_request_logging: bool,
    } {
        pub queue_config: QueueConfig,
        pub metadata_config: MetadataConfig,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sigv4: Option<SigV4Config>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub azuread: Option<AzureAdConfig>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub google_iam: Option<GoogleIamConfig>,
    }
}

/// `queue_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct QueueConfig {
    pub capacity: i64,
    pub max_shards: i64,
    pub min_shards: i64,
    pub max_samples_per_send: i64,
    pub batch_send_deadline: Duration,
    pub min_backoff: Duration,
    pub max_backoff: Duration,
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on_http_429: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub sample_age_limit: Duration,
    /// Not upstream's: bytes that wait on disk at most, the oldest go first.
    #[serde(skip_serializing_if = "is_disk_max_size")]
    pub disk_max_size: ByteSize,
    /// Not upstream's: how long requests wait on disk at most; 0 for no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub disk_max_age: Duration,
}

/// Default of `disk_max_size`.
const DISK_MAX_SIZE: ByteSize = ByteSize(4 * 1024 * 1024 * 1024);

fn is_disk_max_size(size: &ByteSize) -> bool {
    *size == DISK_MAX_SIZE
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_seconds(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_seconds(5),
            retry_on_http_429: false,
            sample_age_limit: Duration::ZERO,
            disk_max_size: DISK_MAX_SIZE,
            disk_max_age: Duration::ZERO,
        }
    }
}

impl QueueConfig {
    fn validate(&self) -> Result<(), String> {
        let fault = if self.max_shards <= 0 {
            "max_shards must be positive"
        } else if self.min_shards <= 0 {
            "min_shards must be positive"
        } else if self.min_shards > self.max_shards {
            "min_shards must not be greater than max_shards"
        } else if self.max_samples_per_send <= 0 {
            "max_samples_per_send must be positive"
        } else if self.capacity <= 0 {
            "capacity must be positive"
        } else if self.max_backoff < self.min_backoff {
            "max_backoff must not be less than min_backoff"
        } else {
            return Ok(());
        };
        Err(format!("remote write queue {fault}"))
    }
}

/// `metadata_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct MetadataConfig {
    pub send: bool,
    pub send_interval: Duration,
    pub max_samples_per_send: i64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { send: true, send_interval: minute(), max_samples_per_send: 2000 }
    }
}

/// `sigv4`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct SigV4Config {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_key: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret_key: Secret,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role_arn: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub use_fips_sts_endpoint: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_name: String,
}

/// `azuread`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct AzureAdConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<AzureIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<AzureIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<AzureIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<AzureIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<AzureIdentity>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cloud: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

/// How one authenticates with Azure: each way has some of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct AzureIdentity {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_file_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate_key_path: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub certificate_password: Secret,
    #[serde(skip_serializing_if = "is_default")]
    pub send_certificate_chain: bool,
}

/// `google_iam`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct GoogleIamConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credentials_file: String,
}

impl RemoteWriteConfig {
    /// Makes relative files relative to `directory`. Where HTTP/2 is not asked for it stays off, unlike elsewhere.
    pub fn resolve(&mut self, directory: &Path) {
        self.resolve_http_paths(directory);
        self.enable_http2.get_or_insert(false);
    }

    /// What is wrong with the section.
    pub fn faults(&self, names: NameScheme) -> Vec<KeyFault> {
        let whole = [
            require_url(&self.url, "remote_write"),
            validate_headers(&self.headers, AUTHORIZATION),
            self.validate_http_client().map_err(|e| e.to_string()),
            self.validate_ways(),
        ];
        let mut faults: Vec<KeyFault> = whole.into_iter().filter_map(Result::err).map(KeyFault::here).collect();
        faults.extend(rule_faults("write_relabel_configs", &self.write_relabel_configs, names));
        faults.extend(self.queue_config.validate().err().map(|reason| KeyFault::of("queue_config", reason)));
        faults
    }

    /// There is one way to say who sends.
    fn validate_ways(&self) -> Result<(), String> {
        let ways = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("oauth2", self.oauth2.is_some()),
            ("sigv4", self.sigv4.is_some()),
            ("azuread", self.azuread.is_some()),
            ("google_iam", self.google_iam.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if given.len() > 1 {
            return Err(format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. \
                 Currently configured: [{}]",
                given.join(" ")
            ));
        }
        Ok(())
    }
}

with_http_client! {
    /// One entry of `remote_read`.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct RemoteReadConfig {
        #[serde(serialize_with = "serialize_masked_url")]
        pub url: String,
        #[serde(default = "minute")]
        pub remote_timeout: Duration,
        #[serde(default = "fifty_million")]
        pub chunked_read_limit: u64,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "is_default")]
        pub read_recent: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
    } {
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub required_matchers: BTreeMap<String, String>,
        #[serde(default = "yes")]
        pub filter_external_labels: bool,
    }
}

impl RemoteReadConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub fn validate(&self) -> Result<(), String> {
        require_url(&self.url, "remote_read")?;
        validate_headers(&self.headers, AUTHORIZATION)?;
        self.validate_http_client().map_err(|e| e.to_string())
    }
}

fn require_url(url: &str, section: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err(format!("url for {section} is empty"));
    }
    url::Url::parse(url).map(drop).map_err(|e| format!("{section}: url {url:?}: {e}"))
}

/// The names that stand once more, with the numbers of these; empty names do not count.
pub(super) fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, String)> {
    let mut seen = std::collections::HashSet::new();
    let again = names.enumerate().filter(|(_, name)| !name.is_empty() && !seen.insert(*name));
    again.map(|(index, name)| (index, name.to_owned())).collect()
}

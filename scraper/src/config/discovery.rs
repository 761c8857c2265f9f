//! Sections of discovery that this program runs, but for Kubernetes' own.

use std::collections::BTreeMap;
use std::path::Path;

use model::duration::Duration;
use model::labels::Labels;
use net::auth::Secret;
use net::with_http_client;
use serde::{Deserialize, Serialize};

use super::sections::{DiscoverySection, require, require_url, section};

pub(super) fn minute() -> Duration {
    Duration::from_seconds(60)
}

pub(super) fn half_minute() -> Duration {
    Duration::from_seconds(30)
}

pub(super) fn five_minutes() -> Duration {
    Duration::from_seconds(300)
}

pub(super) fn port_80() -> u16 {
    80
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn comma() -> String {
    ",".into()
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

impl DiscoverySection for StaticConfig {
    const KEY: &'static str = "static_configs";
    const IS_RUN: bool = true;

    fn validate(&self) -> Result<(), String> {
        // Addresses are checked with the job: relabelling may yet change them.
        Ok(())
    }
}

/// `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Paths ending in `.json`, `.yml` or `.yaml`, `*` allowed in the last element.
    #[serde(default)]
    pub files: Vec<String>,
    /// How often files are read again.
    #[serde(default = "five_minutes")]
    pub refresh_interval: Duration,
}

impl DiscoverySection for FileSdConfig {
    const KEY: &'static str = "file_sd_configs";
    const IS_RUN: bool = true;

    fn validate(&self) -> Result<(), String> {
        require(!self.files.is_empty(), "file service discovery config must contain at least one path name")?;
        match self.files.iter().find(|file| !crate::discovery::file::is_valid_pattern(file)) {
            Some(file) => Err(format!("path name {file:?} is not valid for file discovery")),
            None => Ok(()),
        }
    }

    fn resolve_paths(&mut self, directory: &Path) {
        for file in &mut self.files {
            *file = directory.join(&*file).to_string_lossy().into_owned();
        }
    }
}

with_http_client! {
    /// `http_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct HttpSdConfig {
        /// Answers with a JSON list of target groups.
        pub url: String,
        /// How often it is asked.
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
    }
}

section!(HttpSdConfig, "http_sd_configs", |this| require_url(&this.url));

/// Which records of a name hold targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordType {
    /// Host and port.
    #[default]
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

impl RecordType {
    /// As in DNS.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordType::Srv => "SRV",
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Mx => "MX",
            RecordType::Ns => "NS",
        }
    }
}

impl<'de> Deserialize<'de> for RecordType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let all = [RecordType::Srv, RecordType::A, RecordType::Aaaa, RecordType::Mx, RecordType::Ns];
        all.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(&text)).ok_or_else(|| {
            serde::de::Error::custom(format!("invalid DNS-SD records type {text}, expected SRV, A, AAAA, MX or NS"))
        })
    }
}

impl Serialize for RecordType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// `dns_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSdConfig {
    /// Names to look up.
    #[serde(default)]
    pub names: Vec<String>,
    /// How often.
    #[serde(default = "half_minute")]
    pub refresh_interval: Duration,
    /// Which records.
    #[serde(default, rename = "type")]
    pub record_type: RecordType,
    /// Port of the targets, where records hold none.
    #[serde(default)]
    pub port: u16,
}

impl DiscoverySection for DnsSdConfig {
    const KEY: &'static str = "dns_sd_configs";
    const IS_RUN: bool = true;

    fn validate(&self) -> Result<(), String> {
        require(!self.names.is_empty(), "DNS-SD config must contain at least one SRV record name")?;
        require(
            self.record_type == RecordType::Srv || self.port != 0,
            "a port is required in DNS-SD configs for all record types except SRV",
        )
    }
}

fn consul_server() -> String {
    "localhost:8500".into()
}

fn http() -> String {
    "http".into()
}

with_http_client! {
    /// `consul_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct ConsulSdConfig {
        #[serde(default = "consul_server")]
        pub server: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub path_prefix: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub token: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub datacenter: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub namespace: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub partition: String,
        #[serde(default = "comma")]
        pub tag_separator: String,
        #[serde(default = "http")]
        pub scheme: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub username: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub password: Secret,
        #[serde(default = "yes")]
        pub allow_stale: bool,
        #[serde(default = "half_minute")]
        pub refresh_interval: Duration,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub services: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub tags: Vec<String>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub node_meta: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub filter: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub health_filter: String,
    }
}

section!(ConsulSdConfig, "consul_sd_configs", |this| {
    require(!this.server.trim().is_empty(), "consul SD configuration requires a server address")
        .and(require(
            this.basic_auth.is_none() || this.username.is_empty() && this.password.is_empty(),
            "at most one of consul SD configuration username and password and basic auth can be configured",
        ))
        .and(require(
            this.token.is_empty() || this.authorization.is_none() && this.oauth2.is_none(),
            "at most one of consul SD token, authorization, or oauth2 can be configured",
        ))
});

/// Restricts what Docker lists.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

fn localhost() -> String {
    "localhost".into()
}

with_http_client! {
    /// `docker_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct DockerSdConfig {
        pub host: String,
        #[serde(default = "port_80")]
        pub port: u16,
        pub filters: Vec<Filter>,
        #[serde(default = "localhost")]
        pub host_networking_host: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "yes")]
        pub match_first_network: bool,
    }
}

section!(DockerSdConfig, "docker_sd_configs", |this| require_docker_host(&this.host));

/// Checks the address of a Docker daemon.
pub(super) fn require_docker_host(host: &str) -> Result<(), String> {
    require(!host.is_empty(), "host missing")?;
    let url = url::Url::parse(host).map_err(|e| format!("host {host:?}: {e}"))?;
    require(
        matches!(url.scheme(), "unix" | "http" | "https" | "tcp"),
        "the scheme of host must be unix, http, https or tcp",
    )
}

fn default_namespace() -> String {
    "default".into()
}

fn global_region() -> String {
    "global".into()
}

fn nomad_server() -> String {
    "http://localhost:4646".into()
}

with_http_client! {
    /// `nomad_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct NomadSdConfig {
        #[serde(default = "yes")]
        pub allow_stale: bool,
        #[serde(default = "default_namespace")]
        pub namespace: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "global_region")]
        pub region: String,
        #[serde(default = "nomad_server")]
        pub server: String,
        #[serde(default = "comma")]
        pub tag_separator: String,
    }
}

section!(NomadSdConfig, "nomad_sd_configs", |this| require(
    !this.server.trim().is_empty(),
    "nomad SD configuration requires a server address"
));

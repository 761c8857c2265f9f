//! Sections of discovery by other platforms. This program checks them and does not run them: a server refuses them by
//! name.

use model::duration::Duration;
use net::auth::Secret;
use net::client::TlsConfig;
use net::with_http_client;
use serde::{Deserialize, Serialize};

use super::discovery::{Filter, comma, half_minute, minute, port_80, require_docker_host};
use super::is_default;
use super::sections::{require, require_url, section};

with_http_client! {
    /// `dockerswarm_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct DockerSwarmSdConfig {
        pub host: String,
        pub role: String,
        #[serde(default = "port_80")]
        pub port: u16,
        pub filters: Vec<Filter>,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
    }
}

section!(foreign DockerSwarmSdConfig, "dockerswarm_sd_configs", |this| {
    require_docker_host(&this.host).and(match this.role.as_str() {
        "services" | "nodes" | "tasks" => Ok(()),
        "" => Err("role missing (one of: tasks, services, nodes)".into()),
        other => Err(format!("invalid role {other}, expected tasks, services, or nodes")),
    })
});

with_http_client! {
    /// `eureka_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct EurekaSdConfig {
        pub server: String,
        #[serde(default = "half_minute")]
        pub refresh_interval: Duration,
    }
}

section!(foreign EurekaSdConfig, "eureka_sd_configs", |this| {
    require(!this.server.is_empty(), "eureka_sd: empty or null eureka server")
        .and(require_url(&this.server).map_err(|e| format!("eureka_sd: invalid eureka server URL: {e}")))
});

fn quarter_minute() -> Duration {
    Duration::from_seconds(15)
}

fn two_minutes() -> Duration {
    Duration::from_seconds(120)
}

with_http_client! {
    /// `kuma_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct KumaSdConfig {
        #[serde(default = "quarter_minute")]
        pub refresh_interval: Duration,
        #[serde(default = "two_minutes")]
        pub fetch_timeout: Duration,
        pub server: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub client_id: String,
    }
}

section!(foreign KumaSdConfig, "kuma_sd_configs", |this| {
    require_url(&this.server).map_err(|e| format!("kuma SD server must not be empty and have a scheme: {e}"))
});

with_http_client! {
    /// `marathon_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct MarathonSdConfig {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub servers: Vec<String>,
        #[serde(default = "half_minute")]
        pub refresh_interval: Duration,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub auth_token: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub auth_token_file: String,
    }
}

section!(foreign MarathonSdConfig, "marathon_sd_configs", |this| check_marathon(this));

fn check_marathon(config: &MarathonSdConfig) -> Result<(), String> {
    require(!config.servers.is_empty(), "marathon_sd: must contain at least one Marathon server")?;
    let (inline, file) = (!config.auth_token.is_empty(), !config.auth_token_file.is_empty());
    require(!(inline && file), "marathon_sd: at most one of auth_token & auth_token_file must be configured")?;
    if !inline && !file {
        return Ok(());
    }
    require(
        config.basic_auth.is_none(),
        "marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured",
    )?;
    require(
        config.bearer_token.is_none() && config.bearer_token_file.is_none(),
        "marathon_sd: at most one of bearer_token, bearer_token_file, auth_token & auth_token_file must be configured",
    )?;
    require(
        config.authorization.is_none(),
        "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured",
    )
}

fn ten_seconds() -> Duration {
    Duration::from_seconds(10)
}

/// Checks a section that reads from ZooKeeper.
fn check_zookeeper(kind: &str, servers: &[String], paths: &[String]) -> Result<(), String> {
    require(!servers.is_empty(), &format!("{kind} SD config must contain at least one Zookeeper server"))?;
    require(!paths.is_empty(), &format!("{kind} SD config must contain at least one path"))?;
    match paths.iter().find(|path| !path.starts_with('/')) {
        Some(path) => Err(format!("{kind} SD config paths must begin with '/': {path}")),
        None => Ok(()),
    }
}

/// `nerve_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct NerveSdConfig {
    pub servers: Vec<String>,
    pub paths: Vec<String>,
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

section!(plain NerveSdConfig, "nerve_sd_configs", |this| check_zookeeper("nerve", &this.servers, &this.paths));

/// `serverset_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct ServersetSdConfig {
    pub servers: Vec<String>,
    pub paths: Vec<String>,
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

section!(plain ServersetSdConfig, "serverset_sd_configs", |this| check_zookeeper("serverset", &this.servers, &this.paths));

with_http_client! {
    /// `puppetdb_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct PuppetDbSdConfig {
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        pub url: String,
        pub query: String,
        pub include_parameters: bool,
        #[serde(default = "port_80")]
        pub port: u16,
    }
}

section!(foreign PuppetDbSdConfig, "puppetdb_sd_configs", |this| require_url(&this.url).and(require(!this.query.is_empty(), "query missing")));

fn container() -> String {
    "container".into()
}

fn triton_port() -> u16 {
    9163
}

fn one() -> u32 {
    1
}

/// `triton_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct TritonSdConfig {
    pub account: String,
    #[serde(default = "container")]
    pub role: String,
    pub dns_suffix: String,
    pub endpoint: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default = "triton_port")]
    pub port: u16,
    #[serde(default = "minute")]
    pub refresh_interval: Duration,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsConfig,
    #[serde(default = "one")]
    pub version: u32,
}

section!(plain TritonSdConfig, "triton_sd_configs", |this| {
    require(
        matches!(this.role.as_str(), "container" | "cn"),
        "triton SD configuration requires role to be 'container' or 'cn'",
    )
    .and(require(!this.account.is_empty(), "triton SD configuration requires an account"))
    .and(require(!this.dns_suffix.is_empty(), "triton SD configuration requires a dns_suffix"))
    .and(require(!this.endpoint.is_empty(), "triton SD configuration requires an endpoint"))
    .and(require(
        !this.refresh_interval.is_zero(),
        "triton SD configuration requires RefreshInterval to be a positive integer",
    ))
    .and(this.tls_config.validate().map_err(|e| e.to_string()))
});

fn monitoring_entitled() -> String {
    "monitoring_entitled".into()
}

with_http_client! {
    /// `uyuni_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct UyuniSdConfig {
        pub server: String,
        pub username: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub password: Secret,
        #[serde(default = "monitoring_entitled")]
        pub entitlement: String,
        #[serde(default = "comma")]
        pub separator: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
    }
}

section!(foreign UyuniSdConfig, "uyuni_sd_configs", |this| {
    require(!this.server.is_empty(), "Uyuni SD configuration requires server host")
        .and(url::Url::parse(&this.server).map(drop).map_err(|e| format!("Uyuni Server URL is not valid: {e}")))
        .and(require(!this.username.is_empty(), "Uyuni SD configuration requires a username"))
        .and(require(!this.password.is_empty(), "Uyuni SD configuration requires a password"))
});

//! More sections of cloud providers' discovery: checked, not run.

use model::duration::Duration;
use net::auth::Secret;
use net::client::TlsConfig;
use net::with_http_client;
use serde::{Deserialize, Serialize};

use super::discovery::{minute, port_80};
use super::is_default;
use super::sections::{require, section};

/// Checks that exactly one of a secret and its file is given.
fn require_one(secret: &Secret, file: &str) -> Result<(), String> {
    require(!secret.is_empty() || !file.is_empty(), "one of secret_key & secret_key_file must be configured")?;
    require(secret.is_empty() || file.is_empty(), "at most one of secret_key & secret_key_file must be configured")
}

fn api_key() -> String {
    "api_key".into()
}

with_http_client! {
    /// `oci_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct OciSdConfig {
        #[serde(default = "api_key")]
        pub auth: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub tenancy: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub user: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub fingerprint: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub key_file: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub key_passphrase: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub key_passphrase_file: String,
        pub region: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub compartments: Vec<String>,
        #[serde(default = "port_80")]
        pub port: u16,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
    }
}

section!(foreign OciSdConfig, "oci_sd_configs", |this| check_oci(this));

fn check_oci(config: &OciSdConfig) -> Result<(), String> {
    let OciSdConfig { tenancy, user, fingerprint, key_file, key_passphrase_file, .. } = config;
    require(!config.region.is_empty(), "oci_sd: region is required")?;
    match config.auth.as_str() {
        "api_key" => {
            for (value, key) in
                [(tenancy, "tenancy"), (user, "user"), (fingerprint, "fingerprint"), (key_file, "key_file")]
            {
                require(!value.is_empty(), &format!("oci_sd: api_key auth requires {key}"))?;
            }
            require(
                config.key_passphrase.is_empty() || key_passphrase_file.is_empty(),
                "oci_sd: at most one of key_passphrase and key_passphrase_file must be configured",
            )?;
        }
        "instance_principal" => {
            let given = [tenancy, user, fingerprint, key_file, key_passphrase_file];
            require(
                given.into_iter().all(String::is_empty) && config.key_passphrase.is_empty(),
                "oci_sd: instance_principal auth must not have tenancy, user, fingerprint, key_file, key_passphrase, or key_passphrase_file set",
            )?;
        }
        other => {
            return Err(format!(
                "oci_sd: unknown auth method {other:?}, expected \"api_key\" or \"instance_principal\""
            ));
        }
    }
    require(config.compartments.iter().all(|id| !id.is_empty()), "oci_sd: compartments must not be empty")?;
    require(!config.refresh_interval.is_zero(), "oci_sd: refresh_interval must be positive")
}

/// What `openstack_sd_configs` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum OpenStackRole {
    Hypervisor,
    Instance,
    LoadBalancer,
}

fn public() -> String {
    "public".into()
}

/// `openstack_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct OpenStackSdConfig {
    pub identity_endpoint: String,
    pub username: String,
    pub userid: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    pub project_name: String,
    pub project_id: String,
    pub domain_name: String,
    pub domain_id: String,
    pub application_credential_name: String,
    pub application_credential_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub application_credential_secret: Secret,
    pub role: Option<OpenStackRole>,
    pub region: String,
    #[serde(default = "minute")]
    pub refresh_interval: Duration,
    #[serde(default = "port_80")]
    pub port: u16,
    pub all_tenants: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsConfig,
    #[serde(default = "public")]
    pub availability: String,
}

section!(plain OpenStackSdConfig, "openstack_sd_configs", |this| {
    require(
        matches!(this.availability.as_str(), "public" | "internal" | "admin"),
        &format!("unknown availability {}, must be one of admin, internal or public", this.availability),
    )
    .and(require(this.role.is_some(), "role missing (one of: instance, hypervisor, loadbalancer)"))
    .and(require(!this.region.is_empty(), "openstack SD configuration requires a region"))
    .and(this.tls_config.validate().map_err(|e| e.to_string()))
});

fn eu_west_2() -> String {
    "eu-west-2".into()
}

with_http_client! {
    /// `outscale_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct OutscaleSdConfig {
        #[serde(skip_serializing_if = "String::is_empty")]
        pub endpoint: String,
        #[serde(default = "eu_west_2")]
        pub region: String,
        pub access_key: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub secret_key: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub secret_key_file: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
    }
}

section!(foreign OutscaleSdConfig, "outscale_sd_configs", |this| {
    require(!this.region.is_empty(), "outscale SD configuration requires a region")
        .and(require(!this.access_key.is_empty(), "outscale SD configuration requires access_key"))
        .and(require_one(&this.secret_key, &this.secret_key_file))
});

fn ovh_eu() -> String {
    "ovh-eu".into()
}

/// `ovhcloud_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct OvhCloudSdConfig {
    #[serde(default = "ovh_eu")]
    pub endpoint: String,
    pub application_key: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub application_secret: Secret,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub consumer_key: Secret,
    #[serde(default = "minute")]
    pub refresh_interval: Duration,
    pub service: String,
}

section!(plain OvhCloudSdConfig, "ovhcloud_sd_configs", |this| {
    require(!this.endpoint.is_empty(), "endpoint can not be empty")
        .and(require(!this.application_key.is_empty(), "application key can not be empty"))
        .and(require(!this.application_secret.is_empty(), "application secret can not be empty"))
        .and(require(!this.consumer_key.is_empty(), "consumer key can not be empty"))
        .and(require(
            matches!(this.service.as_str(), "dedicated_server" | "vps"),
            &format!("unknown service: {}", this.service),
        ))
});

/// What `scaleway_sd_configs` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum ScalewayRole {
    Instance,
    Baremetal,
}

fn scaleway_api() -> String {
    "https://api.scaleway.com".into()
}

fn fr_par_1() -> String {
    "fr-par-1".into()
}

with_http_client! {
    /// `scaleway_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct ScalewaySdConfig {
        pub project_id: String,
        #[serde(default = "scaleway_api")]
        pub api_url: String,
        #[serde(default = "fr_par_1")]
        pub zone: String,
        pub access_key: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub secret_key: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub secret_key_file: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name_filter: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub tags_filter: Vec<String>,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
        pub role: Option<ScalewayRole>,
    }
}

section!(foreign ScalewaySdConfig, "scaleway_sd_configs", |this| {
    require(this.role.is_some(), "role missing (one of: instance, baremetal)")
        .and(require(!this.project_id.is_empty(), "project_id is mandatory"))
        .and(require_one(&this.secret_key, &this.secret_key_file))
        .and(require(!this.access_key.is_empty(), "access_key is mandatory"))
});

fn eu01() -> String {
    "eu01".into()
}

with_http_client! {
    /// `stackit_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct StackitSdConfig {
        pub project: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
        #[serde(default = "eu01")]
        pub region: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub endpoint: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub service_account_key: Secret,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub private_key: Secret,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub service_account_key_path: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub private_key_path: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub credentials_file_path: String,
    }
}

section!(foreign StackitSdConfig, "stackit_sd_configs", |this| {
    require(
        !this.endpoint.is_empty() || !this.region.is_empty(),
        "stackit_sd: endpoint and region missing",
    )
    .and(match this.endpoint.as_str() {
        "" => Ok(()),
        endpoint => url::Url::parse(endpoint)
            .map(drop)
            .map_err(|e| format!("stackit_sd: invalid endpoint {endpoint:?}: {e}")),
    })
});

with_http_client! {
    /// `vultr_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct VultrSdConfig {
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
    }
}

section!(foreign VultrSdConfig, "vultr_sd_configs",);

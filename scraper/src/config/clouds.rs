//! Sections of cloud providers' discovery. This program checks them and does not run them: a server refuses them by name.

use model::duration::Duration;
use net::auth::Secret;
use net::with_http_client;
use serde::{Deserialize, Serialize};

use super::discovery::{Filter, comma, five_minutes, minute, port_80};
use super::sections::{require, section};

fn twenty() -> u32 {
    20
}

fn ten() -> u32 {
    10
}

/// What `aws_sd_configs` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum AwsRole {
    Ec2,
    Ecs,
    Elasticache,
    Lightsail,
    Msk,
    Rds,
}

/// Declares a section of Amazon's discovery: the keys that all have, and its own.
macro_rules! aws_section {
    ($section:ident, $key:literal, { $($own:tt)* }, $($check:tt)*) => {
        with_http_client! {
            #[doc = concat!("`", $key, "`.")]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
            #[serde(deny_unknown_fields, default)]
            #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
            pub struct $section {
                #[serde(skip_serializing_if = "String::is_empty")]
                pub endpoint: String,
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
                #[serde(default = "minute")]
                pub refresh_interval: Duration,
                #[serde(default = "port_80")]
                pub port: u16,
                $($own)*
            }
        }

        section!(foreign $section, $key, $($check)*);
    };
}

aws_section!(
    AwsSdConfig,
    "aws_sd_configs",
    {
        pub role: Option<AwsRole>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub filters: Vec<Filter>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub clusters: Vec<String>,
    },
    |this| require(this.role.is_some(), "unknown AWS SD role \"\"")
);

aws_section!(
    Ec2SdConfig,
    "ec2_sd_configs",
    {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub filters: Vec<Filter>,
    },
    |this| require(
        this.filters.iter().all(|filter| !filter.values.is_empty()),
        "EC2 SD configuration filter values cannot be empty",
    )
);

aws_section!(LightsailSdConfig, "lightsail_sd_configs", {},);

aws_section!(
    EcsSdConfig,
    "ecs_sd_configs",
    {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub clusters: Vec<String>,
        #[serde(default = "twenty")]
        pub request_concurrency: u32,
    },
);

aws_section!(
    ElasticacheSdConfig,
    "elasticache_sd_configs",
    {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub clusters: Vec<String>,
        #[serde(default = "ten")]
        pub request_concurrency: u32,
    },
);

aws_section!(
    MskSdConfig,
    "msk_sd_configs",
    {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub clusters: Vec<String>,
        #[serde(default = "ten")]
        pub request_concurrency: u32,
    },
);

aws_section!(
    RdsSdConfig,
    "rds_sd_configs",
    {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub clusters: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub filters: Vec<Filter>,
        #[serde(default = "ten")]
        pub request_concurrency: u32,
    },
);

fn azure_public_cloud() -> String {
    "AzurePublicCloud".into()
}

fn oauth() -> String {
    "OAuth".into()
}

with_http_client! {
    /// `azure_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct AzureSdConfig {
        #[serde(default = "azure_public_cloud")]
        pub environment: String,
        #[serde(default = "port_80")]
        pub port: u16,
        pub subscription_id: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub tenant_id: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub client_id: String,
        #[serde(skip_serializing_if = "Secret::is_empty")]
        pub client_secret: Secret,
        #[serde(default = "five_minutes")]
        pub refresh_interval: Duration,
        #[serde(default = "oauth")]
        pub authentication_method: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub resource_group: String,
    }
}

section!(foreign AzureSdConfig, "azure_sd_configs", |this| check_azure(this));

fn check_azure(config: &AzureSdConfig) -> Result<(), String> {
    let given =
        |value: &str, key: &str| require(!value.is_empty(), &format!("azure SD configuration requires a {key}"));
    given(&config.subscription_id, "subscription_id")?;
    match config.authentication_method.as_str() {
        "OAuth" => {
            given(&config.tenant_id, "tenant_id")?;
            given(&config.client_id, "client_id")?;
            given(config.client_secret.reveal(), "client_secret")
        }
        "ManagedIdentity" | "SDK" | "WorkloadIdentity" => Ok(()),
        other => Err(format!(
            "unknown authentication_type {other:?}. Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\""
        )),
    }
}

/// What `digitalocean_sd_configs` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum DigitalOceanRole {
    #[default]
    Droplets,
    Databases,
}

with_http_client! {
    /// `digitalocean_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct DigitalOceanSdConfig {
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
        pub role: DigitalOceanRole,
    }
}

section!(foreign DigitalOceanSdConfig, "digitalocean_sd_configs",);

/// `gce_sd_configs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct GceSdConfig {
    pub project: String,
    pub zone: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    #[serde(default = "minute")]
    pub refresh_interval: Duration,
    #[serde(default = "port_80")]
    pub port: u16,
    #[serde(default = "comma")]
    pub tag_separator: String,
}

section!(plain GceSdConfig, "gce_sd_configs", |this| {
    require(!this.project.is_empty(), "GCE SD configuration requires a project")
        .and(require(!this.zone.is_empty(), "GCE SD configuration requires a zone"))
});

/// What `hetzner_sd_configs` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum HetznerRole {
    Robot,
    Hcloud,
}

with_http_client! {
    /// `hetzner_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct HetznerSdConfig {
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
        pub role: Option<HetznerRole>,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub label_selector: String,
    }
}

section!(foreign HetznerSdConfig, "hetzner_sd_configs", |this| require(this.role.is_some(), "role missing (one of: robot, hcloud)"));

with_http_client! {
    /// `ionos_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct IonosSdConfig {
        pub datacenter_id: String,
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
    }
}

section!(foreign IonosSdConfig, "ionos_sd_configs", |this| require(!this.datacenter_id.is_empty(), "datacenter id can't be empty"));

with_http_client! {
    /// `linode_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct LinodeSdConfig {
        #[serde(default = "minute")]
        pub refresh_interval: Duration,
        #[serde(default = "port_80")]
        pub port: u16,
        #[serde(default = "comma")]
        pub tag_separator: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub region: String,
    }
}

section!(foreign LinodeSdConfig, "linode_sd_configs",);

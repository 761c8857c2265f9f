//! The `global` and `scrape_configs` sections of `prometheus.yml`, with upstream's keys, defaults and cross-checks.
//!
//! Source: Prometheus' configuration page. A [`ScrapeConfig`] is as written until [`ScrapeConfig::resolve`] has filled
//! in what it inherits from [`GlobalConfig`]; the scraper works with [`JobConfig`]s only. Every `*_sd_configs` of
//! upstream is known and checked ([`DiscoveryConfigs`]), also those that this program does not run.

mod clouds;
mod discovery;
pub mod environment;
mod global;
mod job;
mod kubernetes;
mod more_clouds;
pub mod places;
mod platforms;
mod protocol;
mod sections;

use model::labels::is_legacy_label_name;

pub use clouds::*;
pub use discovery::{
    ConsulSdConfig, DnsSdConfig, DockerSdConfig, FileSdConfig, Filter, HttpSdConfig, NomadSdConfig, RecordType,
    StaticConfig,
};
pub use global::{DEFAULT_INTERVAL, DEFAULT_TIMEOUT, GlobalConfig, expand};
pub use job::{HistogramConfig, JobConfig, Limits, ScrapeConfig, rule_faults};
pub use kubernetes::{AttachMetadata, KubernetesSdConfig, KubernetesSelector, NamespaceDiscovery, Role};
pub use more_clouds::*;
pub use platforms::*;
pub use protocol::{
    DEFAULT_PROTOCOLS, EscapingScheme, NATIVE_HISTOGRAM_PROTOCOLS, Scheme, ScrapeProtocol, ValidationScheme,
};
pub use sections::{DiscoveryConfigs, DiscoverySection};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Replaces what cannot stand in a label name by `_`, as discovery does with keys of labels and annotations.
pub fn sanitize_label_name(name: &str) -> String {
    if is_legacy_label_name(name) {
        return name.to_owned();
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

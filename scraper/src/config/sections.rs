//! The list of `*_sd_configs`, and how a section carries them.

use std::path::Path;

use super::clouds::*;
use super::discovery::*;
use super::kubernetes::KubernetesSdConfig;
use super::more_clouds::*;
use super::platforms::*;

/// One kind of `*_sd_configs`.
pub trait DiscoverySection {
    /// Its key.
    const KEY: &'static str;
    /// Whether this program runs it. The others are checked like these; a server refuses them by name.
    const IS_RUN: bool;

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    fn validate(&self) -> Result<(), String>;

    /// Makes relative files relative to `directory`.
    fn resolve_paths(&mut self, directory: &Path) {
        let _no_files = directory;
    }
}

/// Hands the list of all kinds, ordered by key as they are printed, to the macro `$then` behind what it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! all_discovery_sections {
    ($then:ident { $($given:tt)* }) => {
        $crate::$then! {
            { $($given)* }
            aws_sd_configs: AwsSdConfig,
            azure_sd_configs: AzureSdConfig,
            consul_sd_configs: ConsulSdConfig,
            digitalocean_sd_configs: DigitalOceanSdConfig,
            dns_sd_configs: DnsSdConfig,
            docker_sd_configs: DockerSdConfig,
            dockerswarm_sd_configs: DockerSwarmSdConfig,
            ec2_sd_configs: Ec2SdConfig,
            ecs_sd_configs: EcsSdConfig,
            elasticache_sd_configs: ElasticacheSdConfig,
            eureka_sd_configs: EurekaSdConfig,
            file_sd_configs: FileSdConfig,
            gce_sd_configs: GceSdConfig,
            hetzner_sd_configs: HetznerSdConfig,
            http_sd_configs: HttpSdConfig,
            ionos_sd_configs: IonosSdConfig,
            kubernetes_sd_configs: KubernetesSdConfig,
            kuma_sd_configs: KumaSdConfig,
            lightsail_sd_configs: LightsailSdConfig,
            linode_sd_configs: LinodeSdConfig,
            marathon_sd_configs: MarathonSdConfig,
            msk_sd_configs: MskSdConfig,
            nerve_sd_configs: NerveSdConfig,
            nomad_sd_configs: NomadSdConfig,
            oci_sd_configs: OciSdConfig,
            openstack_sd_configs: OpenStackSdConfig,
            outscale_sd_configs: OutscaleSdConfig,
            ovhcloud_sd_configs: OvhCloudSdConfig,
            puppetdb_sd_configs: PuppetDbSdConfig,
            rds_sd_configs: RdsSdConfig,
            scaleway_sd_configs: ScalewaySdConfig,
            serverset_sd_configs: ServersetSdConfig,
            stackit_sd_configs: StackitSdConfig,
            static_configs: StaticConfig,
            triton_sd_configs: TritonSdConfig,
            uyuni_sd_configs: UyuniSdConfig,
            vultr_sd_configs: VultrSdConfig,
        }
    };
}

/// Declares a configuration section with the keys of `http_config` (see `net::with_http_client!`) and, printed last as
/// upstream does, all `*_sd_configs`. Its methods `discovery()` and `resolve_discovery_paths()` reach the latter.
#[macro_export]
macro_rules! with_discovery {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* } { $($after:tt)* }) => {
        $crate::all_discovery_sections! { section_with_discovery { [$(#[$meta])*] $name { $($body)* } { $($after)* } } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! section_with_discovery {
    (
        { [$(#[$meta:meta])*] $name:ident { $($body:tt)* } { $($after:tt)* } }
        $($key:ident: $section:ident,)*
    ) => {
        net::with_http_client! {
            $(#[$meta])*
            pub struct $name { $($body)* } {
                $($after)*
                $(#[serde(skip_serializing_if = "Vec::is_empty")]
                pub $key: Vec<$crate::config::$section>,)*
            }
        }

        impl $name {
            /// Everything that finds targets for it.
            pub fn discovery(&self) -> $crate::config::DiscoveryConfigs {
                $crate::config::DiscoveryConfigs { $($key: self.$key.clone(),)* }
            }

            /// Makes relative files of discovery relative to `directory`.
            pub fn resolve_discovery_paths(&mut self, directory: &std::path::Path) {
                $(for config in &mut self.$key {
                    $crate::config::DiscoverySection::resolve_paths(config, directory);
                })*
            }
        }
    };
}

/// Declares [`DiscoveryConfigs`] from the list.
#[doc(hidden)]
#[macro_export]
macro_rules! declare_discovery_configs {
    ({} $($key:ident: $section:ident,)*) => {
        /// All `*_sd_configs` of one section.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
        pub struct DiscoveryConfigs {
            $(pub $key: Vec<$section>,)*
        }

        impl DiscoveryConfigs {
            /// Checks each, and gives what is wrong with those that are.
            pub fn faults(&self) -> Vec<$crate::config::places::KeyFault> {
                let mut faults = Vec::new();
                $(for (index, config) in self.$key.iter().enumerate() {
                    let fault = config.validate().err().map($crate::config::places::KeyFault::here);
                    faults.extend(fault.map(|fault| {
                        fault.told_of(<$section>::KEY).item(index).within(<$section>::KEY)
                    }));
                })*
                faults
            }

            /// Keys of what is configured but not run by this program.
            pub fn not_run(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if !<$section>::IS_RUN && !self.$key.is_empty() {
                    keys.push(<$section>::KEY);
                })*
                keys
            }
        }
    };
}

all_discovery_sections! { declare_discovery_configs {} }

/// Makes a struct a [`DiscoverySection`]: one that this program runs, one that it does not (`foreign`), or one that it
/// does not and that has no keys of `http_config` (`plain`).
macro_rules! section {
    ($section:ident, $key:literal, $(|$this:ident| $check:expr)?) => {
        $crate::config::sections::section!(@with_client true, $section, $key, $(|$this| $check)?);
    };
    (foreign $section:ident, $key:literal, $(|$this:ident| $check:expr)?) => {
        $crate::config::sections::section!(@with_client false, $section, $key, $(|$this| $check)?);
    };
    (plain $section:ident, $key:literal, |$this:ident| $check:expr) => {
        impl $crate::config::DiscoverySection for $section {
            const KEY: &'static str = $key;
            const IS_RUN: bool = false;

            fn validate(&self) -> Result<(), String> {
                let $this = self;
                $check
            }
        }
    };
    (@with_client $is_run:literal, $section:ident, $key:literal, $(|$this:ident| $check:expr)?) => {
        impl $crate::config::DiscoverySection for $section {
            const KEY: &'static str = $key;
            const IS_RUN: bool = $is_run;

            fn validate(&self) -> Result<(), String> {
                $(
                    let $this = self;
                    $check?;
                )?
                self.validate_http_client().map_err(|e| e.to_string())
            }

            fn resolve_paths(&mut self, directory: &std::path::Path) {
                self.resolve_http_paths(directory);
            }
        }
    };
}
pub(crate) use section;

/// Fails with `reason` unless `holds`.
pub(crate) fn require(holds: bool, reason: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason.into()) }
}

/// Checks an address of an HTTP server.
pub(crate) fn require_url(address: &str) -> Result<(), String> {
    require(!address.is_empty(), "URL is missing")?;
    let url = url::Url::parse(address).map_err(|e| format!("URL {address:?}: {e}"))?;
    require(matches!(url.scheme(), "http" | "https"), "URL scheme must be 'http' or 'https'")?;
    require(url.host_str().is_some(), "host is missing in URL")
}

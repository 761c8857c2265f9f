//! Docker discovery: the containers of one daemon (Docker Engine API).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use net::client::{ClientError, HttpClient};
use reqwest::Url;
use serde::Deserialize;

use super::refresh::{MetaLabels, Refresh, RefreshError, host_port, json, url};
use crate::config::{DockerSdConfig, sanitize_label_name};
use crate::target::TargetGroup;

const PREFIX: &str = "__meta_docker_";

pub(super) struct Docker {
    config: DockerSdConfig,
    client: HttpClient,
    server: Url,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    labels: Option<BTreeMap<String, String>>,
    ports: Option<Vec<Port>>,
    host_config: HostConfig,
    network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: u16,
    r#type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6_address: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

impl Docker {
    pub(super) async fn new(config: DockerSdConfig, user_agent: &str) -> Result<Self, ClientError> {
        let http = config.http_client();
        let (client, server) = match config.host.strip_prefix("unix://") {
            Some(path) => {
                let client = HttpClient::over_unix_socket(http, PathBuf::from(path), user_agent).await?;
                (client, "http://docker".to_owned())
            }
            None => (HttpClient::new(http, user_agent).await?, config.host.replacen("tcp://", "http://", 1)),
        };
        let invalid = |reason: String| ClientError::Url { url: config.host.clone(), reason };
        let server = Url::parse(&server).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { config, client, server })
    }

    async fn list<T: serde::de::DeserializeOwned>(&self, path: &str, filters: &str) -> Result<Vec<T>, RefreshError> {
        let mut address = url(&format!("{}{path}", self.server.as_str().trim_end_matches('/')))?;
        if !filters.is_empty() {
            address.query_pairs_mut().append_pair("filters", filters);
        }
        let timeout = self.config.refresh_interval.as_std().max(Duration::from_secs(1));
        Ok(json(&self.client, &address, &[], timeout).await?.0)
    }

    /// The networks a container is on; those of the container whose network it shares, if it has none of its own.
    fn networks<'a>(&self, container: &'a Container, all: &HashMap<&str, &'a Container>) -> Vec<&'a Endpoint> {
        let mut owner = container;
        // No chain is longer than there are containers, even if it ends where it began.
        for _ in 0..=all.len() {
            let own = owner.network_settings.networks.as_ref().filter(|networks| !networks.is_empty());
            if let Some(networks) = own {
                let mut endpoints: Vec<&Endpoint> = networks.values().flatten().collect();
                if self.config.match_first_network {
                    endpoints.truncate(1);
                }
                return endpoints;
            }
            let shared = owner.host_config.network_mode.strip_prefix("container:");
            match shared.and_then(|id| all.get(id)) {
                Some(next) => owner = next,
                None => break,
            }
        }
        Vec::new()
    }

    fn targets(
        &self,
        container: &Container,
        endpoint: &Endpoint,
        networks: &HashMap<&str, &Network>,
    ) -> Vec<model::labels::Labels> {
        let ip = match endpoint.ip_address.as_str() {
            "" => &endpoint.ipv6_address,
            ip => ip,
        };
        let common = || {
            let mut labels = MetaLabels::new(PREFIX);
            labels.set("container_id", &container.id).set("container_name", &container.names[0]);
            labels.set("container_network_mode", &container.host_config.network_mode);
            labels.set("container_image", &container.image).set("container_image_id", &container.image_id);
            for (name, value) in container.labels.iter().flatten() {
                labels.set(&format!("container_label_{}", sanitize_label_name(name)), value);
            }
            labels.set("network_ip", ip);
            if let Some(network) = networks.get(endpoint.network_id.as_str()) {
                labels.set("network_id", &network.id).set("network_name", &network.name);
                labels.set("network_scope", &network.scope);
                labels.set("network_internal", &network.internal.to_string());
                labels.set("network_ingress", &network.ingress.to_string());
                for (name, value) in network.labels.iter().flatten() {
                    labels.set(&format!("network_label_{}", sanitize_label_name(name)), value);
                }
            }
            labels
        };
        let tcp = container.ports.iter().flatten().filter(|port| port.r#type == "tcp");
        let mut targets: Vec<_> = tcp
            .map(|port| {
                let mut labels = common();
                labels.address(&host_port(ip, port.private_port));
                labels.set("port_private", &port.private_port.to_string());
                if port.public_port > 0 {
                    labels.set("port_public", &port.public_port.to_string()).set("port_public_ip", &port.ip);
                }
                labels.build()
            })
            .collect();
        if targets.is_empty() {
            let mut labels = common();
            match container.host_config.network_mode.as_str() {
                "host" => labels.address(&self.config.host_networking_host),
                _ => labels.address(&host_port(ip, self.config.port)),
            };
            targets.push(labels.build());
        }
        targets
    }
}

impl Refresh for Docker {
    const MECHANISM: &'static str = "docker";

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, RefreshError> {
        let filters: BTreeMap<&str, &[String]> =
            self.config.filters.iter().map(|filter| (filter.name.as_str(), filter.values.as_slice())).collect();
        let filters = match filters.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&filters).map_err(|e| RefreshError::Answer(e.to_string()))?,
        };
        let containers: Vec<Container> = self.list("/containers/json", &filters).await?;
        let networks: Vec<Network> = self.list("/networks", "").await?;
        let all: HashMap<&str, &Container> = containers.iter().map(|c| (c.id.as_str(), c)).collect();
        let by_id: HashMap<&str, &Network> = networks.iter().map(|n| (n.id.as_str(), n)).collect();
        let named = containers.iter().filter(|container| !container.names.is_empty());
        let targets = named.flat_map(|container| {
            let endpoints = self.networks(container, &all);
            endpoints.into_iter().flat_map(|endpoint| self.targets(container, endpoint, &by_id)).collect::<Vec<_>>()
        });
        Ok(vec![TargetGroup { source: "Docker".into(), targets: targets.collect(), ..TargetGroup::default() }])
    }
}

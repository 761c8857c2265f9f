//! Nomad discovery: services of one region (Nomad's HTTP API).

use std::time::Duration;

use net::client::{ClientError, HttpClient};
use reqwest::Url;
use serde::Deserialize;

use super::refresh::{MetaLabels, Refresh, RefreshError, host_port, json};
use crate::config::NomadSdConfig;
use crate::target::TargetGroup;

pub(super) struct Nomad {
    config: NomadSdConfig,
    client: HttpClient,
    server: Url,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    services: Vec<ListedService>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListedService {
    service_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    address: String,
    port: u32,
    tags: Option<Vec<String>>,
}

impl Nomad {
    pub(super) async fn new(config: NomadSdConfig, user_agent: &str) -> Result<Self, ClientError> {
        let client = HttpClient::new(config.http_client(), user_agent).await?;
        let invalid = |reason: String| ClientError::Url { url: config.server.clone(), reason };
        let server = Url::parse(&config.server).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { config, client, server })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, RefreshError> {
        let timeout = self.config.refresh_interval.as_std().max(Duration::from_secs(1));
        Ok(json(&self.client, &self.address(path), &[], timeout).await?.0)
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut address = self.server.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut query = address.query_pairs_mut();
        query.append_pair("namespace", &self.config.namespace).append_pair("region", &self.config.region);
        if self.config.allow_stale {
            query.append_pair("stale", "");
        }
        drop(query);
        address
    }

    fn target(&self, instance: &Instance) -> model::labels::Labels {
        let mut labels = MetaLabels::new("__meta_nomad_");
        labels.address(&host_port(&instance.address, instance.port));
        labels.set("address", &instance.address).set("dc", &instance.datacenter).set("node_id", &instance.node_id);
        labels.set("namespace", &instance.namespace).set("service", &instance.service_name);
        labels.set("service_address", &instance.address).set("service_id", &instance.id);
        labels.set("service_port", &instance.port.to_string());
        if let Some(tags) = instance.tags.as_ref().filter(|tags| !tags.is_empty()) {
            let separator = &self.config.tag_separator;
            labels.set("tags", &format!("{separator}{}{separator}", tags.join(separator)));
        }
        labels.build()
    }
}

impl Refresh for Nomad {
    const MECHANISM: &'static str = "nomad";

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, RefreshError> {
        let namespaces: Vec<Listed> = self.get(&["v1", "services"]).await?;
        let mut targets = Vec::new();
        for service in namespaces.iter().flat_map(|listed| &listed.services) {
            let instances: Vec<Instance> = self.get(&["v1", "service", &service.service_name]).await?;
            targets.extend(instances.iter().map(|instance| self.target(instance)));
        }
        Ok(vec![TargetGroup { source: "Nomad".into(), targets, ..TargetGroup::default() }])
    }
}

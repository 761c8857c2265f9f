//! Consul discovery: instances of services, followed with blocking queries (Consul's HTTP API).
//!
//! One task follows the catalog, where services are not all named, and one each service. A blocking query returns when
//! the index of what was asked for moves on; between two of them passes the refresh interval at least.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::labels::{Labels, LabelsBuilder};
use net::auth::Secret;
use net::client::{BasicAuth, ClientError, HttpClient};
use reqwest::Url;
use serde::Deserialize;
use tokio::task::{AbortHandle, JoinSet};

use super::Sink;
use super::refresh::{MetaLabels, RefreshError, host_port, json};
use crate::config::{ConsulSdConfig, sanitize_label_name};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

const PREFIX: &str = "__meta_consul_";
/// How long the server may hold a query.
const WAIT: Duration = Duration::from_secs(120);
/// How much longer we wait for its answer.
const WAIT_MORE: Duration = Duration::from_secs(15);
/// How long after a failure it is asked again.
const RETRY: Duration = Duration::from_secs(15);
/// The header with the index of an answer.
const INDEX_HEADER: &str = "x-consul-index";

/// A server and how it is asked.
pub(super) struct Consul {
    config: ConsulSdConfig,
    client: HttpClient,
    server: Url,
    metrics: Metrics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ServiceEntry {
    node: Node,
    service: Service,
    checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    node: String,
    address: String,
    meta: Option<BTreeMap<String, String>>,
    tagged_addresses: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: u32,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    namespace: String,
    partition: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    #[serde(rename = "Status")]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Agent {
    #[serde(rename = "Config")]
    config: AgentConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentConfig {
    #[serde(rename = "Datacenter")]
    datacenter: String,
}

impl Consul {
    pub(super) async fn new(config: ConsulSdConfig, metrics: Metrics, user_agent: &str) -> Result<Self, ClientError> {
        let mut http = config.http_client();
        if !config.username.is_empty() || !config.password.is_empty() {
            let (username, password) = (config.username.clone(), config.password.clone());
            http.basic_auth = Some(BasicAuth { username, password, ..BasicAuth::default() });
        }
        let address = match config.server.contains("://") {
            true => config.server.clone(),
            false => format!("{}://{}", config.scheme, config.server),
        };
        let invalid = |reason: String| ClientError::Url { url: address.clone(), reason };
        let mut server = Url::parse(&address).map_err(|e| invalid(e.to_string()))?;
        if let Ok(mut segments) = server.path_segments_mut() {
            let prefix = config.path_prefix.split('/').filter(|part| !part.is_empty());
            segments.pop_if_empty().extend(prefix);
        }
        Ok(Self { client: HttpClient::new(http, user_agent).await?, config, server, metrics })
    }

    /// Runs until the manager is gone.
    pub(super) async fn run(self, sink: Sink) {
        let datacenter = loop {
            match self.datacenter().await {
                Ok(datacenter) => break datacenter,
                Err(error) => self.failed("cannot learn the datacenter", &error).await,
            }
        };
        let consul = Arc::new(self);
        // Ends with this task.
        let mut tasks = JoinSet::new();
        let config = &consul.config;
        if !config.services.is_empty() && config.tags.is_empty() && config.filter.is_empty() {
            for service in config.services.clone() {
                tasks.spawn(Arc::clone(&consul).follow(service, datacenter.clone(), sink.clone()));
            }
            while tasks.join_next().await.is_some() {}
            return;
        }
        let mut followed: HashMap<String, AbortHandle> = HashMap::new();
        let mut index = 0;
        loop {
            match consul
                .ask::<BTreeMap<String, Vec<String>>>(&["catalog", "services"], index, &config.filter, &[])
                .await
            {
                Err(error) => consul.failed("cannot list services", &error).await,
                Ok((_, now)) if now == index => {}
                Ok((services, now)) => {
                    index = now;
                    let mut gone: Vec<String> = Vec::new();
                    followed.retain(|service, task| {
                        let stays = services.contains_key(service);
                        if !stays {
                            task.abort();
                            gone.push(service.clone());
                        }
                        stays
                    });
                    for service in services.iter().filter(|(name, tags)| consul.is_wanted(name, tags)).map(|s| s.0) {
                        followed.entry(service.clone()).or_insert_with(|| {
                            tasks.spawn(Arc::clone(&consul).follow(service.clone(), datacenter.clone(), sink.clone()))
                        });
                    }
                    let cleared = gone.into_iter().map(|source| TargetGroup { source, ..TargetGroup::default() });
                    if !sink.send(cleared.collect()).await {
                        return;
                    }
                }
            }
            tokio::time::sleep(config.refresh_interval.as_std()).await;
        }
    }

    fn is_wanted(&self, name: &str, tags: &[String]) -> bool {
        let config = &self.config;
        (config.services.is_empty() || config.services.iter().any(|wanted| wanted == name))
            && config.tags.iter().all(|wanted| tags.contains(wanted))
    }

    async fn failed(&self, what: &str, error: &RefreshError) {
        self.metrics.consul_failures.inc();
        tracing::error!(mechanism = "consul", %error, "{what}");
        tokio::time::sleep(RETRY).await;
    }

    async fn datacenter(&self) -> Result<String, RefreshError> {
        if !self.config.datacenter.is_empty() {
            return Ok(self.config.datacenter.clone());
        }
        let (agent, _) = self.ask::<Agent>(&["agent", "self"], 0, "", &[]).await?;
        Ok(agent.config.datacenter)
    }

    /// Asks, and gives the answer with its index. With an index above 0 the server holds the query until it moves on.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        index: u64,
        filter: &str,
        tags: &[String],
    ) -> Result<(T, u64), RefreshError> {
        let address = self.address(path, index, filter, tags);
        let token: &[(&str, &str)] = match &self.config.token {
            token if Secret::is_empty(token) => &[],
            token => &[("x-consul-token", token.reveal())],
        };
        let (value, headers) = json(&self.client, &address, token, WAIT + WAIT_MORE).await?;
        let index = headers.get(INDEX_HEADER).and_then(|index| index.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok((value, index))
    }

    fn address(&self, path: &[&str], index: u64, filter: &str, tags: &[String]) -> Url {
        let mut address = self.server.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.push("v1").extend(path);
        }
        let config = &self.config;
        let mut query = address.query_pairs_mut();
        for (name, value) in [
            ("dc", config.datacenter.as_str()),
            ("ns", &config.namespace),
            ("partition", &config.partition),
            ("filter", filter),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if config.allow_stale {
            query.append_pair("stale", "");
        }
        if index > 0 {
            query.append_pair("index", &index.to_string());
            query.append_pair("wait", &format!("{}ms", WAIT.as_millis()));
        }
        for (name, value) in &config.node_meta {
            query.append_pair("node-meta", &format!("{name}:{value}"));
        }
        for tag in tags {
            query.append_pair("tag", tag);
        }
        drop(query);
        address
    }

    /// Follows one service.
    async fn follow(self: Arc<Self>, service: String, datacenter: String, sink: Sink) {
        let mut index = 0;
        loop {
            let config = &self.config;
            let path = ["health", "service", &service];
            match self.ask::<Vec<ServiceEntry>>(&path, index, &config.health_filter, &config.tags).await {
                Err(error) => self.failed("cannot list the instances of a service", &error).await,
                Ok((_, now)) if now == index && now > 0 => {}
                Ok((entries, now)) => {
                    index = now;
                    let mut labels = LabelsBuilder::new();
                    labels.set(&format!("{PREFIX}service"), &service).set(&format!("{PREFIX}dc"), &datacenter);
                    let targets = entries.iter().map(|entry| target(entry, &config.tag_separator)).collect();
                    let group = TargetGroup { source: service.clone(), labels: labels.build(), targets };
                    if !sink.send(vec![group]).await {
                        return;
                    }
                }
            }
            tokio::time::sleep(config.refresh_interval.as_std()).await;
        }
    }
}

fn target(entry: &ServiceEntry, separator: &str) -> Labels {
    let ServiceEntry { node, service, checks } = entry;
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    // The separator stands at both ends too, so that expressions need not look at positions.
    let tags = service.tags.as_deref().unwrap_or_default().join(separator);
    let mut labels = MetaLabels::new(PREFIX);
    labels.address(&host_port(host, service.port)).set("address", &node.address).set("node", &node.node);
    labels.set("namespace", &service.namespace).set("partition", &service.partition);
    labels.set("tags", &format!("{separator}{tags}{separator}")).set("service_address", &service.address);
    labels.set("service_port", &service.port.to_string()).set("service_id", &service.id);
    labels.set("health", health(checks));
    for (prefix, entries) in
        [("metadata", &node.meta), ("service_metadata", &service.meta), ("tagged_address", &node.tagged_addresses)]
    {
        for (name, value) in entries.iter().flatten() {
            labels.set(&format!("{prefix}_{}", sanitize_label_name(name)), value);
        }
    }
    labels.build()
}

/// The worst of the checks; maintenance stands above all.
fn health(checks: &[Check]) -> &'static str {
    let is_maintenance =
        |check: &Check| check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:");
    if checks.iter().any(is_maintenance) {
        return "maintenance";
    }
    let worst = ["critical", "warning"].into_iter().find(|status| checks.iter().any(|check| check.status == *status));
    worst.unwrap_or("passing")
}

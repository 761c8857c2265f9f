//! Service discovery: what finds targets, and how they tell the manager.
//!
//! Each configured mechanism runs as one task that sends [`Update`]s through its [`Sink`]: groups that changed, whole;
//! a group without targets is gone.

mod consul;
mod dns;
mod docker;
pub mod file;
pub mod http;
pub mod kubernetes;
mod nomad;
mod refresh;

use std::pin::Pin;

use net::client::ClientError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{
    ConsulSdConfig, DiscoveryConfigs, DnsSdConfig, DockerSdConfig, FileSdConfig, HttpSdConfig, JobConfig,
    KubernetesSdConfig, NomadSdConfig, StaticConfig,
};
use crate::metrics::Metrics;
use crate::target::TargetGroup;
use model::labels::{Labels, LabelsBuilder};

/// Groups that one discovery of one job found changed.
#[derive(Debug)]
pub struct Update {
    /// The job.
    pub job: String,
    /// Which of its discoveries, counted from 0.
    pub discovery: usize,
    /// Whose they are; see [`Sink::of_generation`].
    pub generation: u64,
    /// The groups.
    pub groups: Vec<TargetGroup>,
}

/// Where a discovery sends what it found.
#[derive(Debug, Clone)]
pub struct Sink {
    job: String,
    discovery: usize,
    generation: u64,
    updates: mpsc::Sender<Update>,
}

impl Sink {
    /// For discovery number `discovery` of `job`.
    pub fn new(job: &str, discovery: usize, updates: mpsc::Sender<Update>) -> Self {
        Self { job: job.to_owned(), discovery, generation: 0, updates }
    }

    /// Its updates bear a number that tells them from those of discoveries before, which may still wait to be read.
    #[must_use]
    pub fn of_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Sends changed groups; waits while the manager is behind. `false` once the manager is gone.
    pub async fn send(&self, groups: Vec<TargetGroup>) -> bool {
        let update = Update { job: self.job.clone(), discovery: self.discovery, generation: self.generation, groups };
        self.updates.send(update).await.is_ok()
    }
}

/// What discoveries of one program have in common. Clones share their watches of cluster APIs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Instruments.
    pub metrics: Metrics,
    /// Sent with each request.
    pub user_agent: String,
    /// Watches of cluster APIs.
    pub watches: kubernetes::Watches,
}

impl Context {
    /// Without any watch yet.
    pub fn new(metrics: Metrics, user_agent: &str) -> Self {
        Self { metrics, user_agent: user_agent.to_owned(), watches: kubernetes::Watches::default() }
    }
}

/// A mechanism that is ready to run.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One configured mechanism.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// Listed in the configuration.
    Static(Vec<StaticConfig>),
    /// Listed in files.
    File(FileSdConfig),
    /// Listed by a web server.
    Http(Box<HttpSdConfig>),
    /// Objects of a cluster API.
    Kubernetes(Box<KubernetesSdConfig>),
    /// Records of names.
    Dns(DnsSdConfig),
    /// Services of a Consul server.
    Consul(Box<ConsulSdConfig>),
    /// Containers of a Docker daemon.
    Docker(Box<DockerSdConfig>),
    /// Services of a Nomad server.
    Nomad(Box<NomadSdConfig>),
}

impl Discovery {
    /// All mechanisms of a section.
    pub fn all_of(configs: &DiscoveryConfigs) -> Vec<Discovery> {
        let mut all = Vec::new();
        if !configs.static_configs.is_empty() {
            all.push(Discovery::Static(configs.static_configs.clone()));
        }
        all.extend(configs.file_sd_configs.iter().cloned().map(Discovery::File));
        all.extend(configs.http_sd_configs.iter().cloned().map(|c| Discovery::Http(Box::new(c))));
        all.extend(configs.kubernetes_sd_configs.iter().cloned().map(|c| Discovery::Kubernetes(Box::new(c))));
        all.extend(configs.dns_sd_configs.iter().cloned().map(Discovery::Dns));
        all.extend(configs.consul_sd_configs.iter().cloned().map(|c| Discovery::Consul(Box::new(c))));
        all.extend(configs.docker_sd_configs.iter().cloned().map(|c| Discovery::Docker(Box::new(c))));
        all.extend(configs.nomad_sd_configs.iter().cloned().map(|c| Discovery::Nomad(Box::new(c))));
        all
    }

    /// Starts it alone. The task ends when aborted or when the manager is gone.
    ///
    /// # Errors
    /// If its HTTP client cannot be built.
    pub async fn start(self, sink: Sink, metrics: Metrics, user_agent: &str) -> Result<JoinHandle<()>, ClientError> {
        Ok(tokio::spawn(self.prepare(sink, &Context::new(metrics, user_agent)).await?))
    }

    /// Builds it with all that may fail, sharing what can be shared with all others of `context`. It does nothing until it
    /// is polled; then it is as [`Discovery::start`] says.
    ///
    /// # Errors
    /// As [`Discovery::start`].
    pub async fn prepare(self, sink: Sink, context: &Context) -> Result<Running, ClientError> {
        let Context { metrics, user_agent, .. } = context.clone();
        let user_agent = user_agent.as_str();
        Ok(match self {
            Discovery::Static(configs) => Box::pin(async move {
                sink.send(static_groups(&configs)).await;
            }),
            Discovery::File(config) => Box::pin(file::run(config, sink, metrics)),
            Discovery::Http(config) => {
                let interval = config.refresh_interval.as_std();
                let source = http::Http::new(*config, metrics.clone(), user_agent).await?;
                Box::pin(refresh::run(source, interval, sink, metrics))
            }
            Discovery::Dns(config) => {
                let interval = config.refresh_interval.as_std();
                Box::pin(refresh::run(dns::Dns::new(config, metrics.clone()), interval, sink, metrics))
            }
            Discovery::Docker(config) => {
                let interval = config.refresh_interval.as_std();
                let source = docker::Docker::new(*config, user_agent).await?;
                Box::pin(refresh::run(source, interval, sink, metrics))
            }
            Discovery::Nomad(config) => {
                let interval = config.refresh_interval.as_std();
                let source = nomad::Nomad::new(*config, user_agent).await?;
                Box::pin(refresh::run(source, interval, sink, metrics))
            }
            Discovery::Consul(config) => Box::pin(consul::Consul::new(*config, metrics, user_agent).await?.run(sink)),
            Discovery::Kubernetes(config) => Box::pin(kubernetes::run(*config, sink, context.clone())),
        })
    }
}

/// Whether two configurations discover in the same way.
pub fn is_same(a: &JobConfig, b: &JobConfig) -> bool {
    a.discovery == b.discovery
}

/// Groups as listed: one for each entry, named by its position.
pub fn static_groups(configs: &[StaticConfig]) -> Vec<TargetGroup> {
    configs.iter().enumerate().map(|(i, config)| static_group(config, i.to_string())).collect()
}

/// A listed group under a name.
fn static_group(config: &StaticConfig, source: String) -> TargetGroup {
    let targets = config.targets.iter().map(|address| address_labels(address).build()).collect();
    TargetGroup { source, targets, labels: config.labels.clone() }
}

fn address_labels(address: &str) -> LabelsBuilder {
    let mut builder = Labels::empty().to_builder();
    builder.set("__address__", address);
    builder
}

#[cfg(test)]
mod tests;

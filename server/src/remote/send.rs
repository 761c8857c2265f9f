//! Remote write, sending: every sample that is committed goes to each destination of the configuration, in order, once it
//! is acknowledged there or until the destination's own queue is past its limits.
//!
//! ```text
//! the logs (tsdb::tail) -> feed: relabelled series -> queue: lanes, requests in memory, else on disk -> post -> answered
//! ```
//!
//! Unlike upstream's, the queue outlives the log: what a destination cannot take goes to disk, in the bytes it will be
//! sent as, and is there after a restart.

mod destination;
mod disk;
mod feed;
mod metrics;
mod post;
mod queue;
mod request;
mod state;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model::labels::{Labels, NameScheme};
use model::relabel::RelabelRule;
use net::auth::masked_url;
use net::client::{HttpClient, HttpClientConfig};
use net::clock::Clock;
use tokio::sync::Mutex;
use tsdb::Db;

pub use destination::MetadataSource;
pub use metrics::Metrics;
pub use post::headers;

use crate::cloud::Signer;
use crate::config::{RemoteWriteConfig, WriteMessage};
use destination::{Running, Settings};
use feed::Choice;
use post::Endpoint;
pub(crate) use post::chain;
use queue::QueueLimits;

/// What all destinations share.
pub struct Senders {
    db: Arc<Db>,
    clock: Clock,
    metrics: Metrics,
    metadata: MetadataSource,
    /// Holds a directory for each destination.
    directory: PathBuf,
    flush_deadline: Duration,
    user_agent: &'static str,
    running: Mutex<HashMap<String, (RemoteWriteConfig, Labels, Running)>>,
}

/// A configuration whose parts are known to work.
pub struct Prepared(Vec<(RemoteWriteConfig, Labels, Settings)>);

impl Senders {
    /// Nothing is sent yet.
    pub fn new(
        db: Arc<Db>,
        clock: Clock,
        metrics: Metrics,
        metadata: MetadataSource,
        flush_deadline: Duration,
        user_agent: &'static str,
    ) -> Self {
        let directory = db.directory().join("remote_write");
        Self { db, clock, metrics, metadata, directory, flush_deadline, user_agent, running: Mutex::default() }
    }

    /// Builds clients and rules, and tries the directories of queues; changes nothing yet.
    ///
    /// # Errors
    /// If a section is wrong or a directory cannot be written to.
    pub async fn prepare(&self, configs: &[RemoteWriteConfig], external: &Labels) -> Result<Prepared> {
        let mut prepared = Vec::new();
        for config in configs {
            let settings = self.settings(config, external).await;
            let settings = settings.with_context(|| format!("remote_write {}", shown_name(config)))?;
            disk::try_directory(&settings.directory)
                .with_context(|| format!("remote_write {}: {}", shown_name(config), settings.directory.display()))?;
            prepared.push((config.clone(), external.clone(), settings));
        }
        Ok(Prepared(prepared))
    }

    /// Puts a configuration into force. Destinations that stay as they are go on undisturbed.
    ///
    /// # Errors
    /// If the directory of a destination can no longer be used; all others run then.
    pub async fn apply(&self, prepared: Prepared) -> Result<()> {
        let mut running = self.running.lock().await;
        let mut before = std::mem::take(&mut *running);
        let mut to_start = Vec::new();
        for (config, external, settings) in prepared.0 {
            let key = key_of(&config);
            match before.remove(&key) {
                Some(known) if known.0 == config && known.1 == external => {
                    running.insert(key, known);
                }
                known => {
                    if let Some((_, _, known)) = known {
                        known.stop().await;
                    }
                    to_start.push((key, config, external, settings));
                }
            }
        }
        for (_, (_, _, gone)) in before {
            gone.stop().await;
        }
        let mut result = Ok(());
        for (key, config, external, settings) in to_start {
            let started = Running::start(settings, &self.db, self.clock, &self.metrics, &self.metadata);
            match started.with_context(|| format!("remote_write {}", shown_name(&config))) {
                Ok(started) => drop(running.insert(key, (config, external, started))),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Sends what can be sent and puts the rest on disk.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        let stopping = running.into_values().map(|(_, _, running)| tokio::spawn(running.stop()));
        for stopped in stopping.collect::<Vec<_>>() {
            // One that panicked has said so.
            let _ended = stopped.await;
        }
    }

    async fn settings(&self, config: &RemoteWriteConfig, external: &Labels) -> Result<Settings> {
        let queue = &config.queue_config;
        let rules = config.write_relabel_configs.iter();
        let relabel = rules.map(|rule| RelabelRule::new(rule.clone(), NameScheme::Utf8)).collect::<Result<_, _>>()?;
        let url = config.url.parse().context("url")?;
        let client = HttpClient::new(
            HttpClientConfig { spreads_addresses: config.round_robin_dns, ..config.http_client() },
            self.user_agent,
        )
        .await?;
        let is_v1 = config.protobuf_message == WriteMessage::V1;
        let metadata = &config.metadata_config;
        let count = |number: i64| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
        Ok(Settings {
            endpoint: Endpoint {
                client,
                signer: Signer::new(config).map_err(anyhow::Error::msg)?,
                url,
                headers: post::headers(&config.headers).map_err(anyhow::Error::msg)?,
                timeout: config.remote_timeout.as_std(),
                message: config.protobuf_message,
                retry_429: queue.retry_on_http_429,
                backoff: (queue.min_backoff.as_std(), queue.max_backoff.as_std()),
            },
            choice: Choice {
                external: external.clone(),
                relabel,
                exemplars: config.send_exemplars,
                histograms: config.send_native_histograms || !is_v1,
                age_max: queue.sample_age_limit.as_millis(),
            },
            limits: QueueLimits {
                message: config.protobuf_message,
                batch_max: count(queue.max_samples_per_send),
                capacity: count(queue.capacity),
                deadline: queue.batch_send_deadline.as_millis(),
                disk_bytes_max: queue.disk_max_size.0,
                disk_age_max: queue.disk_max_age.as_millis(),
            },
            lanes: (count(queue.min_shards), count(queue.max_shards)),
            instance: vec![("remote_name", shown_name(config)), ("url", masked_url(&config.url))],
            metadata: (is_v1 && metadata.send)
                .then(|| (metadata.send_interval.as_std(), count(metadata.max_samples_per_send) as usize)),
            directory: self.directory.join(key_of(config)),
            flush_deadline: self.flush_deadline,
        })
    }
}

/// A destination by its name and URL: what it is about may change, where it goes may not.
fn key_of(config: &RemoteWriteConfig) -> String {
    let mut text = config.name.clone().into_bytes();
    text.push(0xff);
    text.extend_from_slice(config.url.as_bytes());
    format!("{:016x}", model::labels::hash_packed(&text))
}

/// The name, or what stands for it, as upstream does, six digits of a hash.
fn shown_name(config: &RemoteWriteConfig) -> String {
    if config.name.is_empty() { key_of(config).chars().take(6).collect() } else { config.name.clone() }
}

//! The manager: one actor that owns all pools and their discoveries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use net::client::ClientError;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::JobConfig;
use crate::discovery::{self, Discovery, Update};
use crate::metrics::Metrics;
use crate::pool::{Pool, PoolView, Shared};
use crate::target::TargetGroup;

/// How many events may wait for the manager.
const EVENTS_MAX: usize = 256;
/// How long updates of discovery are gathered before pools are synced: a new pod is scraped within a second, and a
/// thousand pods changing at once are one sync.
const SYNC_DELAY: Duration = Duration::from_millis(250);
const _: () = assert!(SYNC_DELAY.as_millis() + discovery::kubernetes::GATHER.as_millis() < 1000, "a second");

enum Event {
    Apply(Vec<JobConfig>, oneshot::Sender<Result<(), ApplyError>>),
    Close(oneshot::Sender<()>),
}

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A job's HTTP client cannot be built.
    #[error("scrape config {job:?}: {source}")]
    Client {
        /// The job.
        job: String,
        /// Why.
        source: ClientError,
    },
    /// The manager has ended.
    #[error("the scrape manager has stopped")]
    Stopped,
}

/// Talks to the manager; cheap to clone.
#[derive(Clone)]
pub struct Manager {
    events: mpsc::Sender<Event>,
    views: Arc<RwLock<BTreeMap<String, PoolView>>>,
}

struct Job {
    config: JobConfig,
    pool: Pool,
    /// What each of the job's discoveries last said, by its number and the group's source.
    groups: HashMap<(usize, String), TargetGroup>,
    discoveries: Vec<JoinHandle<()>>,
    /// Whether something changed since the last sync.
    dirty: bool,
}

struct Actor {
    shared: Shared,
    /// Of all discoveries, whatever is reloaded.
    context: discovery::Context,
    jobs: BTreeMap<String, Job>,
    updates: mpsc::Sender<Update>,
    views: Arc<RwLock<BTreeMap<String, PoolView>>>,
}

impl Manager {
    /// Starts the manager without any job.
    pub fn start(shared: Shared) -> Self {
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (updates, updated) = mpsc::channel(EVENTS_MAX);
        let views = Arc::new(RwLock::new(BTreeMap::new()));
        let context = discovery::Context::new(shared.metrics.clone(), &shared.user_agent);
        let actor = Actor { shared, context, jobs: BTreeMap::new(), updates, views: Arc::clone(&views) };
        tokio::spawn(actor.run(received, updated));
        Self { events, views }
    }

    /// Runs these jobs from now on: what did not change goes on undisturbed.
    ///
    /// # Errors
    /// If a job cannot be run; jobs before it may have changed already, so check configurations first.
    pub async fn apply(&self, jobs: Vec<JobConfig>) -> Result<(), ApplyError> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Apply(jobs, reply)).await.map_err(|_| ApplyError::Stopped)?;
        answer.await.map_err(|_| ApplyError::Stopped)?
    }

    /// All pools as they stand, by job.
    pub fn pools(&self) -> Vec<PoolView> {
        self.views.read().values().cloned().collect()
    }

    /// Stops all loops; all series go stale.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.events.send(Event::Close(reply)).await.is_ok() {
            let _closed = answer.await;
        }
    }
}

impl Actor {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, mut updates: mpsc::Receiver<Update>) {
        let mut sync_at: Option<Instant> = None;
        loop {
            let sync = async {
                match sync_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Apply(jobs, reply)) => {
                        // Whoever asked may have gone.
                        let _sent = reply.send(self.apply(jobs).await);
                        sync_at.get_or_insert_with(|| Instant::now() + SYNC_DELAY);
                    }
                    Some(Event::Close(reply)) => {
                        self.close().await;
                        let _sent = reply.send(());
                        return;
                    }
                    None => return self.close().await,
                },
                Some(update) = updates.recv() => {
                    self.update(update);
                    sync_at.get_or_insert_with(|| Instant::now() + SYNC_DELAY);
                }
                () = sync => {
                    sync_at = None;
                    self.sync().await;
                }
            }
        }
    }

    async fn apply(&mut self, jobs: Vec<JobConfig>) -> Result<(), ApplyError> {
        let removed: Vec<String> =
            self.jobs.keys().filter(|name| !jobs.iter().any(|job| job.name == **name)).cloned().collect();
        for name in removed {
            if let Some(mut job) = self.jobs.remove(&name) {
                job.discoveries.iter().for_each(JoinHandle::abort);
                job.pool.close().await;
                self.views.write().remove(&name);
            }
        }
        for config in jobs {
            let name = config.name.clone();
            self.apply_job(config).await.map_err(|source| ApplyError::Client { job: name, source })?;
        }
        Ok(())
    }

    async fn apply_job(&mut self, config: JobConfig) -> Result<(), ClientError> {
        if let Some(job) = self.jobs.get_mut(&config.name) {
            if job.config == config {
                return Ok(());
            }
            if discovery::is_same(&job.config, &config) {
                job.pool.reload(config.clone(), self.shared.clone(), job.groups.values()).await?;
                job.config = config;
                self.views.write().insert(job.config.name.clone(), job.pool.view());
                return Ok(());
            }
            // Groups are kept until the new discoveries speak, so that targets they find again are not interrupted.
            job.pool.reload(config.clone(), self.shared.clone(), job.groups.values()).await?;
            // New ones first: a watch that they share with the old ones goes on.
            let discoveries = start_discoveries(&config, &self.context, &self.updates).await?;
            job.discoveries.iter().for_each(JoinHandle::abort);
            job.groups.clear();
            job.discoveries = discoveries;
            job.config = config;
            return Ok(());
        }
        let pool = Pool::new(config.clone(), self.shared.clone()).await?;
        let discoveries = start_discoveries(&config, &self.context, &self.updates).await?;
        self.views.write().insert(config.name.clone(), pool.view());
        let name = config.name.clone();
        self.jobs.insert(name, Job { config, pool, groups: HashMap::new(), discoveries, dirty: true });
        Ok(())
    }

    fn update(&mut self, update: Update) {
        let Some(job) = self.jobs.get_mut(&update.job) else { return };
        for group in update.groups {
            let key = (update.discovery, group.source.clone());
            match group.targets.is_empty() {
                true => job.groups.remove(&key),
                false => job.groups.insert(key, group),
            };
        }
        job.dirty = true;
        let count: usize = job.groups.values().map(|group| group.targets.len()).sum();
        let labels = vec![("name", "scrape".to_owned()), ("config", job.config.name.clone())];
        self.shared.metrics.discovered.get_or_create(&labels).set(count as i64);
    }

    async fn sync(&mut self) {
        for job in self.jobs.values_mut().filter(|job| job.dirty) {
            job.dirty = false;
            job.pool.sync(job.groups.values()).await;
            self.views.write().insert(job.config.name.clone(), job.pool.view());
        }
    }

    async fn close(&mut self) {
        for job in self.jobs.values_mut() {
            job.discoveries.iter().for_each(JoinHandle::abort);
            job.pool.close().await;
        }
        self.jobs.clear();
        self.views.write().clear();
    }
}

async fn start_discoveries(
    config: &JobConfig,
    context: &discovery::Context,
    updates: &mpsc::Sender<Update>,
) -> Result<Vec<JoinHandle<()>>, ClientError> {
    let mut tasks = Vec::new();
    for (number, discovery) in Discovery::all_of(&config.discovery).into_iter().enumerate() {
        let sink = discovery::Sink::new(&config.name, number, updates.clone());
        tasks.push(discovery.start_in(sink, context).await?);
    }
    Ok(tasks)
}

impl Metrics {
    /// Removes what is shown of a pool that is gone.
    pub fn forget_pool(&self, job: &str) {
        let labels = Metrics::pool_labels(job);
        self.pool_targets.remove(&labels);
        self.pool_syncs.remove(&labels);
        self.sync_failures.remove(&labels);
        self.excess_samples.remove(&labels);
        self.active_series.remove(&labels);
    }
}

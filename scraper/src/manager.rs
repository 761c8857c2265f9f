//! The manager: one actor that owns all pools and their discoveries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use net::client::{ClientError, HttpClient};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::JobConfig;
use crate::discovery::{self, Discovery, Sink, Update};
use crate::metrics::Metrics;
use crate::pool::{self, Pool, PoolView, Shared};
use crate::target::TargetGroup;

/// How many events may wait for the manager.
const EVENTS_MAX: usize = 256;
/// How long updates of discovery are gathered before pools are synced: a new pod is scraped within a second, and a
/// thousand pods changing at once are one sync.
const SYNC_DELAY: Duration = Duration::from_millis(250);
const _: () = assert!(SYNC_DELAY.as_millis() + discovery::kubernetes::GATHER.as_millis() < 1000, "a second");

/// How long the targets of discoveries that a reload replaced are kept for want of word from the new ones.
const SUCCESSION_PATIENCE: Duration = Duration::from_secs(5);

enum Event {
    Prepare(Vec<JobConfig>, oneshot::Sender<Result<Prepared, ApplyError>>),
    Apply(Prepared, oneshot::Sender<Result<(), ApplyError>>),
    Close(oneshot::Sender<()>),
}

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// An HTTP client of a job or its discoveries cannot be built.
    #[error("scrape config {job:?}: {source}")]
    Client {
        /// The job.
        job: String,
        /// Why.
        source: ClientError,
    },
    /// Another configuration came into force since this one was prepared.
    #[error("another configuration was applied in the meantime")]
    Outdated,
    /// The manager has ended.
    #[error("the scrape manager has stopped")]
    Stopped,
}

/// Jobs of which everything that can fail is done, and nothing is in force. Dropping it changes nothing.
pub struct Prepared {
    /// That of the manager when it was prepared.
    generation: u64,
    jobs: Vec<Change>,
}

/// What becomes of one job.
enum Change {
    /// Nothing.
    None(String),
    /// Another pool, the same discoveries.
    Pool(JobConfig, HttpClient),
    /// Both, or a new job.
    All(JobConfig, HttpClient, Vec<discovery::Running>),
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
    /// That of its discoveries: updates of others were sent by those before.
    generation: u64,
    /// Whether something changed since the last sync.
    dirty: bool,
}

struct Actor {
    shared: Shared,
    /// Of all discoveries, whatever is reloaded.
    context: discovery::Context,
    jobs: BTreeMap<String, Job>,
    /// How many configurations were put into force.
    generation: u64,
    updates: mpsc::Sender<Update>,
    views: Arc<RwLock<BTreeMap<String, PoolView>>>,
}

impl Manager {
    /// Starts the manager without any job. Its discoveries share what can be shared with all others of `context`.
    pub fn start(shared: Shared, context: discovery::Context) -> Self {
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (updates, updated) = mpsc::channel(EVENTS_MAX);
        let views = Arc::new(RwLock::new(BTreeMap::new()));
        let actor = Actor { shared, context, jobs: BTreeMap::new(), generation: 0, updates, views: Arc::clone(&views) };
        tokio::spawn(actor.run(received, updated));
        Self { events, views }
    }

    /// Does everything that can fail of running these jobs, and changes nothing yet.
    ///
    /// # Errors
    /// If a job cannot be run.
    pub async fn prepare(&self, jobs: Vec<JobConfig>) -> Result<Prepared, ApplyError> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Prepare(jobs, reply)).await.map_err(|_| ApplyError::Stopped)?;
        answer.await.map_err(|_| ApplyError::Stopped)?
    }

    /// Runs these jobs from now on: what did not change goes on undisturbed.
    ///
    /// # Errors
    /// If something else was applied since they were prepared. Nothing has changed then.
    pub async fn apply(&self, prepared: Prepared) -> Result<(), ApplyError> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Apply(prepared, reply)).await.map_err(|_| ApplyError::Stopped)?;
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
                    // Whoever asked may have gone.
                    Some(Event::Prepare(jobs, reply)) => drop(reply.send(self.prepare(jobs).await)),
                    Some(Event::Apply(prepared, reply)) => {
                        let _sent = reply.send(self.apply(prepared).await);
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

    async fn prepare(&self, configs: Vec<JobConfig>) -> Result<Prepared, ApplyError> {
        let mut jobs = Vec::with_capacity(configs.len());
        for config in configs {
            let name = config.name.clone();
            jobs.push(self.prepare_job(config).await.map_err(|source| ApplyError::Client { job: name, source })?);
        }
        Ok(Prepared { generation: self.generation, jobs })
    }

    async fn prepare_job(&self, config: JobConfig) -> Result<Change, ClientError> {
        let known = self.jobs.get(&config.name).map(|job| &job.config);
        if known == Some(&config) {
            return Ok(Change::None(config.name));
        }
        let client = pool::client(&config, &self.shared).await?;
        if known.is_some_and(|known| discovery::is_same(known, &config)) {
            return Ok(Change::Pool(config, client));
        }
        let mut discoveries = Vec::new();
        for (number, discovery) in Discovery::all_of(&config.discovery).into_iter().enumerate() {
            let sink = Sink::new(&config.name, number, self.updates.clone()).of_generation(self.generation + 1);
            discoveries.push(discovery.prepare(sink, &self.context).await?);
        }
        Ok(Change::All(config, client, discoveries))
    }

    async fn apply(&mut self, prepared: Prepared) -> Result<(), ApplyError> {
        if prepared.generation != self.generation {
            return Err(ApplyError::Outdated);
        }
        self.generation += 1;
        let names: BTreeSet<&str> = prepared.jobs.iter().map(Change::name).collect();
        let removed: Vec<String> = self.jobs.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in removed {
            if let Some(mut job) = self.jobs.remove(&name) {
                job.discoveries.iter().for_each(JoinHandle::abort);
                job.pool.close().await;
                self.views.write().remove(&name);
            }
        }
        for change in prepared.jobs {
            match change {
                Change::None(_) => {}
                Change::Pool(config, client) => self.apply_pool(config, client).await,
                Change::All(config, client, discoveries) => self.apply_all(config, client, discoveries).await,
            }
        }
        Ok(())
    }

    /// Runs a known job's pool under another configuration, or starts the pool of a new one.
    async fn apply_pool(&mut self, config: JobConfig, client: HttpClient) {
        let name = config.name.clone();
        let shared = self.shared.clone();
        let view = match self.jobs.get_mut(&name) {
            Some(job) => {
                job.pool.reload(config.clone(), client, shared, job.groups.values()).await;
                job.config = config;
                job.pool.view()
            }
            None => {
                let pool = Pool::new(config.clone(), client, shared);
                let view = pool.view();
                let (groups, discoveries) = (HashMap::new(), Vec::new());
                let job = Job { config, pool, groups, discoveries, generation: self.generation, dirty: true };
                self.jobs.insert(name.clone(), job);
                view
            }
        };
        self.views.write().insert(name, view);
    }

    async fn apply_all(&mut self, config: JobConfig, client: HttpClient, discoveries: Vec<discovery::Running>) {
        let name = config.name.clone();
        self.apply_pool(config, client).await;
        let Some(job) = self.jobs.get_mut(&name) else { return };
        // New ones first: a watch that they share with the old ones goes on.
        let mut started: Vec<_> = discoveries.into_iter().map(tokio::spawn).collect();
        job.discoveries.iter().for_each(JoinHandle::abort);
        job.generation = self.generation;
        // Targets stay until the new discoveries speak, so that those they find again are not interrupted; but not for
        // ever, should they have nothing to say.
        job.groups.clear();
        match started.is_empty() {
            true => job.dirty = true,
            false => {
                let silence = Sink::new(&name, 0, self.updates.clone()).of_generation(self.generation);
                started.push(tokio::spawn(async move {
                    tokio::time::sleep(SUCCESSION_PATIENCE).await;
                    silence.send(Vec::new()).await;
                }));
            }
        }
        job.discoveries = started;
    }

    fn update(&mut self, update: Update) {
        let Some(job) = self.jobs.get_mut(&update.job) else { return };
        if update.generation != job.generation {
            return;
        }
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

impl Change {
    fn name(&self) -> &str {
        match self {
            Change::None(name) => name,
            Change::Pool(config, _) | Change::All(config, ..) => &config.name,
        }
    }
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

#[cfg(test)]
mod tests;

//! Scrape pools: all targets of one job, kept in step with what discovery finds.

use std::collections::HashMap;
use std::sync::Arc;

use model::duration::Duration;
use model::labels::Labels;
use model::storage::Appendable;
use net::client::{ClientError, HttpClient};
use net::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::{JobConfig, Limits};
use crate::failure_log::FailureLog;
use crate::features::Features;
use crate::fetch::Fetcher;
use crate::metadata_cache::MetadataCache;
use crate::metrics::Metrics;
use crate::scrape_loop::{Memory, PoolContext, ScrapeLoop, Stop};
use crate::series_budget::SeriesBudget;
use crate::target::{Outcome, Target, TargetGroup, discovered_labels, from_discovered};

/// What every pool of a server gets.
#[derive(Clone)]
pub struct Shared {
    /// Where samples go.
    pub storage: Arc<dyn Appendable>,
    /// Instruments.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Differs between servers.
    pub offset_seed: u64,
    /// Sent with each request.
    pub user_agent: String,
    /// Experimental parts that are switched on.
    pub features: Features,
    /// How far a scrape may be from its time and still bear it; at most a hundredth of the interval counts.
    pub timestamp_tolerance: Duration,
}

struct Active {
    target: Arc<Target>,
    metadata: Arc<Mutex<MetadataCache>>,
    stop: oneshot::Sender<Stop>,
    task: JoinHandle<Memory>,
}

/// The targets of one job.
pub struct Pool {
    context: Arc<PoolContext>,
    active: HashMap<u64, Active>,
    dropped: Vec<Labels>,
    dropped_count: usize,
}

/// A target as the API shows it.
#[derive(Debug, Clone)]
pub struct ActiveView {
    /// The target and its status.
    pub target: Arc<Target>,
    /// What its page says of its families.
    pub metadata: Arc<Mutex<MetadataCache>>,
}

/// A pool as the API shows it.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// The job's name.
    pub job: String,
    /// Targets being scraped, ordered by labels.
    pub active: Vec<ActiveView>,
    /// Discovered labels of targets that relabelling dropped; at most `keep_dropped_targets` if that is set.
    pub dropped: Vec<Labels>,
    /// How many were dropped.
    pub dropped_count: usize,
    /// Its active series, and what its limits of them dropped.
    pub series: Arc<SeriesBudget>,
    /// Those limits, and the others.
    pub limits: Limits,
}

/// What a sync has to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Targets there should be, by hash.
    pub wanted: HashMap<u64, Arc<Target>>,
    /// Discovered labels of dropped ones.
    pub dropped: Vec<Labels>,
    /// Discovered labels that make no target, and why.
    pub failed: Vec<(Labels, String)>,
}

/// Relabels everything discovered. Pure: starts and stops nothing. Equal targets become one.
pub fn plan<'a>(job: &JobConfig, groups: impl IntoIterator<Item = &'a TargetGroup>) -> Plan {
    let mut plan = Plan::default();
    for group in groups {
        for labels in &group.targets {
            let discovered = discovered_labels(job, group, labels);
            match from_discovered(job, discovered.clone()) {
                Ok(Outcome::Target(target)) => {
                    plan.wanted.entry(target.hash()).or_insert(target);
                }
                Ok(Outcome::Dropped(labels)) => plan.dropped.push(labels),
                Err(error) => plan.failed.push((discovered, error.to_string())),
            }
        }
    }
    plan
}

/// What makes the requests of a job.
///
/// # Errors
/// If the job's settings cannot be used.
pub async fn client(job: &JobConfig, shared: &Shared) -> Result<HttpClient, ClientError> {
    HttpClient::new(job.written.http_client(), &shared.user_agent).await
}

impl Pool {
    /// A pool without targets yet, whose requests `client` makes; see [`client`].
    pub fn new(job: JobConfig, client: HttpClient, shared: Shared) -> Self {
        Self::with_budget(job, client, shared, Arc::default())
    }

    fn with_budget(job: JobConfig, client: HttpClient, shared: Shared, budget: Arc<SeriesBudget>) -> Self {
        let fetcher = Fetcher::new(&job);
        let failures = FailureLog::at(&job.written.scrape_failure_log_file);
        shared.metrics.pools.inc();
        let context = PoolContext {
            job,
            client,
            fetcher,
            failures,
            storage: shared.storage,
            metrics: shared.metrics,
            clock: shared.clock,
            offset_seed: shared.offset_seed,
            features: shared.features,
            timestamp_tolerance: shared.timestamp_tolerance,
            user_agent: shared.user_agent,
            budget,
            forced_error: Mutex::new(None),
        };
        Self { context: Arc::new(context), active: HashMap::new(), dropped: Vec::new(), dropped_count: 0 }
    }

    /// The job it runs.
    pub fn job(&self) -> &JobConfig {
        &self.context.job
    }

    /// Starts and stops loops until they are those of `groups`.
    pub async fn sync<'a>(&mut self, groups: impl IntoIterator<Item = &'a TargetGroup>) {
        let plan = plan(&self.context.job, groups);
        self.apply(plan, HashMap::new()).await;
    }

    async fn apply(&mut self, plan: Plan, mut memories: HashMap<u64, Memory>) {
        let Plan { wanted, dropped, failed } = plan;
        let labels = Metrics::pool_labels(&self.context.job.name);
        for (discovered, error) in &failed {
            tracing::error!(scrape_pool = %self.context.job.name, labels = %discovered, %error, "target refused");
        }
        let metrics = &self.context.metrics;
        metrics.pool_syncs.get_or_create(&labels).inc();
        metrics.sync_failures.get_or_create(&labels).inc_by(failed.len() as u64);
        self.check_target_limit(wanted.len());
        let gone: Vec<u64> = self
            .active
            .iter()
            .filter(|(hash, active)| !wanted.get(hash).is_some_and(|t| t.is_same(&active.target)))
            .map(|(hash, _)| *hash)
            .collect();
        for (hash, memory) in self
            .stop(gone, |hash| match wanted.contains_key(&hash) {
                // Same labels and place, other interval: the series go on.
                true => Stop::HandOver,
                false => Stop::MarkStale,
            })
            .await
        {
            memories.insert(hash, memory);
        }
        for (hash, target) in wanted {
            if !self.active.contains_key(&hash) {
                let memory = memories.remove(&hash).unwrap_or_default();
                self.start(hash, target, memory);
            }
        }
        self.dropped_count = dropped.len();
        let kept = self.context.job.limits.keep_dropped_targets;
        self.dropped = dropped;
        if kept > 0 {
            self.dropped.truncate(kept as usize);
        }
        self.context.metrics.pool_targets.get_or_create(&labels).set(self.active.len() as i64);
        let active = self.context.budget.counts().active;
        self.context.metrics.active_series.get_or_create(&labels).set(i64::try_from(active).unwrap_or(i64::MAX));
    }

    /// Beyond the limit every target of the job is marked down, so that the excess is noticed.
    fn check_target_limit(&self, count: usize) {
        let limit = self.context.job.limits.targets;
        let exceeded = limit > 0 && count as u64 > limit;
        if exceeded {
            self.context.metrics.exceeded_target_limit.inc();
        }
        *self.context.forced_error.lock() =
            exceeded.then(|| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
    }

    fn start(&mut self, hash: u64, target: Arc<Target>, memory: Memory) {
        let metadata = Arc::new(Mutex::new(MetadataCache::default()));
        let scrape_loop =
            ScrapeLoop::new(Arc::clone(&self.context), Arc::clone(&target), Arc::clone(&metadata), memory);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(scrape_loop.run(stopped));
        self.active.insert(hash, Active { target, metadata, stop, task });
    }

    /// Stops loops and waits for them; gives what they remember.
    async fn stop(&mut self, hashes: Vec<u64>, how: impl Fn(u64) -> Stop) -> Vec<(u64, Memory)> {
        let mut stopping = Vec::with_capacity(hashes.len());
        for hash in hashes {
            if let Some(active) = self.active.remove(&hash) {
                // A loop that ended by itself cannot be told anything.
                let _told = active.stop.send(how(hash));
                stopping.push((hash, active.task));
            }
        }
        let mut memories = Vec::with_capacity(stopping.len());
        for (hash, task) in stopping {
            match task.await {
                Ok(memory) => memories.push((hash, memory)),
                Err(error) => tracing::error!(scrape_pool = %self.context.job.name, %error, "scrape loop failed"),
            }
        }
        memories
    }

    /// Goes on under another configuration; targets that stay keep their series.
    pub async fn reload<'a>(
        &mut self,
        job: JobConfig,
        client: HttpClient,
        shared: Shared,
        groups: impl IntoIterator<Item = &'a TargetGroup>,
    ) {
        let plan = plan(&job, groups);
        // Series that are handed over keep their places.
        let mut fresh = Pool::with_budget(job, client, shared, Arc::clone(&self.context.budget));
        let all = self.active.keys().copied().collect();
        let memories =
            self.stop(all, |hash| if plan.wanted.contains_key(&hash) { Stop::HandOver } else { Stop::MarkStale }).await;
        fresh.apply(plan, memories.into_iter().collect()).await;
        *self = fresh;
    }

    /// Stops all loops; all series go stale.
    pub async fn close(&mut self) {
        let all = self.active.keys().copied().collect();
        self.stop(all, |_| Stop::MarkStale).await;
    }

    /// The pool as it stands.
    pub fn view(&self) -> PoolView {
        let mut active: Vec<ActiveView> = self
            .active
            .values()
            .map(|a| ActiveView { target: Arc::clone(&a.target), metadata: Arc::clone(&a.metadata) })
            .collect();
        active.sort_by(|a, b| a.target.labels.cmp(&b.target.labels));
        PoolView {
            job: self.context.job.name.clone(),
            active,
            dropped: self.dropped.clone(),
            dropped_count: self.dropped_count,
            series: Arc::clone(&self.context.budget),
            limits: self.context.job.limits,
        }
    }
}

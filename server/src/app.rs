//! The server: storage, engine, scraper, rules and API wired together, and its life from start to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as StdDuration;

use anyhow::{Context, Result};
use exposition::registry::Registry;
use model::duration::Duration;
use model::labels::Labels;
use model::pattern::Pattern;
use model::sample::Timestamp;
use model::storage::{Appendable, Queryable};
use net::clock::Clock;
use net::server::{Config as ListenConfig, Server};
use net::shutdown::Shutdown;
use parking_lot::{Mutex, RwLock};
use promql::Engine;
use promql::active::ActiveQueries;
use rules::group::GroupContext;
use rules::manager::{Defaults, Manager as RuleManager};
use rules::notifier::Notifier;
use rules::restore::RestoreConfig;
use scraper::discovery::Context as DiscoveryContext;
use scraper::manager::Manager as ScrapeManager;
use scraper::pool::Shared;
use tokio::sync::{Notify, Semaphore, mpsc};
use tsdb::Db;

use crate::address::{own_url, path_of};
use crate::alerting::{Fanout, configured};
use crate::config::{self, Config, Reading, StorageConfig, Variables};
use crate::evaluator::{EngineEvaluator, memory_share};
use crate::features::Features;
use crate::flags::{Mode, NotificationFlags, QueryFlags, RemoteFlags, RuleFlags, TsdbFlags, WebFlags};
use crate::http::{
    Api, ConfigStatus, EXPORTS_MAX, HttpMetrics, IMPORTS_MAX, ReadLimits, ReloadRequest, RemoteWriteMetrics, routes,
};
use crate::notifications::{self, Notifications};
use crate::query_log::QueryLog;
use crate::remote::messages::MetricMetadata;
use crate::remote::read::Readable;
use crate::remote::send::{MetadataSource, Senders};
use crate::storage_metrics::StorageMetrics;
use crate::web_config;
use crate::{remote, storage};

/// How long a stop may take before what is left is left.
const STOP_PATIENCE: StdDuration = StdDuration::from_secs(10);
/// How long unsent alerts may hold up a stop.
const DRAIN_PATIENCE: StdDuration = StdDuration::from_secs(3);
/// Reload requests that may wait.
const RELOADS_MAX: usize = 8;

/// Sent with each request this server makes.
pub const USER_AGENT: &str = concat!("Prometheus/3.14.0 (Cresset/", env!("CARGO_PKG_VERSION"), ")");

/// How the server is set up; the flags of either way to start it lead here.
pub struct Options {
    /// Configuration file.
    pub config_file: PathBuf,
    /// Whether the configuration refers to the environment.
    pub variables: Variables,
    /// How often the configuration's files are looked at for changes, if at all.
    pub auto_reload: Option<Duration>,
    /// What the server is for.
    pub mode: Mode,
    /// Data directory of the storage.
    pub storage: PathBuf,
    /// Storage by flag.
    pub tsdb: TsdbFlags,
    /// Whether the data directory is locked.
    pub lock: tsdb::LockFile,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Web.
    pub web: WebFlags,
    /// Remote storage.
    pub remote: RemoteFlags,
    /// Notifications.
    pub notifications: NotificationFlags,
    /// Experimental parts.
    pub features: Features,
    /// Engine.
    pub query: QueryFlags,
    /// Rule engine.
    pub rules: RuleFlags,
    /// How far a scrape may be from its time and still bear it.
    pub timestamp_tolerance: Duration,
    /// As shown by `status/flags`.
    pub flags: BTreeMap<String, String>,
    /// A router in the same process, told of alerts beside those configured.
    pub local_router: Option<Arc<dyn Notifier>>,
}

impl Options {
    /// How the configuration is read.
    fn reading(&self) -> Reading {
        Reading {
            variables: self.variables,
            scraping: self.features.scraping(),
            extra_scrape_metrics: self.features.extra_scrape_metrics,
            mode: self.mode,
            rules: rules::config::Reading { language: self.features.language, ..Default::default() },
        }
    }
}

/// The running server.
pub struct App {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Told when `/-/quit` is called.
    pub quit: Arc<Notify>,
    db: Arc<Db>,
    scraper: ScrapeManager,
    rules: Arc<RuleManager>,
    notifier: Arc<Fanout>,
    notifications: Arc<Notifications>,
    senders: Arc<Senders>,
    /// Whether a stop waits for alerts that are not sent yet.
    drains: bool,
    reloads: mpsc::Sender<ReloadRequest>,
}

/// What a reload changes.
struct Reloader {
    options: Options,
    api: Arc<Api>,
    storage: Arc<Db>,
    evaluator: Arc<EngineEvaluator>,
    notifier: Arc<Fanout>,
    senders: Arc<Senders>,
    rule_metrics: rules::metrics::Metrics,
    /// Shared by discoveries of targets and of Alertmanagers.
    discovery: DiscoveryContext,
    /// What a reload that fails goes back to.
    storage_in_force: Mutex<StorageConfig>,
    /// The context of rule groups in force, and what of the configuration it depends on.
    context: Mutex<Option<(Arc<GroupContext>, Labels)>>,
}

impl App {
    /// Starts everything; when it returns, queries are answered.
    ///
    /// # Errors
    /// If the configuration, the data directory or an address cannot be used. Nothing is left running.
    pub async fn start(options: Options, registry: Registry, shutdown: &Shutdown) -> Result<Self> {
        let loaded = config::load(&options.config_file, options.reading()).context("error loading config")?;
        anyhow::ensure!(
            !(options.features.otlp_native_delta && options.features.otlp_delta_to_cumulative),
            "cannot enable otlp-native-delta-ingestion and otlp-deltatocumulative features at the same time"
        );
        let clock = Clock::System;
        let notifications = Arc::new(Notifications::new(options.web.subscribers_max));
        notifications.add(notifications::STARTING, Timestamp(clock.now_ms()));
        let (db, pending) = storage::open(&options, &loaded.storage).await?;
        let queries = active_queries(&options)?;
        let query_log = Arc::new(QueryLog::default());
        registry.add_collector(Arc::new(StorageMetrics(Arc::clone(&db))));
        let cors_origin = Pattern::new(&options.web.cors_origin).context("--web.cors.origin")?;
        let gate = web_config::gate(&options.web.config_file, &options.web.api_tokens_file)?;
        let mut servers = Vec::new();
        for address in &options.listen {
            let mut listen = ListenConfig::new(*address);
            listen.connections_max = options.web.connections_max;
            listen.gate.clone_from(&gate);
            listen.header_timeout = options.web.read_timeout.as_std();
            servers.push(Server::bind(listen).await.context("use --web.listen-address to listen elsewhere")?);
        }
        let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        let external_url = options.web.external_url.clone().unwrap_or_else(|| own_url(&addresses));
        let engine = Arc::new(Engine::new(engine_config(&options, &loaded)));
        let scrape_metrics = scraper::metrics::Metrics::register(&registry);
        let discovery = DiscoveryContext::new(scrape_metrics.clone(), USER_AGENT);
        let shared = Shared {
            storage: Arc::clone(&db) as Arc<dyn Appendable>,
            metrics: scrape_metrics,
            clock,
            offset_seed: offset_seed(&loaded.global.external_labels),
            user_agent: USER_AGENT.to_owned(),
            features: options.features.scraping(),
            timestamp_tolerance: options.timestamp_tolerance,
        };
        let scraper = ScrapeManager::start(shared, discovery.clone());
        let rule_metrics = rules::metrics::Metrics::register(&registry);
        let notifier = Arc::new(Fanout {
            local: options.local_router.clone(),
            configured: RwLock::new(configured(&loaded, &options.notifications, &rule_metrics, &discovery).await?),
        });
        let http_metrics = HttpMetrics::register(&registry);
        let remote_write_metrics = RemoteWriteMetrics::register(&registry);
        let senders = Arc::new(Senders::new(
            Arc::clone(&db),
            clock,
            remote::send::Metrics::register(&registry),
            metadata_source(&scraper),
            options.remote.flush_deadline.as_std(),
            USER_AGENT,
        ));
        let rules = Arc::new(RuleManager::new());
        let (reloads, requests) = mpsc::channel(RELOADS_MAX);
        let quit = Arc::new(Notify::new());
        let readable = Arc::new(Readable::new(Arc::clone(&db)));
        let api = Arc::new(Api {
            db: Arc::clone(&db),
            readable: Arc::clone(&readable),
            engine: Arc::clone(&engine),
            query_timeout: options.query.timeout,
            spill: promql::Spill { directory: options.storage.clone(), memory_max: options.query.result_memory_max.0 },
            query_slots: Arc::new(Semaphore::new(options.query.concurrency_max.max(1))),
            scraper: scraper.clone(),
            rules: Arc::clone(&rules),
            registry,
            config: RwLock::new(ConfigStatus::default()),
            flags: options.flags.clone(),
            started_ms: clock.now_ms(),
            queries,
            query_log: Arc::clone(&query_log),
            features: options.features,
            clock,
            reloads: reloads.clone(),
            quit: Arc::clone(&quit),
            ready: AtomicBool::new(false),
            web: options.web.clone(),
            cors_origin,
            notifications: Arc::clone(&notifications),
            auto_reload: options.auto_reload.is_some(),
            http_metrics,
            remote_write_metrics,
            otlp_deltas: Mutex::default(),
            read_limits: ReadLimits {
                samples: options.remote.read_samples_max,
                frame_bytes: options.remote.frame_bytes_max,
            },
            export_slots: Arc::new(Semaphore::new(EXPORTS_MAX)),
            import_slots: Arc::new(Semaphore::new(IMPORTS_MAX)),
            read_slots: Arc::new(Semaphore::new(options.remote.reads_max.max(1))),
            alertmanagers: {
                let notifier = Arc::clone(&notifier);
                Box::new(move || notifier.addresses())
            },
            cwd: std::env::current_dir().unwrap_or_default(),
            external_url: external_url.clone(),
            listening: addresses.clone(),
            mode: options.mode,
        });
        let drains = options.notifications.drain;
        let prefix = options.web.route_prefix.clone().unwrap_or_else(|| path_of(&external_url));
        let reloader = Reloader {
            api: Arc::clone(&api),
            storage: Arc::clone(&db),
            evaluator: Arc::new(EngineEvaluator {
                storage: Arc::clone(&readable) as Arc<dyn Queryable>,
                engine,
                timeout: options.query.timeout,
                queries: Arc::clone(&api.queries),
                query_log,
                clock,
            }),
            notifier: Arc::clone(&notifier),
            senders: Arc::clone(&senders),
            rule_metrics,
            discovery,
            storage_in_force: Mutex::new(StorageConfig::default()),
            context: Mutex::new(None),
            options,
        };
        // Queries are answered, as far as the log is read, while the rest of it is.
        for server in servers {
            shutdown.spawn(server.serve(routes(Arc::clone(&api), &prefix), shutdown.clone()));
        }
        storage::replay(&db, pending).await?;
        reloader.run(loaded).await.context("error applying config")?;
        if let Some(interval) = reloader.options.auto_reload {
            shutdown.spawn(reload_on_change(
                reloader.options.config_file.clone(),
                interval,
                reloads.clone(),
                shutdown.clone(),
            ));
        }
        tokio::spawn(reloader.serve(requests));
        shutdown.spawn(storage::keep_synced(Arc::clone(&db), clock, shutdown.clone()));
        shutdown.spawn(storage::keep_up(Arc::clone(&db), clock, shutdown.clone()));
        notifications.delete(notifications::STARTING);
        api.ready.store(true, Ordering::Release);
        Ok(Self { addresses, quit, db, scraper, rules, notifier, notifications, senders, drains, reloads })
    }

    /// Reloads the configuration, all or nothing.
    ///
    /// # Errors
    /// All faults of the new configuration; the old one is then still in force.
    pub async fn reload(&self) -> Result<(), String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.reloads.send(reply).await.map_err(|_| "the server is stopping".to_owned())?;
        answer.await.unwrap_or_else(|_| Err("the server is stopping".into()))
    }

    /// Stops scraping and rules, sends what waits, and makes everything durable.
    pub async fn stop(self) {
        self.notifications.add(notifications::STOPPING, Timestamp(Clock::System.now_ms()));
        let stopped = async {
            self.scraper.close().await;
            self.rules.close().await;
            if self.drains {
                let configured = Arc::clone(&self.notifier.configured.read().notifier);
                configured.drain(DRAIN_PATIENCE).await;
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, stopped).await.is_err() {
            tracing::warn!("scraping and rules did not stop in time");
        }
        // After the last sample was written.
        self.senders.stop().await;
        let db = Arc::clone(&self.db);
        match tokio::task::spawn_blocking(move || db.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "storage could not be closed cleanly"),
            Err(error) => tracing::error!(%error, "storage could not be closed cleanly"),
        }
    }
}

/// Metadata of families as targets tell it, each pair of name and metadata once.
fn metadata_source(scraper: &ScrapeManager) -> MetadataSource {
    let scraper = scraper.clone();
    Arc::new(move || {
        let mut all = BTreeSet::new();
        for active in scraper.pools().into_iter().flat_map(|view| view.active) {
            for (name, metadata) in active.metadata.lock().iter() {
                let number = metadata.metric_type.wire_number();
                all.insert((name.to_owned(), number, metadata.help.clone(), metadata.unit.clone()));
            }
        }
        let entry = |(metric_family_name, number, help, unit)| MetricMetadata {
            r#type: i32::try_from(number).unwrap_or(0),
            metric_family_name,
            help,
            unit,
        };
        all.into_iter().map(entry).collect()
    })
}

fn engine_config(options: &Options, loaded: &Config) -> promql::Config {
    promql::Config {
        lookback: options.query.lookback,
        max_samples: options.query.samples_max,
        default_subquery_step: loaded.global.evaluation_interval,
        language: options.features.language,
        delayed_name_removal: options.features.delayed_name_removal,
        type_and_unit_labels: options.features.ingest.type_and_unit,
        start_timestamps: options.features.start_timestamps,
        max_bytes: options.query.memory_of_one_max.map_or(u64::MAX, |bytes| bytes.0),
        max_memory: options.query.memory_max.map_or_else(memory_share, |bytes| bytes.0),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The list of running queries, on a file that tells after a crash what ran.
fn active_queries(options: &Options) -> Result<Arc<ActiveQueries>> {
    let (queries, left) = ActiveQueries::open(&options.storage, options.query.concurrency_max.max(1))?;
    if let Some(queries) = left {
        tracing::info!(queries, "these queries didn't finish in the last run");
    }
    Ok(Arc::new(queries))
}

/// Servers with other external labels, or on other machines, scrape at other moments.
fn offset_seed(external: &Labels) -> u64 {
    let host = rustix::system::uname();
    external.hash64() ^ model::labels::hash_packed(host.nodename().to_bytes())
}

/// Asks for a reload whenever a file of the configuration has changed.
async fn reload_on_change(file: PathBuf, interval: Duration, reloads: mpsc::Sender<ReloadRequest>, shutdown: Shutdown) {
    let look = |file: PathBuf| tokio::task::spawn_blocking(move || config::fingerprint(&file));
    let Ok(mut known) = look(file.clone()).await else { return };
    while shutdown.until(tokio::time::sleep(interval.as_std())).await.is_some() {
        let Ok(now) = look(file.clone()).await else { return };
        if now == known {
            continue;
        }
        known = now;
        let (reply, answer) = tokio::sync::oneshot::channel();
        if reloads.send(reply).await.is_err() {
            return;
        }
        // The outcome is logged where it is done; a configuration that is refused is tried again when it changes.
        drop(answer.await);
    }
}

impl Reloader {
    /// Answers reload requests one by one until the program ends.
    async fn serve(self, mut requests: mpsc::Receiver<ReloadRequest>) {
        while let Some(reply) = requests.recv().await {
            let result = self.reload().await;
            match &result {
                Ok(()) => {
                    self.api.notifications.delete(notifications::RELOAD_FAILED);
                    tracing::info!(file = %self.options.config_file.display(), "configuration loaded");
                }
                Err(error) => {
                    let now = Timestamp(self.api.clock.now_ms());
                    self.api.notifications.add(notifications::RELOAD_FAILED, now);
                    self.api.config.write().last_successful = false;
                    tracing::error!(error, "configuration could not be reloaded; the old one stays in force");
                }
            }
            // Whoever asked may have gone.
            let _sent = reply.send(result);
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let (path, reading) = (self.options.config_file.clone(), self.options.reading());
        let loaded = tokio::task::spawn_blocking(move || config::load(&path, reading)).await;
        let loaded = loaded.map_err(|e| e.to_string())?;
        self.run(loaded.map_err(|e| e.to_string())?).await.map_err(|e| format!("{e:#}"))
    }

    /// Puts a checked configuration into force.
    async fn run(&self, loaded: Config) -> Result<()> {
        let configured = configured(&loaded, &self.options.notifications, &self.rule_metrics, &self.discovery).await?;
        // What may fail comes before the first change that is seen.
        let query_log = QueryLog::open(&loaded.global.query_log_file)?;
        let sources = remote::read::prepare(&loaded.remote_read, &loaded.global.external_labels, USER_AGENT).await?;
        let destinations = self.senders.prepare(&loaded.remote_write, &loaded.global.external_labels).await?;
        let jobs = self.api.scraper.prepare(loaded.jobs.clone()).await?;
        storage::apply(&self.storage, &self.options, &loaded.storage, &mut self.storage_in_force.lock())?;
        self.senders.apply(destinations).await?;
        self.api.scraper.apply(jobs).await?;
        self.api.readable.apply(sources);
        self.api.query_log.switch_to(query_log);
        let external = loaded.global.external_labels.clone();
        *self.notifier.configured.write() = configured;
        let (context, changed) = self.context(external.clone());
        let defaults =
            Defaults { interval: loaded.global.evaluation_interval, query_offset: loaded.global.rule_query_offset };
        self.api.rules.apply(&context, changed, defaults, loaded.rule_files).await;
        *self.api.config.write() = ConfigStatus {
            printed: loaded.printed,
            loaded_ms: self.api.clock.now_ms(),
            last_successful: true,
            jobs: loaded.jobs,
            external_labels: external,
            otlp: Arc::new(loaded.otlp),
        };
        Ok(())
    }

    /// The context for rule groups, and whether it is another than before.
    fn context(&self, external: Labels) -> (Arc<GroupContext>, bool) {
        let mut known = self.context.lock();
        if let Some((context, labels)) = known.as_ref()
            && *labels == external
        {
            return (Arc::clone(context), false);
        }
        let flags = &self.options.rules;
        let context = Arc::new(GroupContext {
            storage: Arc::clone(&self.storage) as Arc<dyn Appendable>,
            queryable: Arc::clone(&self.storage) as Arc<dyn model::storage::Queryable>,
            evaluator: Arc::clone(&self.evaluator) as Arc<dyn rules::evaluate::Evaluator>,
            notifier: Arc::clone(&self.notifier) as Arc<dyn Notifier>,
            metrics: self.rule_metrics.clone(),
            clock: self.api.clock,
            external_labels: external.clone(),
            external_url: self.api.external_url.clone(),
            resend_delay: flags.resend_delay,
            restore: RestoreConfig { outage_tolerance: flags.outage_tolerance, grace_period: flags.grace_period },
        });
        *known = Some((Arc::clone(&context), external));
        (context, true)
    }
}

/// A directory that may be given with or without a slash at its end, made if need be.
///
/// # Errors
/// If it cannot be made.
pub fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))
}

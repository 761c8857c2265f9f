//! Where alerts go: the local router, and Alertmanagers that the discovery of the `alerting` section finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use model::labels::Labels;
use parking_lot::RwLock;
use rules::notifier::{HttpNotifier, Notice, Notifier, QueueLimits};
use scraper::discovery::{Context as DiscoveryContext, Discovery, Sink, Update};
use scraper::target::TargetGroup;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::app::USER_AGENT;
use crate::config::{AlertingConfig, Config};
use crate::flags::NotificationFlags;

/// Updates that may wait; discoveries pause beyond it.
const UPDATES_MAX: usize = 64;

/// Sends alerts everywhere they should go. What is configured changes with reloads; the local router stays.
pub struct Fanout {
    /// A router in the same process.
    pub local: Option<Arc<dyn Notifier>>,
    /// Those of the configuration.
    pub configured: RwLock<Configured>,
}

/// The notifier of the configuration in force, and what finds its Alertmanagers.
pub struct Configured {
    /// Sends to them.
    pub notifier: Arc<HttpNotifier>,
    _discovery: AlertmanagerDiscovery,
}

impl Fanout {
    /// Where alerts go, for the API.
    pub fn addresses(&self) -> Vec<String> {
        let configured = self.configured.read().notifier.urls();
        let local = self.local.as_ref().map(|_| "in-process".to_owned());
        local.into_iter().chain(configured.into_iter().map(String::from)).collect()
    }
}

impl Notifier for Fanout {
    fn notify(&self, notices: Vec<Notice>) {
        if let Some(local) = &self.local {
            local.notify(notices.clone());
        }
        self.configured.read().notifier.notify(notices);
    }
}

/// Builds the clients of a configuration's Alertmanagers, and begins to look for them.
///
/// # Errors
/// If the section is wrong.
pub async fn configured(
    loaded: &Config,
    flags: &NotificationFlags,
    rule_metrics: &rules::metrics::Metrics,
    discovery: &DiscoveryContext,
) -> Result<Configured> {
    let external = loaded.global.external_labels.clone();
    let limits = QueueLimits { capacity: flags.queue_capacity, batch: flags.batch_size };
    let alerting = loaded.alerting.notifier().map_err(|reason| anyhow::anyhow!("alerting: {reason}"))?;
    let notifier = HttpNotifier::new(alerting, external, limits, rule_metrics, USER_AGENT).await?;
    let notifier = Arc::new(notifier);
    let discovery = AlertmanagerDiscovery::start(&loaded.alerting, &notifier, discovery).await?;
    Ok(Configured { notifier, _discovery: discovery })
}

/// The running discovery; ends when dropped.
pub struct AlertmanagerDiscovery {
    _tasks: JoinSet<()>,
    discoveries: Vec<JoinHandle<()>>,
}

impl Drop for AlertmanagerDiscovery {
    fn drop(&mut self) {
        self.discoveries.iter().for_each(JoinHandle::abort);
    }
}

/// Groups of one set of Alertmanagers, by discovery and source.
type Groups = BTreeMap<(usize, String), TargetGroup>;

impl AlertmanagerDiscovery {
    /// Tells `notifier` of what is listed in the configuration, and starts to look for the rest.
    ///
    /// # Errors
    /// If a discovery's HTTP client cannot be built.
    pub async fn start(
        config: &AlertingConfig,
        notifier: &Arc<HttpNotifier>,
        context: &DiscoveryContext,
    ) -> Result<Self> {
        let (sender, updates) = mpsc::channel(UPDATES_MAX);
        let mut sets: Vec<Groups> = Vec::new();
        let mut discoveries = Vec::new();
        for (set, alertmanager) in config.alertmanagers.iter().enumerate() {
            let mut groups = Groups::new();
            for (number, discovery) in Discovery::all_of(&alertmanager.discovery()).into_iter().enumerate() {
                if let Discovery::Static(listed) = &discovery {
                    let listed = scraper::discovery::static_groups(listed);
                    groups.extend(listed.into_iter().map(|group| ((number, group.source.clone()), group)));
                    continue;
                }
                let sink = Sink::new(&set.to_string(), number, sender.clone());
                let prepared = discovery.prepare(sink, context).await.context("alerting: discovery")?;
                discoveries.push(tokio::spawn(prepared));
            }
            notifier.set_discovered(set, &discovered(&groups));
            sets.push(groups);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(updates, sets, Arc::clone(notifier)));
        Ok(Self { _tasks: tasks, discoveries })
    }
}

async fn follow(mut updates: mpsc::Receiver<Update>, mut sets: Vec<Groups>, notifier: Arc<HttpNotifier>) {
    while let Some(Update { job, discovery, groups, .. }) = updates.recv().await {
        let Some((set, known)) = job.parse().ok().and_then(|set: usize| Some((set, sets.get_mut(set)?))) else {
            continue;
        };
        for group in groups {
            known.insert((discovery, group.source.clone()), group);
        }
        known.retain(|_, group| !group.targets.is_empty());
        notifier.set_discovered(set, &discovered(known));
    }
}

/// Labels of each target, its group's among them.
fn discovered(groups: &Groups) -> Vec<Labels> {
    let targets = groups.values().flat_map(|group| {
        group.targets.iter().map(|target| {
            let mut labels = group.labels.to_builder();
            target.iter().for_each(|(name, value)| {
                labels.set(name, value);
            });
            labels.build()
        })
    });
    targets.collect()
}

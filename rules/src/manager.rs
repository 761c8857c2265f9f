//! The manager: runs the groups of all rule files, and moves state along when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::duration::Duration;
use parking_lot::RwLock;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use crate::config::{GroupConfig, RuleFile};
use crate::group::{Group, GroupContext, GroupState, Stop};
use crate::rule::Rule;

/// Values that groups inherit from the global section.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// `evaluation_interval`.
    pub interval: Duration,
    /// `rule_query_offset`.
    pub query_offset: Duration,
}

struct Running {
    config: GroupConfig,
    defaults: Defaults,
    state: Arc<RwLock<GroupState>>,
    stop: oneshot::Sender<Stop>,
    task: JoinHandle<Group>,
}

/// All groups, by file and name.
#[derive(Default)]
pub struct Manager {
    groups: Mutex<BTreeMap<(String, String), Running>>,
    /// What the API shows, in order of file and name.
    states: RwLock<Vec<Arc<RwLock<GroupState>>>>,
}

impl Manager {
    /// No groups yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs the groups of these files from now on. Unchanged groups go on undisturbed if `context` is the same in all
    /// that they use, which the caller says by `context_changed`.
    pub async fn apply(
        &self,
        context: &Arc<GroupContext>,
        context_changed: bool,
        defaults: Defaults,
        files: Vec<(String, RuleFile)>,
    ) {
        let mut groups = self.groups.lock().await;
        let mut old = std::mem::take(&mut *groups);
        for (file, content) in files {
            for group in content.groups {
                let config = group.value;
                let key = (file.clone(), config.name.clone());
                let before = old.remove(&key);
                let running = match before {
                    Some(same) if same.config == config && same.defaults == defaults && !context_changed => same,
                    before => {
                        let mut fresh = Group::new(Arc::clone(context), state_of(&file, &config, defaults));
                        if let Some(before) = before
                            && let Some(stopped) = before.end(Stop::Leave).await
                        {
                            fresh.take_over(stopped);
                        }
                        Running::start(fresh, config, defaults)
                    }
                };
                groups.insert(key, running);
            }
        }
        for (_, gone) in old {
            gone.end(Stop::MarkStale).await;
        }
        *self.states.write() = groups.values().map(|running| Arc::clone(&running.state)).collect();
    }

    /// All groups as they stand.
    pub fn groups(&self) -> Vec<GroupState> {
        self.states.read().iter().map(|state| state.read().clone()).collect()
    }

    /// Stops all groups; their series are left as they are, so that alerts' state is found again at the next start.
    pub async fn close(&self) {
        for (_, running) in std::mem::take(&mut *self.groups.lock().await) {
            running.end(Stop::Leave).await;
        }
    }
}

impl Running {
    fn start(group: Group, config: GroupConfig, defaults: Defaults) -> Self {
        let state = group.state();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(group.run(stopped));
        Self { config, defaults, state, stop, task }
    }

    /// Stops the group and gives it back, unless it failed.
    async fn end(self, how: Stop) -> Option<Group> {
        // A group that failed cannot be told anything.
        let _told = self.stop.send(how);
        self.task.await.ok()
    }
}

fn state_of(file: &str, config: &GroupConfig, defaults: Defaults) -> GroupState {
    GroupState {
        name: config.name.clone(),
        file: file.to_owned(),
        interval: config.interval.filter(|i| !i.is_zero()).unwrap_or(defaults.interval),
        query_offset: config.query_offset.unwrap_or(defaults.query_offset),
        limit: config.limit,
        rules: config.rules.iter().map(|rule| Rule::new(&rule.value, config)).collect(),
        evaluated_ms: None,
        seconds: 0.0,
    }
}

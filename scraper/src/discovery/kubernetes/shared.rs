//! Watches that several discoveries share: what is asked of an API server once is kept once and told to all who ask.
//!
//! A [`Topic`] is one list and watch. It keeps the objects as last seen, so that whoever comes later gets them at once,
//! and lives as long as somebody listens. Objects are shared too: a listener holds references.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use net::client::HttpClientConfig;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;

use super::CHANGES_MAX;
use super::access::Access;
use super::labels::{Key, key_of};
use super::objects::Object;
use super::watch::{Change, Kind, Watch};
use crate::config::KubernetesSdConfig;
use crate::metrics::Metrics;

/// What makes two watches the same.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    api_server: Option<String>,
    kubeconfig_file: String,
    http: HttpClientConfig,
    watch: Selection,
}

/// What is watched at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) kind: Kind,
    /// Everywhere if absent.
    pub(super) namespace: Option<String>,
    pub(super) label_selector: String,
    pub(super) field_selector: String,
}

/// All watches of a program. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Watches {
    topics: Arc<Mutex<Vec<Asked>>>,
}

/// A watch that runs as long as somebody listens, and what it asks.
type Asked = (Question, Weak<Topic>);

impl Watches {
    /// Listens to a watch, which is begun unless it runs already. It goes on until all that this gave are dropped.
    pub(super) async fn listen(
        &self,
        config: &KubernetesSdConfig,
        selection: Selection,
        access: &Access,
        metrics: &Metrics,
        listener: mpsc::Sender<Change>,
    ) -> Arc<Topic> {
        let question = Question {
            api_server: config.api_server.clone(),
            kubeconfig_file: config.kubeconfig_file.clone(),
            http: config.http_client(),
            watch: selection,
        };
        let topic = self.topic(question, access, metrics);
        topic.seen.lock().await.welcome(&topic.selection, listener).await;
        topic
    }

    fn topic(&self, question: Question, access: &Access, metrics: &Metrics) -> Arc<Topic> {
        let mut topics = self.topics.lock();
        topics.retain(|(_, topic)| topic.strong_count() > 0);
        let known = topics.iter().find(|(asked, _)| *asked == question).and_then(|(_, topic)| topic.upgrade());
        known.unwrap_or_else(|| {
            let topic = Topic::start(question.watch.clone(), access, metrics.clone());
            topics.push((question, Arc::downgrade(&topic)));
            topic
        })
    }

    /// How many are running.
    pub fn count(&self) -> usize {
        self.topics.lock().iter().filter(|(_, topic)| topic.strong_count() > 0).count()
    }
}

/// One watch and who listens to it. Ends when dropped.
#[derive(Debug)]
pub(super) struct Topic {
    selection: Selection,
    seen: Arc<AsyncMutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Topic {
    fn start(selection: Selection, access: &Access, metrics: Metrics) -> Arc<Self> {
        let (changes, changed) = mpsc::channel(CHANGES_MAX);
        let seen = Arc::new(AsyncMutex::new(Seen::default()));
        let watch = tokio::spawn(Watch::new(access.clone(), selection.clone()).run(changes, metrics));
        let telling = tokio::spawn(tell(Arc::clone(&seen), changed));
        Arc::new(Self { selection, seen, tasks: [watch, telling] })
    }
}

async fn tell(seen: Arc<AsyncMutex<Seen>>, mut changed: mpsc::Receiver<Change>) {
    while let Some(change) = changed.recv().await {
        seen.lock().await.apply(change).await;
    }
}

/// The objects as last seen, and who is to be told of changes.
#[derive(Debug, Default)]
struct Seen {
    /// `None` before the first list.
    objects: Option<BTreeMap<Key, Arc<Object>>>,
    listeners: Vec<mpsc::Sender<Change>>,
}

impl Seen {
    async fn welcome(&mut self, selection: &Selection, listener: mpsc::Sender<Change>) {
        if let Some(objects) = &self.objects {
            let all = objects.values().cloned().collect();
            // A listener that has gone already is noticed at the next change.
            let _sent = listener.send(Change::Replace(selection.kind, selection.namespace.clone(), all)).await;
        }
        self.listeners.push(listener);
    }

    async fn apply(&mut self, change: Change) {
        let objects = self.objects.get_or_insert_default();
        match &change {
            Change::Replace(_, _, all) => {
                *objects = all.iter().map(|object| (key_of(&object.metadata), Arc::clone(object))).collect();
            }
            Change::Apply(_, object) => drop(objects.insert(key_of(&object.metadata), Arc::clone(object))),
            Change::Delete(_, object) => drop(objects.remove(&key_of(&object.metadata))),
        }
        let mut gone = Vec::new();
        for (number, listener) in self.listeners.iter().enumerate() {
            if listener.send(change.clone()).await.is_err() {
                gone.push(number);
            }
        }
        for number in gone.into_iter().rev() {
            self.listeners.swap_remove(number);
        }
    }
}

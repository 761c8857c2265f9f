//! What the server tells whoever looks at it: a failed reload, a stop under way. Shown by the API, live where asked for.

use model::sample::Timestamp;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio::sync::broadcast;

/// The configuration of the last reload is not in force.
pub const RELOAD_FAILED: &str = "Configuration reload has failed.";
/// The log is being read.
pub const STARTING: &str = "Prometheus is starting and replaying the write-ahead log (WAL).";
/// The server ends.
pub const STOPPING: &str = "Prometheus is shutting down and gracefully stopping all operations.";

/// Changes that a subscriber may be behind; one further behind misses the oldest.
const BEHIND_MAX: usize = 64;

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notification {
    text: &'static str,
    #[serde(serialize_with = "as_rfc3339")]
    date: Timestamp,
    active: bool,
}

fn as_rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::http::rfc3339(time.0))
}

/// All that is to be told at this moment, and who listens.
#[derive(Debug)]
pub struct Notifications {
    active: Mutex<Vec<Notification>>,
    changes: broadcast::Sender<Notification>,
    subscribers_max: usize,
}

impl Notifications {
    /// Nothing to tell yet, for at most `subscribers_max` listeners.
    pub fn new(subscribers_max: usize) -> Self {
        Self { active: Mutex::default(), changes: broadcast::channel(BEHIND_MAX).0, subscribers_max }
    }

    /// Tells a text from now on.
    pub fn add(&self, text: &'static str, now: Timestamp) {
        let notification = Notification { text, date: now, active: true };
        let mut active = self.active.lock();
        match active.iter_mut().find(|known| known.text == text) {
            Some(known) => known.clone_from(&notification),
            None => active.push(notification.clone()),
        }
        // Without subscribers there is nobody to tell.
        let _subscribers = self.changes.send(notification);
    }

    /// Tells a text no longer.
    pub fn delete(&self, text: &'static str) {
        let mut active = self.active.lock();
        if let Some(at) = active.iter().position(|known| known.text == text) {
            let gone = active.remove(at);
            let _subscribers = self.changes.send(Notification { active: false, ..gone });
        }
    }

    /// All texts.
    pub fn list(&self) -> Vec<Notification> {
        self.active.lock().clone()
    }

    /// All texts now, and what changes from now on; `None` if enough listen already.
    pub fn subscribe(&self) -> Option<(Vec<Notification>, broadcast::Receiver<Notification>)> {
        let active = self.active.lock();
        let has_room = self.changes.receiver_count() < self.subscribers_max;
        has_room.then(|| (active.clone(), self.changes.subscribe()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_see_what_is_and_what_changes() {
        let notifications = Notifications::new(1);
        notifications.add(RELOAD_FAILED, Timestamp(1000));
        let (now, mut changes) = notifications.subscribe().unwrap();
        assert_eq!(now.len(), 1);
        assert!(notifications.subscribe().is_none(), "one is the limit");
        notifications.add(RELOAD_FAILED, Timestamp(2000));
        notifications.delete(RELOAD_FAILED);
        notifications.delete(RELOAD_FAILED);
        let seen: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).map(|n| (n.date.0, n.active)).collect();
        assert_eq!(seen, [(2000, true), (2000, false)]);
        assert_eq!(notifications.list(), []);
        let shown = serde_json::to_string(&now).unwrap();
        let text = "Configuration reload has failed.";
        assert_eq!(shown, format!(r#"[{{"text":"{text}","date":"1970-01-01T00:00:01Z","active":true}}]"#));
    }
}

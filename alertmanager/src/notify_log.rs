//! The notification log: what was last sent for a group to a receiver, so that nothing is sent twice, over restarts too.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use parking_lot::Mutex;

use crate::journal::{Journal, JournalError, WireTime};

/// Of which receiver an integration is, and the how-manieth of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntegrationKey {
    /// The receiver's name.
    pub receiver: String,
    /// Its kind, such as `webhook`.
    pub integration: &'static str,
    /// Counted from 0 within the kind.
    pub index: u32,
}

/// What was last sent. Alerts are named by their fingerprints; times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub timestamp_ms: i64,
    /// Alerts that fired.
    pub firing: BTreeSet<u64>,
    /// Alerts that had ended.
    pub resolved: BTreeSet<u64>,
    /// When the entry may be forgotten.
    pub expires_at_ms: i64,
}

/// All entries.
#[derive(Debug)]
pub struct NotifyLog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: HashMap<String, (WireEntry, Entry)>,
    journal: Journal<WireMeshEntry>,
}

/// `groupKey:receiver/integration/index`, upstream's key.
fn state_key(group_key: &str, receiver: &str, integration: &str, index: u32) -> String {
    format!("{group_key}:{receiver}/{integration}/{index}")
}

impl NotifyLog {
    /// Opens the log kept in `path`.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, messages) = Journal::<WireMeshEntry>::open(path)?;
        let mut entries = HashMap::new();
        for message in messages {
            let Some(wire) = message.entry else { continue };
            let receiver = wire.receiver.clone().unwrap_or_default();
            let group_key = String::from_utf8_lossy(&wire.group_key);
            let key = state_key(&group_key, &receiver.group_name, &receiver.integration, receiver.idx);
            let entry = Entry {
                timestamp_ms: wire.timestamp.map_or(0, WireTime::as_ms),
                firing: wire.firing_alerts.iter().copied().collect(),
                resolved: wire.resolved_alerts.iter().copied().collect(),
                expires_at_ms: message.expires_at.map_or(i64::MAX, WireTime::as_ms),
            };
            entries.insert(key, (wire, entry));
        }
        Ok(Self { inner: Mutex::new(Inner { entries, journal }) })
    }

    /// What was last sent for a group to an integration.
    pub fn get(&self, group_key: &str, to: &IntegrationKey) -> Option<Entry> {
        let key = state_key(group_key, &to.receiver, to.integration, to.index);
        self.inner.lock().entries.get(&key).map(|(_, entry)| entry.clone())
    }

    /// Records what was sent.
    ///
    /// # Errors
    /// If it cannot be kept on disk; it is remembered until the next start all the same.
    pub fn put(&self, group_key: &str, to: &IntegrationKey, entry: Entry) -> Result<(), JournalError> {
        let key = state_key(group_key, &to.receiver, to.integration, to.index);
        let wire = WireEntry {
            group_key: group_key.as_bytes().to_vec(),
            receiver: Some(WireReceiver {
                group_name: to.receiver.clone(),
                integration: to.integration.to_owned(),
                idx: to.index,
            }),
            timestamp: Some(WireTime::from_ms(entry.timestamp_ms)),
            firing_alerts: entry.firing.iter().copied().collect(),
            resolved_alerts: entry.resolved.iter().copied().collect(),
        };
        let message =
            WireMeshEntry { entry: Some(wire.clone()), expires_at: Some(WireTime::from_ms(entry.expires_at_ms)) };
        let mut inner = self.inner.lock();
        inner.entries.insert(key, (wire, entry));
        inner.journal.append(&message)
    }

    /// Forgets entries that have expired.
    pub fn collect_garbage(&self, now_ms: i64) {
        let mut inner = self.inner.lock();
        inner.entries.retain(|_, (_, entry)| entry.expires_at_ms > now_ms);
        let Inner { entries, journal } = &mut *inner;
        let current = entries.values().map(|(wire, entry)| WireMeshEntry {
            entry: Some(wire.clone()),
            expires_at: Some(WireTime::from_ms(entry.expires_at_ms)),
        });
        if let Err(error) = journal.rewrite_if_outdated(entries.len(), current) {
            tracing::warn!(%error, "notification log could not be written anew");
        }
    }
}

/// `nflogpb.MeshEntry`.
#[derive(Clone, PartialEq, prost::Message)]
struct WireMeshEntry {
    #[prost(message, optional, tag = "1")]
    entry: Option<WireEntry>,
    #[prost(message, optional, tag = "2")]
    expires_at: Option<WireTime>,
}

/// `nflogpb.Entry`, without the fields that upstream no longer uses.
#[derive(Clone, PartialEq, prost::Message)]
struct WireEntry {
    #[prost(bytes = "vec", tag = "1")]
    group_key: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    receiver: Option<WireReceiver>,
    #[prost(message, optional, tag = "5")]
    timestamp: Option<WireTime>,
    #[prost(uint64, repeated, tag = "6")]
    firing_alerts: Vec<u64>,
    #[prost(uint64, repeated, tag = "7")]
    resolved_alerts: Vec<u64>,
}

/// `nflogpb.Receiver`.
#[derive(Clone, PartialEq, prost::Message)]
struct WireReceiver {
    #[prost(string, tag = "1")]
    group_name: String,
    #[prost(string, tag = "2")]
    integration: String,
    #[prost(uint32, tag = "3")]
    idx: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nflog");
        let key = IntegrationKey { receiver: "r".into(), integration: "webhook", index: 1 };
        let entry = Entry {
            timestamp_ms: 5,
            firing: BTreeSet::from([1, u64::MAX]),
            resolved: BTreeSet::from([7]),
            expires_at_ms: 100,
        };
        NotifyLog::open(&path).unwrap().put("{}:{}", &key, entry.clone()).unwrap();
        let log = NotifyLog::open(&path).unwrap();
        assert_eq!(log.get("{}:{}", &key), Some(entry));
        assert_eq!(log.get("{}:{}", &IntegrationKey { index: 0, ..key.clone() }), None);
        log.collect_garbage(100);
        assert_eq!(log.get("{}:{}", &key), None);
    }
}

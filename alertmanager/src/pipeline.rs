//! What happens to a group's alerts on the way to one integration: muting, deduplication, sending with retries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use model::duration::Duration;
use net::backoff::{Backoff, jittered};
use net::clock::Clock;
use tokio::time::Instant;

use crate::alert::Alert;
use crate::metrics::Metrics;
use crate::notify_log::{Entry, NotifyLog};
use crate::receiver::{Failure, Integration, Notification};

/// First and longest wait between attempts.
const RETRY: (StdDuration, StdDuration) = (StdDuration::from_millis(500), StdDuration::from_secs(60));

/// Why a notification is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was sent for the group yet.
    First,
    /// An alert fires that was not in the last notification.
    NewFiring,
    /// Everything has ended.
    AllResolved,
    /// An alert ended that had not in the last notification.
    NewResolved,
    /// Nothing changed, but it was long ago.
    Repeat,
}

impl Reason {
    /// As the webhook shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::First => "first notification",
            Reason::NewFiring => "new alerts firing",
            Reason::AllResolved => "all alerts resolved",
            Reason::NewResolved => "new alerts resolved",
            Reason::Repeat => "repeat interval elapsed",
        }
    }
}

/// Decides whether to send, from what was sent last and what holds now.
pub fn due(
    last: Option<&Entry>,
    firing: &BTreeSet<u64>,
    resolved: &BTreeSet<u64>,
    send_resolved: bool,
    repeat_interval: Duration,
    now_ms: i64,
) -> Option<Reason> {
    let Some(last) = last else { return (!firing.is_empty()).then_some(Reason::First) };
    if !firing.is_subset(&last.firing) {
        return Some(Reason::NewFiring);
    }
    if firing.is_empty() {
        return (send_resolved && !last.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(&last.resolved) {
        return Some(Reason::NewResolved);
    }
    (last.timestamp_ms + repeat_interval.as_millis() <= now_ms).then_some(Reason::Repeat)
}

/// A group at the moment of its flush, muted alerts already taken out.
#[derive(Debug, Clone)]
pub struct Flush {
    /// The group's key.
    pub group_key: String,
    /// Its labels.
    pub group_labels: model::labels::Labels,
    /// Its alerts, ended ones too.
    pub alerts: Vec<Alert>,
    /// How often it is sent again unchanged.
    pub repeat_interval: Duration,
    /// Until when attempts go on.
    pub deadline: Instant,
    /// When it was flushed, in milliseconds since the epoch.
    pub now_ms: i64,
}

/// What all flushes share.
#[derive(Clone)]
pub struct Pipeline {
    /// What was sent.
    pub log: Arc<NotifyLog>,
    /// Instruments.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Where this router is reached.
    pub external_url: Arc<str>,
    /// How long entries of the log are kept at most, in milliseconds.
    pub retention_ms: i64,
}

impl Pipeline {
    /// Sends a flush to one integration if it is due. `true` if everything that had to be said was said.
    pub async fn run(&self, flush: Flush, integration: &Integration) -> bool {
        let of = |resolved: bool| {
            let alerts = flush.alerts.iter().filter(move |a| a.is_resolved_at(flush.now_ms) == resolved);
            alerts.map(Alert::fingerprint).collect::<BTreeSet<u64>>()
        };
        let (firing, resolved) = (of(false), of(true));
        let last = self.log.get(&flush.group_key, &integration.key);
        let repeat = flush.repeat_interval;
        let reason = due(last.as_ref(), &firing, &resolved, integration.send_resolved, repeat, flush.now_ms);
        let Some(reason) = reason else { return true };
        let wanted = |alert: &&Alert| integration.send_resolved || !alert.is_resolved_at(flush.now_ms);
        let notification = Notification {
            receiver: integration.key.receiver.clone(),
            group_key: flush.group_key.clone(),
            group_labels: flush.group_labels.clone(),
            alerts: flush.alerts.iter().filter(wanted).cloned().collect(),
            external_url: Arc::clone(&self.external_url),
            reason,
            now_ms: flush.now_ms,
        };
        // A receiver that hears of no ends has nothing to hear, but that they ended is recorded.
        if !notification.alerts.is_empty() && !self.send(&notification, integration, flush.deadline).await {
            return false;
        }
        let entry = Entry {
            timestamp_ms: self.clock.now_ms(),
            firing,
            resolved,
            expires_at_ms: flush.now_ms + (2 * repeat.as_millis()).min(self.retention_ms),
        };
        if let Err(error) = self.log.put(&flush.group_key, &integration.key, entry) {
            tracing::error!(%error, "notification log could not be written; a restart may notify again");
        }
        true
    }

    /// Tries until it succeeds, fails for good, or the deadline has passed.
    async fn send(&self, notification: &Notification, integration: &Integration, deadline: Instant) -> bool {
        let labels = vec![("integration", integration.key.integration.to_owned())];
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let receiver = &integration.key.receiver;
        let mut attempts = 0_u32;
        let failure = loop {
            attempts += 1;
            self.metrics.requests.get_or_create(&labels).inc();
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = tokio::time::timeout(left, integration.sender.send(notification)).await;
            let failure = match attempt {
                Ok(Ok(())) => {
                    self.metrics.notifications.get_or_create(&labels).inc();
                    tracing::debug!(receiver, group = notification.group_key, attempts, "notified");
                    return true;
                }
                Ok(Err(failure)) => failure,
                Err(_) => break Failure::Retry("context deadline exceeded".into()),
            };
            self.metrics.requests_failed.get_or_create(&labels).inc();
            if matches!(failure, Failure::Final(_)) {
                break failure;
            }
            let wait = jittered(backoff.advance(), rand::random());
            if Instant::now() + wait >= deadline {
                break failure;
            }
            if attempts == 1 {
                tracing::warn!(receiver, group = notification.group_key, error = %failure, "notify attempt failed, will retry later");
            }
            tokio::time::sleep(wait).await;
        };
        self.metrics.notifications_failed.get_or_create(&labels).inc();
        tracing::error!(receiver, group = notification.group_key, attempts, error = %failure, "notify failed");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(fingerprints: &[u64]) -> BTreeSet<u64> {
        fingerprints.iter().copied().collect()
    }

    #[test]
    fn what_is_due() {
        let hour = Duration::from_seconds(3600);
        let last = Entry { timestamp_ms: 0, firing: set(&[1, 2]), resolved: set(&[3]), expires_at_ms: i64::MAX };
        let due = |last: Option<&Entry>, firing: &[u64], resolved: &[u64], send_resolved, now_ms| {
            super::due(last, &set(firing), &set(resolved), send_resolved, hour, now_ms)
        };
        assert_eq!(due(None, &[1], &[], true, 0), Some(Reason::First));
        assert_eq!(due(None, &[], &[1], true, 0), None, "nobody heard that it began");
        assert_eq!(due(Some(&last), &[1, 4], &[], true, 1), Some(Reason::NewFiring));
        assert_eq!(due(Some(&last), &[1, 2], &[3], true, 1), None);
        assert_eq!(due(Some(&last), &[1], &[2], true, 1), Some(Reason::NewResolved));
        assert_eq!(due(Some(&last), &[1], &[2], false, 1), None);
        assert_eq!(due(Some(&last), &[], &[1, 2], true, 1), Some(Reason::AllResolved));
        assert_eq!(due(Some(&last), &[], &[1, 2], false, 1), None);
        assert_eq!(due(Some(&last), &[1, 2], &[], true, 3_600_000), Some(Reason::Repeat));
    }
}

//! The last events, bounded by number and by bytes. Revisions in it are contiguous.

use std::collections::VecDeque;
use std::sync::Arc;

use super::watch::{BATCH_MAX, Batch, Event};
use super::{Range, StoreError};

/// How much of the past is kept for watchers to resume from and for lists at old revisions.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// The most events.
    pub events_max: usize,
    /// The most bytes of their objects, as stored.
    pub bytes_max: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events_max: 10_000, bytes_max: 32 << 20 }
    }
}

/// The past that is still known. `next == oldest + events.len() + 1`, where `oldest` is a revision whose successor is
/// the first event.
#[derive(Debug)]
pub(super) struct History {
    limits: HistoryLimits,
    /// Everything up to and including this revision is forgotten.
    oldest: u64,
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
}

impl History {
    pub(super) fn new(limits: HistoryLimits, revision: u64) -> Self {
        Self { limits, oldest: revision, events: VecDeque::new(), bytes: 0 }
    }

    /// The revision up to which the past is forgotten.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Adds the next event and forgets what is too much.
    pub(super) fn push(&mut self, event: Arc<Event>, bytes: usize) {
        debug_assert_eq!(event.revision, self.oldest + self.events.len() as u64 + 1);
        self.events.push_back((event, bytes));
        self.bytes += bytes;
        while self.is_too_much(self.events.len(), self.bytes) {
            let Some((event, bytes)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
            self.oldest = event.revision;
        }
    }

    /// What `oldest` will be once events of these sizes are added.
    pub(super) fn oldest_after(&self, added: &[usize]) -> u64 {
        let sizes = || self.events.iter().map(|(_, bytes)| *bytes).chain(added.iter().copied());
        let (mut count, mut bytes) = (self.events.len() + added.len(), self.bytes + added.iter().sum::<usize>());
        let mut oldest = self.oldest;
        for size in sizes() {
            if !self.is_too_much(count, bytes) {
                break;
            }
            count -= 1;
            bytes -= size;
            oldest += 1;
        }
        oldest
    }

    fn is_too_much(&self, count: usize, bytes: usize) -> bool {
        count > self.limits.events_max || (bytes > self.limits.bytes_max && count > 1)
    }

    /// The next events of a range behind a revision.
    pub(super) fn batch(&self, range: &Range, after: u64) -> Result<Batch, StoreError> {
        let mut batch = Batch { events: Vec::new(), revision: after };
        for event in self.since(after)? {
            if batch.events.len() == BATCH_MAX {
                break;
            }
            batch.revision = event.revision;
            if range.contains(&event.key) {
                batch.events.push(Arc::clone(event));
            }
        }
        Ok(batch)
    }

    /// All events behind a revision, oldest first.
    pub(super) fn since(&self, after: u64) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, StoreError> {
        if after < self.oldest {
            return Err(StoreError::Compacted { asked: after, oldest: self.oldest });
        }
        let skip = usize::try_from(after - self.oldest).unwrap_or(usize::MAX).min(self.events.len());
        Ok(self.events.range(skip..).map(|(event, _)| event))
    }
}

//! Which commits a reader sees: all that ended before it began, none that ended later, never half of one.
//!
//! A commit takes a number before its first sample enters a series and gives it back after its last. A reader's
//! [`Snapshot`] knows the highest number and those still open at its start. A series remembers which of its last samples
//! came with which number ([`Marks`]), but only as far as some reader could still need it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::{AtomicU64, Mutex};

/// Numbers of commits and readers at work.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    state: Mutex<State>,
    /// Every commit below this number is over and seen by every open and future reader.
    low: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    last_commit: u64,
    open_commits: Vec<u64>,
    last_reader: u64,
    /// Lowest commit that each open reader may not see.
    readers: BTreeMap<u64, u64>,
}

impl State {
    /// Lowest commit that a reader beginning now may not see.
    fn first_unseen(&self) -> u64 {
        self.open_commits.iter().copied().min().unwrap_or(self.last_commit + 1)
    }

    fn low(&self) -> u64 {
        self.readers.values().copied().fold(self.first_unseen(), u64::min)
    }
}

impl Isolation {
    /// Takes a number for a commit.
    pub(crate) fn begin_commit(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_commit += 1;
        let commit = state.last_commit;
        state.open_commits.push(commit);
        self.low.store(state.low(), Ordering::Release);
        commit
    }

    /// Makes the commit visible to readers that begin from now on.
    pub(crate) fn end_commit(&self, commit: u64) {
        let mut state = self.state.lock();
        state.open_commits.retain(|open| *open != commit);
        self.low.store(state.low(), Ordering::Release);
    }

    /// Below this number every commit is seen by everyone.
    pub(crate) fn low(&self) -> u64 {
        self.low.load(Ordering::Acquire)
    }

    /// Begins a reader.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut state = self.state.lock();
        state.last_reader += 1;
        let reader = state.last_reader;
        let first_unseen = state.first_unseen();
        state.readers.insert(reader, first_unseen);
        self.low.store(state.low(), Ordering::Release);
        Snapshot {
            in_order_min: i64::MIN,
            isolation: Arc::clone(self),
            reader,
            last_commit: state.last_commit,
            open_commits: state.open_commits.clone(),
        }
    }

    /// A number such that readers up to it began before now.
    pub(crate) fn last_reader(&self) -> u64 {
        self.state.lock().last_reader
    }

    /// Whether a reader numbered `reader` or lower is still open.
    pub(crate) fn has_reader_through(&self, reader: u64) -> bool {
        self.state.lock().readers.first_key_value().is_some_and(|(oldest, _)| *oldest <= reader)
    }
}

/// What one reader sees; the reader is over when it is dropped.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// In-order samples before it are in blocks or gone.
    pub(crate) in_order_min: i64,
    isolation: Arc<Isolation>,
    reader: u64,
    last_commit: u64,
    open_commits: Vec<u64>,
}

impl Snapshot {
    /// Whether what came with that commit is to be seen.
    pub(crate) fn sees(&self, commit: u64) -> bool {
        commit <= self.last_commit && !self.open_commits.contains(&commit)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut state = self.isolation.state.lock();
        state.readers.remove(&self.reader);
        self.isolation.low.store(state.low(), Ordering::Release);
    }
}

/// Samples that came with one commit.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    commit: u64,
    samples: u32,
}

/// Which commits the last samples of a series came with.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    last: Mark,
    /// Marks before the last that some reader may not see, oldest first. There seldom are any.
    #[allow(clippy::box_collection, reason = "one word instead of three in every series")]
    older: Option<Box<Vec<Mark>>>,
}

impl Marks {
    /// Notes that a sample came with `commit`, and forgets what everyone sees: commits below `low`.
    pub(crate) fn note(&mut self, commit: u64, low: u64) {
        if self.last.commit == commit {
            self.last.samples += 1;
            return;
        }
        if let Some(older) = &mut self.older {
            let first_needed = older.iter().position(|mark| mark.commit >= low).unwrap_or(older.len());
            older.drain(..first_needed);
        }
        let has_older = self.older.as_ref().is_some_and(|older| !older.is_empty());
        if self.last.samples > 0 && (self.last.commit >= low || has_older) {
            self.older.get_or_insert_default().push(self.last);
        } else if !has_older {
            self.older = None;
        }
        self.last = Mark { commit, samples: 1 };
    }

    /// How many of the series' last samples `snapshot` must not see: all from the first unseen one on.
    pub(crate) fn hidden(&self, snapshot: &Snapshot) -> usize {
        let older = self.older.as_deref().map_or(&[][..], Vec::as_slice);
        let marks = older.iter().chain(std::iter::once(&self.last));
        marks.skip_while(|mark| snapshot.sees(mark.commit)).map(|mark| mark.samples as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_ended_before_it_began() {
        let isolation = Arc::new(Isolation::default());
        let mut marks = Marks::default();
        let mut commit = |isolation: &Isolation| {
            let commit = isolation.begin_commit();
            marks.note(commit, isolation.low());
            commit
        };
        let first = commit(&isolation);
        let during_first = isolation.snapshot();
        isolation.end_commit(first);
        let after_first = isolation.snapshot();
        let second = commit(&isolation);
        let third = commit(&isolation);
        isolation.end_commit(third);
        let during_second = isolation.snapshot();
        isolation.end_commit(second);
        let last = isolation.snapshot();
        assert_eq!(marks.hidden(&during_first), 3);
        assert_eq!(marks.hidden(&after_first), 2);
        assert_eq!(marks.hidden(&during_second), 2, "samples behind an unseen one stay unseen");
        assert_eq!(marks.hidden(&last), 0);
    }

    #[test]
    fn marks_nobody_needs_are_forgotten() {
        let isolation = Arc::new(Isolation::default());
        let mut marks = Marks::default();
        for _ in 0..5 {
            let commit = isolation.begin_commit();
            marks.note(commit, isolation.low());
            isolation.end_commit(commit);
        }
        assert!(marks.older.is_none());
        let reader = isolation.snapshot();
        for _ in 0..3 {
            let commit = isolation.begin_commit();
            marks.note(commit, isolation.low());
            isolation.end_commit(commit);
        }
        assert_eq!(marks.hidden(&reader), 3);
        assert!(isolation.has_reader_through(reader.reader));
        drop(reader);
        let commit = isolation.begin_commit();
        marks.note(commit, isolation.low());
        isolation.end_commit(commit);
        assert!(marks.older.is_none() && !isolation.has_reader_through(u64::MAX));
    }
}

//! What happened: events in the order of their revisions, and the cursors that follow them.
//!
//! There is no queue per watcher. A watcher is a position in the one history; one that is so slow that the history
//! passes it is told so (`Compacted`) and must list again. Memory therefore does not grow with slow clients.

use std::sync::Arc;

use serde_json::Value;

use super::{Answer, Key};

/// The most events that one step of a watcher takes.
pub const BATCH_MAX: usize = 256;

/// One write, as watchers see it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: u64,
    /// What was written.
    pub key: Key,
    /// What the write did.
    pub change: Change,
}

/// What a write did.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is new.
    Created {
        /// The object.
        after: Arc<Value>,
    },
    /// The object was changed.
    Updated {
        /// The object before.
        before: Arc<Value>,
        /// The object now.
        after: Arc<Value>,
    },
    /// The object is gone.
    Deleted {
        /// The object before.
        before: Arc<Value>,
        /// The object before, bearing the revision of its deletion.
        last: Arc<Value>,
    },
}

impl Change {
    /// The object before the write.
    pub fn before(&self) -> Option<&Arc<Value>> {
        match self {
            Change::Created { .. } => None,
            Change::Updated { before, .. } | Change::Deleted { before, .. } => Some(before),
        }
    }

    /// The object after the write.
    pub fn after(&self) -> Option<&Arc<Value>> {
        match self {
            Change::Created { after } | Change::Updated { after, .. } => Some(after),
            Change::Deleted { .. } => None,
        }
    }
}

/// Some events, and how far they reach.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The events of the range; may be empty when only others happened.
    pub events: Vec<Arc<Event>>,
    /// All events of the range up to this revision have been handed out.
    pub revision: u64,
}

/// A cursor over the events of a range.
pub trait Watch: Send {
    /// Waits until something happened (anywhere) and hands out what concerns the range.
    /// Dropping the future loses nothing.
    fn next(&mut self) -> Answer<'_, Batch>;
}

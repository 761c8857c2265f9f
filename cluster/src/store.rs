//! Where objects live: the contract between the API server and its storage, and the embedded implementation's parts.
//!
//! Every write gets the next number of one global revision, which survives restarts and is the `resourceVersion` of
//! what was written. A write is acknowledged only when it is durable. Reads see all acknowledged writes.

pub mod embedded;
mod history;
mod state;
mod table;
pub mod watch;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::api::Resource;
use crate::store::watch::Watch;

/// The answer of a store that may have to wait for a disk or a network.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A revisioned store of JSON objects.
pub trait Store: Send + Sync + 'static {
    /// The latest revision.
    fn revision(&self) -> u64;

    /// The object of a key.
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Arc<Value>>>;

    /// The objects of a range in key order, as they are now or were at a revision.
    fn list<'a>(&'a self, range: &'a Range, page: Page) -> Answer<'a, Listing>;

    /// Writes one object if the expectation holds.
    fn commit(&self, write: Write) -> Answer<'_, Committed>;

    /// Everything that happens in a range after a revision.
    fn watch(&self, range: Range, after: u64) -> Result<Box<dyn Watch>, StoreError>;
}

/// The place of one object: `group/plural/namespace/name`. Namespace is empty for cluster-wide objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// All objects of a resource, or those of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    prefix: String,
}

/// Which part of a range, at which revision.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The revision to list at; the latest if absent.
    pub at: Option<u64>,
    /// Start behind this key.
    pub after: Option<Key>,
    /// At most so many objects; all if absent.
    pub limit: Option<usize>,
}

/// A list of objects and the revision it shows.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The revision of the list.
    pub revision: u64,
    /// The objects in key order.
    pub objects: Vec<Arc<Value>>,
    /// How many objects of the range follow.
    pub remaining: usize,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is written.
    pub key: Key,
    /// What must be there for the write to happen.
    pub expect: Expect,
    /// The new object; `None` deletes.
    pub value: Option<Value>,
}

/// What must be there for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object.
    Absent,
    /// The object as it was written at this revision.
    Revision(u64),
}

/// A durable write.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its revision.
    pub revision: u64,
    /// The object as stored; for a deletion its last state, with the revision of the deletion.
    pub object: Arc<Value>,
}

/// Why the store could not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The expectation of a write does not hold.
    #[error("the object is not in the expected state")]
    Conflict {
        /// What is there instead.
        current: Option<Arc<Value>>,
    },
    /// The revision is no longer in the history.
    #[error("too old resource version: {asked} ({oldest})")]
    Compacted {
        /// The revision asked for.
        asked: u64,
        /// The oldest one still known.
        oldest: u64,
    },
    /// The revision has not happened yet.
    #[error("too large resource version: {asked}, current: {current}")]
    Future {
        /// The revision asked for.
        asked: u64,
        /// The latest one.
        current: u64,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged or of a version that this program does not know.
    #[error("{path}: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading or writing failed. After a failed write nothing of it is visible.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the storage engine said.
        source: Arc<redb::Error>,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl Key {
    /// The key of an object.
    pub fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self(format!("{}/{}/{namespace}/{name}", resource.group, resource.plural))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Range {
    /// All objects of a resource.
    pub fn all(resource: &Resource) -> Self {
        Self { prefix: format!("{}/{}/", resource.group, resource.plural) }
    }

    /// The objects of a resource in a namespace; all of them if it is empty.
    pub fn new(resource: &Resource, namespace: &str) -> Self {
        match namespace {
            "" => Self::all(resource),
            _ => Self { prefix: format!("{}/{}/{namespace}/", resource.group, resource.plural) },
        }
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &Key) -> bool {
        key.0.starts_with(&self.prefix)
    }

    /// The text all its keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

//! The rules of objects over the store: defaults, identity, validation, optimistic concurrency, deletion.
//!
//! Both ways in, HTTP and the in-process client, end here; nothing else writes to the store. A write is a loop of
//! read, change, check and commit-if-unchanged, so that rules are always checked against what is really there.

pub mod address;
mod create;
mod delete;
mod update;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::field::Causes;
use crate::api::schema::conform::conform;
use crate::api::schema::{MessageRef, Schema};
use crate::api::status::Failure;
use crate::api::{Resource, meta};
use crate::store::{Committed, Key, Listing, Page, Range, Store, StoreError, Write};

pub use delete::{DeleteOptions, Deleted};
pub use update::Part;

/// How often a write is tried again when somebody else wrote in between and the client named no revision.
pub const RETRIES_MAX: usize = 5;

/// Whether a write is to be stored or only tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// Stored.
    #[default]
    Real,
    /// Checked and answered, not stored.
    Dry,
}

/// The objects of the cluster.
pub struct Objects {
    store: Arc<dyn Store>,
    schema: Arc<Schema>,
    /// Held from choosing a service's address to its commit, so that no two get the same.
    addresses: tokio::sync::Mutex<()>,
}

impl Objects {
    /// The objects of a store.
    pub fn new(store: Arc<dyn Store>, schema: Arc<Schema>) -> Self {
        Self { store, schema, addresses: tokio::sync::Mutex::new(()) }
    }

    /// The store underneath, for reading and watching.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The shapes of all messages.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The shape of a resource's objects.
    pub fn message(&self, resource: &Resource) -> MessageRef {
        self.schema.find(resource.message).expect("every resource has a message: a test reads the table")
    }

    /// One object.
    pub async fn read(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Value>, Failure> {
        let key = Key::new(resource, namespace, name);
        self.store.read(&key).await?.ok_or_else(|| Failure::not_found(resource, name))
    }

    /// All objects of a resource now, of one namespace or of all.
    pub async fn list(&self, resource: &Resource, namespace: &str) -> Result<Listing, Failure> {
        Ok(self.store.list(&Range::new(resource, namespace), Page::default()).await?)
    }

    /// Brings a body into shape; returns the unknown members it had.
    pub fn shape(&self, resource: &Resource, body: &mut Value) -> Result<Vec<String>, Failure> {
        conform(&self.schema, self.message(resource), body).map_err(|error| {
            let (kind, version) = (resource.kind, resource.version);
            Failure::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
        })
    }

    /// Checks an object by itself, and against what it replaces.
    fn check(&self, resource: &Resource, object: &Value, old: Option<&Value>) -> Result<(), Failure> {
        let mut causes = Causes::default();
        let name = meta::name(object);
        match name {
            "" => causes.required("metadata.name", "name or generateName is required"),
            // What exists may keep a name that newer rules would refuse.
            _ if old.is_none() => causes.check_text("metadata.name", name, (resource.name_rule)(name)),
            _ => {}
        }
        meta::validate(object, &mut causes);
        (resource.validate)(object, &mut causes);
        if let Some(old) = old {
            (resource.validate_update)(old, object, &mut causes);
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Failure::invalid(resource.group, resource.kind, name, causes.into_vec())),
        }
    }

    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.store.commit(write).await
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { .. } => Failure::expired(error.to_string()),
            StoreError::Future { asked, current } => Failure::revision_too_large(asked, current),
            StoreError::Closed => Failure::unavailable("the cluster is shutting down"),
            error => Failure::internal(error),
        }
    }
}

/// Puts kind and version on an object, as clients expect them.
fn stamp_kind(resource: &Resource, object: &mut Value) {
    let root = meta::root(object);
    root.insert("kind".to_owned(), json!(resource.kind));
    root.insert("apiVersion".to_owned(), json!(resource.api_version()));
}

/// Whether two versions of an object say the same, revisions aside.
fn same(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        meta::metadata(&mut object).remove("resourceVersion");
        object
    };
    bare(old) == bare(new)
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

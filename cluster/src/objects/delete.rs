//! Deleting objects: preconditions, grace, finalizers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::update::is_released;
use super::{Objects, RETRIES_MAX, Run};
use crate::api::status::Failure;
use crate::api::{self, Resource, meta, namespace, pod};
use crate::store::{Expect, Key, StoreError, Write};

/// What a client asks of a deletion.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// How long the object may take to stop, in seconds.
    pub grace_seconds: Option<i64>,
    /// The identity it must have.
    pub uid: Option<String>,
    /// The revision it must have.
    pub revision: Option<String>,
    /// Whether it is only tried.
    pub run: Run,
}

/// What became of a deletion.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The object: its last state, or its state now if it is still there.
    pub object: Arc<Value>,
    /// Whether it is gone already.
    pub gone: bool,
}

impl Objects {
    /// Deletes an object, or begins to if it takes time.
    pub async fn delete(
        &self,
        resource: &Resource,
        at: (&str, &str),
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let (place, name) = at;
        if resource.plural == "namespaces" && namespace::SYSTEM_NAMESPACES.contains(&name) {
            return Err(Failure::forbidden(resource, name, "this namespace may not be deleted"));
        }
        for _ in 0..=RETRIES_MAX {
            let old = self.read(resource, place, name).await?;
            check_preconditions(resource, &old, options)?;
            let value = self.deleting(resource, &old, options).await?;
            let gone = value.is_none();
            if value.as_ref() == Some(&*old) {
                return Ok(Deleted { object: old, gone });
            }
            if options.run == Run::Dry {
                return Ok(Deleted { object: value.map_or(old, Arc::new), gone });
            }
            let key = Key::new(resource, place, name);
            let revision = meta::resource_version(&old).parse().map_err(Failure::internal)?;
            match self.commit(Write { key, expect: Expect::Revision(revision), value }).await {
                Ok(committed) => return Ok(Deleted { object: committed.object, gone }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::modified(resource, name))
    }

    /// What the object is once its deletion has begun; `None` if nothing holds it.
    async fn deleting(
        &self,
        resource: &Resource,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<Option<Value>, Failure> {
        let mut grace = self.grace(resource, old, options).await?;
        let mut new = old.clone();
        if meta::is_deleting(old) {
            let before = meta::number(old, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
            grace = grace.min(before);
            if grace == before {
                return Ok(if is_released(resource, old) { None } else { Some(new) });
            }
        }
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        let metadata = meta::metadata(&mut new);
        metadata.insert("deletionTimestamp".to_owned(), json!(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
        if resource.plural == "namespaces" {
            meta::submap(meta::root(&mut new), "status").insert("phase".to_owned(), json!("Terminating"));
        }
        Ok(if is_released(resource, &new) { None } else { Some(new) })
    }

    /// Only pods that run on a node take time to stop.
    async fn grace(&self, resource: &Resource, object: &Value, options: &DeleteOptions) -> Result<i64, Failure> {
        let node = meta::text(object, "/spec/nodeName");
        if resource.plural != "pods" || node.is_empty() || pod::is_finished(object) {
            return Ok(0);
        }
        let nodes = api::find("", "v1", "nodes").expect("nodes are in the table");
        if self.store.read(&Key::new(nodes, "", node)).await?.is_none() {
            return Ok(0);
        }
        let own = meta::number(object, "/spec/terminationGracePeriodSeconds").unwrap_or(pod::GRACE_SECONDS);
        Ok(options.grace_seconds.unwrap_or(own).max(0))
    }
}

fn check_preconditions(resource: &Resource, object: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let wanted = [
        ("UID", &options.uid, meta::uid(object)),
        ("ResourceVersion", &options.revision, meta::resource_version(object)),
    ];
    for (what, wanted, found) in wanted {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
            return Err(Failure::conflict(resource, meta::name(object), &why));
        }
    }
    Ok(())
}

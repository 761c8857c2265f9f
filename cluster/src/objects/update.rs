//! Changing objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::create::check_namespace;
use super::{Objects, RETRIES_MAX, Run, same, stamp_kind};
use crate::api::field::Causes;
use crate::api::status::Failure;
use crate::api::{Resource, meta};
use crate::store::{Expect, Key, StoreError, Write};

/// Which part of an object a write is about. The other parts stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status.
    Status,
    /// The finalizers of a namespace.
    Finalize,
}

impl Objects {
    /// Changes an object by a function from what is there to what shall be there.
    ///
    /// If the function's result bears a revision, it must be the current one; else the write is tried again when
    /// somebody wrote in between. A change that changes nothing writes nothing.
    pub async fn modify<F>(
        &self,
        resource: &Resource,
        at: (&str, &str),
        part: Part,
        run: Run,
        mut change: F,
    ) -> Result<Arc<Value>, Failure>
    where
        F: FnMut(&Value) -> Result<Value, Failure> + Send,
    {
        let (namespace, name) = at;
        let mut tries = 0;
        loop {
            let old = self.read(resource, namespace, name).await?;
            let wanted = change(&old)?;
            let conditional = meta::resource_version(&wanted);
            let conditional = !conditional.is_empty() && conditional != meta::resource_version(&old);
            if conditional {
                return Err(Failure::modified(resource, name));
            }
            check_namespace(resource, namespace, &wanted)?;
            match self.replace(resource, &old, wanted, part, run).await {
                Err(StoreOrFailure::Raced) if tries < RETRIES_MAX => tries += 1,
                Err(StoreOrFailure::Raced) => return Err(Failure::modified(resource, name)),
                Err(StoreOrFailure::Failure(failure)) => return Err(failure),
                Ok(object) => return Ok(object),
            }
        }
    }

    async fn replace(
        &self,
        resource: &Resource,
        old: &Arc<Value>,
        wanted: Value,
        part: Part,
        run: Run,
    ) -> Result<Arc<Value>, StoreOrFailure> {
        let mut new = merge_parts(resource, old, wanted, part);
        self.keep_identity(resource, old, &mut new)?;
        (resource.defaults)(&mut new);
        let _addresses = match resource.plural {
            "services" => Some(self.addresses.lock().await),
            _ => None,
        };
        self.keep_addresses(resource, old, &mut new);
        self.allocate(resource, &mut new).await?;
        self.check(resource, &new, Some(old))?;
        if same(old, &new) {
            return Ok(Arc::clone(old));
        }
        if run == Run::Dry {
            return Ok(Arc::new(new));
        }
        let key = Key::new(resource, meta::namespace(old), meta::name(old));
        let revision = meta::resource_version(old).parse().map_err(Failure::internal)?;
        // The last finalizer of an object that is being deleted holds it no longer.
        let gone = meta::is_deleting(&new) && is_released(resource, &new);
        let value = if gone { None } else { Some(new) };
        match self.commit(Write { key, expect: Expect::Revision(revision), value }).await {
            Ok(committed) => Ok(committed.object),
            Err(StoreError::Conflict { .. }) => Err(StoreOrFailure::Raced),
            Err(error) => Err(Failure::from(error).into()),
        }
    }

    /// Identity and deletion are the server's; a changed spec is a new generation where kinds count them.
    fn keep_identity(&self, resource: &Resource, old: &Value, new: &mut Value) -> Result<(), Failure> {
        let uid = meta::uid(new);
        if !uid.is_empty() && uid != meta::uid(old) {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::uid(old));
            return Err(Failure::conflict(resource, meta::name(old), &why));
        }
        if meta::name(new) != meta::name(old) {
            let why = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                meta::name(new),
                meta::name(old)
            );
            return Err(Failure::bad_request(why));
        }
        let finalizers = |object: &Value| meta::list(object, "/metadata/finalizers").to_vec();
        let held = finalizers(old);
        if meta::is_deleting(old) && finalizers(new).iter().any(|finalizer| !held.contains(finalizer)) {
            let mut causes = Causes::default();
            causes.forbidden("metadata.finalizers", "no new finalizers can be added if the object is being deleted");
            return Err(Failure::invalid(resource.group, resource.kind, meta::name(old), causes.into_vec()));
        }
        stamp_kind(resource, new);
        let metadata = meta::metadata(new);
        for member in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generateName",
            "namespace",
            "generation",
            "resourceVersion",
        ] {
            match old["metadata"].get(member) {
                Some(value) => drop(metadata.insert(member.to_owned(), value.clone())),
                None => drop(metadata.remove(member)),
            }
        }
        metadata.remove("managedFields");
        metadata.remove("selfLink");
        Ok(())
    }
}

/// Why a replacement did not happen.
enum StoreOrFailure {
    Raced,
    Failure(Failure),
}

impl From<Failure> for StoreOrFailure {
    fn from(failure: Failure) -> Self {
        StoreOrFailure::Failure(failure)
    }
}

/// Takes the part that is written from the new object and the rest from the old one.
fn merge_parts(resource: &Resource, old: &Value, wanted: Value, part: Part) -> Value {
    let carry = |from: &Value, to: &mut Value, member: &str| match from.get(member) {
        Some(value) => drop(meta::root(to).insert(member.to_owned(), value.clone())),
        None => drop(meta::root(to).remove(member)),
    };
    match part {
        Part::Main => {
            let mut new = wanted;
            if resource.status {
                carry(old, &mut new, "status");
            }
            if resource.plural == "namespaces" {
                carry(old, &mut new, "spec");
            }
            new
        }
        Part::Status => {
            let mut new = old.clone();
            carry(&wanted, &mut new, "status");
            // Labels and annotations may be written along with the status.
            for member in ["labels", "annotations"] {
                if let Some(value) = wanted["metadata"].get(member) {
                    meta::metadata(&mut new).insert(member.to_owned(), value.clone());
                }
            }
            new
        }
        Part::Finalize => {
            let mut new = old.clone();
            carry(&wanted, &mut new, "spec");
            if new["spec"].get("finalizers").is_none() {
                meta::submap(meta::root(&mut new), "spec").insert("finalizers".to_owned(), json!([]));
            }
            new
        }
    }
}

/// Whether nothing holds an object back that is being deleted.
pub(super) fn is_released(resource: &Resource, object: &Value) -> bool {
    let graceful = meta::number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) > 0;
    let held = resource.plural == "namespaces" && !meta::list(object, "/spec/finalizers").is_empty();
    meta::list(object, "/metadata/finalizers").is_empty() && !graceful && !held
}

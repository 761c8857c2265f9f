//! Making objects.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Objects, Run, now, stamp_kind};
use crate::api::status::Failure;
use crate::api::{self, Resource, meta};
use crate::store::{Expect, Key, StoreError, Write};

/// How many generated names are tried.
const NAMES_TRIED_MAX: usize = 8;
/// What is left of `generateName`, in bytes.
const NAME_BASE_BYTES_MAX: usize = 58;
/// Letters of generated names: no vowels, so that no words come out.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Objects {
    /// Makes an object from a body in shape. The namespace is the one of the path; empty for cluster-wide kinds.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        body: Value,
        run: Run,
    ) -> Result<Arc<Value>, Failure> {
        let base = meta::text(&body, "/metadata/generateName").to_owned();
        if !meta::name(&body).is_empty() || base.is_empty() {
            return self.create_named(resource, namespace, body, run).await;
        }
        let mut taken = None;
        for _ in 0..NAMES_TRIED_MAX {
            let mut body = body.clone();
            meta::metadata(&mut body).insert("name".to_owned(), json!(generated(&base)));
            match self.create_named(resource, namespace, body, run).await {
                Err(failure) if failure.reason == "AlreadyExists" => taken = Some(failure),
                outcome => return outcome,
            }
        }
        Err(taken.unwrap_or_else(|| Failure::internal("no name was tried")))
    }

    async fn create_named(
        &self,
        resource: &Resource,
        namespace: &str,
        mut body: Value,
        run: Run,
    ) -> Result<Arc<Value>, Failure> {
        if !meta::resource_version(&body).is_empty() {
            return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
        }
        check_namespace(resource, namespace, &body)?;
        self.identify(resource, namespace, &mut body);
        (resource.defaults)(&mut body);
        let _addresses = match resource.plural {
            "services" => Some(self.addresses.lock().await),
            _ => None,
        };
        self.allocate(resource, &mut body).await?;
        self.check(resource, &body, None)?;
        self.admit(resource, namespace, meta::name(&body)).await?;
        let name = meta::name(&body).to_owned();
        let key = Key::new(resource, namespace, &name);
        if run == Run::Dry {
            return match self.store.read(&key).await? {
                Some(_) => Err(Failure::already_exists(resource, &name)),
                None => Ok(Arc::new(body)),
            };
        }
        match self.commit(Write { key, expect: Expect::Absent, value: Some(body) }).await {
            Ok(committed) => Ok(committed.object),
            Err(StoreError::Conflict { .. }) => Err(Failure::already_exists(resource, &name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a new object its identity, and takes away what only the server or a status update may set.
    fn identify(&self, resource: &Resource, namespace: &str, body: &mut Value) {
        stamp_kind(resource, body);
        if resource.status {
            meta::root(body).remove("status");
        }
        let metadata = meta::metadata(body);
        for member in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "managedFields"] {
            metadata.remove(member);
        }
        metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        metadata.insert("creationTimestamp".to_owned(), json!(now()));
        match resource.namespaced {
            true => metadata.insert("namespace".to_owned(), json!(namespace)),
            false => metadata.remove("namespace"),
        };
    }

    /// Objects need a namespace that is not going away.
    async fn admit(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Failure> {
        if !resource.namespaced {
            return Ok(());
        }
        let namespaces = api::find("", "v1", "namespaces").expect("namespaces are in the table");
        let found = self.read(namespaces, "", namespace).await?;
        match meta::is_deleting(&found) {
            true => Err(Failure::namespace_terminating(resource, name, namespace)),
            false => Ok(()),
        }
    }
}

/// The namespace in the body, if any, is the one of the path.
pub(super) fn check_namespace(resource: &Resource, namespace: &str, body: &Value) -> Result<(), Failure> {
    let named = meta::namespace(body);
    match resource.namespaced && !named.is_empty() && named != namespace {
        true => Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        false => Ok(()),
    }
}

fn generated(base: &str) -> String {
    let mut end = base.len().min(NAME_BASE_BYTES_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut random = rand::rng();
    let suffix: String = (0..5).map(|_| char::from(NAME_LETTERS[random.random_range(0..NAME_LETTERS.len())])).collect();
    format!("{}{suffix}", base.get(..end).unwrap_or(base))
}

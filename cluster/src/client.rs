//! The way into the cluster from within the process: the same rules as over HTTP, without HTTP.

use std::sync::Arc;

use serde_json::Value;

use crate::api::status::Failure;
use crate::api::{self, Resource, meta};
use crate::objects::{DeleteOptions, Objects, Part, Run};

/// A handle for reading and writing objects in process. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    objects: Arc<Objects>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Names one object: `Place::new("v1", "Pod", "cresset-system", "node-exporter")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `v1`, `discovery.k8s.io/v1`.
    pub api_version: String,
    /// `Pod`.
    pub kind: String,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Place {
    /// Names an object.
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { api_version: api_version.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The place that an object says it has.
    pub fn of(object: &Value) -> Self {
        let text = |member: &str| object[member].as_str().unwrap_or("");
        Self::new(text("apiVersion"), text("kind"), meta::namespace(object), meta::name(object))
    }

    fn resource(&self) -> Result<&'static Resource, Failure> {
        let missing = || Failure::bad_request(format!("no kind {:?} in {:?}", self.kind, self.api_version));
        api::find_kind(&self.api_version, &self.kind).ok_or_else(missing)
    }
}

impl Local {
    pub(crate) fn new(objects: Arc<Objects>) -> Self {
        Self { objects }
    }

    /// Makes the object be as given: created if it is not there, else replaced, status included if it has one.
    /// A Pod whose spec may not be changed is deleted and made anew. Writing what is there already writes nothing.
    pub async fn apply(&self, mut object: Value) -> Result<Arc<Value>, Failure> {
        let place = Place::of(&object);
        let resource = place.resource()?;
        let unknown = self.objects.shape(resource, &mut object)?;
        if !unknown.is_empty() {
            return Err(Failure::bad_request(format!("{}: unknown fields {}", resource.kind, unknown.join(", "))));
        }
        let status = object.get("status").cloned().filter(|_| resource.status);
        let at = (place.namespace.as_str(), place.name.as_str());
        let replaced =
            self.objects.modify(resource, at, Part::Main, Run::Real, |old| Ok(replacement(old, &object))).await;
        let written = match replaced {
            Err(failure) if failure.reason == "Invalid" && resource.plural == "pods" => {
                let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
                self.objects.delete(resource, at, &now).await?;
                self.objects.create(resource, at.0, object.clone(), Run::Real).await
            }
            Err(failure) if failure.reason == "NotFound" => {
                self.objects.create(resource, at.0, object.clone(), Run::Real).await
            }
            outcome => outcome,
        }?;
        match status {
            Some(status) => self.patch_status(&place, status).await,
            None => Ok(written),
        }
    }

    /// Replaces the status of an object.
    pub async fn patch_status(&self, place: &Place, status: Value) -> Result<Arc<Value>, Failure> {
        let change = |old: &Value| {
            let mut new = old.clone();
            meta::root(&mut new).insert("status".to_owned(), status.clone());
            Ok(new)
        };
        let at = (place.namespace.as_str(), place.name.as_str());
        self.objects.modify(place.resource()?, at, Part::Status, Run::Real, change).await
    }

    /// Reads an object; `None` if there is none.
    pub async fn get(&self, place: &Place) -> Result<Option<Arc<Value>>, Failure> {
        match self.objects.read(place.resource()?, &place.namespace, &place.name).await {
            Err(failure) if failure.reason == "NotFound" => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// The objects of a kind; of all namespaces if none is named.
    pub async fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Arc<Value>>, Failure> {
        let resource = Place::new(api_version, kind, namespace, "").resource()?;
        Ok(self.objects.list(resource, namespace).await?.objects)
    }

    /// Deletes an object at once, without grace. Returns whether it was there.
    pub async fn delete(&self, place: &Place) -> Result<bool, Failure> {
        let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        match self.objects.delete(place.resource()?, (&place.namespace, &place.name), &now).await {
            Err(failure) if failure.reason == "NotFound" => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }
}

/// The new object over the old one: what only the server gives stays.
fn replacement(old: &Value, object: &Value) -> Value {
    let mut new = object.clone();
    let metadata = meta::metadata(&mut new);
    metadata.remove("resourceVersion");
    metadata.remove("uid");
    if let Some(finalizers) = old["metadata"].get("finalizers") {
        meta::default(metadata, "finalizers", finalizers.clone());
    }
    new
}

//! One watch: list, then follow, from the last resource version on; list again when that is too old.

use std::sync::Arc;
use std::time::Duration;

use net::backoff::Backoff;
use net::client::ClientError;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;

use super::RETRY;
use super::access::Access;
use super::objects::{List, Object, Status, WatchEvent};
use super::shared::Selection;
use crate::config::Role;
use crate::metrics::Metrics;

/// How many objects a page of a list has.
const PAGE_OBJECTS: &str = "500";
/// How long the server keeps a watch open before we ask anew.
const WATCH_SECONDS: &str = "480";
/// How long nothing, not even a bookmark, may come before the connection counts as dead.
const SILENCE_MAX: Duration = Duration::from_secs(500);
/// The longest event.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Node,
    Namespace,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
    ReplicaSet,
    Job,
}

impl Kind {
    fn resource(self) -> &'static str {
        match self {
            Kind::Node => "nodes",
            Kind::Namespace => "namespaces",
            Kind::Pod => "pods",
            Kind::Service => "services",
            Kind::Endpoints => "endpoints",
            Kind::EndpointSlice => "endpointslices",
            Kind::Ingress => "ingresses",
            Kind::ReplicaSet => "replicasets",
            Kind::Job => "jobs",
        }
    }

    /// Where the API server has its group.
    fn root(self) -> &'static str {
        match self {
            Kind::EndpointSlice => "/apis/discovery.k8s.io/v1",
            Kind::Ingress => "/apis/networking.k8s.io/v1",
            Kind::ReplicaSet => "/apis/apps/v1",
            Kind::Job => "/apis/batch/v1",
            _ => "/api/v1",
        }
    }

    /// Whether its objects live in namespaces.
    pub(super) fn has_namespace(self) -> bool {
        !matches!(self, Kind::Node | Kind::Namespace)
    }

    /// Whose selectors apply.
    pub(super) fn role(self) -> Option<Role> {
        match self {
            Kind::Node => Some(Role::Node),
            Kind::Pod => Some(Role::Pod),
            Kind::Service => Some(Role::Service),
            Kind::Endpoints => Some(Role::Endpoints),
            Kind::EndpointSlice => Some(Role::EndpointSlice),
            Kind::Ingress => Some(Role::Ingress),
            Kind::Namespace | Kind::ReplicaSet | Kind::Job => None,
        }
    }
}

/// A change of a store. Cheap to clone but for a list.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// All objects of a kind in a namespace (or everywhere): others of that kind there are gone.
    Replace(Kind, Option<String>, Vec<Arc<Object>>),
    /// New or changed.
    Apply(Kind, Arc<Object>),
    /// Gone.
    Delete(Kind, Arc<Object>),
}

impl Change {
    /// The word for it in metrics.
    pub(super) fn event(&self) -> &'static str {
        match self {
            Change::Replace(..) => "list",
            Change::Apply(..) => "update",
            Change::Delete(..) => "delete",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("HTTP status {code}: {message}")]
    Refused { code: StatusCode, message: String },
    #[error("the resource version is too old")]
    Expired,
    #[error("unreadable answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
    EventTooLarge,
    #[error("nothing came for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the discovery has ended")]
    Ended,
}

/// Follows one kind of object in one namespace, or everywhere.
pub(super) struct Watch {
    access: Access,
    selection: Selection,
}

impl Watch {
    pub(super) fn new(access: Access, selection: Selection) -> Self {
        Self { access, selection }
    }

    /// Runs until the receiver is gone.
    pub(super) async fn run(self, changes: mpsc::Sender<Change>, metrics: Metrics) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        // `None`: list first.
        let mut version: Option<String> = None;
        loop {
            let result = match version.take() {
                None => self.list(&changes).await.map(Some),
                Some(mut from) => {
                    let result = self.follow(&mut from, &changes, &mut backoff).await;
                    version = Some(from);
                    result.map(|()| None)
                }
            };
            match result {
                Ok(listed) => {
                    backoff.reset();
                    version = listed.or(version);
                    continue;
                }
                Err(WatchError::Ended) => return,
                Err(WatchError::Expired) => version = None,
                Err(error) => {
                    metrics.kubernetes_failures.inc();
                    let resource = self.selection.kind.resource();
                    tracing::warn!(resource, error = %with_causes(&error), "kubernetes watch interrupted");
                }
            }
            tokio::time::sleep(backoff.advance()).await;
        }
    }

    fn path(&self) -> String {
        let (root, resource) = (self.selection.kind.root(), self.selection.kind.resource());
        match &self.selection.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{resource}"),
            None => format!("{root}/{resource}"),
        }
    }

    fn query<'a>(&'a self, own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut query = own.to_vec();
        query.extend([
            ("labelSelector", &*self.selection.label_selector),
            ("fieldSelector", &*self.selection.field_selector),
        ]);
        query.retain(|(_, value)| !value.is_empty());
        query
    }

    /// Lists everything, page by page; gives the version to watch from.
    async fn list(&self, changes: &mpsc::Sender<Change>) -> Result<String, WatchError> {
        let mut objects = Vec::new();
        let mut token = String::new();
        let version = loop {
            let query = self.query(&[("limit", PAGE_OBJECTS), ("continue", &token)]);
            let request = self.access.get(&self.path(), &query).await?.timeout(Duration::from_secs(60));
            let response = accepted(request.send().await.map_err(reqwest::Error::without_url)?).await?;
            let list: List = serde_json::from_slice(&response.bytes().await?)?;
            objects.extend(list.items.into_iter().map(Arc::new));
            if list.metadata.continue_token.is_empty() {
                break list.metadata.resource_version;
            }
            token = list.metadata.continue_token;
        };
        let change = Change::Replace(self.selection.kind, self.selection.namespace.clone(), objects);
        changes.send(change).await.map_err(|_| WatchError::Ended)?;
        Ok(version)
    }

    /// Follows from `version` on until the server ends the watch; `version` moves along.
    async fn follow(
        &self,
        version: &mut String,
        changes: &mpsc::Sender<Change>,
        backoff: &mut Backoff,
    ) -> Result<(), WatchError> {
        let from = version.clone();
        let query = self.query(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", WATCH_SECONDS),
            ("resourceVersion", &from),
        ]);
        let response =
            self.access.get(&self.path(), &query).await?.send().await.map_err(reqwest::Error::without_url)?;
        let mut response = accepted(response).await?;
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let piece = match tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
                Err(_) => return Err(WatchError::Silent),
                Ok(piece) => piece.map_err(reqwest::Error::without_url)?,
            };
            let Some(piece) = piece else { return Ok(()) };
            pending.extend_from_slice(&piece);
            let mut start = 0;
            while let Some(length) = pending[start..].iter().position(|&b| b == b'\n') {
                self.event(&pending[start..start + length], version, changes).await?;
                backoff.reset();
                start += length + 1;
            }
            pending.drain(..start);
            if pending.len() > EVENT_BYTES_MAX {
                return Err(WatchError::EventTooLarge);
            }
        }
    }

    async fn event(&self, line: &[u8], version: &mut String, changes: &mpsc::Sender<Change>) -> Result<(), WatchError> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let event: WatchEvent<'_> = serde_json::from_slice(line)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_str(event.object.get()).unwrap_or_default();
            return Err(failure(status));
        }
        let object: Arc<Object> = Arc::new(serde_json::from_str(event.object.get())?);
        version.clone_from(&object.metadata.resource_version);
        let change = match event.kind.as_str() {
            "ADDED" | "MODIFIED" => Change::Apply(self.selection.kind, object),
            "DELETED" => Change::Delete(self.selection.kind, object),
            // Bookmarks only move the version on; other types are for newer clients.
            _ => return Ok(()),
        };
        changes.send(change).await.map_err(|_| WatchError::Ended)
    }
}

async fn accepted(response: Response) -> Result<Response, WatchError> {
    let code = response.status();
    if code.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    Err(failure(Status { code: code.as_u16(), ..status }))
}

fn failure(status: Status) -> WatchError {
    match StatusCode::from_u16(status.code) {
        Ok(StatusCode::GONE) => WatchError::Expired,
        Ok(code) => WatchError::Refused { code, message: status.message },
        Err(_) => WatchError::Refused { code: StatusCode::INTERNAL_SERVER_ERROR, message: status.message },
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

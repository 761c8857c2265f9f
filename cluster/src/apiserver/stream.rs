//! Watches: an endless answer of newline-separated events.
//!
//! A watch is a cursor over the store's history and a selector; it holds no queue. When the history passes a slow
//! client, its watch ends with 410 and the client lists again. Each body chunk is one batch of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use net::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::negotiate::Shape;
use super::options::{ListOptions, Revision};
use super::reply::{self, Form};
use super::verbs::Call;
use super::{ApiServer, table};
use crate::api::status::Failure;
use crate::api::{Resource, meta};
use crate::store::watch::{Batch, Event, Watch};
use crate::store::{Range, StoreError};

/// How often a client that wants bookmarks gets one while nothing happens.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch lasts whose client does not say, in seconds; up to twice as long, so that they do not end together.
const WATCH_SECONDS: u64 = 1800;
/// The longest watch, in seconds.
const WATCH_SECONDS_MAX: u64 = 24 * 3600;
/// How many initial events are sent at once.
const INITIAL_BATCH: usize = 64;
/// Marks the bookmark behind the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One client's watch.
struct Stream {
    cursor: Box<dyn Watch>,
    resource: &'static Resource,
    form: Form,
    options: ListOptions,
    /// What was there at the start and has not been sent yet; made into lines only when the client takes them.
    initial: VecDeque<Arc<Value>>,
    /// Whether the client waits for the bookmark behind them.
    initial_end: bool,
    /// The latest revision the client has been brought to.
    revision: u64,
    /// Whether the client has been told the columns of its tables.
    columns_sent: bool,
    end: Instant,
    bookmark: Instant,
    ended: bool,
    shutdown: Shutdown,
    _permit: OwnedSemaphorePermit,
}

impl ApiServer {
    /// Starts a watch.
    pub(super) async fn watch(&self, call: &Call, options: ListOptions) -> Result<Response, Failure> {
        let permit = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| Failure::too_many_requests("the number of watches", self.limits.watches_max))?;
        let (resource, namespace) = (call.resource(), &call.target.namespace);
        let current = self.objects.store().revision();
        if let Revision::AtLeast(revision) = options.revision
            && revision > current
        {
            return Err(Failure::revision_too_large(revision, current));
        }
        let initial = match options.revision {
            Revision::Latest | Revision::Any => true,
            _ => options.initial_events,
        };
        let listed = match initial {
            true => {
                let selection = ListOptions {
                    labels: options.labels.clone(),
                    fields: options.fields.clone(),
                    limit: None,
                    ..ListOptions::default()
                };
                Some(self.everything(resource, namespace, selection).await?)
            }
            false => None,
        };
        let start = match (&listed, options.revision) {
            (Some((_, revision)), _) => *revision,
            (None, Revision::AtLeast(revision) | Revision::Exact(revision)) => revision,
            (None, _) => current,
        };
        let cursor = self.objects.store().watch(Range::new(resource, namespace), start)?;
        let seconds = options.timeout_seconds.unwrap_or_else(|| WATCH_SECONDS + rand::random::<u64>() % WATCH_SECONDS);
        let now = Instant::now();
        let initial_end = options.initial_events;
        let stream = Stream {
            cursor,
            resource,
            form: call.form,
            initial: listed.map(|(objects, _)| objects.into()).unwrap_or_default(),
            initial_end,
            revision: start,
            columns_sent: false,
            end: now + Duration::from_secs(seconds.min(WATCH_SECONDS_MAX)),
            bookmark: now + BOOKMARK_INTERVAL,
            ended: false,
            shutdown: self.shutdown.clone(),
            options,
            _permit: permit,
        };
        Ok(stream.into_response())
    }

    /// All selected objects, at one revision, whatever their number.
    async fn everything(
        &self,
        resource: &'static Resource,
        namespace: &str,
        mut options: ListOptions,
    ) -> Result<(Vec<Arc<Value>>, u64), Failure> {
        let mut objects = Vec::new();
        loop {
            let mut list = self.select(resource, namespace, &options).await?;
            objects.append(&mut list.objects);
            match list.next {
                Some(next) => options.next = Some(next),
                None => return Ok((objects, list.revision)),
            }
        }
    }
}

impl Stream {
    fn into_response(self) -> Response {
        let lines = futures_util::stream::unfold(self, |mut stream| async move {
            let chunk = stream.next().await?;
            Some((Ok::<_, std::convert::Infallible>(chunk), stream))
        });
        let mut response = Response::new(Body::from_stream(lines));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The next chunk of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.initial.is_empty() {
            let next: Vec<_> = self.initial.drain(..INITIAL_BATCH.min(self.initial.len())).collect();
            let lines: Vec<Bytes> = next.iter().map(|object| self.line("ADDED", object)).collect();
            return Some(lines.concat().into());
        }
        if std::mem::take(&mut self.initial_end) {
            return Some(self.bookmark_line(true));
        }
        let shutdown = self.shutdown.clone();
        while !self.ended {
            tokio::select! {
                biased;
                () = shutdown.stopping() => return None,
                batch = self.cursor.next() => match batch {
                    Ok(batch) => {
                        let chunk = self.batch(&batch);
                        if !chunk.is_empty() {
                            return Some(chunk);
                        }
                    }
                    Err(error) => return self.failed(error),
                },
                () = tokio::time::sleep_until(self.end) => {
                    self.ended = true;
                    return self.options.bookmarks.then(|| self.bookmark_line(false));
                }
                () = tokio::time::sleep_until(self.bookmark) => {
                    self.bookmark = Instant::now() + BOOKMARK_INTERVAL;
                    if self.options.bookmarks {
                        return Some(self.bookmark_line(false));
                    }
                }
            }
        }
        None
    }

    fn failed(&mut self, error: StoreError) -> Option<Bytes> {
        self.ended = true;
        match error {
            StoreError::Closed => None,
            error => Some(event_line("ERROR", &Failure::from(error).to_value())),
        }
    }

    /// The lines of a batch, one after the other; empty if none concerns the client.
    fn batch(&mut self, batch: &Batch) -> Bytes {
        self.revision = batch.revision;
        let mut chunk = Vec::new();
        for event in &batch.events {
            if let Some(line) = self.event(event) {
                chunk.extend_from_slice(&line);
            }
        }
        chunk.into()
    }

    /// An event as the client's selector sees it: what starts to match is added, what stops is deleted.
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        let selects = |object: &&Arc<Value>| self.options.labels.matches(object) && self.options.fields.matches(object);
        let before = event.change.before().filter(selects);
        let after = event.change.after().filter(selects);
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(self.line("ADDED", after)),
            (Some(_), Some(after)) => Some(self.line("MODIFIED", after)),
            (Some(before), None) => {
                let mut last = Value::clone(before);
                meta::metadata(&mut last).insert("resourceVersion".to_owned(), json!(event.revision.to_string()));
                Some(self.line("DELETED", &last))
            }
        }
    }

    fn line(&mut self, kind: &str, object: &Value) -> Bytes {
        match self.form.shape {
            Shape::Object => event_line(kind, object),
            Shape::Metadata => event_line(kind, &reply::partial(object)),
            Shape::Table => {
                let metadata = json!({ "resourceVersion": meta::resource_version(object) });
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                event_line(
                    kind,
                    &table::table(self.resource, std::iter::once(object), metadata, self.form.include, columns),
                )
            }
        }
    }

    /// Tells the client how far it has come.
    fn bookmark_line(&mut self, initial_end: bool) -> Bytes {
        self.bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let mut metadata = json!({ "resourceVersion": self.revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let object = match self.form.shape {
            Shape::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
            Shape::Object | Shape::Table => {
                json!({ "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata })
            }
        };
        match self.form.shape {
            Shape::Table => self.line("BOOKMARK", &object),
            _ => event_line("BOOKMARK", &object),
        }
    }
}

fn event_line(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

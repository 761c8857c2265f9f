//! Following resources: first everything there is, then every change, starting over when the history has passed.

use std::sync::Arc;
use std::time::Duration;

use net::shutdown::Shutdown;
use serde_json::Value;

use crate::api::Resource;
use crate::objects::Objects;
use crate::store::watch::Watch;
use crate::store::{Page, Range, StoreError};

/// How long to wait after a failure of the store before starting over.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A follower of one resource in all namespaces.
pub(super) struct Follow {
    resource: &'static Resource,
    cursor: Option<Box<dyn Watch>>,
}

/// The versions of an object before and after a change.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

impl Follow {
    pub(super) fn new(resource: &'static Resource) -> Self {
        Self { resource, cursor: None }
    }

    /// The next changes; at first, and when changes were missed, everything there is. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, objects: &Objects) -> Vec<Step> {
        loop {
            match self.advance(objects).await {
                Ok(steps) => return steps,
                Err(StoreError::Closed) => std::future::pending().await,
                Err(error) => {
                    tracing::debug!(resource = self.resource.plural, %error, "following starts over");
                    self.cursor = None;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn advance(&mut self, objects: &Objects) -> Result<Vec<Step>, StoreError> {
        if let Some(cursor) = &mut self.cursor {
            let batch = cursor.next().await?;
            let step = |event: &Arc<crate::store::watch::Event>| Step {
                before: event.change.before().cloned(),
                after: event.change.after().cloned(),
            };
            return Ok(batch.events.iter().map(step).collect());
        }
        let range = Range::all(self.resource);
        let listing = objects.store().list(&range, Page::default()).await?;
        self.cursor = Some(objects.store().watch(range, listing.revision)?);
        Ok(listing.objects.into_iter().map(|object| Step { before: None, after: Some(object) }).collect())
    }
}

/// Waits for a moment that is due; for ever if there is none.
pub(super) async fn due(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Runs an actor's loop body until the signal is raised.
pub(super) async fn until_stopped(shutdown: &Shutdown, actor: impl Future<Output = ()>) {
    let _ended = shutdown.until(actor).await;
}

//! Events do not stay: they are swept once they are old.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use net::shutdown::Shutdown;

use super::follow::until_stopped;
use crate::api::status::Failure;
use crate::api::{self, meta};
use crate::objects::{DeleteOptions, Objects};

/// How long an Event stays after it was last seen.
pub const EVENT_TTL: Duration = Duration::from_secs(3600);
/// How often they are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Sweeps until the signal is raised.
pub async fn run(objects: Arc<Objects>, shutdown: Shutdown) {
    until_stopped(&shutdown, async {
        loop {
            if let Err(failure) = sweep(&objects, Timestamp::now()).await {
                tracing::warn!(%failure, "cannot sweep events");
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    })
    .await;
}

async fn sweep(objects: &Objects, now: Timestamp) -> Result<(), Failure> {
    let resource = api::find("", "v1", "events").expect("events are in the table");
    let members = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    for event in objects.list(resource, "").await?.objects {
        let seen = members.iter().filter_map(|member| meta::text(&event, member).parse::<Timestamp>().ok()).max();
        let old = seen.is_none_or(|seen| now.duration_since(seen).as_secs() > EVENT_TTL.as_secs().cast_signed());
        if !old {
            continue;
        }
        match objects.delete(resource, (meta::namespace(&event), meta::name(&event)), &DeleteOptions::default()).await {
            Err(failure) if failure.reason != "NotFound" => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

//! The log receiver: notifications as lines of the program's own log, for a first look without anything else.

use std::future::{Future, ready};
use std::pin::Pin;

use super::{Failure, Notification, Sender, status};

/// Writes one line for each alert.
#[derive(Debug)]
pub struct Log;

impl Sender for Log {
    fn send<'a>(
        &'a self,
        notification: &'a Notification,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>> {
        for alert in &notification.alerts {
            let name = alert.labels.get("alertname").unwrap_or("");
            let summary = alert.annotations.get("summary").or_else(|| alert.annotations.get("description"));
            tracing::warn!(
                receiver = notification.receiver,
                alert = name,
                status = status(alert.is_resolved_at(notification.now_ms)),
                labels = %alert.labels,
                summary = summary.map_or("", String::as_str),
                "alert"
            );
        }
        Box::pin(ready(Ok(())))
    }
}

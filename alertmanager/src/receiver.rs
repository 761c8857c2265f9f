//! Receivers: where notifications go. Each configured entry is an [`Integration`].

pub mod log;
pub mod webhook;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use model::labels::Labels;

use crate::alert::Alert;
use crate::config::{Config, ConfigError, ReceiverConfig};
use crate::notify_log::IntegrationKey;
use crate::pipeline::Reason;

/// What is sent: alerts of one group.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Name of the receiver.
    pub receiver: String,
    /// The group's key.
    pub group_key: String,
    /// The group's labels.
    pub group_labels: Labels,
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// Where this router is reached.
    pub external_url: Arc<str>,
    /// Why it is sent.
    pub reason: Reason,
    /// When it was made, in milliseconds since the epoch.
    pub now_ms: i64,
}

impl Notification {
    /// `firing` while any of its alerts is.
    pub fn status(&self) -> &'static str {
        status(self.alerts.iter().all(|alert| alert.is_resolved_at(self.now_ms)))
    }

    /// Labels that all of its alerts have in common.
    pub fn common_labels(&self) -> Labels {
        let Some((first, rest)) = self.alerts.split_first() else { return Labels::empty() };
        first.labels.filtered(|name| {
            let value = first.labels.get_bytes(name);
            rest.iter().all(|alert| alert.labels.get_bytes(name) == value)
        })
    }
}

/// The word for whether something has ended.
pub fn status(resolved: bool) -> &'static str {
    if resolved { "resolved" } else { "firing" }
}

/// Why a notification was not taken. Texts never hold the address, which may be secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It may be taken later.
    #[error("{0}")]
    Retry(String),
    /// It never will.
    #[error("{0}")]
    Final(String),
}

/// Sends notifications one way.
pub trait Sender: Send + Sync {
    /// Sends one notification; called again after [`Failure::Retry`].
    fn send<'a>(
        &'a self,
        notification: &'a Notification,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;
}

/// One configured way of a receiver.
#[derive(Clone)]
pub struct Integration {
    /// Its identity in the notification log.
    pub key: IntegrationKey,
    /// Whether it hears of ended alerts.
    pub send_resolved: bool,
    /// How it sends.
    pub sender: Arc<dyn Sender>,
}

/// Builds all integrations of a receiver.
///
/// # Errors
/// If a client cannot be built.
pub async fn integrations(config: &Config, receiver: &ReceiverConfig) -> Result<Vec<Integration>, ConfigError> {
    let mut all = Vec::new();
    let key = |integration, index: usize| IntegrationKey {
        receiver: receiver.name.clone(),
        integration,
        index: index as u32,
    };
    for (index, webhook) in receiver.webhook_configs.iter().enumerate() {
        let sender = webhook::Webhook::new(webhook, config.http_client(webhook))
            .await
            .map_err(|source| ConfigError::Client { receiver: receiver.name.clone(), source })?;
        all.push(Integration {
            key: key("webhook", index),
            send_resolved: webhook.send_resolved.unwrap_or(true),
            sender: Arc::new(sender),
        });
    }
    for (index, log) in receiver.log_configs.iter().enumerate() {
        all.push(Integration {
            key: key("log", index),
            send_resolved: log.send_resolved.unwrap_or(true),
            sender: Arc::new(log::Log),
        });
    }
    Ok(all)
}

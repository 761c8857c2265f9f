//! The router's own instruments, under Alertmanager's names.

use exposition::registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Labels of instruments.
pub type InstrumentLabels = Vec<(&'static str, String)>;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Alerts received, by status.
    pub received: Family<InstrumentLabels, Counter>,
    /// Alerts refused.
    pub invalid: Counter,
    /// Notifications sent, by integration.
    pub notifications: Family<InstrumentLabels, Counter>,
    /// Notifications that failed for good, by integration.
    pub notifications_failed: Family<InstrumentLabels, Counter>,
    /// Attempts, by integration.
    pub requests: Family<InstrumentLabels, Counter>,
    /// Failed attempts, by integration.
    pub requests_failed: Family<InstrumentLabels, Counter>,
    /// Alerts not sent because they are muted, by reason.
    pub suppressed: Family<InstrumentLabels, Counter>,
    /// Groups there are.
    pub groups: Gauge,
    /// Whether the last reload succeeded.
    pub reload_successful: Gauge,
}

impl Metrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let m = Self::default();
        registry.register(|r| {
            r.register("alertmanager_alerts_received", "Received alerts", m.received.clone());
            r.register("alertmanager_alerts_invalid", "Received alerts that were invalid", m.invalid.clone());
            r.register("alertmanager_notifications", "Attempted notifications", m.notifications.clone());
            r.register("alertmanager_notifications_failed", "Failed notifications", m.notifications_failed.clone());
            r.register("alertmanager_notification_requests", "Attempted notification requests", m.requests.clone());
            r.register(
                "alertmanager_notification_requests_failed",
                "Failed notification requests",
                m.requests_failed.clone(),
            );
            r.register(
                "alertmanager_notifications_suppressed",
                "Notifications suppressed for being silenced or inhibited",
                m.suppressed.clone(),
            );
            r.register("alertmanager_dispatcher_aggregation_groups", "Active aggregation groups", m.groups.clone());
            r.register(
                "alertmanager_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful",
                m.reload_successful.clone(),
            );
        });
        m
    }
}

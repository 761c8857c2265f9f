//! The rule engine's own instruments, under Prometheus' names.

use exposition::registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::AtomicU64;

/// Labels of instruments per rule group or Alertmanager.
pub type InstrumentLabels = Vec<(&'static str, String)>;
/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Shared by all groups; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Evaluations by group.
    pub evaluations: Family<InstrumentLabels, Counter>,
    /// Failed evaluations by group.
    pub evaluation_failures: Family<InstrumentLabels, Counter>,
    /// Iterations by group.
    pub iterations: Family<InstrumentLabels, Counter>,
    /// Iterations that did not happen because the one before took too long.
    pub iterations_missed: Family<InstrumentLabels, Counter>,
    /// How long the last iteration took.
    pub last_duration: Family<InstrumentLabels, Seconds>,
    /// When it was.
    pub last_evaluation: Family<InstrumentLabels, Seconds>,
    /// Samples it wrote.
    pub last_samples: Family<InstrumentLabels, Gauge>,
    /// Rules by group.
    pub rules: Family<InstrumentLabels, Gauge>,
    /// Time between iterations.
    pub interval: Family<InstrumentLabels, Seconds>,
    /// Alerts sent, by Alertmanager.
    pub sent: Family<InstrumentLabels, Counter>,
    /// Alerts whose sending failed, by Alertmanager.
    pub errors: Family<InstrumentLabels, Counter>,
    /// Alerts dropped because a queue was full or sending failed for good.
    pub dropped: Family<InstrumentLabels, Counter>,
    /// Alerts waiting, by Alertmanager.
    pub queue_length: Family<InstrumentLabels, Gauge>,
    /// How many may wait.
    pub queue_capacity: Gauge,
    /// Alertmanagers there are.
    pub alertmanagers: Gauge,
}

impl Metrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let m = Self::default();
        registry.register(|r| {
            r.register("prometheus_rule_evaluations", "Rule evaluations", m.evaluations.clone());
            r.register(
                "prometheus_rule_evaluation_failures",
                "Rule evaluation failures",
                m.evaluation_failures.clone(),
            );
            r.register("prometheus_rule_group_iterations", "Scheduled rule group evaluations", m.iterations.clone());
            r.register(
                "prometheus_rule_group_iterations_missed",
                "Rule group evaluations missed due to slow evaluation",
                m.iterations_missed.clone(),
            );
            r.register(
                "prometheus_rule_group_last_duration_seconds",
                "Duration of the last rule group evaluation",
                m.last_duration.clone(),
            );
            r.register(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "Time of the last rule group evaluation",
                m.last_evaluation.clone(),
            );
            r.register(
                "prometheus_rule_group_last_evaluation_samples",
                "Samples returned by the last rule group evaluation",
                m.last_samples.clone(),
            );
            r.register("prometheus_rule_group_rules", "Rules in the group", m.rules.clone());
            r.register("prometheus_rule_group_interval_seconds", "Interval of the rule group", m.interval.clone());
            r.register("prometheus_notifications_sent", "Alerts sent", m.sent.clone());
            r.register("prometheus_notifications_errors", "Alerts whose sending failed", m.errors.clone());
            r.register("prometheus_notifications_dropped", "Alerts dropped", m.dropped.clone());
            r.register("prometheus_notifications_queue_length", "Alerts waiting to be sent", m.queue_length.clone());
            r.register("prometheus_notifications_queue_capacity", "Alerts that may wait", m.queue_capacity.clone());
            r.register(
                "prometheus_notifications_alertmanagers_discovered",
                "Alertmanagers discovered and active",
                m.alertmanagers.clone(),
            );
        });
        m
    }
}

//! Restoring alerts' `for` state after a restart, from the `ALERTS_FOR_STATE` series they left.

use model::duration::Duration;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::sample::{Timestamp, is_stale};
use model::storage::{Columns, Order, Queryable, SelectHints, StorageError};

use crate::alerting::{ALERTS_FOR_STATE, AlertingRule};

/// How state is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreConfig {
    /// How long an outage may have been.
    pub outage_tolerance: Duration,
    /// An alert whose remaining time is shorter than this waits this long; rules with a shorter `for` are not restored.
    pub grace_period: Duration,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self { outage_tolerance: Duration::from_seconds(3600), grace_period: Duration::from_seconds(600) }
    }
}

/// Moves the pending alerts of `rule` back to when they became active before the restart.
///
/// # Errors
/// If the storage cannot be read; the alerts then start anew.
pub fn restore(
    rule: &mut AlertingRule,
    storage: &dyn Queryable,
    at: Timestamp,
    config: &RestoreConfig,
) -> Result<(), StorageError> {
    rule.restored = true;
    if rule.hold < config.grace_period || rule.alerts.is_empty() {
        return Ok(());
    }
    let from = at - config.outage_tolerance.as_millis();
    let querier = storage.querier(from, at)?;
    let matchers = [Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE), Matcher::equal("alertname", &rule.name)];
    let mut found = querier.select(Order::Any, &SelectHints::default(), &matchers)?;
    let mut columns = Columns::default();
    while let Some(series) = found.advance()? {
        let labels: Labels = series.labels().without_metric_name();
        let Some(alert) = rule.alerts.get_mut(&labels.hash64()) else { continue };
        columns.clear();
        series.read(&mut columns)?;
        // The first evaluation after the start may have written already: what counts is from before it.
        let last =
            columns.timestamps.iter().zip(&columns.values).rfind(|(time, value)| **time < at.0 && !is_stale(**value));
        if let Some((down_at, active_at)) = last {
            alert.active_at = active_since(at.0, *down_at, (*active_at * 1000.0) as i64, rule.hold, config);
        }
    }
    Ok(())
}

/// The time an alert counts as active from: what it had waited is kept, the outage does not count as waiting.
fn active_since(at: i64, down_at: i64, active_at: i64, hold: Duration, config: &RestoreConfig) -> i64 {
    let (hold, grace) = (hold.as_millis(), config.grace_period.as_millis());
    let remaining = hold - (down_at - active_at);
    if remaining <= 0 {
        // It was firing.
        active_at
    } else if remaining < grace {
        at + grace - hold
    } else {
        active_at + (at - down_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_goes_on_where_it_was() {
        let config =
            RestoreConfig { outage_tolerance: Duration::from_seconds(3600), grace_period: Duration::from_seconds(60) };
        let since = |active_at: i64, down_at: i64, at: i64| {
            active_since(at * 1000, down_at * 1000, active_at * 1000, Duration::from_seconds(600), &config) / 1000
        };
        assert_eq!(since(0, 700, 800), 0, "was firing, fires at once");
        assert_eq!(since(0, 100, 200), 100, "had waited 100 s, waits 500 s more");
        assert_eq!(since(0, 590, 800), 260, "had 10 s to go, waits for the grace period");
    }
}

//! The alerts there are, by fingerprint; ended ones are forgotten after a while.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::alert::Alert;

/// The most alerts kept; further new ones are refused.
pub const ALERTS_MAX: usize = 1_000_000;

/// All alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    by_fingerprint: RwLock<HashMap<u64, Alert>>,
}

impl Alerts {
    /// Takes an alert and gives it back merged with what was known; `None` if there are too many.
    pub fn put(&self, alert: Alert, now_ms: i64) -> Option<Alert> {
        let fingerprint = alert.fingerprint();
        let mut alerts = self.by_fingerprint.write();
        let merged = match alerts.get(&fingerprint) {
            // Only what overlaps is one alert; else the old one ended and a new one began.
            Some(known) if overlap(known, &alert) => known.merged_with(&alert, now_ms),
            Some(_) => alert,
            None if alerts.len() >= ALERTS_MAX => return None,
            None => alert,
        };
        alerts.insert(fingerprint, merged.clone());
        Some(merged)
    }

    /// One alert.
    pub fn get(&self, fingerprint: u64) -> Option<Alert> {
        self.by_fingerprint.read().get(&fingerprint).cloned()
    }

    /// Alerts that have not ended.
    pub fn firing(&self, now_ms: i64) -> Vec<Alert> {
        self.by_fingerprint.read().values().filter(|a| !a.is_resolved_at(now_ms)).cloned().collect()
    }

    /// How many there are, ended ones too.
    pub fn len(&self) -> usize {
        self.by_fingerprint.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets alerts that ended.
    pub fn collect_garbage(&self, now_ms: i64) {
        self.by_fingerprint.write().retain(|_, alert| !alert.is_resolved_at(now_ms));
    }
}

fn overlap(a: &Alert, b: &Alert) -> bool {
    let inside = |time: i64, of: &Alert| time > of.starts_at_ms && time < of.ends_at_ms;
    inside(b.ends_at_ms, a)
        || inside(b.starts_at_ms, a)
        || (b.starts_at_ms <= a.starts_at_ms && b.ends_at_ms >= a.ends_at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    fn alert(starts: i64, ends: i64, guessed: bool) -> Alert {
        Alert {
            labels: labels! { "alertname" => "a" },
            annotations: Default::default(),
            starts_at_ms: starts,
            ends_at_ms: ends,
            updated_at_ms: starts,
            generator_url: String::new(),
            ends_by_timeout: guessed,
        }
    }

    #[test]
    fn the_earliest_start_and_the_end_that_was_said_win() {
        let alerts = Alerts::default();
        alerts.put(alert(100, 500, true), 110).unwrap();
        let merged = alerts.put(alert(200, 600, true), 210).unwrap();
        assert_eq!((merged.starts_at_ms, merged.ends_at_ms), (100, 600));
        let resolved = alerts.put(alert(200, 250, false), 260).unwrap();
        assert_eq!((resolved.starts_at_ms, resolved.ends_at_ms), (100, 250));
        let again = alerts.put(alert(300, 900, true), 310).unwrap();
        assert_eq!(again.starts_at_ms, 300, "a new one began");
        alerts.collect_garbage(1000);
        assert!(alerts.is_empty());
    }
}

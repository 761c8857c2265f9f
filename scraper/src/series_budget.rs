//! How many active series a job may have: new series beyond a limit are dropped, known ones go on, the scrape succeeds.
//!
//! All targets of a job share one budget. A series takes its place when its first sample is accepted and gives it back
//! when it goes stale; then another may come. What no limit is set for costs a lock per new series, nothing per sample.

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::config::Limits;

/// How many metrics of a job are told apart where series per metric are limited. What comes after them counts for the
/// job alone.
pub const METRICS_MAX: usize = 100_000;

/// Where a metric's series are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricSlot(u32);

impl MetricSlot {
    /// Nowhere: series per metric are not limited.
    pub const NONE: Self = Self(u32::MAX);
}

/// The limit that refuses a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// `active_series_limit`
    Job,
    /// `metric_series_limit`
    Metric,
}

/// What a job's series come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeriesCounts {
    /// Active now.
    pub active: u64,
    /// Samples dropped because their series were over `active_series_limit`.
    pub over_active_limit: u64,
    /// Samples dropped because their series were over `metric_series_limit`.
    pub over_metric_limit: u64,
}

#[derive(Debug, Default)]
struct Counted {
    totals: SeriesCounts,
    /// Active series by metric.
    metrics: Vec<u64>,
    slots: HashMap<Box<str>, u32>,
}

/// See the module's text. Invariant: `totals.active` is the sum of what was admitted and not released.
#[derive(Debug, Default)]
pub struct SeriesBudget {
    counted: Mutex<Counted>,
}

impl SeriesBudget {
    /// Where series of `metric` are counted under `limits`.
    pub fn slot(&self, limits: &Limits, metric: &str) -> MetricSlot {
        if limits.metric_series == 0 {
            return MetricSlot::NONE;
        }
        let mut counted = self.counted.lock();
        if let Some(slot) = counted.slots.get(metric) {
            return MetricSlot(*slot);
        }
        if counted.metrics.len() >= METRICS_MAX {
            return MetricSlot::NONE;
        }
        let slot = u32::try_from(counted.metrics.len()).expect("METRICS_MAX is less");
        counted.metrics.push(0);
        counted.slots.insert(metric.into(), slot);
        MetricSlot(slot)
    }

    /// Takes a place for one more series.
    ///
    /// # Errors
    /// The limit that leaves none.
    pub fn admit(&self, limits: &Limits, slot: MetricSlot) -> Result<(), Exceeded> {
        let mut counted = self.counted.lock();
        if limits.active_series > 0 && counted.totals.active >= limits.active_series {
            counted.totals.over_active_limit += 1;
            return Err(Exceeded::Job);
        }
        let Counted { totals, metrics, .. } = &mut *counted;
        if let Some(active) = metrics.get_mut(slot.0 as usize) {
            if limits.metric_series > 0 && *active >= limits.metric_series {
                totals.over_metric_limit += 1;
                return Err(Exceeded::Metric);
            }
            *active += 1;
        }
        totals.active += 1;
        Ok(())
    }

    /// Gives places back.
    pub fn release(&self, slots: &[MetricSlot]) {
        if slots.is_empty() {
            return;
        }
        let mut counted = self.counted.lock();
        counted.totals.active = counted.totals.active.saturating_sub(slots.len() as u64);
        for slot in slots {
            if let Some(active) = counted.metrics.get_mut(slot.0 as usize) {
                *active = active.saturating_sub(1);
            }
        }
    }

    /// The counts as they stand.
    pub fn counts(&self) -> SeriesCounts {
        self.counted.lock().totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_refused_and_given_back() {
        let budget = SeriesBudget::default();
        let limits = Limits { active_series: 3, metric_series: 2, ..Limits::default() };
        let (a, b) = (budget.slot(&limits, "a"), budget.slot(&limits, "b"));
        assert_ne!(a, b);
        assert_eq!(budget.slot(&limits, "a"), a);
        assert_eq!([a, a, a].map(|slot| budget.admit(&limits, slot)), [Ok(()), Ok(()), Err(Exceeded::Metric)]);
        assert_eq!([b, b].map(|slot| budget.admit(&limits, slot)), [Ok(()), Err(Exceeded::Job)]);
        budget.release(&[a]);
        assert_eq!(budget.admit(&limits, a), Ok(()));
        assert_eq!(budget.counts(), SeriesCounts { active: 3, over_active_limit: 1, over_metric_limit: 1 });
    }

    #[test]
    fn without_limits_series_are_only_counted() {
        let budget = SeriesBudget::default();
        let limits = Limits::default();
        let slot = budget.slot(&limits, "a");
        assert_eq!(slot, MetricSlot::NONE);
        assert!((0..10).all(|_| budget.admit(&limits, slot).is_ok()));
        budget.release(&[slot; 4]);
        assert_eq!(budget.counts().active, 6);
    }
}

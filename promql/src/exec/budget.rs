//! What a query may hold in memory, counted as it is taken and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Limit};

/// Samples and bytes held by one query. Shared by its operators and threads.
#[derive(Debug)]
pub(crate) struct Budget {
    max_samples: u64,
    max_bytes: u64,
    samples: AtomicU64,
    bytes: AtomicU64,
    peak_samples: AtomicU64,
    peak_bytes: AtomicU64,
    total_samples: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max_samples: u64, max_bytes: u64) -> Self {
        Self {
            max_samples,
            max_bytes,
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            peak_samples: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            total_samples: AtomicU64::new(0),
        }
    }

    /// Takes samples and bytes until the charge is dropped.
    ///
    /// # Errors
    /// If a limit would be passed; nothing is then taken.
    pub(crate) fn charge(self: &Arc<Self>, samples: u64, bytes: u64) -> Result<Charge, Error> {
        let charge = Charge { budget: Some(Arc::clone(self)), samples, bytes };
        let held_samples = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        let held_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak_samples.fetch_max(held_samples, Ordering::Relaxed);
        self.peak_bytes.fetch_max(held_bytes, Ordering::Relaxed);
        if held_samples > self.max_samples {
            return Err(Error::Limit(Limit::Samples { max: self.max_samples }));
        }
        if held_bytes > self.max_bytes {
            return Err(Error::Limit(Limit::Bytes { max: self.max_bytes }));
        }
        Ok(charge)
    }

    pub(crate) fn max_samples(&self) -> u64 {
        self.max_samples
    }

    /// Counts samples that were looked at, for the statistics.
    pub(crate) fn count(&self, samples: u64) {
        self.total_samples.fetch_add(samples, Ordering::Relaxed);
    }

    pub(crate) fn total_samples(&self) -> u64 {
        self.total_samples.load(Ordering::Relaxed)
    }

    pub(crate) fn peak_samples(&self) -> u64 {
        self.peak_samples.load(Ordering::Relaxed)
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

/// A part of a budget, given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    samples: u64,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.samples.fetch_sub(self.samples, Ordering::Relaxed);
            budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_refused_beyond_the_limit_and_given_back() {
        let budget = Arc::new(Budget::new(10, 1000));
        let first = budget.charge(8, 0).unwrap();
        assert!(matches!(budget.charge(3, 0), Err(Error::Limit(Limit::Samples { max: 10 }))));
        drop(first);
        let second = budget.charge(10, 1000).unwrap();
        assert!(matches!(budget.charge(0, 1), Err(Error::Limit(Limit::Bytes { max: 1000 }))));
        drop(second);
        assert_eq!((budget.peak_samples(), budget.samples.load(Ordering::Relaxed)), (11, 0));
    }
}

//! What queries hold in memory, counted as it is taken and given back: each by itself, and all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Limit};

/// Bytes held, and the most there ever were.
#[derive(Debug, Default)]
pub struct Usage {
    held: AtomicU64,
    peak: AtomicU64,
}

impl Usage {
    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes held at a time.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> u64 {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(held, Ordering::Relaxed);
        held
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one query may hold. Shared by its operators and threads.
#[derive(Debug)]
pub(crate) struct Budget {
    own: Arc<Usage>,
    own_max: u64,
    /// Of all queries of the engine.
    total: Arc<Usage>,
    total_max: u64,
}

impl Budget {
    pub(crate) fn new(own: Arc<Usage>, own_max: u64, total: Arc<Usage>, total_max: u64) -> Self {
        Self { own, own_max, total, total_max }
    }

    /// Takes bytes until the charge is dropped.
    ///
    /// # Errors
    /// If a limit would be passed; nothing is then taken.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, Error> {
        let mut charge = Charge { budget: Some(Arc::clone(self)), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }

    /// The most bytes the query held at a time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.own.peak()
    }
}

/// A part of a budget, given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

impl Charge {
    /// Takes more.
    ///
    /// # Errors
    /// If a limit would be passed; the charge then stays as it was, or is given back soon: its query is over.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        let Some(budget) = &self.budget else { return Ok(()) };
        self.bytes += bytes;
        let (own, total) = (budget.own.take(bytes), budget.total.take(bytes));
        if own > budget.own_max {
            return Err(Error::Limit(Limit::Bytes { max: budget.own_max }));
        }
        if total > budget.total_max {
            return Err(Error::Limit(Limit::TotalBytes { max: budget.total_max }));
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.own.give_back(self.bytes);
            budget.total.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_refused_beyond_either_limit_and_given_back() {
        let total = Arc::new(Usage::default());
        let budget = |max| Arc::new(Budget::new(Arc::default(), max, Arc::clone(&total), 1500));
        let (a, b) = (budget(1000), budget(1000));
        let first = a.charge(800).unwrap();
        assert!(matches!(a.charge(201), Err(Error::Limit(Limit::Bytes { max: 1000 }))));
        assert!(matches!(b.charge(701), Err(Error::Limit(Limit::TotalBytes { max: 1500 }))));
        drop(first);
        let mut second = b.charge(900).unwrap();
        second.grow(100).unwrap();
        assert!(second.grow(1).is_err());
        drop(second);
        assert_eq!((total.held(), a.own.held(), b.own.held()), (0, 0, 0));
        assert_eq!((a.peak_bytes(), b.peak_bytes()), (1001, 1001));
    }
}

//! How a running query is told to stop: by a flag anyone may set, or by a deadline that its caller's clock decides.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// A handle on a query: whoever holds a clone can cancel it. Clones share the flag.
#[derive(Clone, Default)]
pub struct CancelToken {
    canceled: Arc<AtomicBool>,
    /// Whether the time allowed is over. The crate reads no clock; the caller does.
    expired: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl CancelToken {
    /// A token without a deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that also ends the query once `expired` says so. It is asked often, from many threads.
    pub fn with_deadline(expired: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { canceled: Arc::default(), expired: Some(Arc::new(expired)) }
    }

    /// Ends the query.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Whether the query was told to end.
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }

    /// # Errors
    /// If the query has to end while doing `stage`.
    pub(crate) fn check(&self, stage: &'static str) -> Result<(), Error> {
        if self.is_canceled() {
            return Err(Error::Canceled { stage });
        }
        match &self.expired {
            Some(expired) if expired() => Err(Error::Timeout { stage }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("canceled", &self.is_canceled()).finish_non_exhaustive()
    }
}

//! The one place that reads the wall clock, so that tests can own it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the wall-clock time.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Starts at `start_ms` and moves with tokio's timer, which tests pause and advance.
    Timer {
        /// When it started by the timer.
        started: Instant,
        /// What it showed then, in milliseconds since the epoch.
        start_ms: i64,
    },
}

impl Clock {
    /// A clock that shows `start_ms` now and moves with tokio's timer.
    pub fn timer(start_ms: i64) -> Self {
        Clock::Timer { started: Instant::now(), start_ms }
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match self {
            Clock::System => {
                // A clock set before 1970 shows as 0.
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
            }
            Clock::Timer { started, start_ms } => {
                start_ms + i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX)
            }
        }
    }
}

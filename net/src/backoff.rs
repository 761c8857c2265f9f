//! Waiting longer after each failure in a row.

use std::time::Duration;

/// Doubles from `min` to `max` and starts over after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// `min <= next <= max`
    next: Duration,
}

impl Backoff {
    /// Waits `min` first and never more than `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let max = max.max(min);
        Self { min, max, next: min }
    }

    /// How long to wait now; the next wait is twice as long.
    pub fn advance(&mut self) -> Duration {
        let now = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        now
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

/// `base` lengthened by up to a tenth, by `random` in 0..=1, so that many clients do not come back at once.
pub fn jittered(base: Duration, random: f64) -> Duration {
    base.mul_f64(1.0 + 0.1 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_millis(100));
        let waits: Vec<u128> = (0..4).map(|_| backoff.advance().as_millis()).collect();
        assert_eq!(waits, [30, 60, 100, 100]);
        backoff.reset();
        assert_eq!(backoff.advance().as_millis(), 30);
        assert_eq!(jittered(Duration::from_secs(10), 1.0), Duration::from_secs(11));
    }
}

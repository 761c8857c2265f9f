//! Start timestamps: when the counting of each sample began, and what that says about resets between samples.

/// The times of samples with the start timestamps of their counting; without any, nothing is known of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Starts<'a> {
    times: &'a [i64],
    /// As long as `times`, or empty if no sample has one. 0 is unknown.
    starts: &'a [i64],
}

impl<'a> Starts<'a> {
    pub(crate) fn new(times: &'a [i64], starts: &'a [i64]) -> Self {
        debug_assert!(starts.is_empty() || starts.len() == times.len(), "one for each sample or none");
        Self { times, starts }
    }

    /// The start timestamp of sample `i`; 0 if it is not known.
    pub(crate) fn at(self, i: usize) -> i64 {
        self.starts.get(i).copied().unwrap_or(0)
    }

    /// Whether the counting of sample `i` began after sample `i - 1`; `i > 0`.
    #[inline]
    pub(crate) fn reset_before(self, i: usize) -> bool {
        !self.starts.is_empty() && is_reset((self.at(i - 1), self.times[i - 1]), (self.at(i), self.times[i]))
    }

    /// Whether some sample claims to have begun before the sample in front of it, yet not together with that one.
    pub(crate) fn overlap(self) -> bool {
        (1..self.starts.len()).any(|i| {
            let start = self.at(i);
            start != 0 && start < self.times[i - 1] && start != self.at(i - 1)
        })
    }

    /// The start of the first sample, if it lies behind `after` and before the sample: the counter was 0 there.
    pub(crate) fn first_behind(self, after: i64) -> Option<i64> {
        let start = self.at(0);
        (start != 0 && start > after && start < *self.times.first()?).then_some(start)
    }
}

/// Whether a counter was reset between two samples, each given as start timestamp and time.
pub(crate) fn is_reset(previous: (i64, i64), current: (i64, i64)) -> bool {
    let ((previous_start, previous_time), (start, time)) = (previous, current);
    // Unknown, or not before its own sample (which is how some say "unknown").
    if start == 0 || start >= time || start < previous_time {
        return false;
    }
    if start > previous_time {
        return true;
    }
    // It began at the sample before: a delta, if that one's own start is known; else a cumulative series whose start
    // is not known.
    previous_start != 0 && previous_start < previous_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_behind_the_sample_before_is_a_reset() {
        for (previous, current, expected) in [
            ((0, 10), (0, 20), false),
            ((5, 10), (5, 20), false),
            ((5, 10), (15, 20), true),
            ((5, 10), (20, 20), false),
            ((5, 10), (25, 20), false),
            ((5, 10), (10, 20), true),
            ((0, 10), (10, 20), false),
            ((10, 10), (10, 20), false),
            ((12, 10), (10, 20), false),
        ] {
            assert_eq!(is_reset(previous, current), expected, "{previous:?} {current:?}");
        }
    }

    #[test]
    fn overlaps_and_first_starts() {
        let times = [10, 20, 30];
        assert!(!Starts::new(&times, &[]).overlap());
        assert!(!Starts::new(&times, &[1, 1, 20]).overlap());
        assert!(Starts::new(&times, &[1, 2, 2]).overlap());
        assert_eq!(Starts::new(&times, &[5, 0, 0]).first_behind(4), Some(5));
        assert_eq!(Starts::new(&times, &[5, 0, 0]).first_behind(5), None);
        assert_eq!(Starts::new(&times, &[10, 0, 0]).first_behind(0), None);
        assert_eq!(Starts::default().first_behind(0), None);
    }
}

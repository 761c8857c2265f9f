//! Deleting from the head's series.

use model::matcher::Matcher;

use super::Head;
use super::slab::Slot;
use crate::tombstones::Interval;
use crate::wal::record::Tombstone;

impl Head {
    /// Tombstones over what the matched series hold in the range, not yet entered.
    pub(crate) fn tombstones_for(&self, min_time: i64, max_time: i64, matchers: &[Matcher]) -> Vec<(Slot, Tombstone)> {
        let stone = |slot: Slot| {
            let series = self.slab.cell(slot)?.lock();
            // Clipped to what is there: samples appended later are not deleted.
            let in_order = series.first_time().zip(series.last_time());
            let late = series.late.as_ref().and_then(|late| late.times());
            let (first, last) = in_order.into_iter().chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
            let (min_time, max_time) = (min_time.max(first), max_time.min(last));
            let tombstone = Tombstone { series: series.wal_ref, min_time, max_time };
            (min_time <= max_time).then_some((slot, tombstone))
        };
        self.select(matchers).iter().filter_map(stone).collect()
    }

    /// Enters tombstones that the log has.
    pub(crate) fn enter_tombstones(&self, entered: &[(Slot, Tombstone)]) {
        let mut tombstones = self.tombstones.write();
        for (slot, stone) in entered {
            tombstones.add(*slot, Interval { min_time: stone.min_time, max_time: stone.max_time });
        }
    }
}

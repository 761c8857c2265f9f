//! Forgetting: chunks before a time, series without chunks, and, once no reader needs them, their slots.

use std::sync::atomic::Ordering;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use model::labels::Labels;
use model::storage::StorageError;

use super::index::remove_in;
use super::slab::Slot;
use super::symbols::Symbol;
use super::{Head, Times};
use crate::wal::record::WalRef;

/// Removed series whose slots some reader may still look at.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    /// With the last reader that began before the removal, in order of it.
    graves: Vec<(u64, Slot)>,
}

/// What a truncation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Truncated {
    pub(crate) chunks: usize,
    pub(crate) series: usize,
}

impl Times {
    /// Hides everything before `min_time` from readers that begin from now on, and refuses appends there.
    pub(crate) fn raise_min_valid(&self, min_time: i64) {
        self.min_valid.fetch_max(min_time, Ordering::AcqRel);
    }

    fn set_min(&self, min: i64) {
        self.min.store(min, Ordering::Release);
    }
}

impl Head {
    /// Drops chunks that end before `min_time` and series left without any. The caller has raised the head's lower bound
    /// and waited for the readers that began before.
    pub(crate) fn truncate(&self, min_time: i64) -> Result<Truncated, StorageError> {
        self.bury();
        let mut truncated = Truncated::default();
        let mut first_time = i64::MAX;
        for slot in 0..self.slab.end() {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let is_idle = {
                let mut series = cell.lock();
                truncated.chunks += series.truncate(min_time);
                first_time = first_time.min(series.first_time().unwrap_or(i64::MAX));
                series.is_idle()
            };
            if is_idle && self.remove(slot) {
                truncated.series += 1;
            }
        }
        self.times.set_min(first_time);
        // Late samples stay until they are in a block, and so does what is deleted of them.
        let needed_from = min_time.min(self.times.late().0);
        self.tombstones.write().truncate(needed_from);
        self.metadata.write().shrink();
        self.instruments.head.series_removed.add(truncated.series as u64);
        self.instruments.head.series.add(-(truncated.series as i64));
        self.instruments.head.chunks_removed.add(truncated.chunks as u64);
        self.instruments.head.chunks.add(-(truncated.chunks as i64));
        self.mapped.truncate(needed_from)?;
        Ok(truncated)
    }

    /// The numbers under which the log knows living series.
    pub(crate) fn living_refs(&self) -> HashSet<WalRef, RandomState> {
        let cells = (0..self.slab.end()).filter_map(|slot| self.slab.cell(slot));
        let living = cells.filter_map(|cell| {
            let series = cell.lock();
            (series.wal_ref != 0 && !series.is_dead).then_some(series.wal_ref)
        });
        let mut living: HashSet<WalRef, RandomState> = living.collect();
        let mut aliases = self.work.aliases.lock();
        aliases.retain(|(_, id)| living.contains(&id.wal_ref));
        living.extend(aliases.iter().map(|(alias, _)| *alias));
        living
    }

    /// Unlinks an idle series. Its slot is buried for readers that began before.
    pub(super) fn remove(&self, slot: Slot) -> bool {
        let labels = self.labels_at(slot);
        let hash = labels.hash64();
        let mut stripe = self.index.lock(hash);
        let Some(symbols) = self.kill(slot, &labels) else {
            return false;
        };
        remove_in(&mut stripe, hash, slot);
        self.postings.write().remove(slot, &symbols);
        drop(stripe);
        self.tombstones.write().remove(slot);
        self.metadata.write().remove(slot);
        self.work.graveyard.lock().graves.push((self.isolation.last_reader(), slot));
        true
    }

    /// Marks the series dead if it is still idle: an appender may have come in between.
    fn kill(&self, slot: Slot, labels: &Labels) -> Option<Box<[Symbol]>> {
        let mut series = self.slab.cell(slot)?.lock();
        if !series.is_idle() || labels.is_empty() && !series.symbols.is_empty() {
            return None;
        }
        series.is_dead = true;
        Some(series.symbols.clone())
    }

    /// Frees the slots that no reader looks at any more.
    pub(crate) fn bury(&self) {
        let mut graveyard = self.work.graveyard.lock();
        let ready = graveyard.graves.iter().take_while(|(reader, _)| !self.isolation.has_reader_through(*reader));
        let ready = ready.count();
        for (_, slot) in graveyard.graves.drain(..ready) {
            let Some(cell) = self.slab.cell(slot) else {
                continue;
            };
            let series = std::mem::take(&mut *cell.lock());
            {
                let mut table = self.symbols.write();
                series.symbols.iter().for_each(|symbol| table.release(*symbol));
            }
            self.slab.give_back(slot);
        }
    }
}

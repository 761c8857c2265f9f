//! What series' families say of themselves. Thousands of series share one text, so it is kept once.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use model::metadata::Metadata;
use model::storage::SeriesRef;

use super::slab::Slot;
use super::{Head, split_ref};
use crate::exemplars::hash_of;

/// Metadata by series.
#[derive(Debug, Default)]
pub(crate) struct SeriesMetadata {
    by_slot: HashMap<Slot, Arc<Metadata>, RandomState>,
    /// Each text once.
    shared: HashTable<Arc<Metadata>>,
    hasher: RandomState,
}

impl SeriesMetadata {
    /// The metadata of a series, if any was ever told.
    pub(crate) fn of(&self, slot: Slot) -> Option<&Arc<Metadata>> {
        self.by_slot.get(&slot)
    }

    /// Enters metadata of a series.
    pub(crate) fn set(&mut self, slot: Slot, metadata: &Metadata) {
        let hasher = &self.hasher;
        let hash = |m: &Metadata| hash_of(hasher, (m.metric_type, &m.unit, &m.help));
        let entry = self.shared.entry(hash(metadata), |found| **found == *metadata, |found| hash(found));
        let shared = Arc::clone(entry.or_insert_with(|| Arc::new(metadata.clone())).get());
        self.by_slot.insert(slot, shared);
    }

    /// Forgets a removed series.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.by_slot.remove(&slot);
    }

    /// Forgets texts that no series has any more.
    pub(crate) fn shrink(&mut self) {
        self.shared.retain(|metadata| Arc::strong_count(metadata) > 1);
    }

    /// All series with metadata.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Arc<Metadata>)> {
        self.by_slot.iter().map(|(slot, metadata)| (*slot, metadata))
    }
}

impl Head {
    /// The metadata of a living series.
    pub(crate) fn metadata_of(&self, series: SeriesRef) -> Option<Arc<Metadata>> {
        let (slot, generation) = split_ref(series);
        if !self.slab.cell(slot)?.lock().is_alive(generation) {
            return None;
        }
        self.metadata.read().of(slot).cloned()
    }

    /// Metadata by metric name, each pair once.
    pub(crate) fn metadata_by_name(&self, limit: usize) -> Vec<(String, Arc<Metadata>)> {
        let all: Vec<(Slot, Arc<Metadata>)> =
            self.metadata.read().iter().map(|(slot, metadata)| (slot, Arc::clone(metadata))).collect();
        let name_of = |slot| self.labels_at(slot).metric_name().map(str::to_owned);
        let named = all.into_iter().filter_map(|(slot, metadata)| Some((name_of(slot)?, metadata)));
        let mut named: Vec<_> = named.collect();
        // Shared texts are one pointer, so equal ones stand side by side.
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| Arc::as_ptr(&a.1).cmp(&Arc::as_ptr(&b.1))));
        named.dedup_by(|a, b| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1));
        named.truncate(if limit == 0 { usize::MAX } else { limit });
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_as_long_as_it_is_used() {
        let mut all = SeriesMetadata::default();
        let metadata = Metadata { help: "Help.".into(), ..Metadata::default() };
        all.set(1, &metadata);
        all.set(2, &metadata);
        assert!(Arc::ptr_eq(all.of(1).unwrap(), all.of(2).unwrap()));
        all.set(1, &Metadata { unit: "s".into(), ..metadata.clone() });
        all.remove(2);
        all.shrink();
        assert_eq!((all.shared.len(), all.of(1).unwrap().unit.as_str(), all.of(2)), (1, "s", None));
    }
}

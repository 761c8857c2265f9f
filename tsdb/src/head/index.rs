//! The index from label sets to slots, in stripes with a lock each. Only appending by labels and removing use it.

use hashbrown::HashTable;

use super::slab::Slot;
use crate::sync::{RwLock, RwLockWriteGuard};

/// Locks over the index; series of one stripe are created one at a time.
const STRIPES: usize = 256;

/// A series by half of its label hash; the other half chose the stripe or is not kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexEntry {
    hash: u32,
    pub(crate) slot: Slot,
}

/// One stripe, locked for changing.
pub(crate) type Stripe<'a> = RwLockWriteGuard<'a, HashTable<IndexEntry>>;

/// Slots by label hash.
#[derive(Debug)]
pub(crate) struct SeriesIndex {
    stripes: Box<[RwLock<HashTable<IndexEntry>>]>,
}

/// The table takes its tag from the top bits and its bucket from the low ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn kept(label_hash: u64) -> u32 {
    (label_hash >> 32) as u32
}

impl SeriesIndex {
    pub(crate) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| RwLock::default()).collect() }
    }

    fn stripe(&self, label_hash: u64) -> &RwLock<HashTable<IndexEntry>> {
        &self.stripes[label_hash as usize % STRIPES]
    }

    /// The slot of the series with that label hash that `is_same` accepts.
    pub(crate) fn find(&self, label_hash: u64, is_same: impl FnMut(Slot) -> bool) -> Option<Slot> {
        find_in(&self.stripe(label_hash).read(), label_hash, is_same)
    }

    /// Locks the stripe of a label hash, to create or remove a series in it.
    pub(crate) fn lock(&self, label_hash: u64) -> Stripe<'_> {
        self.stripe(label_hash).write()
    }
}

/// As [`SeriesIndex::find`] within a locked stripe.
pub(crate) fn find_in(
    stripe: &HashTable<IndexEntry>,
    label_hash: u64,
    mut is_same: impl FnMut(Slot) -> bool,
) -> Option<Slot> {
    let hash = kept(label_hash);
    stripe.find(spread(hash), |entry| entry.hash == hash && is_same(entry.slot)).map(|entry| entry.slot)
}

/// Enters a series that is not there yet.
pub(crate) fn insert_in(stripe: &mut HashTable<IndexEntry>, label_hash: u64, slot: Slot) {
    let hash = kept(label_hash);
    stripe.insert_unique(spread(hash), IndexEntry { hash, slot }, |entry| spread(entry.hash));
}

/// Takes a series out.
pub(crate) fn remove_in(stripe: &mut HashTable<IndexEntry>, label_hash: u64, slot: Slot) {
    if let Ok(found) = stripe.find_entry(spread(kept(label_hash)), |entry| entry.slot == slot) {
        found.remove();
    }
}

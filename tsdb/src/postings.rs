//! Postings of the head: which series have a label, as roaring bitmaps over slots.
//!
//! Most values of high-cardinality labels belong to one series, or to a few: these stand in the index itself.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::head::slab::Slot;
use crate::head::symbols::Symbol;

/// Slots kept inline before a bitmap is made.
const INLINE_MAX: usize = 3;

/// The series that have one value of a label.
#[derive(Debug)]
pub(crate) enum Posting {
    /// The first `count` are slots, in no order.
    Few {
        /// `1 <= count <= INLINE_MAX`.
        count: u8,
        slots: [Slot; INLINE_MAX],
    },
    Many(Box<RoaringBitmap>),
}

impl Posting {
    fn of(slot: Slot) -> Self {
        Posting::Few { count: 1, slots: [slot; INLINE_MAX] }
    }

    fn inline(&self) -> Option<&[Slot]> {
        match self {
            Posting::Few { count, slots } => Some(&slots[..usize::from(*count)]),
            Posting::Many(_) => None,
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Posting::Few { count, .. } => u64::from(*count),
            Posting::Many(bitmap) => bitmap.len(),
        }
    }

    fn insert(&mut self, slot: Slot) {
        match self {
            Posting::Few { count, slots } if slots[..usize::from(*count)].contains(&slot) => {}
            Posting::Few { count, slots } if usize::from(*count) < INLINE_MAX => {
                slots[usize::from(*count)] = slot;
                *count += 1;
            }
            Posting::Few { slots, .. } => {
                let mut bitmap: RoaringBitmap = slots.iter().copied().collect();
                bitmap.insert(slot);
                *self = Posting::Many(Box::new(bitmap));
            }
            Posting::Many(bitmap) => {
                bitmap.insert(slot);
            }
        }
    }

    /// Takes a slot out; whether none is left.
    fn remove(&mut self, slot: Slot) -> bool {
        match self {
            Posting::Few { count, slots } => {
                let length = usize::from(*count);
                if let Some(at) = slots[..length].iter().position(|found| *found == slot) {
                    slots[at] = slots[length - 1];
                    *count -= 1;
                }
                *count == 0
            }
            Posting::Many(bitmap) => {
                bitmap.remove(slot);
                bitmap.is_empty()
            }
        }
    }

    /// Adds its series to `set`.
    pub(crate) fn add_to(&self, set: &mut RoaringBitmap) {
        match self.inline() {
            Some(slots) => set.extend(slots.iter().copied()),
            None => {
                if let Posting::Many(bitmap) = self {
                    *set |= &**bitmap;
                }
            }
        }
    }

    /// Keeps only its series in `set`.
    pub(crate) fn intersect(&self, set: &mut RoaringBitmap) {
        match self {
            Posting::Few { .. } => {
                let kept: RoaringBitmap =
                    self.inline().unwrap_or(&[]).iter().copied().filter(|slot| set.contains(*slot)).collect();
                *set = kept;
            }
            Posting::Many(bitmap) => *set &= &**bitmap,
        }
    }

    /// Takes its series out of `set`.
    pub(crate) fn subtract_from(&self, set: &mut RoaringBitmap) {
        match self {
            Posting::Few { .. } => {
                for slot in self.inline().unwrap_or(&[]) {
                    set.remove(*slot);
                }
            }
            Posting::Many(bitmap) => *set -= &**bitmap,
        }
    }

    /// Whether one of its series is in `set`.
    pub(crate) fn meets(&self, set: &RoaringBitmap) -> bool {
        match self {
            Posting::Few { .. } => self.inline().unwrap_or(&[]).iter().any(|slot| set.contains(*slot)),
            Posting::Many(bitmap) => !bitmap.is_disjoint(set),
        }
    }
}

/// The values of one label and their series.
pub(crate) type Values = HashMap<Symbol, Posting, RandomState>;

/// Series by label.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    names: HashMap<Symbol, Values, RandomState>,
    all: RoaringBitmap,
}

impl Postings {
    /// Enters a series with its names and values in turn.
    pub(crate) fn insert(&mut self, slot: Slot, symbols: &[Symbol]) {
        self.all.insert(slot);
        for pair in symbols.chunks_exact(2) {
            let values = self.names.entry(pair[0]).or_default();
            values.entry(pair[1]).and_modify(|posting| posting.insert(slot)).or_insert_with(|| Posting::of(slot));
        }
    }

    /// Takes a series out.
    pub(crate) fn remove(&mut self, slot: Slot, symbols: &[Symbol]) {
        self.all.remove(slot);
        for pair in symbols.chunks_exact(2) {
            let Some(values) = self.names.get_mut(&pair[0]) else {
                continue;
            };
            if values.get_mut(&pair[1]).is_some_and(|posting| posting.remove(slot)) {
                values.remove(&pair[1]);
            }
            if values.is_empty() {
                self.names.remove(&pair[0]);
            }
        }
    }

    /// All series.
    pub(crate) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The values of label `name`.
    pub(crate) fn values(&self, name: Symbol) -> Option<&Values> {
        self.names.get(&name)
    }

    /// The series with that label.
    pub(crate) fn posting(&self, name: Symbol, value: Symbol) -> Option<&Posting> {
        self.names.get(&name)?.get(&value)
    }

    /// All label names with their values.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Symbol, &Values)> {
        self.names.iter().map(|(name, values)| (*name, values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A posting behaves as a set, inline or not.
        #[test]
        fn a_posting_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..8), 1..60), other in proptest::collection::vec(0u32..8, 0..8)) {
            let mut postings = Postings::default();
            let mut model = std::collections::BTreeSet::new();
            for (insert, slot) in steps {
                if insert {
                    postings.insert(slot, &[1, 2]);
                    model.insert(slot);
                } else {
                    postings.remove(slot, &[1, 2]);
                    model.remove(&slot);
                }
                let other: RoaringBitmap = other.iter().copied().collect();
                let Some(posting) = postings.posting(1, 2) else {
                    prop_assert!(model.is_empty());
                    continue;
                };
                let model_bitmap: RoaringBitmap = model.iter().copied().collect();
                let apply = |change: &dyn Fn(&mut RoaringBitmap)| { let mut set = other.clone(); change(&mut set); set };
                prop_assert_eq!(posting.len(), model_bitmap.len());
                prop_assert_eq!(apply(&|set| posting.add_to(set)), &other | &model_bitmap);
                prop_assert_eq!(apply(&|set| posting.intersect(set)), &other & &model_bitmap);
                prop_assert_eq!(apply(&|set| posting.subtract_from(set)), &other - &model_bitmap);
                prop_assert_eq!(posting.meets(&other), !(&other & &model_bitmap).is_empty());
            }
        }
    }
}

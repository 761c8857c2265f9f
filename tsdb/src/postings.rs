//! Postings of the head: which series have a label, as roaring bitmaps over slots.
//!
//! Most values of high-cardinality labels belong to one series, or to a few: these stand in the index itself.

use std::ops::{Deref, Range};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
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

    /// Those of a run of slots.
    fn of_run(run: Range<Slot>) -> Self {
        let mut posting = Posting::of(run.start);
        posting.insert_run(run);
        posting
    }

    fn insert_run(&mut self, run: Range<Slot>) {
        match self {
            Posting::Many(bitmap) => {
                bitmap.insert_range(run);
            }
            Posting::Few { count, slots } if run.len() > INLINE_MAX => {
                let mut bitmap: RoaringBitmap = slots[..usize::from(*count)].iter().copied().collect();
                bitmap.insert_range(run);
                *self = Posting::Many(Box::new(bitmap));
            }
            Posting::Few { .. } => run.for_each(|slot| self.insert(slot)),
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

/// A label that series side by side have, from the first of them on.
struct LabelRun {
    label: (Symbol, Symbol),
    first: Slot,
}

/// The values of one label and their series.
#[derive(Debug, Default)]
pub(crate) struct Values {
    postings: HashMap<Symbol, Posting, RandomState>,
    /// Another one whenever a value came or went, and never one that any label had before.
    version: u64,
}

impl Values {
    /// Tells whether the values are those they were.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

impl Deref for Values {
    type Target = HashMap<Symbol, Posting, RandomState>;

    fn deref(&self) -> &Self::Target {
        &self.postings
    }
}

/// Series by label.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    names: HashMap<Symbol, Values, RandomState>,
    all: RoaringBitmap,
    /// Values that came or went.
    changes: u64,
}

impl Postings {
    /// Enters a series with its names and values in turn.
    pub(crate) fn insert(&mut self, slot: Slot, symbols: &[Symbol]) {
        self.all.insert(slot);
        for pair in symbols.chunks_exact(2) {
            let values = self.names.entry(pair[0]).or_default();
            match values.postings.entry(pair[1]) {
                Entry::Occupied(posting) => posting.into_mut().insert(slot),
                Entry::Vacant(place) => {
                    place.insert(Posting::of(slot));
                    self.changes += 1;
                    values.version = self.changes;
                }
            }
        }
    }

    /// Enters series that stand side by side from `first` on, each with its names and values in turn. A label that one
    /// after the other has is entered once for all of them.
    pub(crate) fn insert_rows<'a>(&mut self, first: Slot, rows: impl Iterator<Item = &'a [Symbol]>) {
        let mut runs: Vec<LabelRun> = Vec::new();
        let mut slot = first;
        for row in rows {
            for (at, pair) in row.chunks_exact(2).enumerate() {
                let label = (pair[0], pair[1]);
                match runs.get_mut(at) {
                    Some(run) if run.label == label => {}
                    Some(run) => {
                        let ended = std::mem::replace(run, LabelRun { label, first: slot });
                        self.insert_run(&ended, slot);
                    }
                    None => runs.push(LabelRun { label, first: slot }),
                }
            }
            for ended in runs.drain((row.len() / 2).min(runs.len())..) {
                self.insert_run(&ended, slot);
            }
            slot += 1;
        }
        runs.iter().for_each(|run| self.insert_run(run, slot));
        self.all.insert_range(first..slot);
    }

    fn insert_run(&mut self, run: &LabelRun, end: Slot) {
        let (name, value) = run.label;
        let slots = run.first..end;
        let values = self.names.entry(name).or_default();
        match values.postings.entry(value) {
            Entry::Occupied(posting) => posting.into_mut().insert_run(slots),
            Entry::Vacant(place) => {
                place.insert(Posting::of_run(slots));
                self.changes += 1;
                values.version = self.changes;
            }
        }
    }

    /// Takes a series out.
    pub(crate) fn remove(&mut self, slot: Slot, symbols: &[Symbol]) {
        self.all.remove(slot);
        for pair in symbols.chunks_exact(2) {
            let Some(values) = self.names.get_mut(&pair[0]) else {
                continue;
            };
            if values.postings.get_mut(&pair[1]).is_some_and(|posting| posting.remove(slot)) {
                values.postings.remove(&pair[1]);
                self.changes += 1;
                values.version = self.changes;
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
        /// Rows entered at once are as those entered one by one.
        #[test]
        fn rows_are_series(
            rows in proptest::collection::vec(proptest::collection::vec((0u32..3, 0u32..2), 0..4), 0..40),
            split in 0usize..40,
        ) {
            let rows: Vec<Vec<Symbol>> = rows.iter().map(|row| row.iter().flat_map(|(n, v)| [*n, 10 + *v]).collect()).collect();
            let (mut one_by_one, mut at_once) = (Postings::default(), Postings::default());
            rows.iter().enumerate().for_each(|(slot, row)| one_by_one.insert(slot as Slot, row));
            let (before, behind) = rows.split_at(split.min(rows.len()));
            at_once.insert_rows(0, before.iter().map(|row| &row[..]));
            at_once.insert_rows(before.len() as Slot, behind.iter().map(|row| &row[..]));
            prop_assert_eq!(at_once.all(), one_by_one.all());
            let contents = |postings: &Postings| {
                let mut sets: Vec<_> = postings.names().flat_map(|(name, values)| values.iter().map(move |(value, posting)| {
                    let mut set = RoaringBitmap::new();
                    posting.add_to(&mut set);
                    (name, *value, set.iter().collect::<Vec<_>>())
                })).collect();
                sets.sort();
                sets
            };
            prop_assert_eq!(contents(&at_once), contents(&one_by_one));
        }

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

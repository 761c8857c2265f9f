//! The slab of series: found by slot without hashing, in pages that never move.
//!
//! A page is made when its first slot is handed out and stays; slots of removed series are used again.

use std::sync::OnceLock;

use parking_lot::Mutex;

use super::series::Series;

/// How many slots there can be.
pub(crate) const SLOTS_MAX: usize = PAGES_PER_GROUP * GROUPS * SLOTS_PER_PAGE;
/// Slots that are made together and lie side by side.
pub(crate) const SLOTS_PER_PAGE: usize = 1024;
const PAGES_PER_GROUP: usize = 1024;
const GROUPS: usize = 64;

/// A series' place in the slab: the id that postings hold.
pub(crate) type Slot = u32;

type Page = Box<[Mutex<Series>]>;
type Group = Box<[OnceLock<Page>]>;

/// All series of the head by slot.
#[derive(Debug)]
pub(crate) struct Slab {
    groups: Box<[OnceLock<Group>]>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Slots handed out so far, free ones included.
    end: usize,
    free: Vec<Slot>,
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self { groups: (0..GROUPS).map(|_| OnceLock::new()).collect(), slots: Mutex::default() }
    }

    /// The series at `slot`, or `None` if that slot was never handed out.
    #[inline]
    pub(crate) fn cell(&self, slot: Slot) -> Option<&Mutex<Series>> {
        let index = slot as usize;
        let page = index / SLOTS_PER_PAGE;
        let page = self.groups.get(page / PAGES_PER_GROUP)?.get()?[page % PAGES_PER_GROUP].get()?;
        page.get(index % SLOTS_PER_PAGE)
    }

    /// Hands out a slot, or `None` if there are no more.
    pub(crate) fn take(&self) -> Option<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.free.pop() {
            return Some(slot);
        }
        if slots.end == SLOTS_MAX {
            return None;
        }
        let index = slots.end;
        let page = index / SLOTS_PER_PAGE;
        let new_group = || (0..PAGES_PER_GROUP).map(|_| OnceLock::new()).collect();
        let group = self.groups[page / PAGES_PER_GROUP].get_or_init(new_group);
        group[page % PAGES_PER_GROUP].get_or_init(|| (0..SLOTS_PER_PAGE).map(|_| Mutex::default()).collect());
        slots.end += 1;
        Some(index as Slot)
    }

    /// Takes a slot back. The caller has emptied its series.
    pub(crate) fn give_back(&self, slot: Slot) {
        self.slots.lock().free.push(slot);
    }

    /// One past the highest slot handed out.
    pub(crate) fn end(&self) -> Slot {
        self.slots.lock().end as Slot
    }
}

//! The slab of series: found by slot without hashing, in pages that never move.
//!
//! A page is made when its first slot is handed out and stays; slots of removed series are used again. The series of a
//! page share a lock, so that a batch takes it once for a run of samples: nobody may lock a cell who holds another one.

use std::ops::{Deref, DerefMut, Range};
use std::sync::OnceLock;

use super::series::Series;
use crate::sync::{Mutex, MutexGuard};

/// How many slots there can be.
pub(crate) const SLOTS_MAX: usize = PAGES_PER_GROUP * GROUPS * SLOTS_PER_PAGE;
/// Slots that are made together and lie side by side.
pub(crate) const SLOTS_PER_PAGE: usize = 1024;
const PAGES_PER_GROUP: usize = 1024;
const GROUPS: usize = 64;

/// A series' place in the slab: the id that postings hold.
pub(crate) type Slot = u32;

type Group = Box<[OnceLock<Page>]>;

/// Series that lie side by side under one lock.
#[derive(Debug)]
pub(crate) struct Page {
    series: Mutex<Box<[Series; SLOTS_PER_PAGE]>>,
}

/// A series' place in its page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    page: &'a Page,
    at: usize,
}

/// A page whose lock is held.
#[derive(Debug)]
pub(crate) struct PageGuard<'a> {
    series: MutexGuard<'a, Box<[Series; SLOTS_PER_PAGE]>>,
}

/// A series whose page's lock is held.
#[derive(Debug)]
pub(crate) struct SeriesGuard<'a> {
    page: PageGuard<'a>,
    slot: Slot,
}

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

/// The number of the page that `slot` lies in.
#[inline]
pub(crate) fn page_of(slot: Slot) -> usize {
    slot as usize / SLOTS_PER_PAGE
}

impl Page {
    fn new() -> Self {
        let series: Box<[Series]> = (0..SLOTS_PER_PAGE).map(|_| Series::default()).collect();
        let series = series.try_into().expect("as many as an array of this length has");
        Self { series: Mutex::new(series) }
    }

    /// Waits for the page's lock.
    #[inline]
    pub(crate) fn lock(&self) -> PageGuard<'_> {
        PageGuard { series: self.series.lock() }
    }
}

impl PageGuard<'_> {
    /// The series at `slot`, which lies in this page.
    #[inline]
    pub(crate) fn series_mut(&mut self, slot: Slot) -> &mut Series {
        &mut self.series[slot as usize % SLOTS_PER_PAGE]
    }
}

impl<'a> Cell<'a> {
    /// Waits for the lock of the series' page.
    #[inline]
    pub(crate) fn lock(self) -> SeriesGuard<'a> {
        SeriesGuard { page: self.page.lock(), slot: self.at as Slot }
    }
}

impl Deref for SeriesGuard<'_> {
    type Target = Series;

    #[inline]
    fn deref(&self) -> &Series {
        &self.page.series[self.slot as usize % SLOTS_PER_PAGE]
    }
}

impl DerefMut for SeriesGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Series {
        self.page.series_mut(self.slot)
    }
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self { groups: (0..GROUPS).map(|_| OnceLock::new()).collect(), slots: Mutex::default() }
    }

    /// The series at `slot`, or `None` if its page was never made.
    #[inline]
    pub(crate) fn cell(&self, slot: Slot) -> Option<Cell<'_>> {
        let page = self.page(page_of(slot))?;
        Some(Cell { page, at: slot as usize % SLOTS_PER_PAGE })
    }

    /// The page of that number, or `None` if it was never made.
    #[inline]
    pub(crate) fn page(&self, number: usize) -> Option<&Page> {
        self.groups.get(number / PAGES_PER_GROUP)?.get()?[number % PAGES_PER_GROUP].get()
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
        self.make_page(index / SLOTS_PER_PAGE);
        slots.end += 1;
        Some(index as Slot)
    }

    /// Hands out `count` slots that lie side by side and were never handed out before, or `None` if there are no more.
    pub(crate) fn take_run(&self, count: usize) -> Option<Range<Slot>> {
        let mut slots = self.slots.lock();
        let first = slots.end;
        let end = first.checked_add(count).filter(|end| *end <= SLOTS_MAX)?;
        (page_of(first as Slot)..end.div_ceil(SLOTS_PER_PAGE)).for_each(|page| self.make_page(page));
        slots.end = end;
        Some(first as Slot..end as Slot)
    }

    fn make_page(&self, page: usize) {
        let new_group = || (0..PAGES_PER_GROUP).map(|_| OnceLock::new()).collect();
        let group = self.groups[page / PAGES_PER_GROUP].get_or_init(new_group);
        group[page % PAGES_PER_GROUP].get_or_init(Page::new);
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

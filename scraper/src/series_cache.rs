//! The series cache of one target: what each line of its page was last time, and which line follows which.
//!
//! Pages keep their order between scrapes. Each entry remembers which entry came after it, so the next line is predicted
//! and confirmed by one comparison of bytes; hashing is the exception. Slots are reused after entries are evicted.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::storage::SeriesRef;
use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::ingest::Origin;
use crate::series_budget::MetricSlot;

/// No entry.
const NONE: u32 = u32::MAX;

/// How many scrapes an entry is kept after its line vanished, so that flapping series need no relabelling each time.
const KEPT_SCRAPES: u32 = 10;

/// What a line of the page becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A series of the storage, counted there among the job's.
    Series(SeriesRef, MetricSlot),
    /// Nothing: metric relabelling drops it.
    Dropped,
    /// Nothing for now: it would be a new series beyond a limit.
    Excess(MetricSlot),
}

#[derive(Debug)]
struct Entry {
    /// Name and labels as written on the page; empty in a free slot.
    series: Box<str>,
    hash: u64,
    fate: Fate,
    /// The entry whose line came after this one's.
    next: u32,
    /// The scrape this line was last on.
    seen: u32,
    /// Whether its last sample is subject to staleness: it had no timestamp of its own, or those are tracked.
    tracked: bool,
    /// Whether its series holds a place of the job's budget.
    counted: bool,
}

/// What is known of a line that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its entry.
    pub index: EntryIndex,
    /// What it becomes.
    pub fate: Fate,
    /// Whether it is on this page already.
    pub repeated: bool,
    /// Whether its series holds a place of the job's budget.
    pub counted: bool,
}

/// What ends with a line that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vanished {
    /// The series that goes stale.
    pub stale: Option<SeriesRef>,
    /// The place of the budget that is given back.
    pub released: Option<MetricSlot>,
}

/// Index of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryIndex(u32);

/// See the module's text. Invariant: `by_hash` holds exactly the indices of entries that are not free.
#[derive(Debug)]
pub struct SeriesCache {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_hash: HashTable<u32>,
    hasher: FixedState,
    /// Number of the current scrape, from 1.
    scrape: u32,
    /// The entry of the line before, [`NONE`] at the top of the page.
    previous: u32,
    /// The entry that was first on the page.
    first: u32,
    evict_at: u32,
    /// When counting began, by entry; empty unless that is asked for. A change is told to the storage once.
    starts: Vec<i64>,
    /// Where counting began, by entry, of series that do not tell; empty unless that is asked for.
    origins: HashMap<u32, Origin>,
}

impl Default for SeriesCache {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            by_hash: HashTable::new(),
            hasher: FixedState::default(),
            scrape: 0,
            previous: NONE,
            first: NONE,
            evict_at: KEPT_SCRAPES,
            starts: Vec::new(),
            origins: HashMap::new(),
        }
    }
}

impl SeriesCache {
    /// Starts a scrape at the top of the page.
    pub fn begin(&mut self) {
        self.scrape += 1;
        self.previous = NONE;
    }

    /// How many lines are remembered.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The series that the next line probably has; empty if there is no guess.
    #[inline]
    pub fn predicted(&self) -> &str {
        match self.entries.get(self.predicted_index() as usize) {
            Some(entry) => &entry.series,
            None => "",
        }
    }

    #[inline]
    fn predicted_index(&self) -> u32 {
        match self.entries.get(self.previous as usize) {
            Some(entry) => entry.next,
            None => self.first,
        }
    }

    /// What is known of a line, if anything. `predicted` says that it is the one that [`SeriesCache::predicted`] gave.
    /// Remembers the order.
    #[inline]
    pub fn find(&mut self, series: &str, predicted: bool) -> Option<Known> {
        let index = match predicted && !series.is_empty() {
            true => self.predicted_index(),
            false => self.lookup(series)?,
        };
        Some(self.visit(index))
    }

    #[inline]
    fn visit(&mut self, index: u32) -> Known {
        self.follow(index);
        let scrape = self.scrape;
        let entry = &mut self.entries[index as usize];
        let repeated = entry.seen == scrape;
        entry.seen = scrape;
        Known { index: EntryIndex(index), fate: entry.fate, repeated, counted: entry.counted }
    }

    /// Notes that `index` came after the line before, and moves on.
    #[inline]
    fn follow(&mut self, index: u32) {
        match self.entries.get_mut(self.previous as usize) {
            Some(previous) => previous.next = index,
            None => self.first = index,
        }
        self.previous = index;
    }

    fn lookup(&self, series: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(series);
        self.by_hash.find(hash, |&i| *self.entries[i as usize].series == *series).copied()
    }

    /// Remembers a line that [`SeriesCache::find`] did not know.
    pub fn insert(&mut self, series: &str, fate: Fate) -> EntryIndex {
        let hash = self.hasher.hash_one(series);
        let entry =
            Entry { series: series.into(), hash, fate, next: NONE, seen: self.scrape, tracked: false, counted: false };
        let index = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                // 2^32 lines do not fit the largest body.
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.by_hash.insert_unique(hash, index, |&i| entries[i as usize].hash);
        self.follow(index);
        EntryIndex(index)
    }

    /// Replaces what a line becomes: a series that was gone from storage, or another. A line that is dropped from now on
    /// holds no place.
    pub fn update(&mut self, index: EntryIndex, fate: Fate) {
        let entry = &mut self.entries[index.0 as usize];
        entry.fate = fate;
        entry.counted &= fate != Fate::Dropped;
    }

    /// Says that the line's series holds a place of the job's budget.
    pub fn count(&mut self, index: EntryIndex) {
        self.entries[index.0 as usize].counted = true;
    }

    /// Notes when the counting of the line's series began; whether that is news.
    pub fn note_start(&mut self, index: EntryIndex, start: i64) -> bool {
        let index = index.0 as usize;
        if self.starts.len() <= index {
            self.starts.resize(self.entries.len(), 0);
        }
        std::mem::replace(&mut self.starts[index], start) != start
    }

    /// Where the counting of the line's series began, if that is remembered.
    pub fn origin(&mut self, index: EntryIndex) -> Option<&mut Origin> {
        self.origins.get_mut(&index.0)
    }

    /// Remembers that.
    pub fn set_origin(&mut self, index: EntryIndex, origin: Origin) {
        self.origins.insert(index.0, origin);
    }

    /// Forgets that.
    pub fn forget_origin(&mut self, index: EntryIndex) {
        self.origins.remove(&index.0);
    }

    /// Says whether the line's series goes stale when the line vanishes.
    #[inline]
    pub fn track(&mut self, index: EntryIndex, tracked: bool) {
        self.entries[index.0 as usize].tracked = tracked;
    }

    /// Tells what ends with the lines that are not on this page: the series that were tracked before this scrape, which
    /// no longer are after, and the places they held.
    pub fn vanished(&mut self, mut each: impl FnMut(Vanished)) {
        let scrape = self.scrape;
        let entries = &self.entries;
        self.origins.retain(|index, _| entries.get(*index as usize).is_some_and(|entry| entry.seen == scrape));
        for entry in self.entries.iter_mut().filter(|e| (e.tracked || e.counted) && e.seen != scrape) {
            let (tracked, counted) = (std::mem::take(&mut entry.tracked), std::mem::take(&mut entry.counted));
            match entry.fate {
                Fate::Series(series, slot) => {
                    each(Vanished { stale: tracked.then_some(series), released: counted.then_some(slot) });
                }
                Fate::Excess(slot) => each(Vanished { stale: None, released: counted.then_some(slot) }),
                Fate::Dropped => {}
            }
        }
    }

    /// Ends a scrape that succeeded: now and then forgets lines that have been gone for long.
    pub fn end(&mut self) {
        if self.scrape < self.evict_at {
            return;
        }
        self.evict_at = self.scrape + KEPT_SCRAPES;
        let oldest = self.scrape.saturating_sub(KEPT_SCRAPES);
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.series.is_empty() || entry.tracked || entry.seen > oldest {
                continue;
            }
            let index = index as u32;
            if let Ok(slot) = self.by_hash.find_entry(entry.hash, |&i| i == index) {
                slot.remove();
            }
            entry.series = "".into();
            if let Some(start) = self.starts.get_mut(index as usize) {
                *start = 0;
            }
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a page through the cache as ingestion does; gives how many lines were predicted, and what vanished.
    fn scrape(cache: &mut SeriesCache, page: &[&str]) -> (usize, Vec<u64>) {
        let mut predicted = 0;
        cache.begin();
        for series in page {
            let hit = cache.predicted() == *series;
            predicted += usize::from(hit);
            let index = match cache.find(series, hit) {
                Some(known) => {
                    assert!(!known.repeated);
                    known.index
                }
                None => cache.insert(series, Fate::Series(SeriesRef(series.len() as u64), MetricSlot::NONE)),
            };
            cache.track(index, true);
        }
        let mut vanished = Vec::new();
        cache.vanished(|gone| vanished.extend(gone.stale.map(|series| series.0)));
        cache.end();
        (predicted, vanished)
    }

    #[test]
    fn a_page_in_the_same_order_is_predicted_whole() {
        let mut cache = SeriesCache::default();
        assert_eq!(scrape(&mut cache, &["a", "bb", "ccc"]), (0, vec![]));
        assert_eq!(scrape(&mut cache, &["a", "bb", "ccc"]), (3, vec![]));
        assert_eq!(scrape(&mut cache, &["a", "ccc", "dddd"]), (1, vec![2]), "bb vanished, dddd is new");
        assert_eq!(scrape(&mut cache, &["a", "ccc", "dddd"]), (3, vec![]), "the new order is learnt");
        assert_eq!(scrape(&mut cache, &["dddd", "ccc", "a"]).0, 0);
        assert_eq!(scrape(&mut cache, &["dddd", "ccc", "a"]).0, 3);
    }

    #[test]
    fn lines_gone_for_long_are_forgotten_and_their_slots_reused() {
        let mut cache = SeriesCache::default();
        scrape(&mut cache, &["a", "bb"]);
        for _ in 0..3 * KEPT_SCRAPES {
            scrape(&mut cache, &["a"]);
        }
        assert_eq!((cache.len(), cache.entries.len()), (1, 2));
        scrape(&mut cache, &["a", "ccc"]);
        assert_eq!((cache.len(), cache.entries.len()), (2, 2));
        assert_eq!(scrape(&mut cache, &["a", "ccc"]).0, 2);
    }

    #[test]
    fn a_line_given_twice_is_told() {
        let mut cache = SeriesCache::default();
        cache.begin();
        cache.insert("a", Fate::Dropped);
        assert_eq!(cache.find("a", false).map(|known| (known.fate, known.repeated)), Some((Fate::Dropped, true)));
    }
}

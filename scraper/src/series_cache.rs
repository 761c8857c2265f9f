//! The series cache of one target: what each line of its page was last time, and which line follows which.
//!
//! Pages keep their order between scrapes. Each entry remembers which entry came after it, so the next line is predicted
//! and confirmed by one comparison of bytes; hashing is the exception. Texts lie one behind the other in the order they
//! were first seen in, as the lines of a page do. Slots are reused after entries are evicted.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::storage::SeriesRef;
use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::ingest::Origin;
use crate::series_budget::MetricSlot;

/// The longest name with labels that a line may have, in bytes.
pub const SERIES_BYTES_MAX: usize = (1 << Span::LEN_BITS) - 1;

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

/// A text among the others: where it begins above [`Span::LEN_BITS`] of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u64);

impl Span {
    const LEN_BITS: u32 = 24;
    /// Of a slot that is free: no series is empty.
    const FREE: Self = Self(0);

    fn new(start: usize, len: usize) -> Self {
        debug_assert!(len <= SERIES_BYTES_MAX);
        Self((start as u64) << Self::LEN_BITS | len as u64)
    }

    #[inline]
    fn start(self) -> usize {
        (self.0 >> Self::LEN_BITS) as usize
    }

    #[inline]
    fn len(self) -> usize {
        self.0 as usize & SERIES_BYTES_MAX
    }
}

/// As small as it can be: there is one for each series of each target.
#[derive(Debug)]
struct Entry {
    /// Name and labels as written on the page.
    span: Span,
    fate: Fate,
    /// The entry whose line came after this one's.
    next: u32,
    /// The scrape this line was last on, above the two marks.
    seen: u32,
}

/// Mark of an entry whose last sample is subject to staleness: it had no timestamp of its own, or those are tracked.
const TRACKED: u32 = 1;
/// Mark of an entry whose series holds a place of the job's budget.
const COUNTED: u32 = 2;
/// What a scrape's number is multiplied with to leave room for the marks.
const SCRAPE: u32 = 4;

impl Entry {
    fn is_free(&self) -> bool {
        self.span == Span::FREE
    }

    fn has(&self, mark: u32) -> bool {
        self.seen & mark != 0
    }

    /// The scrape it was last seen at, as the cache counts them.
    fn scrape(&self) -> u32 {
        self.seen & !(SCRAPE - 1)
    }
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

/// See the module's text. Invariant: `by_hash` holds exactly the indices of entries that are not free, or nothing as long
/// as every line is the predicted one.
#[derive(Debug)]
pub struct SeriesCache {
    entries: Vec<Entry>,
    /// Of all entries; what was evicted leaves a gap.
    texts: String,
    /// Bytes of `texts` that are no entry's.
    gaps: usize,
    free: Vec<u32>,
    by_hash: HashTable<u32>,
    hasher: FixedState,
    /// Number of the current scrape, a multiple of [`SCRAPE`] from there on.
    scrape: u32,
    /// The entry of the line before, [`NONE`] at the top of the page.
    previous: u32,
    /// The entry that was first on the page.
    first: u32,
    evict_at: u32,
    /// The scrape that last had a line that was not the predicted one.
    looked_up: u32,
    /// When counting began, by entry; empty unless that is asked for. A change is told to the storage once.
    starts: Vec<i64>,
    /// Where counting began, by entry, of series that do not tell; empty unless that is asked for.
    origins: HashMap<u32, Origin>,
}

impl Default for SeriesCache {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            texts: String::new(),
            gaps: 0,
            free: Vec::new(),
            by_hash: HashTable::new(),
            hasher: FixedState::default(),
            scrape: 0,
            previous: NONE,
            first: NONE,
            evict_at: KEPT_SCRAPES * SCRAPE,
            looked_up: 0,
            starts: Vec::new(),
            origins: HashMap::new(),
        }
    }
}

impl SeriesCache {
    /// Starts a scrape at the top of the page.
    pub fn begin(&mut self) {
        if self.scrape >= u32::MAX - 2 * SCRAPE {
            self.count_anew();
        }
        self.scrape += SCRAPE;
        self.previous = NONE;
    }

    /// How many lines are remembered.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The series that the next line probably has; empty if there is no guess.
    #[inline]
    pub fn predicted(&self) -> &str {
        match self.entries.get(self.predicted_index() as usize) {
            Some(entry) => self.text(entry.span),
            None => "",
        }
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        // Both ends are those of texts that were put in, so the slice is never `None`.
        self.texts.get(span.start()..span.start() + span.len()).unwrap_or("")
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
        let repeated = entry.scrape() == scrape;
        let marks = entry.seen & (SCRAPE - 1);
        entry.seen = scrape | marks;
        Known { index: EntryIndex(index), fate: entry.fate, repeated, counted: marks & COUNTED != 0 }
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

    #[cold]
    fn lookup(&mut self, series: &str) -> Option<u32> {
        self.index_texts();
        let hash = self.hasher.hash_one(series);
        self.by_hash.find(hash, |&i| self.text(self.entries[i as usize].span) == series).copied()
    }

    /// Fills `by_hash`, if it is not.
    fn index_texts(&mut self) {
        self.looked_up = self.scrape;
        if !self.by_hash.is_empty() {
            return;
        }
        let Self { entries, texts, by_hash, hasher, .. } = self;
        let hash = |span: Span| hasher.hash_one(texts.get(span.start()..span.start() + span.len()).unwrap_or(""));
        by_hash.reserve(entries.len(), |_| 0);
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_free()) {
            by_hash.insert_unique(hash(entry.span), index as u32, |&i| hash(entries[i as usize].span));
        }
    }

    /// Remembers a line that [`SeriesCache::find`] did not know, of at most [`SERIES_BYTES_MAX`] bytes.
    pub fn insert(&mut self, series: &str, fate: Fate) -> EntryIndex {
        self.index_texts();
        let span = Span::new(self.texts.len(), series.len());
        self.texts.push_str(series);
        let entry = Entry { span, fate, next: NONE, seen: self.scrape };
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
        let Self { entries, texts, by_hash, hasher, .. } = self;
        let text = |span: Span| texts.get(span.start()..span.start() + span.len()).unwrap_or("");
        by_hash.insert_unique(hasher.hash_one(series), index, |&i| hasher.hash_one(text(entries[i as usize].span)));
        self.follow(index);
        EntryIndex(index)
    }

    /// Replaces what a line becomes: a series that was gone from storage, or another. A line that is dropped from now on
    /// holds no place.
    pub fn update(&mut self, index: EntryIndex, fate: Fate) {
        let entry = &mut self.entries[index.0 as usize];
        entry.fate = fate;
        if fate == Fate::Dropped {
            entry.seen &= !COUNTED;
        }
    }

    /// Says that the line's series holds a place of the job's budget.
    pub fn count(&mut self, index: EntryIndex) {
        self.entries[index.0 as usize].seen |= COUNTED;
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
        let entry = &mut self.entries[index.0 as usize];
        entry.seen = entry.seen & !TRACKED | u32::from(tracked);
    }

    /// Tells what ends with the lines that are not on this page: the series that were tracked before this scrape, which
    /// no longer are after, and the places they held.
    pub fn vanished(&mut self, mut each: impl FnMut(Vanished)) {
        let scrape = self.scrape;
        let entries = &self.entries;
        self.origins.retain(|index, _| entries.get(*index as usize).is_some_and(|entry| entry.scrape() == scrape));
        for entry in self.entries.iter_mut().filter(|e| e.scrape() != scrape && e.seen & (TRACKED | COUNTED) != 0) {
            let (tracked, counted) = (entry.has(TRACKED), entry.has(COUNTED));
            entry.seen = entry.scrape();
            match entry.fate {
                Fate::Series(series, slot) => {
                    each(Vanished { stale: tracked.then_some(series), released: counted.then_some(slot) });
                }
                Fate::Excess(slot) => each(Vanished { stale: None, released: counted.then_some(slot) }),
                Fate::Dropped => {}
            }
        }
    }

    /// Ends a scrape that succeeded: now and then forgets lines that have been gone for long, and takes no more memory
    /// than is needed.
    pub fn end(&mut self) {
        let has_grown = self.entries.capacity() > self.entries.len() + self.entries.len() / 8 + 8;
        if has_grown && self.looked_up == self.scrape {
            self.entries.shrink_to_fit();
            self.texts.shrink_to_fit();
        }
        if self.scrape < self.evict_at {
            return;
        }
        self.evict_at = self.scrape.saturating_add(KEPT_SCRAPES * SCRAPE);
        self.evict();
        if self.scrape - self.looked_up >= KEPT_SCRAPES * SCRAPE {
            self.by_hash = HashTable::new();
        }
    }

    fn evict(&mut self) {
        let oldest = self.scrape.saturating_sub(KEPT_SCRAPES * SCRAPE);
        let Self { entries, texts, by_hash, hasher, free, gaps, starts, .. } = self;
        for (index, entry) in entries.iter_mut().enumerate() {
            if entry.is_free() || entry.has(TRACKED) || entry.scrape() > oldest {
                continue;
            }
            let span = std::mem::replace(&mut entry.span, Span::FREE);
            let text = texts.get(span.start()..span.start() + span.len()).unwrap_or("");
            if let Ok(slot) = by_hash.find_entry(hasher.hash_one(text), |&i| i == index as u32) {
                slot.remove();
            }
            if let Some(start) = starts.get_mut(index) {
                *start = 0;
            }
            *gaps += span.len();
            free.push(index as u32);
        }
        if self.gaps > self.texts.len() / 4 {
            self.close_gaps();
        }
    }

    /// Moves the texts together.
    fn close_gaps(&mut self) {
        let mut texts = String::with_capacity(self.texts.len() - self.gaps);
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_free()) {
            let (start, len) = (entry.span.start(), entry.span.len());
            entry.span = Span::new(texts.len(), len);
            texts.push_str(self.texts.get(start..start + len).unwrap_or(""));
        }
        (self.texts, self.gaps) = (texts, 0);
    }

    /// Begins again with the number of scrapes, after some centuries of them.
    #[cold]
    fn count_anew(&mut self) {
        for entry in &mut self.entries {
            entry.seen &= SCRAPE - 1;
        }
        (self.scrape, self.looked_up, self.evict_at) = (0, 0, KEPT_SCRAPES * SCRAPE);
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
        assert!(cache.by_hash.is_empty() && cache.texts == "a", "nothing is kept for lookups that do not come");
        scrape(&mut cache, &["a", "ccc"]);
        assert_eq!((cache.len(), cache.entries.len()), (2, 2));
        assert_eq!(scrape(&mut cache, &["a", "ccc"]).0, 2);
        assert_eq!(scrape(&mut cache, &["ccc", "a"]), (0, vec![]));
        assert_eq!(cache.by_hash.len(), 2);
    }

    #[test]
    fn an_entry_is_half_a_line_of_memory() {
        assert!(std::mem::size_of::<Entry>() <= 32);
        let span = Span::new(usize::MAX >> Span::LEN_BITS, SERIES_BYTES_MAX);
        assert_eq!((span.start(), span.len()), (usize::MAX >> Span::LEN_BITS, SERIES_BYTES_MAX));
    }

    #[test]
    fn the_number_of_scrapes_begins_again_unnoticed() {
        let mut cache = SeriesCache { scrape: u32::MAX / SCRAPE * SCRAPE - 3 * SCRAPE, ..SeriesCache::default() };
        for _ in 0..4 {
            assert_eq!(scrape(&mut cache, &["a", "bb"]).1, Vec::<u64>::new());
        }
        assert!(cache.scrape < 10 * SCRAPE);
        assert_eq!(scrape(&mut cache, &["a"]), (1, vec![2]));
    }

    /// Against what any cache must say, whatever comes and goes.
    #[test]
    fn random_pages_are_told_from_each_other() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut cache = SeriesCache::default();
        let mut before: Vec<String> = Vec::new();
        for _ in 0..400 {
            // Mostly the page before, with some lines other.
            let mut page = before.clone();
            page.retain(|_| random(20) > 0);
            for _ in 0..random(4) {
                // As long as their number, which `scrape` takes for the series.
                let line = "x".repeat(1 + random(60) as usize);
                if !page.contains(&line) {
                    page.insert(random(page.len() as u64 + 1) as usize, line);
                }
            }
            let lines: Vec<&str> = page.iter().map(String::as_str).collect();
            let (_, mut vanished) = scrape(&mut cache, &lines);
            let mut expected: Vec<u64> =
                before.iter().filter(|line| !page.contains(line)).map(|line| line.len() as u64).collect();
            vanished.sort_unstable();
            expected.sort_unstable();
            assert_eq!(vanished, expected);
            before = page;
        }
        let texts: usize = cache.entries.iter().map(|entry| entry.span.len()).sum();
        assert_eq!(cache.texts.len(), texts + cache.gaps);
    }

    #[test]
    fn a_line_given_twice_is_told() {
        let mut cache = SeriesCache::default();
        cache.begin();
        cache.insert("a", Fate::Dropped);
        assert_eq!(cache.find("a", false).map(|known| (known.fate, known.repeated)), Some((Fate::Dropped, true)));
    }
}

//! Replayed samples gathered by page of the slab and entered on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Head;
use super::series::Appended;
use super::slab::{SLOTS_PER_PAGE, Slot};
use crate::chunk::Stamp;
use crate::wal::record::SampleValue;

/// The most threads that enter samples.
const WORKERS_MAX: usize = 16;
/// Fewer samples are entered without starting threads.
const PARALLEL_MIN: usize = if cfg!(test) { 20 } else { 20_000 };

/// Samples by page, each page's in order of the log.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pages: Vec<PageSamples>,
    pub(super) count: usize,
}

/// Samples of one page. Nearly all are floats without a start, which take little room.
#[derive(Debug, Default)]
struct PageSamples {
    floats: Vec<(Slot, i64, f64)>,
    /// The first sample of another kind, and all after it.
    others: Vec<(Slot, Stamp, SampleValue)>,
}

impl PageSamples {
    fn push(&mut self, slot: Slot, stamp: Stamp, value: SampleValue) {
        match value {
            SampleValue::Float(float) if stamp.start == 0 && self.others.is_empty() => {
                if self.floats.len() == self.floats.capacity() {
                    // Not twice as much: this is what replaying needs beside the head.
                    self.floats.reserve_exact(self.floats.len() / 4 + SLOTS_PER_PAGE / 4);
                }
                self.floats.push((slot, stamp.time, float));
            }
            value => self.others.push((slot, stamp, value)),
        }
    }
}

/// What one worker entered.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) samples: u64,
    /// Found in mapped chunks after all.
    pub(super) mapped: u64,
    pub(super) refused: u64,
    /// Chunks opened.
    pub(super) chunks: i64,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    /// Series whose chunks are full.
    pub(super) full: Vec<Slot>,
}

impl Gathered {
    pub(super) fn push(&mut self, slot: Slot, stamp: Stamp, value: SampleValue) {
        let page = slot as usize / SLOTS_PER_PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, PageSamples::default);
        }
        self.pages[page].push(slot, stamp, value);
        self.count += 1;
    }

    /// Enters everything, and keeps the room for what comes next. Each page is one worker's, so that a series' samples
    /// stay in order.
    pub(super) fn enter(&mut self, head: &Head) -> Vec<Entered> {
        let entered = self.enter_pages(head);
        self.count = 0;
        for page in &mut self.pages {
            page.floats.clear();
            page.others.clear();
        }
        entered
    }

    fn enter_pages(&self, head: &Head) -> Vec<Entered> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let workers = if self.count < PARALLEL_MIN { 1 } else { cores };
        let next = AtomicUsize::new(0);
        let work = || {
            let mut entered = Entered::default();
            while let Some(page) = self.pages.get(next.fetch_add(1, Ordering::Relaxed)) {
                for (slot, time, float) in &page.floats {
                    entered.enter(head, *slot, (*time).into(), &SampleValue::Float(*float));
                }
                page.others.iter().for_each(|(slot, stamp, value)| entered.enter(head, *slot, *stamp, value));
            }
            entered
        };
        if workers == 1 {
            return vec![work()];
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut all = vec![work()];
            for other in others {
                match other.join() {
                    Ok(entered) => all.push(entered),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        })
    }
}

impl Default for Entered {
    fn default() -> Self {
        let (min_time, max_time) = (i64::MAX, i64::MIN);
        Self { samples: 0, mapped: 0, refused: 0, chunks: 0, min_time, max_time, full: Vec::new() }
    }
}

impl Entered {
    fn enter(&mut self, head: &Head, slot: Slot, stamp: Stamp, value: &SampleValue) {
        let time = stamp.time;
        let Some(cell) = head.slab.cell(slot) else {
            return;
        };
        let mut series = cell.lock();
        if series.mapped.last().is_some_and(|chunk| time <= chunk.max_time) {
            self.mapped += 1;
            return;
        }
        let opens = series.open.is_none();
        match series.append(stamp, value.as_ref(), head.limits.chunks) {
            Appended::OutOfOrder => {
                // A sample may stand in the log twice, or was refused when it was first appended.
                self.refused += 1;
                return;
            }
            Appended::TakenAndCut => {
                self.chunks += 1;
                self.full.push(slot);
            }
            Appended::Taken => self.chunks += i64::from(opens),
        }
        self.samples += 1;
        self.min_time = self.min_time.min(time);
        self.max_time = self.max_time.max(time);
    }
}

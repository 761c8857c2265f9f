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
    pages: Vec<Vec<(Slot, Stamp, SampleValue)>>,
    pub(super) count: usize,
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
            self.pages.resize_with(page + 1, Vec::new);
        }
        self.pages[page].push((slot, stamp, value));
        self.count += 1;
    }

    /// Enters everything. Each page is one worker's, so that a series' samples stay in order.
    pub(super) fn enter(self, head: &Head) -> Vec<Entered> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let workers = if self.count < PARALLEL_MIN { 1 } else { cores };
        let next = AtomicUsize::new(0);
        let work = || {
            let mut entered = Entered::default();
            while let Some(page) = self.pages.get(next.fetch_add(1, Ordering::Relaxed)) {
                page.iter().for_each(|(slot, stamp, value)| entered.enter(head, *slot, *stamp, value));
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

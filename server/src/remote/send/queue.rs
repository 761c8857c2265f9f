//! What waits for one destination: requests being filled, finished ones in memory, and the rest on disk.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;

use tsdb::tail::TailPosition;

use super::disk::{DiskQueue, Dropped, Place};
use super::request::{Counts, Entry, OpenRequest, Request};
use crate::config::WriteMessage;

/// Bytes of finished requests in memory, at most.
const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    pub(super) message: WriteMessage,
    /// Samples in a request.
    pub(super) batch_max: u32,
    /// Samples that each lane keeps in memory.
    pub(super) capacity: u32,
    /// How long a request waits for more samples, in ms.
    pub(super) deadline: i64,
    /// Bytes on disk.
    pub(super) disk_bytes_max: u64,
    /// Age of what is on disk, in ms.
    pub(super) disk_age_max: i64,
}

/// Where a request is remembered until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// By the log, which is to be read again from there.
    Log(TailPosition),
    /// On disk.
    Disk(Place),
}

/// A request and where it is remembered.
#[derive(Debug, Clone)]
struct Queued {
    request: Request,
    origin: Origin,
}

/// The queue. Lanes keep the order of each series: a series' samples are all in one lane.
///
/// Requests that only memory and the log hold are newer than all that are on disk: when memory is full all of them go
/// to disk, those under way included, before the next one does.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    generation: u64,
    open: Vec<Option<OpenRequest>>,
    /// Finished, and not yet in memory's or the disk's order: the disk may refuse to take more.
    finished: VecDeque<(Request, TailPosition)>,
    memory: VecDeque<Queued>,
    memory_bytes: usize,
    memory_samples: u64,
    disk: DiskQueue,
    /// Under way, by a number that rises.
    in_flight: BTreeMap<u64, Queued>,
    numbers: u64,
    /// How far the log has been read.
    read: TailPosition,
    current_generation: u64,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, lanes: u32, generation: u64, disk: DiskQueue, read: TailPosition) -> Self {
        Self {
            limits,
            generation,
            open: (0..lanes.max(1)).map(|_| None).collect(),
            finished: VecDeque::new(),
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_samples: 0,
            disk,
            in_flight: BTreeMap::new(),
            numbers: 0,
            read,
            current_generation: 0,
        }
    }

    /// Requests that may be under way at a time.
    pub(super) fn lanes(&self) -> usize {
        self.open.len()
    }

    /// Adds a sample of a series; `from` is where in the log it stands, at the latest.
    pub(super) fn push(&mut self, series: u64, entry: &Entry<'_>, from: TailPosition, now: i64) {
        // Numbers of series follow each other: multiplied, neighbours come into different lanes.
        let mixed = series.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let lane = (mixed % self.open.len() as u64) as usize;
        let message = self.limits.message;
        let open = self.open[lane].get_or_insert_with(|| OpenRequest::new(message, from, now));
        open.push(entry);
        if open.counts.all() + open.counts.exemplars >= self.limits.batch_max {
            self.seal(lane);
        }
    }

    /// Notes that the log has been read and pushed up to there.
    pub(super) fn note_read(&mut self, read: TailPosition) {
        self.read = read;
    }

    /// Finishes requests that have waited long enough.
    pub(super) fn seal_due(&mut self, now: i64) {
        let deadline = self.limits.deadline;
        for lane in 0..self.open.len() {
            if self.open[lane].as_ref().is_some_and(|open| now - open.opened >= deadline) {
                self.seal(lane);
            }
        }
    }

    fn seal(&mut self, lane: usize) {
        if let Some(open) = self.open[lane].take() {
            let from = open.from;
            self.finished.push_back((open.seal(self.generation, lane as u32), from));
        }
    }

    /// Gives finished requests their place, in memory or on disk. Whoever pushes calls this, and pushes no more while it
    /// fails.
    ///
    /// # Errors
    /// If the disk takes no more; nothing is lost.
    pub(super) fn settle(&mut self, now: i64) -> io::Result<()> {
        while let Some((request, from)) = self.finished.front() {
            let samples_max = u64::from(self.limits.capacity) * self.open.len() as u64;
            let has_room = self.memory_bytes < MEMORY_BYTES_MAX
                && (self.memory_samples < samples_max || self.memory.len() < self.open.len());
            // What is on disk goes first.
            if has_room && self.disk.is_read() {
                let queued = Queued { request: request.clone(), origin: Origin::Log(*from) };
                self.remember(queued);
            } else {
                let request = request.clone();
                self.put_on_disk(now)?;
                self.disk.push(&request, now)?;
            }
            self.finished.pop_front();
        }
        Ok(())
    }

    /// Puts on disk what only memory holds.
    fn put_on_disk(&mut self, now: i64) -> io::Result<()> {
        for queued in self.in_flight.values_mut().chain(&mut self.memory) {
            if let Origin::Log(_) = queued.origin {
                queued.origin = Origin::Disk(self.disk.push_taken(&queued.request, now)?);
            }
        }
        Ok(())
    }

    fn remember(&mut self, queued: Queued) {
        self.memory_bytes += queued.request.body.len();
        self.memory_samples += u64::from(queued.request.counts.all());
        self.memory.push_back(queued);
    }

    /// The next request that may be sent beside those under way, under a number for [`Queue::answered`].
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Request)>> {
        while self.memory.len() < 2 * self.open.len() && self.memory_bytes < MEMORY_BYTES_MAX / 2 {
            let Some((request, place)) = self.disk.pop()? else { break };
            self.remember(Queued { request, origin: Origin::Disk(place) });
        }
        if let Some(first) = self.memory.front()
            && first.request.generation != self.current_generation
            && self.in_flight.is_empty()
        {
            self.current_generation = first.request.generation;
        }
        let mut taken: HashSet<u32> = self.in_flight.values().map(|queued| queued.request.lane).collect();
        let of_generation =
            self.memory.iter().take_while(|queued| queued.request.generation == self.current_generation);
        let at = of_generation.map(|queued| queued.request.lane).position(|lane| taken.insert(lane));
        let Some(queued) = at.and_then(|at| self.memory.remove(at)) else { return Ok(None) };
        self.memory_bytes -= queued.request.body.len();
        self.memory_samples -= u64::from(queued.request.counts.all());
        self.numbers += 1;
        let request = queued.request.clone();
        self.in_flight.insert(self.numbers, queued);
        Ok(Some((self.numbers, request)))
    }

    /// Notes that a request is answered, or given up.
    pub(super) fn answered(&mut self, number: u64) -> io::Result<()> {
        match self.in_flight.remove(&number) {
            Some(Queued { origin: Origin::Disk(place), request }) => self.disk.answered(place, request.counts),
            _ => Ok(()),
        }
    }

    /// Changes the number of lanes. What is open is finished in the old ones.
    pub(super) fn set_lanes(&mut self, lanes: u32, generation: u64) {
        self.seal_all();
        self.generation = generation.max(self.generation + 1);
        self.open = (0..lanes.max(1)).map(|_| None).collect();
    }

    /// Finishes what is being filled.
    pub(super) fn seal_all(&mut self) {
        (0..self.open.len()).for_each(|lane| self.seal(lane));
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        let is_open = self.open.iter().any(Option::is_some);
        !is_open
            && self.finished.is_empty()
            && self.memory.is_empty()
            && self.in_flight.is_empty()
            && self.disk.is_read()
    }

    /// Puts all that memory holds on disk, before the process ends; what is under way too.
    pub(super) fn spill(&mut self, now: i64) -> io::Result<()> {
        self.seal_all();
        self.settle(now)?;
        self.put_on_disk(now)
    }

    /// How far everything is answered or on disk. Syncs the disk first.
    pub(super) fn safe(&self) -> io::Result<(TailPosition, Place)> {
        self.disk.sync()?;
        let open = self.open.iter().flatten().map(|open| open.from);
        let held = self.memory.iter().chain(self.in_flight.values()).filter_map(|queued| match queued.origin {
            Origin::Log(from) => Some(from),
            Origin::Disk(_) => None,
        });
        let finished = self.finished.iter().map(|(_, from)| *from);
        let position = held
            .chain(open)
            .chain(finished)
            .fold(self.read, |least, from| TailPosition { wal: least.wal.min(from.wal), wbl: least.wbl.min(from.wbl) });
        Ok((position, self.disk.cursor()))
    }

    /// Keeps the disk within its limits.
    pub(super) fn prune(&mut self, now: i64) -> io::Result<Dropped> {
        let begun_min = if self.limits.disk_age_max > 0 { now - self.limits.disk_age_max } else { i64::MIN };
        self.disk.prune(self.limits.disk_bytes_max, begun_min)
    }

    /// What is not answered: being filled, finished, under way, and on disk.
    pub(super) fn pending(&self) -> Counts {
        let open = self.open.iter().flatten().map(|open| open.counts);
        let held = self.memory.iter().chain(self.in_flight.values());
        let memory = held.filter(|q| matches!(q.origin, Origin::Log(_))).map(|q| q.request.counts);
        let finished = self.finished.iter().map(|(request, _)| request.counts);
        open.chain(finished).chain(memory).fold(self.disk.counts(), |all, counts| Counts {
            samples: all.samples.saturating_add(counts.samples),
            histograms: all.histograms.saturating_add(counts.histograms),
            exemplars: all.exemplars.saturating_add(counts.exemplars),
        })
    }

    /// Bytes and requests on disk.
    pub(super) fn on_disk(&self) -> (u64, u64) {
        (self.disk.bytes(), self.disk.requests())
    }
}

#[cfg(test)]
mod tests {
    use model::labels;
    use tsdb::tail::TailValue;

    use super::*;

    fn position(offset: u64) -> TailPosition {
        TailPosition { wal: tsdb::tail::LogPosition { segment: 1, offset }, ..TailPosition::default() }
    }

    fn queue(dir: &std::path::Path, lanes: u32, capacity: u32) -> Queue {
        let limits = QueueLimits {
            message: WriteMessage::V1,
            batch_max: 10,
            capacity,
            deadline: 5000,
            disk_bytes_max: 1 << 30,
            disk_age_max: 0,
        };
        Queue::new(limits, lanes, 1, DiskQueue::open(dir, None, 0).unwrap(), position(0))
    }

    fn fill(queue: &mut Queue, series: u64, from: u64) {
        let labels = labels! { "__name__" => "a" };
        for time in 0..10 {
            let value = &TailValue::Float(from as f64);
            let entry = Entry { labels: &labels, start: 0, time, value, exemplars: &[], metadata: None };
            queue.push(series, &entry, position(from), 0);
        }
        queue.settle(0).unwrap();
        queue.note_read(position(from + 1));
    }

    #[test]
    fn a_lane_sends_one_request_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = queue(dir.path(), 2, 1000);
        for from in 1..=3 {
            fill(&mut queue, 1, from);
            fill(&mut queue, 2, from);
        }
        let (first, one) = queue.next().unwrap().unwrap();
        let (second, two) = queue.next().unwrap().unwrap();
        assert_ne!(one.lane, two.lane);
        assert!(queue.next().unwrap().is_none(), "both lanes are under way");
        assert_eq!(queue.safe().unwrap().0, position(1));
        queue.answered(second).unwrap();
        let (third, three) = queue.next().unwrap().unwrap();
        assert_eq!(three.lane, two.lane);
        assert_eq!(queue.safe().unwrap().0, position(1), "the first is not answered");
        // Another generation waits for all of the one before.
        queue.set_lanes(1, 2);
        fill(&mut queue, 1, 4);
        [first, third].iter().for_each(|number| queue.answered(*number).unwrap());
        let mut generations = Vec::new();
        while let Some((number, request)) = queue.next().unwrap() {
            generations.push(request.generation);
            queue.answered(number).unwrap();
        }
        assert_eq!(generations, [1, 1, 1, 2]);
        assert_eq!(queue.safe().unwrap().0, position(5), "all that was read is answered");
        assert!(queue.is_empty());
    }

    #[test]
    fn what_memory_has_no_room_for_goes_to_disk_and_comes_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut filled = queue(dir.path(), 1, 20);
        fill(&mut filled, 1, 1);
        let under_way = filled.next().unwrap().unwrap();
        (2..=50).for_each(|from| fill(&mut filled, 1, from));
        assert_eq!(filled.on_disk().1, 50, "all, the one under way too");
        assert_eq!(filled.pending().samples, 500);
        // The process ends with one request under way.
        filled.spill(0).unwrap();
        let (read, cursor) = filled.safe().unwrap();
        assert_eq!(read, position(51));
        drop((filled, under_way));
        let disk = DiskQueue::open(dir.path(), Some(cursor), 0).unwrap();
        let mut left = Queue { disk, ..queue(&dir.path().join("other"), 1, 20) };
        let mut seen = Vec::new();
        while let Some((number, request)) = left.next().unwrap() {
            let body = crate::remote::decompress(&request.body, 1 << 20).unwrap();
            crate::remote::decode::v1::<()>(&body, |series| {
                seen.extend(series.samples.iter().map(|sample| sample.value));
                Ok(())
            })
            .unwrap();
            left.answered(number).unwrap();
        }
        assert_eq!((seen.len(), seen.is_sorted(), left.on_disk()), (500, true, (0, 0)));
    }
}

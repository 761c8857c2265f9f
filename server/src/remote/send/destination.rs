//! One destination: a thread that follows the logs, and a task that sends.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tsdb::Db;
use tsdb::tail::TailPosition;

use super::disk::{DiskQueue, QUEUE};
use super::feed::{Choice, Fed, Feed};
use super::metrics::{Destination as Instance, Kind, Metrics, QueueState};
use super::post::Endpoint;
use super::queue::{Queue, QueueLimits};
use super::request::{Counts, Request, metadata_request};
use super::state::Saved;
use crate::config::WriteMessage;
use crate::remote::messages::MetricMetadata;

/// Records read in one turn.
const RECORDS_PER_TURN: usize = 200;
/// How long the logs are left alone after their end was reached.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait after the disk failed.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// How often state is saved and series are looked through.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How often the number of lanes is thought over.
const RESHARD_EVERY: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(250);

/// Where metadata of families comes from.
pub type MetadataSource = Arc<dyn Fn() -> Vec<MetricMetadata> + Send + Sync>;

/// Settings of a destination.
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) choice: Choice,
    pub(super) limits: QueueLimits,
    pub(super) lanes: (u32, u32),
    pub(super) instance: Instance,
    /// How often and in which portions metadata is sent, if it is (1.0 only).
    pub(super) metadata: Option<(Duration, usize)>,
    pub(super) directory: PathBuf,
    pub(super) flush_deadline: Duration,
}

/// A destination that runs.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Shared {
    settings: Settings,
    db: Arc<Db>,
    clock: Clock,
    metrics: Metrics,
    metadata: MetadataSource,
    queue: Mutex<Queue>,
    changed: Notify,
    /// Raised when the logs are to be followed no longer.
    stop: CancellationToken,
    load: Load,
}

/// What the number of lanes follows, since the last look.
#[derive(Default)]
struct Load {
    read: AtomicU64,
    sent: AtomicU64,
    busy_micros: AtomicU64,
}

impl Running {
    /// Starts following the logs, from where an earlier process ended if there was one, and sending.
    pub(super) fn start(
        settings: Settings,
        db: &Arc<Db>,
        clock: Clock,
        metrics: &Metrics,
        metadata: &MetadataSource,
    ) -> io::Result<Self> {
        let now = clock.now_ms();
        let directory = settings.directory.join(QUEUE);
        fs::create_dir_all(&directory)?;
        let saved = Saved::read(&settings.directory);
        let disk = DiskQueue::open(&directory, saved.map(|saved| saved.queue), now)?;
        let tail = saved.map_or_else(|| db.tail_end(), |saved| saved.tail);
        let lanes = saved.map_or(settings.lanes.0, |saved| saved.lanes).clamp(settings.lanes.0, settings.lanes.1);
        // The clock makes numbers of generations that rise over restarts.
        let queue = Queue::new(settings.limits, lanes, now.max(0).cast_unsigned(), disk, tail);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            db: Arc::clone(db),
            clock,
            metrics: metrics.clone(),
            metadata: Arc::clone(metadata),
            queue: Mutex::new(queue),
            changed: Notify::new(),
            stop: stop.clone(),
            load: Load::default(),
            settings,
        });
        shared.save()?;
        let runtime = tokio::runtime::Handle::current();
        // Queue and disk are used on threads of their own, never on those that serve connections.
        let task = tokio::task::spawn_blocking(move || {
            let follower = {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name("remote-write".into()).spawn(move || shared.follow(tail))
            };
            match follower {
                Ok(follower) => runtime.block_on(shared.dispatch(follower)),
                Err(error) => tracing::error!(%error, "remote write cannot start its thread"),
            }
        });
        Ok(Self { stop, task })
    }

    /// Stops reading, sends what waits as long as that works, and puts the rest on disk.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "remote write ended unexpectedly");
        }
    }
}

impl Shared {
    fn name(&self) -> &str {
        self.settings.instance.first().map_or("", |(_, name)| name)
    }

    /// Follows the logs until told to stop.
    fn follow(&self, mut position: TailPosition) {
        let mut feed = Feed::new(self.settings.choice.clone());
        if let Err(error) = self.db.tail_series(position, &mut feed) {
            tracing::error!(remote = self.name(), %error, "cannot read the series of the log");
        }
        let mut looked = Instant::now();
        let mut checkpoint = self.db.checkpoint_segment().ok().flatten();
        while !self.stop.is_cancelled() {
            let from = position;
            let pause = match self.db.tail(&mut position, RECORDS_PER_TURN, &mut feed) {
                Ok(turn) => {
                    if turn.segments_lost > 0 {
                        let segments = turn.segments_lost;
                        tracing::error!(remote = self.name(), segments, "parts of the log are gone and were not sent");
                    }
                    if turn.at_end { PAUSE } else { Duration::ZERO }
                }
                Err(error) => {
                    tracing::error!(remote = self.name(), %error, "cannot follow the log");
                    DISK_PAUSE
                }
            };
            let now = self.clock.now_ms();
            let fed = {
                let mut queue = self.queue.lock();
                let fed = feed.pour(&mut queue, from, now);
                queue.note_read(position);
                fed
            };
            self.count_fed(fed);
            while let Err(error) = self.settle() {
                tracing::error!(remote = self.name(), %error, "the queue of remote write cannot be written");
                if self.paused(DISK_PAUSE) {
                    return;
                }
            }
            self.changed.notify_one();
            if looked.elapsed() > SAVE_EVERY {
                looked = Instant::now();
                self.forget_series(&mut feed, &mut checkpoint);
            }
            if self.paused(pause) {
                return;
            }
        }
    }

    /// A checkpoint leaves out series that are gone for good: so does the feed.
    fn forget_series(&self, feed: &mut Feed, known: &mut Option<u32>) {
        let Ok(now) = self.db.checkpoint_segment() else { return };
        if now == *known {
            return;
        }
        *known = now;
        let mut living = Living::default();
        if self.db.tail_series(self.db.tail_end(), &mut living).is_ok() {
            feed.retain_series(|series| living.0.contains(&series));
        }
    }

    /// Waits; whether it was told to stop meanwhile.
    fn paused(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.stop.is_cancelled() {
            std::thread::sleep(PAUSE.min(pause));
        }
        self.stop.is_cancelled()
    }

    fn settle(&self) -> io::Result<()> {
        let now = self.clock.now_ms();
        let mut queue = self.queue.lock();
        queue.seal_due(now);
        queue.settle(now)
    }

    fn count_fed(&self, fed: Fed) {
        if fed.read > 0 {
            self.metrics.samples_in.inc_by(fed.read);
            self.load.read.fetch_add(fed.read, Ordering::Relaxed);
            let newest = fed.newest as f64 / 1000.0;
            if newest > self.metrics.highest_in.get() {
                self.metrics.highest_in.set(newest);
            }
        }
        self.count(fed.dropped, |kind| &kind.dropped);
    }

    fn count(
        &self,
        counts: Counts,
        family: impl Fn(
            &Kind,
        ) -> &prometheus_client::metrics::family::Family<
            Instance,
            prometheus_client::metrics::counter::Counter,
        >,
    ) {
        let metrics = &self.metrics;
        for (kind, count) in [
            (&metrics.samples, counts.samples),
            (&metrics.histograms, counts.histograms),
            (&metrics.exemplars, counts.exemplars),
        ] {
            if count > 0 {
                family(kind).get_or_create(&self.settings.instance).inc_by(u64::from(count));
            }
        }
    }

    /// Sends until told to stop and the queue is empty, or can be emptied no further.
    async fn dispatch(self: Arc<Self>, follower: std::thread::JoinHandle<()>) {
        let mut sending: JoinSet<(u64, bool)> = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        let mut turns = Turns::new();
        let mut metadata = self.settings.metadata.map(|(every, _)| tokio::time::interval(every));
        let mut deadline: Option<Instant> = None;
        let mut follower = Some(follower);
        let failing = Arc::new(std::sync::atomic::AtomicBool::new(false));
        loop {
            self.launch(&mut sending, &failing);
            tokio::select! {
                Some(done) = sending.join_next(), if !sending.is_empty() => self.finished(done),
                () = self.changed.notified() => {}
                _ = tick.tick() => self.upkeep(&mut turns),
                () = next_of(&mut metadata) => self.send_metadata(),
                () = self.stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + self.settings.flush_deadline);
                    if follower.take().is_some_and(|follower| follower.join().is_err()) {
                        tracing::error!(remote = self.name(), "the follower of the log ended unexpectedly");
                    }
                    self.queue.lock().seal_all();
                    self.tell(self.settle());
                }
            }
            if let Some(deadline) = deadline {
                let is_hopeless = failing.load(Ordering::Relaxed) || Instant::now() >= deadline;
                if is_hopeless || self.queue.lock().is_empty() {
                    break;
                }
            }
        }
        sending.abort_all();
        let spilled = self.queue.lock().spill(self.clock.now_ms());
        self.tell(spilled.and_then(|()| self.save()));
    }

    /// Sends what may be sent now.
    fn launch(self: &Arc<Self>, sending: &mut JoinSet<(u64, bool)>, failing: &Arc<std::sync::atomic::AtomicBool>) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                if sending.len() >= queue.lanes() { Ok(None) } else { queue.next() }
            };
            match next {
                Ok(Some((number, request))) => {
                    let (shared, failing) = (Arc::clone(self), Arc::clone(failing));
                    sending.spawn(async move { (number, shared.send(request, &failing).await) });
                }
                Ok(None) => return,
                Err(error) => return self.tell(Err(error)),
            }
        }
    }

    /// Delivers one request; whether it arrived.
    async fn send(&self, request: Request, failing: &std::sync::atomic::AtomicBool) -> bool {
        let began = Instant::now();
        let (counts, bytes) = (request.counts, request.body.len() as u64);
        let endpoint = &self.settings.endpoint;
        let delivered = endpoint.deliver(request.body, endpoint.message, |number, reason| {
            failing.store(true, Ordering::Relaxed);
            self.count(counts, |kind| &kind.retried);
            // The first, and then every so often: an outage is not told thousands of times.
            if number % 60 == 0 {
                tracing::warn!(
                    remote = self.name(),
                    reason,
                    attempt = number,
                    "samples could not be sent, trying again"
                );
            }
        });
        let result = delivered.await;
        failing.store(false, Ordering::Relaxed);
        let instance = &self.settings.instance;
        self.metrics.duration.get_or_create(instance).observe(began.elapsed().as_secs_f64());
        self.load.busy_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.load.sent.fetch_add(u64::from(counts.all()), Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.count(counts, |kind| &kind.sent);
                self.metrics.bytes.get_or_create(instance).inc_by(bytes);
                let (newest, highest) =
                    (request.newest as f64 / 1000.0, self.metrics.highest_sent.get_or_create(instance));
                if newest > highest.get() {
                    highest.set(newest);
                }
                true
            }
            Err(reason) => {
                self.count(counts, |kind| &kind.failed);
                tracing::error!(remote = self.name(), reason, samples = counts.all(), "samples refused for good");
                false
            }
        }
    }

    fn finished(&self, done: Result<(u64, bool), tokio::task::JoinError>) {
        match done {
            Ok((number, _)) => self.tell(self.queue.lock().answered(number)),
            Err(error) => tracing::error!(remote = self.name(), %error, "a request ended unexpectedly"),
        }
    }

    fn tell(&self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::error!(remote = self.name(), %error, "the queue of remote write failed");
        }
    }

    /// What is due now and then.
    fn upkeep(&self, turns: &mut Turns) {
        let now = self.clock.now_ms();
        {
            let mut queue = self.queue.lock();
            queue.seal_due(now);
        }
        self.tell(self.settle());
        if turns.saved.elapsed() >= SAVE_EVERY {
            turns.saved = Instant::now();
            let pruned = self.queue.lock().prune(now);
            match pruned {
                Ok(dropped) if dropped.requests > 0 => {
                    self.count(dropped.counts, |kind| &kind.dropped);
                    let (requests, samples) = (dropped.requests, dropped.counts.all());
                    tracing::error!(
                        remote = self.name(),
                        requests,
                        samples,
                        "the queue is past its limits on disk: its oldest part is dropped"
                    );
                }
                Ok(_) => {}
                Err(error) => self.tell(Err(error)),
            }
            self.tell(self.save());
        }
        if turns.resharded.elapsed() >= RESHARD_EVERY {
            let seconds = turns.resharded.elapsed().as_secs_f64();
            turns.resharded = Instant::now();
            self.reshard(seconds);
        }
        self.show();
    }

    /// As many lanes as are busy at the present load, and a little for what has piled up.
    fn reshard(&self, seconds: f64) {
        let take = |number: &AtomicU64| number.swap(0, Ordering::Relaxed) as f64;
        let (read, sent, busy) = (take(&self.load.read), take(&self.load.sent), take(&self.load.busy_micros) / 1e6);
        if sent == 0.0 {
            return;
        }
        let mut queue = self.queue.lock();
        let lanes = queue.lanes() as f64;
        let backlog = 0.05 * f64::from(queue.pending().all());
        let desired = busy / sent * (read / seconds + backlog);
        self.metrics.shards_desired.get_or_create(&self.settings.instance).set(desired.ceil() as i64);
        // Small changes are not worth the pause that a change costs.
        if (0.7 * lanes..=1.3 * lanes).contains(&desired) {
            return;
        }
        let (min, max) = self.settings.lanes;
        let wanted = (desired.ceil() as u32).clamp(min, max);
        if wanted as usize != queue.lanes() {
            tracing::debug!(remote = self.name(), from = queue.lanes(), to = wanted, "resharding");
            queue.set_lanes(wanted, self.clock.now_ms().max(0).cast_unsigned());
        }
    }

    fn show(&self) {
        let queue = self.queue.lock();
        let state = QueueState { pending: queue.pending(), lanes: queue.lanes(), on_disk: queue.on_disk() };
        drop(queue);
        let Settings { instance, limits, lanes, .. } = &self.settings;
        self.metrics.show(instance, &state, *lanes, (limits.capacity, limits.batch_max));
    }

    fn send_metadata(self: &Arc<Self>) {
        let Some((_, portion)) = self.settings.metadata else { return };
        let all = (self.metadata)();
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let (endpoint, instance) = (&shared.settings.endpoint, &shared.settings.instance);
            for entries in all.chunks(portion.max(1)) {
                let (count, body) = (entries.len() as u64, metadata_request(entries.to_vec()));
                let bytes = body.len() as u64;
                // Sent again with the next round anyway.
                match endpoint.attempt(body, WriteMessage::V1, 0).await {
                    super::post::Attempt::Done => {
                        shared.metrics.metadata_sent.get_or_create(instance).inc_by(count);
                        shared.metrics.metadata_bytes.get_or_create(instance).inc_by(bytes);
                    }
                    _ => drop(shared.metrics.metadata_failed.get_or_create(instance).inc_by(count)),
                }
            }
        });
    }

    /// Remembers how far everything is answered or on disk.
    fn save(&self) -> io::Result<()> {
        let queue = self.queue.lock();
        let (tail, place) = queue.safe()?;
        let saved = Saved { tail, queue: place, lanes: queue.lanes() as u32 };
        drop(queue);
        saved.write(&self.settings.directory)
    }
}

/// When what is due now and then was done last.
struct Turns {
    saved: Instant,
    resharded: Instant,
}

impl Turns {
    fn new() -> Self {
        Self { saved: Instant::now(), resharded: Instant::now() }
    }
}

async fn next_of(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// The series that the log still knows.
#[derive(Default)]
struct Living(std::collections::HashSet<u64>);

impl tsdb::tail::TailSink for Living {
    fn series(&mut self, series: u64, _labels: model::labels::Labels) {
        self.0.insert(series);
    }

    fn sample(&mut self, _series: u64, _start: i64, _time: i64, _value: tsdb::tail::TailValue) {}

    fn exemplar(&mut self, _series: u64, _exemplar: model::exemplar::Exemplar) {}

    fn metadata(&mut self, _series: u64, _metadata: model::metadata::Metadata) {}
}

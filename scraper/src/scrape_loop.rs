//! The scrape loop: one task a target, from its offset on, once an interval, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use model::sample::Timestamp;
use model::storage::{AppendError, Appendable, Appender, StorageError};
use net::client::HttpClient;
use net::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::JobConfig;
use crate::failure_log::FailureLog;
use crate::features::Features;
use crate::fetch::{FetchError, Fetcher, Page};
use crate::ingest::{Counts, IngestError, Ingestion, Remembered, SampleRules, shortened};
use crate::metadata_cache::MetadataCache;
use crate::metrics::Metrics;
use crate::report::{Report, Reporter};
use crate::series_budget::SeriesBudget;
use crate::series_cache::SeriesCache;
use crate::target::{Health, Target};

/// Pages up to this size are parsed on the async worker; larger ones move aside so that they do not hold up others.
const INLINE_PAGE_BYTES_MAX: usize = 256 * 1024;
/// How far a scrape may be from its schedule and still bear the scheduled time, which compresses better; unless the server
/// is told otherwise.
pub const TIMESTAMP_TOLERANCE: model::duration::Duration = model::duration::Duration::from_millis(2);

/// How a loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The target is gone: all its series go stale.
    MarkStale,
    /// Another loop takes over with the same series.
    HandOver,
}

/// What a loop shares with the other loops of its pool.
pub struct PoolContext {
    /// The job.
    pub job: JobConfig,
    /// Makes its requests.
    pub client: HttpClient,
    /// Knows its formats and limits.
    pub fetcher: Fetcher,
    /// Where scrapes that fail are noted.
    pub failures: Option<FailureLog>,
    /// Where samples go.
    pub storage: Arc<dyn Appendable>,
    /// Instruments of all pools.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Differs between servers, so that they do not scrape at the same moment.
    pub offset_seed: u64,
    /// What is switched on.
    pub features: Features,
    /// See [`TIMESTAMP_TOLERANCE`].
    pub timestamp_tolerance: model::duration::Duration,
    /// Sent with each request.
    pub user_agent: String,
    /// Active series of all its targets.
    pub budget: Arc<SeriesBudget>,
    /// Why no target of the pool may be scraped, if so (target limit).
    pub forced_error: Mutex<Option<String>>,
}

/// What outlives a loop when its target stays: the next loop goes on with it.
#[derive(Debug, Default)]
pub struct Memory {
    cache: SeriesCache,
}

/// One target's loop.
pub struct ScrapeLoop {
    pool: Arc<PoolContext>,
    target: Arc<Target>,
    metadata: Arc<Mutex<MetadataCache>>,
    rules: SampleRules,
    reporter: Reporter,
    cache: SeriesCache,
    /// Makes the requests of a target that is reached over a socket file, from its first scrape on.
    over_socket: Option<HttpClient>,
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error("{0}")]
    Forced(String),
}

impl ScrapeLoop {
    /// Prepares the loop of `target`, going on with `memory` of the loop before it.
    pub fn new(
        pool: Arc<PoolContext>,
        target: Arc<Target>,
        metadata: Arc<Mutex<MetadataCache>>,
        memory: Memory,
    ) -> Self {
        let rules =
            SampleRules::new(&pool.job, target.labels.clone(), pool.features).with_histograms(target.histograms);
        let reporter = Reporter::new(target.labels.clone(), pool.job.extra_metrics);
        Self { pool, target, metadata, rules, reporter, cache: memory.cache, over_socket: None }
    }

    /// Scrapes until told to stop. A scrape that takes longer than the interval makes the next ones be missed, not
    /// pile up; the phase is kept.
    pub async fn run(mut self, mut stop: oneshot::Receiver<Stop>) -> Memory {
        let interval = self.target.interval.as_std();
        let offset = self.first_offset();
        let mut next = Instant::now() + offset;
        let mut scheduled_ms = self.pool.clock.now_ms() + offset.as_millis() as i64;
        let how = loop {
            tokio::select! {
                biased;
                how = &mut stop => break how,
                () = tokio::time::sleep_until(next) => {}
            }
            tokio::select! {
                biased;
                how = &mut stop => break how,
                () = self.scrape(scheduled_ms) => {}
            }
            let mut missed = 0;
            next += interval;
            scheduled_ms += self.target.interval.as_millis();
            while next < Instant::now() {
                missed += 1;
                next += interval;
                scheduled_ms += self.target.interval.as_millis();
            }
            self.pool.metrics.missed.inc_by(missed);
            // A clock that was set moves the schedule along, or timestamps would never align again.
            if (self.pool.clock.now_ms() - scheduled_ms).abs() > 2 * self.target.interval.as_millis() {
                let until = next.saturating_duration_since(Instant::now());
                scheduled_ms = self.pool.clock.now_ms() + until.as_millis() as i64;
            }
        };
        // A sender that is gone means that the pool is: the program ends.
        if how.unwrap_or(Stop::MarkStale) == Stop::MarkStale
            && let Err(error) = self.end()
        {
            tracing::warn!(target = self.target.shown_url(), %error, "stale markers could not be written");
        }
        Memory { cache: self.cache }
    }

    /// When in the interval this target is scraped: fixed by its hash, the same after a restart.
    fn first_offset(&self) -> Duration {
        let interval = self.target.interval.as_millis().max(1) as u64;
        let phase = (self.target.hash() ^ self.pool.offset_seed) % interval;
        let now = (self.pool.clock.now_ms().max(0) as u64) % interval;
        Duration::from_millis((interval + phase - now) % interval)
    }

    async fn scrape(&mut self, scheduled_ms: i64) {
        let started = Instant::now();
        let now_ms = self.pool.clock.now_ms();
        let tolerance = self.pool.timestamp_tolerance.as_millis().min(self.target.interval.as_millis() / 100);
        let aligned = (now_ms - scheduled_ms).abs() <= tolerance;
        let at = Timestamp(if aligned { scheduled_ms } else { now_ms });
        let timeout = self.target.timeout.as_std();
        let forced = self.pool.forced_error.lock().clone();
        let fetched = match forced {
            Some(error) => Err(ScrapeError::Forced(error)),
            None => self.fetch(timeout).await.map_err(Into::into),
        };
        let seconds = started.elapsed().as_secs_f64();
        let large = fetched.as_ref().is_ok_and(|page| page.body.len() > INLINE_PAGE_BYTES_MAX);
        let result = match large && has_other_workers() {
            true => tokio::task::block_in_place(|| self.ingest(at, seconds, fetched)),
            false => self.ingest(at, seconds, fetched),
        };
        let mut status = self.target.status.lock();
        status.health = if result.is_ok() { Health::Up } else { Health::Down };
        status.last_error = result.as_ref().err().map(|e| shortened(&e.to_string()).into_owned()).unwrap_or_default();
        status.last_scrape_ms = Some(at.0);
        status.last_duration_seconds = seconds;
        status.excess_series = result.as_ref().map_or(0, |counts| counts.excess);
        drop(status);
        if let Err(error) = &result {
            tracing::debug!(scrape_pool = %self.pool.job.name, target = self.target.shown_url(), %error, "scrape failed");
            self.note_failure(&error.to_string());
        }
    }

    async fn fetch(&mut self, timeout: Duration) -> Result<Page, FetchError> {
        if let (Some(socket), None) = (&self.target.socket, &self.over_socket) {
            let config = self.pool.job.written.http_client();
            let client = HttpClient::over_unix_socket(config, socket.clone(), &self.pool.user_agent);
            self.over_socket = Some(client.await?);
        }
        let client = self.over_socket.as_ref().unwrap_or(&self.pool.client);
        self.pool.fetcher.fetch(client, &self.target.url, timeout).await
    }

    fn note_failure(&self, error: &str) {
        let Some(failures) = &self.pool.failures else { return };
        let now = self.pool.clock.now_ms();
        let noted = failures.note(now, &self.pool.job.name, &self.target.shown_url(), &shortened(error));
        if let Err(error) = noted {
            tracing::warn!(file = %failures.path().display(), %error, "scrape failure log cannot be written");
        }
    }

    /// One scrape is one batch: the page's samples, stale markers and the report, committed together.
    fn ingest(
        &mut self,
        at: Timestamp,
        seconds: f64,
        fetched: Result<Page, ScrapeError>,
    ) -> Result<Counts, ScrapeError> {
        let bytes = match &fetched {
            Ok(page) => page.body.len() as i64,
            Err(ScrapeError::Fetch(FetchError::BodyTooLarge)) => -1,
            Err(_) => 0,
        };
        let storage = Arc::clone(&self.pool.storage);
        let mut appender = storage.appender();
        let result = fetched.and_then(|page| {
            let mut metadata = self.metadata.lock();
            let remembered = Remembered { cache: &mut self.cache, metadata: &mut metadata, budget: &self.pool.budget };
            let ingestion = Ingestion::new(&self.rules, remembered, &mut *appender, at);
            Ok(ingestion.page(page.format, &page.body)?)
        });
        let result = match result {
            Ok(counts) => Ok(counts),
            Err(error) => {
                appender.rollback();
                appender = storage.appender();
                self.end_series(&mut *appender, at)?;
                Err(error)
            }
        };
        let counts = result.as_ref().copied().unwrap_or_default();
        self.count(&result, &counts);
        let timeout = self.target.timeout.as_seconds();
        let limit = self.pool.job.limits.samples;
        let report = Report::new(result.is_ok(), seconds, &counts, timeout, limit, bytes);
        self.reporter.append(&mut *appender, at, &report).map_err(IngestError::from)?;
        let committed = appender.commit().map_err(|e: StorageError| IngestError::Storage(AppendError::Storage(e)));
        if let Err(error) = committed {
            tracing::warn!(target = self.target.shown_url(), %error, "scrape could not be stored");
            return Err(error.into());
        }
        result
    }

    fn count(&self, result: &Result<Counts, ScrapeError>, counts: &Counts) {
        let metrics = &self.pool.metrics;
        metrics.out_of_order.inc_by(counts.out_of_order);
        metrics.duplicate.inc_by(counts.duplicate);
        metrics.out_of_bounds.inc_by(counts.out_of_bounds);
        let labels = Metrics::pool_labels(&self.pool.job.name);
        let active = self.pool.budget.counts().active;
        metrics.active_series.get_or_create(&labels).set(i64::try_from(active).unwrap_or(i64::MAX));
        if counts.excess > 0 {
            metrics.excess_samples.get_or_create(&labels).inc_by(counts.excess);
        }
        let refused = counts.out_of_order + counts.duplicate + counts.out_of_bounds;
        if refused > 0 {
            let Counts { out_of_order, duplicate, out_of_bounds, .. } = counts;
            tracing::warn!(target = self.target.shown_url(), out_of_order, duplicate, out_of_bounds, "samples refused");
        }
        match result {
            Err(ScrapeError::Fetch(FetchError::BodyTooLarge)) => metrics.exceeded_body_size_limit.inc(),
            Err(ScrapeError::Ingest(IngestError::SampleLimit)) => metrics.exceeded_sample_limit.inc(),
            Err(ScrapeError::Ingest(IngestError::BucketLimit)) => metrics.exceeded_bucket_limit.inc(),
            Err(ScrapeError::Ingest(IngestError::LabelLimit(_))) => metrics.exceeded_label_limits.inc(),
            _ => 0,
        };
    }

    /// Ends every series of the target's pages.
    fn end_series(&mut self, appender: &mut dyn Appender, at: Timestamp) -> Result<(), IngestError> {
        let mut metadata = self.metadata.lock();
        let remembered = Remembered { cache: &mut self.cache, metadata: &mut metadata, budget: &self.pool.budget };
        Ingestion::new(&self.rules, remembered, appender, at).nothing()
    }

    /// Ends every series of the target, its report's too.
    fn end(&mut self) -> Result<(), IngestError> {
        let at = Timestamp(self.pool.clock.now_ms());
        let storage = Arc::clone(&self.pool.storage);
        let mut appender = storage.appender();
        self.end_series(&mut *appender, at)?;
        self.reporter.append(&mut *appender, at, &Report::stale())?;
        appender.commit().map_err(AppendError::from)?;
        Ok(())
    }
}

/// `block_in_place` needs a runtime with several workers.
fn has_other_workers() -> bool {
    tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
}

#[cfg(test)]
mod tests;

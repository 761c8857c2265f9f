//! A scrape's page on its way from its bytes into the log and the head, in the steady state: parsed, found in the cache,
//! appended, committed. Processor time of each part for a sample, and allocations.
//!
//! `cargo bench -p server --bench scrape_ingest`. `BENCH_SCRAPES` is how many are taken (2,000). Beside the times it asserts
//! that a scrape up to the storage allocates nothing for a sample.
#![allow(missing_docs, clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../../exposition/benches/page/node.rs"]
mod node;

use exposition::parse::Format;
use model::exemplar::Exemplar;
use model::labels;
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{AppendError, Appendable, Appender, NewValue, SeriesRef, StorageError};
use scraper::config::{GlobalConfig, ScrapeConfig};
use scraper::features::Features;
use scraper::ingest::{Ingestion, Remembered, SampleRules};
use scraper::metadata_cache::MetadataCache;
use scraper::series_budget::SeriesBudget;
use scraper::series_cache::SeriesCache;
use tsdb::Db;

/// Whole hours, so that the head's chunks are full at the same time as in life.
const START_MS: i64 = 480_000 * 3_600_000;
const INTERVAL_MS: i64 = 15_000;
/// Scrapes before anything is measured.
const WARM_UP: usize = 150;
/// Scrapes measured at once: chunks are begun and ended among them as often as in life.
const ROUND: usize = 240;
/// What a scrape may allocate, however many samples its page has.
const ALLOCATIONS_MAX: u64 = 8;

/// A storage that takes everything and keeps nothing.
#[derive(Default)]
struct Null {
    series: u64,
    sum: f64,
}

impl Appender for Null {
    fn append(&mut self, _: &Labels, at: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        self.series += 1;
        let series = SeriesRef(self.series);
        self.append_ref(series, at, value).map(|()| series)
    }

    fn append_ref(&mut self, _: SeriesRef, _: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        if let NewValue::Float(value) = value {
            self.sum += value;
        }
        Ok(())
    }

    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Ok(())
    }

    fn update_metadata(&mut self, _: SeriesRef, _: &Metadata) -> Result<(), AppendError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        Ok(0)
    }

    fn rollback(self: Box<Self>) {}
}

/// One target, and what it keeps from scrape to scrape.
struct Target {
    rules: SampleRules,
    cache: SeriesCache,
    metadata: MetadataCache,
    budget: SeriesBudget,
    pages: Vec<String>,
    scrapes: usize,
}

impl Target {
    fn new() -> Self {
        let config = ScrapeConfig { job_name: "node".into(), ..ScrapeConfig::default() };
        let job = config.resolve(&GlobalConfig::default()).expect("it is valid");
        Self {
            rules: SampleRules::new(&job, labels! { "job" => "node", "instance" => "i" }, Features::default()),
            cache: SeriesCache::default(),
            metadata: MetadataCache::default(),
            budget: SeriesBudget::default(),
            pages: (0..64).map(node::node_page).collect(),
            scrapes: 0,
        }
    }

    fn scrape(&mut self, appender: &mut dyn Appender) {
        let page = &self.pages[self.scrapes % self.pages.len()];
        let at = Timestamp(START_MS + self.scrapes as i64 * INTERVAL_MS);
        self.scrapes += 1;
        let remembered = Remembered { cache: &mut self.cache, metadata: &mut self.metadata, budget: &self.budget };
        let ingestion = Ingestion::new(&self.rules, remembered, appender, at);
        let counts = ingestion.page(Format::Text, page.as_bytes()).expect("the page is valid");
        assert_eq!(counts.scraped, node::SERIES);
    }
}

/// Nanoseconds of the processor that this thread took so far; not exact to less than a few milliseconds.
fn worked() -> f64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    line.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(f64::NAN)
}

/// Repeats `scrape`: the time of the processor for a sample, as the median and the least of rounds, and allocations for a
/// thousand samples.
fn measure(scrapes: usize, mut scrape: impl FnMut()) -> (f64, f64, f64) {
    (0..WARM_UP).for_each(|_| scrape());
    let mut rounds = Vec::new();
    for _ in 0..scrapes.div_ceil(ROUND) {
        // The clock moves on with the scheduler's: give it a chance to.
        std::thread::yield_now();
        let before = worked();
        (0..ROUND).for_each(|_| scrape());
        std::thread::yield_now();
        rounds.push((worked() - before) / ROUND as f64 / node::SERIES as f64);
    }
    rounds.sort_by(f64::total_cmp);
    let taken = allocation_counter::measure(|| (0..ROUND).for_each(|_| scrape()));
    let allocations = taken.count_total as f64 / ROUND as f64 / node::SERIES as f64 * 1000.0;
    (rounds[rounds.len() / 2], rounds[0], allocations)
}

fn main() {
    // `cargo test` runs benches with this; what is measured there says nothing.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let scrapes = std::env::var("BENCH_SCRAPES").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    println!(
        "| a sample's way | ns of the processor, median | least | allocations for 1,000 samples |\n|---|---|---|---|"
    );
    let show = |name: &str, (median, least, allocations): (f64, f64, f64)| {
        println!("| {name} | {median:.1} | {least:.1} | {allocations:.2} |");
    };
    let (mut target, mut null) = (Target::new(), Null::default());
    show("parsed and found in the cache", measure(scrapes, || target.scrape(&mut null)));
    let once = allocation_counter::measure(|| target.scrape(&mut null)).count_total;
    assert!(once <= ALLOCATIONS_MAX, "a scrape of {} samples allocates {once} times", node::SERIES);

    let scratch = tempfile::tempdir().expect("a scratch directory");
    let db = Db::open(scratch.path(), tsdb::Config::default()).expect("a scratch directory");
    let mut target = Target::new();
    let stored = measure(scrapes, || {
        let mut appender = db.appender();
        target.scrape(&mut *appender);
        appender.commit().expect("the disk works");
    });
    show("and appended to the head and its log", stored);
    db.close().expect("the disk works");
}

//! One scrape's page on its way to the storage, in the steady state: parsed, found in the cache, appended to a storage
//! that takes everything and keeps nothing. What the storage itself costs is measured there.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exposition::parse::Format;
use model::exemplar::Exemplar;
use model::labels;
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{AppendError, Appender, NewValue, SeriesRef, StorageError};
use scraper::config::{GlobalConfig, ScrapeConfig};
use scraper::features::Features;
use scraper::ingest::{Ingestion, Remembered, SampleRules};
use scraper::metadata_cache::MetadataCache;
use scraper::series_budget::SeriesBudget;
use scraper::series_cache::SeriesCache;

/// Counts.
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

/// A page of 1,000 series such as a node exporter on a machine of 32 processors writes.
fn node_page() -> String {
    let mut page = String::new();
    let modes = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    page.push_str("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n");
    page.push_str("# TYPE node_cpu_seconds_total counter\n");
    for (cpu, mode) in (0..32).flat_map(|cpu| modes.map(|mode| (cpu, mode))) {
        let seconds = f64::from(cpu) * 1234.56 + mode.len() as f64;
        page.push_str(&format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds:.2}\n"));
    }
    for family in 0..62 {
        let name = format!("node_filesystem_family{family}_bytes");
        page.push_str(&format!("# HELP {name} Filesystem size in bytes.\n# TYPE {name} gauge\n"));
        for device in 0..12 {
            let bytes = 1_048_576_u64 * (device + 1) * (family + 7) * 131;
            page.push_str(&format!(
                "{name}{{device=\"/dev/nvme0n{device}p1\",fstype=\"ext4\",mountpoint=\"/srv/{device}\"}} {bytes}\n"
            ));
        }
    }
    page
}

fn benches(criterion: &mut Criterion) {
    let page = node_page();
    let job = ScrapeConfig { job_name: "node".into(), ..ScrapeConfig::default() };
    let job = job.resolve(&GlobalConfig::default()).expect("it is valid");
    let rules = SampleRules::new(&job, labels! { "job" => "node", "instance" => "i" }, Features::default());
    let (mut cache, mut metadata) = (SeriesCache::default(), MetadataCache::default());
    let (budget, mut null) = (SeriesBudget::default(), Null::default());
    let mut scrape = |at: i64| {
        let remembered = Remembered { cache: &mut cache, metadata: &mut metadata, budget: &budget };
        let ingestion = Ingestion::new(&rules, remembered, &mut null, Timestamp(at));
        ingestion.page(Format::Text, black_box(page.as_bytes())).expect("the page is valid").scraped
    };
    let samples = scrape(0);
    assert_eq!(samples, 1000);
    let mut at = 0;
    let mut group = criterion.benchmark_group("ingest_node_page");
    group.throughput(Throughput::Elements(samples));
    group.bench_function("steady", |bencher| {
        bencher.iter(|| {
            at += 15_000;
            scrape(at)
        });
    });
    group.finish();
}

criterion_group!(ingesting, benches);
criterion_main!(ingesting);

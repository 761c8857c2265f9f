//! Ingestion against a storage that writes down what it is given.

use std::collections::BTreeMap;

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig};
use crate::features::Features;
use model::exemplar::Exemplar;
use model::labels;
use model::labels::Labels;
use model::metadata::Metadata;
use model::relabel::{Action, RelabelConfig};
use model::storage::StorageError;

/// Series by labels, samples as `(timestamp, bits)`; refs are positions.
#[derive(Default)]
struct Recorder {
    series: Vec<Labels>,
    samples: Vec<(u64, i64, u64)>,
    /// Series and value, as absolute counts.
    histograms: Vec<(u64, model::histogram::FloatHistogram)>,
    exemplars: Vec<(u64, f64)>,
    metadata: Vec<(u64, Metadata)>,
    /// Series and start of samples that have one, and samples wanted in order alone.
    starts: Vec<(u64, i64)>,
    in_order: Vec<(u64, i64)>,
    by_labels: usize,
}

impl Recorder {
    fn series_of(&mut self, labels: &Labels) -> SeriesRef {
        let known = self.series.iter().position(|l| l == labels);
        let index = known.unwrap_or_else(|| {
            self.series.push(labels.clone());
            self.series.len() - 1
        });
        SeriesRef(index as u64)
    }
}

impl Appender for Recorder {
    fn append(&mut self, labels: &Labels, at: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        self.by_labels += 1;
        let series = self.series_of(labels);
        self.append_ref(series, at, value)?;
        Ok(series)
    }

    fn append_ref(&mut self, series: SeriesRef, at: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        match value {
            NewValue::Float(value) => self.samples.push((series.0, at.0, value.to_bits())),
            NewValue::IntHistogram(histogram) => self.histograms.push((series.0, histogram.to_float())),
            NewValue::FloatHistogram(histogram) => self.histograms.push((series.0, histogram.clone())),
        }
        Ok(())
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError> {
        self.exemplars.push((series.0, exemplar.value));
        Ok(())
    }

    fn append_started(
        &mut self,
        series: SeriesRef,
        start: Timestamp,
        at: Timestamp,
        value: NewValue<'_>,
    ) -> Result<(), AppendError> {
        self.starts.push((series.0, start.0));
        self.append_ref(series, at, value)
    }

    fn append_with_start(
        &mut self,
        labels: &Labels,
        start: Timestamp,
        at: Timestamp,
        value: NewValue<'_>,
    ) -> Result<SeriesRef, AppendError> {
        let series = self.append(labels, at, value)?;
        self.starts.push((series.0, start.0));
        Ok(series)
    }

    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(self.series_of(labels))
    }

    fn append_in_order(&mut self, series: SeriesRef, at: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        self.in_order.push((series.0, at.0));
        self.append_ref(series, at, value)
    }

    fn update_metadata(&mut self, series: SeriesRef, metadata: &Metadata) -> Result<(), AppendError> {
        self.metadata.push((series.0, metadata.clone()));
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        Ok(self.samples.len())
    }

    fn rollback(self: Box<Self>) {}
}

struct Bench {
    rules: SampleRules,
    cache: SeriesCache,
    metadata: MetadataCache,
    budget: SeriesBudget,
    recorder: Recorder,
    at: i64,
}

impl Bench {
    fn new(change: fn(&mut ScrapeConfig)) -> Self {
        Self::with_features(Features::default(), change)
    }

    fn with_features(features: Features, change: fn(&mut ScrapeConfig)) -> Self {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        change(&mut config);
        let job = config.resolve(&GlobalConfig::default()).unwrap();
        let rules = SampleRules::new(&job, labels! { "job" => "j", "instance" => "i" }, features);
        Self {
            rules,
            cache: SeriesCache::default(),
            metadata: MetadataCache::default(),
            budget: SeriesBudget::default(),
            recorder: Recorder::default(),
            at: 0,
        }
    }

    fn scrape(&mut self, page: &str) -> Result<Counts, IngestError> {
        self.scrape_as(Format::Text, page.as_bytes())
    }

    fn scrape_as(&mut self, format: Format, page: &[u8]) -> Result<Counts, IngestError> {
        self.at += 1000;
        self.recorder.samples.clear();
        self.recorder.in_order.clear();
        self.ingestion().page(format, page)
    }

    fn ingestion(&mut self) -> Ingestion<'_> {
        let remembered = Remembered { cache: &mut self.cache, metadata: &mut self.metadata, budget: &self.budget };
        Ingestion::new(&self.rules, remembered, &mut self.recorder, Timestamp(self.at))
    }

    /// The last scrape's samples by series.
    fn stored(&self) -> BTreeMap<String, (i64, f64)> {
        let samples = self.recorder.samples.iter();
        samples
            .map(|(series, at, bits)| {
                (self.recorder.series[*series as usize].to_string(), (*at, f64::from_bits(*bits)))
            })
            .collect()
    }
}

const A: &str = r#"{__name__="a", instance="i", job="j"}"#;
const B: &str = r#"{__name__="b", instance="i", job="j"}"#;

#[test]
fn known_lines_go_by_ref_and_vanished_ones_go_stale() {
    let mut bench = Bench::new(|_| {});
    let counts = bench.scrape("a 1\nb 2\n").unwrap();
    assert_eq!((counts.scraped, counts.kept, counts.series_added), (2, 2, 2));
    assert_eq!(bench.stored()[B], (1000, 2.0));
    bench.recorder.by_labels = 0;
    let counts = bench.scrape("a 3\n").unwrap();
    assert_eq!((counts.scraped, counts.series_added, bench.recorder.by_labels), (1, 0, 0));
    assert_eq!(bench.stored()[A], (2000, 3.0));
    assert!(model::sample::is_stale(bench.stored()[B].1));
    bench.scrape("a 3\n").unwrap();
    assert!(!bench.stored().contains_key(B), "one marker is enough");
    assert_eq!(bench.scrape("b 1\na 1\n").unwrap().series_added, 0, "b is still remembered");
}

#[test]
fn clashing_labels_are_renamed_or_honoured() {
    let mut bench = Bench::new(|_| {});
    bench.scrape("m{job=\"x\",exported_job=\"y\"} 1\n").unwrap();
    let expected = r#"{__name__="m", exported_exported_job="x", exported_job="y", instance="i", job="j"}"#;
    assert!(bench.stored().contains_key(expected), "{:?}", bench.stored());
    let mut honouring = Bench::new(|c| c.honor_labels = true);
    honouring.scrape("m{job=\"x\"} 1\n").unwrap();
    assert!(honouring.stored().contains_key(r#"{__name__="m", instance="i", job="x"}"#));
}

#[test]
fn own_timestamps_are_kept_and_exempt_from_staleness() {
    let mut bench = Bench::new(|_| {});
    bench.scrape("a 1 500\n").unwrap();
    assert_eq!(bench.stored()[A], (500, 1.0));
    bench.scrape("").unwrap();
    assert!(bench.stored().is_empty());
    let mut ignoring = Bench::new(|c| c.honor_timestamps = Some(false));
    ignoring.scrape("a 1 500\n").unwrap();
    assert_eq!(ignoring.stored()[A], (1000, 1.0));
}

#[test]
fn metric_relabelling_drops_lines_once() {
    let mut bench = Bench::new(|c| {
        c.metric_relabel_configs.push(RelabelConfig {
            source_labels: vec!["__name__".into()],
            regex: "b".into(),
            action: Action::Drop,
            ..RelabelConfig::default()
        });
    });
    for _ in 0..2 {
        let counts = bench.scrape("a 1\nb 2\n").unwrap();
        assert_eq!((counts.scraped, counts.kept), (2, 1));
        assert_eq!(bench.stored().len(), 1);
    }
}

#[test]
fn bounds_are_normalised_under_their_type() {
    let mut bench = Bench::new(|_| {});
    bench.scrape("# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n").unwrap();
    assert!(bench.stored().keys().any(|k| k.contains(r#"h_bucket", instance="i", job="j", le="1.0""#)));
    assert!(bench.stored().keys().any(|k| k.contains(r#""g", instance="i", job="j", le="1""#)));
}

#[test]
fn limits_and_malformed_lines_fail_the_scrape() {
    let mut bench = Bench::new(|c| c.sample_limit = 2);
    assert!(matches!(bench.scrape("a 1\nb 1\nc 1\n"), Err(IngestError::SampleLimit)));
    assert_eq!(bench.scrape("a 1\nb 1\n").unwrap().kept, 2);
    let mut labels = Bench::new(|c| c.label_limit = 3);
    assert!(matches!(labels.scrape("a{x=\"1\"} 1\n"), Err(IngestError::LabelLimit(_))));
    let mut plain = Bench::new(|_| {});
    assert!(matches!(plain.scrape("a 1\nb{x=\"1\",x=\"2\"} 1\n"), Err(IngestError::Series(_))));
    assert!(matches!(plain.scrape("a 1\nb"), Err(IngestError::Parse(_))));
    let twice = plain.scrape("a 1\na 2\n").unwrap();
    assert_eq!((twice.duplicate, twice.scraped), (1, 2));
}

const CLASSIC: &str = "# TYPE h histogram\n\
    h_bucket{a=\"x\",le=\"0.5\"} 1 # {id=\"1\"} 0.25 1.5\nh_bucket{a=\"x\",le=\"1\"} 3\nh_bucket{a=\"x\",le=\"+Inf\"} 4\n\
    h_sum{a=\"x\"} 7.5\nh_count{a=\"x\"} 4\nh_bucket{a=\"y\",le=\"+Inf\"} 1\nh_sum{a=\"y\"} 1\nh_count{a=\"y\"} 1\n\
    # TYPE g gauge\ng 1\n# EOF\n";

fn ingest_open_metrics(bench: &mut Bench, page: &str) -> Counts {
    bench.scrape_as(Format::OpenMetrics, page.as_bytes()).unwrap()
}

#[test]
fn classic_histograms_are_converted_as_asked() {
    let mut bench = Bench::new(|c| c.convert_classic_histograms_to_nhcb = Some(true));
    for _ in 0..2 {
        let counts = ingest_open_metrics(&mut bench, CLASSIC);
        assert_eq!((counts.scraped, counts.kept), (3, 3), "two histograms and a gauge");
    }
    let names: Vec<_> = bench.recorder.series.iter().map(|l| (l.metric_name().unwrap(), l.get("a"))).collect();
    assert_eq!(names, [("h", Some("x")), ("h", Some("y")), ("g", None)]);
    let (_, first) = &bench.recorder.histograms[0];
    assert_eq!((&*first.positive, &*first.custom_values), (&[1.0, 2.0, 1.0][..], &[0.5, 1.0][..]));
    assert_eq!((first.count, first.sum, first.schema), (4.0, 7.5, -53));
    assert_eq!(bench.recorder.exemplars, [(0, 0.25), (0, 0.25)]);

    let mut both = Bench::new(|c| {
        c.convert_classic_histograms_to_nhcb = Some(true);
        c.always_scrape_classic_histograms = Some(true);
    });
    assert_eq!(ingest_open_metrics(&mut both, CLASSIC).scraped, 11);
    assert_eq!((both.recorder.histograms.len(), both.recorder.samples.len()), (2, 9));
}

#[test]
fn native_histograms_are_made_to_fit_their_limit() {
    let family = |buckets: usize| {
        // A MetricFamily written by hand: name "n", type histogram, one metric with one span of so many buckets.
        let mut histogram = vec![0x08, buckets as u8, 0x28, 0x06];
        histogram.extend([0x62, 4, 0x08, 2, 0x10, buckets as u8]);
        histogram.extend([0x6a, buckets as u8, 2]);
        histogram.resize(histogram.len() + buckets - 1, 0);
        let metric = [&[0x3a, histogram.len() as u8][..], &histogram].concat();
        let family = [&[0x0a, 1, b'n', 0x18, 4, 0x22, metric.len() as u8][..], &metric].concat();
        [&[family.len() as u8][..], &family].concat()
    };
    let scrape = |change: fn(&mut ScrapeConfig), buckets| {
        let mut bench = Bench::new(change);
        let result = bench.scrape_as(Format::Protobuf, &family(buckets));
        let histogram = bench.recorder.histograms.pop().map(|(_, histogram)| histogram);
        (result.map(|counts| counts.scraped).map_err(|e| e.to_string()), histogram)
    };
    let (result, histogram) = scrape(|c| c.scrape_native_histograms = Some(true), 8);
    assert_eq!((result, histogram.map(|h| (h.schema, h.positive.len(), h.count))), (Ok(1), Some((3, 8, 8.0))));
    let limit = |c: &mut ScrapeConfig| {
        c.scrape_native_histograms = Some(true);
        c.native_histogram_bucket_limit = 3;
    };
    let (result, histogram) = scrape(limit, 8);
    assert_eq!((result, histogram.map(|h| (h.schema, h.positive.len(), h.count))), (Ok(1), Some((1, 2, 8.0))));
    let factor = |c: &mut ScrapeConfig| {
        c.scrape_native_histograms = Some(true);
        c.native_histogram_min_bucket_factor = 1.5;
    };
    assert_eq!(scrape(factor, 8).1.map(|h| h.schema), Some(0));
    assert_eq!(scrape(|_| {}, 8).0, Ok(3), "not asked for: count, sum and the last bucket");
}

#[test]
fn new_series_beyond_a_limit_are_dropped_and_the_scrape_goes_on() {
    let mut bench = Bench::new(|c| c.active_series_limit = 2);
    let counts = bench.scrape("a 1\nb 2\nc 3\nd 4\n").unwrap();
    assert_eq!((counts.scraped, counts.kept, counts.series_added, counts.excess), (4, 4, 2, 2));
    assert_eq!(bench.stored().into_keys().collect::<Vec<_>>(), [A, B]);
    // Known series go on, wherever the others stand.
    let counts = bench.scrape("d 4\nc 3\nb 2\na 1\n").unwrap();
    assert_eq!((counts.excess, bench.stored().len(), bench.budget.counts().active), (2, 2, 2));
    // One that goes stale makes room for one more, at the scrape after.
    assert_eq!(bench.scrape("d 4\nc 3\nb 2\n").unwrap().excess, 2);
    let counts = bench.scrape("d 4\nc 3\nb 2\n").unwrap();
    assert_eq!((counts.excess, counts.series_added, bench.recorder.series.len()), (1, 0, 3));
    // And what comes back waits its turn.
    assert_eq!(bench.scrape("a 1\nb 2\nd 4\n").unwrap().excess, 1);
    bench.ingestion().nothing().unwrap();
    assert_eq!(bench.budget.counts().active, 0);
    assert_eq!(bench.scrape("a 1\nb 2\n").unwrap().excess, 0);
}

#[test]
fn series_of_one_metric_are_limited_by_its_stored_name() {
    let mut bench = Bench::new(|c| {
        c.metric_series_limit = 1;
        c.metric_relabel_configs.push(RelabelConfig {
            source_labels: vec!["__name__".into()],
            regex: "a|b".into(),
            target_label: "__name__".into(),
            replacement: "ab".into(),
            ..RelabelConfig::default()
        });
    });
    let counts = bench.scrape("a{x=\"1\"} 1\nb{x=\"2\"} 1\nc 1\nc{x=\"2\"} 1 1500\n").unwrap();
    assert_eq!((counts.excess, bench.stored().len()), (2, 2));
    // Series with timestamps of their own never go stale, but give their place back.
    assert_eq!(bench.scrape("b{x=\"2\"} 1\nc{x=\"2\"} 1 1500\n").unwrap().excess, 2);
    assert_eq!(bench.scrape("b{x=\"2\"} 1\nc{x=\"2\"} 1 1500\n").unwrap().excess, 0);
    assert_eq!(bench.scrape("c 1\n").unwrap().excess, 1);
    assert_eq!(bench.scrape("c 1\n").unwrap().excess, 0);
}

const STARTED: &str = "# TYPE c counter\nc_total{x=\"1\"} 5\nc_created{x=\"1\"} 0.5\nc_total{x=\"2\"} 6\n\
    # TYPE g gauge\ng_created 7\n# EOF\n";

#[test]
fn created_lines_are_samples_unless_starts_are_asked_for() {
    let mut plain = Bench::new(|_| {});
    assert_eq!(ingest_open_metrics(&mut plain, STARTED).scraped, 4);
    assert!(plain.recorder.starts.is_empty() && plain.recorder.in_order.is_empty());

    let mut stored = Bench::with_features(Features { start_timestamps: true, ..Features::default() }, |_| {});
    for _ in 0..2 {
        assert_eq!(ingest_open_metrics(&mut stored, STARTED).scraped, 3);
    }
    assert_eq!(stored.recorder.starts, [(0, 500), (0, 500)]);
    assert!(stored.recorder.in_order.is_empty());
}

#[test]
fn a_zero_is_injected_once_per_start() {
    let mut bench = Bench::with_features(Features { start_zeros: true, ..Features::default() }, |_| {});
    ingest_open_metrics(&mut bench, STARTED);
    assert_eq!(bench.recorder.in_order, [(0, 500)]);
    assert_eq!(bench.recorder.samples[..2], [(0, 500, 0), (0, 1000, 5f64.to_bits())]);
    ingest_open_metrics(&mut bench, STARTED);
    assert!(bench.recorder.in_order.is_empty(), "nothing new");
    ingest_open_metrics(&mut bench, &STARTED.replace(" 0.5", " 2.5"));
    assert_eq!(bench.recorder.in_order, [(0, 2500)], "started anew");
    ingest_open_metrics(&mut bench, &STARTED.replace(" 0.5", " 99"));
    assert!(bench.recorder.in_order.is_empty(), "starts after its sample");
}

#[test]
fn metadata_goes_with_new_series_and_when_it_changes() {
    let mut bench = Bench::with_features(Features { metadata: true, ..Features::default() }, |_| {});
    let page = "# HELP a A.\n# TYPE a counter\na 1\nother 1\n# TYPE h histogram\nh_sum 1\n";
    bench.scrape(page).unwrap();
    let a = Metadata { metric_type: MetricType::Counter, help: "A.".into(), unit: String::new() };
    let h = Metadata { metric_type: MetricType::Histogram, ..Metadata::default() };
    assert_eq!(bench.recorder.metadata, [(0, a.clone()), (2, h)], "not of a series of no family");
    bench.recorder.metadata.clear();
    bench.scrape(page).unwrap();
    assert!(bench.recorder.metadata.is_empty());
    bench.scrape(&page.replace("A.", "B.").replace("other 1", "a{x=\"1\"} 1")).unwrap();
    let changed = Metadata { help: "B.".into(), ..a };
    assert_eq!(bench.recorder.metadata, [(0, changed.clone()), (3, changed)]);
}

#[test]
fn type_and_unit_become_labels_and_change_the_series() {
    let features = Features { type_and_unit_labels: true, ..Features::default() };
    let mut bench = Bench::with_features(features, |_| {});
    let page =
        "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds{__type__=\"x\"} 1\nb{__unit__=\"y\"} 1\n# EOF\n";
    ingest_open_metrics(&mut bench, page);
    let series: Vec<_> = bench.recorder.series.iter().map(|l| (l.get("__type__"), l.get("__unit__"))).collect();
    assert_eq!(series, [(Some("gauge"), Some("seconds")), (None, Some("y"))]);
    ingest_open_metrics(&mut bench, page);
    assert_eq!(bench.recorder.series.len(), 2);
    ingest_open_metrics(&mut bench, &page.replace("gauge", "counter"));
    assert_eq!(bench.recorder.series[2].get("__type__"), Some("counter"));
    assert_eq!(bench.recorder.in_order, [(0, 3000)], "the series before ends");
    assert_eq!(bench.budget.counts().active, 2);
}

#[test]
fn samples_far_ahead_and_empty_pages_are_taken_as_upstream_does() {
    let mut bench = Bench::new(|_| {});
    let counts = bench.scrape("a 1 601001\nb 1 601000\n").unwrap();
    assert_eq!((counts.out_of_bounds, counts.kept, bench.stored().len()), (1, 2, 1));
    bench.scrape("a 1\n").unwrap();
    for format in [Format::OpenMetrics, Format::Protobuf] {
        assert_eq!(bench.scrape_as(format, b"").unwrap(), Counts::default());
    }
}

/// Takes everything, keeps nothing.
struct Null;

impl Appender for Null {
    fn append(&mut self, labels: &Labels, _: Timestamp, _: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(labels.hash64()))
    }

    fn append_ref(&mut self, _: SeriesRef, _: Timestamp, _: NewValue<'_>) -> Result<(), AppendError> {
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

#[test]
fn series_without_a_start_are_counted_from_their_first_value() {
    let mut bench = Bench::with_features(Features { start_synthesis: true, ..Features::default() }, |_| {});
    let counter = r#"{__name__="c_total", instance="i", job="j"}"#;
    let gauge = r#"{__name__="g", instance="i", job="j"}"#;
    for (value, counted) in [(10.0, None), (12.0, Some(2.0)), (1.0, Some(1.0)), (3.0, Some(3.0))] {
        let page = format!("# TYPE c_total counter\nc_total {value}\n# TYPE g gauge\ng {value}\n");
        assert_eq!(bench.scrape(&page).unwrap().kept, 2);
        let stored = bench.stored();
        assert_eq!(stored.get(counter).copied(), counted.map(|counted| (bench.at, counted)));
        assert_eq!(stored.get(gauge).copied(), Some((bench.at, value)));
    }
    // A series that was away begins anew.
    bench.scrape("g 1\n").unwrap();
    bench.scrape("# TYPE c_total counter\nc_total 20\n").unwrap();
    assert_eq!(bench.stored().get(counter), None);
}

/// Allocations of a scrape of a page that was scraped before.
fn steady_allocations(format: Format, page: &str) -> u64 {
    let features =
        Features { start_timestamps: true, metadata: true, type_and_unit_labels: true, ..Features::default() };
    let mut bench = Bench::with_features(features, |c| c.active_series_limit = 100_000);
    let mut scrape = || {
        bench.at += 15_000;
        let remembered = Remembered { cache: &mut bench.cache, metadata: &mut bench.metadata, budget: &bench.budget };
        let mut null = Null;
        let ingestion = Ingestion::new(&bench.rules, remembered, &mut null, Timestamp(bench.at));
        ingestion.page(format, page.as_bytes()).unwrap();
    };
    scrape();
    scrape();
    allocation_counter::measure(scrape).count_total
}

#[test]
fn nothing_is_allocated_per_sample_in_the_steady_state() {
    let page = |series: usize| {
        let lines = (0..series).map(|i| format!("m_total{{cpu=\"{i}\",mode=\"x\\\"y\"}} {}.25\n", i * 7));
        let head = "# HELP m Seconds.\n# TYPE m counter\n".to_owned();
        std::iter::once(head).chain(lines).chain(["# EOF\n".to_owned()]).collect::<String>()
    };
    for format in [Format::Text, Format::OpenMetrics] {
        let page = |series| match format {
            Format::Text => page(series).replace("TYPE m counter", "TYPE m_total counter"),
            _ => page(series),
        };
        let (few, many) = (steady_allocations(format, &page(10)), steady_allocations(format, &page(2000)));
        assert_eq!(few, many, "{format:?}");
        assert!(few < 10, "{few} allocations a scrape");
    }
}

//! Ingestion against a storage that writes down what it is given.

use std::collections::BTreeMap;

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig};
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
    by_labels: usize,
}

impl Appender for Recorder {
    fn append(&mut self, labels: &Labels, at: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        self.by_labels += 1;
        let known = self.series.iter().position(|l| l == labels);
        let index = known.unwrap_or_else(|| {
            self.series.push(labels.clone());
            self.series.len() - 1
        });
        let series = SeriesRef(index as u64);
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

    fn update_metadata(&mut self, _: SeriesRef, _: &Metadata) -> Result<(), AppendError> {
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
    recorder: Recorder,
    at: i64,
}

impl Bench {
    fn new(change: fn(&mut ScrapeConfig)) -> Self {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        change(&mut config);
        let job = config.resolve(&GlobalConfig::default()).unwrap();
        let rules = SampleRules::new(&job, labels! { "job" => "j", "instance" => "i" });
        Self { rules, cache: SeriesCache::default(), recorder: Recorder::default(), at: 0 }
    }

    fn scrape(&mut self, page: &str) -> Result<Counts, IngestError> {
        self.at += 1000;
        self.recorder.samples.clear();
        let ingestion = Ingestion::new(&self.rules, &mut self.cache, &mut self.recorder, Timestamp(self.at));
        ingestion.page(Format::Text, page.as_bytes(), &mut MetadataCache::default())
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
    bench.at += 1000;
    let ingestion = Ingestion::new(&bench.rules, &mut bench.cache, &mut bench.recorder, Timestamp(bench.at));
    ingestion.page(Format::OpenMetrics, page.as_bytes(), &mut MetadataCache::default()).unwrap()
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
        let ingestion = Ingestion::new(&bench.rules, &mut bench.cache, &mut bench.recorder, Timestamp(1));
        let result = ingestion.page(Format::Protobuf, &family(buckets), &mut MetadataCache::default());
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

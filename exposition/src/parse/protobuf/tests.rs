//! Pages written with the messages themselves, read back as a text page would be.

use super::messages::{Bucket, BucketSpan, Counter, Histogram, Plain, Quantile, Summary};
use super::*;

const NATIVE: NativeHistograms = NativeHistograms { native: true, always_classic: false };

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.into(), value: value.into() }
}

fn page(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect()
}

fn family(name: &str, kind: i32, metric: Metric) -> MetricFamily {
    MetricFamily { name: name.into(), kind, metric: vec![metric], ..MetricFamily::default() }
}

/// A page as a text page would say it, for comparing.
fn told(families: &[MetricFamily], wanted: NativeHistograms) -> Vec<String> {
    let page = ProtobufPage::decode(&page(families), wanted).unwrap();
    let entries = page.entries().map(|entry| match entry {
        Entry::Sample(SampleLine { series, value, start, exemplar, .. }) => {
            let exemplar = exemplar.map_or_else(String::new, |e| format!(" # {} {}", e.labels, e.value));
            let start = if start == 0 { String::new() } else { format!(" since {start}") };
            format!("{series} {value}{start}{exemplar}")
        }
        Entry::Histogram(line) => {
            let exemplars: Vec<f64> = line.exemplars.iter().map(|e| e.value).collect();
            format!("{} {:?} {exemplars:?}", line.series, line.value)
        }
        Entry::Type { name, metric_type } => format!("# TYPE {name} {}", metric_type.as_str()),
        Entry::Help { name, text } => format!("# HELP {name} {text}"),
        Entry::Unit { name, unit } => format!("# UNIT {name} {unit}"),
    });
    entries.collect()
}

fn both() -> Histogram {
    let exemplar = Exemplar {
        label: vec![label("trace_id", "a")],
        value: 0.3,
        timestamp: Some(Timestamp { seconds: 5, nanos: 1_500_000 }),
    };
    Histogram {
        count: 3,
        sum: 1.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        positive_span: vec![
            BucketSpan { offset: 2, length: 1 },
            BucketSpan { offset: 3, length: 0 },
            BucketSpan { offset: 1, length: 1 },
        ],
        positive_delta: vec![1, 0],
        bucket: vec![
            Bucket { cumulative_count: 1, upper_bound: 0.5, exemplar: Some(exemplar), ..Bucket::default() },
            Bucket { cumulative_count: 3, upper_bound: 1.0, ..Bucket::default() },
        ],
        ..Histogram::default()
    }
}

#[test]
fn every_type_is_read_as_its_series() {
    let counter = Counter {
        value: 7.0,
        start: Some(Timestamp { seconds: 1, nanos: 0 }),
        exemplar: Some(Exemplar { label: vec![label("a", "b\"c")], value: 1.0, timestamp: None }),
    };
    let summary = Summary { count: 2, sum: 0.5, quantile: vec![Quantile { quantile: 1.0, value: 0.25 }], start: None };
    let families = [
        MetricFamily {
            help: "a\\b\nc".into(),
            unit: "seconds".into(),
            ..family("c_total", kind::COUNTER, Metric { counter: Some(counter), ..Metric::default() })
        },
        family("s", kind::SUMMARY, Metric { summary: Some(summary), ..Metric::default() }),
        family(
            "dotted.name",
            kind::GAUGE,
            Metric {
                label: vec![label("http.status", "1\n2"), label("x", "y")],
                gauge: Some(Plain { value: -1.0 }),
                ..Metric::default()
            },
        ),
    ];
    assert_eq!(
        told(&families, NATIVE),
        [
            "# TYPE c_total counter",
            r"# HELP c_total a\\b\nc",
            "# UNIT c_total seconds",
            r#"c_total 7 since 1000 # {a="b\"c"} 1"#,
            "# TYPE s summary",
            "s_count 2",
            "s_sum 0.5",
            r#"s{quantile="1.0"} 0.25"#,
            "# TYPE dotted.name gauge",
            r#"{"dotted.name","http.status"="1\n2",x="y"} -1"#,
        ]
    );
}

#[test]
fn native_and_classic_buckets_are_taken_as_asked() {
    let families = [family("h", kind::HISTOGRAM, Metric { histogram: Some(both()), ..Metric::default() })];
    let classic = [
        "h_count 3",
        "h_sum 1.5",
        r#"h_bucket{le="0.5"} 1 # {trace_id="a"} 0.3"#,
        r#"h_bucket{le="1.0"} 3"#,
        r#"h_bucket{le="+Inf"} 3"#,
    ];
    let value = HistogramValue::Int(IntHistogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 3,
        sum: 1.5,
        positive_spans: vec![
            model::histogram::Span { offset: 2, length: 1 },
            model::histogram::Span { offset: 4, length: 1 },
        ],
        positive: vec![1, 0],
        ..IntHistogram::default()
    });
    let native = format!("h {value:?} [0.3]");
    assert_eq!(told(&families, NativeHistograms { native: false, ..NATIVE })[1..], classic);
    assert_eq!(&told(&families, NATIVE)[1..], std::slice::from_ref(&native));
    let all = told(&families, NativeHistograms { always_classic: true, ..NATIVE });
    assert_eq!(all[1], native);
    assert_eq!(all[2..], classic);
}

#[test]
fn gauge_histograms_and_float_counts_are_told_apart() {
    let histogram = Histogram {
        count_float: 2.5,
        positive_count: vec![2.5],
        positive_span: vec![BucketSpan { offset: 0, length: 1 }],
        ..Histogram::default()
    };
    let families = [family("h", kind::GAUGE_HISTOGRAM, Metric { histogram: Some(histogram), ..Metric::default() })];
    let page = ProtobufPage::decode(&page(&families), NATIVE).unwrap();
    let last = page.entries().last().unwrap();
    let Entry::Histogram(HistogramLine { value: HistogramValue::Float(float), .. }) = last else {
        panic!("not a float histogram: {last:?}");
    };
    assert_eq!((float.count, float.reset_hint), (2.5, model::histogram::ResetHint::Gauge));
}

#[test]
fn damage_is_told_with_its_place() {
    let good = page(&[family("g", kind::GAUGE, Metric { gauge: Some(Plain { value: 1.0 }), ..Metric::default() })]);
    for cut in 1..good.len() {
        assert!(ProtobufPage::decode(&good[..cut], NATIVE).is_err(), "cut at {cut}");
    }
    let mut twice = good.clone();
    twice.extend([200, 1, 7]);
    let error = ProtobufPage::decode(&twice, NATIVE).unwrap_err();
    assert_eq!((error.offset, error.expected), (good.len(), "a MetricFamily within the page"));
}

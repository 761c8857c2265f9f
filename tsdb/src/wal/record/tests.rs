//! Records come back as they were written, those of newer versions are understood, cut ones are told.

use model::histogram::{FloatHistogram, IntHistogram, Span};
use model::labels;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Seen(Vec<String>);

impl RecordSink for Seen {
    fn series(&mut self, series: WalRef, labels: Labels) {
        self.0.push(format!("{series} {labels}"));
    }

    fn sample(&mut self, series: WalRef, stamp: Stamp, value: SampleValue) {
        let start = if stamp.start == 0 { String::new() } else { format!("{}..", stamp.start) };
        self.0.push(format!("{series} {start}{} {value:?}", stamp.time));
    }

    fn exemplar(&mut self, series: WalRef, exemplar: Exemplar) {
        self.0.push(format!("{series} {exemplar:?}"));
    }

    fn metadata(&mut self, series: WalRef, metadata: Metadata) {
        self.0.push(format!("{series} {metadata:?}"));
    }

    fn mapped_marker(&mut self, marker: MappedMarker) {
        self.0.push(format!("{marker:?}"));
    }

    fn tombstone(&mut self, tombstone: Tombstone) {
        self.0.push(format!("{tombstone:?}"));
    }

    fn skipped(&mut self, kind: u8) {
        self.0.push(format!("skipped {kind}"));
    }
}

fn seen(record: &[u8]) -> Vec<String> {
    let mut sink = Seen::default();
    decode(record, &mut sink).unwrap();
    sink.0
}

fn histogram() -> IntHistogram {
    IntHistogram {
        schema: 3,
        count: 4,
        sum: 2.5,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 5, length: 1 }],
        positive: vec![3, -2],
        ..IntHistogram::default()
    }
}

#[test]
fn series_and_tombstones_come_back() {
    let mut record = SeriesRecord::default();
    assert!(record.bytes().is_empty());
    record.push(7, &labels! { "__name__" => "up", "job" => "ü" });
    record.push(8, &labels! { "__name__" => "down" });
    assert_eq!(seen(record.bytes()), [r#"7 {__name__="up", job="ü"}"#, r#"8 {__name__="down"}"#]);
    let tombstone = Tombstone { series: 9, min_time: i64::MIN, max_time: 5 };
    let mut out = Vec::new();
    encode_tombstones(&[tombstone], &mut out);
    assert_eq!(seen(&out), [format!("{tombstone:?}")]);
}

#[test]
fn a_batch_becomes_one_record_of_each_kind_and_comes_back() {
    let custom = FloatHistogram {
        schema: -53,
        count: 1.0,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive: vec![1.0],
        custom_values: vec![0.5, 1.0],
        ..FloatHistogram::default()
    };
    let samples = [
        (5, 1000, SampleValue::Float(1.5)),
        (4, 999, SampleValue::Int(Arc::new(histogram()))),
        (3, 1001, SampleValue::FloatHistogram(Arc::new(histogram().to_float()))),
        (900, -5, SampleValue::Float(-0.0)),
        (2, 7, SampleValue::FloatHistogram(Arc::new(custom))),
    ];
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    encode_samples(
        Grouping::ByKind,
        samples.iter().map(|(series, time, value)| (*series, Stamp::from(*time), value)),
        &mut out,
        &mut ends,
    );
    assert_eq!(ends.len(), 4);
    let mut start = 0;
    let mut all = Vec::new();
    for end in ends {
        all.extend(seen(&out[start..end]));
        for cut in start + 1..end {
            let mut sink = Seen::default();
            let whole = decode(&out[start..cut], &mut sink).is_ok();
            assert!(!whole || sink.0.len() < samples.len(), "a cut record shows less, or fails");
        }
        start = end;
    }
    let mut expected: Vec<_> =
        samples.iter().map(|(series, time, value)| format!("{series} {time} {value:?}")).collect();
    expected.sort();
    all.sort();
    assert_eq!(all, expected);
}

/// Bytes written by hand after the format: floats, each way to say a start.
#[test]
fn samples_with_start_timestamps_are_written_and_read_byte_by_byte() {
    let float = |value: f64| value.to_bits().to_be_bytes();
    let mut record = vec![kind::SAMPLES_2];
    // Series 10, time 5000, start 4000, each zigzag.
    record.extend([20, 0x90, 0x4e, 0xc0, 0x3e]);
    record.extend(float(1.0));
    // Series +1, time +15: without a start; then with one, 3 before the first; then with that of the one before.
    record.extend([2, 30, 0]);
    record.extend(float(2.0));
    record.extend([2, 30, 2, 5]);
    record.extend(float(2.0));
    record.extend([2, 30, 1]);
    record.extend(float(2.0));
    let floats =
        ["10 4000..5000 Float(1.0)", "11 5015 Float(2.0)", "12 3997..5015 Float(2.0)", "13 3997..5015 Float(2.0)"];
    assert_eq!(seen(&record), floats);
    let (one, two) = (SampleValue::Float(1.0), SampleValue::Float(2.0));
    let samples = [(10, 4000, 5000, &one), (11, 0, 5015, &two), (12, 3997, 5015, &two), (13, 3997, 5015, &two)];
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    let samples = samples.into_iter().map(|(series, start, time, value)| (series, Stamp { start, time }, value));
    encode_samples(Grouping::ByKind, samples, &mut out, &mut ends);
    assert_eq!((out, ends), (record.clone(), vec![record.len()]));
}

#[test]
fn one_sample_with_a_start_takes_all_to_records_with_starts() {
    let int = SampleValue::Int(Arc::new(histogram()));
    let float_histogram = SampleValue::FloatHistogram(Arc::new(histogram().to_float()));
    let stamp = |start| Stamp { start, time: 100 };
    let samples = [(1, stamp(0), &int), (2, stamp(50), &int), (3, stamp(0), &float_histogram)];
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    encode_samples(Grouping::ByKind, samples.into_iter(), &mut out, &mut ends);
    assert_eq!((out[0], out[ends[0]], ends.len()), (kind::HISTOGRAMS_2, kind::FLOAT_HISTOGRAMS_2, 2));
    assert_eq!(seen(&out[..ends[0]]), [format!("1 100 {int:?}"), format!("2 50..100 {int:?}")]);
    assert_eq!(seen(&out[ends[0]..]), [format!("3 100 {float_histogram:?}")]);
}

#[test]
fn samples_of_one_series_in_two_kinds_stay_in_order() {
    let int = SampleValue::Int(Arc::new(histogram()));
    let float = SampleValue::Float(1.0);
    let samples = [(1, 10, &int), (2, 10, &float), (1, 11, &float), (1, 12, &int)];
    let samples = samples.map(|(series, time, value)| (series, Stamp::from(time), value));
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    encode_samples(Grouping::InOrder, samples.into_iter(), &mut out, &mut ends);
    let mut all = Vec::new();
    let mut start = 0;
    for end in ends {
        all.extend(seen(&out[start..end]));
        start = end;
    }
    assert_eq!(all, samples.map(|(series, stamp, value)| format!("{series} {} {value:?}", stamp.time)));
}

#[test]
fn exemplars_metadata_and_markers_come_back() {
    let exemplar = |value: f64, time| Exemplar {
        labels: labels! { "trace_id" => "ab" },
        value,
        timestamp: Some(model::sample::Timestamp(time)),
    };
    let exemplars = [(7, exemplar(0.5, 1000)), (5, exemplar(-1.0, 900))];
    let mut out = Vec::new();
    encode_exemplars(exemplars.iter().map(|(series, exemplar)| (*series, exemplar)), &mut out);
    assert_eq!(seen(&out), exemplars.each_ref().map(|(series, exemplar)| format!("{series} {exemplar:?}")));
    let metadata = Metadata {
        metric_type: model::metadata::MetricType::Summary,
        unit: "seconds".into(),
        help: "How long.".into(),
    };
    out.clear();
    encode_metadata([(300, &metadata)].into_iter(), &mut out);
    let mut expected = vec![6, 0xac, 2, 5, 2, 4];
    expected.extend(b"UNIT\x07seconds\x04HELP\x09How long.");
    assert_eq!(out, expected);
    assert_eq!(seen(&out), [format!("300 {metadata:?}")]);
    out.clear();
    let marker = MappedMarker { series: 9, chunk: 1 << 32 | 8 };
    encode_mapped_markers(&[marker], &mut out);
    assert_eq!(seen(&out), [format!("{marker:?}")]);
}

#[test]
fn unknown_kinds_are_counted_and_empty_records_told() {
    assert_eq!(seen(&[99, 1, 2, 3]), ["skipped 99"]);
    assert_eq!(decode(&[kind::EXEMPLARS, 1], &mut Seen::default()), Err(RecordError::Truncated));
    assert_eq!(decode(&[], &mut Seen::default()), Err(RecordError::Empty));
    assert_eq!(decode(&[kind::SERIES, 0], &mut Seen::default()), Err(RecordError::Truncated));
}

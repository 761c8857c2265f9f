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

    fn sample(&mut self, series: WalRef, time: i64, value: SampleValue) {
        self.0.push(format!("{series} {time} {value:?}"));
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
    encode_samples(samples.iter().map(|(series, time, value)| (*series, *time, value)), &mut out, &mut ends);
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

#[test]
fn samples_with_start_timestamps_are_read_without_them() {
    let mut record = vec![kind::SAMPLES_2];
    for number in [10, 5000, 4000] {
        crate::codec::put_varint(&mut record, number);
    }
    record.extend_from_slice(&1f64.to_bits().to_be_bytes());
    for (marker, start) in [(0u8, None), (1, None), (2, Some(-3))] {
        crate::codec::put_varint(&mut record, 1);
        crate::codec::put_varint(&mut record, 15);
        record.push(marker);
        if let Some(start) = start {
            crate::codec::put_varint(&mut record, start);
        }
        record.extend_from_slice(&2f64.to_bits().to_be_bytes());
    }
    let floats = ["10 5000 Float(1.0)", "11 5015 Float(2.0)", "12 5015 Float(2.0)", "13 5015 Float(2.0)"];
    assert_eq!(seen(&record), floats);
}

#[test]
fn unknown_kinds_are_counted_and_empty_records_told() {
    assert_eq!(seen(&[99, 1, 2, 3]), ["skipped 99"]);
    assert_eq!(seen(&[4, 1]), ["skipped 4"]);
    assert_eq!(decode(&[], &mut Seen::default()), Err(RecordError::Empty));
    assert_eq!(decode(&[kind::SERIES, 0], &mut Seen::default()), Err(RecordError::Truncated));
}

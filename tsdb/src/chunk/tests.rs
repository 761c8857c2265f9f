//! Chunks with start timestamps byte for byte as Prometheus 3.14 encodes the same samples.

use model::histogram::{IntHistogram, ResetHint, Span};
use model::sample::STALE_NAN;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

fn check(encoding: Encoding, samples: &[(Stamp, ValueRef<'_>)], golden: &str) {
    let mut chunk = OpenChunk::starting_with(samples[0].0, samples[0].1, None);
    for (stamp, value) in &samples[1..] {
        assert!(chunk.takes(*value) && chunk.keeps_starts());
        chunk.append(*stamp, *value);
    }
    assert_eq!((chunk.encoding(), usize::from(chunk.count())), (encoding, samples.len()));
    assert_eq!(chunk.bytes(), hex(golden), "{encoding:?}");
    let mut columns = Columns::default();
    decode(encoding, &hex(golden), usize::MAX, &mut columns).unwrap();
    assert_eq!(columns.len(), samples.len());
    for (i, (stamp, value)) in samples.iter().enumerate() {
        assert_eq!((columns.timestamps[i], columns.start_at(i)), (stamp.time, stamp.start), "sample {i}");
        let is_same = match value {
            ValueRef::Float(float) => columns.values[i].to_bits() == float.to_bits(),
            ValueRef::Int(histogram) => columns.histogram_at(i).unwrap().equals(&histogram.to_float()),
            ValueRef::FloatHistogram(histogram) => columns.histogram_at(i).unwrap().equals(histogram),
        };
        assert!(is_same, "sample {i}");
    }
}

fn stamps(samples: &[(i64, i64)]) -> impl Iterator<Item = Stamp> {
    samples.iter().map(|(start, time)| Stamp { start: *start, time: *time })
}

fn histogram(k: i64) -> IntHistogram {
    IntHistogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2 + k as u64,
        count: 12 + 7 * k as u64,
        sum: 18.5 * (k + 1) as f64,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        positive: vec![1 + k, 1, -1, 0],
        negative_spans: vec![Span { offset: -3, length: 2 }],
        negative: vec![2, 1 + 2 * k],
        ..IntHistogram::default()
    }
}

#[test]
fn floats_with_starts() {
    let base = 1_700_000_000_000;
    let starts = [-1000, -1000, -1000, -1000, 50_000, 50_000, -base, 600_001];
    let times = [0, 15_000, 30_000, 45_007, 60_000, 75_000, 600_000, 4_200_000];
    let values = [1.0, 1.0, 2.5, 2.5, 0.1, STALE_NAN, 0.1, 7.0];
    let samples: Vec<_> = (0..8)
        .map(|i| (Stamp { start: base + starts[i], time: base + times[i] }, ValueRef::Float(values[i])))
        .collect();
    check(
        Encoding::Xor2,
        &samples,
        "00088480a0abfef9623ff0000000000000d00f9875509bffdc0076ff960fdfef666666666666fdf63fe003ff83a91e7c8307f0000c5e\
         7f332f4780000000000bbaee2ff4b333333333337fbfff9d0c065cc1c0",
    );
    let long: Vec<_> =
        (0..130).map(|i| (Stamp { start: 1000, time: 2000 + i * 1000 }, ValueRef::Float((i / 50) as f64))).collect();
    check(
        Encoding::Xor2,
        &long,
        "0082ffa01f0000000000000000d00fe8070000000000005115ff800000000000284bffe0000003e7c061e3e878fa00",
    );
}

#[test]
fn histograms_with_starts() {
    let histograms: Vec<_> = (0..4).map(histogram).collect();
    let stamps = stamps(&[(500, 1000), (500, 2000), (900, 3000), (0, 4000)]);
    let samples: Vec<_> = stamps.zip(histograms.iter().map(ValueRef::Int)).collect();
    check(
        Encoding::StartedHistogram,
        &samples,
        "000482ff3f50624dd2f1a9fc8ca494632af8fa319240328000000000008c6e947a01fc7d1878e90fc424360d281e44c1ac7ca079db00",
    );
}

#[test]
fn float_histograms_with_starts() {
    let gauge = |k| FloatHistogram { reset_hint: ResetHint::Gauge, ..histogram(k).to_float() };
    let histograms: Vec<_> = (0..4).map(gauge).collect();
    let stamps = stamps(&[(500, 1000), (500, 2000), (500, 3000), (3500, 4000)]);
    let samples: Vec<_> = stamps.zip(histograms.iter().map(ValueRef::FloatHistogram)).collect();
    check(
        Encoding::StartedFloatHistogram,
        &samples,
        "c00483ff3f50624dd2f1a9fc8ca494632af8fa100a0000000000001000000000000000100ca000000000000ffc0000000000001000\
         0000000000000ffc0000000000000ffc000000000000100000000000000010020000000000003a01fc7d1ac5dec07a43f84bfffb01e1\
         2fffe12fffb587d27585ec1a5d80f585ec07b01a4d247aed07ac7cbac2f683d617ac2da85ffb8300",
    );
}

//! Histograms come back as they went in, and layouts and resets cut chunks.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, IntHistogram, Span};
use model::sample::STALE_NAN;

use super::*;

fn int(step: u64) -> IntHistogram {
    IntHistogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2 + step,
        count: 12 + 7 * step,
        sum: 18.4 * (step + 1) as f64,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 2 }],
        positive: vec![1 + step as i64, 1, -1, 0],
        negative_spans: vec![Span { offset: -3, length: 2 }],
        negative: vec![2, 1 + 2 * step as i64],
        ..IntHistogram::default()
    }
}

fn custom() -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 3.0,
        sum: 4.0,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive: vec![1.0, 1.5, 0.5],
        custom_values: vec![0.005, 1.0, 1.0 / 3.0 + 1.0, 1e9],
        ..FloatHistogram::default()
    }
}

fn round_trip<B: BucketCode>(samples: &[(i64, Histogram<B>)]) -> Vec<(i64, Histogram<B>)> {
    let mut appender = HistogramAppender::starting_with(samples[0].0, &samples[0].1, None);
    for (time, histogram) in &samples[1..] {
        assert!(appender.takes(histogram));
        appender.append(*time, histogram);
    }
    let bytes = appender.into_bytes();
    for cut in 0..bytes.len() {
        let result = decode::<B>(&bytes[..cut], usize::MAX, |_, _| {});
        assert!(result.is_err() || cut < COUNT_BYTES, "cut at {cut}");
    }
    let mut read = Vec::new();
    decode(&bytes, usize::MAX, |time, histogram| read.push((time, histogram))).unwrap();
    read
}

fn check<B: BucketCode>(samples: Vec<(i64, Histogram<B>)>) {
    let read = round_trip(&samples);
    assert_eq!(read.len(), samples.len());
    for (index, (a, b)) in samples.iter().zip(&read).enumerate() {
        assert!(a.0 == b.0 && a.1.equals(&b.1), "sample {index}: {a:?} came back as {b:?}");
        assert_eq!(b.1.reset_hint, if index == 0 { ResetHint::Unknown } else { ResetHint::NotReset });
    }
}

#[test]
fn both_kinds_come_back() {
    check((0..50u32).map(|i| (i64::from(i) * 15_000, int(u64::from(i) * u64::from(i)))).collect());
    check((0..50u32).map(|i| (i64::from(i) * 15_000, int(u64::from(i)).to_float())).collect());
    check(vec![(1, custom()), (2, FloatHistogram { sum: 5.0, ..custom() })]);
}

#[test]
fn a_stale_marker_ends_the_chunk_for_all_but_stale_markers() {
    let stale = IntHistogram { sum: STALE_NAN, ..IntHistogram::default() };
    check(vec![(1, int(0)), (2, int(1)), (3, stale.clone()), (4, stale.clone())]);
    check(vec![(1, stale.clone()), (5, stale.clone())]);
    let mut appender = HistogramAppender::starting_with(1, &int(0), None);
    appender.append(2, &stale);
    assert!(!appender.takes(&int(1)));
}

#[test]
fn resets_and_new_layouts_are_not_taken_and_the_next_header_says_why() {
    let appender = HistogramAppender::starting_with(1, &int(5), None);
    let next_hint = |next: &IntHistogram| {
        let mut hint = None;
        let chunk = HistogramAppender::starting_with(2, next, Some(&appender));
        decode::<i64>(chunk.bytes(), 1, |_, histogram| hint = Some(histogram.reset_hint)).unwrap();
        (appender.takes(next), hint.unwrap(), hint_of(chunk.bytes()[FLAGS_AT]))
    };
    assert_eq!(next_hint(&int(6)), (true, ResetHint::Unknown, ResetHint::NotReset));
    assert_eq!(next_hint(&int(4)), (false, ResetHint::Reset, ResetHint::Reset));
    let mut shifted = int(6);
    shifted.positive[0] -= 3;
    shifted.positive[1] += 3;
    assert_eq!(next_hint(&shifted).1, ResetHint::Reset, "one bucket fell");
    assert_eq!(next_hint(&IntHistogram { schema: 2, ..int(6) }), (false, ResetHint::Unknown, ResetHint::Unknown));
    let gauge = IntHistogram { reset_hint: ResetHint::Gauge, ..int(6) };
    assert_eq!(next_hint(&gauge), (false, ResetHint::Gauge, ResetHint::Gauge));
    let gauges = HistogramAppender::starting_with(1, &gauge, None);
    assert!(gauges.takes(&IntHistogram { reset_hint: ResetHint::Gauge, ..int(1) }), "a gauge may fall");
}

#[test]
fn garbage_does_not_panic_or_hang() {
    let mut appender = HistogramAppender::starting_with(1, &int(0), None);
    appender.append(2, &int(3));
    let bytes = appender.into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let _unused = decode::<i64>(&flipped, usize::MAX, |_, _| {});
            let _unused = decode::<f64>(&flipped, usize::MAX, |_, _| {});
        }
    }
}

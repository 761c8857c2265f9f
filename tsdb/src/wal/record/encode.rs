//! Writing records.

use model::histogram::{BucketNumber, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use model::labels::Labels;

use super::decode::{START_FOLLOWS, START_NONE, START_SAME};
use super::notes::put_labels;
use super::{SampleValue, Tombstone, WalRef, kind};
use crate::chunk::Stamp;
use crate::codec::{put_uvarint, put_varint};

/// A record of new series.
#[derive(Debug, Default)]
pub(crate) struct SeriesRecord {
    bytes: Vec<u8>,
}

impl SeriesRecord {
    pub(crate) fn push(&mut self, series: WalRef, labels: &Labels) {
        if self.bytes.is_empty() {
            self.bytes.push(kind::SERIES);
        }
        self.bytes.extend_from_slice(&series.to_be_bytes());
        put_labels(&mut self.bytes, labels);
    }

    /// The record's bytes; empty if no series was pushed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// The kinds of records that samples go to, in the order they are written.
const SAMPLE_KINDS: [u8; 8] = [
    kind::SAMPLES,
    kind::SAMPLES_2,
    kind::HISTOGRAMS,
    kind::CUSTOM_HISTOGRAMS,
    kind::HISTOGRAMS_2,
    kind::FLOAT_HISTOGRAMS,
    kind::CUSTOM_FLOAT_HISTOGRAMS,
    kind::FLOAT_HISTOGRAMS_2,
];

/// The kind of record a value goes to; `started` if samples of the batch have start timestamps.
fn kind_of(value: &SampleValue, started: bool) -> u8 {
    let custom = |schema| schema == CUSTOM_BUCKETS_SCHEMA;
    match value {
        SampleValue::Float(_) if started => kind::SAMPLES_2,
        SampleValue::Float(_) => kind::SAMPLES,
        SampleValue::Int(_) if started => kind::HISTOGRAMS_2,
        SampleValue::Int(histogram) if custom(histogram.schema) => kind::CUSTOM_HISTOGRAMS,
        SampleValue::Int(_) => kind::HISTOGRAMS,
        SampleValue::FloatHistogram(_) if started => kind::FLOAT_HISTOGRAMS_2,
        SampleValue::FloatHistogram(histogram) if custom(histogram.schema) => kind::CUSTOM_FLOAT_HISTOGRAMS,
        SampleValue::FloatHistogram(_) => kind::FLOAT_HISTOGRAMS,
    }
}

/// How a batch's samples are put into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Grouping {
    /// One record for each kind: no series has samples of two kinds.
    #[default]
    ByKind,
    /// In the order they came: a record ends where the kind changes.
    InOrder,
}

/// Appends the samples as records to `out` and the end of each record to `ends`. If one sample has a start timestamp, all
/// go to records that hold them, so that a series' samples stay in order.
pub(crate) fn encode_samples<'a>(
    grouping: Grouping,
    samples: impl Iterator<Item = (WalRef, Stamp, &'a SampleValue)> + Clone,
    out: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) {
    let started = samples.clone().any(|(_, stamp, _)| stamp.start != 0);
    let mut occurs = 0u32;
    for (_, _, value) in samples.clone() {
        occurs |= 1 << kind_of(value, started);
    }
    if grouping == Grouping::InOrder && occurs.count_ones() > 1 {
        let mut rest = samples.peekable();
        while let Some((_, _, value)) = rest.peek() {
            let kind = kind_of(value, started);
            let run: Vec<_> = std::iter::from_fn(|| rest.next_if(|(_, _, v)| kind_of(v, started) == kind)).collect();
            put_record(kind, run.into_iter(), out, ends);
        }
        return;
    }
    for kind in SAMPLE_KINDS {
        if occurs & (1 << kind) == 0 {
            continue;
        }
        put_record(kind, samples.clone().filter(|(_, _, value)| kind_of(value, started) == kind), out, ends);
    }
}

fn put_record<'a>(
    kind: u8,
    samples: impl Iterator<Item = (WalRef, Stamp, &'a SampleValue)>,
    out: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) {
    out.push(kind);
    match kind {
        kind::SAMPLES_2 | kind::HISTOGRAMS_2 | kind::FLOAT_HISTOGRAMS_2 => put_started(samples, out),
        _ => put_plain(samples, out),
    }
    ends.push(out.len());
}

/// A record of floats without start timestamps that grows sample by sample.
#[derive(Debug, Default)]
pub(crate) struct FloatRecord {
    bytes: Vec<u8>,
    base: (WalRef, i64),
    count: usize,
}

impl FloatRecord {
    /// Samples pushed.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The record's bytes; empty if no sample was pushed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Each sample is put together apart and appended at once.
    #[inline]
    pub(crate) fn push(&mut self, series: WalRef, time: i64, float: f64) {
        if self.count == 0 {
            self.begin(series, time);
        }
        self.count += 1;
        let mut row = Row::default();
        row.put_varint(series.wrapping_sub(self.base.0) as i64);
        row.put_varint(time.wrapping_sub(self.base.1));
        row.put_bytes(float.to_bits().to_be_bytes());
        let end = self.bytes.len() + row.length;
        // All of the row, and back to its end: one copy of known size.
        self.bytes.extend_from_slice(&row.bytes);
        self.bytes.truncate(end);
    }

    #[cold]
    fn begin(&mut self, series: WalRef, time: i64) {
        self.bytes.push(kind::SAMPLES);
        self.bytes.extend_from_slice(&series.to_be_bytes());
        self.bytes.extend_from_slice(&time.to_be_bytes());
        self.base = (series, time);
    }
}

/// A sample being put together: two varints and a float at most.
#[derive(Default)]
struct Row {
    bytes: [u8; 32],
    length: usize,
}

impl Row {
    #[inline]
    fn put_varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.bytes[self.length] = rest as u8 | 0x80;
            self.length += 1;
            rest >>= 7;
        }
        self.bytes[self.length] = rest as u8;
        self.length += 1;
    }

    #[inline]
    fn put_bytes(&mut self, bytes: [u8; 8]) {
        self.bytes[self.length..self.length + 8].copy_from_slice(&bytes);
        self.length += 8;
    }
}

fn put_plain<'a>(samples: impl Iterator<Item = (WalRef, Stamp, &'a SampleValue)>, out: &mut Vec<u8>) {
    let mut base: Option<(WalRef, i64)> = None;
    for (series, Stamp { time, .. }, value) in samples {
        let (base_series, base_time) = *base.get_or_insert_with(|| {
            out.extend_from_slice(&series.to_be_bytes());
            out.extend_from_slice(&time.to_be_bytes());
            (series, time)
        });
        put_varint(out, series.wrapping_sub(base_series) as i64);
        put_varint(out, time.wrapping_sub(base_time));
        put_value(out, value);
    }
}

fn put_started<'a>(samples: impl Iterator<Item = (WalRef, Stamp, &'a SampleValue)>, out: &mut Vec<u8>) {
    let mut first: Option<Stamp> = None;
    let (mut last_series, mut last_start) = (0, 0);
    for (series, stamp, value) in samples {
        match first {
            None => {
                put_varint(out, series as i64);
                put_varint(out, stamp.time);
                put_varint(out, stamp.start);
                first = Some(stamp);
            }
            Some(first) => {
                put_varint(out, series.wrapping_sub(last_series) as i64);
                put_varint(out, stamp.time.wrapping_sub(first.time));
                match stamp.start {
                    0 => out.push(START_NONE),
                    start if start == last_start => out.push(START_SAME),
                    start => {
                        out.push(START_FOLLOWS);
                        put_varint(out, start.wrapping_sub(first.start));
                    }
                }
            }
        }
        (last_series, last_start) = (series, stamp.start);
        put_value(out, value);
    }
}

/// Appends the tombstones as one record.
pub(crate) fn encode_tombstones<'a>(tombstones: impl IntoIterator<Item = &'a Tombstone>, out: &mut Vec<u8>) {
    out.push(kind::TOMBSTONES);
    for tombstone in tombstones {
        out.extend_from_slice(&tombstone.series.to_be_bytes());
        put_varint(out, tombstone.min_time);
        put_varint(out, tombstone.max_time);
    }
}

/// Appends a value as records of samples hold it.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &SampleValue) {
    match value {
        SampleValue::Float(float) => put_float(out, *float),
        SampleValue::Int(histogram) => put_histogram(out, histogram, put_uvarint, put_varint),
        SampleValue::FloatHistogram(histogram) => put_histogram(out, histogram, put_float, put_float),
    }
}

fn put_float(out: &mut Vec<u8>, float: f64) {
    out.extend_from_slice(&float.to_bits().to_be_bytes());
}

fn put_histogram<B: BucketNumber>(
    out: &mut Vec<u8>,
    histogram: &Histogram<B>,
    put_count: fn(&mut Vec<u8>, B::Count),
    put_bucket: fn(&mut Vec<u8>, B),
) {
    out.push(match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    });
    put_varint(out, i64::from(histogram.schema));
    put_float(out, histogram.zero_threshold);
    put_count(out, histogram.zero_count);
    put_count(out, histogram.count);
    put_float(out, histogram.sum);
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    for buckets in [&histogram.positive, &histogram.negative] {
        put_uvarint(out, buckets.len() as u64);
        for bucket in buckets {
            put_bucket(out, *bucket);
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        put_uvarint(out, histogram.custom_values.len() as u64);
        for bound in &histogram.custom_values {
            put_float(out, *bound);
        }
    }
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_uvarint(out, spans.len() as u64);
    for span in spans {
        put_varint(out, i64::from(span.offset));
        put_uvarint(out, u64::from(span.length));
    }
}

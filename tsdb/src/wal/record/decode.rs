//! Reading records, those of newer Prometheus versions included.

use std::sync::Arc;

use model::histogram::{
    BucketNumber, CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, FloatHistogram, Histogram,
    IntHistogram, ResetHint, Span,
};
use model::labels::Labels;

use super::notes::{decode_exemplars, decode_mapped_markers, decode_metadata};
use super::{RecordSink, SampleValue, Tombstone, WalRef, kind};
use crate::chunk::Stamp;
use crate::codec::{Decoder, Truncated};

/// The mark of a sample without a start timestamp.
pub(super) const START_NONE: u8 = 0;
/// The mark of a sample that began when the one before it did.
pub(super) const START_SAME: u8 = 1;
/// The mark of a sample whose start follows.
pub(super) const START_FOLLOWS: u8 = 2;

/// Why a record with a sound checksum cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record ends within a value")]
    Truncated,
    #[error("a series record holds labels that are no label set")]
    Labels,
    #[error("an empty record")]
    Empty,
}

impl From<Truncated> for RecordError {
    fn from(_: Truncated) -> Self {
        RecordError::Truncated
    }
}

/// Hands what the record holds to `sink`.
///
/// # Errors
/// If the record's bytes are not what its kind says; what was handed over before is right.
pub(crate) fn decode(record: &[u8], sink: &mut impl RecordSink) -> Result<(), RecordError> {
    let (&record_kind, body) = record.split_first().ok_or(RecordError::Empty)?;
    let mut decoder = Decoder::new(body);
    match record_kind {
        kind::SERIES => decode_series(&mut decoder, sink),
        kind::SAMPLES => decode_samples(&mut decoder, sink, float_value),
        kind::HISTOGRAMS | kind::CUSTOM_HISTOGRAMS => decode_samples(&mut decoder, sink, int_value),
        kind::FLOAT_HISTOGRAMS | kind::CUSTOM_FLOAT_HISTOGRAMS => {
            decode_samples(&mut decoder, sink, float_histogram_value)
        }
        kind::SAMPLES_2 => decode_samples_2(&mut decoder, sink, float_value),
        kind::HISTOGRAMS_2 => decode_samples_2(&mut decoder, sink, int_value),
        kind::FLOAT_HISTOGRAMS_2 => decode_samples_2(&mut decoder, sink, float_histogram_value),
        kind::TOMBSTONES => decode_tombstones(&mut decoder, sink),
        kind::EXEMPLARS => decode_exemplars(&mut decoder, sink),
        kind::METADATA => decode_metadata(&mut decoder, sink),
        kind::MAPPED_MARKERS => decode_mapped_markers(&mut decoder, sink),
        // A checkpoint's lower bound only repeats what its samples show.
        kind::MIN_VALID_TIME => Ok(()),
        other => {
            sink.skipped(other);
            Ok(())
        }
    }
}

fn decode_series(decoder: &mut Decoder<'_>, sink: &mut impl RecordSink) -> Result<(), RecordError> {
    while !decoder.is_empty() {
        let series = decoder.u64()?;
        sink.series(series, read_labels(decoder)?);
    }
    Ok(())
}

/// Labels as series, exemplars and snapshots hold them.
pub(crate) fn read_labels(decoder: &mut Decoder<'_>) -> Result<Labels, RecordError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| RecordError::Labels);
    let count = decoder.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((text(decoder.text()?)?, text(decoder.text()?)?));
    }
    Labels::from_pairs(pairs).map_err(|_| RecordError::Labels)
}

/// Reads a value; `None` is a value of a form that this version does not store (an unknown schema).
type ReadValue = fn(&mut Decoder<'_>) -> Result<Option<SampleValue>, Truncated>;

/// Samples as differences to the first series and time of the record.
fn decode_samples(
    decoder: &mut Decoder<'_>,
    sink: &mut impl RecordSink,
    read_value: ReadValue,
) -> Result<(), RecordError> {
    if decoder.is_empty() {
        return Ok(());
    }
    let (base_series, base_time) = (decoder.u64()?, decoder.i64()?);
    while !decoder.is_empty() {
        let series = base_series.wrapping_add(decoder.varint()? as u64);
        let time = base_time.wrapping_add(decoder.varint()?);
        push_sample(sink, series, time.into(), read_value(decoder)?);
    }
    Ok(())
}

/// Samples with start timestamps: series as differences to the sample before, times and starts to the first one.
fn decode_samples_2(
    decoder: &mut Decoder<'_>,
    sink: &mut impl RecordSink,
    read_value: ReadValue,
) -> Result<(), RecordError> {
    if decoder.is_empty() {
        return Ok(());
    }
    let mut series = decoder.varint()? as u64;
    let (first_time, first_start) = (decoder.varint()?, decoder.varint()?);
    let mut start = first_start;
    push_sample(sink, series, Stamp { time: first_time, start }, read_value(decoder)?);
    while !decoder.is_empty() {
        series = series.wrapping_add(decoder.varint()? as u64);
        let time = first_time.wrapping_add(decoder.varint()?);
        start = match decoder.u8()? {
            START_NONE => 0,
            START_SAME => start,
            _ => first_start.wrapping_add(decoder.varint()?),
        };
        push_sample(sink, series, Stamp { time, start }, read_value(decoder)?);
    }
    Ok(())
}

fn push_sample(sink: &mut impl RecordSink, series: WalRef, stamp: Stamp, value: Option<SampleValue>) {
    match value {
        Some(value) => sink.sample(series, stamp, value),
        None => sink.skipped(kind::HISTOGRAMS),
    }
}

fn decode_tombstones(decoder: &mut Decoder<'_>, sink: &mut impl RecordSink) -> Result<(), RecordError> {
    while !decoder.is_empty() {
        let (series, min_time, max_time) = (decoder.u64()?, decoder.varint()?, decoder.varint()?);
        sink.tombstone(Tombstone { series, min_time, max_time });
    }
    Ok(())
}

fn float_value(decoder: &mut Decoder<'_>) -> Result<Option<SampleValue>, Truncated> {
    Ok(Some(SampleValue::Float(decoder.f64()?)))
}

fn int_value(decoder: &mut Decoder<'_>) -> Result<Option<SampleValue>, Truncated> {
    let histogram: IntHistogram = read_histogram(decoder, Decoder::uvarint, Decoder::varint, 1)?;
    Ok(schema_is_known(histogram.schema).then(|| SampleValue::Int(Arc::new(histogram))))
}

fn float_histogram_value(decoder: &mut Decoder<'_>) -> Result<Option<SampleValue>, Truncated> {
    let histogram: FloatHistogram = read_histogram(decoder, Decoder::f64, Decoder::f64, 8)?;
    Ok(schema_is_known(histogram.schema).then(|| SampleValue::FloatHistogram(Arc::new(histogram))))
}

fn schema_is_known(schema: i32) -> bool {
    (EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&schema) || schema == CUSTOM_BUCKETS_SCHEMA
}

fn read_histogram<'a, B: BucketNumber>(
    decoder: &mut Decoder<'a>,
    read_count: fn(&mut Decoder<'a>) -> Result<B::Count, Truncated>,
    read_bucket: fn(&mut Decoder<'a>) -> Result<B, Truncated>,
    bucket_bytes: usize,
) -> Result<Histogram<B>, Truncated> {
    let mut histogram = Histogram {
        reset_hint: match decoder.u8()? {
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
        schema: i32::try_from(decoder.varint()?).map_err(|_| Truncated)?,
        zero_threshold: decoder.f64()?,
        zero_count: read_count(decoder)?,
        count: read_count(decoder)?,
        sum: decoder.f64()?,
        positive_spans: read_spans(decoder)?,
        negative_spans: read_spans(decoder)?,
        ..Histogram::default()
    };
    let mut read_buckets = || -> Result<Vec<B>, Truncated> {
        let count = decoder.count(bucket_bytes)?;
        (0..count).map(|_| read_bucket(decoder)).collect()
    };
    histogram.positive = read_buckets()?;
    histogram.negative = read_buckets()?;
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        let count = decoder.count(8)?;
        histogram.custom_values = (0..count).map(|_| decoder.f64()).collect::<Result<_, _>>()?;
    }
    Ok(histogram)
}

fn read_spans(decoder: &mut Decoder<'_>) -> Result<Vec<Span>, Truncated> {
    let count = decoder.count(2)?;
    (0..count)
        .map(|_| {
            let offset = i32::try_from(decoder.varint()?).map_err(|_| Truncated)?;
            let length = u32::try_from(decoder.uvarint()?).map_err(|_| Truncated)?;
            Ok(Span { offset, length })
        })
        .collect()
}

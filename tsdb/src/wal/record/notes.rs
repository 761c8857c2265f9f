//! Records beside samples: exemplars, metadata, and markers of mapped out-of-order chunks.

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::{Metadata, MetricType};
use model::sample::Timestamp;

use super::decode::{RecordError, read_labels};
use super::{MappedMarker, RecordSink, WalRef, kind};
use crate::codec::{Decoder, put_text, put_uvarint, put_varint};

/// Names of the fields of a metadata record.
const UNIT: &[u8] = b"UNIT";
const HELP: &[u8] = b"HELP";

/// Metric types by their number in metadata records.
const METRIC_TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// Appends labels as series and exemplar records hold them.
pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels.iter_bytes() {
        put_text(out, name);
        put_text(out, value);
    }
}

fn time_of(exemplar: &Exemplar) -> i64 {
    exemplar.timestamp.map_or(0, |timestamp| timestamp.0)
}

/// Appends the exemplars as one record. Each has its timestamp.
pub(crate) fn encode_exemplars<'a>(exemplars: impl Iterator<Item = (WalRef, &'a Exemplar)>, out: &mut Vec<u8>) {
    out.push(kind::EXEMPLARS);
    put_exemplars(exemplars, out);
}

/// As [`encode_exemplars`] without the record's kind, which a snapshot numbers otherwise.
pub(crate) fn put_exemplars<'a>(exemplars: impl Iterator<Item = (WalRef, &'a Exemplar)>, out: &mut Vec<u8>) {
    let mut base = None;
    for (series, exemplar) in exemplars {
        let (base_series, base_time) = *base.get_or_insert_with(|| {
            let time = time_of(exemplar);
            out.extend_from_slice(&series.to_be_bytes());
            out.extend_from_slice(&time.to_be_bytes());
            (series, time)
        });
        put_varint(out, series.wrapping_sub(base_series) as i64);
        put_varint(out, time_of(exemplar).wrapping_sub(base_time));
        out.extend_from_slice(&exemplar.value.to_bits().to_be_bytes());
        put_labels(out, &exemplar.labels);
    }
}

pub(super) fn decode_exemplars(decoder: &mut Decoder<'_>, sink: &mut impl RecordSink) -> Result<(), RecordError> {
    decode_exemplars_body(decoder, &mut |series, exemplar| sink.exemplar(series, exemplar))
}

/// Hands over what follows the kind of a record of exemplars.
pub(crate) fn decode_exemplars_body(
    decoder: &mut Decoder<'_>,
    visit: &mut impl FnMut(WalRef, Exemplar),
) -> Result<(), RecordError> {
    if decoder.is_empty() {
        return Ok(());
    }
    let (base_series, base_time) = (decoder.u64()?, decoder.i64()?);
    while !decoder.is_empty() {
        let series = base_series.wrapping_add(decoder.varint()? as u64);
        let timestamp = Some(Timestamp(base_time.wrapping_add(decoder.varint()?)));
        let value = decoder.f64()?;
        visit(series, Exemplar { labels: read_labels(decoder)?, value, timestamp });
    }
    Ok(())
}

/// Appends metadata of series as one record.
pub(crate) fn encode_metadata<'a>(metadata: impl Iterator<Item = (WalRef, &'a Metadata)>, out: &mut Vec<u8>) {
    out.push(kind::METADATA);
    for (series, metadata) in metadata {
        put_uvarint(out, series);
        let number = METRIC_TYPES.iter().position(|metric_type| *metric_type == metadata.metric_type);
        out.push(number.unwrap_or(0) as u8);
        put_uvarint(out, 2);
        for (name, value) in [(UNIT, &metadata.unit), (HELP, &metadata.help)] {
            put_text(out, name);
            put_text(out, value.as_bytes());
        }
    }
}

pub(super) fn decode_metadata(decoder: &mut Decoder<'_>, sink: &mut impl RecordSink) -> Result<(), RecordError> {
    while !decoder.is_empty() {
        let series = decoder.uvarint()?;
        let metric_type = METRIC_TYPES.get(usize::from(decoder.u8()?)).copied().unwrap_or_default();
        let mut metadata = Metadata { metric_type, ..Metadata::default() };
        for _ in 0..decoder.count(2)? {
            let (name, value) = (decoder.text()?, decoder.text()?);
            let value = || String::from_utf8_lossy(value).into_owned();
            match name {
                UNIT => metadata.unit = value(),
                HELP => metadata.help = value(),
                // A field of a later version.
                _ => {}
            }
        }
        sink.metadata(series, metadata);
    }
    Ok(())
}

/// Appends markers as one record.
pub(crate) fn encode_mapped_markers(markers: &[MappedMarker], out: &mut Vec<u8>) {
    out.push(kind::MAPPED_MARKERS);
    for marker in markers {
        out.extend_from_slice(&marker.series.to_be_bytes());
        out.extend_from_slice(&marker.chunk.to_be_bytes());
    }
}

pub(super) fn decode_mapped_markers(decoder: &mut Decoder<'_>, sink: &mut impl RecordSink) -> Result<(), RecordError> {
    while !decoder.is_empty() {
        sink.mapped_marker(MappedMarker { series: decoder.u64()?, chunk: decoder.u64()? });
    }
    Ok(())
}

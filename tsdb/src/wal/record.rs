//! Records of the write-ahead log: what they hold, and their bytes. Layout: `docs/formats/wal.md`.

mod decode;
mod encode;
mod notes;

use std::sync::Arc;

use model::exemplar::Exemplar;
use model::histogram::{FloatHistogram, IntHistogram};
use model::labels::Labels;
use model::metadata::Metadata;

use crate::chunk::{Stamp, ValueRef};

pub(crate) use decode::{RecordError, decode};
pub(crate) use encode::{FloatRecord, Grouping, SeriesRecord, encode_samples, encode_tombstones, put_value};
pub(crate) use notes::{
    decode_exemplars_body, encode_exemplars, encode_mapped_markers, encode_metadata, put_exemplars, put_labels,
};

/// The first byte of a record.
pub(crate) mod kind {
    pub(crate) const SERIES: u8 = 1;
    pub(crate) const SAMPLES: u8 = 2;
    pub(crate) const TOMBSTONES: u8 = 3;
    pub(crate) const EXEMPLARS: u8 = 4;
    pub(crate) const MAPPED_MARKERS: u8 = 5;
    pub(crate) const METADATA: u8 = 6;
    pub(crate) const HISTOGRAMS: u8 = 7;
    pub(crate) const FLOAT_HISTOGRAMS: u8 = 8;
    pub(crate) const CUSTOM_HISTOGRAMS: u8 = 9;
    pub(crate) const CUSTOM_FLOAT_HISTOGRAMS: u8 = 10;
    pub(crate) const SAMPLES_2: u8 = 11;
    pub(crate) const HISTOGRAMS_2: u8 = 12;
    pub(crate) const FLOAT_HISTOGRAMS_2: u8 = 13;
    pub(crate) const MIN_VALID_TIME: u8 = 14;
}

/// A series by its number in the log. Numbers are never used twice.
pub(crate) type WalRef = u64;

/// The largest number of a series: Prometheus packs it into five bytes.
pub(crate) const WAL_REF_MAX: WalRef = (1 << 40) - 1;

/// A sample's value, owned.
#[derive(Debug, Clone)]
pub(crate) enum SampleValue {
    Float(f64),
    Int(Arc<IntHistogram>),
    FloatHistogram(Arc<FloatHistogram>),
}

impl SampleValue {
    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            SampleValue::Float(float) => ValueRef::Float(*float),
            SampleValue::Int(histogram) => ValueRef::Int(histogram),
            SampleValue::FloatHistogram(histogram) => ValueRef::FloatHistogram(histogram),
        }
    }
}

/// A deleted range of a series: both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) series: WalRef,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// Says that a chunk of out-of-order samples is in a mapped file: those before it in the write-behind log need not be
/// replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MappedMarker {
    pub(crate) series: WalRef,
    /// File in the high half, offset in the low one.
    pub(crate) chunk: u64,
}

/// Takes what a record holds, piece by piece.
pub(crate) trait RecordSink {
    fn series(&mut self, series: WalRef, labels: Labels);
    fn sample(&mut self, series: WalRef, stamp: Stamp, value: SampleValue);
    fn tombstone(&mut self, tombstone: Tombstone);
    /// The exemplar's timestamp is always given.
    fn exemplar(&mut self, series: WalRef, exemplar: Exemplar);
    fn metadata(&mut self, series: WalRef, metadata: Metadata);
    fn mapped_marker(&mut self, marker: MappedMarker);
    /// A record of a kind that is understood but not used here, or not known at all.
    fn skipped(&mut self, kind: u8);
}

#[cfg(test)]
mod tests;

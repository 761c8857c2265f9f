//! Chunks: runs of a series' samples, compressed. Encodings and layout: `docs/formats/chunk.md`.
//!
//! An [`OpenChunk`] takes samples at its end; its bytes are at any time a valid chunk. [`decode`] turns the bytes of any
//! chunk into columns, whole.

pub(crate) mod bits;
pub(crate) mod frozen;
pub(crate) mod histogram;
mod start;
pub(crate) mod xor;
pub(crate) mod xor2;

use model::histogram::{BucketNumber, FloatHistogram, IntHistogram};
use model::storage::Columns;

use crate::codec::Truncated;
use frozen::FrozenChunk;
use histogram::HistogramAppender;
use xor::XorAppender;
use xor2::Xor2Appender;

/// How a chunk's samples are encoded; the byte that stands before them in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    /// Floats.
    Xor = 1,
    /// Native histograms with integer counts.
    Histogram = 2,
    /// Native histograms with float counts.
    FloatHistogram = 3,
    /// Floats with start timestamps.
    Xor2 = 4,
    /// Native histograms with integer counts and start timestamps.
    StartedHistogram = 5,
    /// Native histograms with float counts and start timestamps.
    StartedFloatHistogram = 6,
}

/// In `chunks_head`, this bit of the encoding byte marks a chunk of out-of-order samples.
pub(crate) const OUT_OF_ORDER_BIT: u8 = 0x80;

impl Encoding {
    /// The encoding of that byte, or `None` if it is not known.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Encoding::Xor),
            2 => Some(Encoding::Histogram),
            3 => Some(Encoding::FloatHistogram),
            4 => Some(Encoding::Xor2),
            5 => Some(Encoding::StartedHistogram),
            6 => Some(Encoding::StartedFloatHistogram),
            _ => None,
        }
    }

    /// How many samples a chunk of this encoding says it has.
    pub(crate) fn sample_count(self, bytes: &[u8]) -> u16 {
        let is_shared = matches!(self, Encoding::StartedHistogram | Encoding::StartedFloatHistogram);
        histogram::count_of(bytes, is_shared)
    }
}

/// When a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) time: i64,
    /// When its counting began; 0 if that is not known.
    pub(crate) start: i64,
}

impl From<i64> for Stamp {
    fn from(time: i64) -> Self {
        Self { time, start: 0 }
    }
}

/// Why a chunk's bytes cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("the chunk's bytes end before its samples do")]
    Truncated,
    #[error("the chunk's histogram layout is not valid")]
    Layout,
    #[error("the chunk's times do not rise")]
    Order,
}

impl From<Truncated> for ChunkError {
    fn from(_: Truncated) -> Self {
        ChunkError::Truncated
    }
}

/// A value on its way into a chunk, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueRef<'a> {
    Float(f64),
    Int(&'a IntHistogram),
    FloatHistogram(&'a FloatHistogram),
}

/// A chunk that still takes samples.
#[derive(Debug, Clone)]
pub(crate) enum OpenChunk {
    Xor(XorAppender),
    Xor2(Box<Xor2Appender>),
    /// Takes none before it is thawed.
    Frozen(Box<FrozenChunk>),
    Histogram(Box<HistogramAppender<i64>>),
    FloatHistogram(Box<HistogramAppender<f64>>),
}

impl OpenChunk {
    /// Opens a chunk with its first sample; it keeps start timestamps if that one has one. `before` is the chunk it
    /// follows, from which a histogram chunk learns whether its counters were reset.
    pub(crate) fn starting_with(stamp: impl Into<Stamp>, value: ValueRef<'_>, before: Option<&OpenChunk>) -> Self {
        let stamp = stamp.into();
        match value {
            ValueRef::Float(float) if stamp.start != 0 => {
                OpenChunk::Xor2(Box::new(Xor2Appender::starting_with(stamp, float)))
            }
            ValueRef::Float(float) => OpenChunk::Xor(XorAppender::starting_with(stamp.time, float)),
            ValueRef::Int(histogram) => {
                let before = match before {
                    Some(OpenChunk::Histogram(chunk)) => Some(&**chunk),
                    _ => None,
                };
                OpenChunk::Histogram(Box::new(HistogramAppender::starting_with(stamp, histogram, before)))
            }
            ValueRef::FloatHistogram(histogram) => {
                let before = match before {
                    Some(OpenChunk::FloatHistogram(chunk)) => Some(&**chunk),
                    _ => None,
                };
                OpenChunk::FloatHistogram(Box::new(HistogramAppender::starting_with(stamp, histogram, before)))
            }
        }
    }

    /// Whether `value` can follow in this chunk: same encoding and, for histograms, same layout and no counter reset.
    pub(crate) fn takes(&self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (OpenChunk::Xor(_) | OpenChunk::Xor2(_), ValueRef::Float(_)) => true,
            (OpenChunk::Histogram(chunk), ValueRef::Int(histogram)) => chunk.takes(histogram),
            (OpenChunk::FloatHistogram(chunk), ValueRef::FloatHistogram(histogram)) => chunk.takes(histogram),
            _ => false,
        }
    }

    /// Makes the chunk take a histogram that only has buckets more; `false` if something else is in the way.
    pub(crate) fn widen_for(&mut self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (OpenChunk::Histogram(chunk), ValueRef::Int(histogram)) => {
                chunk.widened_for(histogram).map(|wide| **chunk = wide).is_some()
            }
            (OpenChunk::FloatHistogram(chunk), ValueRef::FloatHistogram(histogram)) => {
                chunk.widened_for(histogram).map(|wide| **chunk = wide).is_some()
            }
            _ => false,
        }
    }

    /// Whether it keeps start timestamps: a sample with one must not go into a chunk that does not.
    pub(crate) fn keeps_starts(&self) -> bool {
        match self {
            OpenChunk::Xor(_) => false,
            OpenChunk::Xor2(_) => true,
            OpenChunk::Frozen(_) => false,
            OpenChunk::Histogram(chunk) => chunk.keeps_starts(),
            OpenChunk::FloatHistogram(chunk) => chunk.keeps_starts(),
        }
    }

    /// Appends a sample that the chunk [`OpenChunk::takes`]; another one is left out.
    #[inline]
    pub(crate) fn append(&mut self, stamp: impl Into<Stamp>, value: ValueRef<'_>) {
        let stamp = stamp.into();
        match (self, value) {
            (OpenChunk::Xor(chunk), ValueRef::Float(float)) => chunk.append(stamp.time, float),
            (OpenChunk::Xor2(chunk), ValueRef::Float(float)) => chunk.append(stamp, float),
            (OpenChunk::Histogram(chunk), ValueRef::Int(histogram)) => chunk.append(stamp, histogram),
            (OpenChunk::FloatHistogram(chunk), ValueRef::FloatHistogram(histogram)) => chunk.append(stamp, histogram),
            _ => debug_assert!(false, "the caller asks takes() first"),
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        match self {
            OpenChunk::Xor(_) => Encoding::Xor,
            OpenChunk::Xor2(_) => Encoding::Xor2,
            OpenChunk::Frozen(chunk) => chunk.encoding,
            OpenChunk::Histogram(chunk) if chunk.keeps_starts() => Encoding::StartedHistogram,
            OpenChunk::Histogram(_) => Encoding::Histogram,
            OpenChunk::FloatHistogram(chunk) if chunk.keeps_starts() => Encoding::StartedFloatHistogram,
            OpenChunk::FloatHistogram(_) => Encoding::FloatHistogram,
        }
    }

    pub(crate) fn count(&self) -> u16 {
        match self {
            OpenChunk::Xor(chunk) => chunk.count(),
            OpenChunk::Xor2(chunk) => xor::sample_count(chunk.bytes()),
            OpenChunk::Frozen(chunk) => chunk.encoding.sample_count(&chunk.bytes),
            OpenChunk::Histogram(chunk) => chunk.count(),
            OpenChunk::FloatHistogram(chunk) => chunk.count(),
        }
    }

    pub(crate) fn last_time(&self) -> i64 {
        match self {
            OpenChunk::Xor(chunk) => chunk.last_time(),
            OpenChunk::Xor2(chunk) => chunk.last_time(),
            OpenChunk::Frozen(chunk) => chunk.last_time,
            OpenChunk::Histogram(chunk) => chunk.last_time(),
            OpenChunk::FloatHistogram(chunk) => chunk.last_time(),
        }
    }

    /// Whether `value` is the very value of the last sample.
    pub(crate) fn last_value_is(&self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (OpenChunk::Xor(chunk), ValueRef::Float(float)) => chunk.last_value().to_bits() == float.to_bits(),
            (OpenChunk::Xor2(chunk), ValueRef::Float(float)) => chunk.last_value().to_bits() == float.to_bits(),
            (OpenChunk::Histogram(chunk), ValueRef::Int(histogram)) => chunk.last().equals(histogram),
            (OpenChunk::FloatHistogram(chunk), ValueRef::FloatHistogram(histogram)) => chunk.last().equals(histogram),
            _ => false,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            OpenChunk::Xor(chunk) => chunk.bytes(),
            OpenChunk::Xor2(chunk) => chunk.bytes(),
            OpenChunk::Frozen(chunk) => &chunk.bytes,
            OpenChunk::Histogram(chunk) => chunk.bytes(),
            OpenChunk::FloatHistogram(chunk) => chunk.bytes(),
        }
    }

    /// The finished chunk.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            OpenChunk::Xor(chunk) => chunk.into_bytes(),
            OpenChunk::Xor2(chunk) => chunk.into_bytes(),
            OpenChunk::Frozen(chunk) => chunk.bytes.into(),
            OpenChunk::Histogram(chunk) => chunk.into_bytes(),
            OpenChunk::FloatHistogram(chunk) => chunk.into_bytes(),
        }
    }
}

/// Appends the first `count` samples of a chunk to `columns`.
///
/// # Errors
/// If the bytes are not such a chunk, or its times do not rise above those already in `columns`.
pub(crate) fn decode(encoding: Encoding, bytes: &[u8], count: usize, columns: &mut Columns) -> Result<(), ChunkError> {
    let from = columns.len();
    match encoding {
        Encoding::Xor => {
            let times = xor::decode(bytes, count, &mut columns.timestamps, &mut columns.values)?;
            if times == xor::Times::Rise {
                // What is left to compare is where the chunk joins those before it.
                let joint = columns.timestamps.get(from.saturating_sub(1)..from + 1).unwrap_or(&[]);
                return if joint.windows(2).all(|pair| pair[0] < pair[1]) { Ok(()) } else { Err(ChunkError::Order) };
            }
        }
        Encoding::Histogram => decode_histograms::<i64>(bytes, count, columns)?,
        Encoding::FloatHistogram => decode_histograms::<f64>(bytes, count, columns)?,
        Encoding::Xor2 => xor2::decode(bytes, count, columns)?,
        Encoding::StartedHistogram => decode_started::<i64>(bytes, count, columns)?,
        Encoding::StartedFloatHistogram => decode_started::<f64>(bytes, count, columns)?,
    }
    let checked = &columns.timestamps[from.saturating_sub(1)..];
    if checked.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(ChunkError::Order);
    }
    Ok(())
}

fn decode_histograms<B: BucketNumber + histogram::BucketCode>(
    bytes: &[u8],
    count: usize,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    histogram::decode::<B>(bytes, count, |time, histogram| columns.push_histogram(time, histogram.to_float().into()))
}

fn decode_started<B: BucketNumber + histogram::BucketCode>(
    bytes: &[u8],
    count: usize,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    histogram::decode_started::<B>(bytes, count, |stamp, histogram| {
        columns.push_histogram(stamp.time, histogram.to_float().into());
        columns.note_start(stamp.start);
    })
}

#[cfg(test)]
mod tests;

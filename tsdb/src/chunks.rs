//! Columns to chunks and back, for protocols that carry chunks as blocks hold them (remote read).

use model::storage::Columns;

use crate::chunk::{ChunkError, Encoding, OpenChunk, Stamp, ValueRef, decode};

/// Samples of a chunk at most, as in a head.
const SAMPLES_MAX: u16 = 120;

/// A finished chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChunk {
    /// Time of its first sample, in ms.
    pub min_time: i64,
    /// Time of its last sample, in ms.
    pub max_time: i64,
    /// The encoding's byte, as in a block.
    pub encoding: u8,
    /// Its bytes, without length and checksum.
    pub data: Vec<u8>,
}

/// Why a chunk from elsewhere cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignChunkError {
    /// Its encoding is not known.
    #[error("unknown chunk encoding {0}")]
    Encoding(i32),
    /// Its bytes are not what the encoding promises.
    #[error("damaged chunk: {0}")]
    Damaged(String),
}

impl From<ChunkError> for ForeignChunkError {
    fn from(error: ChunkError) -> Self {
        ForeignChunkError::Damaged(error.to_string())
    }
}

/// Encodes all samples, in order.
pub fn encode(columns: &Columns) -> Vec<EncodedChunk> {
    let mut chunks = Vec::new();
    let mut open: Option<(i64, OpenChunk)> = None;
    for (index, &time) in columns.timestamps.iter().enumerate() {
        let value = match columns.histogram_at(index) {
            Some(histogram) => ValueRef::FloatHistogram(histogram),
            None => ValueRef::Float(columns.values[index]),
        };
        let stamp = Stamp { time, start: columns.start_at(index) };
        match &mut open {
            Some((_, chunk))
                if chunk.count() < SAMPLES_MAX && chunk.takes(value) && (stamp.start == 0 || chunk.keeps_starts()) =>
            {
                chunk.append(stamp, value);
            }
            _ => {
                let next = OpenChunk::starting_with(stamp, value, open.as_ref().map(|(_, chunk)| chunk));
                chunks.extend(open.replace((time, next)).map(finished));
            }
        }
    }
    chunks.extend(open.map(finished));
    chunks
}

fn finished((min_time, chunk): (i64, OpenChunk)) -> EncodedChunk {
    let (max_time, encoding) = (chunk.last_time(), chunk.encoding() as u8);
    EncodedChunk { min_time, max_time, encoding, data: chunk.into_bytes() }
}

/// Appends the samples of a chunk to `columns`; they must be later than what is there.
///
/// # Errors
/// If the chunk is none, or its samples are not later.
pub fn decode_into(encoding: i32, data: &[u8], columns: &mut Columns) -> Result<(), ForeignChunkError> {
    let known = u8::try_from(encoding).ok().and_then(Encoding::from_byte);
    let known = known.ok_or(ForeignChunkError::Encoding(encoding))?;
    if data.len() < 2 {
        return Err(ForeignChunkError::Damaged("shorter than its header".into()));
    }
    let count = usize::from(known.sample_count(data));
    Ok(decode(known, data, count, columns)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::histogram::{FloatHistogram, Span};

    use super::*;

    #[test]
    fn columns_come_back_from_chunks() {
        let mut columns = Columns::default();
        (0..300).for_each(|i| columns.push_float(i * 1000, i as f64 / 3.0));
        for i in 300..310 {
            let histogram = FloatHistogram {
                count: i as f64,
                sum: 1.0,
                positive_spans: vec![Span { offset: 0, length: 1 }],
                positive: vec![i as f64],
                ..FloatHistogram::default()
            };
            columns.push_histogram(i * 1000, Arc::new(histogram));
        }
        columns.push_float(311_000, f64::NAN);
        columns.note_start(5);
        let chunks = encode(&columns);
        let shape: Vec<_> = chunks.iter().map(|c| (c.min_time / 1000, c.max_time / 1000, c.encoding)).collect();
        assert_eq!(shape, [(0, 119, 1), (120, 239, 1), (240, 299, 1), (300, 309, 3), (311, 311, 4)]);
        let mut back = Columns::default();
        for chunk in &chunks {
            decode_into(i32::from(chunk.encoding), &chunk.data, &mut back).unwrap();
        }
        assert_eq!(back.timestamps, columns.timestamps);
        assert_eq!(back.values[..300], columns.values[..300]);
        assert_eq!((back.histograms.len(), back.start_at(310)), (10, 5));
        assert_eq!(decode_into(9, &[0, 0], &mut back), Err(ForeignChunkError::Encoding(9)));
        assert!(decode_into(1, &[0, 9, 1], &mut back).is_err());
    }
}

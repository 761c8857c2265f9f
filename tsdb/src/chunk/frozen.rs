//! A chunk that was open when the process stopped: its bytes as a snapshot had them. Before it takes samples again it is
//! thawed, which encodes it anew, because bytes alone do not tell where the next sample goes.

use super::{ChunkError, Encoding, OpenChunk, Stamp, ValueRef, histogram};

/// The bytes of an open chunk, and what is asked of it most.
#[derive(Debug, Clone)]
pub(crate) struct FrozenChunk {
    pub(crate) encoding: Encoding,
    pub(crate) last_time: i64,
    pub(crate) bytes: Box<[u8]>,
}

/// A chunk that takes samples again.
#[derive(Debug)]
pub(crate) struct Thawed {
    pub(crate) chunk: OpenChunk,
    /// Time of the sample that was asked for, if there is one.
    pub(crate) time_at: Option<i64>,
}

impl FrozenChunk {
    /// The chunk, and the time of its `index`-th sample.
    ///
    /// # Errors
    /// If the bytes are no such chunk, or one whose samples do not go into one chunk of ours.
    pub(crate) fn thaw(&self, index: usize) -> Result<Thawed, ChunkError> {
        let mut thawing = Thawing { chunk: None, index, count: 0, time_at: None, is_whole: true };
        match self.encoding {
            Encoding::Xor | Encoding::Xor2 => {
                let mut columns = model::storage::Columns::default();
                super::decode(self.encoding, &self.bytes, usize::MAX, &mut columns)?;
                for (i, (time, value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
                    thawing.push(Stamp { time: *time, start: columns.start_at(i) }, ValueRef::Float(*value));
                }
            }
            Encoding::Histogram => histogram::decode::<i64>(&self.bytes, usize::MAX, |time, histogram| {
                thawing.push(time.into(), ValueRef::Int(&histogram));
            })?,
            Encoding::FloatHistogram => histogram::decode::<f64>(&self.bytes, usize::MAX, |time, histogram| {
                thawing.push(time.into(), ValueRef::FloatHistogram(&histogram));
            })?,
            Encoding::StartedHistogram => {
                histogram::decode_started::<i64>(&self.bytes, usize::MAX, |stamp, histogram| {
                    thawing.push(stamp, ValueRef::Int(&histogram));
                })?;
            }
            Encoding::StartedFloatHistogram => {
                histogram::decode_started::<f64>(&self.bytes, usize::MAX, |stamp, histogram| {
                    thawing.push(stamp, ValueRef::FloatHistogram(&histogram));
                })?;
            }
        }
        match thawing {
            Thawing { chunk: Some(chunk), time_at, is_whole: true, .. } if chunk.last_time() == self.last_time => {
                Ok(Thawed { chunk, time_at })
            }
            _ => Err(ChunkError::Layout),
        }
    }
}

/// A chunk being encoded anew.
struct Thawing {
    chunk: Option<OpenChunk>,
    index: usize,
    count: usize,
    time_at: Option<i64>,
    /// Every sample went into the chunk.
    is_whole: bool,
}

impl Thawing {
    fn push(&mut self, stamp: Stamp, value: ValueRef<'_>) {
        if self.count == self.index {
            self.time_at = Some(stamp.time);
        }
        self.count += 1;
        match &mut self.chunk {
            None => self.chunk = Some(OpenChunk::starting_with(stamp, value, None)),
            Some(chunk) if chunk.takes(value) && (stamp.start == 0 || chunk.keeps_starts()) => {
                chunk.append(stamp, value)
            }
            Some(_) => self.is_whole = false,
        }
    }
}

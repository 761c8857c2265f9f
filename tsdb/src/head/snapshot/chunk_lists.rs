//! The mapped chunks of each series as a snapshot's complement lists them, so that the files need not be read.

use super::kind;
use crate::chunk::{Encoding, OUT_OF_ORDER_BIT};
use crate::codec::{Decoder, Truncated, put_uvarint, put_varint};
use crate::head::mapped_chunks::MappedChunk;
use crate::wal::record::WalRef;

/// Bytes after which a record is written.
const RECORD_BYTES: usize = if cfg!(test) { 40 } else { 64 << 10 };
/// The least that a chunk takes.
const CHUNK_BYTES_MIN: usize = 6;

/// Gathers the lists of one record.
#[derive(Debug, Default)]
pub(super) struct ChunkListWriter {
    record: Vec<u8>,
}

impl ChunkListWriter {
    /// Adds the chunks of a series; nothing if it has none.
    pub(super) fn push(&mut self, series: WalRef, mapped: &[MappedChunk], late: &[MappedChunk]) {
        if mapped.is_empty() && late.is_empty() {
            return;
        }
        if self.record.is_empty() {
            self.record.push(kind::MAPPED_CHUNKS);
        }
        put_uvarint(&mut self.record, series);
        put_uvarint(&mut self.record, (mapped.len() + late.len()) as u64);
        let mut last_time = 0i64;
        for (chunk, bit) in mapped.iter().map(|chunk| (chunk, 0)).chain(late.iter().map(|c| (c, OUT_OF_ORDER_BIT))) {
            let out = &mut self.record;
            out.push(chunk.encoding as u8 | bit);
            put_uvarint(out, u64::from(chunk.file));
            put_uvarint(out, u64::from(chunk.offset));
            put_varint(out, chunk.max_time.wrapping_sub(last_time));
            put_uvarint(out, u64::from(chunk.span_ms));
            put_uvarint(out, u64::from(chunk.count));
            last_time = chunk.max_time;
        }
    }

    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    pub(super) fn is_empty(&self) -> bool {
        self.record.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.record.len() >= RECORD_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.record.clear();
    }
}

/// The chunks of a series.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkList {
    pub(super) series: WalRef,
    /// In order of time.
    pub(super) mapped: Vec<MappedChunk>,
    /// Of late samples, in the order they were mapped.
    pub(super) late: Vec<MappedChunk>,
}

/// Takes the next list of what is left of a record behind its kind.
pub(super) fn read_list(decoder: &mut Decoder<'_>) -> Result<ChunkList, Truncated> {
    let mut list = ChunkList { series: decoder.uvarint()?, ..ChunkList::default() };
    let count = decoder.count(CHUNK_BYTES_MIN)?;
    // Nearly always they are all in order: no more room is taken than they need.
    list.mapped.reserve_exact(count);
    let mut last_time = 0i64;
    for _ in 0..count {
        let byte = decoder.u8()?;
        let mut small = || u32::try_from(decoder.uvarint()?).map_err(|_| Truncated);
        let (file, offset) = (small()?, small()?);
        last_time = last_time.wrapping_add(decoder.varint()?);
        let span_ms = u32::try_from(decoder.uvarint()?).map_err(|_| Truncated)?;
        let count = u16::try_from(decoder.uvarint()?).map_err(|_| Truncated)?;
        let encoding = Encoding::from_byte(byte & !OUT_OF_ORDER_BIT).ok_or(Truncated)?;
        let chunk = MappedChunk::new(last_time, file, offset, span_ms, count, encoding);
        match byte & OUT_OF_ORDER_BIT {
            0 => list.mapped.push(chunk),
            _ => list.late.push(chunk),
        }
    }
    if !list.late.is_empty() {
        list.mapped.shrink_to_fit();
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back() {
        let chunk = |time| MappedChunk::new(time, 3, 4_000_000_000, 7_199_999, 240, Encoding::FloatHistogram);
        let lists = [(1, vec![chunk(-5), chunk(1 << 60)], vec![]), (1 << 40, vec![], vec![chunk(9), chunk(2)])];
        let mut writer = ChunkListWriter::default();
        lists.iter().for_each(|(series, mapped, late)| writer.push(*series, mapped, late));
        writer.push(7, &[], &[]);
        let mut decoder = Decoder::new(&writer.record()[1..]);
        for (series, mapped, late) in lists {
            assert_eq!(read_list(&mut decoder), Ok(ChunkList { series, mapped, late }));
        }
        assert!(decoder.is_empty());
        for cut in 1..writer.record().len() - 1 {
            let mut decoder = Decoder::new(&writer.record()[1..=cut]);
            while !decoder.is_empty() && read_list(&mut decoder).is_ok() {}
        }
    }
}

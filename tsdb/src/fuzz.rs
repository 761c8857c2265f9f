//! What the fuzz targets of `tsdb/fuzz` call: readers of bytes that may be anything. Their corpora are run as a test.
//!
//! None of them may panic, hang, or take memory beyond what the bytes account for.

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::storage::Columns;

use crate::block::index::toc::{self, Toc};
use crate::block::index::{Index, SeriesEntry};
use crate::chunk::frozen::FrozenChunk;
use crate::chunk::{self, Encoding, Stamp};
use crate::codec::crc32c;
use crate::mmap::Map;
use crate::wal::reader::RecordReader;
use crate::wal::record::{MappedMarker, RecordSink, SampleValue, Tombstone, WalRef, decode};

/// Counts what records hold.
#[derive(Debug, Default)]
struct Counts {
    pieces: u64,
}

impl RecordSink for Counts {
    fn series(&mut self, _series: WalRef, _labels: Labels) {
        self.pieces += 1;
    }

    fn sample(&mut self, _series: WalRef, _stamp: Stamp, _value: SampleValue) {
        self.pieces += 1;
    }

    fn tombstone(&mut self, _tombstone: Tombstone) {
        self.pieces += 1;
    }

    fn exemplar(&mut self, _series: WalRef, _exemplar: Exemplar) {
        self.pieces += 1;
    }

    fn metadata(&mut self, _series: WalRef, _metadata: Metadata) {
        self.pieces += 1;
    }

    fn mapped_marker(&mut self, _marker: MappedMarker) {
        self.pieces += 1;
    }

    fn skipped(&mut self, _kind: u8) {
        self.pieces += 1;
    }
}

/// Reads a segment of a log, and its bytes as one record. Returns how many pieces were found.
pub fn wal_reader(bytes: &[u8]) -> u64 {
    let mut counts = Counts::default();
    // What a record holds before its fault counts; damage ends the segment.
    drop(decode(bytes, &mut counts));
    let mut reader = RecordReader::new(bytes);
    while let Ok(Some(record)) = reader.advance() {
        drop(decode(record, &mut counts));
    }
    counts.pieces
}

/// Reads a chunk: the first byte is its encoding. What can be read goes into a chunk again and is read back the same.
/// Returns how many samples there were.
pub fn chunk_decoder(bytes: &[u8]) -> usize {
    let Some((encoding, data)) = bytes.split_first().and_then(|(b, data)| Some((Encoding::from_byte(*b)?, data)))
    else {
        return 0;
    };
    let mut columns = Columns::default();
    if chunk::decode(encoding, data, usize::MAX, &mut columns).is_err() {
        return 0;
    }
    if let Some(last_time) = columns.timestamps.last().copied() {
        let frozen = FrozenChunk { encoding, last_time, bytes: data.into() };
        if let Ok(thawed) = frozen.thaw(0) {
            let mut again = Columns::default();
            let result = chunk::decode(thawed.chunk.encoding(), thawed.chunk.bytes(), usize::MAX, &mut again);
            assert!(result.is_ok() && again.timestamps == columns.timestamps, "a chunk comes back as it was read");
        }
    }
    columns.len()
}

/// Reads the index of a block: as it is, and with sound checksums of its tables, so that what stands behind them is
/// reached. Returns how many series could be read.
pub fn index_reader(bytes: &[u8]) -> usize {
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    read_index(bytes).max(read_index(&sealed))
}

fn read_index(bytes: &[u8]) -> usize {
    let Ok(index) = Map::copy_of(bytes).map_err(drop).and_then(|map| Index::of("index".into(), map).map_err(drop))
    else {
        return 0;
    };
    for (_, text) in index.symbols() {
        assert!(index.find_symbol(text).is_some(), "a symbol is found by its text");
    }
    let names: Vec<String> = index.label_names().map(str::to_owned).collect();
    let mut read = 0;
    let mut entry = SeriesEntry::default();
    for (name, value, place) in names.iter().flat_map(|n| index.values(n, "").map(move |(v, place)| (n, v, place))) {
        let mut series = Vec::new();
        if index.read_postings(place, &mut series).is_err() {
            continue;
        }
        drop(index.postings(name, value));
        for one in series {
            if index.read_series(one, &mut entry).is_ok() {
                read += 1;
                assert!(index.labels_of(&entry.pairs).len() * 2 == entry.pairs.len());
            }
        }
    }
    read + index.all_postings().map_or(0, |all| all.len() as usize)
}

/// Puts right checksums under the table of contents and the tables it names.
fn seal(bytes: &mut [u8]) {
    let Some(start) = bytes.len().checked_sub(toc::BYTES) else {
        return;
    };
    let checksum = crc32c(&bytes[start..bytes.len() - 4]);
    if let Some(last) = bytes.last_chunk_mut::<4>() {
        *last = checksum.to_be_bytes();
    }
    let Ok(found) = Toc::read(bytes) else {
        return;
    };
    for offset in [found.symbols, found.postings_table] {
        let Some(section) = usize::try_from(offset).ok().and_then(|at| bytes.get_mut(at..)) else {
            continue;
        };
        let Some((length, rest)) = section.split_first_chunk_mut::<4>() else {
            continue;
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length <= rest.len() {
            let (content, behind) = rest.split_at_mut(length);
            if let Some(checksum) = behind.first_chunk_mut::<4>() {
                *checksum = crc32c(content).to_be_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Inputs made of each target's corpus; `CRESSET_FUZZ_ROUNDS` asks for more.
    const ROUNDS: u64 = 3000;
    /// Larger inputs are cut.
    const INPUT_BYTES_MAX: usize = 1 << 16;

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut paths: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// Runs a target over its corpus and returns what each input gave.
    fn run<T>(target: &str, call: impl Fn(&[u8]) -> T) -> Vec<T> {
        corpus(target).iter().map(|bytes| call(bytes)).collect()
    }

    /// Numbers that are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % end.max(1)
        }
    }

    /// Changes an input as fuzzers do: bits and bytes, numbers at their limits, parts moved, cut, doubled or taken from
    /// another input.
    fn mutate(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
        for _ in 0..1 + numbers.below(6) {
            let at = numbers.below(bytes.len());
            let length = numbers.below(bytes.len() - at).min(1 << numbers.below(8));
            match numbers.below(8) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][numbers.below(6)],
                2 => bytes[at..at + length].fill([0, 0xff][numbers.below(2)]),
                3 => bytes.truncate(at),
                4 => drop(bytes.drain(at..at + length)),
                5 => {
                    let part = bytes[at..at + length].to_vec();
                    let to = numbers.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                6 => {
                    let from = numbers.below(other.len());
                    let part = &other[from..(from + 64).min(other.len())];
                    bytes.splice(at..at + length, part.iter().copied());
                }
                _ => {
                    let number = [u64::MAX, 1 << 63, u64::MAX >> 1, 1 << 32, 0xffff, 0][numbers.below(6)].to_be_bytes();
                    let width = length.min(8);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }

    /// Changes inputs again and again; those that can still be read stand in for others, so that changes add up.
    fn mutations(target: &str, call: &dyn Fn(&[u8]) -> u64) {
        let rounds = std::env::var("CRESSET_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
        let mut inputs = corpus(target);
        let originals = inputs.len();
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut read = 0;
        for round in 0..rounds {
            let (one, another) = (numbers.below(inputs.len()), numbers.below(inputs.len()));
            let mut bytes = inputs[one].clone();
            mutate(&mut bytes, &inputs[another].clone(), &mut numbers);
            if call(&bytes) == 0 {
                continue;
            }
            read += 1;
            if inputs.len() < originals + 256 {
                inputs.push(bytes);
            } else {
                let replaced = originals + round as usize % 256;
                inputs[replaced] = bytes;
            }
        }
        assert!(read > rounds / 50, "{target}: {read} of {rounds} inputs could be read: too few to say anything");
    }

    #[test]
    fn changed_logs_do_no_harm() {
        mutations("wal_reader", &|bytes| {
            let pieces = super::wal_reader(bytes);
            assert!(pieces < 1 << 20);
            pieces
        });
    }

    #[test]
    fn changed_chunks_do_no_harm() {
        mutations("chunk_decoder", &|bytes| {
            let samples = super::chunk_decoder(bytes);
            assert!(samples < 70_000);
            samples as u64
        });
    }

    #[test]
    fn changed_indexes_do_no_harm() {
        mutations("index_reader", &|bytes| {
            let series = super::index_reader(bytes);
            assert!(series < 1 << 20);
            series as u64
        });
    }

    #[test]
    fn corpora_are_read() {
        let pieces = run("wal_reader", super::wal_reader);
        assert!(pieces.len() >= 5 && pieces.iter().any(|count| *count > 100), "{pieces:?}");
        let samples = run("chunk_decoder", super::chunk_decoder);
        let series = run("index_reader", super::index_reader);
        assert!(series.len() >= 3 && series.iter().filter(|count| **count > 3).count() >= 2, "{series:?}");
        assert!(samples.len() >= 6 && samples.iter().filter(|count| **count > 3).count() >= 5, "{samples:?}");
    }

    #[test]
    fn corpora_with_every_byte_changed_do_no_harm() {
        let change = |call: &dyn Fn(&[u8]), bytes: &[u8]| {
            for at in 0..bytes.len().min(600) {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << (at % 8);
                call(&changed);
                call(&bytes[..at]);
            }
        };
        run("wal_reader", |bytes| change(&|b| assert!(super::wal_reader(b) < 1 << 20), bytes));
        run("index_reader", |bytes| change(&|b| assert!(super::index_reader(b) < 1 << 20), bytes));
        run("chunk_decoder", |bytes| change(&|b| assert!(super::chunk_decoder(b) < 70_000), bytes));
    }
}

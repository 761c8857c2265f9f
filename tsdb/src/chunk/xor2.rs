//! XOR2 chunks (encoding 4): floats with start timestamps. What mostly does not change, time step and value, shares one bit.
//!
//! Layout: `docs/formats/chunk.md`.

use model::sample::{STALE_NAN, is_stale};
use model::storage::Columns;

use super::Stamp;
use super::bits::{BitReader, BitWriter};
use super::start::Starts;
use super::xor::{COUNT_BYTES, sample_count};
use crate::codec::{Truncated, put_uvarint, put_varint};

/// Where the byte about start timestamps stands.
const STARTS_AT: usize = COUNT_BYTES;
/// Bytes before the bit stream.
const HEADER_BYTES: usize = STARTS_AT + 1;

/// An open chunk and what its next sample needs to know of the last one.
#[derive(Debug, Clone)]
pub(crate) struct Xor2Appender {
    writer: BitWriter,
    last_time: i64,
    last_delta: u64,
    last_value: f64,
    values: Values,
    starts: Starts,
}

/// What the next value is compared to: the last one that was no stale marker, and where its significant bits stood.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    base: u64,
    /// Leading and trailing zeros, once some value differed.
    window: Option<(u32, u32)>,
}

impl Values {
    /// Appends a value behind a time step that changed.
    fn write(&mut self, writer: &mut BitWriter, value: f64) {
        if is_stale(value) {
            writer.write(0b111, 3);
        } else if value.to_bits() == self.base {
            writer.write_bit(false);
        } else {
            writer.write_bit(true);
            self.write_changed(writer, value, 0b10, 2);
        }
    }

    /// Appends a value other than the base: a zero and the bits of the old window, or `other` and a new window.
    fn write_changed(&mut self, writer: &mut BitWriter, value: f64, other: u64, other_bits: u32) {
        let change = value.to_bits() ^ self.base;
        self.base = value.to_bits();
        // Five bits hold the count.
        let (leading, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        if let Some((old_leading, old_trailing)) = self.window
            && leading >= old_leading
            && trailing >= old_trailing
        {
            writer.write_bit(false);
            writer.write(change >> old_trailing, 64 - old_leading - old_trailing);
            return;
        }
        self.window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        writer.write(other, other_bits);
        // 64 significant bits are written as 0: there are never none.
        writer.write(u64::from(leading) << 6 | u64::from(significant & 0x3f), 11);
        writer.write(change >> trailing, significant);
    }

    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Truncated> {
        if reader.read(1) == 0 {
            Ok(f64::from_bits(self.base))
        } else if reader.read(1) == 0 {
            self.read_in_window(reader)
        } else if reader.read(1) == 0 {
            self.read_window(reader)
        } else {
            Ok(STALE_NAN)
        }
    }

    fn read_window(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Truncated> {
        let leading = reader.read(5) as u32;
        let significant = match reader.read(6) as u32 {
            0 => 64,
            count => count,
        };
        let trailing = 64u32.checked_sub(leading + significant).ok_or(Truncated)?;
        self.window = Some((leading, trailing));
        self.read_in_window(reader)
    }

    fn read_in_window(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Truncated> {
        let (leading, trailing) = self.window.ok_or(Truncated)?;
        self.base ^= reader.read(64 - leading - trailing) << trailing;
        Ok(f64::from_bits(self.base))
    }
}

impl Xor2Appender {
    /// Opens a chunk with its first sample.
    pub(crate) fn starting_with(stamp: Stamp, value: f64) -> Self {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&[0, 1, 0]);
        put_varint(&mut bytes, stamp.time);
        let mut writer = BitWriter::after(bytes);
        writer.write(value.to_bits(), 64);
        let mut starts = Starts::default();
        starts.write_first(&mut writer, stamp.time, stamp.start);
        writer.bytes_mut()[STARTS_AT] = starts.header();
        let base = if is_stale(value) { 0 } else { value.to_bits() };
        let values = Values { base, window: None };
        Self { writer, last_time: stamp.time, last_delta: 0, last_value: value, values, starts }
    }

    pub(crate) fn last_time(&self) -> i64 {
        self.last_time
    }

    pub(crate) fn last_value(&self) -> f64 {
        self.last_value
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.writer.into_bytes()
    }

    /// Appends a sample. The caller keeps times rising and cuts the chunk before its count overflows.
    pub(crate) fn append(&mut self, stamp: Stamp, value: f64) {
        let count = sample_count(self.writer.bytes());
        let delta = stamp.time.wrapping_sub(self.last_time) as u64;
        if count == 1 {
            let mut bytes = Vec::with_capacity(10);
            put_uvarint(&mut bytes, delta);
            for byte in bytes {
                self.writer.write(u64::from(byte), 8);
            }
            self.values.write(&mut self.writer, value);
        } else {
            self.write_step(delta.wrapping_sub(self.last_delta) as i64, value);
        }
        self.starts.write_next(&mut self.writer, count, self.last_time, stamp.start);
        (self.last_time, self.last_delta, self.last_value) = (stamp.time, delta, value);
        let header = self.starts.header();
        let bytes = self.writer.bytes_mut();
        bytes[..COUNT_BYTES].copy_from_slice(&(count + 1).to_be_bytes());
        bytes[STARTS_AT] = header;
    }

    /// Appends the difference of differences of times and the value.
    fn write_step(&mut self, change: i64, value: f64) {
        let (writer, values) = (&mut self.writer, &mut self.values);
        let fits = |bits: u32| (-(1i64 << (bits - 1))..1i64 << (bits - 1)).contains(&change);
        let low = |bits: u32| change as u64 & ((1 << bits) - 1);
        if change == 0 {
            if is_stale(value) {
                writer.write(0b11111, 5);
            } else if value.to_bits() == values.base {
                writer.write_bit(false);
            } else {
                writer.write(0b10, 2);
                values.write_changed(writer, value, 1, 1);
            }
            return;
        }
        if fits(13) {
            writer.write(0b110 << 13 | low(13), 16);
        } else if fits(20) {
            writer.write(0b1110 << 20 | low(20), 24);
        } else {
            writer.write(0b11110, 5);
            writer.write(change as u64, 64);
        }
        values.write(writer, value);
    }
}

/// Appends the first `count` samples of a chunk to `columns`.
///
/// # Errors
/// If the bytes end before that; nothing is appended then.
pub(crate) fn decode(bytes: &[u8], count: usize, columns: &mut Columns) -> Result<(), Truncated> {
    let count = count.min(usize::from(sample_count(bytes)));
    if count == 0 {
        return Ok(());
    }
    let header = *bytes.get(STARTS_AT).ok_or(Truncated)?;
    let (from, starts_from) = (columns.len(), columns.starts.len());
    let result = decode_from(&mut BitReader::new(&bytes[HEADER_BYTES..]), header, count, columns);
    if result.is_err() {
        columns.timestamps.truncate(from);
        columns.values.truncate(from);
        columns.starts.truncate(starts_from);
    }
    result
}

fn decode_from(reader: &mut BitReader<'_>, header: u8, count: usize, columns: &mut Columns) -> Result<(), Truncated> {
    let mut starts = Starts::of_header(header);
    let mut time = reader.read_varint()?;
    let first = f64::from_bits(reader.read(64));
    reader.check()?;
    columns.push_float(time, first);
    columns.note_start(starts.read_first(reader, time)?);
    let mut values = Values { base: if is_stale(first) { 0 } else { first.to_bits() }, window: None };
    let mut delta = 0i64;
    for index in 1..count {
        let ahead_time = time;
        let value = if index == 1 {
            delta = reader.read_uvarint()? as i64;
            values.read(reader)?
        } else {
            read_step(reader, &mut delta, &mut values)?
        };
        time = time.wrapping_add(delta);
        let start = starts.read_next(reader, index, ahead_time)?;
        reader.check()?;
        columns.push_float(time, value);
        columns.note_start(start);
    }
    Ok(())
}

/// Takes the change of the time step and the value.
fn read_step(reader: &mut BitReader<'_>, delta: &mut i64, values: &mut Values) -> Result<f64, Truncated> {
    reader.refill();
    let ones = (!reader.peek()).leading_zeros();
    let change_bits = match ones {
        0 => {
            reader.skip(1);
            return Ok(f64::from_bits(values.base));
        }
        1 => {
            reader.skip(2);
            return if reader.read(1) == 0 { values.read_in_window(reader) } else { values.read_window(reader) };
        }
        2 => 13,
        3 => 20,
        4 => 64,
        _ => {
            reader.skip(5);
            return Ok(STALE_NAN);
        }
    };
    reader.skip(ones + 1);
    let change = reader.read(change_bits);
    // Two's complement of that width.
    let unused = 64 - change_bits;
    *delta = delta.wrapping_add((change << unused) as i64 >> unused);
    values.read(reader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(samples: &[(i64, i64, f64)]) {
        let stamp = |i: usize| Stamp { start: samples[i].0, time: samples[i].1 };
        let mut appender = Xor2Appender::starting_with(stamp(0), samples[0].2);
        for (i, sample) in samples.iter().enumerate().skip(1) {
            appender.append(stamp(i), sample.2);
        }
        let bytes = appender.into_bytes();
        let mut columns = Columns::default();
        decode(&bytes, usize::MAX, &mut columns).unwrap();
        assert_eq!(columns.len(), samples.len());
        for (i, (start, time, value)) in samples.iter().enumerate() {
            let found = (columns.start_at(i), columns.timestamps[i], columns.values[i].to_bits());
            assert_eq!(found, (*start, *time, value.to_bits()), "sample {i}");
        }
        for cut in COUNT_BYTES..bytes.len() {
            let mut columns = Columns::default();
            assert_eq!(decode(&bytes[..cut], usize::MAX, &mut columns), Err(Truncated), "cut at {cut}");
            assert!(columns.is_empty() && columns.starts.is_empty());
        }
    }

    #[test]
    fn steps_and_starts_of_every_width_come_back() {
        let mut time = 1_700_000_000_000;
        let mut samples = vec![(time - 5, time, STALE_NAN)];
        let mut delta = 15_000;
        for (i, change) in [0, 0, 1, -1, 4095, -4096, 4096, -4097, 524_287, -524_288, 524_288, -524_289, 1 << 40]
            .into_iter()
            .enumerate()
        {
            delta += change;
            time += delta;
            let value = if i % 4 == 3 { STALE_NAN } else { (i / 3) as f64 };
            samples.push((time - (1 << (i * 4)), time, value));
        }
        check(&samples);
    }

    #[test]
    fn one_start_for_all_is_written_once_until_the_chunk_gets_long() {
        let samples: Vec<_> = (0..127).map(|i| (999, 1000 + i * 15_000, 1.0)).collect();
        check(&samples);
        let samples: Vec<_> = (0..240).map(|i| (999, 1000 + i * 15_000, 1.0)).collect();
        check(&samples);
        let samples: Vec<_> = (0..240).map(|i| (if i < 200 { 0 } else { 999 }, 1000 + i * 15_000, 1.0)).collect();
        check(&samples);
    }

    proptest! {
        #[test]
        fn samples_come_back(
            steps in proptest::collection::vec((1i64..1 << 34, prop_oneof![Just(0i64), 1i64..1 << 40], prop_oneof![any::<f64>(), (0u32..3).prop_map(f64::from), Just(STALE_NAN)]), 1..160),
        ) {
            let mut time = 1 << 41;
            let samples: Vec<_> = steps.iter().map(|(step, start, value)| { time += step; (*start, time, *value) }).collect();
            check(&samples);
        }

        #[test]
        fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _unused = decode(&bytes, usize::MAX, &mut Columns::default());
        }
    }
}

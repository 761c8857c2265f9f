//! XOR chunks (encoding 1): floats as differences of differences of times and XORed values.
//!
//! Layout: `docs/formats/chunk.md`.

use super::bits::{BitReader, BitWriter};
use crate::codec::{Truncated, put_uvarint, put_varint};

/// Bytes of the sample count that opens every chunk.
pub(crate) const COUNT_BYTES: usize = 2;
/// No leading-zero count is known yet.
const LEADING_UNKNOWN: u8 = 0xff;

/// An open chunk and what its next sample needs to know of the last one.
#[derive(Debug, Clone)]
pub(crate) struct XorAppender {
    writer: BitWriter,
    last_time: i64,
    last_delta: u64,
    values: XorState,
}

/// What XORing the next float needs to know of the last one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct XorState {
    pub(crate) value: f64,
    leading: u8,
    trailing: u8,
}

impl XorState {
    pub(crate) fn starting_at(value: f64) -> Self {
        Self { value, leading: LEADING_UNKNOWN, trailing: 0 }
    }

    /// Appends `value` as its difference to the last one.
    #[inline]
    pub(crate) fn write(&mut self, writer: &mut BitWriter, value: f64) {
        let delta = value.to_bits() ^ self.value.to_bits();
        self.value = value;
        if delta == 0 {
            writer.write_bit(false);
            return;
        }
        // Five bits hold the count.
        let leading = (delta.leading_zeros() as u8).min(31);
        let trailing = delta.trailing_zeros() as u8;
        if self.leading != LEADING_UNKNOWN && leading >= self.leading && trailing >= self.trailing {
            writer.write(0b10, 2);
            writer.write(delta >> self.trailing, u32::from(64 - self.leading - self.trailing));
            return;
        }
        (self.leading, self.trailing) = (leading, trailing);
        let significant = 64 - leading - trailing;
        // 64 significant bits are written as 0: there are never none.
        writer.write((0b11 << 11) | (u64::from(leading) << 6) | u64::from(significant & 0x3f), 13);
        writer.write(delta >> trailing, u32::from(significant));
    }

    /// Takes the next float. The caller checks the reader afterwards.
    #[inline(always)]
    pub(crate) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Truncated> {
        reader.refill();
        let head = reader.peek();
        if head >> 63 == 0 {
            reader.skip(1);
            return Ok(self.value);
        }
        if (head >> 62) & 1 == 0 {
            reader.skip(2);
        } else {
            let leading = ((head >> 57) & 0x1f) as u8;
            let significant = ((head >> 51) & 0x3f) as u8;
            let significant = if significant == 0 { 64 } else { significant };
            reader.skip(13);
            self.leading = leading;
            self.trailing = 64u8.checked_sub(leading + significant).ok_or(Truncated)?;
        }
        if self.leading == LEADING_UNKNOWN {
            return Err(Truncated);
        }
        let significant = u32::from(64 - self.leading - self.trailing);
        // At least 43 bits are left of those the refill provided.
        let bits = if significant <= 43 { reader.take(significant) } else { reader.read(significant) };
        let delta = bits << self.trailing;
        self.value = f64::from_bits(self.value.to_bits() ^ delta);
        Ok(self.value)
    }
}

impl XorAppender {
    /// Opens a chunk with its first sample.
    pub(crate) fn starting_with(time: i64, value: f64) -> Self {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&1u16.to_be_bytes());
        put_varint(&mut bytes, time);
        let mut writer = BitWriter::after(bytes);
        writer.write(value.to_bits(), 64);
        Self { writer, last_time: time, last_delta: 0, values: XorState::starting_at(value) }
    }

    /// How many samples it holds.
    pub(crate) fn count(&self) -> u16 {
        sample_count(self.writer.bytes())
    }

    pub(crate) fn last_time(&self) -> i64 {
        self.last_time
    }

    pub(crate) fn last_value(&self) -> f64 {
        self.values.value
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.writer.into_bytes()
    }

    /// Appends a sample. The caller keeps times rising and cuts the chunk before its count overflows.
    #[inline]
    pub(crate) fn append(&mut self, time: i64, value: f64) {
        let count = self.count();
        let delta = time.wrapping_sub(self.last_time) as u64;
        if count == 1 {
            let mut bytes = Vec::with_capacity(10);
            put_uvarint(&mut bytes, delta);
            for byte in bytes {
                self.writer.write(u64::from(byte), 8);
            }
        } else {
            write_time_change(&mut self.writer, delta.wrapping_sub(self.last_delta) as i64);
        }
        self.values.write(&mut self.writer, value);
        self.last_time = time;
        self.last_delta = delta;
        self.writer.bytes_mut()[..COUNT_BYTES].copy_from_slice(&(count + 1).to_be_bytes());
    }
}

/// Appends a difference of differences of times in 1, 16, 20, 24 or 68 bits.
fn write_time_change(writer: &mut BitWriter, change: i64) {
    let fits = |bits: u32| change > -(1 << (bits - 1)) && change <= 1 << (bits - 1);
    let low = |bits: u32| change as u64 & ((1 << bits) - 1);
    if change == 0 {
        writer.write_bit(false);
    } else if fits(14) {
        writer.write((0b10 << 14) | low(14), 16);
    } else if fits(17) {
        writer.write((0b110 << 17) | low(17), 20);
    } else if fits(20) {
        writer.write((0b1110 << 20) | low(20), 24);
    } else {
        writer.write(0b1111, 4);
        writer.write(change as u64, 64);
    }
}

#[inline(always)]
fn read_time_change(reader: &mut BitReader<'_>) -> i64 {
    let head = reader.peek();
    if head >> 63 == 0 {
        reader.skip(1);
        return 0;
    }
    let ones = (!head).leading_zeros();
    let (prefix, bits) = match ones {
        1 => (2, 14),
        2 => (3, 17),
        3 => (4, 20),
        _ => {
            reader.skip(4);
            return reader.read(64) as i64;
        }
    };
    reader.skip(prefix);
    let raw = reader.take(bits) as i64;
    if raw > 1 << (bits - 1) { raw - (1 << bits) } else { raw }
}

/// The sample count that opens a chunk's bytes; 0 if they are too short to have one.
pub(crate) fn sample_count(bytes: &[u8]) -> u16 {
    match bytes {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Appends the first `count` samples of a chunk to `times` and `values`.
///
/// # Errors
/// If the bytes end before the samples do.
pub(crate) fn decode(bytes: &[u8], count: usize, times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<(), Truncated> {
    let count = count.min(usize::from(sample_count(bytes)));
    if count == 0 {
        return Ok(());
    }
    let mut reader = BitReader::new(bytes.get(COUNT_BYTES..).ok_or(Truncated)?);
    let (from, end) = (times.len(), times.len() + count);
    times.resize(end, 0);
    values.resize(end, 0.0);
    let result = decode_into(&mut reader, &mut times[from..], &mut values[from..]);
    if result.is_err() {
        times.truncate(from);
        values.truncate(from);
    }
    result
}

/// Fills both slices, which are of one length and not empty.
fn decode_into(reader: &mut BitReader<'_>, times: &mut [i64], values: &mut [f64]) -> Result<(), Truncated> {
    let count = times.len().min(values.len());
    let mut time = reader.read_varint()?;
    let mut state = XorState::starting_at(f64::from_bits(reader.read(64)));
    (times[0], values[0]) = (time, state.value);
    if count == 1 {
        return reader.check();
    }
    let mut delta = reader.read_uvarint()? as i64;
    time = time.wrapping_add(delta);
    (times[1], values[1]) = (time, state.read(reader)?);
    let mut at = 2;
    while at < count {
        reader.refill();
        // Two zero bits are a sample at the same step with the same value: a steady series is nothing else.
        if reader.peek() >> 62 == 0 {
            let same = reader.zero_pairs().min(count - at).max(1);
            for (time_out, value_out) in times[at..at + same].iter_mut().zip(&mut values[at..at + same]) {
                time = time.wrapping_add(delta);
                (*time_out, *value_out) = (time, state.value);
            }
            reader.skip(2 * same as u32);
            at += same;
            continue;
        }
        delta = delta.wrapping_add(read_time_change(reader));
        time = time.wrapping_add(delta);
        (times[at], values[at]) = (time, state.read(reader)?);
        at += 1;
    }
    // Once bits were taken that are not there, the reader stays overdrawn: one look at the end tells.
    reader.check()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut appender = XorAppender::starting_with(samples[0].0, samples[0].1);
        for (time, value) in &samples[1..] {
            appender.append(*time, *value);
        }
        appender.into_bytes()
    }

    fn check(samples: &[(i64, f64)]) {
        let bytes = encode(samples);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        decode(&bytes, usize::MAX, &mut times, &mut values).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(times, samples.iter().map(|s| s.0).collect::<Vec<_>>());
        assert_eq!(bits(&values), samples.iter().map(|s| s.1.to_bits()).collect::<Vec<_>>());
        for cut in COUNT_BYTES..bytes.len() {
            let cut_short = decode(&bytes[..cut], usize::MAX, &mut Vec::new(), &mut Vec::new());
            assert_eq!(cut_short, Err(Truncated), "cut at {cut} of {}", bytes.len());
        }
    }

    #[test]
    fn every_width_of_time_change_comes_back() {
        let mut time = 1_700_000_000_000;
        let mut samples = vec![(time, 1.0)];
        let mut delta = 15_000;
        for change in [0, 0, 1, -1, 8191, -8191, 8192, -8192, 65_536, -65_535, 524_288, -524_287, 1 << 40] {
            delta += change;
            time += delta;
            samples.push((time, time as f64));
        }
        check(&samples);
    }

    #[test]
    fn a_steady_series_takes_two_bits_a_sample() {
        let samples: Vec<_> = (0..120).map(|i| (1_700_000_000_000 + i * 15_000, 1.0)).collect();
        assert_eq!(encode(&samples).len(), 2 + 6 + 8 + 2 + 30);
    }

    proptest! {
        #[test]
        fn samples_come_back(
            start in -1i64 << 42..1 << 42,
            steps in proptest::collection::vec((1i64..1 << 34, prop_oneof![any::<f64>(), (0u32..100).prop_map(f64::from)]), 1..50),
        ) {
            let mut time = start;
            let samples: Vec<_> = steps.iter().map(|(step, value)| { time += step; (time, *value) }).collect();
            check(&samples);
        }

        #[test]
        fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _unused = decode(&bytes, usize::MAX, &mut Vec::new(), &mut Vec::new());
        }
    }
}

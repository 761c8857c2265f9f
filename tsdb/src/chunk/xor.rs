//! XOR chunks (encoding 1): floats as differences of differences of times and XORed values.
//!
//! Layout: `docs/formats/chunk.md`.

mod decode;

use super::bits::{BitReader, BitWriter};
use crate::codec::{Truncated, put_uvarint, put_varint};
pub(crate) use decode::{Times, decode};

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
    count: u16,
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
        self.write_behind(writer, (0, 0), value);
    }

    /// As [`XorState::write`], behind the low bits of a word, as many as said (at most 24): mostly both in one step.
    #[inline]
    fn write_behind(&mut self, writer: &mut BitWriter, (ahead, ahead_bits): (u64, u32), value: f64) {
        let delta = value.to_bits() ^ self.value.to_bits();
        self.value = value;
        if delta == 0 {
            writer.write(ahead << 1, ahead_bits + 1);
            return;
        }
        // Five bits hold the count.
        let leading = (delta.leading_zeros() as u8).min(31);
        let trailing = delta.trailing_zeros() as u8;
        let (head, head_bits);
        if self.leading != LEADING_UNKNOWN && leading >= self.leading && trailing >= self.trailing {
            (head, head_bits) = (ahead << 2 | 0b10, ahead_bits + 2);
        } else {
            (self.leading, self.trailing) = (leading, trailing);
            // 64 significant bits are written as 0: there are never none.
            let significant = 64 - leading - trailing;
            let window = (0b11 << 11) | (u64::from(leading) << 6) | u64::from(significant & 0x3f);
            (head, head_bits) = (ahead << 13 | window, ahead_bits + 13);
        }
        let significant = u32::from(64 - self.leading - self.trailing);
        let bits = delta >> self.trailing;
        if head_bits + significant <= 64 {
            writer.write(head << significant | bits, head_bits + significant);
        } else {
            writer.write(head, head_bits);
            writer.write(bits, significant);
        }
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
        Self { writer, last_time: time, last_delta: 0, values: XorState::starting_at(value), count: 1 }
    }

    /// How many samples it holds.
    pub(crate) fn count(&self) -> u16 {
        self.count
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
        let delta = time.wrapping_sub(self.last_time) as u64;
        if self.count == 1 {
            let mut bytes = Vec::with_capacity(10);
            put_uvarint(&mut bytes, delta);
            for byte in bytes {
                self.writer.write(u64::from(byte), 8);
            }
            self.values.write(&mut self.writer, value);
        } else {
            let change = time_change(&mut self.writer, delta.wrapping_sub(self.last_delta) as i64);
            self.values.write_behind(&mut self.writer, change, value);
        }
        self.last_time = time;
        self.last_delta = delta;
        self.count += 1;
        self.writer.bytes_mut()[..COUNT_BYTES].copy_from_slice(&self.count.to_be_bytes());
    }
}

/// A difference of differences of times in 1, 16, 20, 24 or 68 bits; the longest is written at once, and nothing is left.
#[inline]
fn time_change(writer: &mut BitWriter, change: i64) -> (u64, u32) {
    let fits = |bits: u32| change > -(1 << (bits - 1)) && change <= 1 << (bits - 1);
    let low = |bits: u32| change as u64 & ((1 << bits) - 1);
    if change == 0 {
        (0, 1)
    } else if fits(14) {
        ((0b10 << 14) | low(14), 16)
    } else if fits(17) {
        ((0b110 << 17) | low(17), 20)
    } else if fits(20) {
        ((0b1110 << 20) | low(20), 24)
    } else {
        writer.write(0b1111, 4);
        writer.write(change as u64, 64);
        (0, 0)
    }
}

/// The sample count that opens a chunk's bytes; 0 if they are too short to have one.
pub(crate) fn sample_count(bytes: &[u8]) -> u16 {
    match bytes {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
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
        assert_eq!(decode(&bytes, usize::MAX, &mut times, &mut values), Ok(Times::Rise));
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

    /// The decoder's naive twin: bit by bit, as the layout says.
    fn decode_naively(bytes: &[u8]) -> Result<Vec<(i64, u64)>, Truncated> {
        let mut reader = BitReader::new(&bytes[COUNT_BYTES..]);
        let mut time = reader.read_varint()?;
        let mut state = XorState::starting_at(f64::from_bits(reader.read(64)));
        let mut samples = vec![(time, state.value.to_bits())];
        let mut delta = 0i64;
        for index in 1..sample_count(bytes) {
            if index == 1 {
                delta = reader.read_uvarint()? as i64;
            } else {
                let ones = (0..4).take_while(|_| reader.read(1) == 1).count();
                let bits = [0, 14, 17, 20, 64][ones];
                let raw = reader.read(bits);
                let is_negative = (1..64).contains(&bits) && raw > 1 << (bits - 1);
                delta = delta.wrapping_add(if is_negative { raw as i64 - (1 << bits) } else { raw as i64 });
            }
            time = time.wrapping_add(delta);
            samples.push((time, state.read(&mut reader)?.to_bits()));
        }
        reader.check().map(|()| samples)
    }

    proptest! {
        #[test]
        fn garbage_is_read_as_the_naive_twin_reads_it(
            count in 1u8..60, bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
        ) {
            let bytes = [&[0, count][..], &bytes].concat();
            let (mut times, mut values) = (Vec::new(), Vec::new());
            let result = decode(&bytes, usize::MAX, &mut times, &mut values);
            let naive = decode_naively(&bytes);
            if result == Ok(Times::Rise) {
                prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            }
            prop_assert_eq!(result.is_ok(), naive.is_ok());
            let found: Vec<_> = times.into_iter().zip(values.iter().map(|value| value.to_bits())).collect();
            prop_assert_eq!(found, naive.unwrap_or_default());
        }

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

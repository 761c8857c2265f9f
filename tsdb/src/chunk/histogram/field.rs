//! Numbers of a histogram chunk: integers as differences of differences in variable-width bits, floats as XORs.

use crate::chunk::bits::{BitReader, BitWriter};
use crate::chunk::xor::XorState;
use crate::codec::Truncated;

/// A number that stands in every histogram of a chunk.
pub(crate) trait Field: Copy {
    /// What the next one needs to know of the last.
    type Track: Clone + std::fmt::Debug;

    fn write_first(self, writer: &mut BitWriter) -> Self::Track;
    fn write_next(self, track: &mut Self::Track, writer: &mut BitWriter);
    fn read_first(reader: &mut BitReader<'_>) -> Result<Self::Track, Truncated>;
    fn read_next(reader: &mut BitReader<'_>, track: &mut Self::Track) -> Result<(), Truncated>;
    /// The number last written or read.
    fn of(track: &Self::Track) -> Self;
}

/// An integer and its last change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    value: i64,
    delta: i64,
}

impl Change {
    fn write_next(&mut self, value: i64, writer: &mut BitWriter) {
        let delta = value.wrapping_sub(self.value);
        write_varbit_int(writer, delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }

    fn read_next(&mut self, reader: &mut BitReader<'_>) -> Result<(), Truncated> {
        self.delta = self.delta.wrapping_add(read_varbit_int(reader)?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

impl Field for u64 {
    type Track = Change;

    fn write_first(self, writer: &mut BitWriter) -> Change {
        write_varbit_uint(writer, self);
        Change { value: self as i64, delta: 0 }
    }

    fn write_next(self, track: &mut Change, writer: &mut BitWriter) {
        track.write_next(self as i64, writer);
    }

    fn read_first(reader: &mut BitReader<'_>) -> Result<Change, Truncated> {
        Ok(Change { value: read_varbit_uint(reader)? as i64, delta: 0 })
    }

    fn read_next(reader: &mut BitReader<'_>, track: &mut Change) -> Result<(), Truncated> {
        track.read_next(reader)
    }

    fn of(track: &Change) -> Self {
        track.value as u64
    }
}

impl Field for i64 {
    type Track = Change;

    fn write_first(self, writer: &mut BitWriter) -> Change {
        write_varbit_int(writer, self);
        Change { value: self, delta: 0 }
    }

    fn write_next(self, track: &mut Change, writer: &mut BitWriter) {
        track.write_next(self, writer);
    }

    fn read_first(reader: &mut BitReader<'_>) -> Result<Change, Truncated> {
        Ok(Change { value: read_varbit_int(reader)?, delta: 0 })
    }

    fn read_next(reader: &mut BitReader<'_>, track: &mut Change) -> Result<(), Truncated> {
        track.read_next(reader)
    }

    fn of(track: &Change) -> Self {
        track.value
    }
}

impl Field for f64 {
    type Track = XorState;

    fn write_first(self, writer: &mut BitWriter) -> XorState {
        writer.write(self.to_bits(), 64);
        XorState::starting_at(self)
    }

    fn write_next(self, track: &mut XorState, writer: &mut BitWriter) {
        track.write(writer, self);
    }

    fn read_first(reader: &mut BitReader<'_>) -> Result<XorState, Truncated> {
        let value = f64::from_bits(reader.read(64));
        reader.check().map(|()| XorState::starting_at(value))
    }

    fn read_next(reader: &mut BitReader<'_>, track: &mut XorState) -> Result<(), Truncated> {
        track.read(reader)?;
        reader.check()
    }

    fn of(track: &XorState) -> Self {
        track.value
    }
}

/// Widths of the number after a prefix of that many ones and a zero; eight ones announce 64 bits.
const WIDTHS: [u32; 8] = [0, 3, 6, 9, 12, 18, 25, 56];
const WIDEST_PREFIX: u32 = 8;

pub(in crate::chunk) fn write_varbit_int(writer: &mut BitWriter, value: i64) {
    let fits = |bits: u32| value > -(1i64 << (bits - 1)) && value <= 1i64 << (bits - 1);
    write_varbit(writer, value as u64, |bits| if bits == 0 { value == 0 } else { fits(bits) });
}

pub(in crate::chunk) fn write_varbit_uint(writer: &mut BitWriter, value: u64) {
    write_varbit(writer, value, |bits| value >> bits == 0);
}

fn write_varbit(writer: &mut BitWriter, value: u64, fits: impl Fn(u32) -> bool) {
    match (0u32..).zip(WIDTHS).find(|(_, bits)| fits(*bits)) {
        Some((ones, bits)) => {
            // That many ones, then a zero.
            writer.write((1 << (ones + 1)) - 2, ones + 1);
            writer.write(value, bits);
        }
        None => {
            writer.write((1 << WIDEST_PREFIX) - 1, WIDEST_PREFIX);
            writer.write(value, 64);
        }
    }
}

/// The bits of the next number and how many there were.
fn read_varbit(reader: &mut BitReader<'_>) -> Result<(u64, u32), Truncated> {
    reader.refill();
    let ones = (!reader.peek()).leading_zeros().min(WIDEST_PREFIX);
    let bits = if ones == WIDEST_PREFIX {
        reader.skip(WIDEST_PREFIX);
        64
    } else {
        reader.skip(ones + 1);
        WIDTHS[ones as usize]
    };
    let value = reader.read(bits);
    reader.check().map(|()| (value, bits))
}

pub(in crate::chunk) fn read_varbit_int(reader: &mut BitReader<'_>) -> Result<i64, Truncated> {
    let (value, bits) = read_varbit(reader)?;
    let negative = (1..64).contains(&bits) && value > 1 << (bits - 1);
    Ok(if negative { value.wrapping_sub(1 << bits) as i64 } else { value as i64 })
}

pub(in crate::chunk) fn read_varbit_uint(reader: &mut BitReader<'_>) -> Result<u64, Truncated> {
    read_varbit(reader).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        let mut ints = vec![0, i64::MAX, i64::MIN];
        for bits in [3, 6, 9, 12, 18, 25, 56] {
            let edge = 1i64 << (bits - 1);
            ints.extend([edge, edge + 1, -edge, 1 - edge, -1 - edge]);
        }
        let mut writer = BitWriter::default();
        for &int in &ints {
            write_varbit_int(&mut writer, int);
            write_varbit_uint(&mut writer, int as u64);
        }
        let mut reader = BitReader::new(writer.bytes());
        for &int in &ints {
            assert_eq!(read_varbit_int(&mut reader), Ok(int));
            assert_eq!(read_varbit_uint(&mut reader), Ok(int as u64));
        }
    }
}

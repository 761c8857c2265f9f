//! Reading XOR chunks: the inner loop of most queries.
//!
//! A sample's place depends on the widths of the one before, so that chain is kept short: one load at the place, the
//! widths chosen without branches, one addition. The sample's bits are loaded beside it. Branches are left where they
//! are nearly always the same: whether the time step changed, and whether a run of steady samples follows.

use super::{COUNT_BYTES, sample_count};
use crate::codec::{Decoder, Truncated};

/// Bytes that must follow a sample's first one for its loads: 145 bits of it, and a word.
const MARGIN_BYTES: usize = 32;
/// Steady samples that are told by one look at most: two bits each, of the 57 that a load has at least.
const STEADY_MAX: usize = 28;
/// Zeros at the top of a load that speak for a run of steady samples.
const STEADY_BITS: u32 = 16;
/// No window of significant bits is known yet: wider than any.
const UNKNOWN_WINDOW: u32 = 200;

/// Time steps below this cannot add up beyond the range of times within one chunk: with 2^16 of them it wraps once at
/// most, and then the last time is before the first.
const STEP_MAX: u64 = 1 << 47;

/// What the next sample needs to know of the last one.
#[derive(Debug, Clone, Copy)]
struct Last {
    time: i64,
    delta: i64,
    bits: u64,
    leading: u32,
    significant: u32,
    /// Every step so far was forward and below [`STEP_MAX`].
    is_rising: bool,
}

impl Last {
    fn is_step(delta: i64) -> bool {
        // One less, so that 0 is the largest.
        (delta as u64).wrapping_sub(1) < STEP_MAX - 1
    }

    fn times_since(&self, first: i64) -> Times {
        if self.is_rising && first < self.time { Times::Rise } else { Times::Unknown }
    }
}

/// What is known of the times of a decoded chunk without looking at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// Each is above the one before.
    Rise,
    /// They may or may not rise.
    Unknown,
}

/// Appends the first `count` samples of a chunk to `times` and `values`.
///
/// # Errors
/// If the bytes end before the samples do; nothing is appended then.
pub(crate) fn decode(
    bytes: &[u8],
    count: usize,
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<Times, Truncated> {
    let count = count.min(usize::from(sample_count(bytes)));
    if count == 0 {
        return Ok(Times::Rise);
    }
    let (from, end) = (times.len(), times.len() + count);
    times.resize(end, 0);
    values.resize(end, 0.0);
    let result = decode_into(&bytes[COUNT_BYTES..], &mut times[from..], &mut values[from..]);
    if result.is_err() {
        times.truncate(from);
        values.truncate(from);
    }
    result
}

/// Fills both slices, which are of one length and not empty.
fn decode_into(bytes: &[u8], times: &mut [i64], values: &mut [f64]) -> Result<Times, Truncated> {
    let mut head = Decoder::new(bytes);
    let (time, bits) = (head.varint()?, head.u64()?);
    (times[0], values[0]) = (time, f64::from_bits(bits));
    if times.len() == 1 {
        return Ok(Times::Rise);
    }
    let delta = head.uvarint()? as i64;
    let is_rising = Last::is_step(delta);
    let mut last = Last { time, delta, bits, leading: 0, significant: UNKNOWN_WINDOW, is_rising };
    let mut place = head.position() * 8;
    let mut filled = 1;
    // The second sample has no difference of differences: it begins as the others go on.
    let mut is_second = true;
    if place / 8 + MARGIN_BYTES <= bytes.len() {
        place = read_value(bytes, place, &mut last)?;
        last.time = last.time.wrapping_add(delta);
        (times[1], values[1]) = (last.time, f64::from_bits(last.bits));
        is_second = false;
        filled = 2;
        (filled, place) = fill(bytes, place, &mut last, times, values, filled)?;
    }
    // The end, with zeros behind it so that loads find their bytes.
    let start = (place / 8).min(bytes.len());
    let rest = &bytes[start..];
    if filled == times.len() {
        return if place <= bytes.len() * 8 { Ok(last.times_since(time)) } else { Err(Truncated) };
    }
    let mut padded = [0; 3 * MARGIN_BYTES];
    padded.get_mut(..rest.len()).ok_or(Truncated)?.copy_from_slice(rest);
    place -= start * 8;
    if is_second {
        place = read_value(&padded, place, &mut last)?;
        last.time = last.time.wrapping_add(delta);
        (times[1], values[1]) = (last.time, f64::from_bits(last.bits));
        filled = 2;
    }
    (filled, place) = fill(&padded, place, &mut last, times, values, filled)?;
    if filled == times.len() && place <= rest.len() * 8 { Ok(last.times_since(time)) } else { Err(Truncated) }
}

/// Fills from sample `at` on, as long as there are bytes to load. Returns where it stopped, in samples and bits.
#[inline(always)]
fn fill(
    bytes: &[u8],
    mut place: usize,
    last: &mut Last,
    times: &mut [i64],
    values: &mut [f64],
    mut at: usize,
) -> Result<(usize, usize), Truncated> {
    let count = times.len().min(values.len());
    let mut local = *last;
    while at < count && place / 8 + MARGIN_BYTES <= bytes.len() {
        let word = load(bytes, place)?;
        if word >> (64 - STEADY_BITS) == 0 {
            let same = (word.leading_zeros() as usize / 2).min(STEADY_MAX).min(count - at);
            for (time, value) in times[at..at + same].iter_mut().zip(&mut values[at..at + same]) {
                local.time = local.time.wrapping_add(local.delta);
                (*time, *value) = (local.time, f64::from_bits(local.bits));
            }
            place += 2 * same;
            at += same;
            continue;
        }
        if word >> 63 == 0 {
            place += 1;
        } else {
            let (change, bits) = read_time_change(bytes, place, word)?;
            local.delta = local.delta.wrapping_add(change);
            local.is_rising &= Last::is_step(local.delta);
            place += bits;
        }
        place = read_value(bytes, place, &mut local)?;
        local.time = local.time.wrapping_add(local.delta);
        (times[at], values[at]) = (local.time, f64::from_bits(local.bits));
        at += 1;
    }
    *last = local;
    Ok((at, place))
}

/// Takes the next value and returns the place behind it.
#[inline(always)]
fn read_value(bytes: &[u8], place: usize, last: &mut Last) -> Result<usize, Truncated> {
    let word = load(bytes, place)?;
    let is_changed = word >> 63 == 1;
    let is_window = word >> 62 == 0b11;
    let leading = (word >> 57) as u32 & 0x1f;
    // 64 significant bits are written as 0: there are never none.
    let significant = ((word >> 51) as u32).wrapping_sub(1) % 64 + 1;
    last.leading = if is_window { leading } else { last.leading };
    last.significant = if is_window { significant } else { last.significant };
    if is_changed && last.leading + last.significant > 64 {
        return Err(Truncated);
    }
    let head = if is_window { 13 } else { 1 + u32::from(is_changed) };
    let taken = if is_changed { last.significant } else { 0 };
    let bits = load_wide(bytes, place + head as usize, taken)?;
    last.bits ^= bits.wrapping_shl(64u32.wrapping_sub(last.leading + last.significant));
    Ok(place + (head + taken) as usize)
}

/// The difference of differences of times at `place`, where `word` was loaded, and its bits.
#[inline]
fn read_time_change(bytes: &[u8], place: usize, word: u64) -> Result<(i64, usize), Truncated> {
    let (prefix, bits) = match (!word).leading_zeros() {
        1 => (2, 14),
        2 => (3, 17),
        3 => (4, 20),
        _ => return Ok((load_wide(bytes, place + 4, 64)? as i64, 68)),
    };
    let raw = ((word << prefix) >> (64 - bits)) as i64;
    let change = if raw > 1 << (bits - 1) { raw - (1 << bits) } else { raw };
    Ok((change, (prefix + bits) as usize))
}

/// At least 57 bits from `place` on, at the top of a word.
#[inline(always)]
fn load(bytes: &[u8], place: usize) -> Result<u64, Truncated> {
    let at = place / 8;
    let eight = bytes.get(at..at + 8).and_then(|eight| <[u8; 8]>::try_from(eight).ok()).ok_or(Truncated)?;
    Ok(u64::from_be_bytes(eight) << (place % 8))
}

/// The `count <= 64` bits from `place` on.
#[inline(always)]
fn load_wide(bytes: &[u8], place: usize, count: u32) -> Result<u64, Truncated> {
    let (at, within) = (place / 8, place % 8);
    let nine = bytes.get(at..at + 9).and_then(|nine| <[u8; 9]>::try_from(nine).ok()).ok_or(Truncated)?;
    let [first @ .., ninth] = nine;
    let word = u64::from_be_bytes(first) << within | u64::from(ninth) >> (8 - within);
    Ok(word.checked_shr(64 - count).unwrap_or(0))
}

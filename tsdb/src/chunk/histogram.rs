//! Histogram chunks (encodings 2 and 3, with start timestamps 5 and 6): native histograms of one layout, each number as
//! its change.
//!
//! One code for both kinds: what differs between integer and float numbers is [`Field`]. Layout: `docs/formats/chunk.md`.
//! A chunk holds histograms of one schema, zero threshold and set of buckets, without a counter reset between them;
//! whatever breaks that opens a new chunk, whose header says why. Only buckets that appear do not: an open chunk is
//! encoded anew with them.

pub(super) mod field;
mod layout;
mod widen;

use model::histogram::{BucketNumber, Histogram, ResetHint};
use model::sample::is_stale;

use super::bits::{BitReader, BitWriter};
use super::start::Starts;
use super::xor::{COUNT_BYTES, XorState, sample_count};
use super::{ChunkError, Stamp};
use field::{Field, read_varbit_int, write_varbit_int};

/// Bytes before the bit stream: sample count and flags.
const HEADER_BYTES: usize = COUNT_BYTES + 1;
/// Where in the header the flags stand, or, in a chunk with start timestamps, the byte about these.
const FLAGS_AT: usize = COUNT_BYTES;
/// The two bits of the flags that tell of counter resets. A chunk with start timestamps has them above its count.
const RESET_MASK: u8 = 0b1100_0000;
/// The bits of the count of a chunk with start timestamps.
const STARTED_COUNT_MASK: u16 = 0x3fff;

/// A bucket's number that a chunk can hold.
pub(crate) trait BucketCode: BucketNumber<Count: Field> + Field + PartialOrd {
    /// Whether `count` is less than `than`.
    fn count_is_less(count: Self::Count, than: Self::Count) -> bool;

    /// Buckets as they stand in `length` of them, each at its place, those in between empty.
    fn spread(buckets: &[Self], places: &[usize], length: usize) -> Vec<Self>;
}

impl BucketCode for i64 {
    fn count_is_less(count: u64, than: u64) -> bool {
        count < than
    }

    fn spread(buckets: &[i64], places: &[usize], length: usize) -> Vec<i64> {
        // As counts, then as differences again.
        let mut spread = vec![0i64; length];
        let mut count = 0i64;
        for (bucket, place) in buckets.iter().zip(places) {
            count = count.wrapping_add(*bucket);
            spread[*place] = count;
        }
        let mut previous = 0;
        for bucket in &mut spread {
            (previous, *bucket) = (*bucket, bucket.wrapping_sub(previous));
        }
        spread
    }
}

impl BucketCode for f64 {
    fn count_is_less(count: f64, than: f64) -> bool {
        count < than
    }

    fn spread(buckets: &[f64], places: &[usize], length: usize) -> Vec<f64> {
        let mut spread = vec![0.0; length];
        buckets.iter().zip(places).for_each(|(bucket, place)| spread[*place] = *bucket);
        spread
    }
}

/// An open histogram chunk.
#[derive(Debug, Clone)]
pub(crate) struct HistogramAppender<B: BucketCode> {
    writer: BitWriter,
    last_time: i64,
    time_delta: i64,
    /// The last sample; without buckets if it was a stale marker.
    last: Histogram<B>,
    numbers: Numbers<B>,
    /// In a chunk with start timestamps.
    starts: Option<Starts>,
}

/// What writing or reading the next histogram needs to know of the last one.
#[derive(Debug, Clone)]
struct Numbers<B: BucketCode> {
    count: <B::Count as Field>::Track,
    zero_count: <B::Count as Field>::Track,
    sum: XorState,
    /// Positive, then negative buckets.
    buckets: Vec<<B as Field>::Track>,
}

fn bare_if_stale<B: BucketCode>(histogram: &Histogram<B>) -> Histogram<B> {
    if is_stale(histogram.sum) {
        return Histogram { sum: histogram.sum, reset_hint: histogram.reset_hint, ..Histogram::default() };
    }
    histogram.clone()
}

impl<B: BucketCode> HistogramAppender<B> {
    /// Opens a chunk with its first sample; `before` is the chunk it follows. It keeps start timestamps if the first
    /// sample has one.
    pub(crate) fn starting_with(stamp: impl Into<Stamp>, histogram: &Histogram<B>, before: Option<&Self>) -> Self {
        let Stamp { time, start } = stamp.into();
        let first = bare_if_stale(histogram);
        let flags = flags_of(&first, before);
        let header = if start == 0 { vec![0, 1, flags] } else { vec![flags, 1, 0] };
        let mut writer = BitWriter::after(header);
        layout::write(&mut writer, &first);
        write_varbit_int(&mut writer, time);
        let count = first.count.write_first(&mut writer);
        let zero_count = first.zero_count.write_first(&mut writer);
        writer.write(first.sum.to_bits(), 64);
        let buckets = first.positive.iter().chain(&first.negative).map(|b| b.write_first(&mut writer)).collect();
        let numbers = Numbers { count, zero_count, sum: XorState::starting_at(first.sum), buckets };
        let starts = (start != 0).then(|| {
            let mut starts = Starts::default();
            starts.write_first(&mut writer, time, start);
            writer.bytes_mut()[FLAGS_AT] = starts.header();
            starts
        });
        Self { writer, last_time: time, time_delta: 0, last: first, numbers, starts }
    }

    /// Whether it keeps start timestamps.
    pub(crate) fn keeps_starts(&self) -> bool {
        self.starts.is_some()
    }

    /// How many samples it holds.
    pub(crate) fn count(&self) -> u16 {
        count_of(self.bytes(), self.keeps_starts())
    }

    /// Whether the histogram can follow in this chunk.
    pub(crate) fn takes(&self, histogram: &Histogram<B>) -> bool {
        let gauge = histogram.reset_hint == ResetHint::Gauge;
        if gauge != self.is_gauge() || histogram.reset_hint == ResetHint::Reset {
            return false;
        }
        if is_stale(histogram.sum) || is_stale(self.last.sum) {
            return is_stale(histogram.sum);
        }
        layout::same(&self.last, histogram) && (gauge || !self.falls_to(histogram))
    }

    /// Appends a histogram that the chunk takes.
    pub(crate) fn append(&mut self, stamp: impl Into<Stamp>, histogram: &Histogram<B>) {
        let Stamp { time, start } = stamp.into();
        let (count, ahead_time) = (self.count(), self.last_time);
        let delta = time.wrapping_sub(self.last_time);
        write_varbit_int(&mut self.writer, delta.wrapping_sub(self.time_delta));
        (self.last_time, self.time_delta) = (time, delta);
        if is_stale(histogram.sum) {
            // Both counts stay as they are; nothing but stale markers follows in this chunk.
            self.writer.write(0, 2);
            self.numbers.sum.write(&mut self.writer, histogram.sum);
            self.last = bare_if_stale(histogram);
        } else {
            histogram.count.write_next(&mut self.numbers.count, &mut self.writer);
            histogram.zero_count.write_next(&mut self.numbers.zero_count, &mut self.writer);
            self.numbers.sum.write(&mut self.writer, histogram.sum);
            let buckets = histogram.positive.iter().chain(&histogram.negative);
            for (bucket, track) in buckets.zip(&mut self.numbers.buckets) {
                bucket.write_next(track, &mut self.writer);
            }
            self.last.clone_from(histogram);
        }
        let mut head = count + 1;
        if let Some(starts) = &mut self.starts {
            starts.write_next(&mut self.writer, count, ahead_time, start);
            let bytes = self.writer.bytes_mut();
            bytes[FLAGS_AT] = starts.header();
            head |= u16::from(bytes[0] & RESET_MASK) << 8;
        }
        self.writer.bytes_mut()[..COUNT_BYTES].copy_from_slice(&head.to_be_bytes());
    }

    fn flags(&self) -> u8 {
        let at = if self.keeps_starts() { 0 } else { FLAGS_AT };
        self.bytes().get(at).map_or(0, |flags| flags & RESET_MASK)
    }

    fn is_gauge(&self) -> bool {
        hint_of(self.flags()) == ResetHint::Gauge
    }

    /// Whether a count of the next histogram of the same layout is below the last one's: the counter was reset.
    fn falls_to(&self, next: &Histogram<B>) -> bool {
        let falls = |last: &[B], next: &[B]| {
            let (mut a, mut b) = (0.0, 0.0);
            last.iter().zip(next).any(|(last, next)| {
                (a, b) = (last.absolute(a), next.absolute(b));
                b < a
            })
        };
        B::count_is_less(next.count, self.last.count)
            || B::count_is_less(next.zero_count, self.last.zero_count)
            || falls(&self.last.positive, &next.positive)
            || falls(&self.last.negative, &next.negative)
    }

    pub(crate) fn last(&self) -> &Histogram<B> {
        &self.last
    }

    pub(crate) fn last_time(&self) -> i64 {
        self.last_time
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.writer.into_bytes()
    }
}

/// The header's flags: whether the counters were reset between the chunk before and this one.
fn flags_of<B: BucketCode>(first: &Histogram<B>, before: Option<&HistogramAppender<B>>) -> u8 {
    let hint = match (first.reset_hint, before) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        (ResetHint::Reset, _) => ResetHint::Reset,
        (_, Some(before)) if before.is_gauge() || is_stale(before.last.sum) || is_stale(first.sum) => {
            ResetHint::Unknown
        }
        (_, Some(before)) if B::count_is_less(first.count, before.last.count) => ResetHint::Reset,
        (_, Some(before)) if !layout::same(&before.last, first) => ResetHint::Unknown,
        (_, Some(before)) if before.falls_to(first) => ResetHint::Reset,
        (_, Some(_)) => ResetHint::NotReset,
        (_, None) => ResetHint::Unknown,
    };
    match hint {
        ResetHint::Unknown => 0b0000_0000,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    }
}

fn hint_of(flags: u8) -> ResetHint {
    match flags & RESET_MASK {
        0b0100_0000 => ResetHint::NotReset,
        0b1000_0000 => ResetHint::Reset,
        0b1100_0000 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// The hint of the `index`-th histogram read from a chunk. Even a chunk without a reset before it begins with "unknown":
/// the chunk it followed may be gone.
fn hint_at(flags: u8, index: usize) -> ResetHint {
    match hint_of(flags) {
        ResetHint::Gauge => ResetHint::Gauge,
        _ if index > 0 => ResetHint::NotReset,
        ResetHint::Reset => ResetHint::Reset,
        _ => ResetHint::Unknown,
    }
}

/// How many samples a chunk with or without start timestamps holds.
pub(crate) fn count_of(bytes: &[u8], has_starts: bool) -> u16 {
    sample_count(bytes) & if has_starts { STARTED_COUNT_MASK } else { u16::MAX }
}

/// Hands the first `count` histograms of a chunk to `push`.
///
/// # Errors
/// If the bytes are no such chunk; what was pushed before is right.
pub(crate) fn decode<B: BucketCode>(
    bytes: &[u8],
    count: usize,
    mut push: impl FnMut(i64, Histogram<B>),
) -> Result<(), ChunkError> {
    decode_any(bytes, count, false, |stamp, histogram| push(stamp.time, histogram))
}

/// As [`decode`], for a chunk with start timestamps.
pub(crate) fn decode_started<B: BucketCode>(
    bytes: &[u8],
    count: usize,
    push: impl FnMut(Stamp, Histogram<B>),
) -> Result<(), ChunkError> {
    decode_any(bytes, count, true, push)
}

fn decode_any<B: BucketCode>(
    bytes: &[u8],
    count: usize,
    has_starts: bool,
    mut push: impl FnMut(Stamp, Histogram<B>),
) -> Result<(), ChunkError> {
    let count = count.min(usize::from(count_of(bytes, has_starts)));
    if count == 0 {
        return Ok(());
    }
    let header = *bytes.get(FLAGS_AT).ok_or(ChunkError::Truncated)?;
    let (flags, mut starts) =
        if has_starts { (bytes[0], Starts::of_header(header)) } else { (header, Starts::default()) };
    let mut reader = BitReader::new(&bytes[HEADER_BYTES..]);
    let mut histogram: Histogram<B> = layout::read(&mut reader)?;
    let mut time = read_varbit_int(&mut reader)?;
    let mut numbers = read_first(&mut reader, &mut histogram)?;
    let mut start = starts.read_first(&mut reader, time)?;
    let mut delta = 0i64;
    for index in 0..count {
        if index > 0 {
            let ahead_time = time;
            delta = delta.wrapping_add(read_varbit_int(&mut reader)?);
            time = time.wrapping_add(delta);
            read_next(&mut reader, &mut numbers, &mut histogram)?;
            start = starts.read_next(&mut reader, index, ahead_time)?;
        }
        histogram.reset_hint = hint_at(flags, index);
        push(Stamp { time, start }, bare_if_stale(&histogram));
    }
    Ok(())
}

fn read_first<B: BucketCode>(
    reader: &mut BitReader<'_>,
    histogram: &mut Histogram<B>,
) -> Result<Numbers<B>, ChunkError> {
    let count = B::Count::read_first(reader)?;
    let zero_count = B::Count::read_first(reader)?;
    histogram.sum = f64::from_bits(reader.read(64));
    reader.check()?;
    let length = histogram.positive.len() + histogram.negative.len();
    let mut buckets = Vec::with_capacity(length);
    for _ in 0..length {
        buckets.push(B::read_first(reader)?);
    }
    let numbers = Numbers { count, zero_count, sum: XorState::starting_at(histogram.sum), buckets };
    fill(&numbers, histogram);
    Ok(numbers)
}

fn read_next<B: BucketCode>(
    reader: &mut BitReader<'_>,
    numbers: &mut Numbers<B>,
    histogram: &mut Histogram<B>,
) -> Result<(), ChunkError> {
    B::Count::read_next(reader, &mut numbers.count)?;
    B::Count::read_next(reader, &mut numbers.zero_count)?;
    histogram.sum = numbers.sum.read(reader)?;
    reader.check()?;
    if !is_stale(histogram.sum) {
        for track in &mut numbers.buckets {
            B::read_next(reader, track)?;
        }
        fill(numbers, histogram);
    }
    Ok(())
}

fn fill<B: BucketCode>(numbers: &Numbers<B>, histogram: &mut Histogram<B>) {
    histogram.count = B::Count::of(&numbers.count);
    histogram.zero_count = B::Count::of(&numbers.zero_count);
    let buckets = histogram.positive.iter_mut().chain(&mut histogram.negative);
    for (bucket, track) in buckets.zip(&numbers.buckets) {
        *bucket = B::of(track);
    }
}

#[cfg(test)]
mod tests;

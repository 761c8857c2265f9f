//! Histogram chunks (encodings 2 and 3): native histograms of one layout, each number as its change.
//!
//! One code for both kinds: what differs between integer and float numbers is [`Field`]. Layout: `docs/formats/chunk.md`.
//! A chunk holds histograms of one schema, zero threshold and set of buckets, without a counter reset between them;
//! whatever breaks that opens a new chunk, whose header says why.

mod field;
mod layout;

use model::histogram::{BucketNumber, Histogram, ResetHint};
use model::sample::is_stale;

use super::ChunkError;
use super::bits::{BitReader, BitWriter};
use super::xor::{COUNT_BYTES, XorState, sample_count};
use field::{Field, read_varbit_int, write_varbit_int};

/// Bytes before the bit stream: sample count and flags.
const HEADER_BYTES: usize = COUNT_BYTES + 1;
/// Where in the header the flags stand.
const FLAGS_AT: usize = COUNT_BYTES;
/// The two bits of the flags that tell of counter resets.
const RESET_MASK: u8 = 0b1100_0000;

/// A bucket's number that a chunk can hold.
pub(crate) trait BucketCode: BucketNumber<Count: Field> + Field + PartialOrd {
    /// Whether `count` is less than `than`.
    fn count_is_less(count: Self::Count, than: Self::Count) -> bool;
}

impl BucketCode for i64 {
    fn count_is_less(count: u64, than: u64) -> bool {
        count < than
    }
}

impl BucketCode for f64 {
    fn count_is_less(count: f64, than: f64) -> bool {
        count < than
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
    /// Opens a chunk with its first sample; `before` is the chunk it follows.
    pub(crate) fn starting_with(time: i64, histogram: &Histogram<B>, before: Option<&Self>) -> Self {
        let first = bare_if_stale(histogram);
        let flags = flags_of(&first, before);
        let mut writer = BitWriter::after(vec![0, 1, flags]);
        layout::write(&mut writer, &first);
        write_varbit_int(&mut writer, time);
        let count = first.count.write_first(&mut writer);
        let zero_count = first.zero_count.write_first(&mut writer);
        writer.write(first.sum.to_bits(), 64);
        let buckets = first.positive.iter().chain(&first.negative).map(|b| b.write_first(&mut writer)).collect();
        let numbers = Numbers { count, zero_count, sum: XorState::starting_at(first.sum), buckets };
        Self { writer, last_time: time, time_delta: 0, last: first, numbers }
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
    pub(crate) fn append(&mut self, time: i64, histogram: &Histogram<B>) {
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
        let count = sample_count(self.writer.bytes()) + 1;
        self.writer.bytes_mut()[..COUNT_BYTES].copy_from_slice(&count.to_be_bytes());
    }

    fn is_gauge(&self) -> bool {
        self.writer.bytes().get(FLAGS_AT).is_some_and(|flags| hint_of(*flags) == ResetHint::Gauge)
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

/// Hands the first `count` histograms of a chunk to `push`.
///
/// # Errors
/// If the bytes are no such chunk; what was pushed before is right.
pub(crate) fn decode<B: BucketCode>(
    bytes: &[u8],
    count: usize,
    mut push: impl FnMut(i64, Histogram<B>),
) -> Result<(), ChunkError> {
    let count = count.min(usize::from(sample_count(bytes)));
    if count == 0 {
        return Ok(());
    }
    let flags = *bytes.get(FLAGS_AT).ok_or(ChunkError::Truncated)?;
    let mut reader = BitReader::new(&bytes[HEADER_BYTES..]);
    let mut histogram: Histogram<B> = layout::read(&mut reader)?;
    let mut time = read_varbit_int(&mut reader)?;
    let mut numbers = read_first(&mut reader, &mut histogram)?;
    let mut delta = 0i64;
    for index in 0..count {
        if index > 0 {
            delta = delta.wrapping_add(read_varbit_int(&mut reader)?);
            time = time.wrapping_add(delta);
            read_next(&mut reader, &mut numbers, &mut histogram)?;
        }
        histogram.reset_hint = hint_at(flags, index);
        push(time, bare_if_stale(&histogram));
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

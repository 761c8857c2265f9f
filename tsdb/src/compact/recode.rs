//! Chunks that do not go into a block as they are: cut at a time, with deleted ranges, or overlapping others.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::storage::Columns;

use crate::block::builder::{EncodedChunk, SeriesChunks};
use crate::chunk::{self, ChunkError, Encoding, OpenChunk, Stamp, histogram};
use crate::head::reader::TimeRange;
use crate::tombstones::Interval;
use crate::wal::record::SampleValue;

/// Samples of a chunk written here at least, if there are so many, and less than twice as many.
const CHUNK_SAMPLES: u16 = 120;
/// Bytes after which a chunk of histograms is full, if it has some samples.
const HISTOGRAM_BYTES: usize = 1024;
const HISTOGRAM_SAMPLES_MIN: u16 = 10;

type Sample = (Stamp, SampleValue);

/// A chunk to put into a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkToPut<'a> {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) encoding: Encoding,
    pub(crate) data: &'a [u8],
    /// How many of its samples are wanted at most, from the first on.
    pub(crate) seen: usize,
}

/// What of a series is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut<'a> {
    pub(crate) range: TimeRange,
    pub(crate) deleted: &'a [Interval],
}

impl Cut<'_> {
    fn keeps(&self, time: i64) -> bool {
        let is_deleted = self.deleted.iter().any(|i| i.min_time <= time && time <= i.max_time);
        self.range.min <= time && time <= self.range.max && !is_deleted
    }
}

/// Puts what is wanted of a chunk: as it is if that is all of it, else encoded anew.
pub(crate) fn put(chunk: ChunkToPut<'_>, cut: &Cut<'_>, out: &mut SeriesChunks) -> Result<(), ChunkError> {
    let ChunkToPut { min_time, max_time, encoding, data, seen } = chunk;
    let covers = |i: &Interval| i.min_time <= min_time && max_time <= i.max_time;
    if min_time > cut.range.max || max_time < cut.range.min || cut.deleted.iter().any(covers) {
        return Ok(());
    }
    let meets = |i: &Interval| i.min_time <= max_time && min_time <= i.max_time;
    let is_whole = cut.range.min <= min_time && max_time <= cut.range.max && !cut.deleted.iter().any(meets);
    if is_whole && seen >= usize::from(encoding.sample_count(data)) {
        out.push(min_time, max_time, encoding, data);
        return Ok(());
    }
    let mut samples = Vec::new();
    decode(encoding, data, seen, &mut samples)?;
    let mut follows_kept = true;
    samples.retain_mut(|(stamp, value)| {
        let is_kept = cut.keeps(stamp.time);
        if is_kept && !follows_kept {
            forget_reset(value);
        }
        follows_kept = is_kept;
        is_kept
    });
    encode(&samples, out);
    Ok(())
}

/// A chunk among others of its series.
struct Member<'a> {
    /// Its place in the order the chunks came.
    order: usize,
    chunk: &'a EncodedChunk,
    data: &'a [u8],
}

/// Orders chunks by time, and encodes those anew that overlap. Of two samples at one time, that of the chunk that came
/// first stays. Whether any overlapped.
pub(crate) fn resolve_overlaps(chunks: &mut SeriesChunks) -> Result<bool, ChunkError> {
    let is_apart = |members: &[Member<'_>]| members.windows(2).all(|w| w[0].chunk.max_time < w[1].chunk.min_time);
    let numbered = chunks.iter().enumerate();
    let mut members: Vec<_> = numbered.map(|(order, (chunk, data))| Member { order, chunk, data }).collect();
    if is_apart(&members) {
        return Ok(false);
    }
    members.sort_by_key(|member| member.chunk.min_time);
    let is_only_unsorted = is_apart(&members);
    let mut resolved = SeriesChunks::default();
    let mut from = 0;
    while from < members.len() {
        let mut end = from + 1;
        let mut reached = members[from].chunk.max_time;
        while members.get(end).is_some_and(|member| member.chunk.min_time <= reached) {
            reached = reached.max(members[end].chunk.max_time);
            end += 1;
        }
        put_group(&mut members[from..end], &mut resolved)?;
        from = end;
    }
    *chunks = resolved;
    Ok(!is_only_unsorted)
}

fn put_group(group: &mut [Member<'_>], out: &mut SeriesChunks) -> Result<(), ChunkError> {
    if let [Member { chunk, data, .. }] = group {
        out.push(chunk.min_time, chunk.max_time, chunk.encoding, data);
        return Ok(());
    }
    group.sort_by_key(|member| member.order);
    let mut samples = Vec::new();
    for member in group.iter() {
        decode(member.chunk.encoding, member.data, usize::MAX, &mut samples)?;
    }
    // Stable: of equal times the first chunk's comes first.
    samples.sort_by_key(|(stamp, _)| stamp.time);
    samples.dedup_by_key(|(stamp, _)| stamp.time);
    samples.iter_mut().for_each(|(_, value)| forget_reset(value));
    encode(&samples, out);
    Ok(())
}

/// What a sample told of its predecessor no longer holds: it has another one.
fn forget_reset(value: &mut SampleValue) {
    match value {
        SampleValue::Int(histogram) if histogram.reset_hint != ResetHint::Gauge => {
            Arc::make_mut(histogram).reset_hint = ResetHint::Unknown;
        }
        SampleValue::FloatHistogram(histogram) if histogram.reset_hint != ResetHint::Gauge => {
            Arc::make_mut(histogram).reset_hint = ResetHint::Unknown;
        }
        _ => {}
    }
}

/// Appends the first `count` samples of a chunk, whose times must rise.
pub(crate) fn decode(
    encoding: Encoding,
    data: &[u8],
    count: usize,
    samples: &mut Vec<Sample>,
) -> Result<(), ChunkError> {
    let from = samples.len();
    let mut push_int = |stamp: Stamp, histogram| samples.push((stamp, SampleValue::Int(Arc::new(histogram))));
    match encoding {
        Encoding::Xor | Encoding::Xor2 => {
            let mut columns = Columns::default();
            chunk::decode(encoding, data, count, &mut columns)?;
            let stamp = |at: usize| Stamp { time: columns.timestamps[at], start: columns.start_at(at) };
            samples.extend((0..columns.len()).map(|at| (stamp(at), SampleValue::Float(columns.values[at]))));
        }
        Encoding::Histogram => histogram::decode::<i64>(data, count, |time, h| push_int(time.into(), h))?,
        Encoding::StartedHistogram => histogram::decode_started::<i64>(data, count, push_int)?,
        Encoding::FloatHistogram => histogram::decode::<f64>(data, count, |time, histogram| {
            samples.push((time.into(), SampleValue::FloatHistogram(Arc::new(histogram))));
        })?,
        Encoding::StartedFloatHistogram => histogram::decode_started::<f64>(data, count, |stamp, histogram| {
            samples.push((stamp, SampleValue::FloatHistogram(Arc::new(histogram))));
        })?,
    }
    if samples[from..].windows(2).any(|pair| pair[0].0.time >= pair[1].0.time) {
        return Err(ChunkError::Order);
    }
    Ok(())
}

/// How many samples a chunk takes if so many are written: of even length, so that no short one is left at the end.
fn samples_per_chunk(samples: usize) -> u16 {
    let chunks = (samples / usize::from(CHUNK_SAMPLES)).max(1);
    // Below twice that number.
    samples.div_ceil(chunks) as u16
}

/// Encodes samples, whose times rise, in as many chunks as they need.
pub(crate) fn encode(samples: &[Sample], out: &mut SeriesChunks) {
    let limit = samples_per_chunk(samples.len());
    let mut open: Option<(i64, OpenChunk)> = None;
    for (stamp, value) in samples {
        match &mut open {
            Some((_, chunk)) if takes(chunk, limit, *stamp, value) => chunk.append(*stamp, value.as_ref()),
            before => {
                let next = OpenChunk::starting_with(*stamp, value.as_ref(), before.as_ref().map(|(_, chunk)| chunk));
                if let Some((min_time, full)) = before.replace((stamp.time, next)) {
                    out.push(min_time, full.last_time(), full.encoding(), full.bytes());
                }
            }
        }
    }
    if let Some((min_time, last)) = open {
        out.push(min_time, last.last_time(), last.encoding(), last.bytes());
    }
}

fn takes(chunk: &OpenChunk, limit: u16, stamp: Stamp, value: &SampleValue) -> bool {
    let count = chunk.count();
    let is_full = match chunk {
        OpenChunk::Xor(_) | OpenChunk::Xor2(_) => count >= limit,
        _ => chunk.bytes().len() >= HISTOGRAM_BYTES && count >= HISTOGRAM_SAMPLES_MIN || count >= 2 * CHUNK_SAMPLES,
    };
    !is_full && (stamp.start == 0 || chunk.keeps_starts()) && chunk.takes(value.as_ref())
}

#[cfg(test)]
mod tests {
    use model::histogram::{IntHistogram, Span};

    use super::*;

    const ALL: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

    fn floats(times: impl Iterator<Item = i64>, value: f64) -> SeriesChunks {
        let samples: Vec<Sample> = times.map(|time| (time.into(), SampleValue::Float(value))).collect();
        let mut chunks = SeriesChunks::default();
        encode(&samples, &mut chunks);
        chunks
    }

    fn samples_of(chunks: &SeriesChunks) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (chunk, data) in chunks.iter() {
            let from = samples.len();
            decode(chunk.encoding, data, usize::MAX, &mut samples).unwrap();
            assert_eq!((samples[from].0.time, samples.last().unwrap().0.time), (chunk.min_time, chunk.max_time));
        }
        assert!(samples.is_sorted_by(|a, b| a.0.time < b.0.time));
        samples
    }

    fn put_all(chunks: &SeriesChunks, cut: &Cut<'_>, out: &mut SeriesChunks) {
        for (chunk, data) in chunks.iter() {
            let (min_time, max_time, encoding) = (chunk.min_time, chunk.max_time, chunk.encoding);
            put(ChunkToPut { min_time, max_time, encoding, data, seen: usize::MAX }, cut, out).unwrap();
        }
    }

    #[test]
    fn chunks_pass_whole_unless_something_is_cut_away() {
        let chunks = floats((0..360).map(|i| i * 10), 1.0);
        assert_eq!(chunks.len(), 3);
        let mut out = SeriesChunks::default();
        put_all(&chunks, &Cut { range: ALL, deleted: &[] }, &mut out);
        assert!(chunks.iter().zip(out.iter()).all(|(a, b)| a.1 == b.1));
        let deleted = [Interval { min_time: 1200, max_time: 2390 }, Interval { min_time: 2500, max_time: 2509 }];
        let mut out = SeriesChunks::default();
        put_all(&chunks, &Cut { range: TimeRange { min: 5, max: 2550 }, deleted: &deleted }, &mut out);
        let times: Vec<i64> = samples_of(&out).iter().map(|(stamp, _)| stamp.time).collect();
        let wanted = (1..=255).map(|i| i * 10).filter(|time| !(1200..2400).contains(time) && *time != 2500);
        assert_eq!(times, wanted.collect::<Vec<_>>());
    }

    #[test]
    fn overlapping_chunks_become_one_run_and_the_first_wins() {
        let mut chunks = floats((0..10).map(|i| i * 10), 1.0);
        for (chunk, data) in
            floats([200, 300].into_iter(), 5.0).iter().chain(floats((0..5).map(|i| i * 15), 2.0).iter())
        {
            chunks.push(chunk.min_time, chunk.max_time, chunk.encoding, data);
        }
        assert!(resolve_overlaps(&mut chunks).unwrap());
        let samples = samples_of(&chunks);
        let pairs = samples.iter().map(|(stamp, value)| match value {
            SampleValue::Float(value) => (stamp.time, *value),
            _ => panic!("a histogram"),
        });
        let expected: Vec<(i64, f64)> = [
            (0, 1.0),
            (10, 1.0),
            (15, 2.0),
            (20, 1.0),
            (30, 1.0),
            (40, 1.0),
            (45, 2.0),
            (50, 1.0),
            (60, 1.0),
            (70, 1.0),
            (80, 1.0),
            (90, 1.0),
            (200, 5.0),
            (300, 5.0),
        ]
        .into();
        assert_eq!(pairs.collect::<Vec<_>>(), expected);
        assert!(!resolve_overlaps(&mut chunks).unwrap());
    }

    #[test]
    fn integer_histograms_stay_integers_and_a_reset_behind_a_hole_is_seen() {
        let histogram = |count: u64| IntHistogram {
            schema: 1,
            count,
            sum: count as f64,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive: vec![count as i64],
            ..IntHistogram::default()
        };
        let sample = |time: i64, count| -> Sample { (time.into(), SampleValue::Int(Arc::new(histogram(count)))) };
        let mut chunks = SeriesChunks::default();
        encode(&[sample(0, 5), sample(10, 6), sample(20, 3), sample(30, 4)], &mut chunks);
        assert_eq!(chunks.len(), 2, "a reset opens a chunk");
        let mut out = SeriesChunks::default();
        let deleted = [Interval { min_time: 20, max_time: 20 }];
        put_all(&chunks, &Cut { range: ALL, deleted: &deleted }, &mut out);
        let hints: Vec<_> = samples_of(&out)
            .iter()
            .map(|(_, value)| match value {
                SampleValue::Int(histogram) => (histogram.count, histogram.reset_hint),
                _ => panic!("not an integer histogram"),
            })
            .collect();
        assert_eq!(hints, [(5, ResetHint::Unknown), (6, ResetHint::NotReset), (4, ResetHint::Unknown)]);
    }
}

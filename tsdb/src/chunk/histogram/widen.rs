//! Widening an open chunk: buckets that appear are added to each of its samples as empty ones, instead of opening a chunk
//! for every new set of buckets.

use model::histogram::{BucketNumber, Histogram, ResetHint, Span};
use model::sample::is_stale;

use super::{BucketCode, FLAGS_AT, HistogramAppender, RESET_MASK, decode_any};
use crate::chunk::Stamp;

/// Where the buckets of a layout stand among those of a wider one.
#[derive(Debug)]
struct Places {
    positive: Vec<usize>,
    negative: Vec<usize>,
}

impl Places {
    fn of<B: BucketNumber>(old: &Histogram<B>, new: &Histogram<B>) -> Option<Self> {
        let positive = places(&old.positive_spans, &new.positive_spans)?;
        let negative = places(&old.negative_spans, &new.negative_spans)?;
        Some(Self { positive, negative })
    }
}

/// Where each bucket of `old` stands among those of `new`; none if one is missing there.
fn places(old: &[Span], new: &[Span]) -> Option<Vec<usize>> {
    let mut wider = indexes(new).enumerate();
    indexes(old)
        .map(|index| wider.find(|(_, other)| *other >= index).filter(|(_, other)| *other == index))
        .map(|found| found.map(|(place, _)| place))
        .collect()
}

/// The indexes of the buckets that spans hold, rising.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    })
}

/// The histogram with the layout of `wide`.
fn widened<B: BucketCode>(histogram: &Histogram<B>, wide: &Histogram<B>, places: &Places) -> Histogram<B> {
    Histogram {
        positive_spans: wide.positive_spans.clone(),
        negative_spans: wide.negative_spans.clone(),
        positive: B::spread(&histogram.positive, &places.positive, wide.positive.len()),
        negative: B::spread(&histogram.negative, &places.negative, wide.negative.len()),
        custom_values: histogram.custom_values.clone(),
        ..*histogram
    }
}

impl<B: BucketCode> HistogramAppender<B> {
    /// This chunk with the buckets of `next` beside its own, so that it takes `next`; none if that is not all it needs.
    pub(crate) fn widened_for(&self, next: &Histogram<B>) -> Option<Self> {
        let is_gauge = next.reset_hint == ResetHint::Gauge;
        let differs_otherwise = self.last.schema != next.schema
            || self.last.zero_threshold.to_bits() != next.zero_threshold.to_bits()
            || self.last.custom_values != next.custom_values;
        let breaks = is_gauge != self.is_gauge() || next.reset_hint == ResetHint::Reset;
        if differs_otherwise || breaks || is_stale(next.sum) || is_stale(self.last.sum) {
            return None;
        }
        let places = Places::of(&self.last, next)?;
        let last = widened(&self.last, next, &places);
        let mut wide: Option<Self> = None;
        let push = |stamp: Stamp, histogram: Histogram<B>| {
            let histogram = widened(&histogram, next, &places);
            match &mut wide {
                None => wide = Some(Self::starting_with(stamp, &histogram, None)),
                Some(chunk) => chunk.append(stamp, &histogram),
            }
        };
        decode_any(self.bytes(), usize::MAX, self.keeps_starts(), push).ok()?;
        let mut wide = wide.filter(|wide| wide.count() == self.count())?;
        // The header says what was known of the chunk before this one.
        let at = if self.keeps_starts() { 0 } else { FLAGS_AT };
        let header = wide.writer.bytes_mut().get_mut(at)?;
        *header = *header & !RESET_MASK | self.flags();
        wide.last = last;
        wide.takes(next).then_some(wide)
    }
}

#[cfg(test)]
mod tests {
    use model::histogram::{FloatHistogram, IntHistogram};

    use super::*;
    use crate::chunk::histogram::{decode, decode_started};

    /// A histogram with so much in each bucket of those indexes.
    fn histogram(buckets: &[(i32, i64)], negative: &[(i32, i64)]) -> IntHistogram {
        let spans = |buckets: &[(i32, i64)]| -> (Vec<Span>, Vec<i64>) {
            let (mut end, mut last) = (0, 0);
            let pairs = buckets.iter().map(|(index, count)| {
                let span = Span { offset: index - end, length: 1 };
                let delta = count - last;
                (end, last) = (index + 1, *count);
                (span, delta)
            });
            pairs.unzip()
        };
        let (positive_spans, positive) = spans(buckets);
        let (negative_spans, negative_buckets) = spans(negative);
        let count = buckets.iter().chain(negative).map(|(_, count)| *count as u64).sum();
        let (schema, sum) = (1, count as f64);
        let negative = negative_buckets;
        IntHistogram {
            schema,
            count,
            sum,
            positive_spans,
            positive,
            negative_spans,
            negative,
            ..IntHistogram::default()
        }
    }

    /// What is in which bucket, empty ones left out.
    fn filled(histogram: &FloatHistogram) -> Vec<(i64, f64)> {
        let side = |spans: &[Span], buckets: &[f64]| -> Vec<(i64, f64)> {
            indexes(spans).zip(buckets.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
        };
        let mut all = side(&histogram.positive_spans, &histogram.positive);
        all.extend(side(&histogram.negative_spans, &histogram.negative));
        all
    }

    fn steps() -> Vec<IntHistogram> {
        vec![
            histogram(&[(3, 1)], &[]),
            histogram(&[(3, 2)], &[]),
            histogram(&[(-2, 1), (3, 2)], &[]),
            histogram(&[(-2, 1), (3, 2), (4, 7)], &[(0, 1)]),
            histogram(&[(-2, 1), (-1, 1), (3, 4), (4, 7), (9, 1)], &[(0, 2), (5, 1)]),
        ]
    }

    #[test]
    fn buckets_that_appear_go_into_the_same_chunk_and_every_sample_keeps_its_own() {
        for start in [0, -5] {
            let all = steps();
            let stamp = |at: usize| Stamp { time: at as i64 * 1000, start };
            let mut chunk = HistogramAppender::starting_with(stamp(0), &all[0], None);
            let mut floats = HistogramAppender::starting_with(stamp(0), &all[0].to_float(), None);
            let mut widened = 0;
            for (at, next) in all.iter().enumerate().skip(1) {
                if !chunk.takes(next) {
                    chunk = chunk.widened_for(next).expect("only buckets are new");
                    floats = floats.widened_for(&next.to_float()).expect("only buckets are new");
                    widened += 1;
                }
                chunk.append(stamp(at), next);
                floats.append(stamp(at), &next.to_float());
            }
            assert_eq!((widened, chunk.count(), floats.count()), (3, 5, 5));
            let (mut found, mut found_floats) = (Vec::new(), Vec::new());
            if start == 0 {
                decode::<i64>(chunk.bytes(), usize::MAX, |time, h| found.push((time, 0, h.to_float()))).unwrap();
                decode::<f64>(floats.bytes(), usize::MAX, |time, h| found_floats.push((time, 0, h))).unwrap();
            } else {
                decode_started::<i64>(chunk.bytes(), usize::MAX, |s, h| found.push((s.time, s.start, h.to_float())))
                    .unwrap();
                decode_started::<f64>(floats.bytes(), usize::MAX, |s, h| found_floats.push((s.time, s.start, h)))
                    .unwrap();
            }
            assert_eq!(found, found_floats);
            for (at, (time, found_start, histogram)) in found.iter().enumerate() {
                assert_eq!((*time, *found_start), (at as i64 * 1000, start));
                assert_eq!(filled(histogram), filled(&all[at].to_float()), "sample {at}");
                assert_eq!((histogram.count, histogram.sum), (all[at].count as f64, all[at].sum));
            }
        }
    }

    #[test]
    fn what_is_more_than_new_buckets_opens_a_chunk() {
        let first = histogram(&[(3, 5)], &[]);
        let chunk = HistogramAppender::starting_with(0, &first, None);
        let refused = [
            histogram(&[(4, 9)], &[]),
            histogram(&[(3, 4), (4, 9)], &[]),
            IntHistogram { schema: 2, ..histogram(&[(3, 5), (4, 9)], &[]) },
            IntHistogram { reset_hint: ResetHint::Reset, ..histogram(&[(3, 5), (4, 9)], &[]) },
            IntHistogram { reset_hint: ResetHint::Gauge, ..histogram(&[(3, 5), (4, 9)], &[]) },
            IntHistogram { sum: model::sample::STALE_NAN, ..IntHistogram::default() },
        ];
        for next in &refused {
            assert!(chunk.widened_for(next).is_none(), "{next:?}");
        }
        let gauge = |h| IntHistogram { reset_hint: ResetHint::Gauge, ..h };
        let chunk = HistogramAppender::starting_with(0, &gauge(first), None);
        let wide = chunk.widened_for(&gauge(histogram(&[(3, 1), (4, 9)], &[]))).expect("gauges may fall");
        assert!(wide.is_gauge());
    }
}

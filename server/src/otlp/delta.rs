//! Deltas added up: what counts from one point to the next becomes what counts from a beginning on, remembered by series
//! (feature `otlp-deltatocumulative`).

use std::collections::HashMap;

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint};

use super::histogram::merged;

/// Series that are remembered; points of further ones are refused.
pub const STREAMS_MAX: usize = 1_000_000;
/// A series without points for that long begins anew, in ms.
const STALE_MS: i64 = 5 * 60 * 1000;
/// Buckets of a sum, beyond which it gets coarser.
const BUCKETS_MAX: i64 = 160;

/// A data point that can be added to the one before.
pub(super) trait Accumulate: Clone + Into<Sum> {
    /// `(start, time)` in ns.
    fn times(&self) -> (u64, u64);
    /// Adds this point to the sum so far, and makes it the sum.
    fn add_to(&mut self, before: &Self);
    fn set_start(&mut self, start: u64);
    fn of(sum: &Sum) -> Option<&Self>;
}

/// A sum so far.
#[derive(Debug, Clone)]
pub(super) enum Sum {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
}

#[derive(Debug)]
struct Stream {
    sum: Sum,
    seen_ms: i64,
}

/// All series that send deltas.
#[derive(Debug, Default)]
pub struct DeltaState {
    streams: HashMap<Box<[u8]>, Stream>,
    pruned_ms: i64,
}

impl DeltaState {
    /// Adds a point of the series with these packed labels; the point is cumulative then.
    ///
    /// # Errors
    /// If it is older than what was added before, or too many series are remembered.
    pub(super) fn accumulate<P: Accumulate>(
        &mut self,
        series: &[u8],
        point: &mut P,
        now_ms: i64,
    ) -> Result<(), String> {
        if now_ms - self.pruned_ms > STALE_MS {
            self.pruned_ms = now_ms;
            self.streams.retain(|_, stream| now_ms - stream.seen_ms <= STALE_MS);
        }
        if let Some(stream) = self.streams.get_mut(series)
            && let Some(before) = P::of(&stream.sum)
        {
            let ((start, time), (first, last)) = (point.times(), before.times());
            if time <= last || (start != 0 && start < first) {
                return Err(format!("out of order delta: at {time} ns, after one at {last} ns"));
            }
            point.add_to(before);
            point.set_start(first);
            *stream = Stream { sum: point.clone().into(), seen_ms: now_ms };
            return Ok(());
        }
        if self.streams.len() >= STREAMS_MAX {
            return Err(format!("more than {STREAMS_MAX} series send deltas"));
        }
        self.streams.insert(series.into(), Stream { sum: point.clone().into(), seen_ms: now_ms });
        Ok(())
    }
}

impl From<NumberDataPoint> for Sum {
    fn from(point: NumberDataPoint) -> Self {
        Sum::Number(point)
    }
}

impl From<HistogramDataPoint> for Sum {
    fn from(point: HistogramDataPoint) -> Self {
        Sum::Histogram(point)
    }
}

impl From<ExponentialHistogramDataPoint> for Sum {
    fn from(point: ExponentialHistogramDataPoint) -> Self {
        Sum::Exponential(point)
    }
}

impl Accumulate for NumberDataPoint {
    fn times(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn add_to(&mut self, before: &Self) {
        self.value = match (self.value, before.value) {
            (Some(Value::AsInt(a)), Some(Value::AsInt(b))) => Some(Value::AsInt(a.saturating_add(b))),
            (Some(a), Some(b)) => Some(Value::AsDouble(float(a) + float(b))),
            (a, b) => a.or(b),
        };
    }

    fn set_start(&mut self, start: u64) {
        self.start_time_unix_nano = start;
    }

    fn of(sum: &Sum) -> Option<&Self> {
        match sum {
            Sum::Number(point) => Some(point),
            _ => None,
        }
    }
}

/// The value as a float.
pub(super) fn float(value: Value) -> f64 {
    match value {
        Value::AsDouble(value) => value,
        Value::AsInt(value) => value as f64,
    }
}

fn add_sums(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

impl Accumulate for HistogramDataPoint {
    fn times(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn add_to(&mut self, before: &Self) {
        // Other bounds: counting begins anew, as after a restart.
        if self.explicit_bounds != before.explicit_bounds || self.bucket_counts.len() != before.bucket_counts.len() {
            return;
        }
        self.count = self.count.saturating_add(before.count);
        self.sum = add_sums(self.sum, before.sum);
        let counts = self.bucket_counts.iter_mut().zip(&before.bucket_counts);
        counts.for_each(|(count, before)| *count = count.saturating_add(*before));
    }

    fn set_start(&mut self, start: u64) {
        self.start_time_unix_nano = start;
    }

    fn of(sum: &Sum) -> Option<&Self> {
        match sum {
            Sum::Histogram(point) => Some(point),
            _ => None,
        }
    }
}

impl Accumulate for ExponentialHistogramDataPoint {
    fn times(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn add_to(&mut self, before: &Self) {
        self.count = self.count.saturating_add(before.count);
        self.zero_count = self.zero_count.saturating_add(before.zero_count);
        self.sum = add_sums(self.sum, before.sum);
        let mut scale = self.scale.min(before.scale);
        // Coarser until both sides have room.
        loop {
            let side = |own: &Option<Buckets>, other: &Option<Buckets>| {
                let parts = [(own, self.scale - scale), (other, before.scale - scale)];
                added(parts.map(|(buckets, down)| rescaled(buckets.as_ref(), down.min(31))))
            };
            let (positive, negative) = (side(&self.positive, &before.positive), side(&self.negative, &before.negative));
            let is_narrow = |buckets: &Buckets| buckets.bucket_counts.len() as i64 <= BUCKETS_MAX;
            if (is_narrow(&positive) && is_narrow(&negative)) || scale <= i32::MIN + 1 {
                (self.scale, self.positive, self.negative) = (scale, Some(positive), Some(negative));
                return;
            }
            scale -= 1;
        }
    }

    fn set_start(&mut self, start: u64) {
        self.start_time_unix_nano = start;
    }

    fn of(sum: &Sum) -> Option<&Self> {
        match sum {
            Sum::Exponential(point) => Some(point),
            _ => None,
        }
    }
}

fn rescaled(buckets: Option<&Buckets>, down: i32) -> Vec<(i64, u64)> {
    buckets.map(|buckets| merged(&buckets.bucket_counts, i64::from(buckets.offset), down)).unwrap_or_default()
}

/// Both sides' buckets in one, dense.
fn added(sides: [Vec<(i64, u64)>; 2]) -> Buckets {
    let all = || sides.iter().flatten().filter(|(_, count)| *count != 0);
    let (Some(first), Some(last)) = (all().map(|(i, _)| *i).min(), all().map(|(i, _)| *i).max()) else {
        return Buckets::default();
    };
    // Wider than any limit: whoever asks scales down further.
    let length = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    if length as i64 > BUCKETS_MAX {
        return Buckets { offset: 0, bucket_counts: vec![0; BUCKETS_MAX as usize + 1] };
    }
    let mut counts = vec![0_u64; length];
    for &(index, count) in all() {
        let at = (index - first) as usize;
        counts[at] = counts[at].saturating_add(count);
    }
    Buckets { offset: i32::try_from(first).unwrap_or(0), bucket_counts: counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_by_series() {
        let mut state = DeltaState::default();
        let point = |start, time, value| NumberDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: time,
            value: Some(Value::AsInt(value)),
            ..NumberDataPoint::default()
        };
        let mut add = |series: &[u8], mut point: NumberDataPoint, now| {
            state.accumulate(series, &mut point, now).map(|()| (point.start_time_unix_nano, point.value.map(float)))
        };
        assert_eq!(add(b"a", point(1, 10, 5), 0), Ok((1, Some(5.0))));
        assert_eq!(add(b"a", point(10, 20, 7), 0), Ok((1, Some(12.0))));
        assert_eq!(add(b"b", point(10, 20, 1), 0), Ok((10, Some(1.0))));
        assert!(add(b"a", point(10, 20, 7), 0).unwrap_err().contains("out of order"));
        assert_eq!(add(b"a", point(600, 700, 2), STALE_MS * 2), Ok((600, Some(2.0))), "begins anew");
    }

    #[test]
    fn exponential_histograms_add_up_at_the_coarser_scale() {
        let point = |time, scale, offset, counts: &[u64]| ExponentialHistogramDataPoint {
            time_unix_nano: time,
            scale,
            count: counts.iter().sum(),
            sum: Some(1.0),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..ExponentialHistogramDataPoint::default()
        };
        let mut state = DeltaState::default();
        let mut first = point(1, 2, 0, &[1, 2, 3, 4]);
        state.accumulate(b"h", &mut first, 0).unwrap();
        let mut second = point(2, 1, 1, &[10, 0, 5]);
        state.accumulate(b"h", &mut second, 0).unwrap();
        let positive = second.positive.unwrap();
        assert_eq!((second.scale, second.count, second.sum), (1, 25, Some(2.0)));
        assert_eq!((positive.offset, &positive.bucket_counts[..]), (0, &[3, 17, 0, 5][..]));
        // Far apart: scaled down until both have room.
        let mut far = point(3, 1, 100_000, &[1]);
        state.accumulate(b"h", &mut far, 0).unwrap();
        assert!(far.positive.as_ref().unwrap().bucket_counts.len() <= 160);
        assert_eq!(far.positive.unwrap().bucket_counts.iter().sum::<u64>(), 26);
    }
}

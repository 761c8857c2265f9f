//! What a histogram message holds: native buckets, classic buckets, or both.

use model::histogram::{BucketNumber, FloatHistogram, Histogram as Native, IntHistogram, ResetHint, Span};

use super::HistogramValue;
use super::messages::{BucketSpan, Exemplar, Histogram};

impl Histogram {
    /// Whether there are native buckets, told as the specification of the format says: a native histogram without
    /// observations carries an empty span or a zero threshold.
    pub(super) fn is_native(&self) -> bool {
        !self.positive_span.is_empty()
            || !self.negative_span.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// The native histogram.
    pub(super) fn native(&self, is_gauge: bool) -> HistogramValue {
        let reset_hint = if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown };
        if self.count_float > 0.0 || self.zero_count_float > 0.0 {
            let (positive_spans, positive) = without_empty(&self.positive_span, &self.positive_count);
            let (negative_spans, negative) = without_empty(&self.negative_span, &self.negative_count);
            return HistogramValue::Float(FloatHistogram {
                reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count: self.count_float,
                sum: self.sum,
                positive_spans,
                negative_spans,
                positive,
                negative,
                ..Native::default()
            });
        }
        let (positive_spans, positive) = without_empty(&self.positive_span, &self.positive_delta);
        let (negative_spans, negative) = without_empty(&self.negative_span, &self.negative_delta);
        HistogramValue::Int(IntHistogram {
            reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_spans,
            negative_spans,
            positive,
            negative,
            ..Native::default()
        })
    }

    /// Exemplars of the native histogram; older clients put them at the classic buckets.
    pub(super) fn own_exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        let at_buckets = self.bucket.iter().filter_map(|bucket| bucket.exemplar.as_ref());
        let at_buckets = at_buckets.take(if self.exemplars.is_empty() { usize::MAX } else { 0 });
        // Without a time there is no telling which one is newer than what is stored.
        self.exemplars.iter().chain(at_buckets).filter(|exemplar| exemplar.timestamp.is_some())
    }

    /// All observations.
    pub(super) fn total(&self) -> f64 {
        if self.count_float > 0.0 { self.count_float } else { self.count as f64 }
    }

    /// Classic buckets: upper bound, cumulative count, exemplar. The last is +Inf, added where the target left it out.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, f64, Option<&Exemplar>)> {
        let count = |int: u64, float: f64| if float > 0.0 { float } else { int as f64 };
        let given = self.bucket.iter().map(move |bucket| {
            let count = count(bucket.cumulative_count, bucket.cumulative_count_float);
            (bucket.upper_bound, count, bucket.exemplar.as_ref())
        });
        let has_last = self.bucket.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY);
        given.chain((!has_last).then(|| (f64::INFINITY, self.total(), None)))
    }
}

/// Spans without those of no length, their gaps added to the span after; buckets as they are.
fn without_empty<B: BucketNumber>(spans: &[BucketSpan], buckets: &[B]) -> (Vec<Span>, Vec<B>) {
    let mut kept: Vec<Span> = Vec::with_capacity(spans.len());
    let mut gap = 0;
    for span in spans {
        gap += span.offset;
        if span.length == 0 {
            continue;
        }
        match kept.last_mut() {
            // Spans that touch are one.
            Some(last) if gap == 0 => last.length += span.length,
            _ => kept.push(Span { offset: gap, length: span.length }),
        }
        gap = 0;
    }
    (kept, buckets.to_vec())
}

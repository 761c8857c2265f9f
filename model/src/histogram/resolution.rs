//! Coarser histograms: buckets merged until they fit.

use super::{EXPONENTIAL_SCHEMA_MIN, FloatHistogram, IntHistogram, Span};

/// Buckets of one side by index, absolute.
type Buckets<T> = Vec<(i64, T)>;

fn indexed<T: Copy>(spans: &[Span], absolute: &[T]) -> Buckets<T> {
    let mut start = 0;
    let indices = spans.iter().flat_map(|span| {
        start += i64::from(span.offset);
        let first = start;
        start += i64::from(span.length);
        first..start
    });
    indices.zip(absolute.iter().copied()).collect()
}

/// Spans and absolute counts of buckets ordered by index.
fn spanned<T: Copy>(buckets: &[(i64, T)]) -> (Vec<Span>, Vec<T>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            // Indices come from offsets of 32 bits, which add up to no gap wider than that.
            _ => spans.push(Span { offset: (index - next) as i32, length: 1 }),
        }
        next = index + 1;
    }
    (spans, buckets.iter().map(|(_, count)| *count).collect())
}

/// Buckets `2^shift` times as wide: bucket `i` reaches up to `base^i`, so index 1 stays where it is.
fn merged<T: Copy + std::ops::AddAssign>(buckets: Buckets<T>, shift: u32) -> Buckets<T> {
    let mut wide: Buckets<T> = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let index = ((index - 1) >> shift) + 1;
        match wide.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => wide.push((index, count)),
        }
    }
    wide
}

fn summed(differences: &[i64]) -> Vec<i64> {
    let mut count = 0_i64;
    differences
        .iter()
        .map(|difference| {
            count = count.wrapping_add(*difference);
            count
        })
        .collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let mut previous = 0_i64;
    counts.iter().map(|count| count.wrapping_sub(std::mem::replace(&mut previous, *count))).collect()
}

/// A histogram whose resolution can be lowered.
pub trait Resolution {
    /// Its schema.
    fn schema(&self) -> i32;
    /// How many buckets it has, beside the zero bucket.
    fn bucket_count(&self) -> usize;
    /// Whether the bounds are listed: then nothing can be merged.
    fn is_custom(&self) -> bool;
    /// Merges neighbouring buckets until the schema is `schema`, which must not be above the histogram's own. A histogram
    /// with custom buckets stays as it is.
    fn reduce_to(&mut self, schema: i32);

    /// Lowers the resolution until there are at most `max` buckets; whether that succeeded.
    fn limit_buckets(&mut self, max: usize) -> bool {
        while self.bucket_count() > max {
            if self.is_custom() || self.schema() <= EXPONENTIAL_SCHEMA_MIN {
                return false;
            }
            self.reduce_to(self.schema() - 1);
        }
        true
    }
}

impl Resolution for IntHistogram {
    fn schema(&self) -> i32 {
        self.schema
    }

    fn bucket_count(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn is_custom(&self) -> bool {
        self.uses_custom_buckets()
    }

    fn reduce_to(&mut self, schema: i32) {
        let shift = self.schema.saturating_sub(schema).clamp(0, 31) as u32;
        if self.is_custom() || shift == 0 {
            return;
        }
        self.schema = schema;
        for (spans, buckets) in
            [(&mut self.positive_spans, &mut self.positive), (&mut self.negative_spans, &mut self.negative)]
        {
            let (wide_spans, counts) = spanned(&merged(indexed(spans, &summed(buckets)), shift));
            (*spans, *buckets) = (wide_spans, differences(&counts));
        }
    }
}

impl Resolution for FloatHistogram {
    fn schema(&self) -> i32 {
        self.schema
    }

    fn bucket_count(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn is_custom(&self) -> bool {
        self.uses_custom_buckets()
    }

    fn reduce_to(&mut self, schema: i32) {
        let shift = self.schema.saturating_sub(schema).clamp(0, 31) as u32;
        if self.is_custom() || shift == 0 {
            return;
        }
        self.schema = schema;
        for (spans, buckets) in
            [(&mut self.positive_spans, &mut self.positive), (&mut self.negative_spans, &mut self.negative)]
        {
            (*spans, *buckets) = spanned(&merged(indexed(spans, buckets), shift));
        }
    }
}

/// A histogram with custom buckets from classic ones: `cumulative` are counts up to and including each of `bounds`, the
/// last up to +Inf, so there is one more of them. Empty buckets are left out. `None` if the counts fall.
pub fn custom_int(bounds: &[f64], cumulative: &[u64], sum: f64) -> Option<IntHistogram> {
    let mut previous = 0;
    let mut buckets: Buckets<i64> = Vec::new();
    for (index, count) in cumulative.iter().enumerate() {
        let inside = count.checked_sub(std::mem::replace(&mut previous, *count))?;
        if inside > 0 {
            buckets.push((index as i64, i64::try_from(inside).ok()?));
        }
    }
    let (positive_spans, counts) = spanned(&buckets);
    Some(IntHistogram {
        schema: super::CUSTOM_BUCKETS_SCHEMA,
        count: previous,
        sum,
        positive_spans,
        positive: differences(&counts),
        custom_values: bounds.to_vec(),
        ..IntHistogram::default()
    })
}

/// As [`custom_int`], of float counts.
pub fn custom_float(bounds: &[f64], cumulative: &[f64], sum: f64) -> Option<FloatHistogram> {
    let mut previous = 0.0;
    let mut buckets: Buckets<f64> = Vec::new();
    for (index, count) in cumulative.iter().enumerate() {
        let inside = count - std::mem::replace(&mut previous, *count);
        if inside.is_nan() || inside < 0.0 {
            return None;
        }
        if inside > 0.0 {
            buckets.push((index as i64, inside));
        }
    }
    let (positive_spans, positive) = spanned(&buckets);
    Some(FloatHistogram {
        schema: super::CUSTOM_BUCKETS_SCHEMA,
        count: previous,
        sum,
        positive_spans,
        positive,
        custom_values: bounds.to_vec(),
        ..FloatHistogram::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_merged_and_the_total_stays() {
        let mut histogram = IntHistogram {
            schema: 2,
            count: 21,
            positive_spans: vec![Span { offset: -2, length: 4 }, Span { offset: 3, length: 2 }],
            positive: vec![1, 1, 1, 1, 1, 1],
            ..IntHistogram::default()
        };
        assert_eq!(histogram.validate(), Ok(()));
        let mut float = histogram.to_float();
        histogram.reduce_to(1);
        float.reduce_to(1);
        // Indices -2, -1, 0, 1 and 5, 6 become -1, 0, 0, 1 and 3, 3.
        assert_eq!(histogram.positive_spans, [Span { offset: -1, length: 3 }, Span { offset: 1, length: 1 }]);
        assert_eq!(histogram.to_float().positive, [1.0, 5.0, 4.0, 11.0]);
        assert_eq!(float, histogram.to_float());
        assert_eq!(histogram.validate(), Ok(()));
        assert!(histogram.limit_buckets(2) && histogram.bucket_count() <= 2);
        assert!(!histogram.limit_buckets(0));
    }

    #[test]
    fn classic_buckets_become_custom_ones() {
        let histogram = custom_int(&[0.5, 1.0, 2.0], &[1, 1, 4, 6], 7.0).unwrap();
        assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }]);
        assert_eq!((histogram.to_float().positive, histogram.count), (vec![1.0, 3.0, 2.0], 6));
        assert_eq!(histogram.validate(), Ok(()));
        assert_eq!(custom_float(&[0.5, 1.0, 2.0], &[1.0, 1.0, 4.0, 6.0], 7.0), Some(histogram.to_float()));
        assert_eq!(custom_int(&[1.0], &[2, 1], 0.0), None);
    }
}

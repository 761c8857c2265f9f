//! Histograms opened for arithmetic: buckets by index, every number with what rounding took from it.

use model::histogram::{FloatHistogram, ResetHint};

use super::bounds::{self, bound_of};
use super::{Incompatible, compact, from_indexed};
use crate::kernel::kahan::Sum;

/// What was odd about an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Odd {
    pub(super) collision: bool,
    pub(super) reconciled: bool,
}

type Side = Vec<(i32, Sum)>;

/// A histogram in the making.
#[derive(Debug, Clone)]
pub(super) struct Wide {
    pub(super) hint: ResetHint,
    pub(super) schema: i32,
    zero_threshold: f64,
    zero: Sum,
    count: Sum,
    sum: Sum,
    /// In rising order of index.
    pub(super) positive: Side,
    pub(super) negative: Side,
    custom: Vec<f64>,
}

fn side(spans: &[model::histogram::Span], counts: &[f64]) -> Side {
    bounds::indexed(spans, counts).map(|(index, count)| (index, Sum::new(count))).collect()
}

impl Wide {
    pub(super) fn of(h: &FloatHistogram) -> Self {
        Self {
            hint: h.reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero: Sum::new(h.zero_count),
            count: Sum::new(h.count),
            sum: Sum::new(h.sum),
            positive: side(&h.positive_spans, &h.positive),
            negative: side(&h.negative_spans, &h.negative),
            custom: h.custom_values.clone(),
        }
    }

    fn is_custom(&self) -> bool {
        self.schema == model::histogram::CUSTOM_BUCKETS_SCHEMA
    }

    /// The histogram as it stands.
    pub(super) fn finish(&self) -> FloatHistogram {
        let closed = |side: &Side| from_indexed(side.iter().map(|(index, count)| (*index, count.total())));
        let (positive_spans, positive) = closed(&self.positive);
        let (negative_spans, negative) = closed(&self.negative);
        FloatHistogram {
            reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive_spans,
            negative_spans,
            positive,
            negative,
            custom_values: self.custom.clone(),
        }
    }

    /// Adds `sign` times `other`, bringing both to the coarser layout and the wider zero bucket.
    pub(super) fn add(&mut self, other: &FloatHistogram, sign: f64) -> Result<Odd, Incompatible> {
        self.add_wide(Wide::of(other), sign)
    }

    fn add_wide(&mut self, mut other: Wide, sign: f64) -> Result<Odd, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut odd = Odd { collision: self.adjust_hint(other.hint), reconciled: false };
        if self.is_custom() {
            if self.custom != other.custom {
                odd.reconciled = true;
                let common = intersection(&self.custom, &other.custom);
                self.map_to(&common);
                other.map_to(&common);
            }
        } else {
            if self.zero_threshold != other.zero_threshold {
                // As upstream: only the count of the other's zero bucket is widened here. Which of its buckets lie in
                // it is decided once they are as coarse as ours; one that reaches out of it comes whole.
                let mut widened = other.clone();
                self.share_zero_bucket(&mut widened);
                other.zero = widened.zero;
            }
            let schema = self.schema.min(other.schema);
            self.reduce(schema);
            other.reduce(schema);
            other.drop_below(self.zero_threshold);
        }
        for (mine, theirs) in [(&mut self.zero, other.zero), (&mut self.count, other.count), (&mut self.sum, other.sum)]
        {
            mine.add(sign * theirs.sum);
            mine.add(sign * theirs.lost);
        }
        merge(&mut self.positive, other.positive, sign);
        merge(&mut self.negative, other.negative, sign);
        Ok(odd)
    }

    /// The hint of a sum; whether both hints contradict each other.
    fn adjust_hint(&mut self, other: ResetHint) -> bool {
        let collision = matches!(
            (self.hint, other),
            (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset)
        );
        self.hint = match (self.hint, other) {
            (a, b) if a == b => a,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        collision
    }

    /// Widens both zero buckets until they are the same.
    fn share_zero_bucket(&mut self, other: &mut Wide) {
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            } else {
                self.widen_zero(other.zero_threshold);
            }
        }
    }

    /// Takes the buckets below `threshold` into the zero bucket. Should it end inside a filled bucket, it is widened
    /// to take that in whole. The threshold it came to.
    pub(super) fn widen_zero(&mut self, threshold: f64) -> f64 {
        let mut threshold = threshold;
        // A bucket on one side may widen the threshold into one on the other side.
        while let Some(wider) = self.positive.iter().chain(&self.negative).find_map(|(index, count)| {
            let (lower, upper) = (self.bound(index - 1), self.bound(*index));
            (lower < threshold && upper > threshold && count.sum != 0.0).then_some(upper)
        }) {
            threshold = wider;
        }
        let (schema, custom) = (self.schema, std::mem::take(&mut self.custom));
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(index, count)| {
                let outside = bound_of(schema, &custom, index - 1) >= threshold;
                if !outside {
                    self.zero.add(count.sum);
                    self.zero.add(count.lost);
                }
                outside
            });
        }
        self.custom = custom;
        self.zero_threshold = threshold;
        threshold
    }

    /// Leaves out the lowest buckets, those that end at or below `threshold`.
    fn drop_below(&mut self, threshold: f64) {
        let schema = self.schema;
        for side in [&mut self.positive, &mut self.negative] {
            let below = side.iter().take_while(|(index, _)| bound_of(schema, &[], *index) <= threshold).count();
            side.drain(..below);
        }
    }

    /// Forgets what rounding took: the next addition is one of plain floats.
    pub(super) fn round(&mut self) {
        for number in self.numbers() {
            *number = Sum::new(number.total());
        }
    }

    pub(super) fn zero_count(&self) -> f64 {
        self.zero.total()
    }

    pub(super) fn bound(&self, index: i32) -> f64 {
        bound_of(self.schema, &self.custom, index)
    }

    /// Joins neighbouring buckets until the schema is `schema`, which is not finer.
    pub(super) fn reduce(&mut self, schema: i32) {
        let shift = self.schema - schema;
        if shift <= 0 || self.is_custom() {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            *side = remapped(side, |index| ((index - 1) >> shift) + 1);
        }
        self.schema = schema;
    }

    /// Brings custom buckets to coarser bounds.
    pub(super) fn map_to(&mut self, bounds: &[f64]) {
        let custom = std::mem::replace(&mut self.custom, bounds.to_vec());
        self.positive = remapped(&self.positive, |index| {
            let upper = bound_of(model::histogram::CUSTOM_BUCKETS_SCHEMA, &custom, index);
            bounds.partition_point(|bound| *bound < upper) as i32
        });
        self.positive.retain(|(_, count)| count.sum != 0.0 || count.lost != 0.0);
    }

    pub(super) fn scale(&mut self, factor: f64) {
        for number in self.numbers() {
            number.sum *= factor;
            number.lost *= factor;
        }
    }

    /// Not the same as scaling by the inverse, which is rounded.
    pub(super) fn divide(&mut self, divisor: f64) {
        for number in self.numbers() {
            number.sum /= divisor;
            number.lost /= divisor;
        }
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut Sum> {
        let totals = [&mut self.zero, &mut self.count, &mut self.sum].into_iter();
        totals.chain(self.positive.iter_mut().chain(&mut self.negative).map(|(_, count)| count))
    }

    fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, count)| count);
        [&self.zero, &self.count, &self.sum].into_iter().chain(buckets).any(|n| n.sum.is_infinite())
    }
}

/// The bounds that both have.
pub(super) fn intersection(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

fn remapped(side: &Side, target: impl Fn(i32) -> i32) -> Side {
    let mut mapped: Side = Vec::with_capacity(side.len());
    for (index, count) in side {
        let index = target(*index);
        match mapped.last_mut() {
            Some((last, sum)) if *last == index => {
                sum.add(count.sum);
                sum.add(count.lost);
            }
            _ => mapped.push((index, *count)),
        }
    }
    mapped
}

fn merge(mine: &mut Side, theirs: Side, sign: f64) {
    let same_layout = mine.len() == theirs.len() && mine.iter().zip(&theirs).all(|(a, b)| a.0 == b.0);
    if same_layout {
        for ((_, a), (_, b)) in mine.iter_mut().zip(theirs) {
            a.add(sign * b.sum);
            a.add(sign * b.lost);
        }
        return;
    }
    let mut merged = Vec::with_capacity(mine.len() + theirs.len());
    let mut left = mine.drain(..).peekable();
    for (index, count) in theirs {
        while let Some(before) = left.next_if(|(i, _)| *i < index) {
            merged.push(before);
        }
        let mut sum = left.next_if(|(i, _)| *i == index).map_or_else(Sum::default, |(_, sum)| sum);
        sum.add(sign * count.sum);
        sum.add(sign * count.lost);
        merged.push((index, sum));
    }
    merged.extend(left);
    *mine = merged;
}

/// Adds up histograms: their sum, or their mean.
pub(crate) struct Accumulator {
    /// The sum so far; the mean once the sum overflowed.
    total: Wide,
    count: f64,
    failed: bool,
    seen_reset: bool,
    seen_not_reset: bool,
    mean: Option<Wide>,
}

impl Accumulator {
    pub(crate) fn new(first: &FloatHistogram) -> Self {
        let mut this = Self {
            total: Wide::of(first),
            count: 1.0,
            failed: false,
            seen_reset: false,
            seen_not_reset: false,
            mean: None,
        };
        this.see(first.reset_hint);
        this
    }

    fn see(&mut self, hint: ResetHint) {
        self.seen_reset |= hint == ResetHint::Reset;
        self.seen_not_reset |= hint == ResetHint::NotReset;
    }

    /// Adds one more. Whether custom bounds had to be reconciled.
    ///
    /// # Errors
    /// If it does not go with the others; the whole then comes to nothing.
    pub(crate) fn add(&mut self, h: &FloatHistogram) -> Result<bool, Incompatible> {
        if self.failed {
            return Ok(false);
        }
        self.count += 1.0;
        self.see(h.reset_hint);
        let result = self.try_add(h);
        self.failed = result.is_err();
        result
    }

    fn try_add(&mut self, h: &FloatHistogram) -> Result<bool, Incompatible> {
        if self.mean.is_some() {
            self.total.add(h, 1.0)?;
            return self.add_to_mean(h);
        }
        let before = self.total.clone();
        let odd = self.total.add(h, 1.0)?;
        if self.total.overflows() {
            // The mean goes on where the sum cannot.
            let mut mean = before;
            mean.divide(self.count - 1.0);
            self.mean = Some(mean);
            return self.add_to_mean(h);
        }
        Ok(odd.reconciled)
    }

    fn add_to_mean(&mut self, h: &FloatHistogram) -> Result<bool, Incompatible> {
        let Some(mean) = &mut self.mean else { return Ok(false) };
        mean.scale((self.count - 1.0) / self.count);
        let mut part = Wide::of(h);
        part.divide(self.count);
        Ok(mean.add_wide(part, 1.0)?.reconciled)
    }

    /// Whether one said that its counter was reset and another that it was not.
    pub(crate) fn has_collision(&self) -> bool {
        self.seen_reset && self.seen_not_reset
    }

    pub(crate) fn sum(self) -> Option<FloatHistogram> {
        (!self.failed).then(|| {
            let mut sum = self.total.finish();
            compact(&mut sum);
            sum
        })
    }

    pub(crate) fn mean(self) -> Option<FloatHistogram> {
        if self.failed {
            return None;
        }
        let mut mean = match self.mean {
            Some(mean) => mean.finish(),
            None => {
                let mut total = self.total;
                total.divide(self.count);
                total.finish()
            }
        };
        compact(&mut mean);
        Some(mean)
    }
}

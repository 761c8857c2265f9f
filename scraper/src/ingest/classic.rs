//! Classic histograms as native ones with custom buckets (`convert_classic_histograms_to_nhcb`).
//!
//! The lines of one histogram (`_bucket`, `_sum`, `_count` with the same labels but `le`) follow each other on a page;
//! they are gathered until a line of another comes. A histogram that contradicts itself is left out, as upstream does.

use exposition::parse::protobuf::HistogramValue;
use exposition::parse::{ExemplarText, SampleLine};
use exposition::print::push_series;
use model::histogram::{custom_float, custom_int};
use model::labels::{BUCKET_BOUND, Labels, METRIC_NAME};

/// An exemplar, owned.
#[derive(Debug, Clone)]
pub(super) struct OwnedExemplar {
    labels: String,
    value: f64,
    timestamp: Option<i64>,
}

impl OwnedExemplar {
    pub(super) fn text(&self) -> ExemplarText<'_> {
        ExemplarText { labels: &self.labels, value: self.value, timestamp: self.timestamp }
    }
}

/// A histogram that was gathered.
#[derive(Debug)]
pub(super) struct Converted {
    /// Name and labels as a page would write them.
    pub(super) series: String,
    pub(super) value: HistogramValue,
    pub(super) timestamp: Option<i64>,
    pub(super) start: i64,
    pub(super) exemplars: Vec<OwnedExemplar>,
}

/// What a line says of its histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    Bucket(f64),
    Sum,
    Count,
}

/// Gathers the lines of one histogram after the other.
#[derive(Debug, Default)]
pub(super) struct ClassicHistograms {
    /// Labels of the one being gathered, without `le`, under the family's name.
    labels: Option<Labels>,
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    timestamp: Option<i64>,
    start: i64,
    exemplars: Vec<OwnedExemplar>,
}

/// Which part of a histogram of `family` a series is, and the labels of that histogram.
pub(super) fn part_of(labels: &Labels, family: &str) -> Option<(Part, Labels)> {
    let suffix = labels.metric_name()?.strip_prefix(family)?;
    let part = match suffix {
        "_bucket" => Part::Bucket(labels.get(BUCKET_BOUND)?.parse().ok()?),
        "_sum" => Part::Sum,
        "_count" => Part::Count,
        _ => return None,
    };
    let mut base = labels.to_builder();
    base.set(METRIC_NAME, family);
    base.delete(BUCKET_BOUND);
    Some((part, base.build()))
}

impl ClassicHistograms {
    /// Takes a line in. Gives the histogram before, if the line begins another.
    pub(super) fn push(&mut self, part: Part, labels: Labels, line: &SampleLine<'_>) -> Option<Converted> {
        let mut finished = None;
        if self.labels.as_ref() != Some(&labels) {
            finished = self.finish();
            self.labels = Some(labels);
        }
        match part {
            Part::Bucket(bound) => self.buckets.push((bound, line.value)),
            Part::Sum => self.sum = line.value,
            Part::Count => self.count = Some(line.value),
        }
        self.timestamp = self.timestamp.or(line.timestamp);
        self.start = self.start.max(line.start);
        if let Some(exemplar) = line.exemplar {
            self.exemplars.push(OwnedExemplar {
                labels: exemplar.labels.to_owned(),
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            });
        }
        finished
    }

    /// The histogram being gathered, if it makes one.
    pub(super) fn finish(&mut self) -> Option<Converted> {
        let Self { labels, mut buckets, count, sum, timestamp, start, exemplars } = std::mem::take(self);
        let labels = labels?;
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|later, earlier| later.0 == earlier.0);
        let last = buckets.last().map(|(_, count)| *count);
        if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            buckets.push((f64::INFINITY, count.or(last)?));
        }
        if count.zip(last).is_some_and(|(count, last)| count < last) || buckets.iter().any(|(le, _)| le.is_nan()) {
            return None;
        }
        // The total stands for what lies above the last bound, as far as the page gives it.
        if let (Some(count), Some(above)) = (count, buckets.last_mut()) {
            above.1 = count;
        }
        let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
        let is_whole = |count: &f64| *count >= 0.0 && count.fract() == 0.0 && *count <= u64::MAX as f64;
        let value = match buckets.iter().all(|(_, count)| is_whole(count)) {
            true => {
                let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count as u64).collect();
                HistogramValue::Int(custom_int(&bounds, &counts, sum)?)
            }
            false => {
                let counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).collect();
                HistogramValue::Float(custom_float(&bounds, &counts, sum)?)
            }
        };
        let mut series = String::new();
        push_series(&mut series, labels.metric_name().unwrap_or(""), "", &labels.without_metric_name());
        Some(Converted { series, value, timestamp, start, exemplars })
    }
}

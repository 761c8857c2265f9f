//! Values while a query runs: one column of points per series, and what a query gives back.

use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::labels::{Labels, METRIC_NAME};
use model::sample::{STALE_NAN, Timestamp, Value, is_stale};

use crate::exec::budget::Charge;
use crate::spill::SpilledMatrix;

/// Stands where a series has no float at a step. No computation yields these bits: arithmetic quiets NaNs, and stale
/// markers never leave the selectors.
pub(crate) const ABSENT: f64 = STALE_NAN;

/// The labels that say what a metric is; whatever changes its meaning drops them.
pub(crate) const METADATA_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The labels without those that say what the metric is.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.filtered(|name| !METADATA_LABELS.iter().any(|m| m.as_bytes() == name))
}

/// The times at which an expression is evaluated: `start + i * interval` for `i < count`; `interval > 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start: i64,
    pub(crate) interval: i64,
    pub(crate) count: usize,
}

impl Steps {
    /// Just one.
    pub(crate) fn once(at: i64) -> Self {
        Self { start: at, interval: 1, count: 1 }
    }

    /// All from `start` to `end`, both included; none if `end < start`.
    pub(crate) fn range(start: i64, end: i64, interval: i64) -> Self {
        let count = if end < start { 0 } else { (end.saturating_sub(start) / interval) as usize + 1 };
        Self { start, interval, count }
    }

    /// The time of step `i`.
    pub(crate) fn at(self, i: usize) -> i64 {
        self.start + i as i64 * self.interval
    }

    /// The time of the last step (of the first if there is none).
    pub(crate) fn last(self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }
}

/// A series' values at all steps: at each a float, a histogram, or nothing.
///
/// Invariant: where `histograms[i]` is set, `floats[i]` is [`ABSENT`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Points {
    pub(crate) floats: Vec<f64>,
    pub(crate) histograms: Option<Vec<Option<Arc<FloatHistogram>>>>,
}

/// One point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl Points {
    /// Nothing at any of `count` steps.
    pub(crate) fn absent(count: usize) -> Self {
        Self { floats: vec![ABSENT; count], histograms: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len()
    }

    pub(crate) fn float(&self, i: usize) -> Option<f64> {
        Some(self.floats[i]).filter(|v| !is_stale(*v))
    }

    pub(crate) fn histogram(&self, i: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.as_ref().and_then(|all| all[i].as_ref())
    }

    pub(crate) fn get(&self, i: usize) -> Option<Point<'_>> {
        self.float(i).map(Point::Float).or_else(|| self.histogram(i).map(Point::Histogram))
    }

    pub(crate) fn is_present(&self, i: usize) -> bool {
        !is_stale(self.floats[i]) || self.histogram(i).is_some()
    }

    pub(crate) fn any_present(&self) -> bool {
        let histograms = || self.histograms.iter().flatten().any(Option::is_some);
        self.floats.iter().any(|value| !is_stale(*value)) || histograms()
    }

    pub(crate) fn set_histogram(&mut self, i: usize, histogram: Arc<FloatHistogram>) {
        let count = self.floats.len();
        self.histograms.get_or_insert_with(|| vec![None; count])[i] = Some(histogram);
        self.floats[i] = ABSENT;
    }

    pub(crate) fn set_float(&mut self, i: usize, value: f64) {
        self.clear(i);
        self.floats[i] = value;
    }

    pub(crate) fn set(&mut self, i: usize, point: Point<'_>) {
        match point {
            Point::Float(value) => self.set_float(i, value),
            Point::Histogram(histogram) => self.set_histogram(i, Arc::clone(histogram)),
        }
    }

    pub(crate) fn clear(&mut self, i: usize) {
        self.floats[i] = ABSENT;
        if let Some(all) = &mut self.histograms {
            all[i] = None;
        }
    }

    /// How many samples the point at step `i` counts for.
    pub(crate) fn samples_at(&self, i: usize) -> u64 {
        match self.get(i) {
            Some(Point::Float(_)) => 1,
            Some(Point::Histogram(histogram)) => histogram_samples(histogram),
            None => 0,
        }
    }

    /// How many samples the points count for; a histogram counts by its size.
    pub(crate) fn samples(&self) -> u64 {
        let floats = self.floats.iter().filter(|v| !is_stale(**v)).count() as u64;
        let histograms = self.histograms.iter().flatten().flatten().map(|h| histogram_samples(h)).sum::<u64>();
        floats + histograms
    }

    /// How many bytes they hold.
    pub(crate) fn bytes(&self) -> u64 {
        let floats = (self.floats.len() * size_of::<f64>()) as u64;
        let Some(histograms) = &self.histograms else { return floats };
        // One histogram at many steps is held once, but who else holds it is not known: counted as often as it stands.
        let contents = histograms.iter().flatten().map(|h| histogram_samples(h) * 16).sum::<u64>();
        floats + (histograms.len() * size_of::<usize>()) as u64 + contents
    }
}

/// How many float samples a histogram weighs: its size over that of a sample.
pub(crate) fn histogram_samples(h: &FloatHistogram) -> u64 {
    let words = h.positive.len() + h.negative.len() + h.custom_values.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    ((168 + 8 * words + 8 * spans + 8) / 16) as u64
}

/// A series of an instant vector over all steps.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    /// With delayed name removal: whether the name goes at the end.
    pub(crate) drop_name: bool,
    pub(crate) points: Points,
    /// What the points weigh in the query's budget, given back when the column is dropped.
    pub(crate) charge: Charge,
}

/// A sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The labels of its series.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// A series of a range result: floats and histograms apart, each in order of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: Labels,
    /// Times and floats.
    pub floats: Vec<(Timestamp, f64)>,
    /// Times and histograms.
    pub histograms: Vec<(Timestamp, Arc<FloatHistogram>)>,
}

/// What a query came to.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// A number at the evaluation time.
    Scalar {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The text.
        value: String,
    },
    /// One sample per series, all at the evaluation time; ordered only if a function orders it.
    Vector {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The samples.
        samples: Vec<VectorSample>,
    },
    /// Series over time, ordered by their labels.
    Matrix(Vec<MatrixSeries>),
    /// The same where the caller allowed that series wait in a file ([`crate::QueryOptions::spill`]).
    Spilled(SpilledMatrix),
}

impl MatrixSeries {
    /// How many bytes its points hold.
    pub(crate) fn bytes(&self) -> u64 {
        let floats = self.floats.len() * size_of::<(Timestamp, f64)>();
        floats as u64 + self.histograms.iter().map(|(_, h)| 16 + histogram_samples(h) * 16).sum::<u64>()
    }
}

impl QueryValue {
    /// The name of its type in the API.
    pub fn type_name(&self) -> &'static str {
        match self {
            QueryValue::Scalar { .. } => "scalar",
            QueryValue::String { .. } => "string",
            QueryValue::Vector { .. } => "vector",
            QueryValue::Matrix(_) | QueryValue::Spilled(_) => "matrix",
        }
    }

    /// How many bytes its points hold.
    pub(crate) fn bytes(&self) -> u64 {
        let histogram = |h: &FloatHistogram| histogram_samples(h) * 16;
        match self {
            QueryValue::Scalar { .. } | QueryValue::String { .. } => 0,
            QueryValue::Vector { samples, .. } => samples
                .iter()
                .map(|sample| match &sample.value {
                    Value::Float(_) => size_of::<VectorSample>() as u64,
                    Value::Histogram(h) => size_of::<VectorSample>() as u64 + histogram(h),
                })
                .sum(),
            QueryValue::Spilled(matrix) => matrix.bytes(),
            QueryValue::Matrix(series) => series.iter().map(MatrixSeries::bytes).sum(),
        }
    }
}

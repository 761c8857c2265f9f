//! The warnings and notes that evaluation gives, in upstream's words.

use std::collections::BTreeMap;

use model::annotations::Annotations;
use model::number::print_float_general;
use model::quote::quote;

use crate::token::Span;

/// What a histogram was being combined for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramUse {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramUse {
    fn as_str(self) -> &'static str {
        match self {
            HistogramUse::Addition => "addition",
            HistogramUse::Subtraction => "subtraction",
            HistogramUse::Aggregation => "aggregation",
        }
    }
}

/// One warning or note.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note<'a> {
    RatioOutOfRange { ratio: f64, capped: f64 },
    QuantileOutOfRange(f64),
    BadBucketLabel { label: &'a str, metric: &'a str },
    MixedFloatsHistograms { metric: &'a str },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative { metric: &'a str },
    NotCounterHistogram { metric: &'a str },
    NotGaugeHistogram { metric: &'a str },
    MixedExponentialCustom { metric: &'a str },
    IncompatibleLayout { operator: &'a str },
    SortInRangeQuery,
    StartOverlap { metric: &'a str },
    CounterResetCollision(HistogramUse),
    PossiblyNotCounter { metric: &'a str },
    PossiblyNotCounterByLabel { metric: &'a str, label: &'a str },
    ForcedMonotonicity(&'a Monotonicity),
    IncompatibleTypes { operator: &'a str, left: &'a str, right: &'a str },
    HistogramIgnoredInAggregation { aggregation: &'a str },
    HistogramIgnoredInRange { metric: &'a str },
    QuantileOfNan { metric: &'a str },
    QuantileSkewedByNan { metric: &'a str },
    FractionWithoutNan { metric: &'a str },
    CustomBucketsReconciled(HistogramUse),
}

/// Where buckets had to be raised so that they rise, over all steps of a histogram.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Monotonicity {
    pub(crate) metric: String,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) max_difference: f64,
    pub(crate) samples: usize,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

const NOT_COUNTER: &str = "metric might not be a counter,";

/// All warnings and notes of a query, each text once, at the first place it is about.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: BTreeMap<String, Span>,
    infos: BTreeMap<String, Span>,
    monotonicity: BTreeMap<String, (Monotonicity, Span)>,
}

impl Notes {
    pub(crate) fn add(&mut self, note: &Note<'_>, span: Span) {
        if let Note::ForcedMonotonicity(fixed) = note {
            match self.monotonicity.get_mut(&fixed.metric) {
                Some((known, _)) => known.merge(fixed),
                None => {
                    self.monotonicity.insert(fixed.metric.clone(), ((*fixed).clone(), span));
                }
            }
            return;
        }
        let (warning, text) = note.text();
        let kind = if warning { &mut self.warnings } else { &mut self.infos };
        let place = kind.entry(text).or_insert(span);
        // Threads report in any order; the place must not depend on it.
        if span.start < place.start {
            *place = span;
        }
    }

    /// The texts with their places in the query.
    pub(crate) fn finish(self, query: &str) -> Annotations {
        let mut annotations = Annotations::new();
        for (text, span) in self.warnings {
            annotations.warn(format!("PromQL warning: {text} ({})", span.position(query)));
        }
        for (text, span) in self.infos {
            annotations.info(format!("PromQL info: {text} ({})", span.position(query)));
        }
        for (fixed, span) in self.monotonicity.into_values() {
            annotations.info(format!("PromQL info: {} ({})", fixed.text(), span.position(query)));
        }
        annotations
    }
}

impl Note<'_> {
    /// Whether it is a warning, and what it says.
    fn text(&self) -> (bool, String) {
        match self {
            Note::RatioOutOfRange { .. }
            | Note::QuantileOutOfRange(_)
            | Note::BadBucketLabel { .. }
            | Note::MixedFloatsHistograms { .. }
            | Note::MixedFloatsHistogramsInAggregation
            | Note::MixedClassicNative { .. }
            | Note::NotCounterHistogram { .. }
            | Note::NotGaugeHistogram { .. }
            | Note::MixedExponentialCustom { .. }
            | Note::IncompatibleLayout { .. }
            | Note::SortInRangeQuery
            | Note::StartOverlap { .. }
            | Note::CounterResetCollision(_) => (true, self.warning()),
            _ => (false, self.info()),
        }
    }

    fn warning(&self) -> String {
        let mix = "encountered a mix of histograms and floats for";
        match self {
            Note::RatioOutOfRange { ratio, capped } => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                print_float_general(*ratio),
                print_float_general(*capped)
            ),
            Note::QuantileOutOfRange(q) => {
                format!("quantile value should be between 0 and 1, got {}", print_float_general(*q))
            }
            Note::BadBucketLabel { label, metric } => {
                let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(label));
                with_metric(text, metric)
            }
            Note::MixedFloatsHistograms { metric } => format!("{mix} metric name {}", quote(metric)),
            Note::MixedFloatsHistogramsInAggregation => format!("{mix} aggregation"),
            Note::MixedClassicNative { metric } => {
                with_metric("vector contains a mix of classic and native histograms".to_owned(), metric)
            }
            Note::NotCounterHistogram { metric } => {
                format!("this native histogram metric is not a counter: {}", quote(metric))
            }
            Note::NotGaugeHistogram { metric } => {
                format!("this native histogram metric is not a gauge: {}", quote(metric))
            }
            Note::MixedExponentialCustom { metric } => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                quote(metric)
            ),
            Note::IncompatibleLayout { operator } => {
                format!("incompatible bucket layout encountered for binary operator {operator}")
            }
            Note::SortInRangeQuery => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Note::StartOverlap { metric } => format!(
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                quote(metric)
            ),
            Note::CounterResetCollision(during) => {
                format!("conflicting counter resets during histogram {}", during.as_str())
            }
            _ => String::new(),
        }
    }

    fn info(&self) -> String {
        match self {
            Note::PossiblyNotCounter { metric } => {
                format!("{NOT_COUNTER} name does not end in _total/_sum/_count/_bucket: {}", quote(metric))
            }
            Note::PossiblyNotCounterByLabel { metric, label } => {
                let (label, metric) = (quote(label), quote(metric));
                format!(
                    "{NOT_COUNTER} __type__ label is not set to \"counter\" or \"histogram\", got {label}: {metric}"
                )
            }
            Note::IncompatibleTypes { operator, left, right } => format!(
                "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
                quote(operator)
            ),
            Note::HistogramIgnoredInAggregation { aggregation } => {
                format!("ignored histogram in {aggregation} aggregation")
            }
            Note::HistogramIgnoredInRange { metric } => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                quote(metric)
            ),
            Note::QuantileOfNan { metric } => {
                with_metric("input to histogram_quantile has NaN observations, result is NaN".to_owned(), metric)
            }
            Note::QuantileSkewedByNan { metric } => {
                let text = "input to histogram_quantile has NaN observations, result is skewed higher";
                with_metric(text.to_owned(), metric)
            }
            Note::FractionWithoutNan { metric } => with_metric(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions".to_owned(),
                metric,
            ),
            Note::CustomBucketsReconciled(during) => {
                format!("mismatched custom buckets were reconciled during {}", during.as_str())
            }
            _ => String::new(),
        }
    }
}

fn with_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", quote(metric)) }
}

impl Monotonicity {
    fn merge(&mut self, other: &Monotonicity) {
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.max_difference = self.max_difference.max(other.max_difference);
        self.samples += other.samples;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn text(&self) -> String {
        let see = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
        let text = with_metric(
            format!("input to histogram_quantile needed to be fixed for monotonicity (see {see})"),
            &self.metric,
        );
        let (low, high) = (print_float_general(self.lowest), print_float_general(self.highest));
        let difference = two_digits(self.max_difference);
        let (first, last) = (date(self.first), date(self.last));
        let samples = self.samples;
        format!(
            "{text}, from buckets {low} to {high}, with a max diff of {difference}, over {samples} samples from {first} to {last}"
        )
    }
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    let exponent = rounded.abs().log10().floor();
    if rounded != 0.0 && !(-4.0..2.0).contains(&exponent) {
        let mut out = String::new();
        model::number::push_float_exponent(&mut out, rounded);
        return out;
    }
    model::number::print_float(rounded)
}

/// RFC 3339 with seconds, UTC.
fn date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

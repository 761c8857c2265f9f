//! What came of a query against what a script expects.

use std::collections::HashSet;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::sample::{Timestamp, Value, is_stale};

use super::script::{Eval, Expected, Messages, When};
use crate::engine::QueryResult;
use crate::histogram;
use crate::kernel::classic;
use crate::series_description::SequenceValue;
use crate::value::{MatrixSeries, QueryValue, VectorSample};

/// Relative difference allowed between values.
const EPSILON: f64 = 1e-6;

fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    classic::almost_equal(a, b, EPSILON)
}

/// Whether the warnings and notes are those expected.
pub(super) fn annotations(eval: &Eval, result: &QueryResult) -> Result<(), String> {
    let warnings: Vec<&str> = result.annotations.warnings().collect();
    let infos: Vec<&str> = result.annotations.infos().collect();
    messages("warning", &eval.warnings, &warnings)?;
    messages("info", &eval.infos, &infos)
}

fn messages(kind: &str, wanted: &Messages, found: &[&str]) -> Result<(), String> {
    if (wanted.some || !wanted.expected.is_empty()) && found.is_empty() {
        return Err(format!("expected {kind} annotations but none were found"));
    }
    if wanted.none && !found.is_empty() {
        return Err(format!("unexpected {kind} annotations: {found:?}"));
    }
    if wanted.expected.is_empty() {
        return Ok(());
    }
    if wanted.expected.iter().any(|e| !found.iter().any(|text| e.accepts(text))) {
        return Err(format!("an expected {kind} annotation is missing, found {found:?}"));
    }
    match found.iter().find(|text| !wanted.expected.iter().any(|e| e.accepts(text))) {
        Some(text) => Err(format!("unexpected {kind} annotation {text:?}")),
        None => Ok(()),
    }
}

/// Whether the value is the one expected.
pub(super) fn value(eval: &Eval, found: &QueryValue) -> Result<(), String> {
    let expected = &eval.values;
    match found {
        QueryValue::String { value, .. } => match &expected.string {
            Some(wanted) if wanted == value => Ok(()),
            wanted => Err(format!("expected string {wanted:?} but got {value:?}")),
        },
        QueryValue::Scalar { value, .. } => match expected.scalar {
            Some(wanted) if almost_equal(wanted, *value) => Ok(()),
            wanted => Err(format!("expected scalar {wanted:?} but got {value}")),
        },
        QueryValue::Vector { samples, .. } => vector(expected, samples, eval.ordered),
        QueryValue::Matrix(series) => matrix(eval, series),
        QueryValue::Spilled(_) => Err("a result that may wait in a file".to_owned()),
    }
}

pub(super) fn vector(expected: &Expected, samples: &[VectorSample], ordered: bool) -> Result<(), String> {
    if expected.scalar.is_some() {
        return Err("expected scalar result, but got vector".to_owned());
    }
    let mut seen: HashSet<&Labels> = HashSet::new();
    for (at, sample) in samples.iter().enumerate() {
        let labels = &sample.labels;
        let Some(place) = expected.series.iter().rposition(|(wanted, _)| wanted == labels) else {
            return Err(format!("unexpected series {labels} in result, has {}", show(&sample.value)));
        };
        if ordered && place != at {
            return Err(format!("expected {labels} at position {} but was at {}", place + 1, at + 1));
        }
        let Some(wanted) = expected.series[place].1.first() else {
            return Err(format!("no value is expected for {labels}"));
        };
        if !matches(wanted, &sample.value) {
            return Err(format!("expected {wanted:?} for {labels} but got {}", show(&sample.value)));
        }
        seen.insert(labels);
    }
    match expected.series.iter().find(|(labels, _)| !seen.contains(labels)) {
        Some((labels, values)) => Err(format!("expected series {labels} with {values:?} not found")),
        None => Ok(()),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Float(value) => value.to_string(),
        Value::Histogram(h) => format!("{} (schema {}, hint {:?})", histogram::print(h), h.schema, h.reset_hint),
    }
}

fn matches(wanted: &SequenceValue, found: &Value) -> bool {
    match (wanted, found) {
        (SequenceValue::Float(wanted), Value::Float(found)) => almost_equal(*wanted, *found),
        (SequenceValue::Histogram(wanted, hint), Value::Histogram(found)) => same_histogram(wanted, found, *hint),
        _ => false,
    }
}

fn same_histogram(wanted: &FloatHistogram, found: &FloatHistogram, hint: bool) -> bool {
    let (mut a, mut b) = (wanted.clone(), found.clone());
    histogram::compact(&mut a);
    histogram::compact(&mut b);
    let counts = |x: &[f64], y: &[f64]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| almost_equal(*x, *y));
    a.schema == b.schema
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && almost_equal(a.zero_count, b.zero_count)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && counts(&a.positive, &b.positive)
        && counts(&a.negative, &b.negative)
        && (!hint || a.reset_hint == b.reset_hint)
}

fn matrix(eval: &Eval, found: &[MatrixSeries]) -> Result<(), String> {
    let (start, end, step) = match (eval.range_vector, eval.when) {
        (Some(times), _) => times,
        (None, When::Range { start, end, step }) => (start, end, step),
        (None, When::Instant(time)) => (time, time, 1),
    };
    let expected = &eval.values.series;
    if found.windows(2).any(|pair| pair[0].labels > pair[1].labels) {
        return Err("series are not ordered by labels".to_owned());
    }
    for series in found {
        let Some((_, values)) = expected.iter().rfind(|(labels, _)| *labels == series.labels) else {
            return Err(format!("unexpected series {} in result, has {series:?}", series.labels));
        };
        let mut points = points(series);
        for (i, wanted) in values.iter().enumerate().filter(|(_, v)| **v != SequenceValue::Omitted) {
            let time = start + i as i64 * step;
            if time > end {
                return Err(format!("{} values are expected, but the range ends before", values.len()));
            }
            let at = points.iter().position(|(t, _)| *t == Timestamp(time));
            match at.map(|at| points.remove(at).1) {
                Some(value) if matches(wanted, &value) => {}
                other => {
                    let shown = other.as_ref().map_or_else(|| "nothing".to_owned(), show);
                    return Err(format!("expected {wanted:?} at {time} for {} but got {shown}", series.labels));
                }
            }
        }
        if let Some((time, value)) = points.first() {
            return Err(format!("unexpected point {} at {time} for {}", show(value), series.labels));
        }
    }
    match expected.iter().find(|(labels, _)| !found.iter().any(|series| series.labels == *labels)) {
        Some((labels, _)) => Err(format!("expected series {labels} not found")),
        None => Ok(()),
    }
}

fn points(series: &MatrixSeries) -> Vec<(Timestamp, Value)> {
    let floats = series.floats.iter().map(|(t, v)| (*t, Value::Float(*v)));
    let histograms = series.histograms.iter().map(|(t, h)| (*t, Value::Histogram(h.clone())));
    floats.chain(histograms).collect()
}

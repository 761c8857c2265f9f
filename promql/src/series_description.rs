//! Series written as text, with their values in the expanding notation of rule unit tests:
//! `up{job="a"} 1+2x5 _x3 stale {{schema:1 sum:3 buckets:[5 10]}}x2`.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint, Span};
use model::labels::Labels;
use model::number::print_float_general;
use model::sample::STALE_NAN;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{opt, recognize};
use nom::number::complete::recognize_float;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use crate::error::ParseError;
use crate::histogram;
use crate::parser::parse_metric;
use crate::token;

/// The most values one item may expand to.
pub const REPEAT_MAX: u64 = 10_000_000;

/// One value of a described series.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceValue {
    /// `_`: no sample.
    Omitted,
    /// A float; `stale` is the stale marker.
    Float(f64),
    /// A histogram, and whether its counter-reset hint was written.
    Histogram(Arc<FloatHistogram>, bool),
}

/// Parses a series with its values.
///
/// # Errors
/// The first fault, with its place in `text`.
pub fn parse_series_description(text: &str) -> Result<(Labels, Vec<SequenceValue>), ParseError> {
    let (labels, end) = parse_metric(text)?;
    let mut values = Vec::new();
    for (start, item) in items(text, end) {
        let expanded = expand(item).map_err(|message| {
            let span = token::Span { start, end: start + item.len() };
            ParseError { position: span.position(text), message, span }
        })?;
        values.extend(expanded);
    }
    Ok((labels, values))
}

/// The items from byte `from` on, with their places: split at spaces outside of `{{` and `}}`.
fn items(text: &str, from: usize) -> Vec<(usize, &str)> {
    let mut items = Vec::new();
    let (mut start, mut depth) = (None, 0_u32);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let space = depth == 0 && byte.is_ascii_whitespace();
        match (space, start) {
            (true, Some(begin)) => {
                items.push((begin, text.get(begin..at).unwrap_or_default()));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(begin) = start {
        items.push((begin, text.get(begin..).unwrap_or_default()));
    }
    items
}

type Scan<'a, T> = IResult<&'a str, T>;

fn number(text: &str) -> Scan<'_, f64> {
    let word = recognize(pair(opt(one_of("+-")), alt((tag_no_case("inf"), tag_no_case("nan")))));
    alt((word, recognize_float)).map(|t: &str| t.parse().unwrap_or(f64::NAN)).parse(text)
}

fn repeat(text: &str) -> Scan<'_, u64> {
    preceded(char('x'), digit1).map(|digits: &str| digits.parse().unwrap_or(u64::MAX)).parse(text)
}

fn expand(item: &str) -> Result<Vec<SequenceValue>, String> {
    let bad = || {
        let quoted = model::quote::quote(item);
        match item.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => format!("unexpected identifier {quoted} in series values, expected number or \"stale\""),
            false => format!("unexpected {quoted} in series values"),
        }
    };
    if let Some(rest) = item.strip_prefix('_') {
        let times = if rest.is_empty() { 1 } else { whole(repeat(rest)).ok_or_else(bad)? };
        return Ok(vec![SequenceValue::Omitted; limited(times)?]);
    }
    if item.starts_with("{{") {
        return expand_histogram(item);
    }
    let (start, rest) = match item.strip_prefix("stale") {
        Some(rest) => (STALE_NAN, rest),
        None => number(item).map(|(rest, value)| (value, rest)).map_err(|_| bad())?,
    };
    if rest.is_empty() {
        return Ok(vec![SequenceValue::Float(start)]);
    }
    if rest.starts_with('x') {
        let times = whole(repeat(rest)).ok_or_else(bad)?;
        return Ok(vec![SequenceValue::Float(start); limited(times)? + 1]);
    }
    let (rest, step) = number(rest).map_err(|_| bad())?;
    let times = limited(whole(repeat(rest)).ok_or_else(bad)?)?;
    let mut value = start;
    Ok((0..=times)
        .map(|_| {
            let now = value;
            value += step;
            SequenceValue::Float(now)
        })
        .collect())
}

fn whole<T>(scanned: Scan<'_, T>) -> Option<T> {
    scanned.ok().filter(|(rest, _)| rest.is_empty()).map(|(_, value)| value)
}

fn limited(times: u64) -> Result<usize, String> {
    if times > REPEAT_MAX {
        return Err(format!("invalid repetition in series values: {times} is more than {REPEAT_MAX}"));
    }
    usize::try_from(times).map_err(|e| e.to_string())
}

/// `{{...}}`, `{{...}}xN`, `{{...}}+{{...}}xN` or `{{...}}-{{...}}xN`
fn expand_histogram(item: &str) -> Result<Vec<SequenceValue>, String> {
    let bad = || format!("unexpected {} in series values", model::quote::quote(item));
    let (first, rest) = braces(item).ok_or_else(bad)?;
    let (base, written) = parse_histogram(first)?;
    if rest.is_empty() {
        return Ok(vec![SequenceValue::Histogram(Arc::new(base), written)]);
    }
    if rest.starts_with('x') {
        let times = limited(whole(repeat(rest)).ok_or_else(bad)?)?;
        return Ok(vec![SequenceValue::Histogram(Arc::new(base), written); times + 1]);
    }
    let negative = rest.starts_with('-');
    let (second, rest) = rest.get(1..).and_then(braces).ok_or_else(bad)?;
    let (step, written) = parse_histogram(second)?;
    let times = limited(whole(repeat(rest)).ok_or_else(bad)?)?;
    let mut current = base;
    let mut values = vec![SequenceValue::Histogram(Arc::new(current.clone()), written)];
    for _ in 0..times {
        if current.schema > step.schema {
            let (to, from) = (current.schema, step.schema);
            return Err(format!("error combining histograms: cannot merge from schema {from} to {to}"));
        }
        let next = if negative { histogram::subtract(&current, &step) } else { histogram::add(&current, &step) };
        current = next.map_err(|_| "error combining histograms: incompatible bucket layouts".to_owned())?.histogram;
        values.push(SequenceValue::Histogram(Arc::new(current.clone()), written));
    }
    Ok(values)
}

/// What stands between `{{` and `}}`, and what follows.
fn braces(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("{{")?.split_once("}}")
}

/// The histogram, and whether its counter-reset hint was written.
fn parse_histogram(text: &str) -> Result<(FloatHistogram, bool), String> {
    let mut h = FloatHistogram::default();
    let (mut offset, mut negative_offset, mut written) = (0, 0, false);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) =
            rest.split_once(':').ok_or_else(|| format!("missing `:` for histogram descriptor: {rest}"))?;
        let list = tail.starts_with('[');
        let end = if list { tail.find(']').map(|at| at + 1) } else { tail.find(char::is_whitespace) };
        let (value, after) = tail.split_at(end.unwrap_or(tail.len()));
        rest = after.trim_start();
        match key {
            "schema" => h.schema = integer(value)?,
            "sum" => h.sum = float(value)?,
            "count" => h.count = float(value)?,
            "z_bucket" => h.zero_count = float(value)?,
            "z_bucket_w" => h.zero_threshold = float(value)?,
            "custom_values" => h.custom_values = floats(value)?,
            "buckets" => h.positive = floats(value)?,
            "offset" => offset = integer(value)?,
            "n_buckets" => h.negative = floats(value)?,
            "n_offset" => negative_offset = integer(value)?,
            "counter_reset_hint" => {
                written = true;
                h.reset_hint = hint(value)?;
            }
            other => return Err(format!("bad histogram descriptor found: {}", model::quote::quote(other))),
        }
    }
    h.positive_spans = one_span(offset, h.positive.len());
    h.negative_spans = one_span(negative_offset, h.negative.len());
    Ok((h, written))
}

fn one_span(offset: i32, length: usize) -> Vec<Span> {
    if length == 0 { Vec::new() } else { vec![Span { offset, length: length as u32 }] }
}

fn hint(value: &str) -> Result<ResetHint, String> {
    match value {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "not_reset" => Ok(ResetHint::NotReset),
        "gauge" => Ok(ResetHint::Gauge),
        other => Err(format!("error parsing counter_reset_hint: unknown value {other}")),
    }
}

fn integer(value: &str) -> Result<i32, String> {
    value.parse().map_err(|_| format!("not an integer in a histogram: {}", model::quote::quote(value)))
}

fn float(value: &str) -> Result<f64, String> {
    whole(number(value)).ok_or_else(|| format!("not a number in a histogram: {}", model::quote::quote(value)))
}

fn floats(value: &str) -> Result<Vec<f64>, String> {
    let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("not a list in a histogram: {}", model::quote::quote(value)))?;
    inner.split_whitespace().map(float).collect()
}

/// A histogram in the notation of descriptions, its buckets without gaps.
pub fn print_histogram(h: &FloatHistogram) -> String {
    let mut parts = Vec::new();
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (key, value) in
        [("count", h.count), ("sum", h.sum), ("z_bucket", h.zero_count), ("z_bucket_w", h.zero_threshold)]
    {
        if value != 0.0 {
            parts.push(format!("{key}:{}", print_float_general(value)));
        }
    }
    if h.uses_custom_buckets() {
        parts.push(format!("custom_values:{}", print_list(&h.custom_values)));
    }
    match h.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    for (prefix, spans, counts) in [("", &h.positive_spans, &h.positive), ("n_", &h.negative_spans, &h.negative)] {
        let (offset, counts) = histogram::without_gaps(spans, counts);
        if counts.is_empty() {
            continue;
        }
        if offset != 0 {
            parts.push(format!("{prefix}offset:{offset}"));
        }
        parts.push(format!("{prefix}buckets:{}", print_list(&counts)));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

fn print_list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| print_float_general(*value)).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[f64]) {
        let (_, values) = parse_series_description(text).unwrap();
        let floats: Vec<f64> = values
            .iter()
            .map(|v| match v {
                SequenceValue::Float(value) => *value,
                _ => f64::NAN,
            })
            .collect();
        assert_eq!(format!("{floats:?}"), format!("{expected:?}"), "{text}");
    }

    #[test]
    fn values_expand() {
        let nan = f64::NAN;
        check("a 1 2 -3.5", &[1.0, 2.0, -3.5]);
        check("a{b=\"c\",} 1+2x2 _x2 4x1", &[1.0, 3.0, 5.0, nan, nan, 4.0, 4.0]);
        check("{\"my.metric\"} 3-1x3 Inf -Inf NaN", &[3.0, 2.0, 1.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, nan]);
        let (labels, values) = parse_series_description("a{b=\"c\"} {{sum:3 count:4 buckets:[1 2 1]}}x1").unwrap();
        assert_eq!((labels.to_string().as_str(), values.len()), ("{__name__=\"a\", b=\"c\"}", 2));
    }

    #[test]
    fn histograms_are_printed_as_they_are_written() {
        for text in [
            "{{}}",
            "{{schema:1 count:6 sum:3.5 z_bucket:2 z_bucket_w:0.001 offset:-1 buckets:[1 0 3] n_offset:2 n_buckets:[4]}}",
            "{{schema:-53 count:3 sum:5 custom_values:[5 10] counter_reset_hint:gauge buckets:[1 2]}}",
        ] {
            let (_, values) = parse_series_description(&format!("a {text}")).unwrap();
            let [SequenceValue::Histogram(histogram, _)] = values.as_slice() else { panic!("a histogram") };
            assert_eq!(print_histogram(histogram), text);
        }
    }

    #[test]
    fn faults_are_placed() {
        let fault = |text| parse_series_description(text).unwrap_err().to_string();
        assert_eq!(fault("a 1 2y"), "1:5: parse error: unexpected \"2y\" in series values");
        assert_eq!(fault("a{b} 1"), "1:4: parse error: unexpected \"}\" in label set, expected \"=\"");
        assert!(fault("a 1x99999999999").contains("invalid repetition"));
        assert!(fault("a {{foo:1}}").contains("bad histogram descriptor"));
    }
}

//! Requests to write, read in place: one series at a time, in memory that is used again for the next.

use model::metadata::MetricType;
use prost::Message as _;

use super::messages::Histogram;
use super::wire::{Field, Fields, WireError, push_uint32s};

/// A number in a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewSample {
    /// When its counting began, in ms; 0 if that is not known.
    pub start: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The number.
    pub value: f64,
}

/// An exemplar of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct NewExemplar<'a> {
    /// Its labels, or what is wrong with them.
    pub labels: Result<Vec<(&'a str, &'a str)>, String>,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
}

/// What a series says of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMetadata<'a> {
    /// The family's type.
    pub metric_type: MetricType,
    /// Its unit.
    pub unit: &'a str,
    /// Its help.
    pub help: &'a str,
}

/// One series of a request.
#[derive(Debug, Default)]
pub struct Incoming<'a> {
    /// Names and values, in any order.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Numbers, in any order.
    pub samples: Vec<NewSample>,
    /// Native histograms, in any order.
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    pub exemplars: Vec<NewExemplar<'a>>,
    /// Metadata, in requests of 2.0.
    pub metadata: Option<NewMetadata<'a>>,
    /// Why the series cannot be taken at all.
    pub fault: Option<String>,
}

impl Incoming<'_> {
    fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
        self.fault = None;
    }
}

/// Why reading a request ended early.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError<E> {
    /// The bytes are no request.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A histogram in it is no message.
    #[error("histogram: {0}")]
    Histogram(#[from] prost::DecodeError),
    /// Whoever takes the series gave up.
    #[error("{0}")]
    Taker(E),
}

/// Reads a `prometheus.WriteRequest` (remote write 1.0). Metadata of families is not looked at: it names no series.
///
/// # Errors
/// If the bytes are no such request, or `take` fails.
pub fn v1<E>(body: &[u8], mut take: impl FnMut(&Incoming<'_>) -> Result<(), E>) -> Result<(), DecodeError<E>> {
    let mut fields = Fields::of(body);
    let mut series = Incoming::default();
    while let Some((number, field)) = fields.advance()? {
        if number != 1 {
            continue;
        }
        series.clear();
        let mut inner = fields.nested(field.bytes());
        while let Some((number, field)) = inner.advance()? {
            match number {
                1 => match label(&inner, field)? {
                    Ok(pair) => series.labels.push(pair),
                    Err(fault) => series.fault = Some(fault),
                },
                2 => series.samples.push(sample(&inner, field)?),
                3 => series.exemplars.push(exemplar_v1(&inner, field)?),
                4 => series.histograms.push(Histogram::decode(field.bytes())?),
                _ => {}
            }
        }
        take(&series).map_err(DecodeError::Taker)?;
    }
    Ok(())
}

/// Reads an `io.prometheus.write.v2.Request` (remote write 2.0).
///
/// # Errors
/// If the bytes are no such request, or `take` fails.
pub fn v2<E>(body: &[u8], mut take: impl FnMut(&Incoming<'_>) -> Result<(), E>) -> Result<(), DecodeError<E>> {
    // The table may stand behind the series that use it.
    let mut symbols = Vec::new();
    let mut fields = Fields::of(body);
    while let Some((number, field)) = fields.advance()? {
        if number == 4 {
            symbols.push(field.bytes());
        }
    }
    let symbols = Symbols(&symbols);
    let mut fields = Fields::of(body);
    let mut series = Incoming::default();
    let mut refs = Vec::new();
    while let Some((number, field)) = fields.advance()? {
        if number != 5 {
            continue;
        }
        series.clear();
        refs.clear();
        let mut metadata = [0; 3];
        let mut inner = fields.nested(field.bytes());
        while let Some((number, field)) = inner.advance()? {
            match number {
                1 => push_uint32s(&mut refs, &inner, field)?,
                2 => series.samples.push(sample(&inner, field)?),
                3 => series.histograms.push(Histogram::decode(field.bytes())?),
                4 => series.exemplars.push(exemplar_v2(&inner, field, symbols)?),
                5 => metadata = metadata_refs(&inner, field)?,
                _ => {}
            }
        }
        match symbols.pairs(&refs, &mut series.labels) {
            Ok(()) => match symbols.metadata(metadata) {
                Ok(metadata) => series.metadata = Some(metadata),
                Err(fault) => series.fault = Some(format!("parsing metadata for series {refs:?}: {fault}")),
            },
            Err(fault) => series.fault = Some(format!("parsing labels for series {refs:?}: {fault}")),
        }
        take(&series).map_err(DecodeError::Taker)?;
    }
    Ok(())
}

/// The table of texts of a request of 2.0.
#[derive(Clone, Copy)]
struct Symbols<'t, 'a>(&'t [&'a [u8]]);

impl<'a> Symbols<'_, 'a> {
    fn text(self, symbol: u32) -> Option<Result<&'a str, String>> {
        let bytes = self.0.get(symbol as usize)?;
        Some(std::str::from_utf8(bytes).map_err(|error| format!("symbol {symbol} is not UTF-8: {error}")))
    }

    fn pairs(self, refs: &[u32], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), String> {
        if !refs.len().is_multiple_of(2) {
            return Err(format!("invalid labelRefs length {}", refs.len()));
        }
        for pair in refs.chunks_exact(2) {
            match (self.text(pair[0]), self.text(pair[1])) {
                (Some(name), Some(value)) => pairs.push((name?, value?)),
                _ => {
                    let (name, value, size) = (pair[0], pair[1], self.0.len());
                    return Err(format!(
                        "labelRefs {name} (name) = {value} (value) outside of symbols table (size {size})"
                    ));
                }
            }
        }
        Ok(())
    }

    /// `refs`: the type, the symbols of help and unit.
    fn metadata(self, [metric_type, help, unit]: [u32; 3]) -> Result<NewMetadata<'a>, String> {
        let text = |what: &str, symbol: u32| {
            let outside = || format!("metadata {what}_ref {symbol} outside of symbols table (size {})", self.0.len());
            self.text(symbol).ok_or_else(outside)?
        };
        Ok(NewMetadata {
            metric_type: MetricType::from_wire_number(u64::from(metric_type)),
            unit: text("unit", unit)?,
            help: text("help", help)?,
        })
    }
}

fn metadata_refs(outer: &Fields<'_>, field: Field<'_>) -> Result<[u32; 3], WireError> {
    let mut refs = [0; 3];
    let mut fields = outer.nested(field.bytes());
    while let Some((number, field)) = fields.advance()? {
        let value = u32::try_from(field.int()).unwrap_or(u32::MAX);
        match number {
            1 => refs[0] = value,
            3 => refs[1] = value,
            4 => refs[2] = value,
            _ => {}
        }
    }
    Ok(refs)
}

fn label<'a>(outer: &Fields<'a>, field: Field<'a>) -> Result<Result<(&'a str, &'a str), String>, WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = outer.nested(field.bytes());
    while let Some((number, field)) = fields.advance()? {
        match number {
            1 => name = field.bytes(),
            2 => value = field.bytes(),
            _ => {}
        }
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|error| format!("label is not UTF-8: {error}"));
    Ok(text(name).and_then(|name| Ok((name, text(value)?))))
}

fn sample(outer: &Fields<'_>, field: Field<'_>) -> Result<NewSample, WireError> {
    let mut sample = NewSample { start: 0, timestamp: 0, value: 0.0 };
    let mut fields = outer.nested(field.bytes());
    while let Some((number, field)) = fields.advance()? {
        match number {
            1 => sample.value = field.double(),
            2 => sample.timestamp = field.int(),
            3 => sample.start = field.int(),
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar_v1<'a>(outer: &Fields<'a>, field: Field<'a>) -> Result<NewExemplar<'a>, WireError> {
    let mut pairs = Ok(Vec::new());
    let (mut value, mut timestamp) = (0.0, 0);
    let mut fields = outer.nested(field.bytes());
    while let Some((number, field)) = fields.advance()? {
        match number {
            1 => match (label(&fields, field)?, &mut pairs) {
                (Ok(pair), Ok(pairs)) => pairs.push(pair),
                (Err(fault), _) => pairs = Err(fault),
                _ => {}
            },
            2 => value = field.double(),
            3 => timestamp = field.int(),
            _ => {}
        }
    }
    Ok(NewExemplar { labels: pairs, value, timestamp })
}

fn exemplar_v2<'a>(
    outer: &Fields<'a>,
    field: Field<'a>,
    symbols: Symbols<'_, 'a>,
) -> Result<NewExemplar<'a>, WireError> {
    let mut refs = Vec::new();
    let (mut value, mut timestamp) = (0.0, 0);
    let mut fields = outer.nested(field.bytes());
    while let Some((number, field)) = fields.advance()? {
        match number {
            1 => push_uint32s(&mut refs, &fields, field)?,
            2 => value = field.double(),
            3 => timestamp = field.int(),
            _ => {}
        }
    }
    let mut pairs = Vec::new();
    let labels = symbols.pairs(&refs, &mut pairs).map(|()| pairs);
    Ok(NewExemplar { labels, value, timestamp })
}

#[cfg(test)]
mod tests {
    use super::super::messages::{self, v2 as wire};
    use super::*;

    /// What a request holds, as text.
    fn listed(read: impl Fn(&mut dyn FnMut(&Incoming<'_>))) -> Vec<String> {
        let mut lines = Vec::new();
        read(&mut |series| {
            lines.push(format!("{:?} {:?} {:?} {:?}", series.labels, series.samples, series.exemplars, series.fault));
        });
        lines
    }

    #[test]
    fn the_first_version_is_read() {
        let label = |name: &str, value: &str| messages::Label { name: name.into(), value: value.into() };
        let request = messages::WriteRequest {
            timeseries: vec![messages::TimeSeries {
                labels: vec![label("__name__", "a"), label("x", "1")],
                samples: vec![messages::Sample { value: 2.5, timestamp: -3, start_timestamp: 0 }],
                exemplars: vec![messages::Exemplar { labels: vec![label("id", "z")], value: 1.0, timestamp: 4 }],
                histograms: vec![],
            }],
            metadata: vec![messages::MetricMetadata { metric_family_name: "a".into(), ..Default::default() }],
        };
        let body = request.encode_to_vec();
        let lines = listed(|take| {
            v1::<()>(&body, |series| {
                take(series);
                Ok(())
            })
            .unwrap()
        });
        assert_eq!(
            lines,
            [
                r#"[("__name__", "a"), ("x", "1")] [NewSample { start: 0, timestamp: -3, value: 2.5 }] [NewExemplar { labels: Ok([("id", "z")]), value: 1.0, timestamp: 4 }] None"#
            ]
        );
        // Cut anywhere, it is an error or fewer series, never a panic.
        for end in 0..body.len() {
            drop(v1::<()>(&body[..end], |_| Ok(())));
            drop(v2::<()>(&body[..end], |_| Ok(())));
        }
    }

    #[test]
    fn the_second_version_names_symbols_that_are_not_there() {
        let sample = messages::Sample { value: 1.0, timestamp: 9, start_timestamp: 5 };
        let series = |labels_refs, metadata| wire::TimeSeries {
            labels_refs,
            samples: vec![sample],
            metadata: Some(metadata),
            ..Default::default()
        };
        let metadata = wire::Metadata { r#type: 1, help_ref: 1, unit_ref: 0 };
        let request = wire::Request {
            symbols: ["", "__name__", "a"].map(String::from).to_vec(),
            timeseries: vec![
                series(vec![1, 2], metadata),
                series(vec![1, 7], metadata),
                series(vec![1], metadata),
                series(vec![1, 2], wire::Metadata { unit_ref: 8, ..metadata }),
            ],
        };
        let body = request.encode_to_vec();
        let mut faults = Vec::new();
        v2::<()>(&body, |series| {
            faults.push(series.fault.clone().unwrap_or_else(|| format!("{:?} {:?}", series.samples, series.metadata)));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            faults,
            [
                r#"[NewSample { start: 5, timestamp: 9, value: 1.0 }] Some(NewMetadata { metric_type: Counter, unit: "", help: "__name__" })"#,
                "parsing labels for series [1, 7]: labelRefs 1 (name) = 7 (value) outside of symbols table (size 3)",
                "parsing labels for series [1]: invalid labelRefs length 1",
                "parsing metadata for series [1, 2]: metadata unit_ref 8 outside of symbols table (size 3)",
            ]
        );
    }
}

//! Requests to write, built sample by sample in the bytes they are sent as.

use std::collections::HashMap;

use bytes::Bytes;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use prost::Message as _;
use tsdb::tail::{TailPosition, TailValue};

use crate::config::WriteMessage;
use crate::remote::histogram;
use crate::remote::messages::{self, MetricMetadata};

/// What a request holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) samples: u32,
    pub(super) histograms: u32,
    pub(super) exemplars: u32,
}

impl Counts {
    /// Samples of either kind.
    pub(super) fn all(self) -> u32 {
        self.samples + self.histograms
    }
}

/// A finished request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Lanes change their series from one generation to the next.
    pub(super) generation: u64,
    /// Requests of one lane of one generation are sent one after the other: the same series are in them.
    pub(super) lane: u32,
    pub(super) counts: Counts,
    /// The newest sample, in ms.
    pub(super) newest: i64,
    /// Compressed.
    pub(super) body: Bytes,
}

/// A request that takes samples.
#[derive(Debug)]
pub(super) struct OpenRequest {
    message: WriteMessage,
    /// Where in the logs its first sample stands, at the latest.
    pub(super) from: TailPosition,
    /// When that came, in ms.
    pub(super) opened: i64,
    pub(super) counts: Counts,
    newest: i64,
    /// Series, encoded.
    series: Vec<u8>,
    symbols: Symbols,
}

/// Texts of a request of 2.0, each once. The first is empty.
#[derive(Debug, Default)]
struct Symbols {
    known: HashMap<Box<str>, u32>,
    encoded: Vec<u8>,
}

/// One series' part of a request.
pub(super) struct Entry<'a> {
    pub(super) labels: &'a Labels,
    pub(super) start: i64,
    pub(super) time: i64,
    pub(super) value: &'a TailValue,
    pub(super) exemplars: &'a [Exemplar],
    pub(super) metadata: Option<&'a Metadata>,
}

impl OpenRequest {
    pub(super) fn new(message: WriteMessage, from: TailPosition, opened: i64) -> Self {
        let mut symbols = Symbols::default();
        if message == WriteMessage::V2 {
            symbols.number("");
        }
        Self { message, from, opened, counts: Counts::default(), newest: i64::MIN, series: Vec::new(), symbols }
    }

    /// Adds a sample with its exemplars.
    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        let mut series = Vec::with_capacity(entry.labels.as_bytes().len() * 2 + 32);
        let (sample_tag, histogram_tag, exemplar_tag) = match self.message {
            WriteMessage::V1 => {
                push_labels(&mut series, 1, entry.labels);
                (2, 4, 3)
            }
            WriteMessage::V2 => {
                push_refs(&mut series, &mut self.symbols, entry.labels);
                (2, 3, 4)
            }
        };
        let start = if self.message == WriteMessage::V2 { entry.start } else { 0 };
        match entry.value {
            TailValue::Float(value) => {
                push_message(&mut series, sample_tag, |out| push_sample(out, *value, entry.time, start));
                self.counts.samples += 1;
            }
            TailValue::Int(value) => {
                let wire = messages::Histogram { start_timestamp: start, ..histogram::from_int(value, entry.time) };
                push_bytes(&mut series, histogram_tag, &wire.encode_to_vec());
                self.counts.histograms += 1;
            }
            TailValue::FloatHistogram(value) => {
                let wire = messages::Histogram { start_timestamp: start, ..histogram::from_float(value, entry.time) };
                push_bytes(&mut series, histogram_tag, &wire.encode_to_vec());
                self.counts.histograms += 1;
            }
        }
        for exemplar in entry.exemplars {
            let (message, symbols) = (self.message, &mut self.symbols);
            push_message(&mut series, exemplar_tag, |out| {
                match message {
                    WriteMessage::V1 => push_labels(out, 1, &exemplar.labels),
                    WriteMessage::V2 => push_refs(out, symbols, &exemplar.labels),
                }
                push_sample_as(out, 2, 3, exemplar.value, exemplar.timestamp.map_or(entry.time, |time| time.0));
            });
            self.counts.exemplars += 1;
        }
        if let (WriteMessage::V2, Some(metadata)) = (self.message, entry.metadata) {
            let (help, unit) = (self.symbols.number(&metadata.help), self.symbols.number(&metadata.unit));
            push_message(&mut series, 5, |out| {
                push_varint_field(out, 1, metadata.metric_type.wire_number());
                push_varint_field(out, 3, u64::from(help));
                push_varint_field(out, 4, u64::from(unit));
            });
        }
        self.newest = self.newest.max(entry.time);
        let series_tag = if self.message == WriteMessage::V1 { 1 } else { 5 };
        push_bytes(&mut self.series, series_tag, &series);
    }

    /// The finished request.
    pub(super) fn seal(self, generation: u64, lane: u32) -> Request {
        let mut plain = self.symbols.encoded;
        plain.extend_from_slice(&self.series);
        Request { generation, lane, counts: self.counts, newest: self.newest, body: compressed(&plain) }
    }
}

/// Snappy's block format.
pub(super) fn compressed(plain: &[u8]) -> Bytes {
    // Only an input past 4 GiB fails, and a request is far smaller.
    snap::raw::Encoder::new().compress_vec(plain).unwrap_or_default().into()
}

/// Metadata of families as a request of 1.0, which has no other place for it.
pub(super) fn metadata_request(entries: Vec<MetricMetadata>) -> Bytes {
    compressed(&messages::WriteRequest { timeseries: Vec::new(), metadata: entries }.encode_to_vec())
}

impl Symbols {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.known.get(text) {
            return number;
        }
        // Requests are cut long before 2^32 texts.
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.insert(text.into(), number);
        push_bytes(&mut self.encoded, 4, text.as_bytes());
        number
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        push_varint(out, u64::from(number) << 3);
        push_varint(out, value);
    }
}

fn push_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    push_varint(out, u64::from(number) << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Vec::with_capacity(32);
    write(&mut message);
    push_bytes(out, number, &message);
}

fn push_sample(out: &mut Vec<u8>, value: f64, time: i64, start: i64) {
    push_sample_as(out, 1, 2, value, time);
    push_varint_field(out, 3, start.cast_unsigned());
}

fn push_sample_as(out: &mut Vec<u8>, value_number: u32, time_number: u32, value: f64, time: i64) {
    // Zero is the default and left out; that of negative sign is another value.
    if value.to_bits() != 0 {
        push_varint(out, u64::from(value_number) << 3 | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    push_varint_field(out, time_number, time.cast_unsigned());
}

fn push_labels(out: &mut Vec<u8>, number: u32, labels: &Labels) {
    for (name, value) in labels.iter() {
        push_message(out, number, |pair| {
            push_bytes(pair, 1, name.as_bytes());
            push_bytes(pair, 2, value.as_bytes());
        });
    }
}

fn push_refs(out: &mut Vec<u8>, symbols: &mut Symbols, labels: &Labels) {
    push_message(out, 1, |packed| {
        for (name, value) in labels.iter() {
            push_varint(packed, u64::from(symbols.number(name)));
            push_varint(packed, u64::from(symbols.number(value)));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::histogram::IntHistogram;
    use model::labels;
    use model::metadata::MetricType;
    use model::sample::Timestamp;

    use super::*;
    use crate::remote::decode::{self, Incoming};
    use crate::remote::decompress;

    #[test]
    fn both_versions_come_back_as_they_went() {
        for message in [WriteMessage::V1, WriteMessage::V2] {
            let mut open = OpenRequest::new(message, TailPosition::default(), 0);
            let labels = labels! { "__name__" => "a", "x" => "1" };
            let exemplar = Exemplar { labels: labels! { "id" => "z" }, value: 0.0, timestamp: Some(Timestamp(8)) };
            let metadata = Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: "Seconds.".into() };
            let values = [
                TailValue::Float(-0.0),
                TailValue::Float(0.0),
                TailValue::Int(Arc::new(IntHistogram { count: 3, zero_count: 3, sum: 1.5, ..IntHistogram::default() })),
            ];
            for (time, value) in (1..).zip(&values) {
                let (exemplars, metadata) = (std::slice::from_ref(&exemplar), Some(&metadata));
                open.push(&Entry { labels: &labels, start: 0, time, value, exemplars, metadata });
            }
            assert_eq!(open.counts, Counts { samples: 2, histograms: 1, exemplars: 3 });
            let request = open.seal(1, 0);
            assert_eq!(request.newest, 3);
            let body = decompress(&request.body, 1 << 20).unwrap();
            let mut seen = Vec::new();
            let mut take = |series: &Incoming<'_>| {
                assert_eq!(series.fault, None);
                assert_eq!(series.labels, [("__name__", "a"), ("x", "1")]);
                assert_eq!(series.exemplars[0].labels, Ok(vec![("id", "z")]));
                if message == WriteMessage::V2 {
                    let metadata = series.metadata.unwrap();
                    assert_eq!(
                        (metadata.metric_type, metadata.unit, metadata.help),
                        (MetricType::Counter, "s", "Seconds.")
                    );
                }
                seen.extend(series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())));
                seen.extend(series.histograms.iter().map(|h| (h.timestamp, h.sum.to_bits())));
                Ok::<(), ()>(())
            };
            match message {
                WriteMessage::V1 => decode::v1(&body, &mut take).unwrap(),
                WriteMessage::V2 => decode::v2(&body, &mut take).unwrap(),
            }
            assert_eq!(seen, [(1, (-0.0_f64).to_bits()), (2, 0), (3, 1.5_f64.to_bits())]);
        }
    }
}

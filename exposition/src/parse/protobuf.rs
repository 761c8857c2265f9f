//! Pages in Prometheus' protobuf format: `MetricFamily` messages, each after its length, the only format that carries
//! native histograms.
//!
//! A page is decoded whole. Series are written out as in the text format, so that the same caches and label rules serve
//! all formats; [`ProtobufPage::entries`] then reads like a text page. Classic histograms and summaries become their
//! `_bucket`, `_sum` and `_count` series.

mod histogram;
pub(crate) mod messages;

use std::ops::Range;

use model::histogram::{FloatHistogram, IntHistogram};
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use model::metadata::MetricType;
use model::number::print_float_canonical;
use prost::Message as _;

use super::{Entry, ExemplarText, HistogramLine, ParseError, SampleLine};
use crate::print::push_quoted;
use messages::{Exemplar, LabelPair, Metric, MetricFamily, Timestamp, kind};

/// The longest family, in bytes.
pub const FAMILY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What is wanted of histograms that have native buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeHistograms {
    /// They are taken as such; else their classic buckets are all there is.
    pub native: bool,
    /// Their classic series are taken too.
    pub always_classic: bool,
}

/// A native histogram's value.
#[derive(Debug, Clone, PartialEq)]
pub enum HistogramValue {
    /// With integer counts.
    Int(IntHistogram),
    /// With float counts.
    Float(FloatHistogram),
}

/// A text within the page's own.
type Text = Range<usize>;

#[derive(Debug, Clone)]
struct StoredExemplar {
    labels: Text,
    value: f64,
    timestamp: Option<i64>,
}

#[derive(Debug)]
enum Stored {
    Help {
        name: Text,
        text: Text,
    },
    Type {
        name: Text,
        metric_type: MetricType,
    },
    Unit {
        name: Text,
        unit: Text,
    },
    Sample {
        series: Text,
        value: f64,
        timestamp: Option<i64>,
        start: i64,
        exemplar: Option<StoredExemplar>,
    },
    Histogram {
        series: Text,
        value: Box<HistogramValue>,
        timestamp: Option<i64>,
        start: i64,
        exemplars: Vec<StoredExemplar>,
    },
}

/// A decoded page.
#[derive(Debug, Default)]
pub struct ProtobufPage {
    text: String,
    entries: Vec<Stored>,
}

/// Exemplars of a native histogram.
#[derive(Debug, Clone, Copy)]
pub struct Exemplars<'a> {
    page: &'a ProtobufPage,
    stored: &'a [StoredExemplar],
}

impl PartialEq for Exemplars<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> Exemplars<'a> {
    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = ExemplarText<'a>> {
        self.stored.iter().map(move |exemplar| self.page.exemplar(exemplar))
    }
}

impl ProtobufPage {
    /// Decodes a page.
    ///
    /// # Errors
    /// Names the byte at which a family begins that is none.
    pub fn decode(page: &[u8], wanted: NativeHistograms) -> Result<Self, ParseError> {
        let mut decoded = Self::default();
        let mut rest = page;
        while !rest.is_empty() {
            let offset = page.len() - rest.len();
            let fault = |expected: &'static str, found: String| ParseError { line: 1, offset, expected, found };
            let length = prost::decode_length_delimiter(&mut rest)
                .map_err(|error| fault("the length of a MetricFamily", error.to_string()))?;
            if length > FAMILY_BYTES_MAX || length > rest.len() {
                return Err(fault("a MetricFamily within the page", format!("a length of {length} bytes")));
            }
            let (message, after) = rest.split_at(length);
            let family = MetricFamily::decode(message).map_err(|error| fault("a MetricFamily", error.to_string()))?;
            rest = after;
            // A family without metrics says nothing, not even its type.
            if family.metric.is_empty() {
                continue;
            }
            if family.name.is_empty() {
                return Err(fault("a MetricFamily with a name", String::new()));
            }
            if !(kind::COUNTER..=kind::GAUGE_HISTOGRAM).contains(&family.kind) {
                return Err(fault("a known metric type", family.kind.to_string()));
            }
            decoded.family(family, wanted);
        }
        Ok(decoded)
    }

    /// What it says, in order; samples that begin with `predicted` say so.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.entries.iter().map(|stored| self.entry(stored))
    }

    fn entry<'a>(&'a self, stored: &'a Stored) -> Entry<'a> {
        let text = |range: &Text| self.text_at(range);
        match stored {
            Stored::Help { name, text: help } => Entry::Help { name: text(name), text: text(help) },
            Stored::Type { name, metric_type } => Entry::Type { name: text(name), metric_type: *metric_type },
            Stored::Unit { name, unit } => Entry::Unit { name: text(name), unit: text(unit) },
            Stored::Sample { series, value, timestamp, start, exemplar } => Entry::Sample(SampleLine {
                series: text(series),
                predicted: false,
                value: *value,
                timestamp: *timestamp,
                start: *start,
                exemplar: exemplar.as_ref().map(|exemplar| self.exemplar(exemplar)),
                offset: 0,
            }),
            Stored::Histogram { series, value, timestamp, start, exemplars } => Entry::Histogram(HistogramLine {
                series: text(series),
                value,
                timestamp: *timestamp,
                start: *start,
                exemplars: Exemplars { page: self, stored: exemplars },
            }),
        }
    }

    fn exemplar(&self, stored: &StoredExemplar) -> ExemplarText<'_> {
        ExemplarText { labels: self.text_at(&stored.labels), value: stored.value, timestamp: stored.timestamp }
    }

    /// Ranges begin and end where a text was pushed, so each is one of characters.
    fn text_at(&self, range: &Text) -> &str {
        self.text.get(range.clone()).unwrap_or("")
    }

    fn push_text(&mut self, text: &str) -> Text {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn family(&mut self, family: MetricFamily, wanted: NativeHistograms) {
        let name = self.push_text(&family.name);
        let metric_type = match family.kind {
            kind::COUNTER => MetricType::Counter,
            kind::GAUGE => MetricType::Gauge,
            kind::SUMMARY => MetricType::Summary,
            kind::HISTOGRAM => MetricType::Histogram,
            kind::GAUGE_HISTOGRAM => MetricType::GaugeHistogram,
            _ => MetricType::Unknown,
        };
        self.entries.push(Stored::Type { name: name.clone(), metric_type });
        if !family.help.is_empty() {
            let escaped = family.help.replace('\\', r"\\").replace('\n', r"\n");
            let text = self.push_text(&escaped);
            self.entries.push(Stored::Help { name: name.clone(), text });
        }
        if !family.unit.is_empty() {
            let unit = self.push_text(&family.unit);
            self.entries.push(Stored::Unit { name, unit });
        }
        for metric in &family.metric {
            self.metric(&family.name, metric_type, metric, wanted);
        }
    }

    fn metric(&mut self, name: &str, metric_type: MetricType, metric: &Metric, wanted: NativeHistograms) {
        let timestamp = (metric.timestamp_ms != 0).then_some(metric.timestamp_ms);
        let plain = |page: &mut Self, suffix: &str, extra: Option<(&str, f64)>, value: f64, more: Extras<'_>| {
            let series = page.series(name, suffix, &metric.label, extra);
            let exemplar = more.exemplar.map(|exemplar| page.store_exemplar(exemplar));
            page.entries.push(Stored::Sample { series, value, timestamp, start: more.start, exemplar });
        };
        match metric_type {
            MetricType::Histogram | MetricType::GaugeHistogram => {
                let Some(histogram) = &metric.histogram else { return };
                let is_gauge = metric_type == MetricType::GaugeHistogram;
                let native = (wanted.native && histogram.is_native()).then(|| histogram.native(is_gauge));
                let is_classic = native.is_none() || wanted.always_classic && !histogram.bucket.is_empty();
                if let Some(value) = native {
                    let series = self.series(name, "", &metric.label, None);
                    let exemplars = histogram.own_exemplars().map(|e| self.store_exemplar(e)).collect();
                    let (value, start) = (Box::new(value), start_of(histogram.start));
                    self.entries.push(Stored::Histogram { series, value, timestamp, start, exemplars });
                }
                if is_classic {
                    let start = Extras { start: start_of(histogram.start), exemplar: None };
                    plain(self, "_count", None, histogram.total(), start);
                    plain(self, "_sum", None, histogram.sum, start);
                    for (bound, count, exemplar) in histogram.cumulative() {
                        plain(self, "_bucket", Some(("le", bound)), count, Extras { exemplar, ..start });
                    }
                }
            }
            MetricType::Summary => {
                let Some(summary) = &metric.summary else { return };
                let start = Extras { start: start_of(summary.start), exemplar: None };
                plain(self, "_count", None, summary.count as f64, start);
                plain(self, "_sum", None, summary.sum, start);
                for quantile in &summary.quantile {
                    let more = Extras::default();
                    plain(self, "", Some(("quantile", quantile.quantile)), quantile.value, more);
                }
            }
            MetricType::Counter => {
                let Some(counter) = &metric.counter else { return };
                let more = Extras { start: start_of(counter.start), exemplar: counter.exemplar.as_ref() };
                plain(self, "", None, counter.value, more);
            }
            _ => {
                if let Some(value) = metric.gauge.or(metric.untyped) {
                    plain(self, "", None, value.value, Extras::default());
                }
            }
        }
    }

    /// Writes a series out as a text page would.
    fn series(&mut self, name: &str, suffix: &str, labels: &[LabelPair], extra: Option<(&str, f64)>) -> Text {
        let start = self.text.len();
        let full = format!("{name}{suffix}");
        let is_legacy = is_legacy_metric_name(&full);
        if is_legacy {
            self.text.push_str(&full);
        }
        let mut separator = '{';
        if !is_legacy {
            self.text.push('{');
            push_quoted(&mut self.text, &full);
            separator = ',';
        }
        let extra = extra.map(|(label, value)| (label, print_float_canonical(value)));
        let pairs = labels.iter().map(|pair| (pair.name.as_str(), pair.value.as_str()));
        for (label, value) in pairs.chain(extra.as_ref().map(|(label, value)| (*label, value.as_str()))) {
            self.text.push(separator);
            separator = ',';
            match is_legacy_label_name(label) {
                true => self.text.push_str(label),
                false => push_quoted(&mut self.text, label),
            }
            self.text.push('=');
            push_quoted(&mut self.text, value);
        }
        if separator == ',' {
            self.text.push('}');
        }
        start..self.text.len()
    }

    fn store_exemplar(&mut self, exemplar: &Exemplar) -> StoredExemplar {
        let start = self.text.len();
        self.text.push('{');
        for (i, pair) in exemplar.label.iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            match is_legacy_label_name(&pair.name) {
                true => self.text.push_str(&pair.name),
                false => push_quoted(&mut self.text, &pair.name),
            }
            self.text.push('=');
            push_quoted(&mut self.text, &pair.value);
        }
        self.text.push('}');
        let timestamp = exemplar.timestamp.map(Timestamp::milliseconds);
        StoredExemplar { labels: start..self.text.len(), value: exemplar.value, timestamp }
    }
}

/// What a sample may have beside its value.
#[derive(Debug, Clone, Copy, Default)]
struct Extras<'a> {
    start: i64,
    exemplar: Option<&'a Exemplar>,
}

fn start_of(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(0, Timestamp::milliseconds)
}

#[cfg(test)]
mod tests;

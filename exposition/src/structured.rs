//! Metric families with whole histograms and summaries, as the protobuf format and JSON have them, and the pages made of
//! them: text 0.0.4 and delimited protobuf.
//!
//! Reference: `io/prometheus/client/metrics.proto`.

use std::collections::HashMap;
use std::sync::Arc;

use model::histogram::{FloatHistogram, Span};
use model::labels::{Labels, METRIC_NAME};
use model::metadata::MetricType;
use model::number::{print_float, push_float_general};
use prost::Message as _;

use crate::escape::Escaping;
use crate::parse::protobuf::messages::{self, kind};
use crate::parse::series::{labels_of, unescape_help};
use crate::parse::{Entry, Format, Parser};
use crate::print;

/// The content type of pages that [`push_protobuf`] makes.
pub const PROTOBUF_CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// One name, type and help, and its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The name; for counters with `_total`.
    pub name: String,
    /// What it means.
    pub help: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its metrics, in order.
    pub metrics: Vec<Metric>,
}

/// One member of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Labels without the name, `le` and `quantile`, in the order they are printed; a value may be empty.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: MetricValue,
    /// Milliseconds since the epoch, if not "now".
    pub timestamp: Option<i64>,
}

/// What a metric holds.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValue {
    /// One number, whatever the type.
    Number(f64),
    /// A histogram with buckets of given bounds.
    Histogram(ClassicHistogram),
    /// Quantiles.
    Summary(Summary),
    /// A native histogram; no text page has it.
    Native(Arc<FloatHistogram>),
}

/// A histogram with buckets of given bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassicHistogram {
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Upper bounds with the counts up to each.
    pub buckets: Vec<(f64, f64)>,
}

/// Quantiles of observations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Quantiles with their values.
    pub quantiles: Vec<(f64, f64)>,
}

/// The families of a text page, in its order.
///
/// # Errors
/// If the page is none: what is wrong, and where.
pub fn families_of(page: &str) -> Result<Vec<Family>, String> {
    let mut families = Families::default();
    let mut parser = Parser::text(page);
    while let Some(entry) = parser.advance("").map_err(|error| error.to_string())? {
        match entry {
            Entry::Help { name, text } => {
                families.family(name).help = unescape_help(text, Format::Text).into_owned();
            }
            Entry::Type { name, metric_type } => families.family(name).metric_type = metric_type,
            Entry::Unit { .. } | Entry::Histogram(_) => {}
            Entry::Sample(line) => {
                let labels = labels_of(line.series).map_err(|error| format!("{}: {error}", line.series))?;
                families.add(&labels, line.value, line.timestamp);
            }
        }
    }
    Ok(families.list)
}

#[derive(Default)]
struct Families {
    list: Vec<Family>,
    by_name: HashMap<String, usize>,
    /// Places of metrics, by family and labels.
    metrics: HashMap<(usize, Labels), usize>,
}

impl Families {
    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let (metric_type, metrics) = (MetricType::Unknown, Vec::new());
        self.list.push(Family { name: name.to_owned(), help: String::new(), metric_type, metrics });
        self.by_name.insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    fn family(&mut self, name: &str) -> &mut Family {
        let index = self.index(name);
        &mut self.list[index]
    }

    fn add(&mut self, labels: &Labels, value: f64, timestamp: Option<i64>) {
        let name = labels.metric_name().unwrap_or("");
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| Some((name.strip_suffix(part)?, *part)));
        let is_compound = |name: &str| {
            let known = self.by_name.get(name).map(|index| self.list[*index].metric_type);
            matches!(known, Some(MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary))
        };
        let (name, part) = part.filter(|(base, _)| is_compound(base)).unwrap_or((name, ""));
        let family = self.index(name);
        let own = labels.filtered(|label| !matches!(label, b"__name__" | b"le" | b"quantile"));
        let list = &mut self.list[family];
        let index = *self.metrics.entry((family, own)).or_insert_with_key(|(_, own)| {
            let labels = own.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let value = match list.metric_type {
                MetricType::Histogram | MetricType::GaugeHistogram => MetricValue::Histogram(Default::default()),
                MetricType::Summary => MetricValue::Summary(Default::default()),
                _ => MetricValue::Number(value),
            };
            list.metrics.push(Metric { labels, value, timestamp });
            list.metrics.len() - 1
        });
        let bound = |label: &str| labels.get(label).and_then(|text| text.parse().ok());
        match (&mut list.metrics[index].value, part) {
            (MetricValue::Histogram(histogram), "_sum") => histogram.sum = value,
            (MetricValue::Histogram(histogram), "_count") => histogram.count = value,
            (MetricValue::Histogram(histogram), _) => histogram.buckets.extend(bound("le").map(|le| (le, value))),
            (MetricValue::Summary(summary), "_sum") => summary.sum = value,
            (MetricValue::Summary(summary), "_count") => summary.count = value,
            (MetricValue::Summary(summary), _) => summary.quantiles.extend(bound("quantile").map(|q| (q, value))),
            (MetricValue::Number(_) | MetricValue::Native(_), _) => {}
        }
    }
}

/// Appends a family in the text format 0.0.4, names escaped; native histograms are left out.
pub fn push_text(family: &Family, escaping: Escaping, out: &mut String) {
    let name = escaping.name(&family.name);
    let mut is_begun = false;
    for metric in &family.metrics {
        if matches!(metric.value, MetricValue::Native(_)) {
            continue;
        }
        if !std::mem::replace(&mut is_begun, true) {
            print::push_header(out, &name, &family.help, family.metric_type);
        }
        let mut line = |suffix: &str, added: Option<(&str, String)>, value: f64| {
            let labels = metric.labels.iter().map(|(name, value)| (escaping.name(name), value.as_str()));
            let added = added.as_ref().map(|(name, value)| ((*name).into(), value.as_str()));
            print::push_series_of(out, &name, suffix, labels.chain(added));
            out.push(' ');
            push_float_general(out, value);
            if let Some(timestamp) = metric.timestamp {
                out.push(' ');
                out.push_str(itoa::Buffer::new().format(timestamp));
            }
            out.push('\n');
        };
        match &metric.value {
            MetricValue::Number(value) => line("", None, *value),
            MetricValue::Histogram(histogram) => {
                let last = histogram.buckets.last().is_none_or(|(bound, _)| *bound < f64::INFINITY);
                let infinite = last.then_some((f64::INFINITY, histogram.count));
                for (bound, count) in histogram.buckets.iter().copied().chain(infinite) {
                    line("_bucket", Some(("le", print_float(bound))), count);
                }
                line("_sum", None, histogram.sum);
                line("_count", None, histogram.count);
            }
            MetricValue::Summary(summary) => {
                for (quantile, value) in &summary.quantiles {
                    line("", Some(("quantile", print_float(*quantile))), *value);
                }
                line("_sum", None, summary.sum);
                line("_count", None, summary.count);
            }
            MetricValue::Native(_) => {}
        }
    }
}

/// Appends a family as a message behind its length, names escaped.
pub fn push_protobuf(family: &Family, escaping: Escaping, out: &mut Vec<u8>) {
    let kind = match family.metric_type {
        MetricType::Counter => kind::COUNTER,
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => kind::GAUGE,
        MetricType::Summary => kind::SUMMARY,
        MetricType::Histogram => kind::HISTOGRAM,
        MetricType::GaugeHistogram => kind::GAUGE_HISTOGRAM,
        MetricType::Unknown => kind::UNTYPED,
    };
    let message = messages::MetricFamily {
        name: escaping.name(&family.name).into_owned(),
        help: family.help.clone(),
        kind,
        metric: family.metrics.iter().map(|metric| message_of(metric, kind, escaping)).collect(),
        unit: String::new(),
    };
    // A vector grows: writing into it cannot fail.
    let _written = message.encode_length_delimited(out);
}

fn message_of(metric: &Metric, kind: i32, escaping: Escaping) -> messages::Metric {
    let pair = |(name, value): &(String, String)| messages::LabelPair {
        name: escaping.name(name).into_owned(),
        value: value.clone(),
    };
    let mut message = messages::Metric {
        label: metric.labels.iter().map(pair).collect(),
        timestamp_ms: metric.timestamp.unwrap_or(0),
        ..messages::Metric::default()
    };
    match &metric.value {
        MetricValue::Number(value) if kind == kind::COUNTER => {
            message.counter = Some(messages::Counter { value: *value, ..messages::Counter::default() });
        }
        MetricValue::Number(value) if kind == kind::GAUGE => message.gauge = Some(messages::Plain { value: *value }),
        MetricValue::Number(value) => message.untyped = Some(messages::Plain { value: *value }),
        MetricValue::Histogram(histogram) => message.histogram = Some(classic_message(histogram)),
        MetricValue::Native(histogram) => message.histogram = Some(native_message(histogram)),
        MetricValue::Summary(summary) => {
            let quantile = |(quantile, value): &(f64, f64)| messages::Quantile { quantile: *quantile, value: *value };
            message.summary = Some(messages::Summary {
                count: summary.count as u64,
                sum: summary.sum,
                quantile: summary.quantiles.iter().map(quantile).collect(),
                start: None,
            });
        }
    }
    message
}

/// Counts that are no whole numbers go into the fields for such.
fn classic_message(histogram: &ClassicHistogram) -> messages::Histogram {
    let counts = histogram.buckets.iter().map(|(_, count)| *count).chain([histogram.count]);
    let is_whole = counts.into_iter().all(|count| count.fract() == 0.0 && count >= 0.0);
    let split = |count: f64| if is_whole { (count as u64, 0.0) } else { (0, count) };
    let bucket = |(upper_bound, count): &(f64, f64)| {
        let (cumulative_count, cumulative_count_float) = split(*count);
        messages::Bucket { cumulative_count, cumulative_count_float, upper_bound: *upper_bound, exemplar: None }
    };
    let (count, count_float) = split(histogram.count);
    let bucket = histogram.buckets.iter().map(bucket).collect();
    messages::Histogram { count, count_float, sum: histogram.sum, bucket, ..messages::Histogram::default() }
}

fn native_message(histogram: &FloatHistogram) -> messages::Histogram {
    let spans = |spans: &[Span]| {
        let span = |span: &Span| messages::BucketSpan { offset: span.offset, length: span.length };
        spans.iter().map(span).collect()
    };
    messages::Histogram {
        count_float: histogram.count,
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count_float: histogram.zero_count,
        negative_span: spans(&histogram.negative_spans),
        negative_count: histogram.negative.clone(),
        positive_span: spans(&histogram.positive_spans),
        positive_count: histogram.positive.clone(),
        ..messages::Histogram::default()
    }
}

impl ClassicHistogram {
    /// A native histogram with custom bounds, as its counts up to each bound.
    pub fn from_custom_buckets(histogram: &FloatHistogram) -> Self {
        let mut counts = vec![0.0; histogram.custom_values.len()];
        let mut index = 0_i64;
        let mut values = histogram.positive.iter();
        for span in &histogram.positive_spans {
            index += i64::from(span.offset);
            for value in values.by_ref().take(span.length as usize) {
                if let Some(count) = usize::try_from(index).ok().and_then(|index| counts.get_mut(index)) {
                    *count = *value;
                }
                index += 1;
            }
        }
        let mut sum = 0.0;
        let bounds = histogram.custom_values.iter().zip(counts);
        let buckets = bounds.map(|(bound, count)| {
            sum += count;
            (*bound, sum)
        });
        Self { count: histogram.count, sum: histogram.sum, buckets: buckets.collect() }
    }
}

impl Metric {
    /// A metric with the labels of a series, its name left out.
    pub fn new(labels: &Labels, value: MetricValue, timestamp: Option<i64>) -> Self {
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        Self { labels: own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), value, timestamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::protobuf::{NativeHistograms, ProtobufPage};

    const PAGE: &str = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# TYPE h histogram\n\
        h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n# TYPE s summary\n\
        s{quantile=\"0.5\"} 7\ns_sum 9\ns_count 2\n# TYPE u untyped\nu 1 5000\n";

    #[test]
    fn a_text_page_comes_back_from_its_families() {
        let families = families_of(PAGE).unwrap();
        assert_eq!(families.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a_total", "h", "s", "u"]);
        let mut page = String::new();
        families.iter().for_each(|family| push_text(family, Escaping::AllowUtf8, &mut page));
        assert_eq!(page, PAGE);
    }

    #[test]
    fn protobuf_pages_parse_to_the_same_series() {
        let mut page = Vec::new();
        families_of(PAGE).unwrap().iter().for_each(|family| push_protobuf(family, Escaping::AllowUtf8, &mut page));
        let parsed = ProtobufPage::decode(&page, NativeHistograms { native: true, always_classic: true }).unwrap();
        let lines = parsed.entries().filter_map(|entry| match entry {
            Entry::Sample(line) => Some(format!("{} {}", line.series, line.value)),
            _ => None,
        });
        let series: Vec<String> = lines.collect();
        assert!(series.iter().any(|line| line.starts_with("a_total") && line.ends_with(" 2")), "{series:?}");
        assert!(series.iter().any(|line| line.starts_with("h_bucket") && line.ends_with(" 3")), "{series:?}");
        assert!(series.iter().any(|line| line.starts_with("s_count") && line.ends_with(" 2")), "{series:?}");
    }

    #[test]
    fn custom_buckets_become_classic_ones() {
        let histogram = FloatHistogram {
            schema: -53,
            count: 10.0,
            sum: 20.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive: vec![3.0, 4.0],
            custom_values: vec![1.0, 2.0],
            ..FloatHistogram::default()
        };
        let classic = ClassicHistogram::from_custom_buckets(&histogram);
        assert_eq!(classic.buckets, [(1.0, 0.0), (2.0, 3.0)]);
        let metric = Metric::new(&Labels::empty(), MetricValue::Histogram(classic), None);
        let family =
            Family { name: "n".into(), help: String::new(), metric_type: MetricType::Histogram, metrics: vec![metric] };
        let mut page = String::new();
        push_text(&family, Escaping::AllowUtf8, &mut page);
        assert!(page.contains("n_bucket{le=\"2\"} 3\nn_bucket{le=\"+Inf\"} 10\nn_sum 20\nn_count 10\n"), "{page}");
    }
}

//! Printing of metrics pages: text 0.0.4 from families, and from an OpenMetrics page.

use std::borrow::Cow;

use model::labels::{Labels, is_legacy_label_name, is_legacy_metric_name};
use model::metadata::MetricType;
use model::number::push_float_general;

use crate::family::{FamilySample, MetricFamily};
use crate::parse::openmetrics::OpenMetricsParser;
use crate::parse::{Entry, Format, ParseError};

/// The content type of what [`text`] prints.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The content type of OpenMetrics pages.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Appends families in the text format 0.0.4. Families without samples are left out.
pub fn text(families: &[MetricFamily], out: &mut String) {
    for family in families.iter().filter(|f| !f.samples.is_empty()) {
        push_header(out, &family.name, &family.help, family.metric_type);
        for sample in &family.samples {
            push_sample(out, &family.name, sample);
        }
    }
}

/// Appends families in OpenMetrics 1.0, without the end of the page. Families without samples are left out.
pub fn openmetrics(families: &[MetricFamily], out: &mut String) {
    for family in families.iter().filter(|f| !f.samples.is_empty()) {
        // A counter's samples end in `_total` there; one that is named otherwise keeps its name and loses its type.
        let (name, word) = match (family.metric_type, family.name.strip_suffix("_total")) {
            (MetricType::Counter, Some(name)) => (name, "counter"),
            (MetricType::Counter, None) => (family.name.as_str(), "unknown"),
            (metric_type, _) => (family.name.as_str(), metric_type.as_str()),
        };
        if !family.help.is_empty() {
            out.extend(["# HELP ", name, " "]);
            push_escaped(out, &family.help, true);
            out.push('\n');
        }
        out.extend(["# TYPE ", name, " ", word, "\n"]);
        for sample in &family.samples {
            push_series(out, &family.name, sample.suffix, &sample.labels);
            out.push(' ');
            push_float_general(out, sample.value);
            if let Some(timestamp) = sample.timestamp {
                out.push(' ');
                push_float_general(out, timestamp as f64 / 1000.0);
            }
            out.push('\n');
        }
    }
}

/// Appends one family's `# HELP` and `# TYPE` lines. A help text must not be empty to be printed.
pub fn push_header(out: &mut String, name: &str, help: &str, metric_type: MetricType) {
    let quoted = quoted_name(name);
    if !help.is_empty() {
        out.extend(["# HELP ", &quoted, " "]);
        push_escaped(out, help, false);
        out.push('\n');
    }
    out.extend(["# TYPE ", &quoted, " ", text_type(metric_type), "\n"]);
}

/// The text format's word for a type: it knows fewer than OpenMetrics.
fn text_type(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => "gauge",
        MetricType::Histogram | MetricType::GaugeHistogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::Unknown => "untyped",
    }
}

fn push_sample(out: &mut String, name: &str, sample: &FamilySample) {
    push_series(out, name, sample.suffix, &sample.labels);
    out.push(' ');
    push_float_general(out, sample.value);
    if let Some(timestamp) = sample.timestamp {
        out.push(' ');
        out.push_str(itoa::Buffer::new().format(timestamp));
    }
    out.push('\n');
}

/// Appends `name{label="value",...}`; a name outside the legacy charset goes into the braces, quoted.
pub fn push_series(out: &mut String, name: &str, suffix: &str, labels: &Labels) {
    push_series_of(out, name, suffix, labels.iter().map(|(label, value)| (label.into(), value)));
}

/// As [`push_series`], of labels one by one.
pub(crate) fn push_series_of<'a>(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: impl Iterator<Item = (Cow<'a, str>, &'a str)>,
) {
    let mut labels = labels.peekable();
    let bare = is_legacy_metric_name(name);
    if bare {
        out.extend([name, suffix]);
        if labels.peek().is_none() {
            return;
        }
    }
    out.push('{');
    let mut separator = "";
    if !bare {
        out.push_str(&quoted_name(&format!("{name}{suffix}")));
        separator = ",";
    }
    for (label, value) in labels {
        out.push_str(separator);
        separator = ",";
        match is_legacy_label_name(&label) {
            true => out.push_str(&label),
            false => push_quoted(out, &label),
        }
        out.push('=');
        push_quoted(out, value);
    }
    out.push('}');
}

fn quoted_name(name: &str) -> Cow<'_, str> {
    if is_legacy_metric_name(name) {
        return name.into();
    }
    let mut quoted = String::new();
    push_quoted(&mut quoted, name);
    quoted.into()
}

pub(crate) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text, true);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// Rewrites an OpenMetrics page in the text format 0.0.4: counters' families are named with `_total`, units, exemplars
/// and `_created` samples are dropped, timestamps become milliseconds.
///
/// # Errors
/// If `page` is not OpenMetrics.
pub fn openmetrics_as_text(page: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(page.len());
    let mut parser = OpenMetricsParser::new(page);
    // A family's help may come before its type, which decides the name both are printed under.
    let mut help: Option<(&str, &str)> = None;
    let mut family = ("", MetricType::Unknown);
    while let Some(entry) = parser.advance("")? {
        match entry {
            Entry::Help { name, text } => help = Some((name, text)),
            // Native histograms stand in no text page.
            Entry::Unit { .. } | Entry::Histogram(_) => {}
            Entry::Type { name, metric_type } => {
                family = (name, metric_type);
                let suffix = match metric_type {
                    MetricType::Counter => "_total",
                    MetricType::Info => "_info",
                    _ => "",
                };
                let text = help.take().filter(|(n, _)| *n == name).map_or("", |(_, text)| text);
                let text = crate::parse::series::unescape_help(text, Format::OpenMetrics);
                push_header(&mut out, &format!("{name}{suffix}"), &text, metric_type);
            }
            Entry::Sample(sample) => {
                let created = sample.series.strip_prefix(family.0).is_some_and(|rest| rest.starts_with("_created"));
                if created && family.1 != MetricType::Gauge {
                    continue;
                }
                out.push_str(sample.series);
                out.push(' ');
                push_float_general(&mut out, sample.value);
                if let Some(timestamp) = sample.timestamp {
                    out.push(' ');
                    out.push_str(itoa::Buffer::new().format(timestamp));
                }
                out.push('\n');
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Parser;

    #[test]
    fn prints_families_as_text() {
        let family = MetricFamily::counter("m_total", "A \\ help\nof \"two\" lines.")
            .with(&[("a", "x\"y\\z\n"), ("empty", "")], 1e6)
            .with(&[], f64::NAN);
        let utf8 = MetricFamily::gauge("my.metric", "").with(&[("l.n", "v")], 0.5);
        let mut page = String::new();
        text(&[family, MetricFamily::gauge("none", "No samples."), utf8], &mut page);
        assert_eq!(
            page,
            "# HELP m_total A \\\\ help\\nof \"two\" lines.\n# TYPE m_total counter\n\
             m_total{a=\"x\\\"y\\\\z\\n\"} 1e+06\nm_total NaN\n\
             # TYPE \"my.metric\" gauge\n{\"my.metric\",\"l.n\"=\"v\"} 0.5\n"
        );
        let mut parser = Parser::text(&page);
        let mut count = 0;
        while parser.advance("").unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 6, "what is printed parses");
    }

    #[test]
    fn openmetrics_becomes_text() {
        let page = "# HELP c Counts.\n# TYPE c counter\n# UNIT c \nc_total{a=\"b\"} 1 2.5 # {} 1\nc_created{a=\"b\"} 1\n\
            # TYPE i info\ni_info{v=\"1\"} 1\n# TYPE u unknown\nu 0.5\n# EOF\n";
        assert_eq!(
            openmetrics_as_text(page).unwrap(),
            "# HELP c_total Counts.\n# TYPE c_total counter\nc_total{a=\"b\"} 1 2500\n\
             # TYPE i_info gauge\ni_info{v=\"1\"} 1\n# TYPE u untyped\nu 0.5\n"
        );
    }
}

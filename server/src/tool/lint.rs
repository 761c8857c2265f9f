//! `tool check metrics`: a page judged by the conventions of names and types that `promtool` checks (the rules are those
//! of the instrumentation guide, "Metric and label naming").

use std::collections::BTreeMap;

use exposition::parse::series::labels_of;
use exposition::parse::{Entry, Parser};
use model::labels::Labels;
use model::metadata::MetricType;

/// A family of the page.
#[derive(Debug, Default)]
struct Family {
    metric_type: MetricType,
    has_help: bool,
    series: Vec<Labels>,
}

/// Units and the base unit that stands for them.
const UNITS: [(&str, &str); 23] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
];
const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga", "gibi",
    "tera", "tebi", "peta", "pebi",
];
const ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// What is to be said of a page: `name: text`, sorted by name.
#[derive(Debug)]
pub(super) struct Report {
    /// Name of the family and what is wrong with it.
    pub(super) problems: Vec<(String, String)>,
    /// Series of each family, most first.
    pub(super) cardinality: Vec<(String, usize)>,
}

/// Reads a page in the text format and judges it.
///
/// # Errors
/// If it is none.
pub(super) fn report(page: &str) -> Result<Report, String> {
    let families = families(page)?;
    let mut problems = Vec::new();
    let mut cardinality: Vec<(String, usize)> = Vec::new();
    for (name, family) in &families {
        problems.extend(family.problems(name).into_iter().map(|text| (name.clone(), text)));
        cardinality.push((name.clone(), family.series.len()));
    }
    problems.sort();
    cardinality.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(Report { problems, cardinality })
}

fn families(page: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut parser = Parser::text(page);
    while let Some(entry) = parser.advance("").map_err(|error| error.to_string())? {
        match entry {
            Entry::Help { name, .. } => families.entry(name.to_owned()).or_default().has_help = true,
            Entry::Type { name, metric_type } => families.entry(name.to_owned()).or_default().metric_type = metric_type,
            Entry::Unit { .. } | Entry::Histogram(_) => {}
            Entry::Sample(line) => {
                let labels = labels_of(line.series).map_err(|error| error.to_string())?;
                let name = labels.metric_name().unwrap_or("").to_owned();
                // Parts of a histogram or summary belong to the family without their suffix.
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                let of_parts = base.filter(|base| {
                    let known = families.get(*base).map(|family| family.metric_type);
                    matches!(known, Some(MetricType::Histogram | MetricType::Summary))
                });
                let family = of_parts.map_or_else(|| name.clone(), str::to_owned);
                families.entry(family).or_default().series.push(labels);
            }
        }
    }
    Ok(families)
}

impl Family {
    fn problems(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        if !self.has_help {
            found.push("no help text".into());
        }
        if let Some((unit, base)) = unit_of(name)
            && unit != base
        {
            found.push(format!("use base unit {base:?} instead of {unit:?}"));
        }
        let is_typed = self.metric_type != MetricType::Unknown;
        let is_total = name.ends_with("_total");
        match self.metric_type {
            MetricType::Counter if !is_total => {
                found.push("counter metrics should have \"_total\" suffix".into());
            }
            MetricType::Counter | MetricType::Unknown => {}
            _ if is_total => found.push("non-counter metrics should not have \"_total\" suffix".into()),
            _ => {}
        }
        if is_typed {
            self.reserved(name, &mut found);
            let (lower, kind) = (name.to_lowercase(), self.metric_type.as_str());
            if has_word(&lower, kind) {
                found.push(format!("metric name should not include type '{kind}'"));
            }
        }
        if name.contains(':') {
            found.push("metric names should not contain ':'".into());
        }
        if is_camel_case(name) {
            found.push("metric names should be written in 'snake_case' not 'camelCase'".into());
        }
        let camel_labels = self.series.iter().flat_map(Labels::iter).filter(|(label, _)| is_camel_case(label)).count();
        if camel_labels > 0 {
            found.push("label names should be written in 'snake_case' not 'camelCase'".into());
        }
        let lower = name.to_lowercase();
        if ABBREVIATIONS.iter().any(|unit| has_word(&lower, unit)) {
            found.push("metric names should not contain abbreviated units".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        if self.series.iter().any(|labels| !seen.insert(labels)) {
            found.push("metric not unique".into());
        }
        found
    }

    /// Suffixes and labels that belong to histograms and summaries.
    fn reserved(&self, name: &str, found: &mut Vec<String>) {
        let is_histogram = matches!(self.metric_type, MetricType::Histogram | MetricType::GaugeHistogram);
        let is_summary = self.metric_type == MetricType::Summary;
        if !is_histogram && name.ends_with("_bucket") {
            found.push("non-histogram metrics should not have \"_bucket\" suffix".into());
        }
        for suffix in ["_count", "_sum"] {
            if !is_histogram && !is_summary && name.ends_with(suffix) {
                found.push(format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix"));
            }
        }
        let has_label = |label: &str| self.series.iter().any(|labels| labels.contains(label));
        if !is_histogram && has_label("le") {
            found.push("non-histogram metrics should not have \"le\" label".into());
        }
        if !is_summary && has_label("quantile") {
            found.push("non-summary metrics should not have \"quantile\" label".into());
        }
    }
}

/// Whether a part of the name, between underscores and not the first, is `word`.
fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || name.ends_with(&format!("_{word}"))
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

/// The first unit in a name, with its base.
fn unit_of(name: &str) -> Option<(&str, &'static str)> {
    let base = |unit: &str| UNITS.iter().find(|(known, _)| *known == unit).map(|(_, base)| *base);
    name.split('_').find_map(|part| {
        let prefixed = || PREFIXES.iter().find_map(|prefix| base(part.strip_prefix(prefix)?));
        base(part).or_else(prefixed).map(|base| (part, base))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_are_checked() {
        let page = "# HELP a_milliseconds x\n# TYPE a_milliseconds counter\na_milliseconds{bC=\"1\"} 1\n\
            # TYPE b_total gauge\nb_total{le=\"1\"} 1\n# HELP fine_seconds x\n# TYPE fine_seconds histogram\n\
            fine_seconds_bucket{le=\"+Inf\"} 1\nfine_seconds_sum 1\nfine_seconds_count 1\n\
            # HELP http_gauge x\n# TYPE http_gauge gauge\nhttp_gauge 1\nhttp_gauge 2\n";
        let report = report(page).unwrap();
        let problems: Vec<String> = report.problems.iter().map(|(name, text)| format!("{name} {text}")).collect();
        assert_eq!(
            problems,
            [
                "a_milliseconds counter metrics should have \"_total\" suffix",
                "a_milliseconds label names should be written in 'snake_case' not 'camelCase'",
                "a_milliseconds use base unit \"seconds\" instead of \"milliseconds\"",
                "b_total no help text",
                "b_total non-counter metrics should not have \"_total\" suffix",
                "b_total non-histogram metrics should not have \"le\" label",
                "http_gauge metric name should not include type 'gauge'",
                "http_gauge metric not unique",
            ]
        );
        assert_eq!(report.cardinality[0], ("fine_seconds".to_owned(), 3));
        assert!(super::report("a{").is_err());
    }
}

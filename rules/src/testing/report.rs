//! What was expected and what came, compared and as text.

use std::collections::BTreeMap;

use model::duration::Duration;
use model::labels::Labels;
use model::number::push_float_exponent;

/// An alert by what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShownAlert {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
}

/// A sample as an expression gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownSample {
    pub(super) labels: Labels,
    pub(super) value: f64,
    /// In the notation of tests; empty for a float.
    pub(super) histogram: String,
}

impl ShownSample {
    fn matches(&self, other: &Self, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let same = a == b || (fuzzy && (a.next_down() == b || a.next_up() == b));
        self.labels == other.labels && same && self.histogram == other.histogram
    }

    fn text(&self) -> String {
        if !self.histogram.is_empty() {
            return format!("{} {}", self.labels, self.histogram);
        }
        let mut value = String::new();
        push_float_exponent(&mut value, self.value);
        format!("{} {}", self.labels, value.replace('e', "E"))
    }
}

/// Whether the same samples came, in any order.
pub(super) fn same_samples(expected: &mut [ShownSample], found: &mut [ShownSample], fuzzy: bool) -> bool {
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    expected.len() == found.len() && expected.iter().zip(found.iter()).all(|(a, b)| a.matches(b, fuzzy))
}

pub(super) fn samples_text(samples: &[ShownSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    samples.iter().map(ShownSample::text).collect::<Vec<_>>().join(", ")
}

pub(super) fn labels_of(map: &BTreeMap<String, String>) -> Labels {
    let mut builder = model::labels::LabelsBuilder::new();
    for (name, value) in map {
        builder.set(name, value);
    }
    builder.build()
}

pub(super) fn alerts_text(alerts: &[ShownAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let shown = |(i, alert): (usize, &ShownAlert)| {
        let text = format!("\nLabels:{}\nAnnotations:{}", alert.labels, alert.annotations);
        format!("{i}:{}", indented(&text, "  "))
    };
    let all: Vec<String> = alerts.iter().enumerate().map(shown).collect();
    format!("[\n{}\n]", all.join(",\n"))
}

/// Indents all lines but the first.
pub(super) fn indented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

/// A duration as Go prints it: `1h0m0s`, `1m30s`, `500ms`.
pub(super) fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let seconds = model::number::print_float((ms % 60_000) as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    #[test]
    fn durations_are_printed_as_in_go() {
        for (ms, text) in [(0, "0s"), (500, "500ms"), (1500, "1.5s"), (60_000, "1m0s"), (3_600_000, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn neighbouring_floats_are_the_same_if_asked_for() {
        let sample = |value: f64| vec![ShownSample { labels: labels! { "a" => "b" }, value, histogram: String::new() }];
        let same = |a, b, fuzzy| same_samples(&mut sample(a), &mut sample(b), fuzzy);
        assert!(same(3.0, 3.0, false) && !same(3.0, 3.000_000_000_000_000_4, false));
        assert!(same(3.0, 3.000_000_000_000_000_4, true) && !same(3.0, 3.000_000_000_000_001, true));
        assert!(!same(f64::NAN, f64::NAN, true));
        assert_eq!(samples_text(&sample(1.5)), "{a=\"b\"} 1.5E+00");
    }
}

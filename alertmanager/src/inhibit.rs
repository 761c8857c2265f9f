//! Inhibition: alerts that make others superfluous.

use model::labels::Labels;
use model::matcher::Matcher;

use crate::alert::Alert;
use crate::config::{ConfigError, InhibitConfig};

/// One rule: while a source fires, targets that equal it in some labels are muted.
#[derive(Debug)]
pub struct InhibitRule {
    source: Vec<Matcher>,
    target: Vec<Matcher>,
    equal: Vec<String>,
}

impl InhibitRule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// If a matcher does not parse.
    pub fn new(config: &InhibitConfig) -> Result<Self, ConfigError> {
        Ok(Self { source: config.source()?, target: config.target()?, equal: config.equal.clone() })
    }

    fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
        matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// The alert among `firing` that inhibits `labels`, if any. An alert that is both source and target is not
    /// inhibited by alerts of which the same is true, itself among them.
    fn inhibitor<'a>(&self, labels: &Labels, firing: &'a [Alert]) -> Option<&'a Alert> {
        if !Self::matches(&self.target, labels) {
            return None;
        }
        let both = Self::matches(&self.source, labels);
        firing.iter().find(|source| {
            Self::matches(&self.source, &source.labels)
                && !(both && Self::matches(&self.target, &source.labels))
                && self.equal.iter().all(|name| labels.get(name) == source.labels.get(name))
        })
    }
}

/// Fingerprints of the alerts that inhibit `labels`, one for each rule that does.
pub fn inhibited_by(rules: &[InhibitRule], labels: &Labels, firing: &[Alert]) -> Vec<u64> {
    rules.iter().filter_map(|rule| rule.inhibitor(labels, firing)).map(Alert::fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    fn alert(labels: Labels) -> Alert {
        Alert {
            labels,
            annotations: Default::default(),
            starts_at_ms: 0,
            ends_at_ms: i64::MAX,
            updated_at_ms: 0,
            generator_url: String::new(),
            ends_by_timeout: false,
        }
    }

    #[test]
    fn a_source_mutes_targets_that_equal_it() {
        let rule = InhibitRule::new(&InhibitConfig {
            source_matchers: vec!["s=1".into()],
            target_matchers: vec!["t=1".into()],
            equal: vec!["e".into()],
            ..InhibitConfig::default()
        })
        .unwrap();
        let rules = [rule];
        let muted = |target: Labels, sources: &[Alert]| !inhibited_by(&rules, &target, sources).is_empty();
        let source = alert(labels! { "s" => "1", "e" => "x" });
        assert!(muted(labels! { "t" => "1", "e" => "x" }, std::slice::from_ref(&source)));
        assert!(!muted(labels! { "t" => "1", "e" => "y" }, std::slice::from_ref(&source)));
        assert!(!muted(labels! { "t" => "2", "e" => "x" }, &[source]));
        assert!(muted(labels! { "t" => "1" }, &[alert(labels! { "s" => "1" })]), "both missing is equal");
        let both = labels! { "s" => "1", "t" => "1", "e" => "x" };
        assert!(!muted(both.clone(), &[alert(both)]), "not by itself");
    }
}

//! Relabelling: rules that rewrite, keep or drop label sets.
//!
//! Behaviour and validation follow Prometheus' `relabel_config` (its configuration page and `model/relabel`).

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::labels::{LabelsBuilder, NameScheme, is_legacy_label_name};
use crate::pattern::{Pattern, PatternError};

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets the target label to the expanded replacement if the expression matches.
    #[default]
    Replace,
    /// Drops label sets whose source does not match.
    Keep,
    /// Drops label sets whose source matches.
    Drop,
    /// Drops label sets whose source differs from the target label.
    KeepEqual,
    /// Drops label sets whose source equals the target label.
    DropEqual,
    /// Sets the target label to the source's MD5 modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to the expanded replacement.
    LabelMap,
    /// Deletes labels whose names match.
    LabelDrop,
    /// Deletes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        }
    }
}

/// One rule as configured; absent keys have upstream's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined to the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<String>,
    /// Joins them.
    #[serde(deserialize_with = "null_is_empty")]
    pub separator: String,
    /// Anchored expression; given without a value it is the empty one.
    #[serde(deserialize_with = "null_is_empty")]
    pub regex: String,
    /// For `hashmod`.
    #[serde(skip_serializing_if = "is_zero")]
    pub modulus: u64,
    /// The label to set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_label: String,
    /// What to set it to; `$1`, `${name}` refer to the expression's groups.
    #[serde(deserialize_with = "null_is_empty")]
    pub replacement: String,
    /// What to do.
    #[serde(deserialize_with = "action_of_any_case")]
    pub action: Action,
}

fn is_zero(modulus: &u64) -> bool {
    *modulus == 0
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn action_of_any_case<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let text: String = null_is_empty(deserializer)?;
    if text.is_empty() {
        return Err(serde::de::Error::custom("relabel action cannot be empty"));
    }
    let lower = text.to_lowercase();
    Action::deserialize(serde::de::value::StrDeserializer::<D::Error>::new(&lower))
        .map_err(|_| serde::de::Error::custom(format!("unknown relabel action {text:?}")))
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.into(),
            regex: DEFAULT_REGEX.into(),
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.into(),
            action: Action::Replace,
        }
    }
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelabelError {
    /// `hashmod` without a modulus.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    ZeroModulus,
    /// The action needs a target.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    MissingTarget(&'static str),
    /// The target cannot be a label name.
    #[error("{label:?} is invalid 'target_label' for {action} action")]
    InvalidTarget {
        /// The target given.
        label: String,
        /// The action.
        action: &'static str,
    },
    /// The replacement is not allowed or cannot name a label.
    #[error("{replacement:?} is invalid 'replacement' for {action} action")]
    InvalidReplacement {
        /// The replacement given.
        replacement: String,
        /// The action.
        action: &'static str,
    },
    /// The action has no use for a replacement.
    #[error("'replacement' can not be set for {0} action")]
    UselessReplacement(&'static str),
    /// The action takes fewer keys than were set.
    #[error("{action} action requires only {allowed}, and no other fields")]
    UselessFields {
        /// The action.
        action: &'static str,
        /// The keys it takes.
        allowed: &'static str,
    },
    /// The expression does not parse.
    #[error(transparent)]
    Regex(#[from] PatternError),
}

/// A rule ready to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct RelabelRule {
    config: RelabelConfig,
    pattern: Pattern,
}

/// Whether a label set survives its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, as rewritten.
    Keep,
    /// It goes.
    Drop,
}

impl RelabelRule {
    /// Compiles and checks one rule.
    ///
    /// # Errors
    /// See [`RelabelError`].
    pub fn new(config: RelabelConfig, scheme: NameScheme) -> Result<Self, RelabelError> {
        validate(&config, scheme)?;
        let pattern = Pattern::new(&config.regex)?;
        Ok(Self { config, pattern })
    }

    /// The rule as configured.
    pub fn config(&self) -> &RelabelConfig {
        &self.config
    }

    /// Applies the rule to `labels`.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> Verdict {
        let config = &self.config;
        let source = self.source(labels);
        let target = config.target_label.as_str();
        match config.action {
            Action::Keep => return keep_if(self.pattern.is_match(&source)),
            Action::Drop => return keep_if(!self.pattern.is_match(&source)),
            Action::KeepEqual => return keep_if(labels.get(target).unwrap_or("") == source),
            Action::DropEqual => return keep_if(labels.get(target).unwrap_or("") != source),
            Action::Replace => self.replace(&source, labels),
            Action::Lowercase => {
                labels.set(target, &source.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(target, &source.to_uppercase());
            }
            Action::HashMod => {
                let hash = Md5::digest(source.as_bytes());
                let low = hash.iter().skip(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
                labels.set(target, itoa::Buffer::new().format(low % config.modulus));
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.pattern.is_match(name)),
        }
        Verdict::Keep
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut source = String::new();
        for (i, name) in self.config.source_labels.iter().enumerate() {
            if i > 0 {
                source.push_str(&self.config.separator);
            }
            source.push_str(labels.get(name).unwrap_or(""));
        }
        source
    }

    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let Some(target) = self.pattern.expand(source, &self.config.target_label) else { return };
        if target.is_empty() {
            return;
        }
        let value = self.pattern.expand(source, &self.config.replacement).unwrap_or_default();
        labels.set(&target, &value);
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let copies: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| Some((self.pattern.expand(name, &self.config.replacement)?, value.to_owned())))
            .collect();
        for (name, value) in copies {
            labels.set(&name, &value);
        }
    }
}

/// Applies `rules` in order, stopping at the first that drops the set.
pub fn apply(rules: &[RelabelRule], labels: &mut LabelsBuilder) -> Verdict {
    for rule in rules {
        if rule.apply(labels) == Verdict::Drop {
            return Verdict::Drop;
        }
    }
    Verdict::Keep
}

fn keep_if(keep: bool) -> Verdict {
    if keep { Verdict::Keep } else { Verdict::Drop }
}

fn validate(config: &RelabelConfig, scheme: NameScheme) -> Result<(), RelabelError> {
    use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
    let action = config.action.as_str();
    let target = config.target_label.as_str();
    let needs_target = matches!(config.action, Replace | KeepEqual | DropEqual | HashMod | Lowercase | Uppercase);
    if config.action == HashMod && config.modulus == 0 {
        return Err(RelabelError::ZeroModulus);
    }
    if needs_target && target.is_empty() {
        return Err(RelabelError::MissingTarget(action));
    }
    let expands = config.action == Replace && target.contains('$');
    let valid_target = if expands { valid_name_template(target, scheme) } else { scheme.label_name_is_valid(target) };
    if needs_target && !valid_target {
        return Err(RelabelError::InvalidTarget { label: target.into(), action });
    }
    let default_replacement = config.replacement == DEFAULT_REPLACEMENT;
    if matches!(config.action, Lowercase | Uppercase) && !default_replacement {
        return Err(RelabelError::UselessReplacement(action));
    }
    if config.action == LabelMap && !valid_name_template(&config.replacement, scheme) {
        return Err(RelabelError::InvalidReplacement { replacement: config.replacement.clone(), action });
    }
    let others_default = config.modulus == 0 && config.separator == DEFAULT_SEPARATOR && default_replacement;
    if matches!(config.action, KeepEqual | DropEqual) && !(others_default && config.regex == DEFAULT_REGEX) {
        return Err(RelabelError::UselessFields { action, allowed: "'source_labels' and `target_label`" });
    }
    let only_regex = others_default && config.source_labels.is_empty() && target.is_empty();
    if matches!(config.action, LabelDrop | LabelKeep) && !only_regex {
        return Err(RelabelError::UselessFields { action, allowed: "'regex'" });
    }
    Ok(())
}

/// Whether `text`, once its `$references` are expanded, can be a label name.
fn valid_name_template(text: &str, scheme: NameScheme) -> bool {
    if scheme == NameScheme::Utf8 {
        return !text.is_empty();
    }
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let (reference, tail) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(split) => split,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        if reference.is_empty() {
            return false;
        }
        // A group may expand to a letter as well as to nothing.
        plain.push('x');
        rest = tail;
    }
    plain.push_str(rest);
    is_legacy_label_name(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::labels::Labels;

    fn check(config: RelabelConfig, input: &Labels, expected: Option<&Labels>) {
        let rule = RelabelRule::new(config.clone(), NameScheme::Utf8).unwrap();
        let mut builder = input.to_builder();
        let kept = apply(&[rule], &mut builder) == Verdict::Keep;
        assert_eq!(kept.then(|| builder.build()).as_ref(), expected, "{config:?}");
    }

    fn config(action: Action, source: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelConfig {
        RelabelConfig {
            action,
            source_labels: source.iter().map(|s| (*s).to_owned()).collect(),
            regex: regex.into(),
            target_label: target.into(),
            replacement: replacement.into(),
            ..RelabelConfig::default()
        }
    }

    #[test]
    fn every_action_does_what_upstream_documents() {
        use Action::*;
        let input = labels! { "a" => "foo", "b" => "bar", "c" => "Baz" };
        let with = |name: &str, value: &str| input.to_builder().set(name, value).build();
        check(config(Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}"), &input, Some(&with("d", "choo-choo")));
        check(config(Replace, &["a", "b"], "f(.*);(.*)r", "a", "b${2}${1}m"), &input, Some(&with("a", "bbaoom")));
        check(config(Replace, &["a"], "no", "d", "x"), &input, Some(&input));
        check(config(Replace, &["a"], ".*", "b", ""), &input, Some(&with("b", "")));
        check(config(Replace, &["a"], "(f).*", "x_$1", "y"), &input, Some(&with("x_f", "y")));
        check(config(Keep, &["a"], "no-match", "", "$1"), &input, None);
        check(config(Keep, &["a"], "f.*", "", "$1"), &input, Some(&input));
        check(config(Drop, &["a"], ".*o.*", "", "$1"), &input, None);
        check(config(KeepEqual, &["a"], "(.*)", "b", "$1"), &input, None);
        check(config(DropEqual, &["a"], "(.*)", "b", "$1"), &input, Some(&input));
        check(
            config(LabelMap, &[], "(a|b)", "", "map_$1"),
            &input,
            Some(&with("map_a", "foo").to_builder().set("map_b", "bar").build()),
        );
        check(config(LabelDrop, &[], "a|b", "", "$1"), &input, Some(&labels! { "c" => "Baz" }));
        check(config(LabelKeep, &[], "a", "", "$1"), &input, Some(&labels! { "a" => "foo" }));
        check(config(Lowercase, &["c"], "(.*)", "d", "$1"), &input, Some(&with("d", "baz")));
        check(config(Uppercase, &["c"], "(.*)", "d", "$1"), &input, Some(&with("d", "BAZ")));
        // MD5("foo") ends in ...9d8f cd84 ac35; its low 64 bits modulo 1000, as upstream's own test has it for c=baz.
        let hashed = RelabelConfig { modulus: 1000, ..config(HashMod, &["c"], "(.*)", "d", "$1") };
        check(hashed, &labels! { "c" => "baz" }, Some(&labels! { "c" => "baz", "d" => "976" }));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        use Action::*;
        let refused = |config: RelabelConfig| RelabelRule::new(config, NameScheme::Legacy).unwrap_err().to_string();
        assert!(refused(config(HashMod, &["a"], "(.*)", "b", "$1")).contains("non-zero modulus"));
        assert!(refused(config(Replace, &["a"], "(.*)", "", "$1")).contains("requires 'target_label'"));
        assert!(refused(config(Replace, &["a"], "(.*)", "0a", "$1")).contains("invalid 'target_label'"));
        assert!(refused(config(LabelMap, &[], "(.*)", "", "-$1")).contains("invalid 'replacement'"));
        assert!(refused(config(Lowercase, &["a"], "(.*)", "b", "x")).contains("can not be set"));
        assert!(refused(config(LabelDrop, &["a"], "(.*)", "", "$1")).contains("requires only 'regex'"));
        assert!(refused(config(KeepEqual, &["a"], "x", "b", "$1")).contains("and no other fields"));
        assert!(refused(config(Keep, &["a"], "(", "", "$1")).contains("error parsing regexp"));
    }
}

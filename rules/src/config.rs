//! Rule files: strict YAML, checked whole, faults named with their lines.

mod places;

use std::collections::BTreeMap;
use std::path::Path;

use model::duration::Duration;
use model::labels::{ALERT_NAME, METRIC_NAME, is_legacy_metric_name};
use net::yaml::{Fault, Outcome, read_all_faults};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use self::places::{Field, Places, first_document};

/// The largest rule file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A rule file.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RuleFile {
    /// Its groups.
    pub groups: Vec<Spanned<GroupConfig>>,
}

/// A group of rules that are evaluated one after the other.
#[derive(Debug, Clone, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Unique in its file.
    pub name: String,
    /// Time between evaluations; the global one if absent.
    pub interval: Option<Duration>,
    /// How far back rules look, so that late samples are in; the global one if absent.
    pub query_offset: Option<Duration>,
    /// The most series or alerts a rule may give; 0 for any number.
    pub limit: u64,
    /// Labels that all rules add, unless they set them themselves.
    pub labels: BTreeMap<String, String>,
    /// Its rules.
    pub rules: Vec<Spanned<RuleConfig>>,
}

/// A rule as written: recording if `record` is set, alerting if `alert` is.
#[derive(Debug, Clone, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// Name of the series to record.
    pub record: String,
    /// Name of the alert.
    pub alert: String,
    /// PromQL.
    pub expr: String,
    /// How long an alert is pending before it fires.
    pub r#for: Option<Duration>,
    /// How long an alert goes on firing after its condition ended.
    pub keep_firing_for: Option<Duration>,
    /// Labels to add; templates in alerting rules.
    pub labels: BTreeMap<String, String>,
    /// Texts for people; templates.
    pub annotations: BTreeMap<String, String>,
}

/// A fault of a rule file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {line}:{column}: {reason}")]
pub struct RuleFileError {
    /// The file.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// What is wrong.
    pub reason: String,
}

/// How a rule file is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// What its expressions may use.
    pub language: promql::parser::Options,
    /// What becomes of fields that a rule file does not have.
    pub unknown_fields: UnknownFields,
}

/// What becomes of unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// They are faults.
    #[default]
    Refused,
    /// They are skipped: tools may read files with notes for others.
    Ignored,
}

/// Reads and checks the text of a rule file.
///
/// # Errors
/// All faults, in the order of their lines; those of its shape alone if it has a wrong one.
pub fn parse(file: &Path, text: &str, reading: Reading) -> Result<RuleFile, Vec<RuleFileError>> {
    let file = file.display().to_string();
    let fault = |line, column, reason: String| RuleFileError { file: file.clone(), line, column, reason };
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![fault(1, 1, format!("larger than {FILE_BYTES_MAX} bytes"))]);
    }
    if text.trim().is_empty() {
        return Ok(RuleFile::default());
    }
    let text = first_document(text);
    let parsed: RuleFile = shaped(text, reading.unknown_fields).map_err(|faults| {
        let told = faults.into_iter().map(|told| {
            let (line, column) = told.place.unwrap_or((1, 1));
            fault(line, column, told.message)
        });
        told.collect::<Vec<_>>()
    })?;
    let mut faults = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut places = Places::new(text);
    for (group_number, group) in parsed.groups.iter().enumerate() {
        let mut here = |reason| {
            let (line, column) = places.group(group_number);
            faults.push(fault(line, column, reason));
        };
        let name = group.value.name.as_str();
        if name.is_empty() {
            here("Groupname must not be empty".into());
        } else if names.contains(&name) {
            here(format!("groupname: {name:?} is repeated in the same file"));
        }
        names.push(name);
        for label in group.value.labels.keys().filter(|label| !label_is_allowed(label)) {
            here(format!("invalid label name: {label}"));
        }
        for (number, rule) in group.value.rules.iter().enumerate() {
            let which = format!("group {name:?}, rule {}, {:?}", number + 1, rule.value.name());
            for (field, reason) in check_rule(&rule.value, &reading.language) {
                let (line, column) = places.rule(group_number, number, field);
                faults.push(fault(line, column, format!("{which}: {reason}")));
            }
        }
    }
    if faults.is_empty() { Ok(parsed) } else { Err(faults) }
}

/// The text as a rule file, or all faults of its shape.
fn shaped(text: &str, unknown: UnknownFields) -> Result<RuleFile, Vec<Fault>> {
    match unknown {
        // What is left is JSON, which is YAML too.
        UnknownFields::Ignored => read(&known_fields(read(text)?).to_string()),
        UnknownFields::Refused => read(text),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Fault>> {
    match read_all_faults(text) {
        Outcome { value: Some(value), faults } if faults.is_empty() => Ok(value),
        Outcome { faults, .. } => Err(faults),
    }
}

/// A rule file without the fields that none has.
fn known_fields(mut file: serde_json::Value) -> serde_json::Value {
    const FILE: &[&str] = &["groups"];
    const GROUP: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
    const RULE: &[&str] = &["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];
    let each = |value: Option<&mut serde_json::Value>, change: &dyn Fn(&mut serde_json::Value)| {
        value.and_then(serde_json::Value::as_array_mut).into_iter().flatten().for_each(change);
    };
    let keep = |value: &mut serde_json::Value, known: &[&str]| {
        if let serde_json::Value::Object(fields) = value {
            fields.retain(|name, _| known.contains(&name.as_str()));
        }
    };
    keep(&mut file, FILE);
    each(file.get_mut("groups"), &|group| {
        keep(group, GROUP);
        each(group.get_mut("rules"), &|rule| keep(rule, RULE));
    });
    file
}

impl RuleConfig {
    /// The name of what it records or alerts.
    pub fn name(&self) -> &str {
        if self.record.is_empty() { &self.alert } else { &self.record }
    }
}

fn label_is_allowed(name: &str) -> bool {
    !name.is_empty() && name != METRIC_NAME
}

fn check_rule(rule: &RuleConfig, language: &promql::parser::Options) -> Vec<(Field, String)> {
    let mut faults = Vec::new();
    let mut push = |field, reason: String| faults.push((field, reason));
    match (rule.record.is_empty(), rule.alert.is_empty()) {
        (false, false) => push(Field::Record, "only one of 'record' and 'alert' must be set".into()),
        (true, true) => push(Field::Other, "one of 'record' or 'alert' must be set".into()),
        _ => {}
    }
    if rule.expr.is_empty() {
        push(Field::Expr, "field 'expr' must be set in rule".into());
    } else if let Err(error) = promql::parser::parse_with(&rule.expr, language) {
        push(Field::Expr, format!("could not parse expression: {error}"));
    }
    if !rule.record.is_empty() {
        if !rule.annotations.is_empty() {
            push(Field::Record, "invalid field 'annotations' in recording rule".into());
        }
        if rule.r#for.is_some_and(|d| !d.is_zero()) {
            push(Field::Record, "invalid field 'for' in recording rule".into());
        }
        if rule.keep_firing_for.is_some_and(|d| !d.is_zero()) {
            push(Field::Record, "invalid field 'keep_firing_for' in recording rule".into());
        }
        // A selector written where a name belongs.
        if rule.record.contains(['{', '}']) && !is_legacy_metric_name(&rule.record) {
            let reason = format!("braces present in the recording rule name; should it be in expr?: {}", rule.record);
            push(Field::Record, reason);
        }
    }
    for label in rule.labels.keys() {
        if !label_is_allowed(label) || (label == ALERT_NAME && !rule.alert.is_empty()) {
            push(Field::Other, format!("invalid label name: {label}"));
        }
    }
    if rule.annotations.keys().any(String::is_empty) {
        push(Field::Other, "invalid annotation name: \"\"".into());
    }
    if !rule.alert.is_empty() {
        let labels = rule.labels.iter().map(|(name, text)| ("label", name, text));
        let annotations = rule.annotations.iter().map(|(name, text)| ("annotation", name, text));
        for (kind, name, text) in labels.chain(annotations) {
            if let Err(error) = template::check(&format!("__alert_{}", rule.alert), text) {
                push(Field::Other, format!("{kind} {name:?}: {error}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse(Path::new("r.yml"), text, Reading::default())
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let text = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(\n  - alert: b\n    expr: up\n    \
            labels: {alertname: x}\n    annotations: {s: '{{ nope'}\n- name: g\n";
        let faults = faults(text);
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert!(
            faults[0].starts_with("r.yml: 5:11: ") && faults[0].contains("could not parse expression"),
            "{}",
            faults[0]
        );
        assert!(faults[1].starts_with("r.yml: 6:") && faults[1].contains("invalid label name: alertname"));
        assert!(faults[2].contains("annotation \"s\""));
        assert!(faults[3].contains("repeated in the same file"));
    }

    #[test]
    fn experimental_functions_are_refused_unless_enabled() {
        let text = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: limitk(1, up)\n";
        assert!(faults(text)[0].contains("experimental"), "{:?}", faults(text));
        let all = Reading { language: promql::parser::Options::all(), ..Reading::default() };
        assert!(parse(Path::new("r.yml"), text, all).is_ok());
    }

    #[test]
    fn ignored_fields_leave_the_places_of_faults() {
        let text = "groups:\n- name: g\n  owner: me\n  rules:\n  - record: a\n    note: {x: 1}\n    expr: up +\n";
        let reading = Reading { unknown_fields: UnknownFields::Ignored, ..Reading::default() };
        let faults = parse(Path::new("r.yml"), text, reading).unwrap_err();
        assert_eq!((faults.len(), faults[0].line, faults[0].column), (1, 7, 11), "{faults:?}");
        assert!(parse(Path::new("r.yml"), &text.replace(" +", ""), reading).is_ok());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let faults =
            faults("groups:\n- name: g\n  intervall: 1s\n  rules:\n  - record: a\n    expr: up\n    labls: {}\n");
        let expected = [
            "r.yml: 3:3: unknown key \"intervall\", did you mean \"interval\"?",
            "r.yml: 7:5: unknown key \"labls\", did you mean \"labels\"?",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn only_the_first_document_counts() {
        let text = "---\n# one\ngroups:\n- name: g\n  rules: []\n---\nanything: 1\n";
        assert_eq!(parse(Path::new("r.yml"), text, Reading::default()).unwrap().groups.len(), 1);
    }
}

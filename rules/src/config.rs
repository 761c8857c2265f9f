//! Rule files: strict YAML, checked whole, faults named with their lines.

use std::collections::BTreeMap;
use std::path::Path;

use model::duration::Duration;
use model::labels::{ALERT_NAME, METRIC_NAME, is_legacy_metric_name};
use serde::Deserialize;
use serde_saphyr::Spanned;

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
#[error("{file}:{line}:{column}: {reason}")]
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

/// Reads and checks the text of a rule file.
///
/// # Errors
/// All faults, in the order of their lines; only the first if the text is not YAML or has a wrong shape.
pub fn parse(file: &Path, text: &str) -> Result<RuleFile, Vec<RuleFileError>> {
    let file = file.display().to_string();
    let fault = |line, column, reason: String| RuleFileError { file: file.clone(), line, column, reason };
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![fault(1, 1, format!("larger than {FILE_BYTES_MAX} bytes"))]);
    }
    if text.trim().is_empty() {
        return Ok(RuleFile::default());
    }
    let parsed: RuleFile = first_document(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
        vec![fault(line, column, first_line(&error.to_string()))]
    })?;
    let mut faults = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut places = Places { text, file: None };
    for (group_number, group) in parsed.groups.iter().enumerate() {
        let place = (group.defined.line(), group.defined.column());
        let name = group.value.name.as_str();
        if name.is_empty() {
            faults.push(fault(place.0, place.1, "Groupname must not be empty".into()));
        } else if names.contains(&name) {
            faults.push(fault(place.0, place.1, format!("groupname: {name:?} is repeated in the same file")));
        }
        names.push(name);
        for label in group.value.labels.keys().filter(|label| !label_is_allowed(label)) {
            faults.push(fault(place.0, place.1, format!("invalid label name: {label}")));
        }
        for (number, rule) in group.value.rules.iter().enumerate() {
            let place = (rule.defined.line(), rule.defined.column());
            let which = format!("group {name:?}, rule {}, {:?}", number + 1, rule.value.name());
            for (field, reason) in check_rule(&rule.value) {
                let (line, column) = places.of(group_number, number, field).unwrap_or(place);
                faults.push(fault(line, column, format!("{which}: {reason}")));
            }
        }
    }
    if faults.is_empty() { Ok(parsed) } else { Err(faults) }
}

/// The part of a rule that a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Expr,
    Record,
    Other,
}

/// A rule file as [`RuleFile`], of which only the places of some fields are of interest.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedFile {
    groups: Vec<PlacedGroup>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedGroup {
    rules: Vec<PlacedRule>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedRule {
    record: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
}

/// Where fields stand: read only once a fault is met.
struct Places<'a> {
    text: &'a str,
    file: Option<PlacedFile>,
}

impl Places<'_> {
    /// Line and column of the value of a field.
    fn of(&mut self, group: usize, rule: usize, field: Field) -> Option<(u64, u64)> {
        let text = self.text;
        let file = self.file.get_or_insert_with(|| serde_saphyr::from_str(text).unwrap_or_default());
        let rule = file.groups.get(group)?.rules.get(rule)?;
        let value = match field {
            Field::Expr => rule.expr.as_ref(),
            Field::Record => rule.record.as_ref(),
            Field::Other => None,
        };
        value.map(|value| (value.defined.line(), value.defined.column()))
    }
}

/// Of several YAML documents only the first counts, as upstream has it.
fn first_document(text: &str) -> Result<RuleFile, serde_saphyr::Error> {
    serde_saphyr::from_str(text).or_else(|error| {
        let several = text.lines().skip(1).any(|line| line.trim_end() == "---");
        match several.then(|| serde_saphyr::from_multiple::<RuleFile>(text)) {
            Some(Ok(documents)) => documents.into_iter().next().ok_or(error),
            _ => Err(error),
        }
    })
}

/// The library's messages go on with an excerpt of the file.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or(message).to_owned()
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

fn check_rule(rule: &RuleConfig) -> Vec<(Field, String)> {
    let mut faults = Vec::new();
    let mut push = |field, reason: String| faults.push((field, reason));
    match (rule.record.is_empty(), rule.alert.is_empty()) {
        (false, false) => push(Field::Record, "only one of 'record' and 'alert' must be set".into()),
        (true, true) => push(Field::Other, "one of 'record' or 'alert' must be set".into()),
        _ => {}
    }
    if rule.expr.is_empty() {
        push(Field::Expr, "field 'expr' must be set in rule".into());
    } else if let Err(error) = promql::parser::parse_with(&rule.expr, &promql::parser::Options::all()) {
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
        parse(Path::new("r.yml"), text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let text = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(\n  - alert: b\n    expr: up\n    \
            labels: {alertname: x}\n    annotations: {s: '{{ nope'}\n- name: g\n";
        let faults = faults(text);
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert!(
            faults[0].starts_with("r.yml:5:11: ") && faults[0].contains("could not parse expression"),
            "{}",
            faults[0]
        );
        assert!(faults[1].starts_with("r.yml:6:") && faults[1].contains("invalid label name: alertname"));
        assert!(faults[2].contains("annotation \"s\""));
        assert!(faults[3].contains("repeated in the same file"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let faults = faults("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    labls: {}\n");
        assert!(faults[0].starts_with("r.yml:6:") && faults[0].contains("labls"), "{faults:?}");
    }
}

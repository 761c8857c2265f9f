//! Where in a rule file its parts stand, looked up only once a fault is met.

use serde::Deserialize;
use serde_saphyr::Spanned;

/// The part of a rule that a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Expr,
    Record,
    Other,
}

/// A rule file of which only the places of some fields are of interest.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedFile {
    groups: Vec<Spanned<PlacedGroup>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedGroup {
    rules: Vec<Spanned<PlacedRule>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PlacedRule {
    record: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
}

/// Lines and columns, both counted from 1.
pub(super) struct Places<'a> {
    text: &'a str,
    file: Option<PlacedFile>,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, file: None }
    }

    fn file(&mut self) -> &PlacedFile {
        let text = self.text;
        self.file.get_or_insert_with(|| serde_saphyr::from_str(text).unwrap_or_default())
    }

    /// Of a group.
    pub(super) fn group(&mut self, group: usize) -> (u64, u64) {
        self.file().groups.get(group).map_or((1, 1), place)
    }

    /// Of a field's value, or of the rule if it has no such field.
    pub(super) fn rule(&mut self, group: usize, rule: usize, field: Field) -> (u64, u64) {
        let Some(rule) = self.file().groups.get(group).and_then(|group| group.value.rules.get(rule)) else {
            return (1, 1);
        };
        let value = match field {
            Field::Expr => rule.value.expr.as_ref(),
            Field::Record => rule.value.record.as_ref(),
            Field::Other => None,
        };
        value.map_or_else(|| place(rule), place)
    }
}

fn place<T>(value: &Spanned<T>) -> (u64, u64) {
    (value.defined.line(), value.defined.column())
}

/// Of several YAML documents only the first counts, as upstream has it.
pub(super) fn first_document(text: &str) -> &str {
    let mut end = 0;
    let mut has_begun = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        if has_begun && content == "---" {
            return text.get(..end).unwrap_or(text);
        }
        has_begun |= !content.is_empty() && !content.starts_with('#');
        end += line.len();
    }
    text
}

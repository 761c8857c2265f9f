//! What is wrong with the fields of an object: a collector of causes, with the wording clients know.

use serde_json::Value;

use crate::api::status::Cause;

/// Causes found so far. Paths are written as clients write them: `spec.containers[0].name`.
#[derive(Debug, Default)]
pub struct Causes(Vec<Cause>);

/// The most causes that are reported for one object.
pub const CAUSES_MAX: usize = 64;

impl Causes {
    /// The causes in the order found.
    pub fn into_vec(self) -> Vec<Cause> {
        self.0
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, reason: &'static str, field: &str, message: String) {
        if self.0.len() < CAUSES_MAX {
            self.0.push(Cause { reason, message, field: field.to_owned() });
        }
    }

    /// A field that must be there is not.
    pub fn required(&mut self, field: &str, hint: &str) {
        let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        self.push("FieldValueRequired", field, format!("Required value{hint}"));
    }

    /// A value that breaks a rule.
    pub fn invalid(&mut self, field: &str, value: &Value, rule: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {value}: {rule}"));
    }

    /// A text that breaks a rule.
    pub fn invalid_text(&mut self, field: &str, text: &str, rule: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {text:?}: {rule}"));
    }

    /// A text outside of a closed set.
    pub fn not_supported(&mut self, field: &str, text: &str, supported: &[&str]) {
        let list: Vec<_> = supported.iter().map(|text| format!("{text:?}")).collect();
        let list = list.join(", ");
        self.push("FieldValueNotSupported", field, format!("Unsupported value: {text:?}: supported values: {list}"));
    }

    /// A value that must be unique and is not.
    pub fn duplicate(&mut self, field: &str, value: &Value) {
        self.push("FieldValueDuplicate", field, format!("Duplicate value: {value}"));
    }

    /// A field that must not be set, or not be changed.
    pub fn forbidden(&mut self, field: &str, why: &str) {
        self.push("FieldValueForbidden", field, format!("Forbidden: {why}"));
    }

    /// A reference to something that does not exist.
    pub fn not_found(&mut self, field: &str, text: &str) {
        self.push("FieldValueNotFound", field, format!("Not found: {text:?}"));
    }

    /// A value longer than allowed.
    pub fn too_long(&mut self, field: &str, bytes_max: usize) {
        self.push("FieldValueTooLong", field, format!("Too long: may not be more than {bytes_max} bytes"));
    }

    /// Records the broken rule of a text, if there is one.
    pub fn check_text(&mut self, field: &str, text: &str, outcome: Result<(), &'static str>) {
        if let Err(rule) = outcome {
            self.invalid_text(field, text, rule);
        }
    }

    /// Records a text that is not one of a closed set.
    pub fn check_one_of(&mut self, field: &str, text: &str, supported: &[&str]) {
        if !supported.contains(&text) {
            self.not_supported(field, text, supported);
        }
    }

    /// Records a changed field that may not change.
    pub fn check_unchanged(&mut self, field: &str, old: Option<&Value>, new: Option<&Value>) {
        if old != new {
            self.invalid(field, new.unwrap_or(&Value::Null), "field is immutable");
        }
    }
}

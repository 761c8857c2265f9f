//! Events.

use serde_json::Value;

use crate::api::Field;
use crate::api::field::Causes;
use crate::api::meta::{default_text, namespace, root, submap, text};

/// What Events can be selected by.
pub const FIELDS: &[Field] = &[
    Field::at("involvedObject.kind", "/involvedObject/kind"),
    Field::at("involvedObject.namespace", "/involvedObject/namespace"),
    Field::at("involvedObject.name", "/involvedObject/name"),
    Field::at("involvedObject.uid", "/involvedObject/uid"),
    Field::at("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    Field::at("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    Field::at("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    Field::at("reason", "/reason"),
    Field::at("reportingComponent", "/reportingComponent"),
    Field::at("source", "/source/component"),
    Field::at("type", "/type"),
];

/// An Event without a type is a normal one.
pub fn defaults(event: &mut Value) {
    let root = root(event);
    default_text(root, "type", "Normal");
    submap(root, "involvedObject");
}

/// An Event lives beside the object it is about.
pub fn validate(event: &Value, causes: &mut Causes) {
    let involved = text(event, "/involvedObject/namespace");
    let expected = if involved.is_empty() { "default" } else { involved };
    if namespace(event) != expected {
        causes.invalid_text("involvedObject.namespace", involved, "does not match event.namespace");
    }
    causes.check_one_of("type", text(event, "/type"), &["Normal", "Warning"]);
}

//! Reading and writing the metadata that every object has.
//!
//! Objects are JSON values; absent members read as empty, so that nothing here fails on a client's input.

use serde_json::{Map, Value, json};

use crate::api::field::Causes;
use crate::api::names;

/// The most bytes all annotations of an object take together.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The text at a JSON pointer; empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a JSON pointer; empty if there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at a JSON pointer, if there is one.
pub fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

/// The number at a JSON pointer.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Whether the JSON pointer leads to `true`.
pub fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`, empty for cluster-wide objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    map(object, "/metadata/labels")
}

/// The value of an annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    map(object, "/metadata/annotations")?.get(key)?.as_str()
}

/// Whether a deletion of the object has begun.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// The map under `key`, made if absent or of another type.
pub fn submap<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = parent.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("it was just made an object")
}

/// The object as a map, made one if it is not.
pub fn root(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    object.as_object_mut().expect("it was just made an object")
}

/// The metadata of an object, made if absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    submap(root(object), "metadata")
}

/// Sets a member unless it is there already.
pub fn default(parent: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let slot = parent.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// Sets a text member unless it is there and not empty.
pub fn default_text(parent: &mut Map<String, Value>, key: &str, value: &str) {
    let slot = parent.entry(key).or_insert(Value::Null);
    if slot.is_null() || slot.as_str() == Some("") {
        *slot = json!(value);
    }
}

/// Checks labels, annotations, owners and finalizers; names are the caller's.
pub fn validate(object: &Value, causes: &mut Causes) {
    validate_labels(labels(object), "metadata.labels", causes);
    let mut bytes = 0;
    for (key, value) in map(object, "/metadata/annotations").into_iter().flatten() {
        causes.check_text("metadata.annotations", key, names::qualified(&key.to_ascii_lowercase()));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX);
    }
    for (index, owner) in list(object, "/metadata/ownerReferences").iter().enumerate() {
        for member in ["apiVersion", "kind", "name", "uid"] {
            if owner[member].as_str().unwrap_or("").is_empty() {
                causes.required(&format!("metadata.ownerReferences[{index}].{member}"), "must not be empty");
            }
        }
    }
    for finalizer in list(object, "/metadata/finalizers") {
        let finalizer = finalizer.as_str().unwrap_or("");
        causes.check_text("metadata.finalizers", finalizer, names::qualified(finalizer));
    }
}

/// Checks a map of labels at a path.
pub fn validate_labels(labels: Option<&Map<String, Value>>, field: &str, causes: &mut Causes) {
    for (key, value) in labels.into_iter().flatten() {
        causes.check_text(field, key, names::qualified(key));
        let value = value.as_str().unwrap_or("");
        causes.check_text(field, value, names::label_value(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_reads_as_empty() {
        let object = json!({ "metadata": { "name": 7, "labels": [] } });
        assert_eq!((name(&object), namespace(&object)), ("", ""));
        assert!(labels(&object).is_none() && list(&object, "/spec/ports").is_empty() && !is_deleting(&object));
    }

    #[test]
    fn metadata_rules_name_the_field() {
        let object = json!({ "metadata": {
            "labels": { "-bad": "x", "ok": "a b" },
            "annotations": { "UPPER.example/is-fine": "any text" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p" }],
            "finalizers": ["", "kubernetes"],
        } });
        let mut causes = Causes::default();
        validate(&object, &mut causes);
        let fields: Vec<_> = causes.into_vec().into_iter().map(|cause| cause.field).collect();
        assert_eq!(
            fields,
            ["metadata.labels", "metadata.labels", "metadata.ownerReferences[0].uid", "metadata.finalizers"]
        );
    }
}

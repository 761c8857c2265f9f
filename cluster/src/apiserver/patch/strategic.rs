//! Strategic merge patches: like merge patches, but lists with a merge key are merged by that key.
//!
//! Directives: `$patch: replace|merge|delete` in objects and list items, `$deleteFromPrimitiveList/F`,
//! `$setElementOrder/F`, `$retainKeys`.

use serde_json::{Map, Value};

use crate::api::schema::{Member, Merge, MessageRef, Schema, Type};

/// How deep patches may be nested.
const DEPTH_MAX: usize = 64;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// A patch that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StrategicError {
    #[error("strategic merge patch: unknown directive $patch: {0:?}")]
    Directive(String),
    #[error("strategic merge patch: {field}: expected {expected}")]
    Shape { field: String, expected: &'static str },
    #[error("strategic merge patch: {field}: map: {map} does not contain declared merge key: {key}")]
    MissingKey { field: String, map: String, key: String },
    #[error("strategic merge patch: nested deeper than {DEPTH_MAX}")]
    Depth,
}

/// Applies a patch to an object of a message.
pub(super) fn apply(
    schema: &Schema,
    message: MessageRef,
    object: &mut Value,
    patch: &Value,
) -> Result<(), StrategicError> {
    merge_object(schema, Some(message), object, patch, 0)
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    crate::api::meta::root(value)
}

fn merge_object(
    schema: &Schema,
    message: Option<MessageRef>,
    object: &mut Value,
    patch: &Value,
    depth: usize,
) -> Result<(), StrategicError> {
    if depth > DEPTH_MAX {
        return Err(StrategicError::Depth);
    }
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return Ok(());
    };
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("")) {
        None | Some("merge") => {}
        Some("replace") => as_map(object).clear(),
        Some("delete") => {
            as_map(object).clear();
            return Ok(());
        }
        Some(other) => return Err(StrategicError::Directive(other.to_owned())),
    }
    if let Some(kept) = patch.get(RETAIN) {
        let kept = kept.as_array().ok_or_else(|| shape(RETAIN, "a list of names"))?;
        as_map(object).retain(|name, _| kept.iter().any(|one| one == name));
    }
    let members = message.map(|message| &schema.message(message).members);
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let member = members.and_then(|members| members.get(name));
        merge_member(schema, member, as_map(object), name, value, depth)?;
    }
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_PREFIX) {
            let gone = value.as_array().ok_or_else(|| shape(name, "a list"))?;
            if let Some(list) = as_map(object).get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        }
    }
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(ORDER_PREFIX) {
            let order = value.as_array().ok_or_else(|| shape(name, "a list"))?;
            let key = members.and_then(|members| members.get(field)).map(|member| &member.merge);
            if let Some(list) = as_map(object).get_mut(field).and_then(Value::as_array_mut) {
                reorder(list, order, key);
            }
        }
    }
    Ok(())
}

fn shape(field: &str, expected: &'static str) -> StrategicError {
    StrategicError::Shape { field: field.to_owned(), expected }
}

fn merge_member(
    schema: &Schema,
    member: Option<&Member>,
    object: &mut Map<String, Value>,
    name: &str,
    patch: &Value,
    depth: usize,
) -> Result<(), StrategicError> {
    if patch.is_null() {
        object.remove(name);
        return Ok(());
    }
    match (patch, member.map(|member| (&member.kind, &member.merge))) {
        (Value::Object(map), kind) => {
            let inner = match kind {
                Some((Type::Message(inner), _)) => Some(*inner),
                _ => None,
            };
            let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            merge_object(schema, inner, slot, patch, depth + 1)?;
            if map.get(PATCH).is_some_and(|directive| directive == "delete") {
                object.remove(name);
            }
            Ok(())
        }
        (Value::Array(items), Some((Type::List(item), Merge::ByKey(key)))) => {
            let inner = match &**item {
                Type::Message(inner) => Some(*inner),
                _ => None,
            };
            let list = list_of(object, name);
            merge_by_key(schema, inner, list, items, key, name, depth + 1)
        }
        (Value::Array(items), Some((_, Merge::Set))) => {
            let list = list_of(object, name);
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            Ok(())
        }
        _ => {
            object.insert(name.to_owned(), patch.clone());
            Ok(())
        }
    }
}

fn list_of<'a>(object: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let slot = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("it was just made a list")
}

fn merge_by_key(
    schema: &Schema,
    message: Option<MessageRef>,
    list: &mut Vec<Value>,
    patches: &[Value],
    key: &str,
    field: &str,
    depth: usize,
) -> Result<(), StrategicError> {
    // An item that is nothing but `$patch: replace` replaces the whole list.
    let is_replace = |item: &Value| item.get(PATCH).is_some_and(|directive| directive == "replace");
    if patches.iter().any(|item| is_replace(item) && item.get(key).is_none()) {
        *list = patches.iter().filter(|item| !is_replace(item)).cloned().collect();
        return Ok(());
    }
    for patch in patches {
        let wanted = patch.get(key).ok_or_else(|| StrategicError::MissingKey {
            field: field.to_owned(),
            map: patch.to_string(),
            key: key.to_owned(),
        })?;
        let position = list.iter().position(|item| item.get(key) == Some(wanted));
        if patch.get(PATCH).is_some_and(|directive| directive == "delete") {
            list.retain(|item| item.get(key) != Some(wanted));
            continue;
        }
        let index = position.unwrap_or_else(|| {
            list.push(Value::Object(Map::new()));
            list.len() - 1
        });
        merge_object(schema, message, &mut list[index], patch, depth)?;
    }
    Ok(())
}

/// Puts the items of a list into an order; items that the order does not name keep their place behind the item they
/// stood behind.
fn reorder(list: &mut Vec<Value>, order: &[Value], merge: Option<&Merge>) {
    let rank = |item: &Value| match merge {
        Some(Merge::ByKey(key)) => order.iter().position(|one| one.get(key).is_some() && one.get(key) == item.get(key)),
        _ => order.iter().position(|one| one == item),
    };
    let mut named: Vec<(usize, Value)> = list.iter().filter_map(|item| Some((rank(item)?, item.clone()))).collect();
    named.sort_by_key(|(rank, _)| *rank);
    // Unnamed items go back to where they were relative to the number of named items in front of them.
    let mut ordered = Vec::with_capacity(list.len());
    let mut named = named.into_iter().map(|(_, item)| item);
    for item in list.drain(..) {
        match rank(&item) {
            Some(_) => ordered.extend(named.next()),
            None => ordered.push(item),
        }
    }
    *list = ordered;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(mut object: Value, patch: Value, expected: Result<Value, &str>) {
        let schema = Schema::build();
        let outcome = apply(&schema, schema.find("core.Pod").unwrap(), &mut object, &patch);
        match expected {
            Ok(expected) => assert_eq!((outcome, object), (Ok(()), expected), "{patch}"),
            Err(text) => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains(text), "{error}");
            }
        }
    }

    fn pod(containers: Value) -> Value {
        json!({ "spec": { "containers": containers } })
    }

    #[test]
    fn lists_merge_by_key_and_maps_by_name() {
        check(
            pod(
                json!([{ "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }] }, { "name": "b", "image": "2" }]),
            ),
            pod(
                json!([{ "name": "b", "image": "3" }, { "name": "c", "image": "4" }, { "name": "a", "env": [{ "name": "X", "value": "2" }] }]),
            ),
            Ok(pod(json!([
                { "name": "a", "image": "1", "env": [{ "name": "X", "value": "2" }] },
                { "name": "b", "image": "3" }, { "name": "c", "image": "4" },
            ]))),
        );
        check(
            json!({ "metadata": { "labels": { "a": "1", "b": "2" } } }),
            json!({ "metadata": { "labels": { "a": null, "c": "3" } } }),
            Ok(json!({ "metadata": { "labels": { "b": "2", "c": "3" } } })),
        );
        // Lists without a key are replaced.
        check(
            pod(json!([{ "name": "a", "args": ["1", "2"] }])),
            pod(json!([{ "name": "a", "args": ["3"] }])),
            Ok(pod(json!([{ "name": "a", "args": ["3"] }]))),
        );
    }

    #[test]
    fn directives() {
        check(
            pod(json!([{ "name": "a" }, { "name": "b" }])),
            pod(json!([{ "name": "a", "$patch": "delete" }])),
            Ok(pod(json!([{ "name": "b" }]))),
        );
        check(
            pod(json!([{ "name": "a" }, { "name": "b" }])),
            pod(json!([{ "$patch": "replace" }, { "name": "c" }])),
            Ok(pod(json!([{ "name": "c" }]))),
        );
        check(
            json!({ "metadata": { "finalizers": ["a/x", "b/x"] } }),
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a/x"], "finalizers": ["c/x"] } }),
            Ok(json!({ "metadata": { "finalizers": ["b/x", "c/x"] } })),
        );
        check(
            pod(json!([{ "name": "a" }, { "name": "b" }])),
            json!({ "spec": { "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }], "containers": [{ "name": "c" }] } }),
            Ok(pod(json!([{ "name": "c" }, { "name": "b" }, { "name": "a" }]))),
        );
        check(
            json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } }),
            json!({ "spec": { "volumes": [{ "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/" } }] } }),
            Ok(json!({ "spec": { "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] } })),
        );
        check(
            json!({ "spec": { "securityContext": { "runAsUser": 1 }, "nodeName": "n" } }),
            json!({ "spec": { "securityContext": { "$patch": "delete" } } }),
            Ok(json!({ "spec": { "nodeName": "n" } })),
        );
    }

    #[test]
    fn nonsense_is_refused() {
        check(pod(json!([])), pod(json!([{ "image": "x" }])), Err("merge key: name"));
        check(json!({}), json!({ "$patch": "explode" }), Err("unknown directive"));
        check(json!({}), json!({ "metadata": { "$retainKeys": "x" } }), Err("a list of names"));
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        check(json!({}), deep, Err("nested deeper"));
    }
}

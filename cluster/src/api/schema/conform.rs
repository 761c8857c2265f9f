//! Bringing a JSON body into the shape of its message: unknown members are noted and dropped, nulls are dropped,
//! and a member of the wrong type is an error that names its path.

use serde_json::{Map, Value};

use super::{MessageRef, Schema, Type};
use crate::api::names;

/// How deep bodies may be nested.
pub const DEPTH_MAX: usize = 64;
/// The most unknown members that are reported.
pub const UNKNOWN_MAX: usize = 64;

/// A member of the wrong type.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// The JSON type is not the one of the member.
    #[error("json: cannot unmarshal {found} into field {path} of type {expected}")]
    Mismatch {
        /// Path of the member.
        path: String,
        /// The JSON type found.
        found: &'static str,
        /// The type of the member.
        expected: &'static str,
    },
    /// The text is not what the member holds.
    #[error("field {path}: {rule}: {text:?}")]
    Syntax {
        /// Path of the member.
        path: String,
        /// The rule that is broken.
        rule: &'static str,
        /// The text found.
        text: String,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("field {path}: nested deeper than {DEPTH_MAX}")]
    Depth {
        /// Path of the member.
        path: String,
    },
}

/// Walks one body.
struct Walk<'a> {
    schema: &'a Schema,
    path: Vec<String>,
    unknown: Vec<String>,
}

/// Brings `body` into the shape of `message`. Returns the paths of unknown members, which are gone from the body.
pub fn conform(schema: &Schema, message: MessageRef, body: &mut Value) -> Result<Vec<String>, TypeError> {
    let mut walk = Walk { schema, path: Vec::new(), unknown: Vec::new() };
    walk.message(message, body, true)?;
    Ok(walk.unknown)
}

impl Walk<'_> {
    fn place(&self) -> String {
        self.path.concat().trim_start_matches('.').to_owned()
    }

    fn mismatch(&self, value: &Value, expected: &'static str) -> TypeError {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        TypeError::Mismatch { path: self.place(), found, expected }
    }

    fn message(&mut self, message: MessageRef, value: &mut Value, top: bool) -> Result<(), TypeError> {
        if !value.is_object() {
            return Err(self.mismatch(value, "object"));
        }
        let members = &self.schema.message(message).members;
        let object = value.as_object_mut().expect("checked above");
        let mut kept = Map::new();
        for (name, mut value) in std::mem::take(object) {
            if value.is_null() {
                continue;
            }
            if top && (name == "kind" || name == "apiVersion") {
                kept.insert(name, value);
                continue;
            }
            self.path.push(format!(".{name}"));
            match members.get(&name) {
                Some(member) => {
                    self.value(&member.kind, &mut value)?;
                    kept.insert(name, value);
                }
                None if self.unknown.len() < UNKNOWN_MAX => self.unknown.push(self.place()),
                None => {}
            }
            self.path.pop();
        }
        *object = kept;
        Ok(())
    }

    fn value(&mut self, kind: &Type, value: &mut Value) -> Result<(), TypeError> {
        if self.path.len() > DEPTH_MAX {
            return Err(TypeError::Depth { path: self.place() });
        }
        match kind {
            Type::Message(message) => self.message(*message, value, false),
            Type::List(item) => self.list(item, value),
            Type::Map(item) => self.map(item, value),
            _ => self.scalar(kind, value),
        }
    }

    fn list(&mut self, item: &Type, value: &mut Value) -> Result<(), TypeError> {
        let Some(items) = value.as_array_mut() else { return Err(self.mismatch(value, "array")) };
        for (index, value) in items.iter_mut().enumerate() {
            self.path.push(format!("[{index}]"));
            if value.is_null() && matches!(item, Type::Message(_)) {
                *value = Value::Object(Map::new());
            }
            self.value(item, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, item: &Type, value: &mut Value) -> Result<(), TypeError> {
        let Some(entries) = value.as_object_mut() else { return Err(self.mismatch(value, "map")) };
        for (key, value) in entries.iter_mut() {
            self.path.push(format!(".{key}"));
            if value.is_null() && *item == Type::String {
                *value = Value::String(String::new());
            }
            self.value(item, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn scalar(&self, kind: &Type, value: &mut Value) -> Result<(), TypeError> {
        let wrong = |expected| Err(self.mismatch(value, expected));
        match kind {
            Type::String if !value.is_string() => wrong("string"),
            Type::Bool if !value.is_boolean() => wrong("bool"),
            Type::Int32 if value.as_i64().is_none_or(|number| i32::try_from(number).is_err()) => wrong("int32"),
            Type::Int64 if value.as_i64().is_none() => wrong("int64"),
            Type::Bytes => self.bytes(value),
            Type::IntOrString if !value.is_string() && value.as_i64().is_none() => wrong("int or string"),
            Type::Quantity => self.quantity(value),
            Type::Time | Type::MicroTime => match value.as_str().map(str::parse::<jiff::Timestamp>) {
                Some(Ok(_)) => Ok(()),
                Some(Err(_)) => Err(self.syntax("not an RFC 3339 time", value)),
                None => wrong("time"),
            },
            Type::RawFields if !value.is_object() => wrong("object"),
            _ => Ok(()),
        }
    }

    fn syntax(&self, rule: &'static str, value: &Value) -> TypeError {
        TypeError::Syntax { path: self.place(), rule, text: value.as_str().unwrap_or("").to_owned() }
    }

    fn bytes(&self, value: &Value) -> Result<(), TypeError> {
        use base64::Engine as _;
        let Some(text) = value.as_str() else { return Err(self.mismatch(value, "base64 string")) };
        match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(_) => Ok(()),
            // The text may be a secret: it is not shown.
            Err(_) => Err(TypeError::Syntax { path: self.place(), rule: "illegal base64 data", text: String::new() }),
        }
    }

    /// Quantities may be written as numbers; they are kept as text.
    fn quantity(&self, value: &mut Value) -> Result<(), TypeError> {
        if let Value::Number(number) = value {
            *value = Value::String(number.to_string());
        }
        let Some(text) = value.as_str() else { return Err(self.mismatch(value, "quantity")) };
        names::quantity(text).map_err(|rule| self.syntax(rule, value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: Value) -> Result<(Value, Vec<String>), String> {
        let schema = Schema::build();
        let mut body = body;
        let unknown =
            conform(&schema, schema.find("core.Pod").unwrap(), &mut body).map_err(|error| error.to_string())?;
        Ok((body, unknown))
    }

    #[test]
    fn unknown_members_are_noted_and_nulls_dropped() {
        let (body, unknown) = check(json!({
            "kind": "Pod", "metadata": { "name": "p", "creationTimestamp": null, "labels": { "a": null } },
            "spec": { "replicaz": 1, "containers": [{ "name": "c", "imagee": "x", "resources": { "limits": { "cpu": 1 } } }] },
        }))
        .unwrap();
        assert_eq!(unknown, ["spec.containers[0].imagee", "spec.replicaz"]);
        assert_eq!(body["metadata"], json!({ "name": "p", "labels": { "a": "" } }));
        assert_eq!(body["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    }

    #[test]
    fn wrong_types_name_the_path() {
        let error = |body| check(body).unwrap_err();
        assert_eq!(
            error(json!({ "spec": { "containers": [{ "ports": [{ "containerPort": "80" }] }] } })),
            "json: cannot unmarshal string into field spec.containers[0].ports[0].containerPort of type int32"
        );
        assert!(error(json!({ "spec": [] })).contains("cannot unmarshal array into field spec of type object"));
        assert!(error(json!([])).contains("cannot unmarshal array"));
        assert!(error(json!({ "metadata": { "deletionTimestamp": "soon" } })).contains("RFC 3339"));
        assert!(error(json!({ "spec": { "terminationGracePeriodSeconds": 1.5 } })).contains("int64"));
        assert!(error(json!({ "spec": { "priority": 3_000_000_000_i64 } })).contains("int32"));
    }
}

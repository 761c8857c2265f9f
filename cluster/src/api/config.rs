//! ConfigMaps and Secrets.

use serde_json::Value;

use crate::api::field::Causes;
use crate::api::meta::{default_text, flag, map, root, text};
use crate::api::names;

/// The most bytes the values of one ConfigMap or Secret take together.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A Secret without a type is opaque; `stringData` becomes `data`.
pub fn default_secret(secret: &mut Value) {
    use base64::Engine as _;
    let root = root(secret);
    default_text(root, "type", "Opaque");
    if let Some(Value::Object(plain)) = root.remove("stringData") {
        let data = crate::api::meta::submap(root, "data");
        for (key, value) in plain {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or(""));
            data.insert(key, encoded.into());
        }
    }
}

/// Keys, overlaps and sizes of a ConfigMap.
pub fn validate_config_map(object: &Value, causes: &mut Causes) {
    let plain = validate_data(object, "data", causes);
    let binary = validate_data(object, "binaryData", causes);
    for key in map(object, "/binaryData").into_iter().flatten().map(|(key, _)| key) {
        if object["data"].get(key).is_some() {
            causes.invalid_text(&format!("binaryData[{key}]"), key, "duplicate of key present in data");
        }
    }
    if plain + binary > CONFIG_BYTES_MAX {
        causes.too_long("", CONFIG_BYTES_MAX);
    }
}

/// Keys and sizes of a Secret, and the keys its type demands.
pub fn validate_secret(object: &Value, causes: &mut Causes) {
    if validate_data(object, "data", causes) > CONFIG_BYTES_MAX {
        causes.too_long("data", CONFIG_BYTES_MAX);
    }
    let demanded: &[&str] = match text(object, "/type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        _ => &[],
    };
    for key in demanded {
        if object["data"].get(*key).is_none() {
            causes.required(&format!("data[{key}]"), "");
        }
    }
}

fn validate_data(object: &Value, member: &str, causes: &mut Causes) -> usize {
    let mut bytes = 0;
    for (key, value) in object[member].as_object().into_iter().flatten() {
        causes.check_text(&format!("{member}[{key}]"), key, names::config_key(key));
        bytes += value.as_str().map_or(0, str::len);
    }
    bytes
}

/// An immutable ConfigMap or Secret stays as it is; a Secret keeps its type.
pub fn validate_update(old: &Value, new: &Value, causes: &mut Causes) {
    causes.check_unchanged("type", old.get("type"), new.get("type"));
    if !flag(old, "/immutable") {
        return;
    }
    if !flag(new, "/immutable") {
        causes.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for member in ["data", "binaryData"] {
        if old.get(member) != new.get(member) {
            causes.forbidden(member, "field is immutable when `immutable` is set");
        }
    }
}

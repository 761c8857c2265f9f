//! OpenAPI v3 documents, one per group and version, built from the schema: enough for kubectl to validate on the
//! server, to compute patches and to explain kinds. Field descriptions are not part of the schema yet.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::reply;
use crate::api::schema::{Merge, MessageRef, Schema, Type};
use crate::api::status::Failure;
use crate::api::{GROUP_VERSIONS, RESOURCES, Resource};

/// The documents and their index.
pub(super) struct OpenApi {
    index: Value,
    documents: HashMap<String, String>,
}

impl OpenApi {
    /// Builds the documents.
    pub(super) fn build(schema: &Schema) -> Self {
        let (mut paths, mut documents) = (Map::new(), HashMap::new());
        for (group, version) in GROUP_VERSIONS {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let text = document(schema, group, version).to_string();
            let url = format!("/openapi/v3/{path}?hash={}", hash(&text));
            paths.insert(path.clone(), json!({ "serverRelativeURL": url }));
            documents.insert(path, text);
        }
        Self { index: json!({ "paths": paths }), documents }
    }

    pub(super) fn index(&self) -> Response {
        reply::json(StatusCode::OK, &self.index)
    }

    pub(super) fn document(&self, path: &str) -> Result<Response, Failure> {
        let text = self.documents.get(path).ok_or_else(Failure::no_such_path)?;
        let mut response = text.clone().into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// Names the content of a document.
pub(super) fn hash(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02X}")).collect()
}

fn document(schema: &Schema, group: &str, version: &str) -> Value {
    let resources = || RESOURCES.iter().filter(|resource| (resource.group, resource.version) == (group, version));
    let paths: Map<String, Value> = resources().map(path_item).collect();
    let mut kinds: BTreeMap<String, Value> = BTreeMap::new();
    let mut open: Vec<MessageRef> = Vec::new();
    let mut seen: HashSet<MessageRef> = HashSet::new();
    for resource in resources() {
        if let Some(message) = schema.find(resource.message) {
            kinds.insert(schema.message(message).full_name.clone(), json!([kind_of(resource)]));
            open.push(message);
        }
    }
    let mut schemas = Map::new();
    while let Some(message) = open.pop() {
        if !seen.insert(message) {
            continue;
        }
        let name = schema.message(message).full_name.clone();
        let mut properties = Map::new();
        let kind = kinds.get(&name);
        for member in kind.iter().flat_map(|_| ["apiVersion", "kind"]) {
            properties.insert(member.to_owned(), json!({ "type": "string" }));
        }
        for (member_name, member) in &schema.message(message).members {
            let mut property = type_schema(schema, &member.kind, &mut open);
            match &member.merge {
                Merge::Default => {}
                Merge::Set => property["x-kubernetes-patch-strategy"] = json!("merge"),
                Merge::ByKey(key) => {
                    property["x-kubernetes-patch-strategy"] = json!("merge");
                    property["x-kubernetes-patch-merge-key"] = json!(key);
                }
            }
            properties.insert(member_name.clone(), property);
        }
        let mut entry = json!({ "type": "object", "properties": properties });
        if let Some(kind) = kind {
            entry["x-kubernetes-group-version-kind"] = kind.clone();
        }
        schemas.insert(name, entry);
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Cresset cluster", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn kind_of(resource: &Resource) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": resource.kind })
}

/// The one path that clients look at: that of a single object.
fn path_item(resource: &Resource) -> (String, Value) {
    let base = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let path = format!("{base}/{}{place}/{}/{{name}}", resource.version, resource.plural);
    let kind = kind_of(resource);
    let validation = json!([{ "name": "fieldValidation", "in": "query", "schema": { "type": "string" } }]);
    let item = json!({
        "get": { "x-kubernetes-group-version-kind": kind },
        "patch": { "x-kubernetes-group-version-kind": kind, "parameters": validation },
    });
    (path, item)
}

fn type_schema(schema: &Schema, kind: &Type, open: &mut Vec<MessageRef>) -> Value {
    match kind {
        Type::String | Type::Quantity => json!({ "type": "string" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int32 => json!({ "type": "integer", "format": "int32" }),
        Type::Int64 => json!({ "type": "integer", "format": "int64" }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::IntOrString => json!({ "type": "string", "format": "int-or-string" }),
        Type::Time | Type::MicroTime => json!({ "type": "string", "format": "date-time" }),
        Type::RawFields => json!({ "type": "object" }),
        Type::List(item) => json!({ "type": "array", "items": type_schema(schema, item, open) }),
        Type::Map(value) => json!({ "type": "object", "additionalProperties": type_schema(schema, value, open) }),
        Type::Message(message) => {
            open.push(*message);
            json!({ "$ref": format!("#/components/schemas/{}", schema.message(*message).full_name) })
        }
    }
}

//! Rendering answers: objects, lists, tables, metadata only.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::negotiate::Shape;
use super::table;
use crate::api::{Resource, meta};

/// How a client wants its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) include: Include,
}

/// What of the objects goes along with the rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Include {
    /// Their metadata.
    #[default]
    Metadata,
    /// All of them.
    Object,
    /// Nothing.
    None,
}

/// A list about to be shown.
#[derive(Debug)]
pub(super) struct List {
    pub(super) objects: Vec<Arc<Value>>,
    pub(super) revision: u64,
    pub(super) next: Option<String>,
    pub(super) remaining: Option<usize>,
}

/// A JSON answer.
pub(super) fn json(code: StatusCode, value: &Value) -> Response {
    let mut response = (code, value.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One object.
pub(super) fn object(code: StatusCode, resource: &Resource, object: &Value, form: Form) -> Response {
    match form.shape {
        Shape::Object => json(code, object),
        Shape::Metadata => json(code, &partial(object)),
        Shape::Table => {
            let metadata = json!({ "resourceVersion": meta::resource_version(object) });
            json(code, &table::table(resource, std::iter::once(object), metadata, form.include, true))
        }
    }
}

/// A list of objects.
pub(super) fn list(resource: &Resource, list: &List, form: Form) -> Response {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(list.revision.to_string()));
    if let Some(next) = &list.next {
        metadata.insert("continue".to_owned(), json!(next));
    }
    if let Some(remaining) = list.remaining {
        metadata.insert("remainingItemCount".to_owned(), json!(remaining));
    }
    let metadata = Value::Object(metadata);
    let objects = list.objects.iter().map(AsRef::as_ref);
    match form.shape {
        Shape::Table => json(StatusCode::OK, &table::table(resource, objects, metadata, form.include, true)),
        Shape::Object => {
            let head = json!({ "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": metadata });
            items(head, objects.map(ToString::to_string))
        }
        Shape::Metadata => {
            let head =
                json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata });
            items(head, objects.map(|object| partial(object).to_string()))
        }
    }
}

/// Writes a list without building it as one value first.
fn items(head: Value, items: impl Iterator<Item = String>) -> Response {
    let mut text = head.to_string();
    text.truncate(text.len() - 1);
    text.push_str(",\"items\":[");
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push_str("]}");
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Only the metadata of an object.
pub(super) fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

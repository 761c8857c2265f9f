//! The OpenAPI document of this API, made from a table of its endpoints.
//!
//! Reference: OpenAPI Specification 3.1 and 3.2.

mod endpoints;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use endpoints::{ENDPOINTS, Endpoint, Form, Parameter};
use serde_json::{Map, Value, json};

use super::envelope::{ApiError, ErrorType};
use super::params::Params;
use super::status::API_VERSION;

/// `openapi_version` chooses between 3.1, which more tools read, and 3.2.
pub(super) async fn show(params: Params) -> Result<Response, ApiError> {
    let version = if params.get("openapi_version").starts_with("3.2") { "3.2.0" } else { "3.1.0" };
    let yaml = serde_saphyr::to_string(&document(version));
    let yaml = yaml.map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "application/yaml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
    ];
    Ok((headers, yaml).into_response())
}

fn document(version: &str) -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let operations = endpoint.methods.iter().map(|method| (method.to_lowercase(), operation(endpoint, method)));
        paths.insert(endpoint.path.to_owned(), Value::Object(operations.collect()));
    }
    json!({
        "openapi": version,
        "info": {
            "title": "Cresset API",
            "description": "The HTTP API of Prometheus, and what goes beyond it.",
            "version": API_VERSION,
        },
        "servers": [{"url": "/api/v1"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"token": []}, {"password": []}],
    })
}

fn schemas() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "Success": {
            "type": "object",
            "required": ["status", "data"],
            "properties": {"status": {"const": "success"}, "data": {}, "warnings": texts, "infos": texts},
        },
        "Error": {
            "type": "object",
            "required": ["status", "errorType", "error"],
            "properties": {
                "status": {"const": "error"},
                "errorType": {"enum": [
                    "bad_data", "execution", "canceled", "timeout", "internal", "unavailable", "not_found", "forbidden",
                ]},
                "error": {"type": "string"},
            },
        },
    })
}

fn operation(endpoint: &Endpoint, method: &str) -> Value {
    let name: String = endpoint.path.split(|c: char| !c.is_ascii_alphanumeric()).collect::<Vec<_>>().join("_");
    let mut operation = Map::new();
    operation.insert("operationId".into(), format!("{}{name}", method.to_lowercase()).into());
    operation.insert("summary".into(), endpoint.summary.into());
    let is_form = matches!(method, "POST" | "PUT") && endpoint.body.is_none();
    let is_in_path = |parameter: &&Parameter| endpoint.path.contains(&format!("{{{}}}", parameter.name));
    let shown: Vec<Value> = endpoint
        .parameters
        .iter()
        .filter(|p| !is_form || is_in_path(p))
        .map(|p| parameter(p, is_in_path(&p)))
        .collect();
    if !shown.is_empty() {
        operation.insert("parameters".into(), shown.into());
    }
    if let Some(content_types) = endpoint.body {
        let content: Map<String, Value> = content_types.iter().map(|t| ((*t).to_owned(), json!({}))).collect();
        operation.insert("requestBody".into(), json!({"required": true, "content": content}));
    } else if is_form && !endpoint.parameters.is_empty() {
        let own = || endpoint.parameters.iter().filter(|parameter| !is_in_path(parameter));
        let properties: Map<String, Value> = own().map(|p| (p.name.to_owned(), schema(p.form))).collect();
        let required: Vec<&str> = own().filter(|p| p.is_required).map(|p| p.name).collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let content = json!({"application/x-www-form-urlencoded": {"schema": schema}});
        operation.insert("requestBody".into(), json!({"content": content}));
    }
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    let success = match endpoint.answer {
        "application/json" => json!({"application/json": {"schema": {"$ref": "#/components/schemas/Success"}}}),
        "" => Value::Null,
        other => json!({other: {}}),
    };
    let responses = match success {
        Value::Null => {
            json!({"204": {"description": "Done."}, "default": {"description": "An error.", "content": error}})
        }
        content => json!({
            "200": {"description": "The answer.", "content": content},
            "default": {"description": "An error.", "content": error},
        }),
    };
    operation.insert("responses".into(), responses);
    Value::Object(operation)
}

fn parameter(parameter: &Parameter, is_in_path: bool) -> Value {
    json!({
        "name": parameter.name,
        "in": if is_in_path { "path" } else { "query" },
        "required": parameter.is_required,
        "description": parameter.about,
        "schema": schema(parameter.form),
    })
}

fn schema(form: Form) -> Value {
    match form {
        Form::Text => json!({"type": "string"}),
        Form::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Form::Integer => json!({"type": "integer"}),
        Form::Truth => json!({"type": "boolean"}),
        Form::Time => json!({"type": "string", "description": "RFC 3339, or Unix seconds with a fraction"}),
        Form::Duration => json!({"type": "string", "description": "A duration such as 5m, or seconds"}),
        Form::OneOf(values) => json!({"enum": values}),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The router's own text says which paths and methods there are.
    #[test]
    fn every_route_is_told_of() {
        let router = include_str!("../http.rs");
        let mut routed = BTreeSet::new();
        let own = router.split("fn query_routes").nth(1).unwrap();
        for route in own.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split('\n').next().unwrap();
            for method in ["get", "post", "put", "delete", "any"] {
                let is_called =
                    [format!(", {method}("), format!(").{method}(")].iter().any(|call| handlers.contains(call));
                if is_called {
                    let method = if method == "any" { "POST".to_owned() } else { method.to_uppercase() };
                    routed.insert(format!("{method} {path}"));
                }
            }
        }
        let told: BTreeSet<String> =
            ENDPOINTS.iter().flat_map(|e| e.methods.iter().map(|m| format!("{m} {}", e.path))).collect();
        assert_eq!(routed, told);
        assert!(told.len() > 50);
    }

    #[test]
    fn the_document_is_whole() {
        let document = document("3.1.0");
        let query = &document["paths"]["/query"];
        assert_eq!(query["get"]["parameters"][0]["name"], "query");
        let form = &query["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        assert_eq!(form["required"], json!(["query"]));
        assert_eq!(document["paths"]["/label/{name}/values"]["get"]["parameters"][0]["in"], "path");
        assert_eq!(
            document["paths"]["/admin/tsdb/clean_tombstones"]["post"]["responses"]["204"]["description"],
            "Done."
        );
        let yaml = serde_saphyr::to_string(&document).unwrap();
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, document, "the YAML says the same");
    }
}

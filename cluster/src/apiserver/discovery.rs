//! Discovery: which groups, versions and resources there are, in the aggregated and in the legacy form.
//!
//! The documents follow from the table of resources and are built once at start.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::negotiate::{DiscoveryForm, discovery_form};
use super::reply;
use super::route::Route;
use crate::api::status::Failure;
use crate::api::{GROUP_VERSIONS, RESOURCES, Resource};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The verbs of a part of an object.
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The documents.
pub(super) struct Discovery {
    core: Tagged,
    groups: Tagged,
    core_versions: Value,
    group_list: Value,
    lists: HashMap<(&'static str, &'static str), Value>,
}

/// A document and the tag that changes with it.
struct Tagged {
    text: String,
    tag: HeaderValue,
}

impl Discovery {
    /// Builds the documents.
    pub(super) fn build() -> Self {
        let named = || GROUP_VERSIONS.into_iter().filter(|(group, _)| !group.is_empty());
        Self {
            core: Tagged::new(&aggregated(&[("", "v1")])),
            groups: Tagged::new(&aggregated(&named().collect::<Vec<_>>())),
            core_versions: json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
            group_list: json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": named().map(group).collect::<Vec<_>>() }),
            lists: GROUP_VERSIONS
                .into_iter()
                .map(|(group, version)| ((group, version), resource_list(group, version)))
                .collect(),
        }
    }

    /// Answers a route of discovery.
    pub(super) fn answer(&self, route: &Route, headers: &HeaderMap) -> Result<Response, Failure> {
        let plain = |value: &Value| Ok(reply::json(StatusCode::OK, value));
        match route {
            Route::CoreVersions => match discovery_form(headers)? {
                DiscoveryForm::Aggregated => Ok(self.core.answer(headers)),
                DiscoveryForm::Legacy => plain(&self.core_versions),
            },
            Route::Groups => match discovery_form(headers)? {
                DiscoveryForm::Aggregated => Ok(self.groups.answer(headers)),
                DiscoveryForm::Legacy => plain(&self.group_list),
            },
            Route::Group(name) => {
                let version =
                    GROUP_VERSIONS.into_iter().find(|(group, _)| group == name).ok_or_else(Failure::no_such_path)?;
                let mut document = group(version);
                document["kind"] = json!("APIGroup");
                document["apiVersion"] = json!("v1");
                plain(&document)
            }
            Route::GroupVersion(group, version) => {
                plain(self.lists.get(&(*group, *version)).ok_or_else(Failure::no_such_path)?)
            }
            _ => Err(Failure::no_such_path()),
        }
    }
}

impl Tagged {
    fn new(document: &Value) -> Self {
        let text = document.to_string();
        let tag = HeaderValue::from_str(&format!("\"{}\"", super::openapi::hash(&text))).expect("hexadecimal digits");
        Self { text, tag }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH) == Some(&self.tag);
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.text.clone().into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

fn resources(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(move |resource| (resource.group, resource.version) == (group, version))
}

fn parts(resource: &Resource) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let status = resource.status.then_some(("status", &PART_VERBS[..]));
    let finalize = (resource.plural == "namespaces").then_some(("finalize", &["update"][..]));
    finalize.into_iter().chain(status)
}

fn kind_of(resource: &Resource) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": resource.kind })
}

fn aggregated(versions: &[(&'static str, &'static str)]) -> Value {
    let items: Vec<Value> = versions
        .iter()
        .map(|(group, version)| {
            let resources: Vec<Value> = resources(group, version).map(aggregated_resource).collect();
            let metadata = match *group {
                "" => json!({ "creationTimestamp": null }),
                group => json!({ "name": group, "creationTimestamp": null }),
            };
            json!({ "metadata": metadata, "versions": [{ "version": version, "freshness": "Current", "resources": resources }] })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind_of(resource), "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": resource.verbs().collect::<Vec<_>>(),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let parts: Vec<Value> = parts(resource)
        .map(|(name, verbs)| json!({ "subresource": name, "responseKind": kind_of(resource), "verbs": verbs }))
        .collect();
    if !parts.is_empty() {
        entry["subresources"] = json!(parts);
    }
    entry
}

fn group((group, version): (&str, &str)) -> Value {
    let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut entries = Vec::new();
    for resource in resources(group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs().collect::<Vec<_>>(),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        entries.push(entry);
        for (part, verbs) in parts(resource) {
            let name = format!("{}/{part}", resource.plural);
            entries.push(json!({
                "name": name, "singularName": "", "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
            }));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries })
}

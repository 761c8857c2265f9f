//! The rows of Nodes, Namespaces, Events, configuration and Leases.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Row, age, count, or, since, text, wide};
use crate::api::meta::{self, flag, list, number};
use crate::api::node;

pub(super) const NODE: &[Column] = &[
    text("Name"),
    text("Status"),
    text("Roles"),
    text("Age"),
    text("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
pub(super) const NAMESPACE: &[Column] = &[text("Name"), text("Status"), text("Age")];
pub(super) const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];
pub(super) const CONFIG_MAP: &[Column] = &[text("Name"), count("Data"), text("Age")];
pub(super) const SECRET: &[Column] = &[text("Name"), text("Type"), count("Data"), text("Age")];
pub(super) const SERVICE_ACCOUNT: &[Column] = &[text("Name"), count("Secrets"), text("Age")];
pub(super) const LEASE: &[Column] = &[text("Name"), text("Holder"), text("Age")];
pub(super) const OTHER: &[Column] = &[text("Name"), text("Created At")];

fn name(object: &Value) -> Value {
    json!(meta::name(object))
}

pub(super) fn node(node: &Value, now: Timestamp) -> Row {
    let mut status = match node::is_ready(node) {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let info = |member: &str| json!(or(meta::text(node, &format!("/status/nodeInfo/{member}")), "<unknown>"));
    vec![
        name(node),
        json!(status),
        json!(or(&node::roles(node).join(","), "<none>")),
        age(node, now),
        info("kubeletVersion"),
        json!(node::address(node, "InternalIP").unwrap_or("<none>")),
        json!(node::address(node, "ExternalIP").unwrap_or("<none>")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
    .into()
}

pub(super) fn namespace(namespace: &Value, now: Timestamp) -> Row {
    vec![name(namespace), json!(meta::text(namespace, "/status/phase")), age(namespace, now)].into()
}

pub(super) fn event(event: &Value, now: Timestamp) -> Row {
    let micro = meta::text(event, "/eventTime");
    let first = or(meta::text(event, "/firstTimestamp"), micro);
    let last = or(or(meta::text(event, "/lastTimestamp"), first), meta::text(event, "/metadata/creationTimestamp"));
    let object = format!(
        "{}/{}",
        meta::text(event, "/involvedObject/kind").to_lowercase(),
        meta::text(event, "/involvedObject/name")
    );
    let component = or(meta::text(event, "/source/component"), meta::text(event, "/reportingComponent"));
    let host = meta::text(event, "/source/host");
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let repeated = number(event, "/count").filter(|&count| count > 0).unwrap_or(1);
    vec![
        json!(since(last, now)),
        json!(meta::text(event, "/type")),
        json!(meta::text(event, "/reason")),
        json!(object),
        json!(meta::text(event, "/involvedObject/fieldPath")),
        json!(source),
        json!(meta::text(event, "/message").trim()),
        json!(since(or(first, last), now)),
        json!(repeated.to_string()),
        name(event),
    ]
    .into()
}

fn entries(object: &Value, pointer: &str) -> usize {
    meta::map(object, pointer).map_or(0, serde_json::Map::len)
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Row {
    vec![name(object), json!(entries(object, "/data") + entries(object, "/binaryData")), age(object, now)].into()
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Row {
    vec![name(object), json!(meta::text(object, "/type")), json!(entries(object, "/data")), age(object, now)].into()
}

pub(super) fn service_account(object: &Value, now: Timestamp) -> Row {
    vec![name(object), json!(list(object, "/secrets").len()), age(object, now)].into()
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Row {
    vec![name(object), json!(meta::text(object, "/spec/holderIdentity")), age(object, now)].into()
}

pub(super) fn other(object: &Value, _: Timestamp) -> Row {
    vec![name(object), json!(meta::text(object, "/metadata/creationTimestamp"))].into()
}

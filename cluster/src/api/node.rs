//! Nodes and their leases.

use serde_json::Value;

use crate::api::field::Causes;
use crate::api::meta::{list, map, number, text};
use crate::api::names;

/// Addresses, taints and amounts of a Node.
pub fn validate(node: &Value, causes: &mut Causes) {
    for (index, taint) in list(node, "/spec/taints").iter().enumerate() {
        let field = format!("spec.taints[{index}]");
        let key = text(taint, "/key");
        causes.check_text(&format!("{field}.key"), key, names::qualified(key));
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        causes.check_one_of(&format!("{field}.effect"), text(taint, "/effect"), &effects);
    }
    for (index, address) in list(node, "/status/addresses").iter().enumerate() {
        let field = format!("status.addresses[{index}]");
        if text(address, "/type").is_empty() {
            causes.required(&format!("{field}.type"), "");
        }
        if matches!(text(address, "/type"), "InternalIP" | "ExternalIP") {
            let ip = text(address, "/address");
            causes.check_text(&format!("{field}.address"), ip, names::ip_address(ip));
        }
    }
}

/// What identifies a Node to the outside cannot change once set.
pub fn validate_update(old: &Value, new: &Value, causes: &mut Causes) {
    for (member, pointer) in [("spec.podCIDR", "/spec/podCIDR"), ("spec.providerID", "/spec/providerID")] {
        let (old, new) = (text(old, pointer), text(new, pointer));
        if !old.is_empty() && old != new {
            causes.forbidden(member, "node updates may only set it once");
        }
    }
}

/// Durations of a Lease are positive.
pub fn validate_lease(lease: &Value, causes: &mut Causes) {
    if number(lease, "/spec/leaseDurationSeconds").is_some_and(|seconds| seconds <= 0) {
        causes.invalid("spec.leaseDurationSeconds", &lease["spec"]["leaseDurationSeconds"], "must be greater than 0");
    }
    if number(lease, "/spec/leaseTransitions").is_some_and(|count| count < 0) {
        causes.invalid(
            "spec.leaseTransitions",
            &lease["spec"]["leaseTransitions"],
            "must be greater than or equal to 0",
        );
    }
}

/// Whether the Node says that it is ready.
pub fn is_ready(node: &Value) -> Option<bool> {
    let ready = list(node, "/status/conditions").iter().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}

/// The Node's address of a type, such as `InternalIP`.
pub fn address<'a>(node: &'a Value, kind: &str) -> Option<&'a str> {
    list(node, "/status/addresses").iter().find(|address| address["type"] == kind)?["address"].as_str()
}

/// The roles a Node has by its labels, sorted.
pub fn roles(node: &Value) -> Vec<String> {
    let labels = map(node, "/metadata/labels").into_iter().flatten();
    let mut roles: Vec<_> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
            _ => None,
        })
        .collect();
    roles.sort();
    roles
}

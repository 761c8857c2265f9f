//! What may be in a Pod, and what of it may change.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use crate::api::field::Causes;
use crate::api::meta::{self, list, map, number, text};
use crate::api::names;

/// The most containers of one list.
const CONTAINERS_MAX: usize = 256;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Checks the spec of a Pod.
pub fn validate(pod: &Value, causes: &mut Causes) {
    let spec = &pod["spec"];
    if list(spec, "/containers").is_empty() {
        causes.required("spec.containers", "");
    }
    let volumes = validate_volumes(spec, causes);
    let mut seen = HashSet::new();
    for member in CONTAINER_LISTS {
        for (index, container) in spec[member].as_array().into_iter().flatten().take(CONTAINERS_MAX).enumerate() {
            let field = format!("spec.{member}[{index}]");
            let name = text(container, "/name");
            if !name.is_empty() && !seen.insert(name) {
                causes.duplicate(&format!("{field}.name"), &json!(name));
            }
            validate_container(container, &field, &volumes, causes);
        }
    }
    causes.check_one_of("spec.restartPolicy", text(spec, "/restartPolicy"), &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.check_one_of("spec.dnsPolicy", text(spec, "/dnsPolicy"), &policies);
    for (member, rule) in [
        ("nodeName", names::dns_subdomain as fn(&str) -> names::Outcome),
        ("serviceAccountName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
    ] {
        let value = spec[member].as_str().unwrap_or("");
        if !value.is_empty() {
            causes.check_text(&format!("spec.{member}"), value, rule(value));
        }
    }
    meta::validate_labels(map(spec, "/nodeSelector"), "spec.nodeSelector", causes);
    for member in ["terminationGracePeriodSeconds", "activeDeadlineSeconds"] {
        if spec[member].as_i64().is_some_and(|seconds| seconds < 0) {
            causes.invalid(&format!("spec.{member}"), &spec[member], "must be greater than or equal to 0");
        }
    }
}

fn validate_volumes<'a>(spec: &'a Value, causes: &mut Causes) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let name = text(volume, "/name");
        match name {
            "" => causes.required(&format!("{field}.name"), ""),
            _ => causes.check_text(&format!("{field}.name"), name, names::dns_label(name)),
        }
        if !seen.insert(name) {
            causes.duplicate(&format!("{field}.name"), &json!(name));
        }
        let sources = volume.as_object().map_or(0, |volume| volume.len().saturating_sub(1));
        if sources > 1 {
            causes.forbidden(&field, "may not specify more than 1 volume type");
        }
    }
    seen
}

fn validate_container(container: &Value, field: &str, volumes: &HashSet<&str>, causes: &mut Causes) {
    let name = text(container, "/name");
    match name {
        "" => causes.required(&format!("{field}.name"), ""),
        _ => causes.check_text(&format!("{field}.name"), name, names::dns_label(name)),
    }
    let image = text(container, "/image");
    match image {
        "" => causes.required(&format!("{field}.image"), ""),
        _ if image.trim() != image => {
            causes.invalid_text(&format!("{field}.image"), image, "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    causes.check_one_of(&format!("{field}.imagePullPolicy"), text(container, "/imagePullPolicy"), &policies);
    validate_ports(container, field, causes);
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let field = format!("{field}.env[{index}].name");
        let name = text(variable, "/name");
        match name {
            "" => causes.required(&field, ""),
            _ => causes.check_text(&field, name, names::environment_name(name)),
        }
    }
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        if !volumes.contains(text(mount, "/name")) {
            causes.not_found(&format!("{field}.name"), text(mount, "/name"));
        }
        if text(mount, "/mountPath").is_empty() {
            causes.required(&format!("{field}.mountPath"), "");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(probe) {
            validate_probe(value, &format!("{field}.{probe}"), causes);
        }
    }
}

fn validate_ports(container: &Value, field: &str, causes: &mut Causes) {
    let mut seen = HashSet::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            causes.check_text(&format!("{field}.name"), name, names::port_name(name));
            if !seen.insert(name) {
                causes.duplicate(&format!("{field}.name"), &json!(name));
            }
        }
        match number(port, "/containerPort") {
            None | Some(0) => causes.required(&format!("{field}.containerPort"), ""),
            Some(value) => {
                if let Err(rule) = names::port_number(value) {
                    causes.invalid(&format!("{field}.containerPort"), &json!(value), rule);
                }
            }
        }
        causes.check_one_of(&format!("{field}.protocol"), text(port, "/protocol"), &PROTOCOLS);
        if let Some(Err(rule)) = number(port, "/hostPort").filter(|&port| port != 0).map(names::port_number) {
            causes.invalid(&format!("{field}.hostPort"), &port["hostPort"], rule);
        }
    }
}

fn validate_probe(probe: &Value, field: &str, causes: &mut Causes) {
    let actions = ["exec", "httpGet", "tcpSocket", "grpc"];
    match actions.iter().filter(|action| probe.get(**action).is_some()).count() {
        0 => causes.required(field, "must specify a handler type"),
        1 => {}
        _ => causes.forbidden(field, "may not specify more than 1 handler type"),
    }
    let members = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    for member in members {
        if probe[member].as_i64().is_some_and(|value| value < 0) {
            causes.invalid(&format!("{field}.{member}"), &probe[member], "must be greater than or equal to 0");
        }
    }
}

/// Of a pod's spec only images, deadlines, added tolerations and a placement not yet made may change.
pub fn validate_update(old: &Value, new: &Value, causes: &mut Causes) {
    let (mut before, mut after) = (old["spec"].clone(), new["spec"].clone());
    if list(&before, "/containers").len() != list(&after, "/containers").len() {
        causes.forbidden("spec.containers", "pod updates may not add or remove containers");
        return;
    }
    for spec in [&mut before, &mut after] {
        for member in ["initContainers", "containers"] {
            for container in spec.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for member in
            ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "ephemeralContainers", "schedulingGates"]
        {
            spec[member] = Value::Null;
        }
    }
    let kept = list(&before, "/tolerations").iter().all(|toleration| list(&after, "/tolerations").contains(toleration));
    let unbound = text(&before, "/nodeName").is_empty();
    for (free, member) in [(kept, "tolerations"), (unbound, "nodeName")] {
        if free {
            before[member] = Value::Null;
            after[member] = Value::Null;
        }
    }
    if before != after {
        let rule = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, \
                    `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), \
                    `spec.terminationGracePeriodSeconds`";
        causes.forbidden("spec", rule);
    }
}

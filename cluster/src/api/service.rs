//! Services.

use serde_json::{Value, json};

use crate::api::field::Causes;
use crate::api::meta::{self, default, default_text, list, map, number, root, submap, text};
use crate::api::names;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What a Service is when the client does not say. Addresses and node ports are given out by the API server.
pub fn defaults(service: &mut Value) {
    let root = root(service);
    submap(submap(root, "status"), "loadBalancer");
    let spec = submap(root, "spec");
    default_text(spec, "type", "ClusterIP");
    default_text(spec, "sessionAffinity", "None");
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    if kind != "ExternalName" {
        default_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    if spec["sessionAffinity"] == "ClientIP" {
        default(submap(submap(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        default_text(port, "protocol", "TCP");
        if port.get("targetPort").is_none_or(|target| *target == json!(0) || *target == json!("")) {
            let number = port.get("port").cloned().unwrap_or_default();
            port.insert("targetPort".to_owned(), number);
        }
    }
}

/// Whether the Service has no address of its own on purpose.
pub fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

/// Whether a cluster IP has to be found for it.
pub fn needs_cluster_ip(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName" && text(service, "/spec/clusterIP").is_empty()
}

/// Whether its ports get node ports.
pub fn needs_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => meta::flag(service, "/spec/allocateLoadBalancerNodePorts"),
        _ => false,
    }
}

/// Type, selector, addresses and ports.
pub fn validate(service: &Value, causes: &mut Causes) {
    let kind = text(service, "/spec/type");
    causes.check_one_of("spec.type", kind, &TYPES);
    causes.check_one_of("spec.sessionAffinity", text(service, "/spec/sessionAffinity"), &["ClientIP", "None"]);
    meta::validate_labels(map(service, "/spec/selector"), "spec.selector", causes);
    match text(service, "/spec/clusterIP") {
        "" => {}
        _ if kind == "ExternalName" => {
            causes.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")
        }
        "None" if kind != "ClusterIP" => {
            causes.invalid_text("spec.clusterIPs[0]", "None", "may not be set to 'None' for this type of Service");
        }
        "None" => {}
        ip => causes.check_text("spec.clusterIPs[0]", ip, names::ip_address(ip)),
    }
    if kind == "ExternalName" {
        let name = text(service, "/spec/externalName");
        match name {
            "" => causes.required("spec.externalName", ""),
            _ => causes.check_text("spec.externalName", name, names::dns_subdomain(name.trim_end_matches('.'))),
        }
    }
    for (index, ip) in list(service, "/spec/externalIPs").iter().enumerate() {
        let ip = ip.as_str().unwrap_or("");
        causes.check_text(&format!("spec.externalIPs[{index}]"), ip, names::ip_address(ip));
    }
    if list(service, "/spec/ports").is_empty() && kind != "ExternalName" && !is_headless(service) {
        causes.required("spec.ports", "");
    }
    validate_ports(service, causes);
}

fn validate_ports(service: &Value, causes: &mut Causes) {
    let ports = list(service, "/spec/ports");
    let (mut named, mut numbered) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let name = text(port, "/name");
        match name {
            "" if ports.len() > 1 => causes.required(&format!("{field}.name"), ""),
            "" => {}
            _ => causes.check_text(&format!("{field}.name"), name, names::dns_label(name)),
        }
        if !name.is_empty() && !named.insert(name) {
            causes.duplicate(&format!("{field}.name"), &json!(name));
        }
        let protocol = text(port, "/protocol");
        causes.check_one_of(&format!("{field}.protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        if let Err(rule) = names::port_number(number(port, "/port").unwrap_or(0)) {
            causes.invalid(&format!("{field}.port"), &json!(number(port, "/port").unwrap_or(0)), rule);
        }
        if !numbered.insert((protocol, number(port, "/port"))) {
            causes.duplicate(&field, port);
        }
        match &port["targetPort"] {
            Value::String(name) => causes.check_text(&format!("{field}.targetPort"), name, names::port_name(name)),
            target => {
                if let Err(rule) = names::port_number(target.as_i64().unwrap_or(0)) {
                    causes.invalid(&format!("{field}.targetPort"), target, rule);
                }
            }
        }
        if number(port, "/nodePort").is_some_and(|number| number != 0) && !takes_node_ports(service) {
            causes.forbidden(&format!("{field}.nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
}

fn takes_node_ports(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "NodePort" | "LoadBalancer")
}

/// The cluster IP stays, unless the type changes from or to `ExternalName`.
pub fn validate_update(old: &Value, new: &Value, causes: &mut Causes) {
    let external = |service: &Value| text(service, "/spec/type") == "ExternalName";
    if external(old) || external(new) {
        return;
    }
    let (before, after) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
    if !before.is_empty() && before != after {
        let field = "spec.clusterIPs[0]";
        causes.invalid(field, &json!(list(new, "/spec/clusterIPs")), "may not change once set");
    }
}

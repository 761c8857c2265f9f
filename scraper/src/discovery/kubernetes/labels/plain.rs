//! Roles whose objects stand alone: nodes, services, ingresses.

use super::super::objects::Object;
use super::meta::{MetaLabels, PREFIX, host};
use crate::config::sanitize_label_name;
use crate::target::TargetGroup;

/// Kinds of node addresses, the preferred first.
const NODE_ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

pub(super) fn node_group(node: &Object) -> TargetGroup {
    let name = &node.metadata.name;
    let mut labels = MetaLabels::new();
    labels.set("node_name", name);
    labels.set("node_provider_id", &node.spec.provider_id);
    labels.object("node", &node.metadata);
    for condition in &node.status.conditions {
        let kind = sanitize_label_name(&condition.r#type.to_lowercase());
        labels.set(&format!("node_condition_{kind}"), &condition.status.to_lowercase());
    }
    let preferred = NODE_ADDRESSES.iter().find_map(|kind| node.status.addresses.iter().find(|a| a.r#type == *kind));
    let Some(address) = preferred else { return TargetGroup { labels: labels.build(), ..Default::default() } };
    let mut target = MetaLabels::new();
    target.address(&format!("{}:{}", host(&address.address), node.status.daemon_endpoints.kubelet_endpoint.port));
    target.labels.set("instance", name);
    for address in &node.status.addresses {
        let label = format!("node_address_{}", sanitize_label_name(&address.r#type));
        // The first of a kind counts.
        if target.labels.get(&format!("{PREFIX}{label}")).is_none() {
            target.set(&label, &address.address);
        }
    }
    TargetGroup { source: String::new(), targets: vec![target.build()], labels: labels.build() }
}

pub(super) fn service_group(service: &Object) -> TargetGroup {
    let (meta, spec) = (&service.metadata, &service.spec);
    let mut labels = MetaLabels::new();
    add_service(&mut labels, service);
    let ingress = service.status.load_balancer.ingress.first();
    let targets = spec.ports.iter().map(|port| {
        let mut target = MetaLabels::new();
        target.address(&format!("{}.{}.svc:{}", meta.name, meta.namespace, port.port));
        target.set("service_port_name", &port.name);
        target.set("service_port_number", &port.port.to_string());
        target.set("service_port_protocol", &port.protocol);
        target.set("service_type", &spec.r#type);
        match spec.r#type.as_str() {
            "ExternalName" => target.set("service_external_name", &spec.external_name),
            _ => target.set("service_cluster_ip", &spec.cluster_ip),
        }
        if spec.r#type == "LoadBalancer"
            && let Some(ingress) = ingress
        {
            target.set("service_loadbalancer_ip", &ingress.ip);
        }
        target.build()
    });
    TargetGroup { source: String::new(), targets: targets.collect(), labels: labels.build() }
}

/// Labels of a service, for its own targets and for those behind it.
pub(super) fn add_service(labels: &mut MetaLabels, service: &Object) {
    labels.set("namespace", &service.metadata.namespace);
    labels.set("service_name", &service.metadata.name);
    labels.object("service", &service.metadata);
}

/// One target for each rule and path.
pub(super) fn ingress_group(ingress: &Object) -> TargetGroup {
    let (meta, spec) = (&ingress.metadata, &ingress.spec);
    let mut labels = MetaLabels::new();
    labels.set("namespace", &meta.namespace);
    if let Some(class) = &spec.ingress_class_name {
        labels.set("ingress_class_name", class);
    }
    labels.set("ingress_name", &meta.name);
    labels.object("ingress", meta);
    let mut targets = Vec::new();
    for rule in &spec.rules {
        let is_secure = spec.tls.iter().flat_map(|tls| &tls.hosts).any(|pattern| covers(pattern, &rule.host));
        let paths: Vec<&str> = match &rule.http {
            Some(http) => http.paths.iter().map(|path| path.path.as_str()).collect(),
            None => vec!["/"],
        };
        for path in paths {
            let mut target = MetaLabels::new();
            target.address(&rule.host);
            target.set("ingress_scheme", if is_secure { "https" } else { "http" });
            target.set("ingress_host", &rule.host);
            target.set("ingress_path", if path.is_empty() { "/" } else { path });
            targets.push(target.build());
        }
    }
    TargetGroup { source: String::new(), targets, labels: labels.build() }
}

/// Whether a host of a certificate, its first part perhaps `*`, covers `host`.
fn covers(pattern: &str, host: &str) -> bool {
    pattern == host
        || match (pattern.strip_prefix("*."), host.split_once('.')) {
            (Some(domain), Some((_, parent))) => domain == parent,
            _ => false,
        }
}

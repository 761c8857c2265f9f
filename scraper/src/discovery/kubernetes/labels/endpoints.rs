//! Endpoints and endpoint slices: a target for each address and port, joined with its service and pod, and one for each
//! other port of those pods.

use std::collections::BTreeMap;

use model::labels::Labels;

use super::super::objects::{Object, SliceEndpoint, SlicePort, TargetRef};
use super::super::watch::Kind;
use super::meta::{MetaLabels, host};
use super::plain::add_service;
use super::pod::{add_container, container_target, containers};
use super::{Key, Stores};
use crate::config::sanitize_label_name;
use crate::target::TargetGroup;

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Ports that each pod was a target under.
type Bound = BTreeMap<Key, Vec<u32>>;

impl Stores {
    pub(super) fn endpoints_group(&self, key: &Key, endpoints: &Object) -> TargetGroup {
        let mut labels = MetaLabels::new();
        labels.set("namespace", &key.0);
        labels.set("endpoints_name", &key.1);
        labels.object("endpoints", &endpoints.metadata);
        if let Some(service) = self.find(Kind::Service, &key.0, &key.1) {
            add_service(&mut labels, service);
        }
        self.add_namespace(&mut labels, &key.0);
        let (mut targets, mut bound) = (Vec::new(), Bound::new());
        for subset in &endpoints.subsets {
            for port in &subset.ports {
                let ready = subset.addresses.iter().map(|address| (address, "true"));
                let not_ready = subset.not_ready_addresses.iter().map(|address| (address, "false"));
                for (address, ready) in ready.chain(not_ready) {
                    let mut target = MetaLabels::new();
                    target.address(&format!("{}:{}", host(&address.ip), port.port));
                    target.set("endpoint_port_name", &port.name);
                    target.set("endpoint_port_protocol", &port.protocol);
                    target.set("endpoint_ready", ready);
                    target.set("endpoint_node_name", &address.node_name);
                    target.set("endpoint_hostname", &address.hostname);
                    if let Some(reference) = &address.target_ref {
                        target.set("endpoint_address_target_kind", &reference.kind);
                        target.set("endpoint_address_target_name", &reference.name);
                    }
                    let reference = address.target_ref.as_ref();
                    targets.push(self.join(target, key, reference, &address.node_name, Some(port.port), &mut bound));
                }
            }
        }
        self.add_unbound(&bound, &mut targets);
        TargetGroup { source: String::new(), targets, labels: labels.build() }
    }

    pub(super) fn slice_group(&self, key: &Key, slice: &Object) -> TargetGroup {
        let mut labels = MetaLabels::new();
        labels.set("namespace", &key.0);
        labels.set("endpointslice_name", &key.1);
        labels.set("endpointslice_address_type", &slice.address_type);
        labels.object("endpointslice", &slice.metadata);
        let service = slice.metadata.labels.get(SERVICE_NAME).and_then(|name| self.find(Kind::Service, &key.0, name));
        if let Some(service) = service {
            add_service(&mut labels, service);
        }
        self.add_namespace(&mut labels, &key.0);
        let (mut targets, mut bound) = (Vec::new(), Bound::new());
        if !service.is_some_and(|service| is_secondary(service, slice)) {
            for endpoint in &slice.endpoints {
                for port in &slice.ports {
                    for address in &endpoint.addresses {
                        let target = slice_target(address, endpoint, port);
                        let node = endpoint.node_name.as_deref().unwrap_or("");
                        let reference = endpoint.target_ref.as_ref();
                        targets.push(self.join(target, key, reference, node, port.port, &mut bound));
                    }
                }
            }
            self.add_unbound(&bound, &mut targets);
        }
        TargetGroup { source: String::new(), targets, labels: labels.build() }
    }

    /// Adds what is known of the node and the pod behind an address.
    fn join(
        &self,
        mut target: MetaLabels,
        key: &Key,
        reference: Option<&TargetRef>,
        node: &str,
        port: Option<u32>,
        bound: &mut Bound,
    ) -> Labels {
        if self.attach.node {
            let of_reference = reference.filter(|r| r.kind == "Node").map(|r| r.name.as_str());
            self.add_node(&mut target, of_reference.unwrap_or(node));
        }
        let Some(reference) = reference.filter(|reference| reference.kind == "Pod") else {
            return target.build();
        };
        let namespace = if reference.namespace.is_empty() { &key.0 } else { &reference.namespace };
        let Some(pod) = self.find(Kind::Pod, namespace, &reference.name) else {
            return target.build();
        };
        self.add_pod(&mut target, pod);
        let ports = bound.entry((namespace.clone(), reference.name.clone())).or_default();
        if let Some(port) = port {
            ports.push(port);
            let listens = |p: &&super::super::objects::ContainerPort| p.container_port == port;
            let found = containers(pod)
                .find_map(|(container, init)| container.ports.iter().find(listens).map(|port| (container, init, port)));
            if let Some((container, init, found)) = found {
                add_container(&mut target, pod, container, init);
                target.set("pod_container_port_name", &found.name);
                target.set("pod_container_port_number", &port.to_string());
                target.set("pod_container_port_protocol", &found.protocol);
            }
        }
        target.build()
    }

    /// Ports of pods behind endpoints that these do not name are targets too.
    fn add_unbound(&self, bound: &Bound, targets: &mut Vec<Labels>) {
        for ((namespace, name), ports) in bound {
            let Some(pod) = self.find(Kind::Pod, namespace, name).filter(|pod| !pod.status.pod_ip.is_empty()) else {
                continue;
            };
            for (container, init) in containers(pod) {
                for (i, port) in container.ports.iter().enumerate() {
                    if !ports.contains(&port.container_port) {
                        let mut target = MetaLabels { labels: container_target(pod, container, init, i).to_builder() };
                        self.add_pod(&mut target, pod);
                        targets.push(target.build());
                    }
                }
            }
        }
    }
}

fn slice_target(address: &str, endpoint: &SliceEndpoint, port: &SlicePort) -> MetaLabels {
    let mut target = MetaLabels::new();
    match port.port {
        Some(port) => target.address(&format!("{}:{port}", host(address))),
        None => target.address(address),
    }
    let number = port.port.map(|port| port.to_string());
    let flag = |value: Option<bool>| value.map(|value| value.to_string());
    let conditions = &endpoint.conditions;
    for (name, value) in [
        ("port", number),
        ("port_name", port.name.clone()),
        ("port_protocol", port.protocol.clone()),
        ("port_app_protocol", port.app_protocol.clone()),
        ("endpoint_conditions_ready", flag(conditions.ready)),
        ("endpoint_conditions_serving", flag(conditions.serving)),
        ("endpoint_conditions_terminating", flag(conditions.terminating)),
        ("endpoint_hostname", endpoint.hostname.clone()),
        ("endpoint_node_name", endpoint.node_name.clone()),
        ("endpoint_zone", endpoint.zone.clone()),
        ("address_target_kind", endpoint.target_ref.as_ref().map(|reference| reference.kind.clone())),
        ("address_target_name", endpoint.target_ref.as_ref().map(|reference| reference.name.clone())),
    ] {
        if let Some(value) = value {
            target.set(&format!("endpointslice_{name}"), &value);
        }
    }
    for (name, value) in &endpoint.deprecated_topology {
        let name = sanitize_label_name(name);
        target.set(&format!("endpointslice_endpoint_topology_{name}"), value);
        target.set(&format!("endpointslice_endpoint_topology_present_{name}"), "true");
    }
    target
}

/// Whether a slice holds the addresses of a service's second IP family: those of its first are targets already.
fn is_secondary(service: &Object, slice: &Object) -> bool {
    let spec = &service.spec;
    matches!(spec.ip_family_policy.as_str(), "PreferDualStack" | "RequireDualStack")
        && spec.ip_families.first().is_some_and(|family| *family != slice.address_type)
}

/// Pods that endpoints or a slice refer to, by name.
pub(super) fn references(object: &Object) -> impl Iterator<Item = &TargetRef> {
    let of_subsets = object.subsets.iter().flat_map(|s| s.addresses.iter().chain(&s.not_ready_addresses));
    let of_slice = object.endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref());
    of_subsets.filter_map(|address| address.target_ref.as_ref()).chain(of_slice).filter(|r| r.kind == "Pod")
}

/// The service that endpoints or a slice belong to, by name.
pub(super) fn service_of<'a>(kind: Kind, key: &'a Key, object: &'a Object) -> Option<&'a str> {
    match kind {
        Kind::EndpointSlice => object.metadata.labels.get(SERVICE_NAME).map(String::as_str),
        _ => Some(&key.1),
    }
}

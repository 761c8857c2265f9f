//! Objects of a cluster API as target groups, with every `__meta_kubernetes_*` label that Prometheus documents.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::{Labels, LabelsBuilder};

use super::objects::{Address, Container, EndpointPort, Meta, Object};
use super::watch::{Change, Kind};
use crate::config::{Role, sanitize_label_name};
use crate::target::TargetGroup;

const PREFIX: &str = "__meta_kubernetes_";

/// Namespace (empty for nodes) and name.
type Key = (String, String);

/// All objects that a role's targets come from, as last seen.
#[derive(Debug)]
pub(super) struct Stores {
    role: Role,
    attach_node: bool,
    nodes: BTreeMap<Key, Object>,
    pods: BTreeMap<Key, Object>,
    services: BTreeMap<Key, Object>,
    endpoints: BTreeMap<Key, Object>,
}

impl Stores {
    pub(super) fn new(role: Role, attach_node: bool) -> Self {
        Self {
            role,
            attach_node,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    fn store(&mut self, kind: Kind) -> &mut BTreeMap<Key, Object> {
        match kind {
            Kind::Node => &mut self.nodes,
            Kind::Pod => &mut self.pods,
            Kind::Service => &mut self.services,
            Kind::Endpoints => &mut self.endpoints,
        }
    }

    /// Takes a change in and adds the groups that it may alter to `affected`.
    pub(super) fn apply(&mut self, change: Change, affected: &mut BTreeSet<String>) {
        match change {
            Change::Apply(kind, object) => {
                let key = key_of(&object.metadata);
                self.affect(kind, &key, affected);
                self.store(kind).insert(key.clone(), *object);
                self.affect(kind, &key, affected);
            }
            Change::Delete(kind, object) => {
                let key = key_of(&object.metadata);
                self.affect(kind, &key, affected);
                self.store(kind).remove(&key);
            }
            Change::Replace(kind, namespace, objects) => {
                let inside = |key: &Key| namespace.as_ref().is_none_or(|n| *n == key.0);
                let old: Vec<Key> = self.store(kind).keys().filter(|key| inside(key)).cloned().collect();
                for key in &old {
                    self.affect(kind, key, affected);
                    self.store(kind).remove(key);
                }
                for object in objects {
                    let key = key_of(&object.metadata);
                    self.store(kind).insert(key.clone(), object);
                    self.affect(kind, &key, affected);
                }
            }
        }
    }

    /// The groups whose targets depend on this object.
    fn affect(&self, kind: Kind, key: &Key, affected: &mut BTreeSet<String>) {
        match (self.role, kind) {
            (Role::Node, Kind::Node) => drop(affected.insert(format!("node/{}", key.1))),
            (Role::Pod, Kind::Pod) => drop(affected.insert(format!("pod/{}/{}", key.0, key.1))),
            (Role::Service, Kind::Service) => drop(affected.insert(format!("svc/{}/{}", key.0, key.1))),
            (Role::Endpoints, Kind::Endpoints | Kind::Service) => {
                affected.insert(format!("endpoints/{}/{}", key.0, key.1));
            }
            (Role::Endpoints, Kind::Pod) => {
                let first = (key.0.clone(), String::new());
                let in_namespace = self.endpoints.range(first..).take_while(|(k, _)| k.0 == key.0);
                let referring = in_namespace.filter(|(_, object)| addresses(object).any(|a| refers_to(a, key)));
                affected.extend(referring.map(|(k, _)| format!("endpoints/{}/{}", k.0, k.1)));
            }
            (Role::Pod, Kind::Node) => {
                let on_node = self.pods.iter().filter(|(_, pod)| pod.spec.node_name == key.1);
                affected.extend(on_node.map(|(k, _)| format!("pod/{}/{}", k.0, k.1)));
            }
            (Role::Endpoints, Kind::Node) => {
                affected.extend(self.endpoints.keys().map(|k| format!("endpoints/{}/{}", k.0, k.1)));
            }
            _ => {}
        }
    }

    /// A group as it stands; without targets if its object is gone.
    pub(super) fn group(&self, source: &str) -> TargetGroup {
        let mut parts = source.splitn(3, '/');
        let (role, first, second) = (parts.next(), parts.next().unwrap_or(""), parts.next());
        let key = match second {
            Some(name) => (first.to_owned(), name.to_owned()),
            None => (String::new(), first.to_owned()),
        };
        let group = match role {
            Some("node") => self.nodes.get(&key).map(node_group),
            Some("pod") => self.pods.get(&key).and_then(|pod| self.pod_group(pod)),
            Some("svc") => self.services.get(&key).map(service_group),
            _ => self.endpoints.get(&key).map(|endpoints| self.endpoints_group(&key, endpoints)),
        };
        TargetGroup { source: source.to_owned(), ..group.unwrap_or_default() }
    }

    fn pod_group(&self, pod: &Object) -> Option<TargetGroup> {
        if pod.status.pod_ip.is_empty() {
            return None;
        }
        let mut labels = MetaLabels::new();
        labels.set("namespace", &pod.metadata.namespace);
        add_pod(&mut labels, pod);
        if self.attach_node {
            self.add_node(&mut labels, &pod.spec.node_name)?;
        }
        let mut targets = Vec::new();
        for (container, init) in containers(pod) {
            if container.ports.is_empty() {
                let mut target = MetaLabels::new();
                target.address(&host(&pod.status.pod_ip));
                add_container(&mut target, pod, container, init);
                targets.push(target.build());
            }
            for port in 0..container.ports.len() {
                targets.push(container_target(pod, container, init, port));
            }
        }
        Some(TargetGroup { source: String::new(), targets, labels: labels.build() })
    }

    /// Labels of the node a pod runs on; `None` if the node is not known, which drops the pod.
    fn add_node(&self, labels: &mut MetaLabels, name: &str) -> Option<()> {
        let node = self.nodes.get(&(String::new(), name.to_owned()))?;
        labels.set("node_name", name);
        labels.object("node", &node.metadata);
        Some(())
    }

    fn endpoints_group(&self, key: &Key, endpoints: &Object) -> TargetGroup {
        let mut labels = MetaLabels::new();
        labels.set("namespace", &key.0);
        labels.set("endpoints_name", &key.1);
        labels.object("endpoints", &endpoints.metadata);
        if let Some(service) = self.services.get(key) {
            labels.set("service_name", &service.metadata.name);
            labels.object("service", &service.metadata);
        }
        let mut targets = Vec::new();
        // Which ports of which pods the endpoints themselves name.
        let mut bound: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
        for subset in &endpoints.subsets {
            for port in &subset.ports {
                let ready = subset.addresses.iter().map(|address| (address, true));
                let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
                for (address, ready) in ready.chain(not_ready) {
                    targets.extend(self.endpoint_target(key, address, port, ready, &mut bound));
                }
            }
        }
        for (pod_key, ports) in &bound {
            if let Some(pod) = self.pods.get(pod_key) {
                targets.extend(self.unbound_ports(pod, ports));
            }
        }
        TargetGroup { source: String::new(), targets, labels: labels.build() }
    }

    fn endpoint_target(
        &self,
        key: &Key,
        address: &Address,
        port: &EndpointPort,
        ready: bool,
        bound: &mut BTreeMap<Key, Vec<u32>>,
    ) -> Option<Labels> {
        let mut target = MetaLabels::new();
        target.address(&format!("{}:{}", host(&address.ip), port.port));
        target.set("endpoint_port_name", &port.name);
        target.set("endpoint_port_protocol", &port.protocol);
        target.set("endpoint_ready", if ready { "true" } else { "false" });
        target.set("endpoint_node_name", &address.node_name);
        target.set("endpoint_hostname", &address.hostname);
        let Some(reference) = &address.target_ref else {
            return self.with_node(target, &address.node_name);
        };
        target.set("endpoint_address_target_kind", &reference.kind);
        target.set("endpoint_address_target_name", &reference.name);
        let namespace = if reference.namespace.is_empty() { &key.0 } else { &reference.namespace };
        let pod_key = (namespace.clone(), reference.name.clone());
        if reference.kind != "Pod" {
            return self.with_node(target, &address.node_name);
        }
        if let Some(pod) = self.pods.get(&pod_key) {
            bound.entry(pod_key).or_default().push(port.port);
            add_pod(&mut target, pod);
            let same_port =
                |(container, _): &(&Container, bool)| container.ports.iter().any(|p| p.container_port == port.port);
            if let Some((container, init)) = containers(pod).find(same_port) {
                add_container(&mut target, pod, container, init);
                if let Some(p) = container.ports.iter().find(|p| p.container_port == port.port) {
                    target.set("pod_container_port_name", &p.name);
                    target.set("pod_container_port_number", &port.port.to_string());
                    target.set("pod_container_port_protocol", &port.protocol);
                }
            }
        }
        self.with_node(target, &address.node_name)
    }

    fn with_node(&self, mut target: MetaLabels, node: &str) -> Option<Labels> {
        if self.attach_node && !node.is_empty() {
            self.add_node(&mut target, node)?;
        }
        Some(target.build())
    }

    /// Ports of a pod behind endpoints that these do not name are targets too.
    fn unbound_ports(&self, pod: &Object, bound: &[u32]) -> Vec<Labels> {
        let mut targets = Vec::new();
        for (container, init) in containers(pod) {
            for (i, port) in container.ports.iter().enumerate() {
                if bound.contains(&port.container_port) {
                    continue;
                }
                let mut target = MetaLabels { labels: container_target(pod, container, init, i).to_builder() };
                add_pod(&mut target, pod);
                targets.push(target.build());
            }
        }
        targets
    }
}

fn key_of(meta: &Meta) -> Key {
    (meta.namespace.clone(), meta.name.clone())
}

fn addresses(endpoints: &Object) -> impl Iterator<Item = &Address> {
    endpoints.subsets.iter().flat_map(|s| s.addresses.iter().chain(&s.not_ready_addresses))
}

fn refers_to(address: &Address, pod: &Key) -> bool {
    address.target_ref.as_ref().is_some_and(|r| r.kind == "Pod" && r.name == pod.1)
}

fn containers(pod: &Object) -> impl Iterator<Item = (&Container, bool)> {
    let running = pod.spec.containers.iter().map(|c| (c, false));
    running.chain(pod.spec.init_containers.iter().map(|c| (c, true)))
}

/// IPv6 addresses need brackets before a port.
fn host(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

/// Collects labels under the common prefix.
struct MetaLabels {
    labels: LabelsBuilder,
}

impl MetaLabels {
    fn new() -> Self {
        Self { labels: LabelsBuilder::new() }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.labels.set(&format!("{PREFIX}{name}"), value);
    }

    fn address(&mut self, address: &str) {
        self.labels.set("__address__", address);
    }

    /// An object's own labels and annotations, and that they are present even if empty.
    fn object(&mut self, kind: &str, meta: &Meta) {
        for (suffix, entries) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
            for (name, value) in entries {
                let name = sanitize_label_name(name);
                self.set(&format!("{kind}_{suffix}_{name}"), value);
                self.set(&format!("{kind}_{suffix}present_{name}"), "true");
            }
        }
    }

    fn build(self) -> Labels {
        self.labels.build()
    }
}

fn add_pod(labels: &mut MetaLabels, pod: &Object) {
    let ready = pod.status.conditions.iter().find(|c| c.r#type == "Ready");
    labels.set("pod_name", &pod.metadata.name);
    labels.set("pod_ip", &pod.status.pod_ip);
    labels.set("pod_ready", &ready.map_or_else(|| "unknown".into(), |c| c.status.to_lowercase()));
    labels.set("pod_phase", &pod.status.phase);
    labels.set("pod_node_name", &pod.spec.node_name);
    labels.set("pod_host_ip", &pod.status.host_ip);
    labels.set("pod_uid", &pod.metadata.uid);
    if let Some(owner) = pod.metadata.owner_references.iter().find(|o| o.controller) {
        labels.set("pod_controller_kind", &owner.kind);
        labels.set("pod_controller_name", &owner.name);
    }
    labels.object("pod", &pod.metadata);
}

fn add_container(target: &mut MetaLabels, pod: &Object, container: &Container, init: bool) {
    let statuses = if init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    let id = statuses.iter().find(|s| s.name == container.name).map_or("", |s| s.container_id.as_str());
    target.set("pod_container_name", &container.name);
    target.set("pod_container_id", id);
    target.set("pod_container_image", &container.image);
    target.set("pod_container_init", if init { "true" } else { "false" });
}

fn container_target(pod: &Object, container: &Container, init: bool, port: usize) -> Labels {
    let port = &container.ports[port];
    let mut target = MetaLabels::new();
    target.address(&format!("{}:{}", host(&pod.status.pod_ip), port.container_port));
    add_container(&mut target, pod, container, init);
    target.set("pod_container_port_name", &port.name);
    target.set("pod_container_port_number", &port.container_port.to_string());
    target.set("pod_container_port_protocol", &port.protocol);
    target.build()
}

/// Kinds of node addresses, the preferred first.
const NODE_ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

fn node_group(node: &Object) -> TargetGroup {
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

fn service_group(service: &Object) -> TargetGroup {
    let (meta, spec) = (&service.metadata, &service.spec);
    let mut labels = MetaLabels::new();
    labels.set("namespace", &meta.namespace);
    labels.set("service_name", &meta.name);
    labels.object("service", meta);
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

#[cfg(test)]
mod tests;

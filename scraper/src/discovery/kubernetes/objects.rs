//! The parts of Kubernetes objects that discovery reads. Everything else is skipped while parsing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `null` counts as absent, as everywhere in that API.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! object {
    ($name:ident { $($(#[$meta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $( #[serde(deserialize_with = "or_default")] $(#[$meta])* pub(super) $field: $type, )*
        }
    };
}

object!(Meta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<OwnerReference>,
});
object!(OwnerReference { kind: String, name: String, controller: bool });
object!(Object {
    metadata: Meta,
    spec: Spec,
    status: ObjectStatus,
    subsets: Vec<Subset>,
    address_type: String,
    endpoints: Vec<SliceEndpoint>,
    ports: Vec<SlicePort>,
});
object!(SliceEndpoint {
    addresses: Vec<String>,
    conditions: SliceConditions,
    hostname: Option<String>,
    node_name: Option<String>,
    zone: Option<String>,
    target_ref: Option<TargetRef>,
    deprecated_topology: BTreeMap<String, String>,
});
object!(SliceConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> });
object!(SlicePort { name: Option<String>, port: Option<u32>, protocol: Option<String>, app_protocol: Option<String> });
object!(Spec {
    node_name: String,
    #[serde(rename = "providerID")]
    provider_id: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ports: Vec<ServicePort>,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    external_name: String,
    r#type: String,
    ip_family_policy: String,
    ip_families: Vec<String>,
    ingress_class_name: Option<String>,
    rules: Vec<IngressRule>,
    tls: Vec<IngressTls>,
});
object!(IngressRule { host: String, http: Option<IngressHttp> });
object!(IngressHttp { paths: Vec<IngressPath> });
object!(IngressPath { path: String });
object!(IngressTls { hosts: Vec<String> });
object!(Container { name: String, image: String, ports: Vec<ContainerPort> });
object!(ContainerPort { name: String, container_port: u32, protocol: String });
object!(ServicePort { name: String, port: u32, protocol: String });
object!(ObjectStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    addresses: Vec<NodeAddress>,
    daemon_endpoints: DaemonEndpoints,
    load_balancer: LoadBalancer,
});
object!(Condition { r#type: String, status: String });
object!(ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
});
object!(NodeAddress { r#type: String, address: String });
object!(DaemonEndpoints { kubelet_endpoint: KubeletEndpoint });
object!(LoadBalancer { ingress: Vec<LoadBalancerIngress> });
object!(LoadBalancerIngress { ip: String, hostname: String });
object!(Subset { addresses: Vec<Address>, not_ready_addresses: Vec<Address>, ports: Vec<EndpointPort> });
object!(Address { ip: String, hostname: String, node_name: String, target_ref: Option<TargetRef> });
object!(TargetRef { kind: String, name: String, namespace: String });
object!(EndpointPort { name: String, port: u32, protocol: String });

/// Where a node's agent listens. Its one key is capitalised, unlike all others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct KubeletEndpoint {
    #[serde(rename = "Port")]
    pub(super) port: u32,
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct List {
    pub(super) metadata: ListMeta,
    #[serde(deserialize_with = "or_default")]
    pub(super) items: Vec<Object>,
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) continue_token: String,
}

/// An event of a watch. What the object is depends on the type.
#[derive(Debug, Deserialize)]
pub(super) struct WatchEvent<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) object: &'a serde_json::value::RawValue,
}

/// The object of an `ERROR` event, and the body of a failed request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

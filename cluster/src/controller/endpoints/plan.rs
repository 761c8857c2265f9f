//! What the endpoints of a Service should be, from the Service and the pods it selects. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::meta::{self, default_text, list, map, number, text};
use crate::api::{pod, service};

/// The label that leads from a slice to its Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Who manages slices made from pods, and those mirrored from Endpoints.
const MANAGERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The most endpoints of one slice.
pub(super) const SLICE_ENDPOINTS: usize = 100;
/// The most addresses of one Endpoints object.
pub(super) const ENDPOINTS_ADDRESSES_MAX: usize = 1000;

/// What should be there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The Endpoints object; absent if it is somebody else's.
    pub(super) endpoints: Option<Value>,
    pub(super) slices: Vec<Value>,
}

/// One pod behind a Service.
struct Backend<'a> {
    pod: &'a Value,
    ip: &'a str,
    ready: bool,
    serving: bool,
    terminating: bool,
}

pub(super) fn has_selector(service: &Value) -> bool {
    map(service, "/spec/selector").is_some_and(|selector| !selector.is_empty())
        && text(service, "/spec/type") != "ExternalName"
}

/// Whether a Service selects a pod of its namespace.
pub(super) fn selects(service: &Value, pod: &Value) -> bool {
    let labels = meta::labels(pod);
    let selector = map(service, "/spec/selector").into_iter().flatten();
    has_selector(service)
        && selector.into_iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether a slice is kept by this actor.
pub(super) fn is_managed(slice: &Value) -> bool {
    let manager = meta::labels(slice).and_then(|labels| labels.get(MANAGED_BY)).and_then(Value::as_str);
    manager.is_some_and(|manager| MANAGERS.contains(&manager))
}

/// Whether an Endpoints object was made by this actor.
pub(super) fn is_ours(endpoints: &Value) -> bool {
    meta::labels(endpoints).is_some_and(|labels| labels.contains_key(ENDPOINTS_MANAGED_BY))
}

/// The endpoints of a Service with a selector.
pub(super) fn from_pods(service: &Value, pods: &[&Value]) -> Plan {
    let publish = meta::flag(service, "/spec/publishNotReadyAddresses");
    // Pods with the same ports under the same names go together. The key is the ports as text.
    let mut groups: BTreeMap<String, (Value, Vec<Backend<'_>>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod::is_finished(pod)) {
        let ip = text(pod, "/status/podIP");
        if ip.is_empty() {
            continue;
        }
        let (serving, terminating) = (pod::is_ready(pod), meta::is_deleting(pod));
        let backend = Backend { pod, ip, ready: publish || (serving && !terminating), serving, terminating };
        let ports = resolve_ports(service, pod);
        let group = groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        group.1.push(backend);
    }
    let mut slices = Vec::new();
    let mut subsets = Vec::new();
    for (ports, backends) in groups.values_mut() {
        backends.sort_by_key(|backend| (meta::name(backend.pod), meta::uid(backend.pod)));
        subsets.extend(subset(ports, backends, publish));
        for family in ["IPv4", "IPv6"] {
            let endpoints: Vec<Value> = backends
                .iter()
                .filter(|one| family_of(one.ip) == family)
                .map(|one| slice_endpoint(service, one))
                .collect();
            slices.extend(slices_of(service, family, ports, &endpoints, MANAGERS[0]));
        }
    }
    truncate(&mut subsets);
    Plan { endpoints: Some(endpoints_of(service, subsets)), slices }
}

/// The slices of Endpoints that somebody else wrote.
pub(super) fn mirror(service: &Value, endpoints: &Value) -> Plan {
    let mut slices = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let ports = subset.get("ports").cloned().unwrap_or_else(|| json!([]));
        for family in ["IPv4", "IPv6"] {
            let mut mirrored = Vec::new();
            for (member, ready) in [("addresses", true), ("notReadyAddresses", false)] {
                for address in subset[member].as_array().into_iter().flatten() {
                    if family_of(text(address, "/ip")) == family {
                        mirrored.push(mirrored_endpoint(address, ready));
                    }
                }
            }
            slices.extend(slices_of(service, family, &ports, &mirrored, MANAGERS[1]));
        }
    }
    Plan { endpoints: None, slices }
}

fn mirrored_endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({ "addresses": [address["ip"]], "conditions": { "ready": ready } });
    for member in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(member) {
            endpoint[member] = value.clone();
        }
    }
    endpoint
}

fn family_of(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

/// The ports of a Service as a pod has them. A named target that the pod does not have is left out.
fn resolve_ports(service: &Value, pod: &Value) -> Value {
    let mut ports = Vec::new();
    for port in list(service, "/spec/ports") {
        let protocol = text(port, "/protocol");
        let target = match &port["targetPort"] {
            Value::String(name) => pod::ports(pod)
                .find(|one| one["name"] == **name && text(one, "/protocol") == protocol)
                .and_then(|one| number(one, "/containerPort")),
            target => target.as_i64().or_else(|| number(port, "/port")),
        };
        let Some(target) = target else { continue };
        let mut resolved = json!({ "port": target, "protocol": protocol });
        for member in ["name", "appProtocol"] {
            if let Some(value) = port.get(member) {
                resolved[member] = value.clone();
            }
        }
        ports.push(resolved);
    }
    Value::Array(ports)
}

fn target_ref(pod: &Value) -> Value {
    json!({ "kind": "Pod", "namespace": meta::namespace(pod), "name": meta::name(pod), "uid": meta::uid(pod) })
}

/// The host name of a pod that belongs to the Service's domain.
fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let named = text(pod, "/spec/hostname");
    (!named.is_empty() && text(pod, "/spec/subdomain") == meta::name(service)).then_some(named)
}

fn slice_endpoint(service: &Value, backend: &Backend<'_>) -> Value {
    let mut endpoint = json!({
        "addresses": [backend.ip], "targetRef": target_ref(backend.pod),
        "conditions": { "ready": backend.ready, "serving": backend.serving, "terminating": backend.terminating },
    });
    let node = text(backend.pod, "/spec/nodeName");
    if !node.is_empty() {
        endpoint["nodeName"] = json!(node);
    }
    if let Some(hostname) = hostname(service, backend.pod) {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}

fn subset(ports: &Value, backends: &[Backend<'_>], publish: bool) -> Option<Value> {
    let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
    for backend in backends.iter().filter(|backend| publish || !backend.terminating) {
        let mut address = json!({ "ip": backend.ip, "targetRef": target_ref(backend.pod) });
        let node = text(backend.pod, "/spec/nodeName");
        if !node.is_empty() {
            address["nodeName"] = json!(node);
        }
        if backend.ready { ready.push(address) } else { not_ready.push(address) }
    }
    if ready.is_empty() && not_ready.is_empty() {
        return None;
    }
    let mut subset = json!({});
    for (member, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        if !addresses.is_empty() {
            subset[member] = json!(addresses);
        }
    }
    if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
        subset["ports"] = ports.clone();
    }
    Some(subset)
}

/// Leaves out addresses beyond the most that one object may have.
fn truncate(subsets: &mut [Value]) {
    let mut left = ENDPOINTS_ADDRESSES_MAX;
    for member in ["addresses", "notReadyAddresses"] {
        for subset in subsets.iter_mut() {
            if let Some(addresses) = subset.get_mut(member).and_then(Value::as_array_mut) {
                addresses.truncate(left);
                left -= addresses.len();
            }
        }
    }
}

fn inherited_labels(service: &Value) -> Value {
    let mut labels = meta::labels(service).cloned().unwrap_or_default();
    if service::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    Value::Object(labels)
}

fn endpoints_of(service: &Value, subsets: Vec<Value>) -> Value {
    let mut labels = inherited_labels(service);
    labels[ENDPOINTS_MANAGED_BY] = json!("endpoint-controller");
    let mut endpoints = json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": { "name": meta::name(service), "namespace": meta::namespace(service), "labels": labels },
    });
    if !subsets.is_empty() {
        endpoints["subsets"] = json!(subsets);
    }
    endpoints
}

fn slices_of(service: &Value, family: &str, ports: &Value, endpoints: &[Value], manager: &str) -> Vec<Value> {
    let owner = json!({
        "apiVersion": "v1", "kind": "Service", "name": meta::name(service), "uid": meta::uid(service),
        "controller": true, "blockOwnerDeletion": true,
    });
    let mut labels = inherited_labels(service);
    labels[SERVICE_NAME] = json!(meta::name(service));
    labels[MANAGED_BY] = json!(manager);
    let mut ports = ports.clone();
    for port in ports.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        meta::default(port, "name", "");
        default_text(port, "protocol", "TCP");
    }
    let slice = |(index, endpoints): (usize, &[Value])| {
        // The name follows from the content's place, so that the same slice is found again without a list of names.
        let suffix = suffix(&format!("{family} {ports} {index}"));
        json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": family, "ports": ports, "endpoints": endpoints,
            "metadata": {
                "name": format!("{}-{suffix}", meta::name(service)), "namespace": meta::namespace(service),
                "labels": labels, "ownerReferences": [owner],
            },
        })
    };
    endpoints.chunks(SLICE_ENDPOINTS).enumerate().map(slice).collect()
}

/// Five letters that stand for a text.
fn suffix(text: &str) -> String {
    use sha2::Digest as _;
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().take(5).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(selector: Value) -> Value {
        json!({
            "metadata": { "name": "web", "namespace": "d", "uid": "u", "labels": { "team": "x" } },
            "spec": { "selector": selector, "ports": [
                { "name": "http", "port": 80, "targetPort": "web", "protocol": "TCP" },
                { "name": "fixed", "port": 90, "targetPort": 9090, "protocol": "TCP" },
            ] },
        })
    }

    fn pod(name: &str, ip: &str, ready: bool) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "d", "uid": name, "labels": { "app": "web" } },
            "spec": { "nodeName": "n", "containers": [{ "name": "c", "ports": [{ "name": "web", "containerPort": 8080, "protocol": "TCP" }] }] },
            "status": { "podIP": ip, "phase": "Running", "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        })
    }

    #[test]
    fn pods_become_endpoints() {
        let service = service(json!({ "app": "web" }));
        let (one, two, three) = (pod("one", "10.0.0.1", true), pod("two", "10.0.0.2", false), pod("three", "", true));
        let mut done = pod("done", "10.0.0.4", true);
        done["status"]["phase"] = json!("Succeeded");
        assert!(selects(&service, &one));
        let plan = from_pods(&service, &[&one, &two, &three, &done]);
        let endpoints = plan.endpoints.unwrap();
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(endpoints["subsets"][0]["notReadyAddresses"][0]["targetRef"]["name"], "two");
        assert_eq!(endpoints["subsets"][0]["ports"][0], json!({ "name": "http", "port": 8080, "protocol": "TCP" }));
        assert_eq!(plan.slices.len(), 1);
        let ends = plan.slices[0]["endpoints"].as_array().unwrap();
        assert_eq!(ends.iter().map(|end| end["conditions"]["ready"] == true).collect::<Vec<_>>(), [true, false]);
        assert_eq!(plan.slices[0]["metadata"]["labels"][SERVICE_NAME], "web");
        assert_eq!(plan.slices[0]["metadata"]["labels"]["team"], "x");
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let mut one = pod("one", "10.0.0.1", true);
        one["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let plan = from_pods(&service(json!({ "app": "web" })), &[&one]);
        assert!(plan.endpoints.unwrap().get("subsets").is_none());
        assert_eq!(
            plan.slices[0]["endpoints"][0]["conditions"],
            json!({ "ready": false, "serving": true, "terminating": true })
        );
    }

    #[test]
    fn many_pods_fill_several_slices() {
        let pods: Vec<_> = (0..250)
            .map(|index| pod(&format!("p{index}"), &format!("10.0.{}.{}", index / 250, index % 250), true))
            .collect();
        let plan = from_pods(&service(json!({ "app": "web" })), &pods.iter().collect::<Vec<_>>());
        let sizes: Vec<_> = plan.slices.iter().map(|slice| list(slice, "/endpoints").len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        let names: std::collections::HashSet<_> = plan.slices.iter().map(meta::name).collect();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn foreign_endpoints_are_mirrored() {
        let service = service(json!({}));
        assert!(!has_selector(&service));
        let endpoints = json!({ "subsets": [{ "addresses": [{ "ip": "127.0.0.1" }], "ports": [{ "port": 6443 }] }] });
        let plan = mirror(&service, &endpoints);
        assert!(plan.endpoints.is_none());
        assert_eq!(plan.slices[0]["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
        assert_eq!(plan.slices[0]["ports"][0]["protocol"], "TCP");
    }
}

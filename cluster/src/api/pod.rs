//! Pods: defaults and what may be in them.

mod validation;

use serde_json::{Map, Value, json};

use crate::api::Field;
use crate::api::meta::{self, default, default_text, list, root, submap, text};
pub use validation::{validate, validate_update};

/// What Pods can be selected by.
pub const FIELDS: &[Field] = &[
    Field::at("spec.nodeName", "/spec/nodeName"),
    Field::at("spec.host", "/spec/nodeName"),
    Field::at("spec.restartPolicy", "/spec/restartPolicy"),
    Field::at("spec.schedulerName", "/spec/schedulerName"),
    Field::at("spec.serviceAccountName", "/spec/serviceAccountName"),
    Field { label: "spec.hostNetwork", pointer: "/spec/hostNetwork", absent: "false" },
    Field::at("status.phase", "/status/phase"),
    Field::at("status.podIP", "/status/podIP"),
    Field::at("status.nominatedNodeName", "/status/nominatedNodeName"),
];

/// The members of a pod spec that hold containers.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// How long a pod may take to stop, unless it says otherwise, in seconds.
pub const GRACE_SECONDS: i64 = 30;

/// What a Pod is when the client does not say.
pub fn defaults(pod: &mut Value) {
    let root = root(pod);
    default_text(submap(root, "status"), "phase", "Pending");
    let spec = submap(root, "spec");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default_text(spec, "preemptionPolicy", "PreemptLowerPriority");
    default(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    default(spec, "enableServiceLinks", true);
    default(spec, "priority", 0);
    default(spec, "securityContext", json!({}));
    let account = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .find_map(|key| spec.get(key).and_then(Value::as_str).filter(|name| !name.is_empty()))
        .unwrap_or("default")
        .to_owned();
    spec.insert("serviceAccountName".to_owned(), json!(account));
    spec.insert("serviceAccount".to_owned(), json!(account));
    default_tolerations(spec);
    let host_network = spec.get("hostNetwork") == Some(&json!(true));
    for list in CONTAINER_LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().into_iter().for_each(|container| default_container(container, host_network));
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        volume.as_object_mut().into_iter().for_each(default_volume);
    }
    let class = qos_class(pod);
    default_text(submap(meta::root(pod), "status"), "qosClass", class);
}

/// A pod stays for a while on a node that is not ready or cannot be reached.
fn default_tolerations(spec: &mut Map<String, Value>) {
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let (effect, tolerated) = (text(toleration, "/effect"), text(toleration, "/key"));
            (effect.is_empty() || effect == "NoExecute") && (tolerated.is_empty() || tolerated == key)
        };
        if !tolerations.iter().any(covers) {
            tolerations
                .push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
}

fn default_container(container: &mut Map<String, Value>, host_network: bool) {
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(container.get("image").and_then(Value::as_str).unwrap_or(""));
    default_text(container, "imagePullPolicy", policy);
    let resources = submap(container, "resources");
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        let requests = submap(resources, "requests");
        for (name, amount) in limits {
            default(requests, &name, amount);
        }
    }
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        default_text(port, "protocol", "TCP");
        if host_network && port.get("hostPort").is_none_or(|port| *port == json!(0)) {
            let number = port.get("containerPort").cloned().unwrap_or_default();
            port.insert("hostPort".to_owned(), number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            default_probe(probe);
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            default_text(field, "apiVersion", "v1");
        }
    }
}

/// Images without a tag, or tagged `latest`, may change behind their name.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let moving = !image.contains('@') && matches!(last.split_once(':'), None | Some((_, "latest")));
    if moving { "Always" } else { "IfNotPresent" }
}

fn default_probe(probe: &mut Map<String, Value>) {
    for (member, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(member).is_none_or(|set| *set == json!(0)) {
            probe.insert(member.to_owned(), json!(value));
        }
    }
    if let Some(request) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
        default_text(request, "path", "/");
        default_text(request, "scheme", "HTTP");
    }
    if let Some(call) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        default(call, "service", "");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
}

/// How well a pod is protected when its node runs out of something.
fn qos_class(pod: &Value) -> &'static str {
    let containers = || list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    let amounts = |container: &Value, which: &str| -> Vec<Option<String>> {
        ["cpu", "memory"].iter().map(|name| container["resources"][which][name].as_str().map(str::to_owned)).collect()
    };
    if containers().all(|one| ["limits", "requests"].iter().all(|which| amounts(one, which) == [None, None])) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|one| {
        let limits = amounts(one, "limits");
        limits.iter().all(Option::is_some) && limits == amounts(one, "requests")
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// The container ports of a pod, of all containers that keep running.
pub fn ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = list(pod, "/spec/initContainers").iter().filter(|container| container["restartPolicy"] == "Always");
    sidecars.chain(list(pod, "/spec/containers")).flat_map(|container| list(container, "/ports"))
}

/// Whether the pod has come to an end.
pub fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether the pod's Ready condition holds.
pub fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

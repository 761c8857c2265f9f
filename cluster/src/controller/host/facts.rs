//! What the machine is: the Node object made of what the system says about itself.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Host, PODS_MAX, SELF_REGISTERED};
use crate::api::meta;
use crate::apiserver::git_version;

/// The machine's name, fit to be the name of a Node.
pub(super) fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().to_lowercase();
    let fit: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')).collect();
    let fit = fit.trim_matches(['-', '.']);
    if fit.is_empty() { "localhost".to_owned() } else { fit.to_owned() }
}

/// The processor's architecture under the name that the field uses.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The Node of the machine. Conditions keep the times of the old one.
pub(super) fn node(host: &Host, old: Option<&Value>, now: Timestamp) -> Value {
    let role = "node-role.kubernetes.io/control-plane";
    let mut labels = json!({
        "kubernetes.io/hostname": host.name, "kubernetes.io/os": std::env::consts::OS, "kubernetes.io/arch": architecture(),
        role: "", SELF_REGISTERED: "true",
    });
    for (key, value) in &host.labels {
        labels[key] = json!(value);
    }
    // What people put on the node stays.
    for (key, value) in old.and_then(meta::labels).into_iter().flatten() {
        meta::default(meta::root(&mut labels), key, value.clone());
    }
    let mut metadata = json!({ "name": host.name, "labels": labels });
    if let Some(annotations) = old.and_then(|old| old["metadata"].get("annotations")) {
        metadata["annotations"] = annotations.clone();
    }
    let mut node =
        json!({ "kind": "Node", "apiVersion": "v1", "metadata": metadata, "status": status(host, old, now) });
    if let Some(spec) = old.and_then(|old| old.get("spec")) {
        node["spec"] = spec.clone();
    }
    node
}

fn status(host: &Host, old: Option<&Value>, now: Timestamp) -> Value {
    let uname = rustix::system::uname();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let amounts = json!({
        "cpu": std::thread::available_parallelism().map_or(1, usize::from).to_string(),
        "memory": format!("{}Ki", memory_kib()),
        "pods": PODS_MAX.to_string(),
    });
    json!({
        "addresses": [
            { "type": "InternalIP", "address": host.address.to_string() },
            { "type": "Hostname", "address": host.name },
        ],
        "capacity": amounts, "allocatable": amounts, "conditions": [ready(old, now)],
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": std::env::consts::OS, "osImage": os_image(),
            "kernelVersion": uname.release().to_string_lossy(), "kubeletVersion": git_version(), "kubeProxyVersion": "",
            "containerRuntimeVersion": "external://1", "machineID": read("/etc/machine-id"), "systemUUID": "",
            "bootID": read("/proc/sys/kernel/random/boot_id"),
        },
    })
}

fn ready(old: Option<&Value>, now: Timestamp) -> Value {
    let conditions = old.map_or(&[][..], |old| meta::list(old, "/status/conditions"));
    let before = conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let since = before.map_or(json!(now), |before| before["lastTransitionTime"].clone());
    json!({
        "type": "Ready", "status": "True", "reason": "ProcessRunning", "message": "the process that registered this node is running",
        "lastHeartbeatTime": now, "lastTransitionTime": since,
    })
}

fn memory_kib() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit)) / 1024
}

fn os_image() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or("", |name| name.trim_matches('"')).to_owned()
}

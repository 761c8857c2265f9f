//! Looking after the pods of this node.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{EXTERNAL, Host};
use crate::api::meta::{self, flag, list, number, text};
use crate::api::status::Failure;
use crate::client::{Local, Place};

/// How long a port may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a pod is to this node.
pub(super) enum Look {
    /// A process that somebody else runs here.
    External,
    /// Nothing that this node does anything about.
    Other,
}

/// Looks at a pod that is new or has changed; lets it go if it is being deleted.
pub(super) async fn look(local: &Local, host: &Host, pod: &Value) -> Result<Look, Failure> {
    let node = text(pod, "/spec/nodeName");
    if node.is_empty() && !meta::is_deleting(pod) {
        let message = "this cluster has no scheduler yet: a pod runs nowhere unless spec.nodeName names a node";
        explain(local, pod, "FailedScheduling", message).await?;
    }
    if node != host.name {
        return Ok(Look::Other);
    }
    if meta::is_deleting(pod) {
        local.delete(&Place::of(pod)).await?;
        return Ok(Look::Other);
    }
    let external = meta::annotation(pod, EXTERNAL) == Some("true");
    if external && flag(pod, "/spec/hostNetwork") {
        return Ok(Look::External);
    }
    let message = "this node runs no containers yet: it only reports processes run by others, described by pods with \
                   hostNetwork and the annotation cresset.io/external: \"true\"";
    explain(local, pod, "NotRun", message).await?;
    Ok(Look::Other)
}

/// Tries the ports of an external pod and reports what was found.
pub(super) async fn keep(local: &Local, host: &Host, pod: &Value) {
    let mut ready = Vec::new();
    for container in list(pod, "/spec/containers") {
        ready.push(accepts(host, container).await);
    }
    // What was followed may be older than what is there: the status is made from the latest.
    let place = Place::of(pod);
    let outcome = match local.get(&place).await {
        Ok(Some(latest)) if meta::uid(&latest) == meta::uid(pod) && !meta::is_deleting(&latest) => {
            let status = status(host, &latest, &ready, Timestamp::now());
            if latest.get("status") == Some(&status) {
                Ok(())
            } else {
                local.patch_status(&place, status).await.map(|_| ())
            }
        }
        outcome => outcome.map(|_| ()),
    };
    if let Err(failure) = outcome.or_else(|failure| if failure.reason == "NotFound" { Ok(()) } else { Err(failure) }) {
        tracing::warn!(pod = place.name, namespace = place.namespace, %failure, "cannot report pod");
    }
}

/// Whether all TCP ports of a container accept connections.
async fn accepts(host: &Host, container: &Value) -> bool {
    for port in list(container, "/ports").iter().filter(|port| port["protocol"] == "TCP") {
        let Some(number) = number(port, "/containerPort").and_then(|port| u16::try_from(port).ok()) else {
            return false;
        };
        let connect = TcpStream::connect(SocketAddr::new(host.address, number));
        if !matches!(tokio::time::timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_))) {
            return false;
        }
    }
    true
}

/// The status of an external pod.
fn status(host: &Host, pod: &Value, ready: &[bool], now: Timestamp) -> Value {
    let now = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let ip = host.address.to_string();
    let started = pod.pointer("/status/startTime").cloned().unwrap_or_else(|| now.clone());
    let all = ready.iter().all(|ready| *ready);
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = list(pod, "/status/conditions").iter().find(|one| one["type"] == kind && one["status"] == status);
        let since = before.map_or(&now, |before| &before["lastTransitionTime"]);
        let mut condition =
            json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since });
        if !holds {
            condition["reason"] = json!("ContainersNotReady");
            condition["message"] = json!("a TCP port of the pod accepts no connections");
        }
        meta::root(&mut condition).remove("lastProbeTime");
        condition
    };
    let containers: Vec<Value> = list(pod, "/spec/containers")
        .iter()
        .zip(ready)
        .map(|(container, ready)| {
            json!({
                "name": container["name"], "image": container["image"], "imageID": "", "ready": ready, "started": true,
                "containerID": format!("external://{}/{}", meta::uid(pod), text(container, "/name")),
                "restartCount": 0, "state": { "running": { "startedAt": started } }, "lastState": {},
            })
        })
        .collect();
    let conditions: Vec<Value> =
        [("PodScheduled", true), ("Initialized", true), ("ContainersReady", all), ("Ready", all)]
            .into_iter()
            .map(|(kind, holds)| condition(kind, holds))
            .collect();
    json!({
        "phase": "Running", "conditions": conditions, "containerStatuses": containers, "startTime": started,
        "hostIP": ip, "hostIPs": [{ "ip": ip }], "podIP": ip, "podIPs": [{ "ip": ip }],
        "qosClass": text(pod, "/status/qosClass"),
    })
}

/// Says once, in an Event, why a pod stays as it is.
async fn explain(local: &Local, pod: &Value, reason: &str, message: &str) -> Result<(), Failure> {
    let identity = meta::uid(pod).split('-').next().unwrap_or("");
    let name = format!("{}.{identity}.{}", meta::name(pod), reason.to_lowercase());
    let place = Place::new("v1", "Event", meta::namespace(pod), &name);
    if local.get(&place).await?.is_some() {
        return Ok(());
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let event = json!({
        "kind": "Event", "apiVersion": "v1", "type": "Warning", "reason": reason, "message": message,
        "metadata": { "name": name, "namespace": meta::namespace(pod) },
        "involvedObject": {
            "kind": "Pod", "apiVersion": "v1", "namespace": meta::namespace(pod), "name": meta::name(pod),
            "uid": meta::uid(pod), "resourceVersion": meta::resource_version(pod),
        },
        "source": { "component": "cresset" }, "reportingComponent": "cresset",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    match local.apply(event).await {
        // The namespace is going away, and the pod with it.
        Err(failure) if matches!(failure.reason, "Forbidden" | "NotFound") => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

//! The row of a Pod: above all its status in one word.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Row, age, or, since, text, wide};
use crate::api::meta::{self, flag, list, number};
use crate::api::pod::is_ready;

pub(super) const COLUMNS: &[Column] = &[
    text("Name"),
    text("Ready"),
    text("Status"),
    text("Restarts"),
    text("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// What the containers of a pod add up to.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: String,
}

pub(super) fn row(pod: &Value, now: Timestamp) -> Row {
    let summary = summarise(pod);
    let restarts = match summary.last_restart.as_str() {
        "" => summary.restarts.to_string(),
        time => format!("{} ({} ago)", summary.restarts, since(time, now)),
    };
    let cells = vec![
        json!(meta::name(pod)),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(pod, now),
        json!(or(meta::text(pod, "/status/podIP"), "<none>")),
        json!(or(meta::text(pod, "/spec/nodeName"), "<none>")),
        json!(or(meta::text(pod, "/status/nominatedNodeName"), "<none>")),
        json!(gates(pod)),
    ];
    let finished = match meta::text(pod, "/status/phase") {
        "Succeeded" => Some(("Succeeded", "The pod has completed successfully.")),
        "Failed" => Some(("Failed", "The pod failed.")),
        _ => None,
    };
    let condition =
        |(reason, message)| json!({ "type": "Completed", "status": "True", "reason": reason, "message": message });
    Row { cells, conditions: finished.map(condition).into_iter().collect() }
}

fn gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let holds = |gate: &&Value| {
        list(pod, "/status/conditions")
            .iter()
            .any(|condition| condition["type"] == gate["conditionType"] && condition["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

fn summarise(pod: &Value) -> Summary {
    let mut summary = Summary { total: list(pod, "/spec/containers").len(), ..Summary::default() };
    summary.reason = or(meta::text(pod, "/status/reason"), meta::text(pod, "/status/phase")).to_owned();
    if list(pod, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated")
    {
        summary.reason = "SchedulingGated".to_owned();
    }
    let initializing = summarise_init(pod, &mut summary);
    let initialized = list(pod, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Initialized" && condition["status"] == "True");
    if !initializing || initialized {
        summarise_main(pod, &mut summary);
    }
    if meta::is_deleting(pod) {
        summary.reason = match meta::text(pod, "/status/reason") {
            "NodeLost" => "Unknown".to_owned(),
            _ if crate::api::pod::is_finished(pod) => summary.reason,
            _ => "Terminating".to_owned(),
        };
    }
    summary
}

fn is_sidecar(pod: &Value, name: &Value) -> bool {
    list(pod, "/spec/initContainers")
        .iter()
        .any(|container| container["name"] == *name && container["restartPolicy"] == "Always")
}

fn note_restarts(status: &Value, summary: &mut Summary) {
    summary.restarts += number(status, "/restartCount").unwrap_or(0);
    let finished = meta::text(status, "/lastState/terminated/finishedAt");
    if finished > summary.last_restart.as_str() {
        summary.last_restart = finished.to_owned();
    }
}

/// Why a container ended, in a word.
fn terminated(state: &Value) -> String {
    match (meta::text(state, "/reason"), number(state, "/signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", number(state, "/exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Whether the pod is still being initialised, which then is its status.
fn summarise_init(pod: &Value, summary: &mut Summary) -> bool {
    let total = list(pod, "/spec/initContainers").len();
    summary.total +=
        list(pod, "/spec/initContainers").iter().filter(|container| container["restartPolicy"] == "Always").count();
    for (index, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        note_restarts(status, summary);
        let ended = status.pointer("/state/terminated");
        if ended.is_some_and(|state| number(state, "/exitCode") == Some(0)) {
            continue;
        }
        if is_sidecar(pod, &status["name"]) && flag(status, "/started") {
            summary.ready += usize::from(flag(status, "/ready"));
            continue;
        }
        let waiting = meta::text(status, "/state/waiting/reason");
        summary.reason = match ended {
            Some(state) => format!("Init:{}", terminated(state)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{total}"),
        };
        return true;
    }
    false
}

fn summarise_main(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        note_restarts(status, summary);
        let waiting = meta::text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(state) = status.pointer("/state/terminated") {
            summary.reason = terminated(state);
        } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        summary.reason = if is_ready(pod) { "Running" } else { "NotReady" }.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Value, deleting: bool, expected: [&str; 3]) {
        let mut pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }, { "name": "b" }] }, "status": status });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let cells = row(&pod, "2026-01-01T01:00:00Z".parse().unwrap()).cells;
        assert_eq!([&cells[1], &cells[2], &cells[3]].map(|cell| cell.as_str().unwrap()), expected);
    }

    #[test]
    fn statuses() {
        let running = json!({ "name": "a", "ready": true, "restartCount": 0, "state": { "running": {} } });
        check(json!({ "phase": "Pending" }), false, ["0/2", "Pending", "0"]);
        check(json!({ "phase": "Running", "containerStatuses": [running, running] }), false, ["2/2", "Running", "0"]);
        check(
            json!({ "phase": "Running", "containerStatuses": [running, running] }),
            true,
            ["2/2", "Terminating", "0"],
        );
        let crashing = json!({ "name": "b", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "finishedAt": "2026-01-01T00:30:00Z" } } });
        check(
            json!({ "phase": "Running", "containerStatuses": [running, crashing] }),
            false,
            ["1/2", "CrashLoopBackOff", "3 (30m ago)"],
        );
        let init = json!({ "name": "i", "state": { "terminated": { "exitCode": 3 } } });
        check(json!({ "phase": "Pending", "initContainerStatuses": [init] }), false, ["0/2", "Init:ExitCode:3", "0"]);
        let done = json!({ "name": "b", "state": { "terminated": { "reason": "Completed", "exitCode": 0 } } });
        check(json!({ "phase": "Succeeded", "containerStatuses": [done, done] }), false, ["0/2", "Completed", "0"]);
        check(json!({ "phase": "Running", "containerStatuses": [done, running] }), false, ["1/2", "NotReady", "0"]);
    }
}

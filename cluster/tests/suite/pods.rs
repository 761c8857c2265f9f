//! Pods that describe processes run by others, and the endpoints of their services.

use serde_json::{Value, json};

use crate::harness::Stack;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn external(name: &str, node: &str, port: u16) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": "exporter" }, "annotations": { "cresset.io/external": "true" } },
        "spec": { "hostNetwork": true, "nodeName": node, "containers": [
            { "name": "exporter", "image": "exporter:1", "ports": [{ "name": "metrics", "containerPort": port }] },
        ] },
    })
}

#[tokio::test]
async fn an_external_process_becomes_a_target() {
    let stack = Stack::start().await;
    let http = &stack.http;
    let node = stack.running.node.clone().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = json!({
        "metadata": { "name": "exporter", "labels": { "team": "x" } },
        "spec": { "selector": { "app": "exporter" }, "ports": [{ "name": "metrics", "port": 9100, "targetPort": "metrics" }] },
    });
    http.ok("POST", "/api/v1/namespaces/default/services", &service).await;
    http.ok("POST", PODS, &external("up", &node, port)).await;
    let ready = |pod: &Value| {
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let pod = http.until(PODS, "up", ready).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["podIP"]), (&json!("Running"), &json!("127.0.0.1")));

    let endpoints = "/api/v1/namespaces/default/endpoints";
    let found = http.until(endpoints, "exporter", |one| one["subsets"][0]["addresses"][0]["ip"] == "127.0.0.1").await;
    assert_eq!(found["subsets"][0]["ports"][0]["port"], port);
    assert_eq!(found["subsets"][0]["addresses"][0]["targetRef"]["name"], "up");
    assert_eq!(found["metadata"]["labels"]["team"], "x");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dexporter";
    let mut lines = http.watch(&format!("{slices}&watch=1")).await;
    loop {
        let event = lines.next().await.unwrap();
        if event["object"]["endpoints"][0]["conditions"]["ready"] == true {
            assert_eq!(event["object"]["ports"][0]["name"], "metrics");
            break;
        }
    }

    // Deleting the pod takes no grace: nothing has to be stopped.
    http.ok("DELETE", &format!("{PODS}/up"), &Value::Null).await;
    http.until_gone(PODS, "up").await;
    http.until(endpoints, "exporter", |one| one.get("subsets").is_none()).await;
    http.ok("DELETE", "/api/v1/namespaces/default/services/exporter", &Value::Null).await;
    http.until_gone(endpoints, "exporter").await;
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_not_ready() {
    let stack = Stack::start().await;
    let node = stack.running.node.clone().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    stack.http.ok("POST", PODS, &external("down", &node, port)).await;
    let pod = stack.http.until(PODS, "down", |pod| pod["status"]["phase"] == "Running").await;
    let ready = pod["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ContainersNotReady")));
}

#[tokio::test]
async fn other_pods_stay_pending_and_an_event_says_why() {
    let stack = Stack::start().await;
    let node = stack.running.node.clone().unwrap();
    let mut bound = external("bound", &node, 1);
    bound["metadata"]["annotations"] = json!({});
    let mut loose = external("loose", "", 1);
    loose["spec"]["nodeName"] = json!("");
    for (pod, reason) in [(bound, "NotRun"), (loose, "FailedScheduling")] {
        let made = stack.http.ok("POST", PODS, &pod).await;
        let uid = made["metadata"]["uid"].as_str().unwrap();
        let path = format!("/api/v1/namespaces/default/events?watch=1&fieldSelector=involvedObject.uid%3D{uid}");
        let event = stack.http.watch(&path).await.next().await.unwrap();
        assert_eq!(event["object"]["reason"], reason);
        let now = stack.http.get(&format!("{PODS}/{}", made["metadata"]["name"].as_str().unwrap())).await.1;
        assert_eq!(now["status"]["phase"], "Pending");
    }
}

//! Bad input: each gets a clear Status, and nothing else is disturbed.

use serde_json::json;

use crate::harness::{Stack, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";

#[tokio::test]
async fn only_health_is_anonymous() {
    let stack = Stack::start().await;
    let nobody = stack.http.as_somebody(None);
    for path in ["/healthz", "/livez", "/readyz", "/readyz?verbose"] {
        assert_eq!(nobody.get(path).await.0, 200, "{path}");
    }
    let other = stack.http.as_somebody(Some("0123456789abcdef0123456789abcdef"));
    let empty = stack.http.as_somebody(Some(""));
    for path in ["/version", "/api", "/api/v1/pods", "/openapi/v3", "/nothing", "/"] {
        for client in [&nobody, &other, &empty] {
            let (code, status) = client.get(path).await;
            assert_eq!((code, &status["reason"]), (401, &json!("Unauthorized")), "{path}");
        }
    }
}

/// Method, path, media type, body; then code and reason of the answer.
type Case = (&'static str, String, &'static str, Vec<u8>, u16, &'static str);

#[tokio::test]
async fn garbage_is_answered_with_a_status() {
    let stack = Stack::start().await;
    let http = &stack.http;
    http.ok("POST", PODS, &pod("p")).await;
    let p = format!("{PODS}/p");
    let deep = format!("{}{}", "{\"metadata\":".repeat(2000), "}".repeat(2000));
    let big_map = config_map("big", &"x".repeat(1_100_000)).to_string();
    let cases: Vec<Case> = vec![
        ("POST", MAPS.into(), JSON, b"{".to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, b"[]".to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, b"null".to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, b"\xff\xfe".to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, b"".to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, deep.clone().into_bytes(), 400, "BadRequest"),
        (
            "POST",
            MAPS.into(),
            JSON,
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}"#.to_vec(),
            400,
            "BadRequest",
        ),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":"x","namespace":"other"}}"#.to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":"x","resourceVersion":"5"}}"#.to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":5}}"#.to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{}}"#.to_vec(), 422, "Invalid"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":"../x"}}"#.to_vec(), 422, "Invalid"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":"x"},"data":{"a/b":""}}"#.to_vec(), 422, "Invalid"),
        ("POST", MAPS.into(), JSON, br#"{"metadata":{"name":"x"},"binaryData":{"a":"!"}}"#.to_vec(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON, big_map.into_bytes(), 422, "Invalid"),
        ("POST", MAPS.into(), JSON, vec![b' '; 4 << 20], 413, "RequestEntityTooLarge"),
        ("POST", MAPS.into(), "text/plain", b"x".to_vec(), 415, "UnsupportedMediaType"),
        ("POST", MAPS.into(), "application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff".to_vec(), 400, "BadRequest"),
        (
            "POST",
            "/api/v1/configmaps".into(),
            JSON,
            config_map("x", "").to_string().into_bytes(),
            405,
            "MethodNotAllowed",
        ),
        (
            "POST",
            "/api/v1/namespaces/nope/configmaps".into(),
            JSON,
            config_map("x", "").to_string().into_bytes(),
            404,
            "NotFound",
        ),
        ("POST", format!("{MAPS}?dryRun=Some"), JSON, config_map("x", "").to_string().into_bytes(), 400, "BadRequest"),
        (
            "POST",
            format!("{PODS}?fieldValidation=Strict"),
            JSON,
            br#"{"metadata":{"name":"x"},"spec":{"containerz":[]}}"#.to_vec(),
            400,
            "BadRequest",
        ),
        ("PATCH", p.clone(), "application/apply-patch+yaml", b"{}".to_vec(), 415, "UnsupportedMediaType"),
        ("PATCH", p.clone(), "application/json-patch+json", b"{}".to_vec(), 400, "BadRequest"),
        (
            "PATCH",
            p.clone(),
            "application/json-patch+json",
            br#"[{"op":"test","path":"/kind","value":"x"}]"#.to_vec(),
            422,
            "Invalid",
        ),
        (
            "PATCH",
            p.clone(),
            "application/json-patch+json",
            br#"[{"op":"remove","path":"/nope"}]"#.to_vec(),
            422,
            "Invalid",
        ),
        (
            "PATCH",
            p.clone(),
            "application/json-patch+json",
            br#"[{"op":"replace","path":"","value":7}]"#.to_vec(),
            400,
            "BadRequest",
        ),
        ("PATCH", p.clone(), "application/merge-patch+json", b"[]".to_vec(), 400, "BadRequest"),
        ("PATCH", p.clone(), "application/merge-patch+json", br#"{"metadata":null}"#.to_vec(), 400, "BadRequest"),
        (
            "PATCH",
            p.clone(),
            "application/merge-patch+json",
            br#"{"metadata":{"name":"q"}}"#.to_vec(),
            400,
            "BadRequest",
        ),
        ("PATCH", p.clone(), "application/merge-patch+json", br#"{"metadata":{"uid":"q"}}"#.to_vec(), 409, "Conflict"),
        (
            "PATCH",
            p.clone(),
            "application/merge-patch+json",
            br#"{"spec":{"hostNetwork":true}}"#.to_vec(),
            422,
            "Invalid",
        ),
        (
            "PATCH",
            p.clone(),
            "application/strategic-merge-patch+json",
            br#"{"spec":{"containers":[{"image":"x"}]}}"#.to_vec(),
            400,
            "BadRequest",
        ),
        (
            "PATCH",
            p.clone(),
            "application/strategic-merge-patch+json",
            br#"{"spec":{"containers":7}}"#.to_vec(),
            400,
            "BadRequest",
        ),
        (
            "PATCH",
            p.clone(),
            "application/strategic-merge-patch+json",
            br#"{"$patch":"boom"}"#.to_vec(),
            400,
            "BadRequest",
        ),
        ("DELETE", p.clone(), JSON, b"garbage".to_vec(), 400, "BadRequest"),
        ("DELETE", format!("{p}?gracePeriodSeconds=-1"), JSON, b"".to_vec(), 400, "BadRequest"),
        ("DELETE", format!("{p}?propagationPolicy=Explode"), JSON, b"".to_vec(), 400, "BadRequest"),
        ("PUT", PODS.into(), JSON, b"{}".to_vec(), 405, "MethodNotAllowed"),
        ("PUT", format!("{PODS}/absent"), JSON, pod("absent").to_string().into_bytes(), 404, "NotFound"),
        ("PUT", p.clone(), JSON, pod("other").to_string().into_bytes(), 400, "BadRequest"),
        ("DELETE", "/api/v1/namespaces".into(), JSON, b"".to_vec(), 405, "MethodNotAllowed"),
        ("OPTIONS", PODS.into(), JSON, b"".to_vec(), 405, "MethodNotAllowed"),
        ("GET", "/apis/nope/v1".into(), JSON, b"".to_vec(), 404, "NotFound"),
        ("GET", "/openapi/v2".into(), JSON, b"".to_vec(), 404, "NotFound"),
    ];
    for (method, path, media, body, code, reason) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let (found, status) = http.send(method, &path, media, body).await;
        assert_eq!((found, status["reason"].as_str()), (code, Some(reason)), "{method} {path} {shown}: {status}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{path}");
    }
    assert_eq!(http.get(&p).await.0, 200, "the pod is as it was");
}

#[tokio::test]
async fn bad_queries_are_named() {
    let stack = Stack::start().await;
    for (query, code) in [
        ("labelSelector=a%3Db%3Dc", 400),
        ("labelSelector=%28", 400),
        ("fieldSelector=spec.bogus%3D1", 400),
        ("fieldSelector=x", 400),
        ("limit=x", 400),
        ("limit=-1", 400),
        ("continue=%21%21", 400),
        ("continue=MTpzZWNyZXRzL2E", 400),
        ("resourceVersion=x", 422),
        ("resourceVersion=-1", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Sometimes", 422),
        ("sendInitialEvents=true", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersion=1&resourceVersionMatch=NotOlderThan", 422),
        ("timeoutSeconds=soon&watch=1", 400),
        ("includeObject=Half", 400),
    ] {
        let (found, status) = stack.http.get(&format!("{PODS}?{query}")).await;
        assert_eq!((found, &status["kind"]), (code, &json!("Status")), "{query}: {status}");
    }
    // kube-rs begins its queries with an empty pair.
    assert_eq!(stack.http.get(&format!("{PODS}?&limit=5&fieldSelector=&labelSelector=")).await.0, 200);
}

#[tokio::test]
async fn invalid_pods_name_every_field() {
    let stack = Stack::start().await;
    let body = json!({ "metadata": { "name": "x", "labels": { "a b": "c" } }, "spec": {
        "restartPolicy": "Sometimes", "terminationGracePeriodSeconds": -1,
        "containers": [
            { "name": "c", "ports": [{ "containerPort": 70000, "name": "Bad" }], "env": [{ "name": "a=b" }], "volumeMounts": [{ "name": "v" }] },
            { "name": "c", "image": "i", "imagePullPolicy": "Maybe", "livenessProbe": {} },
        ],
    } });
    let (code, status) = stack.http.post(PODS, &body).await;
    let fields: Vec<_> =
        status["details"]["causes"].as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(code, 422);
    for field in [
        "metadata.labels",
        "spec.restartPolicy",
        "spec.terminationGracePeriodSeconds",
        "spec.containers[0].image",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[0].name",
        "spec.containers[0].env[0].name",
        "spec.containers[0].volumeMounts[0].name",
        "spec.containers[0].volumeMounts[0].mountPath",
        "spec.containers[1].name",
        "spec.containers[1].imagePullPolicy",
        "spec.containers[1].livenessProbe",
    ] {
        assert!(fields.contains(&field), "{field} of {fields:?}");
    }
}

//! Creating, reading, changing, deleting.

use serde_json::json;

use crate::harness::{Stack, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn the_life_of_an_object() {
    let stack = Stack::start().await;
    let http = &stack.http;
    let (code, made) = http.post(MAPS, &config_map("a", "1")).await;
    assert_eq!(code, 201);
    assert_eq!((&made["metadata"]["namespace"], &made["kind"]), (&json!("default"), &json!("ConfigMap")));
    assert!(made["metadata"]["uid"].as_str().unwrap().len() == 36 && made["metadata"]["creationTimestamp"].is_string());

    let (code, again) = http.post(MAPS, &config_map("a", "1")).await;
    assert_eq!(
        (code, &again["reason"], &again["details"]["kind"]),
        (409, &json!("AlreadyExists"), &json!("configmaps"))
    );

    // Writing the same writes nothing.
    let path = format!("{MAPS}/a");
    let same = http.ok("PUT", &path, &config_map("a", "1")).await;
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);

    let mut stale = made.clone();
    let changed = http.ok("PUT", &path, &config_map("a", "2")).await;
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(changed["metadata"]["uid"], made["metadata"]["uid"]);
    stale["data"]["v"] = json!("3");
    let (code, conflict) = http.send("PUT", &path, "application/json", stale.to_string()).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")));

    let precondition = json!({ "preconditions": { "uid": "somebody-else" } });
    let (code, _) = http.send("DELETE", &path, "application/json", precondition.to_string()).await;
    assert_eq!(code, 409);
    let gone = http.ok("DELETE", &path, &json!({ "propagationPolicy": "Background" })).await;
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    assert_eq!(http.get(&path).await.0, 404);
}

#[tokio::test]
async fn names_are_generated_and_dry_runs_store_nothing() {
    let stack = Stack::start().await;
    let http = &stack.http;
    let body = json!({ "metadata": { "generateName": "run-" }, "data": {} });
    let made = http.ok("POST", MAPS, &body).await;
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("run-") && name.len() == 9, "{name}");

    let dry = http.ok("POST", &format!("{PODS}?dryRun=All"), &pod("p")).await;
    assert_eq!(dry["spec"]["restartPolicy"], "Always");
    assert!(dry["metadata"].get("resourceVersion").is_none());
    assert_eq!(http.get(&format!("{PODS}/p")).await.0, 404);
    let (code, _) = http.send("DELETE", &format!("{MAPS}/{name}?dryRun=All"), "", "").await;
    assert_eq!((code, http.get(&format!("{MAPS}/{name}")).await.0), (200, 200));
}

#[tokio::test]
async fn patches_of_three_kinds() {
    let stack = Stack::start().await;
    let http = &stack.http;
    http.ok("POST", PODS, &pod("p")).await;
    let path = format!("{PODS}/p");
    let patch = |kind: &str, body: serde_json::Value| {
        let media = format!("application/{kind}+json");
        let path = path.clone();
        async move { http.send("PATCH", &path, &media, body.to_string()).await }
    };
    let (_, one) = patch("merge-patch", json!({ "metadata": { "labels": { "a": "1", "app": null } } })).await;
    assert_eq!(one["metadata"]["labels"], json!({ "a": "1" }));
    let (_, two) = patch("json-patch", json!([{ "op": "replace", "path": "/metadata/labels/a", "value": "2" }])).await;
    assert_eq!(two["metadata"]["labels"], json!({ "a": "2" }));
    let (_, three) =
        patch("strategic-merge-patch", json!({ "spec": { "containers": [{ "name": "c", "image": "j" }] } })).await;
    assert_eq!(
        (&three["spec"]["containers"][0]["image"], three["spec"]["containers"].as_array().unwrap().len()),
        (&json!("j"), 1)
    );
    let (code, _) = patch("merge-patch", json!({ "metadata": { "resourceVersion": "1" } })).await;
    assert_eq!(code, 409, "the revision in a patch is a precondition");
    // A status is not written through the object, nor the object through the status.
    let (_, four) = patch("merge-patch", json!({ "status": { "phase": "Running" } })).await;
    assert_eq!(four["status"]["phase"], "Pending");
    let status = json!({ "status": { "phase": "Running" }, "spec": { "containers": [{ "name": "c", "image": "k" }] } });
    let five = http.ok("PATCH", &format!("{path}/status"), &status).await;
    assert_eq!((&five["status"]["phase"], &five["spec"]["containers"][0]["image"]), (&json!("Running"), &json!("j")));
}

#[tokio::test]
async fn pages_show_one_state_while_the_world_moves_on() {
    let stack = Stack::with(|config| config.history.events_max = 60).await;
    let http = &stack.http;
    for index in 0..7 {
        http.ok("POST", MAPS, &config_map(&format!("m{index}"), "1")).await;
    }
    let selector = "fieldSelector=metadata.name!%3Dkube-root-ca.crt";
    let first = http.ok("GET", &format!("{MAPS}?limit=3&{selector}"), &json!(null)).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    http.ok("POST", MAPS, &config_map("m3a", "new")).await;
    http.ok("DELETE", &format!("{MAPS}/m5"), &json!(null)).await;
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        names.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["metadata"]["continue"].as_str() else { break };
        page = http.ok("GET", &format!("{MAPS}?limit=3&{selector}&continue={next}"), &json!(null)).await;
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let all = http.ok("GET", &format!("{MAPS}?limit=2"), &json!(null)).await;
    assert_eq!(all["metadata"]["remainingItemCount"], 6);
    // Once the history is gone, so is the rest of the list.
    for value in 0..70 {
        http.ok("PUT", &format!("{MAPS}/m0"), &config_map("m0", &format!("x{value}"))).await;
    }
    let (code, expired) = http.get(&format!("{MAPS}?limit=3&continue={token}")).await;
    assert_eq!((code, &expired["reason"]), (410, &json!("Expired")));
    let exact = http.get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.0, 410);
}

#[tokio::test]
async fn services_get_addresses_and_keep_them() {
    let stack = Stack::start().await;
    let http = &stack.http;
    let service = |name: &str, spec: serde_json::Value| json!({ "metadata": { "name": name }, "spec": spec });
    let port = json!([{ "port": 80 }]);
    let made = http.ok("POST", SERVICES, &service("a", json!({ "ports": port, "selector": { "app": "a" } }))).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.96.") && made["spec"]["clusterIPs"] == json!([ip]), "{ip}");
    assert_eq!(made["spec"]["ports"][0], json!({ "port": 80, "targetPort": 80, "protocol": "TCP" }));
    let kept = http.ok("PUT", &format!("{SERVICES}/a"), &service("a", json!({ "ports": [{ "port": 81 }] }))).await;
    assert_eq!(kept["spec"]["clusterIP"], ip);

    let refused = |spec: serde_json::Value, field: &'static str| async move {
        let (code, status) = http.post(SERVICES, &service("b", spec)).await;
        let fields: Vec<_> =
            status["details"]["causes"].as_array().unwrap().iter().map(|cause| cause["field"].clone()).collect();
        assert!(code == 422 && fields.contains(&json!(field)), "{status}");
    };
    refused(json!({ "ports": port, "clusterIP": ip }), "spec.clusterIPs").await;
    refused(json!({ "ports": port, "clusterIP": "192.168.0.1" }), "spec.clusterIPs").await;
    refused(json!({ "ports": [] }), "spec.ports").await;
    refused(json!({ "ports": [{ "port": 0 }] }), "spec.ports[0].port").await;
    refused(json!({ "ports": [{ "port": 1 }, { "port": 2 }] }), "spec.ports[0].name").await;
    refused(json!({ "ports": port, "type": "Bogus" }), "spec.type").await;
    refused(json!({ "ports": port, "type": "ExternalName" }), "spec.externalName").await;
    refused(json!({ "ports": [{ "port": 80, "nodePort": 31000 }] }), "spec.ports[0].nodePort").await;
    let (code, _) = http.post(SERVICES, &service("1b", json!({ "ports": port }))).await;
    assert_eq!(code, 422, "names of services begin with a letter");

    let open = http.ok("POST", SERVICES, &service("n", json!({ "type": "NodePort", "ports": port }))).await;
    assert!((30000..32768).contains(&open["spec"]["ports"][0]["nodePort"].as_i64().unwrap()));
    let headless = http.ok("POST", SERVICES, &service("h", json!({ "clusterIP": "None" }))).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn namespaces_take_their_contents_with_them() {
    let stack = Stack::start().await;
    let http = &stack.http;
    http.ok("POST", "/api/v1/namespaces", &json!({ "metadata": { "name": "team" } })).await;
    http.until("/api/v1/namespaces/team/serviceaccounts", "default", |_| true).await;
    let mut held = config_map("held", "1");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    http.ok("POST", "/api/v1/namespaces/team/configmaps", &held).await;
    http.ok("POST", "/api/v1/namespaces/team/pods", &pod("p")).await;
    let going = http.ok("DELETE", "/api/v1/namespaces/team", &json!(null)).await;
    assert_eq!(going["status"]["phase"], "Terminating");
    http.until("/api/v1/namespaces/team/configmaps", "held", |held| !held["metadata"]["deletionTimestamp"].is_null())
        .await;
    let (code, refused) = http.post("/api/v1/namespaces/team/configmaps", &config_map("late", "1")).await;
    assert_eq!((code, &refused["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    let more = json!({ "metadata": { "finalizers": ["example.org/hold", "example.org/more"] } }).to_string();
    let (code, _) =
        http.send("PATCH", "/api/v1/namespaces/team/configmaps/held", "application/merge-patch+json", more).await;
    assert_eq!(code, 422, "what goes cannot be held by more");
    http.ok("PATCH", "/api/v1/namespaces/team/configmaps/held", &json!({ "metadata": { "finalizers": null } })).await;
    http.until_gone("/api/v1/namespaces", "team").await;
    let (_, pods) = http.get("/api/v1/namespaces/team/pods").await;
    assert_eq!(pods["items"], json!([]));
    assert_eq!(http.send("DELETE", "/api/v1/namespaces/default", "", "").await.0, 403);
    // What every namespace contains comes back.
    http.ok("DELETE", "/api/v1/namespaces/default/serviceaccounts/default", &json!(null)).await;
    http.until("/api/v1/namespaces/default/serviceaccounts", "default", |_| true).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let stack = Stack::start().await;
    let made = stack.http.ok("POST", MAPS, &config_map("a", "1")).await;
    let file =
        |stack: &Stack, name: &str| std::fs::read_to_string(stack.directory.path().join("cluster").join(name)).unwrap();
    let before = (file(&stack, "token"), file(&stack, "pki/ca.crt"), file(&stack, "kubeconfig"));
    let stack = stack.restart(|config| config.advertise_host = Some("localhost".to_owned())).await;
    let after = (file(&stack, "token"), file(&stack, "pki/ca.crt"), file(&stack, "kubeconfig"));
    assert_eq!((&before.0, &before.1), (&after.0, &after.1), "token and authority stay");
    assert!(after.2.contains(&format!("https://localhost:{}", stack.running.address.port())));
    assert_eq!(stack.http.ok("GET", &format!("{MAPS}/a"), &json!(null)).await, made);
    let watched = format!("{MAPS}?watch=1&resourceVersion={}", made["metadata"]["resourceVersion"].as_str().unwrap());
    let mut lines = stack.http.watch(&watched).await;
    stack.http.ok("DELETE", &format!("{MAPS}/a"), &json!(null)).await;
    assert_eq!(lines.step().await, ("DELETED".to_owned(), "a".to_owned()));
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["kubeconfig", "token", "pki/ca.key", "store.redb"] {
        let mode = std::fs::metadata(stack.directory.path().join("cluster").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_in_process_client_follows_the_same_rules() {
    use cluster::client::Place;
    let stack = Stack::start().await;
    let local = &stack.running.local;
    let place = Place::new("v1", "Namespace", "", "cresset-system");
    let namespace = json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": "cresset-system" } });
    local.apply(namespace.clone()).await.unwrap();
    let again = local.apply(namespace).await.unwrap();
    assert_eq!(local.get(&place).await.unwrap().unwrap(), again);
    let mut pod = pod("x");
    pod["metadata"]["namespace"] = json!("cresset-system");
    let first = local.apply(pod.clone()).await.unwrap();
    assert_eq!(local.apply(pod.clone()).await.unwrap(), first, "nothing changed, nothing is written");
    pod["spec"]["hostNetwork"] = json!(true);
    let second = local.apply(pod.clone()).await.unwrap();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"], "a pod whose spec may not change is made anew");
    pod["spec"]["bogus"] = json!(1);
    assert!(local.apply(pod.clone()).await.unwrap_err().message.contains("spec.bogus"));
    assert_eq!(local.list("v1", "Pod", "cresset-system").await.unwrap().len(), 1);
    assert!(local.delete(&Place::of(&pod)).await.unwrap());
    assert!(!local.delete(&Place::of(&pod)).await.unwrap());
}

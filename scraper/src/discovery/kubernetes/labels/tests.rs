//! Objects as JSON in, target groups out.

use super::*;

fn object(json: &str) -> Box<Object> {
    Box::new(serde_json::from_str(json).unwrap())
}

fn pod(ready: &str) -> Box<Object> {
    object(&format!(
        r#"{{"metadata":{{"name":"p","namespace":"ns","uid":"u","labels":{{"app.kubernetes.io/name":"x"}},
            "annotations":null,"ownerReferences":[{{"kind":"ReplicaSet","name":"rs","controller":true}}]}},
            "spec":{{"nodeName":"n","containers":[{{"name":"c","image":"i:1","ports":[
                {{"name":"http","containerPort":80,"protocol":"TCP"}},{{"containerPort":81,"protocol":"TCP"}}]}}],
                "initContainers":[{{"name":"init","image":"i:2"}}]}},
            "status":{{"phase":"Running","podIP":"10.0.0.1","hostIP":"10.0.0.9",
                "conditions":[{{"type":"Ready","status":"{ready}"}}],
                "containerStatuses":[{{"name":"c","containerID":"id"}}]}}}}"#
    ))
}

fn get<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.get(&format!("{PREFIX}{name}"))
}

#[test]
fn a_pod_is_a_target_per_port() {
    let mut stores = Stores::new(Role::Pod, false);
    let mut affected = BTreeSet::new();
    stores.apply(Change::Apply(Kind::Pod, pod("True")), &mut affected);
    assert_eq!(affected.iter().collect::<Vec<_>>(), ["pod/ns/p"]);
    let group = stores.group("pod/ns/p");
    let addresses: Vec<_> = group.targets.iter().map(|t| t.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.1"]);
    assert_eq!(get(&group.labels, "pod_ready"), Some("true"));
    assert_eq!(get(&group.labels, "pod_controller_kind"), Some("ReplicaSet"));
    assert_eq!(get(&group.labels, "pod_label_app_kubernetes_io_name"), Some("x"));
    assert_eq!(get(&group.labels, "pod_labelpresent_app_kubernetes_io_name"), Some("true"));
    assert_eq!(get(&group.targets[0], "pod_container_id"), Some("id"));
    assert_eq!(get(&group.targets[0], "pod_container_port_name"), Some("http"));
    assert_eq!(get(&group.targets[2], "pod_container_init"), Some("true"));
    stores.apply(Change::Delete(Kind::Pod, pod("True")), &mut affected);
    assert!(stores.group("pod/ns/p").targets.is_empty());
}

#[test]
fn endpoints_join_services_and_pods() {
    let mut stores = Stores::new(Role::Endpoints, false);
    let mut affected = BTreeSet::new();
    let endpoints = object(
        r#"{"metadata":{"name":"s","namespace":"ns"},"subsets":[{"addresses":[{"ip":"10.0.0.1","nodeName":"n",
            "targetRef":{"kind":"Pod","name":"p","namespace":"ns"}}],"notReadyAddresses":[{"ip":"fd00::1"}],
            "ports":[{"name":"http","port":80,"protocol":"TCP"}]}]}"#,
    );
    stores.apply(Change::Replace(Kind::Endpoints, None, vec![*endpoints]), &mut affected);
    let service =
        object(r#"{"metadata":{"name":"s","namespace":"ns","labels":{"l":"v"}},"spec":{"clusterIP":"10.1.0.1"}}"#);
    stores.apply(Change::Apply(Kind::Service, service), &mut affected);
    affected.clear();
    stores.apply(Change::Apply(Kind::Pod, pod("False")), &mut affected);
    assert_eq!(affected.iter().collect::<Vec<_>>(), ["endpoints/ns/s"], "the pod is behind these endpoints");
    let group = stores.group("endpoints/ns/s");
    assert_eq!(get(&group.labels, "service_label_l"), Some("v"));
    let addresses: Vec<_> = group.targets.iter().map(|t| t.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["10.0.0.1:80", "[fd00::1]:80", "10.0.0.1:81"], "with the pod's port that they do not name");
    assert_eq!(get(&group.targets[0], "endpoint_ready"), Some("true"));
    assert_eq!(get(&group.targets[0], "pod_ready"), Some("false"));
    assert_eq!(get(&group.targets[0], "pod_container_port_number"), Some("80"));
    assert_eq!(get(&group.targets[1], "endpoint_ready"), Some("false"));
    assert_eq!(get(&group.targets[2], "pod_name"), Some("p"));
}

#[test]
fn nodes_and_services() {
    let mut stores = Stores::new(Role::Node, false);
    let node = object(
        r#"{"metadata":{"name":"n"},"status":{"addresses":[{"type":"Hostname","address":"h"},
            {"type":"InternalIP","address":"10.0.0.9"}],"conditions":[{"type":"Ready","status":"True"}],
            "daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}"#,
    );
    stores.apply(Change::Apply(Kind::Node, node), &mut BTreeSet::new());
    let group = stores.group("node/n");
    assert_eq!(group.targets[0].get("__address__"), Some("10.0.0.9:10250"));
    assert_eq!(group.targets[0].get("instance"), Some("n"));
    assert_eq!(get(&group.targets[0], "node_address_Hostname"), Some("h"));
    assert_eq!(get(&group.labels, "node_condition_ready"), Some("true"));

    let mut stores = Stores::new(Role::Service, false);
    let service = object(
        r#"{"metadata":{"name":"s","namespace":"ns"},"spec":{"type":"ClusterIP","clusterIP":"10.1.0.1",
            "ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"#,
    );
    stores.apply(Change::Apply(Kind::Service, service), &mut BTreeSet::new());
    let group = stores.group("svc/ns/s");
    assert_eq!(group.targets[0].get("__address__"), Some("s.ns.svc:80"));
    assert_eq!(get(&group.targets[0], "service_cluster_ip"), Some("10.1.0.1"));
}

//! Objects as JSON in, target groups out.

use model::labels::Labels;

use super::meta::PREFIX;
use super::*;

fn object(json: &str) -> Arc<Object> {
    Arc::new(serde_json::from_str(json).unwrap())
}

fn pod(ready: &str) -> Arc<Object> {
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
    let mut stores = Stores::new(Role::Pod, AttachMetadata::default());
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
    let mut stores = Stores::new(Role::Endpoints, AttachMetadata::default());
    let mut affected = BTreeSet::new();
    let endpoints = object(
        r#"{"metadata":{"name":"s","namespace":"ns"},"subsets":[{"addresses":[{"ip":"10.0.0.1","nodeName":"n",
            "targetRef":{"kind":"Pod","name":"p","namespace":"ns"}}],"notReadyAddresses":[{"ip":"fd00::1"}],
            "ports":[{"name":"http","port":80,"protocol":"TCP"}]}]}"#,
    );
    stores.apply(Change::Replace(Kind::Endpoints, None, vec![endpoints]), &mut affected);
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
    let mut stores = Stores::new(Role::Node, AttachMetadata::default());
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

    let mut stores = Stores::new(Role::Service, AttachMetadata::default());
    let service = object(
        r#"{"metadata":{"name":"s","namespace":"ns"},"spec":{"type":"ClusterIP","clusterIP":"10.1.0.1",
            "ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"#,
    );
    stores.apply(Change::Apply(Kind::Service, service), &mut BTreeSet::new());
    let group = stores.group("svc/ns/s");
    assert_eq!(group.targets[0].get("__address__"), Some("s.ns.svc:80"));
    assert_eq!(get(&group.targets[0], "service_cluster_ip"), Some("10.1.0.1"));
}

#[test]
fn slices_are_joined_as_endpoints_are() {
    let attach = AttachMetadata { namespace: true, deployment: true, ..AttachMetadata::default() };
    let mut stores = Stores::new(Role::EndpointSlice, attach);
    let mut affected = BTreeSet::new();
    let slice = |family: &str| {
        object(&format!(
            r#"{{"metadata":{{"name":"s-1","namespace":"ns","labels":{{"kubernetes.io/service-name":"s"}}}},
                "addressType":"{family}","ports":[{{"name":"http","port":80,"protocol":"TCP","appProtocol":"h2c"}}],
                "endpoints":[{{"addresses":["10.0.0.1"],"conditions":{{"ready":true,"serving":null}},"nodeName":"n",
                    "zone":"z","targetRef":{{"kind":"Pod","name":"p","namespace":"ns"}}}}]}}"#
        ))
    };
    stores.apply(Change::Apply(Kind::EndpointSlice, slice("IPv4")), &mut affected);
    stores.apply(Change::Apply(Kind::Pod, pod("True")), &mut affected);
    let service = object(
        r#"{"metadata":{"name":"s","namespace":"ns"},
            "spec":{"ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv4","IPv6"]}}"#,
    );
    stores.apply(Change::Apply(Kind::Service, service), &mut affected);
    affected.clear();
    let replica_set = object(
        r#"{"metadata":{"name":"rs","namespace":"ns",
            "ownerReferences":[{"kind":"Deployment","name":"d","controller":true}]}}"#,
    );
    stores.apply(Change::Apply(Kind::ReplicaSet, replica_set), &mut affected);
    assert_eq!(affected.iter().collect::<Vec<_>>(), ["endpointslice/ns/s-1"]);
    affected.clear();
    let namespace = object(r#"{"metadata":{"name":"ns","labels":{"team":"a"}}}"#);
    stores.apply(Change::Apply(Kind::Namespace, namespace), &mut affected);
    assert_eq!(affected.len(), 1);

    let group = stores.group("endpointslice/ns/s-1");
    assert_eq!(get(&group.labels, "endpointslice_address_type"), Some("IPv4"));
    assert_eq!(get(&group.labels, "service_name"), Some("s"));
    assert_eq!(get(&group.labels, "namespace_label_team"), Some("a"));
    let addresses: Vec<_> = group.targets.iter().map(|t| t.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.1:81"], "the pod's other port is a target too");
    let target = &group.targets[0];
    for (name, value) in [
        ("endpointslice_port", Some("80")),
        ("endpointslice_port_app_protocol", Some("h2c")),
        ("endpointslice_endpoint_conditions_ready", Some("true")),
        ("endpointslice_endpoint_conditions_serving", None),
        ("endpointslice_endpoint_zone", Some("z")),
        ("endpointslice_address_target_kind", Some("Pod")),
        ("pod_container_name", Some("c")),
        ("pod_deployment_name", Some("d")),
    ] {
        assert_eq!(get(target, name), value, "{name}");
    }
    stores.apply(Change::Apply(Kind::EndpointSlice, slice("IPv6")), &mut affected);
    assert!(stores.group("endpointslice/ns/s-1").targets.is_empty(), "the second family would only repeat the first");
}

#[test]
fn an_ingress_is_a_target_per_path() {
    let mut stores = Stores::new(Role::Ingress, AttachMetadata::default());
    let ingress = object(
        r#"{"metadata":{"name":"i","namespace":"ns"},"spec":{"ingressClassName":"nginx","tls":[{"hosts":["*.example.org"]}],
            "rules":[{"host":"a.example.org","http":{"paths":[{"path":"/x"},{"path":""}]}},{"host":"example.org"}]}}"#,
    );
    stores.apply(Change::Apply(Kind::Ingress, ingress), &mut BTreeSet::new());
    let group = stores.group("ingress/ns/i");
    assert_eq!(get(&group.labels, "ingress_class_name"), Some("nginx"));
    let told: Vec<_> = group
        .targets
        .iter()
        .map(|t| {
            [get(t, "ingress_scheme"), get(t, "ingress_host"), get(t, "ingress_path")].map(Option::unwrap).concat()
        })
        .collect();
    assert_eq!(told, ["httpsa.example.org/x", "httpsa.example.org/", "httpexample.org/"]);
}

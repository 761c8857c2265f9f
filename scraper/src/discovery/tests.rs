//! Discovery against local servers that speak the documented interfaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use model::labels::Labels;
use tokio::sync::Notify;

use super::*;

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address.to_string()
}

fn section<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

async fn start(discovery: Discovery) -> (mpsc::Receiver<Update>, JoinHandle<()>) {
    let (sender, updates) = mpsc::channel(8);
    let task = discovery.start(Sink::new("job", 0, sender), Metrics::default(), "test").await.unwrap();
    (updates, task)
}

fn told(labels: &Labels) -> Vec<String> {
    labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={value}")).collect()
}

type Query_ = Query<Vec<(String, String)>>;

/// A catalog with one service whose instance changes when `moved` is notified.
#[derive(Clone, Default)]
struct Catalog {
    index: Arc<AtomicU64>,
    moved: Arc<Notify>,
}

async fn instances(
    State(catalog): State<Catalog>,
    Path(service): Path<String>,
    Query(query): Query_,
    headers: HeaderMap,
) -> impl IntoResponse {
    assert_eq!(headers["x-consul-token"], "t");
    assert!(query.contains(&("tag".into(), "canary".into())), "{query:?}");
    assert!(query.contains(&("node-meta".into(), "rack:1".into())), "{query:?}");
    if query.iter().any(|(name, _)| name == "index") {
        assert!(query.contains(&("wait".into(), "120000ms".into())));
        catalog.moved.notified().await;
    }
    let index = catalog.index.fetch_add(1, Ordering::Relaxed) + 1;
    let body = format!(
        r#"[{{"Node":{{"Node":"n","Address":"10.0.0.1","Meta":{{"a-b":"c"}},"TaggedAddresses":{{"lan":"10.0.0.1"}}}},
            "Service":{{"ID":"{service}-1","Service":"{service}","Address":"","Port":{},"Tags":["canary","v1"],"Meta":null}},
            "Checks":[{{"CheckID":"x","Status":"passing"}},{{"CheckID":"y","Status":"warning"}}]}}]"#,
        8000 + index
    );
    ([("x-consul-index", index.to_string())], body)
}

#[tokio::test]
async fn consul_services_are_followed() {
    let catalog = Catalog::default();
    let services = || async { ([("x-consul-index", "7")], r#"{"web":["canary"],"other":[]}"#) };
    let app = Router::new()
        .route("/prefix/v1/agent/self", get(|| async { r#"{"Config":{"Datacenter":"dc1"}}"# }))
        .route("/prefix/v1/catalog/services", get(services))
        .route("/prefix/v1/health/service/{service}", get(instances))
        .with_state(catalog.clone());
    let address = serve(app).await;
    let config: ConsulSdConfig = section(&format!(
        "{{server: '{address}', path_prefix: /prefix, token: t, tags: [canary], node_meta: {{rack: '1'}}, refresh_interval: 1ms}}"
    ));
    let (mut updates, task) = start(Discovery::Consul(Box::new(config))).await;
    let mut group = TargetGroup::default();
    while group.targets.is_empty() {
        group = updates.recv().await.unwrap().groups.pop().unwrap_or_default();
    }
    assert_eq!(told(&group.labels), ["__meta_consul_dc=dc1", "__meta_consul_service=web"]);
    assert_eq!(
        told(&group.targets[0]),
        [
            "__address__=10.0.0.1:8001",
            "__meta_consul_address=10.0.0.1",
            "__meta_consul_health=warning",
            "__meta_consul_metadata_a_b=c",
            "__meta_consul_node=n",
            "__meta_consul_service_id=web-1",
            "__meta_consul_service_port=8001",
            "__meta_consul_tagged_address_lan=10.0.0.1",
            "__meta_consul_tags=,canary,v1,",
        ]
    );
    catalog.moved.notify_one();
    let mut group = TargetGroup::default();
    while group.targets.is_empty() {
        group = updates.recv().await.unwrap().groups.pop().unwrap_or_default();
    }
    assert_eq!(group.targets[0].get("__address__"), Some("10.0.0.1:8002"));
    task.abort();
}

const CONTAINERS: &str = r#"[
    {"Id":"c1","Names":["/web"],"Image":"i","ImageID":"sha","Labels":{"com.x":"y"},"HostConfig":{"NetworkMode":"bridge"},
     "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"}],
     "NetworkSettings":{"Networks":{"b":{"NetworkID":"n2","IPAddress":"172.18.0.2"},"a":{"NetworkID":"n1","IPAddress":"172.17.0.2"}}}},
    {"Id":"c2","Names":["/side"],"HostConfig":{"NetworkMode":"container:c1"},"NetworkSettings":{"Networks":{}}},
    {"Id":"c3","Names":["/host"],"HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Networks":{"host":{"NetworkID":"h"}}}},
    {"Id":"c4","Names":["/loop"],"HostConfig":{"NetworkMode":"container:c4"},"NetworkSettings":{}}]"#;

#[tokio::test]
async fn docker_containers_are_found_over_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let containers = |Query(query): Query_| async move {
        assert_eq!(query, [("filters".to_owned(), r#"{"label":["a"]}"#.to_owned())]);
        CONTAINERS
    };
    let networks = || async { r#"[{"Id":"n1","Name":"bridge","Scope":"local","Labels":{"k":"v"}}]"# };
    let app = Router::new().route("/containers/json", get(containers)).route("/networks", get(networks));
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config: DockerSdConfig =
        section(&format!("{{host: 'unix://{}', filters: [{{name: label, values: [a]}}]}}", socket.display()));
    let (mut updates, task) = start(Discovery::Docker(Box::new(config))).await;
    let group = updates.recv().await.unwrap().groups.pop().unwrap();
    let addresses: Vec<_> = group.targets.iter().map(|target| target.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["172.17.0.2:80", "172.17.0.2:80", "localhost"]);
    assert_eq!(
        told(&group.targets[0]),
        [
            "__address__=172.17.0.2:80",
            "__meta_docker_container_id=c1",
            "__meta_docker_container_image=i",
            "__meta_docker_container_image_id=sha",
            "__meta_docker_container_label_com_x=y",
            "__meta_docker_container_name=/web",
            "__meta_docker_container_network_mode=bridge",
            "__meta_docker_network_id=n1",
            "__meta_docker_network_ingress=false",
            "__meta_docker_network_internal=false",
            "__meta_docker_network_ip=172.17.0.2",
            "__meta_docker_network_label_k=v",
            "__meta_docker_network_name=bridge",
            "__meta_docker_network_scope=local",
            "__meta_docker_port_private=80",
            "__meta_docker_port_public=8080",
            "__meta_docker_port_public_ip=0.0.0.0",
        ]
    );
    task.abort();
}

#[tokio::test]
async fn nomad_services_are_listed() {
    let instances = |Query(query): Query_| async move {
        assert!(query.contains(&("region".into(), "global".into())), "{query:?}");
        r#"[{"ID":"i","ServiceName":"db","Namespace":"default","NodeID":"n","Datacenter":"dc1","Address":"fd00::1",
            "Port":5432,"Tags":["a","b"]}]"#
    };
    let services = || async { r#"[{"Namespace":"default","Services":[{"ServiceName":"db","Tags":["a"]}]}]"# };
    let app = Router::new().route("/v1/services", get(services)).route("/v1/service/db", get(instances));
    let config: NomadSdConfig = section(&format!("{{server: 'http://{}'}}", serve(app).await));
    let (mut updates, task) = start(Discovery::Nomad(Box::new(config))).await;
    let group = updates.recv().await.unwrap().groups.pop().unwrap();
    assert_eq!(
        told(&group.targets[0]),
        [
            "__address__=[fd00::1]:5432",
            "__meta_nomad_address=fd00::1",
            "__meta_nomad_dc=dc1",
            "__meta_nomad_namespace=default",
            "__meta_nomad_node_id=n",
            "__meta_nomad_service=db",
            "__meta_nomad_service_address=fd00::1",
            "__meta_nomad_service_id=i",
            "__meta_nomad_service_port=5432",
            "__meta_nomad_tags=,a,b,",
        ]
    );
    task.abort();
}

#[tokio::test]
async fn http_groups_that_vanish_are_cleared() {
    let turn = Arc::new(AtomicU64::new(0));
    let page = move |headers: HeaderMap| async move {
        assert_eq!(headers["x-prometheus-refresh-interval-seconds"], "0.001");
        let body = match turn.fetch_add(1, Ordering::Relaxed) {
            0 => r#"[{"targets":["a:1"],"labels":{"l":"v"}},{"targets":["b:1"]}]"#,
            1 => "not JSON",
            _ => r#"[{"targets":["a:1"]}]"#,
        };
        ([("content-type", "application/json; charset=utf-8")], body)
    };
    let url = format!("http://{}/sd", serve(Router::new().route("/sd", get(page))).await);
    let config: HttpSdConfig = section(&format!("{{url: '{url}', refresh_interval: 1ms}}"));
    let (mut updates, task) = start(Discovery::Http(Box::new(config))).await;
    let first = updates.recv().await.unwrap().groups;
    assert_eq!(told(&first[0].labels), [format!("__meta_url={url}"), "l=v".to_owned()]);
    let second = updates.recv().await.unwrap().groups;
    let sizes: Vec<_> = second.iter().map(|group| (group.source.clone(), group.targets.len())).collect();
    assert_eq!(sizes, [(format!("{url}:0"), 1), (format!("{url}:1"), 0)]);
    task.abort();
}

/// A cluster API with two pods in its list, one more per watch event that is let out.
#[derive(Clone)]
struct Cluster {
    lists: Arc<AtomicU64>,
    watches: Arc<AtomicU64>,
    /// Lines of the watch; the stream ends with each.
    events: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
}

fn pod(name: &str, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"ns","uid":"{name}","resourceVersion":"{version}"}},
        "spec":{{"containers":[{{"name":"c","ports":[{{"containerPort":80}}]}}]}},"status":{{"podIP":"10.0.0.1"}}}}"#
    )
    .replace('\n', "")
}

async fn pods(State(cluster): State<Cluster>, Query(query): Query_) -> axum::response::Response {
    let is_watch = query.iter().any(|(name, value)| name == "watch" && value == "true");
    if is_watch {
        cluster.watches.fetch_add(1, Ordering::Relaxed);
        let mut events = cluster.events.lock().await;
        let line = events.recv().await.expect("the test goes on");
        return format!("{line}\n").into_response();
    }
    let number = cluster.lists.fetch_add(1, Ordering::Relaxed);
    let items = [pod("a", 1), pod(&format!("listed-{number}"), 1)].join(",");
    format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#).into_response()
}

/// The pods of which the next updates tell, until one tells of `name`.
async fn told_of(updates: &mut mpsc::Receiver<Update>, name: &str) -> bool {
    while let Some(update) = updates.recv().await {
        if update.groups.iter().any(|group| group.source == format!("pod/ns/{name}") && !group.targets.is_empty()) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn discoveries_of_one_server_share_a_watch_that_survives_410() {
    let (events, received) = mpsc::channel(8);
    let cluster =
        Cluster { lists: Arc::default(), watches: Arc::default(), events: Arc::new(tokio::sync::Mutex::new(received)) };
    let address = serve(Router::new().route("/api/v1/pods", get(pods)).with_state(cluster.clone())).await;
    let context = Context::new(Metrics::default(), "test");
    let start = async |role: &str, extra: &str| {
        let config = section(&format!("{{role: {role}, api_server: 'http://{address}'{extra}}}"));
        let (sender, updates) = mpsc::channel(8);
        let discovery = Discovery::Kubernetes(Box::new(config));
        (updates, tokio::spawn(discovery.prepare(Sink::new("job", 0, sender), &context).await.unwrap()))
    };
    let (mut first, first_task) = start("pod", "").await;
    let (mut second, second_task) = start("pod", "").await;
    assert!(told_of(&mut first, "listed-0").await && told_of(&mut second, "listed-0").await);
    assert_eq!((cluster.lists.load(Ordering::Relaxed), context.watches.count()), (1, 1));
    let added = format!(r#"{{"type":"ADDED","object":{}}}"#, pod("added", 2));
    events.send(added).await.unwrap();
    assert!(told_of(&mut first, "added").await && told_of(&mut second, "added").await);
    // Whoever comes later is told all at once, and nothing is asked for again.
    let (mut third, third_task) = start("pod", "").await;
    assert!(told_of(&mut third, "added").await);
    assert_eq!(cluster.lists.load(Ordering::Relaxed), 1);
    // A version that is too old: all is listed anew, once, for all.
    events.send(r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#.into()).await.unwrap();
    for updates in [&mut first, &mut second, &mut third] {
        assert!(told_of(updates, "listed-1").await);
    }
    assert_eq!((cluster.lists.load(Ordering::Relaxed), context.watches.count()), (2, 1));
    assert!(cluster.watches.load(Ordering::Relaxed) >= 2, "resumed after the stream ended");
    // Another selector is another question.
    let (mut other, other_task) = start("pod", ", selectors: [{role: pod, label: 'a=b'}]").await;
    assert!(told_of(&mut other, "listed-2").await);
    assert_eq!(context.watches.count(), 2);
    for task in [first_task, second_task, third_task, other_task] {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(context.watches.count(), 0, "nobody listens");
}

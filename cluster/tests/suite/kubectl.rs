//! The real kubectl, with the generated kubeconfig. Where it is not installed these tests have nothing to do, except in
//! CI, where its absence is a failure.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{PATIENCE, Stack};

/// A kubectl with a home of its own.
struct Kubectl {
    stack: Stack,
}

impl Kubectl {
    async fn start() -> Option<Self> {
        let found = std::process::Command::new("kubectl").args(["version", "--client"]).output().is_ok();
        assert!(found || std::env::var("CI").as_deref() != Ok("true"), "kubectl is not installed");
        match found {
            true => Some(Self { stack: Stack::start().await }),
            false => None,
        }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", &self.stack.running.kubeconfig)
            .env("HOME", self.stack.directory.path())
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &str, input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("kubectl does not end").unwrap()
    }

    /// What a successful call prints.
    async fn ok(&self, arguments: &str) -> String {
        self.ok_with(arguments, "").await
    }

    async fn ok_with(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}: {out}{err}");
        out.into_owned()
    }

    /// What a failing call complains about.
    async fn fails(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input).await;
        assert!(!output.status.success(), "kubectl {arguments} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn manifest(node: &str, port: u16, tier: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: exporter\n  labels: {{app: exporter, tier: {tier}}}\n  \
         annotations: {{cresset.io/external: \"true\"}}\nspec:\n  hostNetwork: true\n  nodeName: {node}\n  containers:\n  \
         - name: exporter\n    image: exporter:1\n    ports: [{{name: metrics, containerPort: {port}}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: exporter}}\nspec:\n  selector: {{app: exporter}}\n  \
         ports: [{{name: metrics, port: 9100, targetPort: metrics}}]\n"
    )
}

#[tokio::test]
async fn looking_around() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let node = kubectl.stack.running.node.clone().unwrap();
    contains(&kubectl.ok("version").await, &["Server Version: v1.32"]);
    contains(&kubectl.ok("get nodes -o wide").await, &[&node, "Ready", "control-plane", "127.0.0.1", "INTERNAL-IP"]);
    contains(&kubectl.ok("get nodes,pods,services -A -o wide").await, &["service/kubernetes", "10.96.0.1", "443/TCP"]);
    contains(&kubectl.ok("get ns").await, &["default", "kube-system", "kube-public", "kube-node-lease", "Active"]);
    contains(&kubectl.ok("api-resources").await, &["endpointslices", "discovery.k8s.io/v1", "svc", "EndpointSlice"]);
    contains(&kubectl.ok("cluster-info").await, &["is running at"]);
    contains(&kubectl.ok("explain pod.spec.containers.ports").await, &["containerPort", "<integer>"]);
    contains(&kubectl.ok(&format!("describe node {node}")).await, &["Kubelet Version", "InternalIP", "HolderIdentity"]);
    contains(&kubectl.fails("get pods nope", "").await, &["Error from server (NotFound): pods \"nope\" not found"]);
    contains(&kubectl.fails("get gizmos", "").await, &["doesn't have a resource type \"gizmos\""]);
    contains(&kubectl.fails("--token=wrong get pods", "").await, &["You must be logged in to the server"]);
}

#[tokio::test]
async fn applying_and_changing() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let node = kubectl.stack.running.node.clone().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = manifest(&node, port, "one");

    let mut watching = kubectl.command("get pods -w -l app=exporter").stdout(Stdio::piped()).spawn().unwrap();
    let mut rows = BufReader::new(watching.stdout.take().unwrap()).lines();

    contains(&kubectl.ok_with("apply -f -", &text).await, &["pod/exporter created", "service/exporter created"]);
    let seen = tokio::time::timeout(PATIENCE, async {
        while let Some(row) = rows.next_line().await.unwrap() {
            if row.contains("exporter") && row.contains("1/1") && row.contains("Running") {
                return true;
            }
        }
        false
    });
    assert!(seen.await.unwrap(), "the watch shows the pod running");
    contains(&kubectl.ok("wait --for=condition=Ready pod/exporter --timeout=10s").await, &["condition met"]);
    contains(&kubectl.ok_with("apply -f -", &text).await, &["pod/exporter unchanged", "service/exporter unchanged"]);

    let changed = manifest(&node, port, "two");
    let diff = kubectl.run("diff -f -", &changed).await;
    assert_eq!(diff.status.code(), Some(1));
    contains(&String::from_utf8_lossy(&diff.stdout), &["+    tier: two", "-    tier: one"]);
    contains(
        &kubectl.ok_with("apply -f -", &changed).await,
        &["pod/exporter configured", "service/exporter unchanged"],
    );
    assert_eq!(kubectl.run("diff -f -", &changed).await.status.code(), Some(0));

    kubectl.ok("label pod exporter x=1").await;
    contains(&kubectl.fails("label pod exporter x=2", "").await, &["already has a value"]);
    kubectl.ok("label --overwrite pod exporter x=2").await;
    kubectl.ok("annotate pod exporter note=hello").await;
    kubectl.ok("patch pod exporter --type=merge -p {\"metadata\":{\"labels\":{\"m\":\"1\"}}}").await;
    kubectl
        .ok("patch pod exporter --type=json -p [{\"op\":\"add\",\"path\":\"/metadata/labels/j\",\"value\":\"1\"}]")
        .await;
    kubectl
        .ok("patch pod exporter -p {\"spec\":{\"containers\":[{\"name\":\"exporter\",\"image\":\"exporter:2\"}]}}")
        .await;
    let shown =
        kubectl.ok("get pod exporter -o jsonpath={.metadata.labels}{.spec.containers[*].image}{.status.podIP}").await;
    contains(&shown, &["\"x\":\"2\"", "\"m\":\"1\"", "\"j\":\"1\"", "exporter:2", "127.0.0.1"]);

    let mut edit = kubectl.command("edit pod exporter");
    edit.env("KUBE_EDITOR", "sed -i s/exporter:2/exporter:3/").stdin(Stdio::null());
    let edited = tokio::time::timeout(PATIENCE, edit.output()).await.unwrap().unwrap();
    contains(&String::from_utf8_lossy(&edited.stdout), &["pod/exporter edited"]);

    contains(&kubectl.ok("describe pod exporter").await, &["exporter:3", "Ready             True", "Host Port"]);
    contains(&kubectl.ok("describe service exporter").await, &[&format!("127.0.0.1:{port}")]);
    contains(&kubectl.ok("get endpoints,endpointslices -o wide").await, &[&format!("127.0.0.1:{port}"), "IPv4"]);
    contains(
        &kubectl.ok_with("delete -f -", &changed).await,
        &["pod \"exporter\" deleted", "service \"exporter\" deleted"],
    );
    contains(&kubectl.ok("get pods,endpoints").await, &["kubernetes"]);
}

#[tokio::test]
async fn protobuf_bodies() {
    let Some(kubectl) = Kubectl::start().await else { return };
    for (create, created) in [
        ("create configmap c --from-literal=a=b", "configmap/c created"),
        ("create secret generic s --from-literal=k=v", "secret/s created"),
        ("create serviceaccount robot", "serviceaccount/robot created"),
        ("create service nodeport web --tcp=80:8080", "service/web created"),
        ("create namespace team", "namespace/team created"),
    ] {
        contains(&kubectl.ok(create).await, &[created]);
    }
    assert_eq!(kubectl.ok("get secret s -o jsonpath={.data.k}").await, "dg==");
    contains(&kubectl.ok("get service web").await, &["NodePort", "80:3", "/TCP"]);
    contains(
        &kubectl.fails("create namespace team", "").await,
        &["(AlreadyExists)", "namespaces \"team\" already exists"],
    );
    contains(&kubectl.ok("-n team get sa,cm").await, &["serviceaccount/default", "configmap/kube-root-ca.crt"]);
    contains(&kubectl.ok("delete namespace team").await, &["namespace \"team\" deleted"]);
    contains(&kubectl.ok("create configmap dry --from-literal=a=b --dry-run=server -o name").await, &["configmap/dry"]);
    contains(&kubectl.fails("get cm dry", "").await, &["NotFound"]);
}

#[tokio::test]
async fn mistakes() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let typo = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, imagee: i}]}\n";
    contains(
        &kubectl.fails("apply -f -", typo).await,
        &["strict decoding error: unknown field \"spec.containers[0].imagee\""],
    );
    let invalid = typo.replace("name: p", "name: P_").replace("imagee", "image");
    contains(
        &kubectl.fails("apply -f -", &invalid).await,
        &["The Pod \"P_\" is invalid: metadata.name: Invalid value"],
    );
    let warned = kubectl.run("create --validate=warn -f -", &typo.replace("imagee: i", "image: i, bogus: 1")).await;
    assert!(warned.status.success());
    contains(&String::from_utf8_lossy(&warned.stderr), &["Warning: unknown field \"spec.containers[0].bogus\""]);
    contains(&kubectl.ok("get pods").await, &["p ", "0/1", "Pending"]);
    contains(&kubectl.fails("apply --server-side -f -", &invalid).await, &["Server-side apply not available"]);
    contains(
        &kubectl.fails("patch pod p -p {\"spec\":{\"nodeName\":\"\",\"hostNetwork\":true}}", "").await,
        &["Forbidden: pod updates may not change"],
    );
    contains(&kubectl.fails("get pods --field-selector=bogus=1", "").await, &["field label not supported: bogus"]);
    contains(&kubectl.ok("delete pod p --grace-period=0 --force").await, &["force deleted"]);
}

//! The whole stack: from a pod applied with kubectl to a delivered alert, over a kill in the middle.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use serde_json::Value;

use super::harness::{BINARY, Process, api, eventually, free_port, get, has, query};

/// Scraping and evaluating every second makes the test short; everything else is the embedded configuration.
const CONFIG: &str = "
global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs:
  - role: pod
    kubeconfig_file: cluster/kubeconfig
    selectors: [{role: pod, label: 'cresset.io/scrape=true'}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_phase], regex: Pending, action: drop}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
rule_files: [rules/*.yml]
";

const RULES: &str = "
groups:
- name: g
  rules:
  - {record: pods:up, expr: 'count(up == 1)'}
  - alert: Always
    expr: vector(1)
    labels: {severity: page}
    annotations: {summary: 'value {{ $value }}'}
  - {alert: Later, expr: 'vector(2)', for: 1h}
";

struct Stack {
    folder: tempfile::TempDir,
    process: Option<Process>,
    ports: [u16; 4],
    webhook: mpsc::Receiver<Value>,
}

/// A webhook on a thread: hands each body on.
fn webhook() -> (u16, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (bodies, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if bodies.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (port, received)
}

impl Stack {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, webhook) = webhook();
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("rules")).unwrap();
        std::fs::write(data.join("test.yml"), CONFIG).unwrap();
        std::fs::write(data.join("rules/test.yml"), RULES).unwrap();
        let router = format!(
            "route: {{receiver: hook, group_wait: 1s, group_interval: 2s}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]}}]\n"
        );
        std::fs::write(data.join("router.yml"), router).unwrap();
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let mut stack = Self { folder, process: None, ports, webhook };
        stack.launch();
        stack
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn launch(&mut self) {
        let address = |i: usize| format!("127.0.0.1:{}", self.ports[i]);
        let data = self.data();
        let mut command = Command::new(BINARY);
        command.current_dir(self.folder.path()).args([
            format!("--web.listen-address={}", address(0)),
            format!("--alertmanager.listen-address={}", address(1)),
            format!("--node.listen-address={}", address(2)),
            format!("--cluster.listen-address={}", address(3)),
            format!("--config.file={}", data.join("test.yml").display()),
            format!("--alertmanager.config.file={}", data.join("router.yml").display()),
            "--rules.alert.for-grace-period=1s".to_owned(),
        ]);
        self.process = Some(Process::start(&mut command, &self.folder.path().join("log")));
        let ready = format!("http://{}/-/ready", self.server());
        eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200));
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.data().join("cluster/kubeconfig"))
            .arg("--cache-dir")
            .arg(self.folder.path().join("kube-cache"))
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn node(&self) -> String {
        self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])
    }
}

/// A pod and a service for an exporter that runs on this machine at `port`.
fn manifest(folder: &Path, node: &str, port: u16) -> PathBuf {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: own\n  labels: {{app: own, cresset.io/scrape: 'true'}}\n  \
         annotations: {{cresset.io/external: 'true'}}\nspec:\n  nodeName: {node}\n  hostNetwork: true\n  containers:\n  \
         - {{name: own, image: own, ports: [{{containerPort: {port}, name: http}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: own, labels: {{app: own}}}}\nspec:\n  selector: {{app: own}}\n  \
         ports: [{{port: {port}, name: http}}]\n"
    );
    let path = folder.join("own.yml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn from_discovery_to_a_delivered_alert() {
    if !has("kubectl") {
        return;
    }
    let mut stack = Stack::start();
    let server = stack.server();

    // The program's own components were registered and found by their label.
    eventually("all three components to be up", || query(&server, "count(up == 1)").filter(|v| *v == [3.0]));
    let pods = stack.kubectl(&["get", "nodes,pods,services", "-A", "-o", "wide"]);
    assert!(pods.contains("cresset-node-exporter") && pods.contains("Running"), "{pods}");

    // A pod applied for an exporter that somebody else runs is scraped within two intervals of its being ready.
    let port = free_port();
    let mut exporter = Command::new(BINARY);
    exporter.args(["exporter", "node", &format!("--web.listen-address=127.0.0.1:{port}")]);
    let _exporter = Process::start(&mut exporter, &stack.folder.path().join("exporter.log"));
    let path = manifest(stack.folder.path(), &stack.node(), port);
    stack.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    let load = "node_load1{pod=\"own\"}";
    eventually("the pod's series", || query(&server, load).filter(|v| v.len() == 1));

    // Rules record and alert; the alert reaches the webhook with its template expanded.
    eventually("the recorded series", || query(&server, "pods:up").filter(|v| *v == [4.0]));
    let body = stack.webhook.recv_timeout(std::time::Duration::from_secs(30)).expect("a notification");
    assert_eq!((&body["status"], &body["version"]), (&"firing".into(), &"4".into()));
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "Always");
    assert_eq!(body["alerts"][0]["annotations"]["summary"], "value 1");

    // Deleted, its series go stale at once.
    stack.kubectl(&["label", "pod", "own", "seen=yes"]);
    stack.kubectl(&["delete", "-f", path.to_str().unwrap()]);
    eventually("the pod's series to end", || query(&server, load).filter(Vec::is_empty));

    // Killed and started again: every sample that was answered is still there, and the pending alert's time.
    let count = "count_over_time(node_load1{pod=\"cresset-node-exporter\"}[1h])";
    let since = "ALERTS_FOR_STATE{alertname=\"Later\"}";
    let before = query(&server, count).unwrap()[0];
    let active = eventually("the pending alert", || query(&server, since).filter(|v| v.len() == 1));
    stack.process.as_mut().unwrap().kill();
    stack.launch();
    let after = eventually("the samples of before", || query(&server, count).filter(|v| v.len() == 1));
    assert!(after[0] >= before, "{} samples before the kill, {} after", before, after[0]);
    let pending = eventually("the alert to be pending again", || {
        let alerts = api(&server, "alerts")?;
        let alerts = alerts["alerts"].as_array()?.clone();
        alerts.into_iter().find(|a| a["labels"]["alertname"] == "Later")
    });
    let restored = pending["activeAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    assert!(restored - active[0] < 120.0 && restored >= active[0], "{restored} goes on from {}", active[0]);

    // A clean stop takes seconds, and a second start on the same data is refused meanwhile.
    let mut second = Command::new(BINARY);
    let config = stack.data().join("test.yml");
    second.current_dir(stack.folder.path()).args([
        "server",
        "--storage.tsdb.path=data",
        "--web.listen-address=127.0.0.1:0",
        &format!("--config.file={}", config.display()),
    ]);
    let mut second = Process::start(&mut second, &stack.folder.path().join("second.log"));
    assert!(!second.wait());
    assert!(second.log().contains("locked by another process"), "{}", second.log());
    let process = stack.process.as_mut().unwrap();
    process.signal("TERM");
    assert!(process.wait(), "{}", process.log());
}

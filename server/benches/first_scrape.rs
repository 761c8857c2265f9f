//! From a pod created in the built-in cluster API to the first request at it: the way through the controller that runs it,
//! the watch, the sync of targets, and the target's offset, which a short interval keeps small.
//!
//! `cargo bench -p server --bench first_scrape`. `BENCH_PODS` is how many are created, one after the other (20);
//! `BENCH_BINARY` names another binary than the one just built.
#![allow(missing_docs, clippy::print_stdout, reason = "printing is what it is for")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How often targets are scraped, which is the most that an offset takes.
const INTERVAL_MS: u64 = 100;
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole stack in a folder of its own.
struct Stack {
    child: Child,
    cluster: SocketAddr,
}

impl Drop for Stack {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

impl Stack {
    fn start(folder: &Path) -> Self {
        let config = format!(
            "global: {{scrape_interval: {INTERVAL_MS}ms}}\nscrape_configs:\n- job_name: pods\n  kubernetes_sd_configs:\n  \
             - {{role: pod, kubeconfig_file: cluster/kubeconfig}}\n  relabel_configs:\n  \
             - {{source_labels: [__meta_kubernetes_pod_phase], regex: Pending, action: drop}}\n"
        );
        std::fs::create_dir_all(folder.join("data")).expect("a scratch directory");
        std::fs::write(folder.join("data/bench.yml"), config).expect("a scratch directory");
        let binary = std::env::var("BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_cresset").to_owned());
        let (web, cluster) = (free(), free());
        let child = Command::new(binary)
            .current_dir(folder)
            .args([
                format!("--web.listen-address={web}"),
                format!("--alertmanager.listen-address={}", free()),
                format!("--node.listen-address={}", free()),
                format!("--cluster.listen-address={cluster}"),
                "--config.file=data/bench.yml".to_owned(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).expect("a scratch directory"))
            .spawn()
            .expect("the binary runs");
        let deadline = Instant::now() + PATIENCE;
        // The server listens last.
        while std::net::TcpStream::connect(web).is_err() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(3));
        Self { child, cluster }
    }
}

/// Talks to the cluster API as its administrator.
struct Cluster {
    client: reqwest::Client,
    token: String,
    base: String,
}

impl Cluster {
    fn new(folder: &Path, stack: &Stack) -> Self {
        let data = folder.join("data/cluster");
        let authority = std::fs::read(data.join("pki/ca.crt")).expect("the cluster wrote it");
        let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
        let client = reqwest::Client::builder().add_root_certificate(authority).build().expect("a client");
        let token = std::fs::read_to_string(data.join("token")).expect("the cluster wrote it").trim().to_owned();
        Self { client, token, base: format!("https://{}/api/v1", stack.cluster) }
    }

    async fn node(&self) -> String {
        let answer = self.client.get(format!("{}/nodes", self.base)).bearer_auth(&self.token).send().await;
        let nodes: Value = answer.expect("the API answers").json().await.expect("JSON");
        nodes["items"][0]["metadata"]["name"].as_str().expect("a node").to_owned()
    }

    /// Creates a pod for something that runs on this machine at `port`.
    async fn create(&self, name: &str, node: &str, port: u16) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {"cresset.io/external": "true"}},
            "spec": {"nodeName": node, "hostNetwork": true,
                "containers": [{"name": "c", "image": "none", "ports": [{"containerPort": port, "name": "http"}]}]},
        });
        let request = self.client.post(format!("{}/namespaces/default/pods", self.base)).bearer_auth(&self.token);
        let answer = request.json(&pod).send().await.expect("the API answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }
}

fn main() {
    // `cargo test` runs benches with this; there is nothing to check.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let folder = tempfile::tempdir().expect("a scratch directory");
    let stack = Stack::start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cluster = Cluster::new(folder.path(), &stack);
    let pods = std::env::var("BENCH_PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let node = runtime.block_on(cluster.node());
    let mut taken: Vec<f64> = (0..pods)
        .map(|number| {
            let target = TcpListener::bind("0.0.0.0:0").expect("a free port");
            let port = target.local_addr().expect("a bound socket").port();
            let asked = std::thread::spawn(move || target.accept().map(|_| Instant::now()));
            let created = Instant::now();
            runtime.block_on(cluster.create(&format!("bench-{number}"), &node, port));
            let asked = asked.join().expect("no panic").expect("a connection");
            (asked - created).as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken.get(((taken.len() - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    println!(
        "from a pod's creation to the first request at it, {pods} pods, of which at most {INTERVAL_MS} ms are offset:"
    );
    println!("least {:.0} ms, median {:.0} ms, most {:.0} ms", at(0.0), at(0.5), at(1.0));
}

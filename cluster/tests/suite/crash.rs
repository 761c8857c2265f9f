//! Killed in the middle of writes: what was acknowledged is there.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{Http, PATIENCE, config_map, loopback};

const CHILD: &str = "CRESSET_TEST_CLUSTER_CHILD";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Not a test by itself: the process that the other test kills. Without the variable it has nothing to do.
#[tokio::test]
async fn child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let running = cluster::app::start(loopback(directory.as_ref()), net::shutdown::Shutdown::new()).await.unwrap();
    println!("\nup {}", running.address);
    std::future::pending::<()>().await;
}

async fn spawn(directory: &std::path::Path) -> (Child, std::net::SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the child says where it is");
            if let Some(address) = line.strip_prefix("up ") {
                return address.parse().unwrap();
            }
        }
    });
    (child, address.await.unwrap())
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for round in 0..3 {
        let (mut child, address) = spawn(directory.path()).await;
        let http = std::sync::Arc::new(Http::at(address, directory.path()));
        let (_, list) = http.get(MAPS).await;
        let items = list["items"].as_array().unwrap();
        let has = |name: &str| items.iter().any(|item| item["metadata"]["name"] == name);
        for (name, revision) in &acknowledged {
            assert!(has(name), "{name} at {revision} is lost after round {round}");
        }
        let listed: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(acknowledged.iter().all(|(_, revision)| *revision <= listed), "revisions do not go back");
        // Four writers; the child dies while they write.
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let http = std::sync::Arc::clone(&http);
                tokio::spawn(async move {
                    let mut written = Vec::new();
                    for index in 0.. {
                        let name = format!("r{round}-w{writer}-{index}");
                        let request = http
                            .request("POST", MAPS)
                            .header("Content-Type", "application/json")
                            .body(config_map(&name, "v").to_string());
                        let Ok(response) = request.send().await else { break };
                        if response.status() != 201 {
                            break;
                        }
                        let Ok(object) = response.json::<Value>().await else { break };
                        written.push((name, object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()));
                    }
                    written
                })
            })
            .collect();
        let mut lines = http.watch(&format!("{MAPS}?watch=1&resourceVersion={listed}")).await;
        for _ in 0..40 {
            lines.next().await.unwrap();
        }
        child.kill().await.unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        assert!(acknowledged.len() > 30 * (round + 1));
    }
}

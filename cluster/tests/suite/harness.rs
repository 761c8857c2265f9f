//! A cluster in a scratch directory, and clients for it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cluster::app::{Config, Running, start};
use net::shutdown::Shutdown;
use serde_json::Value;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running cluster. Its directory goes when it is dropped.
pub(crate) struct Stack {
    pub(crate) running: Running,
    pub(crate) shutdown: Shutdown,
    pub(crate) http: Http,
    pub(crate) directory: tempfile::TempDir,
}

/// A client with the administrator's token that trusts the cluster's authority.
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// The lines of a watch.
pub(crate) struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

pub(crate) fn loopback(directory: &Path) -> Config {
    Config::new(directory, SocketAddr::from(([127, 0, 0, 1], 0)))
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::within(directory, change).await
    }

    pub(crate) async fn within(directory: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = loopback(directory.path());
        change(&mut config);
        let shutdown = Shutdown::new();
        let running = start_patiently(config, &shutdown).await;
        let http = Http::of(&running, directory.path());
        // What the controllers put into the namespace is there before a test looks.
        http.until("/api/v1/namespaces/default/configmaps", "kube-root-ca.crt", |_| true).await;
        Self { running, shutdown, http, directory }
    }

    /// Stops and starts again on the same directory.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        self.shutdown.finish(PATIENCE).await.unwrap();
        let Self { directory, running, http, .. } = self;
        drop((running, http));
        Self::within(directory, change).await
    }
}

/// Starts; the store of the run before may still be closing.
async fn start_patiently(config: Config, shutdown: &Shutdown) -> Running {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match start(config.clone(), shutdown.clone()).await {
            Err(cluster::app::Error::Store(cluster::store::StoreError::Locked { .. }))
                if tokio::time::Instant::now() < deadline =>
            {
                tokio::task::yield_now().await;
            }
            outcome => return outcome.unwrap(),
        }
    }
}

impl Http {
    pub(crate) fn of(running: &Running, directory: &Path) -> Self {
        Self::at(running.address, directory)
    }

    /// A client of a cluster elsewhere whose directory is at hand.
    pub(crate) fn at(address: SocketAddr, directory: &Path) -> Self {
        let authority = std::fs::read(directory.join("cluster/pki/ca.crt")).unwrap();
        let token = std::fs::read_to_string(directory.join("cluster/token")).unwrap();
        let root = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
        Self { client, base: format!("https://{address}"), token: Some(token) }
    }

    /// The same with another token, or none.
    pub(crate) fn as_somebody(&self, token: Option<&str>) -> Self {
        Self { client: self.client.clone(), base: self.base.clone(), token: token.map(str::to_owned) }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(PATIENCE);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.request(method, path).header("Content-Type", media).body(body);
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        (
            code,
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
        )
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "application/json", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    /// A successful request's answer.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (code, value) = self.send(method, path, media, text).await;
        assert!(code < 300, "{method} {path}: {code} {value}");
        value
    }

    pub(crate) async fn watch(&self, path: &str) -> Lines {
        let response = self.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Lines { response, buffer: Vec::new() }
    }

    /// Waits until the named object of a collection satisfies a condition.
    pub(crate) async fn until(&self, collection: &str, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut lines = self.watch(&format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}")).await;
        loop {
            let event = lines.next().await.unwrap_or_else(|| panic!("the watch of {collection} {name} ended"));
            if event["type"] != "DELETED" && condition(&event["object"]) {
                return event["object"].clone();
            }
        }
    }

    /// Waits until the named object of a collection is gone.
    pub(crate) async fn until_gone(&self, collection: &str, name: &str) {
        let path = format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}");
        let list = self.get(&format!("{collection}?fieldSelector=metadata.name%3D{name}")).await.1;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
        if list["items"].as_array().unwrap().is_empty() {
            return;
        }
        let mut lines = self.watch(&format!("{path}&resourceVersion={revision}")).await;
        while let Some(event) = lines.next().await {
            if event["type"] == "DELETED" {
                return;
            }
        }
        panic!("{collection} {name} does not go");
    }
}

impl Lines {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.buffer.drain(..=end).collect();
                    return Some(serde_json::from_slice(&line).unwrap());
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.buffer.extend_from_slice(&chunk);
            }
        })
        .await
        .expect("no event in time")
    }

    /// Type and name of the next event.
    pub(crate) async fn step(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch ended");
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, value: &str) -> Value {
    serde_json::json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": name }, "data": { "v": value } })
}

/// A pod of one container.
pub(crate) fn pod(name: &str) -> Value {
    serde_json::json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    })
}

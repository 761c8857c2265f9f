//! Starts the binary in a scratch directory on free ports, and asks it questions.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_cresset");

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `probe` gives something.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(GLANCE);
    }
}

/// Whether a program that tests need is there; in CI it must be.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "{program} must be installed in CI");
    found
}

/// A running program that is killed with the test.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// SIGKILL: nothing is flushed.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; gives whether it was a success.
    pub fn wait(&mut self) -> bool {
        eventually("the process to end", || self.child.try_wait().unwrap()).success()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.log.display(), self.log());
        }
    }
}

/// A GET or POST by `curl`-like means, on the blocking side: the answer's status and body.
pub fn get(url: &str) -> Option<(u16, String)> {
    runtime().block_on(async {
        let response = reqwest::get(url).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    })
}

/// Posts a body; gives status and body.
pub fn post(url: &str, content_type: &str, body: &[u8]) -> Option<(u16, String)> {
    runtime().block_on(async {
        let request = reqwest::Client::new().post(url).header("content-type", content_type).body(body.to_vec());
        let response = request.send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    })
}

/// What a server answered.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// A header's value, empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The content type without its parameters; nothing of an answer without a body.
    pub fn media_type(&self) -> &str {
        let whole = if self.bytes.is_empty() { "" } else { self.header("content-type") };
        whole.split(';').next().unwrap_or("")
    }
}

/// Sends any request.
pub fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    runtime().block_on(async {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut request = client.request(method, url).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.ok()?.to_vec();
        Some(Answer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    })
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The `data` of an API answer, or `None` if it is no success.
pub fn api(server: &str, path: &str) -> Option<Value> {
    let (status, body) = get(&format!("http://{server}/api/v1/{path}"))?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    (status == 200 && answer["status"] == "success").then(|| answer["data"].clone())
}

/// The values of an instant query.
pub fn query(server: &str, expr: &str) -> Option<Vec<f64>> {
    let encoded: String = url::form_urlencoded::byte_serialize(expr.as_bytes()).collect();
    let data = api(server, &format!("query?query={encoded}"))?;
    let number = |sample: &Value| sample["value"][1].as_str().and_then(|v| v.parse().ok());
    data["result"].as_array()?.iter().map(number).collect()
}

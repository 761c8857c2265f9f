//! Debian's Prometheus as a child process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const PROGRAM: &str = "/usr/bin/prometheus";

/// Whether Prometheus is here. In CI its absence is a failure.
pub(crate) fn is_installed() -> bool {
    let is_installed = Path::new(PROGRAM).exists();
    assert!(is_installed || std::env::var_os("CI").is_none(), "{PROGRAM} must be installed in CI");
    is_installed
}

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    /// What it logged until it was ready.
    pub(crate) starting: String,
}

impl Prometheus {
    /// Starts it on a data directory and waits until it is ready.
    pub(crate) fn start(data: &Path, scratch: &Path, scrape_itself: bool) -> Self {
        Self::start_with(data, scratch, scrape_itself, "native-histograms")
    }

    /// As [`Prometheus::start`], with other features than native histograms.
    pub(crate) fn start_with(data: &Path, scratch: &Path, scrape_itself: bool, features: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let scrape = format!(
            "scrape_configs: [{{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{address}']}}]}}]\n"
        );
        let config = scratch.join("prometheus.yml");
        std::fs::write(&config, if scrape_itself { &scrape } else { "" }).unwrap();
        let mut child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--enable-feature={features}"))
            .arg("--web.enable-admin-api")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("Server is ready to receive web requests") {
            let length = log.read_line(&mut seen).unwrap();
            assert!(length > 0, "Prometheus stopped: {seen}");
        }
        assert!(!seen.contains("corrupt") && !seen.contains("level=error"), "it complains: {seen}");
        // Its log is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, starting: seen }
    }

    /// The `data` of an answer of its API.
    pub(crate) fn query(&self, expression: &str, time: f64) -> Value {
        let encoded: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
        self.ask("GET", &format!("/api/v1/query?query={encoded}&time={time}"))["result"].take()
    }

    /// Has it write everything it holds as blocks below its data directory, and returns the directory's name.
    pub(crate) fn snapshot(&self) -> String {
        self.ask("POST", "/api/v1/admin/tsdb/snapshot")["name"].as_str().unwrap().to_owned()
    }

    fn ask(&self, method: &str, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut json: Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["status"], "success", "{body}");
        json["data"].take()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

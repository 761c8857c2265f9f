//! Debian's Prometheus as a child process, on blocks made of a page.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::Matrix;

const PROGRAMS: [&str; 2] = ["/usr/bin/prometheus", "/usr/bin/promtool"];

/// Whether both programs are here. In CI their absence is a failure.
pub(crate) fn is_installed() -> bool {
    let are_installed = PROGRAMS.iter().all(|program| Path::new(program).exists());
    assert!(are_installed || std::env::var_os("CI").is_none(), "{PROGRAMS:?} must be installed in CI");
    are_installed
}

/// A folder of its own, removed in the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("promql-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Makes blocks of a page and starts Prometheus on them.
    pub(crate) fn with_data(scratch: &Path, open_metrics: &str) -> Self {
        let [program, tool] = PROGRAMS;
        let (page, data, config) = (scratch.join("page.txt"), scratch.join("data"), scratch.join("prometheus.yml"));
        std::fs::write(&page, open_metrics).unwrap();
        std::fs::write(&config, "").unwrap();
        let made = Command::new(tool)
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&page, &data])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("Server is ready to receive web requests") {
            let length = log.read_line(&mut seen).unwrap();
            assert!(length > 0, "Prometheus stopped: {seen}");
        }
        // Its log is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// The answer to a range query: start, end and step in seconds.
    pub(crate) fn range(&self, query: &str, times: (i64, i64, i64)) -> Result<Matrix, String> {
        let data = self.data(query, times)?;
        Ok(data["result"].as_array().unwrap().iter().map(series).collect())
    }

    /// The most samples it held at a time for that answer.
    pub(crate) fn peak_samples(&self, query: &str, times: (i64, i64, i64)) -> Result<u64, String> {
        Ok(self.data(query, times)?["stats"]["samples"]["peakSamples"].as_u64().unwrap())
    }

    fn data(&self, query: &str, (start, end, step): (i64, i64, i64)) -> Result<Value, String> {
        let encoded: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
        let path = format!("/api/v1/query_range?query={encoded}&start={start}&end={end}&step={step}&stats=true");
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut json: Value = serde_json::from_str(body).unwrap();
        match json["status"].as_str() {
            Some("success") => Ok(json["data"].take()),
            _ => Err(json["error"].as_str().unwrap_or("no error").to_owned()),
        }
    }
}

fn series(json: &Value) -> (BTreeMap<String, String>, BTreeMap<i64, f64>) {
    let labels = json["metric"].as_object().unwrap().iter();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let value = |pair: &Value| {
        let time = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
        (time, pair[1].as_str().unwrap().replace("Inf", "inf").parse().unwrap())
    };
    (labels, json["values"].as_array().unwrap().iter().map(value).collect())
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

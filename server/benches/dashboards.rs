//! Dashboards under load: 64 connections of `wrk` ask mixed queries while 100,000 samples a second come by remote write, of
//! this binary and of the Prometheus of the machine, one after the other. Prints latencies, answers and failures.
//!
//! `cargo bench -p server --bench dashboards`. `BENCH_PEER` names another Prometheus than `/usr/bin/prometheus`,
//! `BENCH_BINARY` another binary than the one just built, `BENCH_SECONDS` how long `wrk` asks (30).
#![allow(missing_docs, clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SERIES: usize = 10_000;
/// With as many requests a second of a sample each: 100,000 samples a second.
const REQUESTS_A_SECOND: u32 = 10;
/// What is pushed before anybody asks.
const WARM_UP: Duration = Duration::from_secs(20);
const CONNECTIONS: u32 = 64;

/// What the panels of a dashboard ask, and its variables.
const PANELS: [(&str, u32); 8] = [
    ("sum(rate(requests_total[1m]))", 5),
    ("sum by (job) (rate(requests_total[1m]))", 5),
    ("topk(5, sum by (instance) (rate(requests_total{job=\"job-3\"}[1m])))", 5),
    ("rate(requests_total{instance=\"host-42:80\"}[1m])", 1),
    ("max by (job) (requests_total)", 5),
    ("count(requests_total{instance=~\"host-1.*\"})", 5),
    ("quantile(0.9, rate(requests_total{job=\"job-7\"}[1m]))", 5),
    ("sum(rate(requests_total{code=~\"5..\"}[1m])) / sum(rate(requests_total[1m]))", 5),
];

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The labels of a series as `prometheus.TimeSeries` has them.
fn labels(index: usize) -> Vec<u8> {
    let code = if index.is_multiple_of(20) { "500" } else { "200" };
    let pairs = [
        ("__name__", "requests_total".to_owned()),
        ("code", code.to_owned()),
        ("instance", format!("host-{}:80", index / 20)),
        ("job", format!("job-{}", index % 20)),
    ];
    let mut out = Vec::new();
    for (name, value) in pairs {
        let mut pair = Vec::new();
        push_bytes(&mut pair, 1, name.as_bytes());
        push_bytes(&mut pair, 2, value.as_bytes());
        push_bytes(&mut out, 1, &pair);
    }
    out
}

/// A request with one sample of each series.
fn request(series: &[Vec<u8>], round: u64, time: u64) -> Vec<u8> {
    let mut plain = Vec::with_capacity(series.len() * 120);
    for (index, labels) in series.iter().enumerate() {
        let mut sample = vec![1 << 3 | 1];
        sample.extend_from_slice(&((round * (1 + index as u64 % 7)) as f64).to_le_bytes());
        sample.push(2 << 3);
        push_varint(&mut sample, time);
        let mut one = labels.clone();
        push_bytes(&mut one, 2, &sample);
        push_bytes(&mut plain, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&plain).expect("a small input")
}

/// Pushes until it is told to end; counts samples taken and requests that were not.
fn pusher(address: &str, told: &Arc<AtomicBool>, taken: &Arc<AtomicU64>, refused: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (address, told) = (address.to_owned(), Arc::clone(told));
    let (taken, refused) = (Arc::clone(taken), Arc::clone(refused));
    std::thread::spawn(move || {
        let series: Vec<Vec<u8>> = (0..SERIES).map(labels).collect();
        let mut stream = TcpStream::connect(&address).expect("the server listens");
        let interval = Duration::from_secs(1) / REQUESTS_A_SECOND;
        let mut due = Instant::now();
        let mut answer = [0; 4096];
        for round in 0.. {
            if told.load(Ordering::Relaxed) {
                return;
            }
            let body = request(&series, round, now_ms());
            let head = format!(
                "POST /api/v1/write HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\n\
                 Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("the server reads");
            let count = stream.read(&mut answer).expect("the server answers");
            let first = String::from_utf8_lossy(&answer[..count]);
            let is_taken = first.starts_with("HTTP/1.1 2");
            if is_taken {
                taken.fetch_add(SERIES as u64, Ordering::Relaxed)
            } else {
                refused.fetch_add(1, Ordering::Relaxed)
            };
            due += interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    })
}

/// Ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn start(program: &Path, is_ours: bool, folder: &Path) -> (Running, String) {
    std::fs::write(folder.join("prometheus.yml"), "").expect("a scratch folder");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    if is_ours {
        command.arg("server");
    }
    command.current_dir(folder).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-remote-write-receiver",
        &format!("--web.listen-address={address}"),
    ]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let running = Running(child);
    while TcpStream::connect(&address).is_err() {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(2));
    (running, address)
}

/// Seconds of processor time that a process has taken.
fn processor_seconds(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The script that `wrk` runs: the panels in turn, over the last minutes at the moment.
fn script() -> String {
    let encoded = |query: &str| query.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let mut text = String::from("local ranges = {}\nlocal others = {}\n");
    for (query, step) in PANELS {
        text.push_str(&format!("table.insert(ranges, \"/api/v1/query_range?step={step}&query={}\")\n", encoded(query)));
        text.push_str(&format!("table.insert(others, \"/api/v1/query?query={}\")\n", encoded(query)));
    }
    for path in
        ["label/job/values?", "labels?match[]=requests_total", "series?match[]=requests_total%7Bjob=%22job-1%22%7D"]
    {
        text.push_str(&format!("table.insert(others, \"/api/v1/{path}\")\n"));
    }
    text.push_str(
        "local i = 0\nrequest = function()\n  i = i + 1\n  if i % 2 == 0 then\n    \
         return wrk.format('GET', others[(i / 2) % #others + 1])\n  end\n  local now = os.time()\n  \
         return wrk.format('GET', ranges[((i - 1) / 2) % #ranges + 1] .. '&start=' .. (now - 120) .. '&end=' .. now)\nend\n",
    );
    text
}

fn main() {
    let ours = std::env::var("BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_cresset").to_owned());
    let peer = std::env::var("BENCH_PEER").unwrap_or_else(|_| "/usr/bin/prometheus".to_owned());
    let seconds = std::env::var("BENCH_SECONDS").unwrap_or_else(|_| "30".to_owned());
    for (name, program, is_ours) in [("prometheus", peer, false), ("cresset", ours, true)] {
        let program = PathBuf::from(program);
        if !program.is_file() {
            println!("{name}: {} is not there", program.display());
            continue;
        }
        let folder = tempfile::tempdir().expect("a scratch folder");
        let lua = folder.path().join("panels.lua");
        std::fs::write(&lua, script()).expect("a scratch folder");
        let (running, address) = start(&program, is_ours, folder.path());
        let (told, taken, refused) = (Arc::default(), Arc::default(), Arc::default());
        let pushing = pusher(&address, &told, &taken, &refused);
        std::thread::sleep(WARM_UP);
        let (before, began, took) = (taken.load(Ordering::Relaxed), Instant::now(), processor_seconds(running.0.id()));
        let output = Command::new("wrk")
            .args(["-t2", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency", "--timeout", "30s", "-s"])
            .arg(&lua)
            .arg(format!("http://{address}"))
            .output()
            .expect("wrk must be installed");
        let rate = (taken.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
        let took = processor_seconds(running.0.id()) - took;
        told.store(true, Ordering::Relaxed);
        pushing.join().expect("the pusher ends");
        println!(
            "--- {name}: {rate:.0} samples/s taken, {} writes refused, {took:.1} s of processor",
            refused.load(Ordering::Relaxed)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = ["50%", "90%", "99%", "requests in", "Requests/sec", "Non-2xx", "Socket errors"];
        text.lines()
            .filter(|line| wanted.iter().any(|part| line.contains(part)))
            .for_each(|line| println!("{}", line.trim()));
    }
}

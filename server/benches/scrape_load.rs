//! Scraping 500 targets of 1,000 series every five seconds over loopback: this binary and the Prometheus of the machine, one
//! after the other, on the same targets. Processor time for a million samples, resident memory for a series, how late
//! scrapes come, and how many never do.
//!
//! `cargo bench -p server --bench scrape_load`. `BENCH_SECONDS` is how long each is watched (60) after its first scrapes,
//! `BENCH_TARGETS` how many targets there are (500), `BENCH_INTERVAL` their interval in seconds (5), `BENCH_PLAIN` makes
//! targets answer uncompressed. `BENCH_BINARY` names another binary than the one just built, `BENCH_PEER` another
//! Prometheus than `/usr/bin/prometheus`; `BENCH_ONLY=ours` or `peer` runs one.
#![allow(missing_docs, clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../../exposition/benches/page/node.rs"]
mod node;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many pages are rendered ahead; a target that is asked more often begins anew.
const PAGES: usize = 48;
/// Requests longer than this are not those of a scraper.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The targets: each is an address of its own, `127.1.x.y`, on one port.
struct Targets {
    port: u16,
    /// When each was asked.
    asked: Vec<Mutex<Vec<Instant>>>,
    /// Whole answers, header and body.
    answers: Vec<Vec<u8>>,
}

impl Targets {
    /// Serves `count` of them on a thread of their own.
    fn start(count: usize) -> Arc<Self> {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("a bound socket").port();
        let answers = (0..PAGES as u64).map(|scrape| answer(&node::node_page(scrape))).collect();
        let asked = std::iter::repeat_with(Mutex::default).take(count).collect();
        let targets = Arc::new(Self { port, asked, answers });
        let served = Arc::clone(&targets);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&served).converse(stream));
                }
            });
        });
        targets
    }

    fn address(&self, index: usize) -> SocketAddr {
        let ip = Ipv4Addr::new(127, 1, (index / 250) as u8, (index % 250 + 1) as u8);
        SocketAddr::new(IpAddr::V4(ip), self.port)
    }

    fn index(&self, address: SocketAddr) -> Option<usize> {
        (0..self.asked.len()).find(|index| self.address(*index) == address)
    }

    /// Answers requests of one connection until it ends.
    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        let Some(index) = stream.local_addr().ok().and_then(|address| self.index(address)) else { return };
        // Small answers must not wait; where that cannot be had they do.
        let _ignored = stream.set_nodelay(true);
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            let arrived = Instant::now();
            request.extend_from_slice(&piece[..read]);
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                let number = {
                    let mut asked = self.asked[index].lock().expect("nobody panics with it");
                    asked.push(arrived);
                    asked.len() - 1
                };
                if stream.write_all(&self.answers[number % PAGES]).await.is_err() {
                    return;
                }
            }
            assert!(request.len() < REQUEST_BYTES_MAX, "a request without end");
        }
    }

    /// What was seen between two moments; forgets it all.
    fn seen(&self, from: Instant, to: Instant, interval: Duration) -> Seen {
        let mut seen = Seen::default();
        for asked in &self.asked {
            let asked = std::mem::take(&mut *asked.lock().expect("nobody panics with it"));
            let last_before = asked.iter().rposition(|at| *at < from).unwrap_or(0);
            let inside: Vec<Instant> = asked.get(last_before..).unwrap_or_default().to_vec();
            seen.scrapes += inside.len().saturating_sub(1);
            for pair in inside.windows(2) {
                let gap = pair[1] - pair[0];
                seen.late_ms.push(gap.abs_diff(interval).as_secs_f64() * 1e3);
                let intervals = (gap.as_secs_f64() / interval.as_secs_f64()).round() as usize;
                seen.missed += intervals.saturating_sub(1);
            }
            // Half an interval of grace at the end: what is due just now is not missed.
            let silent = to.saturating_duration_since(inside.last().copied().unwrap_or(from));
            seen.missed += (silent.as_secs_f64() / interval.as_secs_f64() - 0.5).max(0.0) as usize;
        }
        seen.late_ms.sort_by(f64::total_cmp);
        seen
    }
}

fn answer(page: &str) -> Vec<u8> {
    let (body, encoding) = match std::env::var_os("BENCH_PLAIN") {
        Some(_) => (page.as_bytes().to_vec(), ""),
        None => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(page.as_bytes()).expect("memory takes everything");
            (gzip.finish().expect("memory takes everything"), "Content-Encoding: gzip\r\n")
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{encoding}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// How the targets saw a scraper.
#[derive(Debug, Default)]
struct Seen {
    scrapes: usize,
    missed: usize,
    /// By how much each pair of scrapes of a target was not an interval apart; sorted.
    late_ms: Vec<f64>,
}

impl Seen {
    fn late(&self, share: f64) -> f64 {
        let index = (self.late_ms.len() as f64 * share) as usize;
        self.late_ms.get(index).or(self.late_ms.last()).copied().unwrap_or(f64::NAN)
    }
}

/// A scraper, and its process.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(program: &str, subcommand: Option<&str>, config: &Path, scratch: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let log = scratch.join(format!("{}.log", address.port()));
        let child = Command::new(program)
            .args(subcommand)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.join(address.port().to_string()).display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a scratch directory"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut started = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while started.get("/-/ready").is_none() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            let ended = started.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < deadline, "{program} is not ready: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        started
    }

    /// The body of an answer, if it is a success.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
    }

    /// The sum of a family of its own metrics.
    fn own(&self, name: &str) -> f64 {
        let page = self.get("/metrics").unwrap_or_default();
        let of_family = page.lines().filter(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with([' ', '{'])));
        of_family.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Seconds of the processor that it took so far, of all its threads.
    fn worked(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // After the name, which may hold anything, `utime` and `stime` are the 12th and 13th, in hundredths.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// A size of its status, in bytes.
    fn size(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What came of one program.
struct Outcome {
    seen: Seen,
    samples: f64,
    series: f64,
    cpu: f64,
    resident: f64,
    peak: f64,
}

fn watch(program: &Program, targets: &Targets, interval: Duration, watched: Duration) -> Outcome {
    // Every target was scraped twice: its series are known.
    std::thread::sleep(interval * 3);
    let (from, cpu, samples) =
        (Instant::now(), program.worked(), program.own("prometheus_tsdb_head_samples_appended_total"));
    std::thread::sleep(watched);
    let (to, cpu) = (Instant::now(), program.worked() - cpu);
    let samples = program.own("prometheus_tsdb_head_samples_appended_total") - samples;
    Outcome {
        seen: targets.seen(from, to, interval),
        samples,
        series: program.own("prometheus_tsdb_head_series"),
        cpu,
        resident: program.size("VmRSS"),
        peak: program.size("VmHWM"),
    }
}

impl Outcome {
    /// Its figures, in the order of [`FIGURES`].
    fn figures(&self) -> [f64; 8] {
        [
            self.samples,
            self.seen.scrapes as f64,
            self.cpu / self.samples * 1e6,
            self.resident / self.series,
            self.peak / self.series,
            self.seen.late(0.5),
            self.seen.late(0.99),
            self.seen.missed as f64,
        ]
    }
}

/// What is printed, and what of it has a ratio.
const FIGURES: [(&str, bool); 8] = [
    ("samples appended", false),
    ("scrapes", false),
    ("CPU seconds for a million samples", true),
    ("resident bytes for a series", true),
    ("peak bytes for a series", true),
    ("median lateness, ms", true),
    ("p99 lateness, ms", true),
    ("missed scrapes", false),
];

fn main() {
    // `cargo test` runs benches with this; there is nothing to check.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let interval = Duration::from_secs(setting("BENCH_INTERVAL", 5));
    let watched = Duration::from_secs(setting("BENCH_SECONDS", 60));
    let targets = Targets::start(setting("BENCH_TARGETS", 500));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let config = scratch.path().join("prometheus.yml");
    let addresses: Vec<String> = (0..targets.asked.len()).map(|i| format!("'{}'", targets.address(i))).collect();
    let seconds = interval.as_secs();
    let text = format!(
        "global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s}}\n\
        scrape_configs:\n- job_name: node\n  static_configs: [{{targets: [{}]}}]\n",
        addresses.join(", ")
    );
    std::fs::write(&config, text).expect("a scratch directory");
    let only: String = setting("BENCH_ONLY", String::new());
    let run = |name: &str, program: &str, subcommand: Option<&str>| {
        let is_wanted = (only.is_empty() || only == name) && Path::new(program).exists();
        is_wanted.then(|| {
            let program = Program::start(program, subcommand, &config, scratch.path());
            watch(&program, &targets, interval, watched).figures()
        })
    };
    let ours = run("ours", &setting("BENCH_BINARY", env!("CARGO_BIN_EXE_cresset").to_owned()), Some("server"));
    let peer = run("peer", &setting("BENCH_PEER", "/usr/bin/prometheus".to_owned()), None);
    let shown = |figures: Option<[f64; 8]>, i: usize| figures.map_or(String::new(), |f| format!("{:.3}", f[i]));
    println!("| | ours | peer | ratio |\n|---|---|---|---|");
    for (i, (name, has_ratio)) in FIGURES.iter().enumerate() {
        let ratio = ours.zip(peer).filter(|_| *has_ratio).map_or(String::new(), |(o, p)| format!("{:.3}", o[i] / p[i]));
        println!("| {name} | {} | {} | {ratio} |", shown(ours, i), shown(peer, i));
    }
}

//! Queries over HTTP, of this binary and of the Prometheus of the machine, in turns on copies of the same blocks: medians,
//! the time of the processor, and the ratio of both.
//!
//! `cargo bench -p server --bench queries [-- <part of a name>...]`. `BENCH_PEER` names another Prometheus than
//! `/usr/bin/prometheus`, `BENCH_BINARY` another binary than the one just built, `BENCH_ROUNDS` how often each asks at least.
#![allow(missing_docs, clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::histogram::{IntHistogram, Span};
use model::labels;
use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::NewValue;
use serde_json::Value;
use tsdb::BlockWriter;

const INTERVAL_MS: i64 = 15_000;
/// One block holds everything: neither program has anything to compact.
const BLOCK_MS: i64 = 8 * 3_600_000;
const START_MS: i64 = 55_556 * BLOCK_MS;
/// Seven hours: six to ask for, and one that windows reach back to.
const SAMPLES: i64 = 7 * 240;
const END_MS: i64 = START_MS + (SAMPLES - 1) * INTERVAL_MS;
/// No query is repeated for longer than that, once it ran as often as it must.
const PATIENCE: Duration = Duration::from_secs(4);
const ROUNDS_MAX: usize = 40;

/// What is asked for.
#[derive(Clone, Copy)]
enum Ask {
    /// At the end of the data.
    Once(&'static str),
    /// Over so many minutes before it, every so many seconds.
    Range(&'static str, i64, i64),
    /// A path of the API.
    Path(&'static str),
}

/// Class, name, and what is asked.
const QUERIES: &[(&str, &str, Ask)] = &[
    ("instant", "selector, 10,000 series", Ask::Once("m")),
    ("instant", "regex over 100,000 series", Ask::Once("count(wide{instance=~\"host-.*7|host-5.+\"})")),
    ("instant", "rate of 10,000 series", Ask::Once("sum by (x) (rate(m[5m]))")),
    ("aggregate", "sum by (rate), 1,000 x 6 h", Ask::Range("sum by (x) (rate(m{slice=\"0\"}[5m]))", 360, 15)),
    ("aggregate", "sum by (rate), 10,000 x 6 h", Ask::Range("sum by (x) (rate(m[5m]))", 360, 15)),
    ("aggregate", "native histogram rate", Ask::Range("sum(rate(native[5m]))", 60, 15)),
    ("long range", "rate over 1 h windows", Ask::Range("rate(m{slice=\"0\"}[1h])", 360, 15)),
    ("long range", "avg_over_time over 1 h windows", Ask::Range("avg_over_time(gauge[1h])", 360, 15)),
    ("long range", "max_over_time over 1 h windows", Ask::Range("max_over_time(gauge[1h])", 360, 15)),
    ("long range", "stddev_over_time over 1 h windows", Ask::Range("stddev_over_time(gauge[1h])", 360, 15)),
    ("long range", "last_over_time over 1 h windows", Ask::Range("sum(last_over_time(gauge[1h]))", 360, 15)),
    (
        "long range",
        "quantile_over_time over 1 h windows",
        Ask::Range("sum(quantile_over_time(0.9, gauge[1h]))", 360, 60),
    ),
    ("complex", "histogram_quantile, 1,000 x 12", Ask::Range("histogram_quantile(0.9, rate(h_bucket[5m]))", 60, 15)),
    ("complex", "topk", Ask::Range("topk(5, rate(m{slice=\"0\"}[5m]))", 360, 15)),
    ("complex", "join with group_left", Ask::Range("m{slice=\"0\"} * on (x) group_left (team) info", 360, 15)),
    ("complex", "subquery", Ask::Range("max_over_time(rate(m{slice=\"0\"}[5m])[1h:1m])", 60, 15)),
    ("complex", "ratio of sums", Ask::Range("sum by (x) (rate(m[5m])) / on (x) sum by (x) (gauge) > 0.001", 60, 15)),
    ("label API", "values of a label", Ask::Path("/api/v1/label/instance/values?")),
    (
        "label API",
        "values where something matches",
        Ask::Path("/api/v1/label/instance/values?match[]=m%7Bx=%221%22%7D&"),
    ),
    ("label API", "names of labels", Ask::Path("/api/v1/labels?match[]=m%7Bslice=~%22.%22%7D&")),
    ("label API", "series", Ask::Path("/api/v1/series?match[]=m%7Bx=%223%22%7D&")),
];

impl Ask {
    fn path(self) -> String {
        let encoded = |query: &str| query.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
        let (start, end) = (START_MS / 1000, END_MS / 1000);
        match self {
            Ask::Once(query) => format!("/api/v1/query?time={end}&query={}", encoded(query)),
            Ask::Range(query, minutes, step) => {
                let start = end - minutes * 60;
                format!("/api/v1/query_range?start={start}&end={end}&step={step}&query={}", encoded(query))
            }
            Ask::Path(path) => format!("{path}start={start}&end={end}"),
        }
    }
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Writes the samples from `first` on, and ends the series.
fn series(writer: &mut BlockWriter, labels: &Labels, first: i64, mut value: impl FnMut(i64) -> f64) {
    for i in first..SAMPLES {
        writer.append(Timestamp(START_MS + i * INTERVAL_MS), value(i).into());
    }
    writer.end_series(labels).expect("the disk works");
}

fn write_data(directory: &Path) {
    let mut writer = BlockWriter::create(directory, BLOCK_MS, Timestamp(END_MS)).expect("a scratch directory");
    let mut random = Random(1);
    for i in 0..10_000_u64 {
        let labels = labels! {
            "__name__" => "m", "instance" => &format!("host-{i}:9100"), "job" => "api", "env" => "production",
            "x" => &(i % 10).to_string(), "slice" => &(i / 1000).to_string(),
        };
        let mut level = 0.0;
        series(&mut writer, &labels, 0, |_| {
            level = if random.below(5000) == 0 { 0.0 } else { level + random.below(50 + i % 50) as f64 };
            level
        });
    }
    for i in 0..1_000_u64 {
        let labels =
            labels! { "__name__" => "gauge", "instance" => &format!("host-{i}:9100"), "x" => &(i % 10).to_string() };
        let mut level = random.below(1000) as f64;
        series(&mut writer, &labels, 0, |_| {
            level += random.below(2001) as f64 / 100.0 - 10.0;
            level
        });
    }
    for x in 0..10 {
        let labels = labels! { "__name__" => "info", "x" => &x.to_string(), "team" => &format!("team-{x}") };
        series(&mut writer, &labels, 0, |_| 1.0);
    }
    for i in 0..100_000 {
        let labels = labels! { "__name__" => "wide", "instance" => &format!("host-{i}"), "job" => "wide" };
        series(&mut writer, &labels, SAMPLES - 5, |n| n as f64);
    }
    write_histograms(&mut writer, &mut random);
    writer.finish().expect("the disk works");
}

/// Classic ones of 12 buckets, and native ones of 40.
fn write_histograms(writer: &mut BlockWriter, random: &mut Random) {
    let first = SAMPLES - 300;
    let bounds = ["0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "25.0", "50.0", "100.0", "250.0", "+Inf"];
    for i in 0..1_000_u64 {
        for (n, le) in bounds.iter().enumerate() {
            let labels = labels! { "__name__" => "h_bucket", "instance" => &format!("host-{i}:9100"), "le" => le };
            let rise = (n as u64 + 1) * (i % 5 + 1);
            series(writer, &labels, first, |at| (at as u64 * rise) as f64);
        }
    }
    for i in 0..100_u64 {
        let mut buckets = vec![0_i64; 40];
        for at in first..SAMPLES {
            buckets.iter_mut().for_each(|bucket| *bucket += random.below(10) as i64);
            let mut before = 0;
            let deltas = buckets.iter().map(|bucket| bucket - std::mem::replace(&mut before, *bucket)).collect();
            let histogram = IntHistogram {
                schema: 3,
                count: buckets.iter().sum::<i64>() as u64,
                sum: at as f64 * 7.5,
                positive_spans: vec![Span { offset: -10, length: 40 }],
                positive: deltas,
                ..IntHistogram::default()
            };
            writer.append(Timestamp(START_MS + at * INTERVAL_MS), NewValue::IntHistogram(&histogram));
        }
        let labels = labels! { "__name__" => "native", "instance" => &format!("host-{i}:9100") };
        writer.end_series(&labels).expect("the disk works");
    }
}

/// A program that answers, and its process.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(program: &str, subcommand: Option<&str>, data: &Path, scratch: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let (config, log) = (scratch.join("empty.yml"), scratch.join(format!("{port}.log")));
        std::fs::write(&config, "").expect("a scratch directory");
        let log_file = std::fs::File::create(&log).expect("a scratch directory");
        let child = Command::new(program)
            .args(subcommand)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg("--enable-feature=native-histograms")
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut started = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !started.is_ready() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            let ended = started.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < deadline, "{program} is not ready: {}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        started
    }

    fn is_ready(&self) -> bool {
        TcpStream::connect(&self.address).is_ok() && self.get("/-/ready").is_some()
    }

    /// The body of an answer, if it is a success.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        answer.starts_with(b"HTTP/1.0 200").then(|| answer.split_off(head))
    }

    /// Asks once: how long it took, of which the processor worked so long.
    fn timed(&self, path: &str) -> Option<Taken> {
        let (worked, started) = (self.worked(), Instant::now());
        let body = self.get(path)?;
        Some(Taken { wall: started.elapsed().as_secs_f64(), cpu: self.worked() - worked, bytes: body.len() })
    }

    /// Seconds of the processor that it took so far.
    fn worked(&self) -> f64 {
        // Of all its threads: those alive hold nanoseconds, which `stat` would round to hundredths.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let nanos = tasks.filter_map(|task| {
            let line = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            line.split(' ').next()?.parse::<u64>().ok()
        });
        nanos.sum::<u64>() as f64 / 1e9
    }

    /// Series and points of an answer, and the samples looked at, if it counts them.
    fn shape(&self, path: &str) -> (usize, usize, u64) {
        let body = self.get(&format!("{path}&stats=1")).unwrap_or_default();
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let data = &answer["data"];
        let samples = data["stats"]["samples"]["totalQueryableSamples"].as_u64().unwrap_or(0);
        let list = data["result"].as_array().or(data.as_array()).cloned().unwrap_or_default();
        let points = |series: &Value| {
            ["values", "histograms"]
                .iter()
                .filter_map(|kind| series[kind].as_array())
                .map(Vec::len)
                .sum::<usize>()
                .max(1)
        };
        (list.len(), list.iter().map(points).sum(), samples)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What one answer took, in seconds.
#[derive(Clone, Copy, Default)]
struct Taken {
    wall: f64,
    cpu: f64,
    bytes: usize,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn medians(taken: &[Taken]) -> Taken {
    let of = |part: fn(&Taken) -> f64| median(taken.iter().map(part).collect());
    Taken { wall: of(|t| t.wall), cpu: of(|t| t.cpu), bytes: taken.last().map_or(0, |t| t.bytes) }
}

/// Both ask in turns, so that what else the machine does meets both.
fn measure(ours: &Program, peer: Option<&Program>, path: &str, rounds_min: usize) -> (Taken, Option<Taken>) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    // The first round fills caches, and does not count.
    let mut started = Instant::now();
    for round in 0..=ROUNDS_MAX {
        own.extend(ours.timed(path));
        others.extend(peer.and_then(|peer| peer.timed(path)));
        if round == 0 {
            own.clear();
            others.clear();
            started = Instant::now();
        } else if round >= rounds_min && started.elapsed() > PATIENCE {
            break;
        }
    }
    (medians(&own), (!others.is_empty()).then(|| medians(&others)))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a scratch directory");
    for entry in std::fs::read_dir(from).expect("what was written").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("the disk works");
        }
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let rounds = setting("BENCH_ROUNDS", "3").parse().unwrap_or(3);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data: PathBuf = scratch.path().join("ours");
    write_data(&data);
    let peer_program = setting("BENCH_PEER", "/usr/bin/prometheus");
    let peer = Path::new(&peer_program).exists().then(|| {
        let copied = scratch.path().join("peer");
        copy(&data, &copied);
        Program::start(&peer_program, None, &copied, scratch.path())
    });
    if peer.is_none() {
        println!("{peer_program} is not here: no ratios");
    }
    let binary = setting("BENCH_BINARY", env!("CARGO_BIN_EXE_cresset"));
    let ours = Program::start(&binary, Some("server"), &data, scratch.path());
    println!(
        "| class | query | ours | CPU | M samples/s | peer | CPU | time ratio | CPU ratio |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut ratios: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (class, name, ask) in QUERIES {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part) || class.contains(part)) {
            continue;
        }
        let path = ask.path();
        let (series, points, samples) = ours.shape(&path);
        assert!(series > 0, "{name}: nothing answers {path}");
        let (own, other) = measure(&ours, peer.as_ref(), &path, rounds);
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        let speed = if samples == 0 { String::new() } else { format!("{:.1}", samples as f64 / own.wall / 1e6) };
        let (mut shown, mut note) = (String::from(" | | | "), String::new());
        if let (Some(other), Some(peer)) = (other, &peer) {
            let (wall, cpu) = (own.wall / other.wall, own.cpu / other.cpu);
            shown = format!("{} | {} | {wall:.2} | {cpu:.2}", ms(other.wall), ms(other.cpu));
            ratios.entry(class).or_default().push((wall, cpu));
            let theirs = peer.shape(&path);
            if (theirs.0, theirs.1) != (series, points) {
                note = format!(
                    " answers differ: {series} series with {points} points, theirs {} with {}",
                    theirs.0, theirs.1
                );
            }
        }
        println!("| {class} | {name} | {} | {} | {speed} | {shown} |{note}", ms(own.wall), ms(own.cpu));
    }
    report(&ratios);
}

/// The geometric mean of each class and of all.
fn report(ratios: &BTreeMap<&str, Vec<(f64, f64)>>) {
    let mean = |values: &[f64]| (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp();
    let show = |name: &str, pairs: &[(f64, f64)]| {
        let (wall, cpu): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        println!("{name}: {:.2} of the time, {:.2} of the CPU time", mean(&wall), mean(&cpu));
    };
    ratios.iter().for_each(|(class, pairs)| show(class, pairs));
    let all: Vec<(f64, f64)> = ratios.values().flatten().copied().collect();
    if !all.is_empty() {
        show("all", &all);
    }
}

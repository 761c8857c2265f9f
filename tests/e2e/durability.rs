//! The real binary killed again and again while it takes samples: what it acknowledged stays, once.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::Value;

use super::harness::{BINARY, Process, eventually, free_port, get, runtime};

/// How often the server is killed.
const KILLS: u64 = 30;
/// Series of a batch.
const SERIES: usize = 20;
/// Between batches, in sample time: blocks fill quickly.
const STEP_MS: i64 = 2000;
/// Time of the first batch.
const FIRST_MS: i64 = 1_700_000_000_000;
/// The longest life of a server.
const LIFE_MAX: Duration = Duration::from_millis(1200);

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Batch number `batch`: one sample of each series, its number the value.
fn batch(batch: i64) -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = (0..SERIES).map(|i| TimeSeries {
        labels: vec![label("__name__", "m"), label("series", &i.to_string())],
        samples: vec![Sample { value: batch as f64, timestamp: FIRST_MS + batch * STEP_MS }],
    });
    let request = WriteRequest { timeseries: series.collect() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

/// Writes batches from `next` on until one is not acknowledged; gives the number of that one.
fn write_until_refused(address: &str, mut next: i64) -> i64 {
    let url = format!("http://{address}/api/v1/write");
    runtime().block_on(async {
        let client = reqwest::Client::new();
        loop {
            let request = client.post(&url).header("content-encoding", "snappy").body(batch(next));
            match request.send().await {
                Ok(response) if response.status().is_success() => next += 1,
                // One that was taken when its answer was lost comes back as a duplicate of itself, which is fine.
                Ok(response) => panic!("batch {next}: {}: {}", response.status(), response.text().await.unwrap()),
                Err(_) => return next,
            }
        }
    })
}

/// Values by time of every series.
fn stored(address: &str, batches: i64) -> Vec<BTreeMap<i64, f64>> {
    let at = (FIRST_MS + (batches + 1) * STEP_MS) / 1000;
    let range = (batches + 10) * STEP_MS / 1000;
    let url = format!("http://{address}/api/v1/query?query=m%5B{range}s%5D&time={at}");
    let (status, body) = get(&url).unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let series = answer["data"]["result"].as_array().unwrap().iter().map(|series| {
        let mut samples = BTreeMap::new();
        for point in series["values"].as_array().unwrap() {
            let (time, value) = (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse().unwrap());
            let earlier = samples.insert((time * 1000.0).round() as i64, value);
            assert_eq!(earlier, None, "two samples at {time}");
        }
        samples
    });
    series.collect()
}

#[test]
fn kills_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    let log = folder.path().join("log");
    // Different in each run: what matters is that no moment is left out over time.
    let seed = u64::from(std::process::id());
    let mut blocks = 0;
    let mut next = 0;
    for kill in 0..KILLS {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(BINARY);
        command.current_dir(folder.path()).args(["server", "--web.enable-remote-write-receiver"]);
        command.args(["--web.listen-address", &address, "--storage.tsdb.min-block-duration=1m"]);
        command.args(["--storage.tsdb.retention.time=10y", "--storage.tsdb.wal-segment-size=1MB"]);
        let mut process = Process::start(&mut command, &log);
        let ready = format!("http://{address}/-/ready");
        eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200));
        let series = stored(&address, next);
        assert!(next == 0 || series.len() == SERIES, "{} series after {kill} kills", series.len());
        for samples in &series {
            // The batch that was cut off may be there or not, but wholly: the same in each series.
            assert_eq!(samples.len(), series[0].len(), "a batch was torn");
            assert!((next..=next + 1).contains(&(samples.len() as i64)), "{} of {next}", samples.len());
            let wanted = (0..samples.len() as i64).map(|batch| (FIRST_MS + batch * STEP_MS, batch as f64));
            assert!(samples.iter().map(|(time, value)| (*time, *value)).eq(wanted), "after {kill} kills");
        }
        let entries = std::fs::read_dir(folder.path().join("data")).unwrap();
        blocks = entries.filter(|entry| entry.as_ref().unwrap().path().join("meta.json").exists()).count();
        let life =
            LIFE_MAX * (1 + (seed.wrapping_mul(6364136223846793005).rotate_left(kill as u32) >> 40) as u32 % 100) / 100;
        let until = Instant::now() + life;
        let writer = std::thread::spawn({
            let address = address.clone();
            move || write_until_refused(&address, next)
        });
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        process.kill();
        next = writer.join().unwrap();
    }
    assert!(next > 100 && blocks > 0, "{next} batches and {blocks} blocks are too few to show anything");
}

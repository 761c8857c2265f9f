//! Data on its way between programs: remote write and remote read in both directions, with Debian's Prometheus and
//! vmagent, OTLP, and the protection of the web port.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::harness::{BINARY, Process, api, eventually, free_port, get, has, post, query, runtime};

/// A server of ours in a folder that outlives it.
fn start(folder: &Path, address: &str, config: &str, flags: &[&str]) -> Process {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new(BINARY);
    command.current_dir(folder).args(["server", "--web.listen-address", address]).args(flags);
    let process = Process::start(&mut command, &folder.join("log"));
    let ready = format!("http://{address}/-/ready");
    eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200 || *status == 401));
    process
}

fn prometheus(folder: &Path, address: &str, config: &str, flags: &[&str]) -> Process {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.current_dir(folder).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={address}"),
    ]);
    Process::start(command.args(flags), &folder.join("log"))
}

fn address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Times and values of the one series that `selector` finds in the last minutes.
fn samples(server: &str, selector: &str) -> Option<Vec<(String, String)>> {
    let encoded: String = url::form_urlencoded::byte_serialize(format!("{selector}[10m]").as_bytes()).collect();
    let data = api(server, &format!("query?query={encoded}"))?;
    let values = data["result"].as_array()?.first()?["values"].as_array()?.clone();
    Some(values.iter().map(|pair| (pair[0].to_string(), pair[1].to_string())).collect())
}

/// Whether the receiver has every sample that the sender has at this moment.
fn has_all(sender: &str, receiver: &str, selector: &str) -> Option<()> {
    let (sent, received) = (samples(sender, selector)?, samples(receiver, selector)?);
    (sent.len() > 3 && sent.iter().all(|sample| received.contains(sample))).then_some(())
}

#[test]
fn nothing_is_lost_while_receivers_are_away() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, second, debian) = (address(), address(), address());
    let config = format!(
        "scrape_configs:
- job_name: own
  scrape_interval: 1s
  static_configs: [{{targets: ['{ours}']}}]
remote_write:
- url: http://{debian}/api/v1/write
  name: debian
  queue_config: {{batch_send_deadline: 1s, max_samples_per_send: 100, capacity: 100, max_shards: 3}}
- url: http://{second}/api/v1/write
  name: second
  protobuf_message: io.prometheus.write.v2.Request
  write_relabel_configs: [{{target_label: passed, replacement: on}}]
  queue_config: {{batch_send_deadline: 1s}}
"
    );
    let mut sender = start(&folder.path().join("ours"), &ours, &config, &[]);
    eventually("samples to send", || query(&ours, "count_over_time(up[10m])").filter(|v| v.first() >= Some(&4.0)));
    // Nobody has listened so far. The sender ends, with what it could not send on disk, and starts again.
    sender.signal("TERM");
    assert!(sender.wait(), "{}", sender.log());
    let mut sender = start(&folder.path().join("ours"), &ours, &config, &[]);
    let receiver = start(&folder.path().join("second"), &second, "", &["--web.enable-remote-write-receiver"]);
    eventually("all samples at the second", || has_all(&ours, &second, "up"));
    assert_eq!(query(&second, "count(up{passed=\"on\"})"), Some(vec![1.0]), "relabelled on the way");
    // An end without warning costs nothing either.
    sender.kill();
    let _sender = start(&folder.path().join("ours"), &ours, &config, &[]);
    eventually("all samples at the second, again", || has_all(&ours, &second, "up"));
    let sent = "sum(prometheus_remote_storage_samples_total{remote_name=\"second\"}) > 0";
    eventually("its own counts", || query(&ours, sent).filter(|v| !v.is_empty()));
    drop(receiver);
    if has("prometheus") {
        let flags = ["--web.enable-remote-write-receiver"];
        let _debian = prometheus(&folder.path().join("debian"), &debian, "", &flags);
        eventually("all samples at Debian's Prometheus", || has_all(&ours, &debian, "up"));
        let names = "label/__name__/values";
        eventually("the same names", || (api(&ours, names)? == api(&debian, names)?).then_some(()));
    }
}

#[test]
fn prometheus_reads_from_here() {
    if !has("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, debian) = (address(), address());
    let config = format!(
        "global: {{external_labels: {{cluster: here}}}}
scrape_configs:
- job_name: own
  scrape_interval: 1s
  static_configs: [{{targets: ['{ours}']}}]
"
    );
    let _ours = start(&folder.path().join("ours"), &ours, &config, &[]);
    eventually("samples", || query(&ours, "count_over_time(up[10m])").filter(|v| v.first() >= Some(&4.0)));
    let reader = format!("remote_read: [{{url: 'http://{ours}/api/v1/read', read_recent: true}}]\n");
    let _debian = prometheus(&folder.path().join("debian"), &debian, &reader, &[]);
    // Instant queries read samples, ranges read chunks; both come with our external label.
    eventually("samples through Prometheus", || {
        let up = samples(&debian, "up{cluster=\"here\"}")?;
        has_all(&debian, &ours, "up").filter(|()| up.len() > 3)
    });
    let range = "query_range?query=count({cluster=%22here%22})&start=0&end=4000000000&step=2000000000";
    assert!(api(&debian, range).is_some());
}

#[test]
fn vmagent_writes_to_us() {
    if !has("vmagent") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, agent) = (address(), address());
    let _ours = start(&folder.path().join("ours"), &ours, "", &["--web.enable-remote-write-receiver"]);
    let scrape = format!(
        "scrape_configs: [{{job_name: agent, scrape_interval: 1s, static_configs: [{{targets: ['{agent}']}}]}}]\n"
    );
    std::fs::write(folder.path().join("scrape.yml"), scrape).unwrap();
    let mut command = Command::new("vmagent");
    command.current_dir(folder.path()).args([
        "-promscrape.config=scrape.yml",
        "-remoteWrite.flushInterval=1s",
        &format!("-remoteWrite.url=http://{ours}/api/v1/write"),
        &format!("-httpListenAddr={agent}"),
    ]);
    let _agent = Process::start(&mut command, &folder.path().join("agent.log"));
    eventually("vmagent's samples", || query(&ours, "up{job=\"agent\"}").filter(|v| *v == [1.0]));
}

/// A request of one gauge, one counter, a histogram of either kind, and a summary.
fn otlp_request(now_ns: u64) -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let point = |more: Value| {
        let mut point = json!({
            "startTimeUnixNano": (now_ns - 60_000_000_000).to_string(), "timeUnixNano": now_ns.to_string(),
            "attributes": [attribute("http.method", "GET")],
        });
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([point])
    };
    let cumulative = 2;
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            attribute("service.name", "shop"), attribute("service.namespace", "eu"),
            attribute("service.instance.id", "7"), attribute("k8s.pod.name", "shop-7"),
        ]},
        "scopeMetrics": [{"scope": {"name": "lib", "version": "1"}, "metrics": [
            {"name": "queue.length", "unit": "1", "gauge": {"dataPoints": point(json!({"asDouble": 0.5}))}},
            {"name": "http.requests", "unit": "{request}", "sum": {
                "aggregationTemporality": cumulative, "isMonotonic": true,
                "dataPoints": point(json!({"asInt": "42", "exemplars": [{
                    "timeUnixNano": now_ns.to_string(), "asDouble": 1.0, "traceId": "0102030405060708090a0b0c0d0e0f10",
                }]})),
            }},
            {"name": "http.duration", "unit": "s", "histogram": {
                "aggregationTemporality": cumulative,
                "dataPoints": point(json!({
                    "count": "3", "sum": 1.5, "explicitBounds": [0.5, 1.0], "bucketCounts": ["1", "1", "1"],
                })),
            }},
            {"name": "http.size", "unit": "By", "exponentialHistogram": {
                "aggregationTemporality": cumulative,
                "dataPoints": point(json!({
                    "count": "3", "sum": 12.0, "scale": 0, "zeroCount": "1",
                    "positive": {"offset": 1, "bucketCounts": ["1", "1"]},
                })),
            }},
            {"name": "gc.pause", "unit": "ms", "summary": {"dataPoints": point(json!({
                "count": "2", "sum": 3.0, "quantileValues": [{"quantile": 0.5, "value": 1.0}],
            }))}},
        ]}],
    }]})
}

#[test]
fn otlp_becomes_series() {
    let folder = tempfile::tempdir().unwrap();
    let ours = address();
    let config = "otlp: {promote_resource_attributes: [k8s.pod.name]}\n";
    let flags = ["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage,otlp-deltatocumulative"];
    let _ours = start(&folder.path().join("ours"), &ours, config, &flags);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ns = u64::try_from(now.as_nanos()).unwrap();
    let url = format!("http://{ours}/api/v1/otlp/v1/metrics");
    let send = |request: &Value| post(&url, "application/json", request.to_string().as_bytes()).unwrap();
    assert_eq!(send(&otlp_request(now_ns)), (200, String::new()));
    let own = "{job=\"eu/shop\", instance=\"7\", k8s_pod_name=\"shop-7\", http_method=\"GET\"}";
    let value = |expr: &str| query(&ours, expr).unwrap();
    assert_eq!(value(&format!("queue_length_ratio{own}")), [0.5]);
    assert_eq!(value(&format!("http_requests_total{own}")), [42.0]);
    assert_eq!(value(&format!("http_duration_seconds_bucket{{le=\"1\"}} and on(job) http_requests_total{own}")), [2.0]);
    assert_eq!(value("histogram_count(http_size_bytes)"), [3.0]);
    assert_eq!(value("histogram_quantile(1, http_size_bytes)"), [8.0]);
    assert_eq!(value("gc_pause_milliseconds{quantile=\"0.5\"}"), [1.0]);
    assert_eq!(value("target_info{job=\"eu/shop\", instance=\"7\"}"), [1.0]);
    let path = "query_exemplars?query=http_requests_total&start=0&end=9999999999";
    let exemplars = api(&ours, path).unwrap();
    assert_eq!(exemplars[0]["exemplars"][0]["labels"]["trace_id"], "0102030405060708090a0b0c0d0e0f10", "{exemplars}");
    // Deltas add up.
    for step in 1..=3_u64 {
        let time = now_ns - 5_000_000_000 + step * 1_000_000_000;
        let point = json!([{"startTimeUnixNano": (time - 1_000_000_000).to_string(), "timeUnixNano": time.to_string(), "asInt": "5"}]);
        let sum = json!({"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": point});
        let metrics = json!([{"name": "delta", "sum": sum}]);
        let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
        assert_eq!(send(&request).0, 200);
    }
    assert_eq!(value("delta_total"), [15.0]);
    // What cannot be read is refused with a reason.
    assert_eq!(post(&url, "text/plain", b"x").unwrap().0, 400);
    assert_eq!(post(&url, "application/json", b"{").unwrap().0, 400);
    assert_eq!(post(&url, "application/x-protobuf", b"\xff").unwrap().0, 400);
}

#[test]
fn the_web_port_is_protected_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let ours = address();
    let web = folder.path().join("web.yml");
    let hash = bcrypt::hash("test", 4).unwrap();
    let users = format!("basic_auth_users: {{ann: '{hash}'}}\n");
    std::fs::write(&web, format!("{users}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n")).unwrap();
    let flag = format!("--web.config.file={}", web.display());
    let _ours = start(&folder.path().join("ours"), &ours, "", &[&flag]);
    let ask = |password: Option<&str>| {
        runtime().block_on(async {
            let request = reqwest::Client::new().get(format!("http://{ours}/api/v1/status/buildinfo"));
            let request = match password {
                Some(password) => request.basic_auth("ann", Some(password)),
                None => request,
            };
            let response = request.send().await.unwrap();
            let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            (response.status().as_u16(), header("www-authenticate"), header("x-frame-options"))
        })
    };
    let deny = Some("deny".to_owned());
    assert_eq!(ask(None), (401, Some("Basic".to_owned()), deny.clone()));
    assert_eq!(ask(Some("wrong")).0, 401);
    assert_eq!(ask(Some("test")), (200, None, deny));
    let said = std::fs::read_to_string(folder.path().join("ours/log")).unwrap();
    assert!(!said.contains(&hash), "no hash in the log");
    // A change counts without a restart; one that is wrong does not.
    std::fs::write(&web, "basic_auth_users: {ann: nonsense}\n").unwrap();
    eventually("the refusal in the log", || {
        assert_eq!(ask(Some("test")).0, 200);
        std::fs::read_to_string(folder.path().join("ours/log"))
            .unwrap()
            .contains("expected a bcrypt hash")
            .then_some(())
    });
    std::fs::write(&web, "{}\n").unwrap();
    eventually("the open door", || (ask(None).0 == 200).then_some(()));
}

#[test]
fn an_agent_sends_on_and_answers_no_queries() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, receiver) = (address(), address());
    let _receiver = start(&folder.path().join("receiver"), &receiver, "", &["--web.enable-remote-write-receiver"]);
    let config = format!(
        "scrape_configs:\n- job_name: own\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{agent}']}}]\n\
         remote_write: [{{url: 'http://{receiver}/api/v1/write'}}]\n"
    );
    let own = folder.path().join("agent");
    let _agent = start(&own, &agent, &config, &["--agent"]);
    eventually("samples at the receiver", || query(&receiver, "up{job=\"own\"}").filter(|values| *values == [1.0]));
    assert!(own.join("data-agent/wal").is_dir());
    assert_eq!(get(&format!("http://{agent}/-/healthy")).unwrap().1, "Prometheus Agent is Healthy.\n");
    for path in ["query?query=up", "series?match[]=up", "rules", "status/tsdb", "label/job/values"] {
        let (status, body) = get(&format!("http://{agent}/api/v1/{path}")).unwrap();
        assert!(status == 422 && body.contains("unavailable with Prometheus Agent"), "{path}: {status} {body}");
    }
    assert_eq!(api(&agent, "targets").unwrap()["activeTargets"][0]["health"], "up");
    let ended = |folder: &str, config: &str, flags: &[&str]| {
        let folder = own.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new(BINARY);
        command.current_dir(&folder).args(["server", "--web.listen-address", &address()]).args(flags);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, told) = ended("flags", "", &["--agent", "--storage.tsdb.path=x", "--query.timeout=1m"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("[\"--query.timeout\", \"--storage.tsdb.path\"]"), "{told}");
    let (code, told) = ended("rules", "rule_files: [r.yml]\n", &["--agent"]);
    assert!(code == Some(1) && told.contains("field rule_files is not allowed in agent mode"), "{code:?} {told}");
}

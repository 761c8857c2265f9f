//! The server alone, with the tools of the programs it replaces, and with bad input.

use std::process::Command;

use super::harness::{BINARY, Process, api, eventually, free_port, get, has, post, query};

struct Server {
    // Ends before its folder goes.
    process: Process,
    folder: tempfile::TempDir,
    address: String,
}

fn server(config: &str, flags: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(BINARY);
    command
        .current_dir(folder.path())
        .args(["server", "--config.file", "prometheus.yml", "--web.listen-address", &address])
        .args(flags);
    let process = Process::start(&mut command, &folder.path().join("log"));
    let ready = format!("http://{address}/-/ready");
    eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200));
    Server { process, folder, address }
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Scrapes itself once a second.
fn own_config(address: &str) -> String {
    format!("scrape_configs:\n- job_name: own\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{address}']}}]\n")
}

#[test]
fn a_reload_is_all_or_nothing() {
    let flags = ["--web.enable-lifecycle", "--config.auto-reload", "--config.auto-reload-interval=200ms"];
    let server = server("global: {scrape_interval: 1s}\n", &flags);
    let path = server.folder.path().join("prometheus.yml");
    let reload = format!("http://{}/-/reload", server.address);
    std::fs::write(&path, "scrape_configs:\n- job_name: x\n  scrape_intervall: 1s\n").unwrap();
    let (status, body) = post(&reload, "text/plain", b"").unwrap();
    assert_eq!(status, 500);
    assert!(body.contains("prometheus.yml:3:") && body.contains("scrape_intervall"), "{body}");
    let shown = api(&server.address, "status/config").unwrap()["yaml"].as_str().unwrap().to_owned();
    assert!(shown.contains("scrape_interval: 1s"), "the old one stays: {shown}");
    let rules = "  relabel_configs:\n  - {source_labels: [a], target_label: b}\n  - {source_labels: [b], regex: '1', action: drop}\n";
    std::fs::write(&path, own_config(&server.address) + rules).unwrap();
    // The file's change alone brings a reload.
    eventually("the new job's samples", || query(&server.address, "up{job=\"own\"}").filter(|v| *v == [1.0]));
    let labels: String = url::form_urlencoded::byte_serialize(br#"{"a":"1"}"#).collect();
    let steps = api(&server.address, &format!("targets/relabel_steps?scrapePool=own&labels={labels}")).unwrap();
    assert_eq!(steps["steps"][0]["output"], serde_json::json!({"a": "1", "b": "1"}), "{steps}");
    assert_eq!((&steps["steps"][1]["keep"], &steps["steps"][1]["output"]), (&false.into(), &serde_json::json!({})));
    let shown = api(&server.address, "scrape_pools/config?scrapePool=own").unwrap();
    assert!(shown["yaml"].as_str().unwrap().contains("job_name: own"), "{shown}");
    std::fs::write(&path, "global: {scrape_interval: 7s}\n").unwrap();
    server.process.signal("HUP");
    let is_shown = |yaml: &serde_json::Value| yaml["yaml"].as_str().is_some_and(|text| text.contains("7s"));
    eventually("the last configuration", || api(&server.address, "status/config").filter(is_shown));
}

#[test]
fn the_api_answers_as_upstream_does() {
    let server = server("", &[]);
    let ask = |path: &str| get(&format!("http://{}{path}", server.address)).unwrap();
    assert_eq!(ask("/-/healthy"), (200, "Prometheus Server is Healthy.\n".into()));
    assert_eq!(
        ask("/api/v1/query?query=1%2B1&time=1").1,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#
    );
    assert_eq!(ask("/api/v1/query_range?query=vector(1)&start=0&end=1&step=1").0, 200);
    let (status, body) = ask("/api/v1/query?query=sum(");
    assert_eq!(status, 400);
    assert!(body.contains(r#""errorType":"bad_data""#) && body.contains("parse error"), "{body}");
    let (status, body) = ask("/api/v1/query_range?query=up&start=0&end=100000&step=1");
    assert_eq!(status, 400);
    assert!(body.contains("exceeded maximum resolution of 11,000 points per timeseries"), "{body}");
    assert_eq!(ask("/api/v1/query_range?query=up&start=2&end=1&step=1").0, 400);
    assert_eq!(ask("/api/v1/series").0, 400);
    assert_eq!(ask("/api/v1/series?match[]={a=\"\"}").0, 400);
    assert_eq!(ask("/api/v1/labels").1, r#"{"status":"success","data":[]}"#);
    assert_eq!(ask("/api/v1/scrape_pools/config?scrapePool=none").0, 400);
    assert_eq!(ask("/api/v1/targets/relabel_steps?scrapePool=none").0, 400);
    assert_eq!(ask("/api/v1/nonsense").0, 404);
    assert_eq!(ask("/api/v1/write").0, 404);
    assert!(ask("/api/v1/status/flags").1.contains(r#""query.lookback-delta":"5m""#));
    assert!(ask("/api/v1/status/buildinfo").1.contains("version"));
    assert!(ask("/metrics").1.contains("prometheus_tsdb_head_series"));
    let reload = post(&format!("http://{}/-/reload", server.address), "text/plain", b"").unwrap();
    assert_eq!(reload, (403, "Lifecycle API is not enabled.".into()));
}

#[test]
fn bad_targets_cost_only_themselves() {
    // A target that says nonsense, one that closes at once, and this server itself.
    let nonsense = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (bad, gone) = (nonsense.local_addr().unwrap(), free_port());
    std::thread::spawn(move || {
        for mut stream in nonsense.incoming().map_while(Result::ok) {
            let page = "a 1\nb{x=\"1\" 2\n";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", page.len());
            let mut request = [0; 1024];
            let _read = std::io::Read::read(&mut stream, &mut request);
            let _sent = std::io::Write::write_all(&mut stream, format!("{head}{page}").as_bytes());
        }
    });
    let config = format!(
        "scrape_configs:\n- job_name: t\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{bad}', '127.0.0.1:{gone}']}}]\n"
    );
    let server = server(&config, &[]);
    eventually("both to be down", || query(&server.address, "count(up == 0)").filter(|v| *v == [2.0]));
    assert_eq!(query(&server.address, "a"), Some(vec![]), "nothing of a broken page is stored");
    let targets = api(&server.address, "targets").unwrap();
    let errors: Vec<&str> =
        targets["activeTargets"].as_array().unwrap().iter().map(|t| t["lastError"].as_str().unwrap()).collect();
    assert!(errors.iter().any(|e| e.starts_with("line 2, byte 4: expected")), "{errors:?}");
    assert!(errors.iter().any(|e| e.to_lowercase().contains("connection refused")), "{errors:?}");
}

#[test]
fn debians_tools_talk_to_it() {
    if !has("promtool") || !has("prometheus-node-exporter") {
        return;
    }
    let port = free_port();
    let mut exporter = Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let folder = tempfile::tempdir().unwrap();
    let _exporter = Process::start(&mut exporter, &folder.path().join("log"));
    let config = format!(
        "scrape_configs:\n- job_name: node\n  scrape_interval: 1s\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    let server = server(&config, &["--web.enable-remote-write-receiver"]);
    eventually("its metrics", || query(&server.address, "node_memory_MemTotal_bytes").filter(|v| v.len() == 1));
    let url = format!("http://{}", server.address);
    let (success, text) = output(Command::new("promtool").args(["query", "instant", &url, "up"]));
    assert!(success && text.contains("up{instance=") && text.contains("=> 1 @["), "{text}");
    let (success, text) = output(Command::new("promtool").args(["query", "labels", &url, "job"]));
    assert!(success && text.contains("node"), "{text}");
    let (success, text) = output(Command::new(BINARY).args(["tool", "query", "instant", &url, "up"]));
    assert!(success && text.contains("=> 1 @["), "{text}");

    // Debian's Prometheus on the same target has the same series of the exporter, and writes them to us, too.
    if !has("prometheus") {
        return;
    }
    let other = format!("127.0.0.1:{}", free_port());
    let remote = format!(
        "global: {{external_labels: {{via: prometheus}}}}\nremote_write: [{{url: 'http://{}/api/v1/write'}}]\n{config}",
        server.address
    );
    std::fs::write(folder.path().join("prometheus.yml"), remote).unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus.current_dir(folder.path()).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={other}"),
    ]);
    let _prometheus = Process::start(&mut prometheus, &folder.path().join("prometheus.log"));
    let path = "label/__name__/values?match[]={__name__=~\"node_.*\"}";
    eventually("the same metric names", || {
        let (ours, theirs) = (api(&server.address, path)?, api(&other, path)?);
        (ours == theirs && ours.as_array()?.len() > 100).then_some(())
    });
    // Both look back ten seconds; scrapes are at other moments of the second.
    let rate = "sum(rate(node_cpu_seconds_total{via=\"\"}[10s]))";
    eventually("the same rates", || {
        let (ours, theirs) = (query(&server.address, rate)?, query(&other, rate)?);
        let (ours, theirs) = (*ours.first()?, *theirs.first()?);
        (ours > 0.0 && (ours - theirs).abs() / theirs < 0.1).then_some(())
    });
    eventually("what Prometheus wrote to us", || {
        query(&server.address, "up{job=\"node\", via=\"prometheus\"}").filter(|v| *v == [1.0])
    });
}

#[test]
fn amtool_talks_to_the_router() {
    if !has("amtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = "route: {receiver: log, group_wait: 1s}\nreceivers: [{name: log, log_configs: [{}]}]\n";
    std::fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(BINARY);
    command.current_dir(folder.path()).args(["alertmanager", &format!("--web.listen-address={address}")]);
    let _router = Process::start(&mut command, &folder.path().join("log"));
    let url = format!("--alertmanager.url=http://{address}");
    eventually("the router", || get(&format!("http://{address}/-/ready")));
    let amtool = |args: &[&str]| {
        let (success, text) = output(Command::new("amtool").current_dir(folder.path()).arg(&url).args(args));
        assert!(success, "amtool {args:?}: {text}");
        text
    };
    amtool(&["alert", "add", "alertname=Test", "instance=a", "--annotation=summary=Hello"]);
    assert!(amtool(&["alert", "query"]).contains("Test"));
    amtool(&["silence", "add", "alertname=Test", "--comment=quiet", "--author=me", "--duration=1h"]);
    assert!(amtool(&["silence", "query"]).contains("quiet"));
    assert!(!amtool(&["alert", "query"]).contains("Test"), "silenced alerts are not shown unless asked for");
    assert!(amtool(&["alert", "query", "--silenced"]).contains("Test"));
}

#[test]
fn configurations_of_upstream_are_checked() {
    let root = std::env::var_os("CRESSET_CONFORMANCE_DIR").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        std::path::PathBuf::from,
    );
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} must be there in CI", root.display());
        return;
    }
    let files = |folder: &str| -> Vec<std::path::PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|e| e == "yml" || e == "yaml"));
        all.sort();
        all
    };
    // Everything that upstream refuses is refused.
    for bad in files("config/bad") {
        let name = bad.file_name().unwrap().to_str().unwrap();
        let needs_files = ["double_import", "duplicate", "global"]
            .iter()
            .any(|part| name.starts_with("scrape_config_files_") && name.contains(part));
        if name.ends_with(".good.yml") || needs_files {
            continue;
        }
        let (success, text) = output(Command::new(BINARY).args(["tool", "check", "config", "--syntax-only"]).arg(&bad));
        assert!(!success, "{} is accepted: {text}", bad.display());
        assert!(text.contains(name), "the fault names the file: {text}");
    }
    let known_bad = ["invalid_rules.yaml"];
    for file in files("rules") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (success, text) = output(Command::new(BINARY).args(["tool", "check", "rules"]).arg(&file));
        let bad = name.contains(".bad.") || known_bad.contains(&name);
        println!("{name}: {}", if success { "accepted" } else { "refused" });
        if bad && !name.starts_with("legacy_") {
            assert!(!success, "{name} is accepted: {text}");
        }
    }
}

/// A page of four hours of samples, one every ten minutes.
fn history() -> String {
    let samples = (0..24).map(|i| format!("m{{a=\"x\"}} {i} {0}\nn 0.5 {0}\n", 1_700_000_000 + i * 600));
    format!("# TYPE m gauge\n{}# EOF\n", samples.collect::<String>())
}

#[test]
fn blocks_are_made_listed_and_dumped_as_promtool_does() {
    let folder = tempfile::tempdir().unwrap();
    let (page, data) = (folder.path().join("page.om"), folder.path().join("data"));
    std::fs::write(&page, history()).unwrap();
    let ours = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        output(command.args(["tool", "tsdb"]).args(args).arg(&data))
    };
    let (made, table) = ours(&["create-blocks-from", "openmetrics", page.to_str().unwrap()]);
    assert!(made, "{table}");
    let (_, listed) = ours(&["list"]);
    assert_eq!(table, listed, "what was made is what is there");
    let (_, dumped) = ours(&["dump"]);
    assert_eq!(dumped.lines().count(), 48, "{dumped}");
    assert!(dumped.contains("{__name__=\"m\", a=\"x\"} 23 1700013800000\n"), "{dumped}");
    let (_, open_metrics) = ours(&["dump-openmetrics", "--match", "m"]);
    assert!(
        open_metrics.starts_with("m{a=\"x\"} 0 1700000000.000\n") && open_metrics.ends_with("# EOF\n"),
        "{open_metrics}"
    );
    let (_, analysis) = ours(&["analyze", "--extended"]);
    assert!(analysis.contains("Total Series: 2\n") && analysis.contains("samples per float chunk"), "{analysis}");
    if has("promtool") {
        // Debian's reads no directory without one.
        std::fs::create_dir(data.join("wal")).unwrap();
        let theirs = |args: &[&str]| output(Command::new("promtool").args(["tsdb"]).args(args).arg(&data));
        assert_eq!(theirs(&["list"]), (true, listed));
        assert_eq!(theirs(&["list", "-r"]), ours(&["list", "-r"]));
        assert_eq!(theirs(&["dump"]), (true, dumped));
    }
}

#[test]
fn history_is_served_deleted_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.om");
    std::fs::write(&page, history()).unwrap();
    let mut command = Command::new(BINARY);
    let made =
        command.args(["tool", "tsdb", "create-blocks-from", "openmetrics"]).arg(&page).arg(folder.path().join("data"));
    assert!(output(made).0);
    let data = folder.path().join("data");
    let server = server(
        "global: {query_log_file: queries.log}\n",
        &["--web.enable-admin-api", "--storage.tsdb.path", data.to_str().unwrap()],
    );
    let count = || query(&server.address, "count_over_time({__name__=~\".+\"}[1d] @ 1700020000)");
    assert_eq!(count(), Some(vec![24.0, 24.0]));
    let admin =
        |path: &str| post(&format!("http://{}/api/v1/admin/tsdb/{path}", server.address), "text/plain", b"").unwrap();
    assert_eq!(admin("delete_series?match[]=n&start=1700000000&end=1700006000").0, 204);
    assert_eq!(count(), Some(vec![24.0, 13.0]));
    assert_eq!(admin("clean_tombstones").0, 204);
    assert_eq!(count(), Some(vec![24.0, 13.0]));
    let (status, body) = admin("snapshot");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let copy = data.join("snapshots").join(answer["data"]["name"].as_str().unwrap());
    let (_, listed) = output(Command::new(BINARY).args(["tool", "tsdb", "dump"]).arg(&copy));
    assert_eq!(listed.lines().count(), 24 + 13, "{listed}");
    assert_eq!(admin("snapshot?skip_head=maybe").0, 400);
    let plan = api(&server.address, "query?query=sum(m)&explain=true").unwrap();
    assert!(plan.to_string().contains("operator"), "{plan}");
    assert_eq!(api(&server.address, "status/active_queries"), Some(serde_json::json!([])));
    let ask = ["tool", "query", "instant", "--analyze", "--time", "1700013800", &server.address, "sum(m)"];
    let (_, shown) = output(Command::new(BINARY).args(ask));
    assert!(
        shown.starts_with("{} => 23 @[1700013800") && shown.contains("#0 ") && shown.contains(" samples, "),
        "{shown}"
    );
    let blocks = api(&server.address, "status/tsdb/blocks").unwrap();
    assert!(blocks["blocks"][0]["ulid"].is_string(), "{blocks}");
    let log = std::fs::read_to_string(server.folder.path().join("queries.log")).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["httpRequest"]["path"], &first["params"]["step"]),
        (&"/api/v1/query".into(), &0.0.into()),
        "{log}"
    );
    let tree = api(&server.address, "parse_query?query=a%2B1").unwrap();
    assert_eq!(tree["type"], "binaryExpr", "{tree}");
}

#[test]
fn rules_and_queries_are_tested_and_formatted() {
    let ours = |args: &[&str]| output(Command::new(BINARY).arg("tool").args(args));
    assert_eq!(ours(&["promql", "format", "sum  by(a) (b)"]), (true, "sum by (a) (b)\n".into()));
    let set = ["promql", "label-matchers", "set", "-t", "=~", "rate(a[5m])", "job", "x|y"];
    assert_eq!(ours(&set), (true, "rate(a{job=~\"x|y\"}[5m])\n".into()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), "groups:\n- name: g\n  rules:\n  - {record: r, expr: 2 * m}\n")
        .unwrap();
    let test = |value: u32| {
        let text = format!(
            "rule_files: [rules.yml]\ntests:\n- input_series: [{{series: m, values: '1 2'}}]\n  promql_expr_test:\n  \
             - {{expr: r, eval_time: 1m, exp_samples: [{{labels: r, value: {value}}}]}}\n"
        );
        let path = folder.path().join(format!("test{value}.yml"));
        std::fs::write(&path, text).unwrap();
        ours(&["test", "rules", path.to_str().unwrap()])
    };
    let (passed, told) = test(4);
    assert!(passed && told.contains("SUCCESS"), "{told}");
    let (passed, told) = test(5);
    assert!(!passed && told.contains("FAILED"), "{told}");
}

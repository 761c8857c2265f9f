//! API tokens, forms of metrics pages, import and export, and requests that mean harm.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::answers::page;
use super::harness::{Answer, BINARY, Process, api, eventually, exchange, free_port, get};

/// A server of ours whose first answer may be a refusal.
fn start(folder: &Path, config: &str, flags: &[&str]) -> (Process, String) {
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(BINARY);
    command.current_dir(folder).args(["server", "--web.listen-address", &address]).args(flags);
    let process = Process::start(&mut command, &folder.join("log"));
    let ready = format!("http://{address}/-/ready");
    eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200 || *status == 401));
    (process, address)
}

fn with_token(address: &str, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let authorization = format!("Bearer {token}");
    exchange(method, &format!("http://{address}{path}"), &[("authorization", &authorization)], body).unwrap()
}

fn data(answer: &Answer) -> Value {
    serde_json::from_str::<Value>(&answer.body).map(|body| body["data"].clone()).unwrap_or_default()
}

/// Lines of JSON of two teams' series.
fn teams() -> Vec<u8> {
    let line = |team: &str| json!({"metric": {"__name__": "m", "team": team}, "timestamps": [1_700_000_000_000_i64], "values": [1.5]});
    format!("{}\n{}\n", line("a"), line("b")).into_bytes()
}

#[test]
fn tokens_see_what_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let token = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(["tool", "token", "create"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (
            String::from_utf8(output.stderr).unwrap().lines().last().unwrap().trim().to_owned(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (reader, reader_entry) = token(&["--role=read", "reader"]);
    let (team, team_entry) = token(&["--role=read", "--matchers={team=\"a\"}", "team-a"]);
    let (writer, writer_entry) = token(&["--role=write", "writer"]);
    let (admin, admin_entry) = token(&["--role=admin", "admin"]);
    let (late, late_entry) = token(&["--role=admin", "--expires=2020-01-01T00:00:00Z", "late"]);
    let file = folder.path().join("tokens.yml");
    let entries = [reader_entry, team_entry, writer_entry, admin_entry, late_entry].concat();
    assert!(![&reader, &team, &writer, &admin].iter().any(|token| entries.contains(token.as_str())), "hashes alone");
    std::fs::write(&file, format!("tokens:\n{entries}")).unwrap();
    let rules = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'vector(1)', labels: {team: a}}\n  - {alert: B, expr: 'vector(1)', labels: {team: b}}\n";
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let config = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\nremote_write: [{url: 'http://u:hidden@127.0.0.1:1/'}]\n";
    let flags = [
        "--web.api-tokens.file=tokens.yml",
        "--web.enable-admin-api",
        "--web.enable-lifecycle",
        "--storage.tsdb.retention.time=100y",
    ];
    let (process, address) = start(folder.path(), config, &flags);
    let ask = |token: &str, path: &str| with_token(&address, token, "GET", path, b"");

    let refused = exchange("GET", &format!("http://{address}/api/v1/labels"), &[], b"").unwrap();
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(ask("wrong", "/api/v1/labels").status, 401);
    assert_eq!(ask(&late, "/api/v1/labels").status, 401);

    assert_eq!(with_token(&address, &reader, "POST", "/api/v1/import", &teams()).status, 403);
    let imported = with_token(&address, &writer, "POST", "/api/v1/import", &teams());
    assert_eq!((imported.status, &data(&imported)["samples"]), (200, &json!(2)), "{}", imported.body);
    assert_eq!(ask(&writer, "/api/v1/labels").status, 403);
    assert_eq!(with_token(&address, &reader, "POST", "/-/reload", b"").status, 403);
    assert_eq!(with_token(&address, &admin, "POST", "/-/reload", b"").status, 200);

    let at = "1700000000";
    let all = ask(&reader, &format!("/api/v1/query?query=m&time={at}"));
    assert_eq!(data(&all)["result"].as_array().unwrap().len(), 2, "{}", all.body);
    // Whatever the one of a team asks for, it sees that team's series.
    for query in ["m", "m{team=\"b\"} or m", "m{team=~\".*\"}", "{__name__=\"m\"}", "max_over_time(m[1m])"] {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let seen = data(&ask(&team, &format!("/api/v1/query?query={encoded}&time={at}")));
        let teams: Vec<&Value> = seen["result"].as_array().unwrap().iter().map(|s| &s["metric"]["team"]).collect();
        assert_eq!(teams, ["a"], "{query}");
    }
    assert_eq!(data(&ask(&team, "/api/v1/query?query=m%7Bteam%3D%22b%22%7D&time=1700000000"))["result"], json!([]));
    let confined = [
        ("/api/v1/label/team/values", json!(["a"])),
        ("/api/v1/label/team/values?match[]=m&match[]=%7Bteam%3D%22b%22%7D", json!(["a"])),
        ("/api/v1/series?match[]=m", json!([{"__name__": "m", "team": "a"}])),
        ("/api/v1/series?match[]=%7Bteam%3D%22b%22%7D", json!([])),
    ];
    for (path, expected) in confined {
        assert_eq!(data(&ask(&team, path)), expected, "{path}");
    }
    let exported = ask(&team, "/api/v1/export?match[]=m").body;
    assert!(exported.contains("\"team\":\"a\"") && !exported.contains("\"team\":\"b\""), "{exported}");
    eventually("both alerts", || {
        data(&ask(&admin, "/api/v1/alerts"))["alerts"].as_array().filter(|a| a.len() == 2).map(drop)
    });
    for path in ["/api/v1/alerts", "/api/v1/rules", "/federate?match[]=%7Bteam%3D~%22.%2B%22%7D"] {
        let (body, whole) = (ask(&team, path).body, ask(&admin, path).body);
        assert!(
            body.contains("a\"") && !body.contains("team=\"b\"") && !body.contains("\"team\":\"b\""),
            "{path}: {body}"
        );
        assert!(whole.contains("team=\"b\"") || whole.contains("\"team\":\"b\""), "{path}: {whole}");
    }
    for path in ["status/config", "status/flags", "status/tsdb", "scrape_pools", "status/active_queries"] {
        assert_eq!(ask(&team, &format!("/api/v1/{path}")).status, 403, "{path}");
        assert_eq!(ask(&reader, &format!("/api/v1/{path}")).status, 200, "{path}");
    }
    assert_eq!(ask(&team, "/metrics").status, 403);

    // A token that is taken from the file is refused from then on, without a restart.
    std::fs::write(&file, "tokens: []\n").unwrap();
    eventually("closed doors", || (ask(&reader, "/api/v1/labels").status == 401).then_some(()));
    let log = process.log();
    assert!(!log.contains("hidden") && !log.contains(&reader) && !log.contains(&admin), "{log}");
}

#[test]
fn what_is_exported_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--web.enable-admin-api", "--storage.tsdb.retention.time=100y"];
    let (_process, address) = start(folder.path(), "", &flags);
    let import = |content_type: &str, body: &[u8]| {
        let headers = [("content-type", content_type)];
        exchange("POST", &format!("http://{address}/api/v1/import"), &headers, body).unwrap()
    };
    let first = import("application/openmetrics-text", page().as_bytes());
    assert_eq!((first.status, &data(&first)["samples"]), (200, &json!(12 * 81)), "{}", first.body);
    let histogram = json!({"metric": {"__name__": "native"}, "histogram_timestamps": [1_700_000_000_000_i64], "histograms":
        [{"schema": 3, "count": 5, "sum": 18.4, "zero_count": 2, "zero_threshold": 0.001,
          "positive_spans": [[0, 2]], "positive": [1, 2]}]});
    assert_eq!(import("application/jsonl", histogram.to_string().as_bytes()).status, 200);
    let export = |address: &str| {
        let path = format!("http://{address}/api/v1/export?match[]=%7B__name__%3D~%22.%2B%22%7D&end=1700002000");
        let mut lines: Vec<String> = get(&path).unwrap().1.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let lines = export(&address);
    assert_eq!(lines.len(), 13);
    let other = tempfile::tempdir().unwrap();
    let (_second, second) = start(other.path(), "", &flags);
    let url = format!("http://{second}/api/v1/import");
    let body = lines.join("\n");
    let packed =
        Command::new("gzip").arg("-c").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let answer = match packed {
        // The tool to pack with is everywhere; if it is not, the text goes as it is.
        Ok(mut child) => {
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), body.as_bytes()).unwrap();
            exchange("POST", &url, &[("content-encoding", "gzip")], &child.wait_with_output().unwrap().stdout).unwrap()
        }
        Err(_) => exchange("POST", &url, &[], body.as_bytes()).unwrap(),
    };
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(export(&second), lines);
    let quantile = api(&second, "query?query=histogram_count(native)&time=1700000000").unwrap();
    assert_eq!(quantile["result"][0]["value"][1], "5");
    for (body, told) in [
        (&b"{\"metric\":{\"__name__\":\"m\"},\"timestamps\":[1],\"values\":[1]}\n{\"metric\":"[..], "line 2: "),
        (
            b"{\"metric\":{\"__name__\":\"m\"},\"timestamps\":[1],\"values\":[]}",
            "line 1: expected as many timestamps as values",
        ),
        (
            b"{\"metric\":{\"__name__\":\"m\"},\"timestamps\":[9000000000000],\"values\":[1]}",
            "line 1: timestamp 9000000000000 is in the future",
        ),
        (b"{\"metric\":{\"a\":\"b\"},\"timestamps\":[1],\"values\":[1]}", "has no metric name"),
    ] {
        let refused = import("application/jsonl", body);
        assert_eq!(refused.status, 400);
        assert!(
            refused.body.contains(told) && refused.body.contains("0 samples before it were imported"),
            "{}",
            refused.body
        );
    }
    let openmetrics = get(&format!("http://{address}/api/v1/export?match[]=gauge&format=openmetrics")).unwrap().1;
    assert!(
        openmetrics.contains("gauge{n=\"5\"} 1e-07 1700000000\n") && openmetrics.ends_with("# EOF\n"),
        "{openmetrics}"
    );
}

#[test]
fn own_metrics_come_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = start(folder.path(), "", &[]);
    let url = format!("http://{address}/metrics");
    let asked = |accept: &str| exchange("GET", &url, &[("accept", accept)], b"").unwrap();
    let text = asked("text/plain");
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    assert!(text.body.contains("# TYPE prometheus_http_requests_total counter\n"));
    let openmetrics = asked("application/openmetrics-text;version=1.0.0,text/plain;q=0.1");
    assert!(openmetrics.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(openmetrics.body.contains("# TYPE prometheus_http_requests counter\n"));
    assert!(openmetrics.body.ends_with("# EOF\n"));
    let protobuf = asked("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited");
    assert!(
        protobuf.header("content-type").starts_with("application/vnd.google.protobuf; proto=io.prometheus.client.")
    );
    // The server's own scraper reads all three.
    for protocol in ["PrometheusText0.0.4", "OpenMetricsText1.0.0", "PrometheusProto"] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "scrape_configs:\n- job_name: own\n  scrape_interval: 1s\n  scrape_protocols: [{protocol}]\n  static_configs: [{{targets: ['{address}']}}]\n"
        );
        let (_scraping, scraper) = start(folder.path(), &config, &[]);
        let found = || api(&scraper, "query?query=prometheus_http_requests_total%7Bjob%3D%22own%22%7D");
        eventually(protocol, || found().filter(|data| !data["result"].as_array().unwrap().is_empty()));
    }
}

#[test]
fn a_thousand_malformed_requests_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (process, address) =
        start(folder.path(), "", &["--web.enable-remote-write-receiver", "--web.enable-otlp-receiver"]);
    let pid = process.id();
    let open_files = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let tasks = || {
        let data = api(&address, "status/runtimeinfo").unwrap();
        data["goroutineCount"].as_u64().unwrap()
    };
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        line.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let long = "a".repeat(20_000);
    let paths = [
        "/api/v1/query?query=%zz".to_owned(),
        "/api/v1/query?query=sum(sum(sum(".to_owned(),
        format!("/api/v1/query?query={long}"),
        format!("/api/v1/query?query={}", "(".repeat(5_000)),
        "/api/v1/query_range?query=up&start=0&end=1e300&step=1e-300".to_owned(),
        "/api/v1/label/%ff%fe/values".to_owned(),
        format!("/api/v1/series?{}", "match[]=%7B&".repeat(1_000)),
        "/api/v1/write".to_owned(),
        "/api/v1/read".to_owned(),
        "/api/v1/otlp/v1/metrics".to_owned(),
        "/federate?match[]=%00".to_owned(),
        "/api/v1/../../etc/passwd".to_owned(),
        "/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        "/user/..%2f..%2fetc/passwd".to_owned(),
    ];
    let bodies: [&[u8]; 4] = [b"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"query=%", &[0; 4096]];
    let round = |count: usize| {
        for index in 0..count {
            let (path, body) = (&paths[index % paths.len()], bodies[index / 7 % bodies.len()]);
            let method = ["GET", "POST", "PUT", "DELETE"][index / 3 % 4];
            let kind = ["application/x-www-form-urlencoded", "application/x-protobuf", "application/json"][index % 3];
            let headers = [("content-type", kind), ("content-encoding", ["snappy", "gzip", "br"][index % 3])];
            let answer = exchange(method, &format!("http://{address}{path}"), &headers, body);
            let status = answer.map(|answer| answer.status);
            assert!(status.is_some_and(|status| status < 500), "{method} {path}: {status:?}");
        }
    };
    round(200);
    let (files, running, memory) = (open_files(), tasks(), resident());
    round(1_000);
    eventually("files and tasks to be as before", || {
        (open_files() <= files + 2 && tasks() <= running + 2).then_some(())
    });
    // Less than a kilobyte and a half of each request could stay.
    assert!(resident() < memory + 16 * 1024, "{memory} kB before, {} kB after", resident());
    assert_eq!(get(&format!("http://{address}/-/healthy")).unwrap().0, 200);
}

#[test]
fn the_web_port_speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
    let issued = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server, server_key) = issued("localhost");
    let (client, client_key) = issued("ann.example");
    let (stranger, stranger_key) = issued("bob.example");
    write("server.crt", &server);
    write("server.key", &server_key);
    write("ca.crt", &root);
    let config = |extra: &str| {
        format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS13\n{extra}")
    };
    write("web.yml", &config(""));
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    let port = free_port();
    let mut command = Command::new(BINARY);
    command.current_dir(folder.path()).args(["server", "--web.config.file=web.yml"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _process = Process::start(&mut command, &folder.path().join("log"));
    let url = format!("https://localhost:{port}/-/ready");
    let ask = |identity: Option<(&str, &str)>| {
        super::harness::runtime().block_on(async {
            let root = reqwest::Certificate::from_pem(root.as_bytes()).unwrap();
            let mut builder =
                reqwest::Client::builder().tls_certs_only([root]).resolve("localhost", ([127, 0, 0, 1], port).into());
            if let Some((certificate, key)) = identity {
                builder =
                    builder.identity(reqwest::Identity::from_pem(format!("{key}{certificate}").as_bytes()).unwrap());
            }
            let response = builder.build().unwrap().get(&url).send().await.ok()?;
            Some((response.status().as_u16(), response.version() == reqwest::Version::HTTP_2))
        })
    };
    eventually("the server to be ready over HTTP/2", || ask(None).filter(|answer| *answer == (200, true)));
    assert!(get(&format!("http://127.0.0.1:{port}/-/ready")).is_none(), "nothing in the clear");
    // Clients must show a certificate of the authority, and with a name that is allowed; without a restart.
    let demanding = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [ann.example]\n";
    write("web.yml", &config(demanding));
    eventually("the refusal of who shows nothing", || ask(None).is_none().then_some(()));
    assert_eq!(ask(Some((&client, &client_key))).map(|answer| answer.0), Some(200));
    assert_eq!(ask(Some((&stranger, &stranger_key))), None);
}

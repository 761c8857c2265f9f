//! Configurations that come into force whole or not at all, and what scraping takes from the command line.

use std::path::Path;
use std::process::Command;

use super::harness::{BINARY, Process, api, eventually, free_port, get, has, post, query};

fn start(folder: &Path, address: &str, config: &str, flags: &[&str]) -> Process {
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new(BINARY);
    command.current_dir(folder).args(["server", "--web.listen-address", address, "--web.enable-lifecycle"]).args(flags);
    let process = Process::start(&mut command, &folder.join("log"));
    let ready = format!("http://{address}/-/ready");
    eventually("the server to be ready", || get(&ready).filter(|(status, _)| *status == 200));
    process
}

/// What is in force: the retention of the storage, the configuration as it is shown, and the targets.
fn in_force(server: &str) -> Option<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let retention = text(&api(server, "status/runtimeinfo")?["storageRetention"])?;
    let config = text(&api(server, "status/config")?["yaml"])?;
    let targets = api(server, "targets?state=active")?["activeTargets"].as_array()?.clone();
    let urls = targets.iter().filter_map(|target| text(&target["scrapeUrl"])).collect::<Vec<_>>().join(" ");
    Some((retention, config, urls))
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let config = |retention: &str, job: &str| {
        format!(
            "global: {{scrape_interval: 1s}}\nstorage: {{tsdb: {{retention: {{time: {retention}}}}}}}\n\
             scrape_configs:\n- job_name: own\n  static_configs: [{{targets: ['{address}']}}]\n{job}"
        )
    };
    let _server = start(folder.path(), &address, &config("3d", ""), &[]);
    eventually("the first scrape", || query(&address, "up").filter(|up| *up == [1.0]));
    let before = in_force(&address).unwrap();
    assert!(before.0.contains("3d"), "{}", before.0);
    let reload = |config: &str| {
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        post(&format!("http://{address}/-/reload"), "text/plain", b"").unwrap()
    };
    // Each fails at another place: the shape, a file that a scrape needs, one that a discovery needs, one of a receiver.
    std::fs::write(folder.path().join("broken.pem"), "no certificate").unwrap();
    let job = format!(
        "- {{job_name: b, tls_config: {{ca_file: broken.pem}}, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let discovery =
        "- job_name: b\n  http_sd_configs: [{url: 'http://127.0.0.1:1/', tls_config: {ca_file: broken.pem}}]\n";
    let written = "remote_write: [{url: 'http://127.0.0.1:1/', tls_config: {ca_file: broken.pem}}]\n";
    for broken in ["- {job_name: b, unknown: 1}\n", &job, discovery, written] {
        let (status, said) = reload(&config("5d", broken));
        assert_eq!(status, 500, "{broken}: {said}");
        assert_eq!(in_force(&address).unwrap(), before, "{broken}");
    }
    let (status, said) = reload(&config("5d", ""));
    assert_eq!(status, 200, "{said}");
    assert!(in_force(&address).unwrap().0.contains("5d"));
}

#[test]
fn passwords_of_urls_are_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let job = "scrape_configs:\n- job_name: own\n  scrape_interval: 1s\n  proxy_url: 'http://u:hunter2@127.0.0.1:1'\n  \
               http_sd_configs: [{url: 'http://u:hunter2@127.0.0.1:1/x'}]\n  \
               static_configs: [{targets: ['u:hunter2@127.0.0.1:1']}]\n  scrape_failure_log_file: failures.log\n";
    let server = start(folder.path(), &address, job, &["--log.level=debug"]);
    eventually("a failed scrape", || query(&address, "up").filter(|up| *up == [0.0]));
    let failures = eventually("the failure log", || {
        std::fs::read_to_string(folder.path().join("failures.log")).ok().filter(|text| !text.is_empty())
    });
    let shown = api(&address, "status/config").unwrap()["yaml"].to_string();
    assert!(shown.contains("http://u:xxxxx@127.0.0.1:1"), "{shown}");
    for text in [server.log(), failures] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Serves a list of targets, and a page, to those who know the password; compressed.
fn nginx(folder: &Path, port: u16) -> Process {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()))
        .join(" ");
    let config = format!(
        "user root; daemon off; master_process off; pid {0}/nginx.pid; error_log stderr;\nevents {{}}\n\
         http {{ {temporary} access_log off; gzip on; gzip_min_length 1; gzip_types text/plain application/json;\n\
         types {{ application/json json; text/plain txt; }}\n\
         server {{ listen 127.0.0.1:{port}; root {0}/www; auth_basic all; auth_basic_user_file {0}/passwords; }} }}\n",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("www")).unwrap();
    std::fs::write(folder.join("passwords"), "u:{PLAIN}hunter2\n").unwrap();
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    std::fs::write(folder.join("www/page.txt"), "# TYPE a gauge\na{b=\"c\"} 7\n").unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    Process::start(&mut command, &folder.join("nginx.log"))
}

#[test]
fn targets_are_listed_by_a_web_server() {
    if !has("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (address, port) = (format!("127.0.0.1:{}", free_port()), free_port());
    let _nginx = nginx(folder.path(), port);
    let list = |targets: &[&str]| {
        let targets = serde_json::json!([{"targets": targets, "labels": {"found": "yes"}}]);
        // Replaced as a whole, so that no half of it is ever read.
        std::fs::write(folder.path().join("www/new"), targets.to_string()).unwrap();
        std::fs::rename(folder.path().join("www/new"), folder.path().join("www/targets.json")).unwrap();
    };
    let listed = format!("127.0.0.1:{port}");
    list(&[&listed]);
    let config = format!(
        "scrape_configs:\n- job_name: web\n  scrape_interval: 1s\n  metrics_path: /page.txt\n  \
         basic_auth: {{username: u, password: hunter2}}\n  http_sd_configs:\n  \
         - {{url: 'http://{listed}/targets.json', refresh_interval: 1s, basic_auth: {{username: u, password: hunter2}}}}\n"
    );
    let _server = start(folder.path(), &address, &config, &[]);
    eventually("the page", || query(&address, "a{b=\"c\",found=\"yes\"}").filter(|values| *values == [7.0]));
    list(&[&listed, "127.0.0.1:1"]);
    eventually("another target", || query(&address, "count(up{found=\"yes\"})").filter(|count| *count == [2.0]));
    list(&[]);
    eventually("all series to end", || query(&address, "{found=\"yes\"}").filter(Vec::is_empty));
}

#[test]
fn the_program_answers_to_the_names_it_stands_in_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, args: &[&str]| {
        let link = folder.path().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(BINARY, &link).unwrap();
        }
        let output = Command::new(link).args(args).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    };
    for name in ["prometheus", "alertmanager", "node_exporter", "promtool"] {
        assert!(matches!(run(name, &["--version"]), (0, text) if text.contains(env!("CARGO_PKG_VERSION"))), "{name}");
        assert_eq!(run(name, &["--help"]).0, 0, "{name}");
        assert_eq!(run(name, &["--no-such-flag"]).0, 2, "{name}");
    }
    std::fs::write(folder.path().join("p.yml"), "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  bad: 1\n")
        .unwrap();
    let (code, said) = run("prometheus", &["--config.file=p.yml", "--web.listen-address=127.0.0.1:0"]);
    assert!(code == 1 && said.contains("p.yml:4:3: unknown key"), "{code} {said}");
    assert_eq!(run("prometheus", &["--config.file=p.yml", "--storage.agent.path=a"]).0, 3);
    assert_eq!(run("prometheus", &["--config.file=p.yml", "--agent", "--storage.tsdb.path=a"]).0, 3);
}

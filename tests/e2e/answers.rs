//! Every endpoint with valid, missing and malformed parameters, beside Debian's Prometheus on the same data: the same
//! codes and the same answers. The requests are in `answers/calls.txt`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::{BINARY, Process, eventually, exchange, free_port, get, has};

const CALLS: &str = include_str!("answers/calls.txt");
const CONFIG: &str = "global: {evaluation_interval: 1s, external_labels: {zone: z1}}
rule_files: [rules.yml]
scrape_configs:
- job_name: away
  scrape_interval: 1h
  static_configs: [{targets: ['127.0.0.1:1', 'gone:80']}]
  relabel_configs: [{source_labels: [__address__], regex: 'gone.*', action: drop}]
";
const RULES: &str = "groups:
- name: b
  rules:
  - {record: 'job:vector:one', expr: 'vector(1)', labels: {severity: record}}
  - {alert: Always, expr: 'vector(1) > 0', labels: {severity: page}, annotations: {summary: 'It is {{ $value }}.'}}
- name: a
  rules:
  - {alert: Never, expr: 'vector(1) > 2', for: 5m}
";

/// Twenty minutes of counters and of numbers that are awkward to print.
pub fn page() -> String {
    let mut page = String::from("# TYPE http_requests counter\n");
    for (code, step) in [("200", 7), ("404", 3), ("500", 3)] {
        for i in 0..=80 {
            let (value, time) = (f64::from(i * step) + 0.5, 1_700_000_000 + i * 15);
            writeln!(page, "http_requests_total{{code=\"{code}\",job=\"web\"}} {value} {time}").unwrap();
        }
    }
    page.push_str("# TYPE gauge gauge\n");
    for (n, value) in ["NaN", "+Inf", "-Inf", "0", "-0", "1e-7", "1e21", "123456789", "0.1"].iter().enumerate() {
        for i in 0..=80 {
            writeln!(page, "gauge{{n=\"{n}\"}} {value} {}", 1_700_000_000 + i * 15).unwrap();
        }
    }
    page + "# EOF\n"
}

struct Call<'a> {
    method: &'a str,
    path: &'a str,
    form: Option<&'a str>,
    expected: Expected<'a>,
}

enum Expected<'a> {
    Same,
    SameStatus,
    Newer { status: u16, part: &'a str },
}

fn call(line: &str) -> Call<'_> {
    let (request, expected) = if let Some(rest) = line.strip_prefix("! ") {
        let (request, answer) = rest.split_once(" => ").unwrap_or_else(|| panic!("no answer in {line}"));
        let (status, part) = answer.split_once(' ').unwrap_or((answer, ""));
        (request, Expected::Newer { status: status.parse().unwrap(), part })
    } else if let Some(request) = line.strip_prefix("? ") {
        (request, Expected::SameStatus)
    } else {
        (line, Expected::Same)
    };
    let mut parts = request.splitn(3, ' ');
    let (method, path) = (parts.next().unwrap(), parts.next().unwrap());
    Call { method, path, form: parts.next(), expected }
}

/// A program on its copy of the data.
fn start(program: &mut Command, folder: &Path, address: &str) -> Process {
    std::fs::write(folder.join("prometheus.yml"), CONFIG).unwrap();
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    program.current_dir(folder).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=100y",
        "--enable-feature=exemplar-storage",
        &format!("--web.listen-address={address}"),
    ]);
    Process::start(program, &folder.join("log"))
}

/// What does not change from run to run, numbers as near as two ways of adding leave them.
fn settled(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let changing = ["lastEvaluation", "evaluationTime", "activeAt", "file"];
            map.into_iter().filter(|(key, _)| !changing.contains(&key.as_str())).map(|(k, v)| (k, settled(v))).collect()
        }
        Value::Array(list) => list.into_iter().map(settled).collect(),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && text.len() > 15 => {
                let rounded: f64 = format!("{number:.11e}").parse().unwrap();
                rounded.to_string().into()
            }
            // Upstream wrote a capital until 3.0.
            _ => text.replace("Invalid time value", "invalid time value").into(),
        },
        other => other,
    }
}

fn shown(body: &str) -> Value {
    serde_json::from_str(body).map_or_else(|_| body.into(), settled)
}

#[test]
fn answers_are_those_of_prometheus() {
    if !has("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page"), page()).unwrap();
    let mut running = Vec::new();
    let mut addresses = Vec::new();
    for (name, program) in [("debian", "prometheus"), ("ours", BINARY)] {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let mut create = Command::new(BINARY);
        create.current_dir(&own).args(["tool", "tsdb", "create-blocks-from", "openmetrics", "../page", "data"]);
        assert!(create.output().unwrap().status.success());
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        if program == BINARY {
            command.arg("server");
        }
        running.push(start(&mut command, &own, &address));
        addresses.push(address);
    }
    for address in &addresses {
        // Both rules have run, so that nothing is unknown any more.
        eventually("both to have evaluated rules", || {
            let (_, body) = get(&format!("http://{address}/api/v1/rules")).filter(|(status, _)| *status == 200)?;
            // The alert's own series come later than its state.
            let (_, labels) = get(&format!("http://{address}/api/v1/labels"))?;
            let has_run = !body.contains("\"0001-01-01") && body.contains("\"firing\"");
            (has_run && labels.contains("alertstate")).then_some(())
        });
    }
    let ask = |address: &str, call: &Call<'_>| {
        let headers: &[(&str, &str)] =
            if call.form.is_some() { &[("content-type", "application/x-www-form-urlencoded")] } else { &[] };
        let url = format!("http://{address}{}", call.path);
        exchange(call.method, &url, headers, call.form.unwrap_or("").as_bytes()).unwrap()
    };
    let mut wrong = Vec::new();
    let lines = CALLS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let call = call(line);
        let ours = ask(&addresses[1], &call);
        if let Expected::Newer { status, part } = call.expected {
            if ours.status != status || !ours.body.contains(part) {
                wrong.push(format!("{line}\n  ours: {} {}", ours.status, ours.body));
            }
            continue;
        }
        let debian = ask(&addresses[0], &call);
        let is_same = matches!(call.expected, Expected::SameStatus)
            || shown(&ours.body) == shown(&debian.body) && ours.media_type() == debian.media_type();
        if ours.status != debian.status || !is_same {
            let (o, d) = (&ours, &debian);
            wrong.push(format!("{line}\n  theirs: {} {}\n  ours: {} {}", d.status, d.body, o.status, o.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

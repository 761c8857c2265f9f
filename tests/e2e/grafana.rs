//! The requests of Grafana's Prometheus data source, as it sends them: each must answer as its code expects.

use std::process::Command;

use serde_json::Value;

use super::answers::page;
use super::harness::{BINARY, Process, eventually, exchange, free_port, get};

const RULES: &str = "groups:
- name: g
  rules:
  - {record: 'job:requests:rate5m', expr: 'rate(http_requests_total[5m])', labels: {team: a}}
  - {alert: Up, expr: 'vector(1)'}
";

#[test]
fn the_data_source_finds_what_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page"), page()).unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "rule_files: [rules.yml]\n").unwrap();
    let mut create = Command::new(BINARY);
    create.current_dir(folder.path()).args(["tool", "tsdb", "create-blocks-from", "openmetrics", "page", "data"]);
    assert!(create.output().unwrap().status.success());
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(BINARY);
    command.current_dir(folder.path()).args(["server", "--web.listen-address", &address]);
    command.arg("--storage.tsdb.retention.time=100y");
    let _process = Process::start(&mut command, &folder.path().join("log"));
    eventually("readiness", || get(&format!("http://{address}/-/ready")).filter(|(status, _)| *status == 200));
    // Its proxy asks for packed answers, and sends a user agent and an origin of its own.
    let headers = [("accept-encoding", "identity"), ("user-agent", "Grafana/13.1.4"), ("x-grafana-org-id", "1")];
    let ask = |method: &str, path: &str, form: &str| -> Value {
        let mut headers = headers.to_vec();
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let answer = exchange(method, &format!("http://{address}{path}"), &headers, form.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{method} {path} {form}: {}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["status"], "success", "{method} {path}");
        body["data"].clone()
    };

    // "Save & test", then what kind of server it is and which calls it knows.
    let health = ask("POST", "/api/v1/query", "query=1%2B1&time=1700000000.123");
    assert_eq!((&health["resultType"], &health["result"][1]), (&"scalar".into(), &"2".into()));
    let build = ask("GET", "/api/v1/status/buildinfo", "");
    assert!(build.get("features").is_none(), "another product has those");
    let version = build["version"].as_str().unwrap();
    let (major, _) = version.split_once('.').unwrap();
    assert!(major.parse::<u32>().unwrap() >= 3, "{version}");

    // Panels.
    let range =
        "query=sum+by%28code%29+%28rate%28http_requests_total%5B1m0s%5D%29%29&start=1700000000&end=1700001200&step=15";
    let matrix = ask("POST", "/api/v1/query_range", range);
    assert_eq!((&matrix["resultType"], matrix["result"].as_array().unwrap().len()), (&"matrix".into(), 3));
    let points = matrix["result"][0]["values"].as_array().unwrap();
    assert!(points.iter().all(|point| point[0].is_number() && point[1].is_string()));
    let vector = ask("POST", "/api/v1/query", "query=http_requests_total&time=1700000600&timeout=60s&unknown=1");
    assert_eq!(vector["result"].as_array().unwrap().len(), 3);
    let nothing = ask("POST", "/api/v1/query_range", "query=nothing&start=1700000000&end=1700001200&step=15");
    assert_eq!(nothing["result"], serde_json::json!([]), "never null");

    // Exemplars: first whether there is such an endpoint, with times in milliseconds.
    let probe = ask("GET", "/api/v1/query_exemplars?query=test&start=1700000000000&end=1700001200000", "");
    assert_eq!(probe, serde_json::json!([]));
    ask("POST", "/api/v1/query_exemplars", "query=http_requests_total&start=1700000000&end=1700001200");

    // The query builder and completion.
    let scope = "start=1700000000&end=1700001200";
    let names = ask("GET", &format!("/api/v1/label/__name__/values?{scope}&limit=40000"), "");
    assert!(names.as_array().unwrap().contains(&"http_requests_total".into()), "{names}");
    let labels = ask("POST", "/api/v1/labels", &format!("{scope}&limit=40000&match[]=http_requests_total"));
    assert_eq!(labels, serde_json::json!(["__name__", "code", "job"]));
    let labels = ask("GET", &format!("/api/v1/labels?{scope}"), "");
    assert!(labels.as_array().unwrap().len() >= 4);
    let values =
        ask("GET", &format!("/api/v1/label/code/values?{scope}&match[]=http_requests_total%7Bjob%3D%22web%22%7D"), "");
    assert_eq!(values, serde_json::json!(["200", "404", "500"]));
    ask("GET", &format!("/api/v1/label/U__a_2e_b/values?{scope}"), "");
    ask("GET", "/api/v1/metadata?limit=40000", "");
    let every = "match%5B%5D=%7B__name__%21%3D%22%22%7D";
    assert_eq!(ask("GET", &format!("/api/v1/series?{every}&{scope}&limit=5"), "").as_array().unwrap().len(), 5);
    ask("POST", "/api/v1/series", &format!("{every}&{scope}"));

    // Variables: `label_values(metric, label)`, `metrics(re)`, `query_result(expr)`.
    let metrics =
        ask("GET", &format!("/api/v1/label/__name__/values?{scope}&match[]=%7B__name__%3D~%22http.*%22%7D"), "");
    assert_eq!(metrics, serde_json::json!(["http_requests_total"]));
    ask("POST", "/api/v1/query", "query=topk%281%2Chttp_requests_total%29&time=1700001200");
    // Ad-hoc filters: keys, then values of one.
    ask("GET", &format!("/api/v1/labels?{scope}&match[]=%7Bcode%3D%22200%22%7D"), "");
    ask("GET", &format!("/api/v1/label/job/values?{scope}&match[]=%7Bcode%3D%22200%22%7D"), "");

    // Rules, for the alert list and to expand recording rules.
    let rules = ask("GET", "/api/v1/rules", "");
    let listed = rules["groups"][0]["rules"].as_array().unwrap();
    assert_eq!((&listed[0]["type"], &listed[0]["name"]), (&"recording".into(), &"job:requests:rate5m".into()));
    assert_eq!(listed[0]["labels"], serde_json::json!({"team": "a"}));
    assert!(listed[1]["alerts"].is_array());
    ask("GET", "/api/v1/alerts", "");

    // A browser's own requests come from another origin.
    let preflight = [("origin", "https://grafana.example"), ("access-control-request-method", "POST")];
    let allowed = exchange("OPTIONS", &format!("http://{address}/api/v1/query"), &preflight, b"").unwrap();
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, "*"));
    let packed =
        exchange("GET", &format!("http://{address}/api/v1/labels"), &[("accept-encoding", "gzip")], b"").unwrap();
    assert_eq!(packed.status, 200);
}

//! Flows of alerts through a whole router to a receiver that writes down what it gets; time is paused.

use std::time::Duration;

use super::*;
use axum::Json;
use axum::routing::post;
use serde_json::Value;

/// A webhook that keeps what it is sent and fails the first `failures` times.
async fn webhook(failures: usize) -> (String, Arc<Mutex<Vec<Value>>>) {
    let got: Arc<Mutex<Vec<Value>>> = Arc::default();
    let left = Arc::new(Mutex::new(failures));
    let kept = Arc::clone(&got);
    let app = axum::Router::new().route(
        "/",
        post(move |Json(body): Json<Value>| async move {
            let mut left = left.lock();
            if *left > 0 {
                *left -= 1;
                return axum::http::StatusCode::SERVICE_UNAVAILABLE;
            }
            kept.lock().push(body);
            axum::http::StatusCode::OK
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, got)
}

struct Bench {
    router: Arc<Router>,
    got: Arc<Mutex<Vec<Value>>>,
    _folder: tempfile::TempDir,
}

async fn bench(failures: usize, extra: &str) -> Bench {
    let (url, got) = webhook(failures).await;
    let folder = tempfile::tempdir().unwrap();
    let router = router_in(folder.path(), &url, extra).await;
    Bench { router, got, _folder: folder }
}

async fn router_in(folder: &Path, url: &str, extra: &str) -> Arc<Router> {
    let config = Config::parse(&format!(
        "route: {{receiver: w, group_by: [alertname], group_wait: 1s, group_interval: 2s, repeat_interval: 1h}}\n\
         receivers: [{{name: w, webhook_configs: [{{url: '{url}'}}]}}]\n{extra}"
    ))
    .unwrap();
    let options = Options {
        data_dir: folder.to_owned(),
        retention_ms: 3_600_000,
        external_url: "http://am".into(),
        clock: Clock::System,
    };
    Router::start(options, config, Metrics::default()).await.unwrap()
}

fn alert(name: &str, instance: &str) -> PostedAlert {
    PostedAlert {
        labels: BTreeMap::from([("alertname".into(), name.into()), ("instance".into(), instance.into())]),
        annotations: BTreeMap::from([("summary".into(), "text".into())]),
        generator_url: "http://prom".into(),
        ..PostedAlert::default()
    }
}

impl Bench {
    /// Waits until the receiver has `count` notifications.
    async fn received(&self, count: usize) -> Vec<Value> {
        let waited = async {
            while self.got.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.expect("the notification comes");
        self.got.lock().clone()
    }
}

#[tokio::test]
async fn a_group_is_sent_once_then_its_end() {
    let bench = bench(1, "").await;
    bench.router.accept(alert("Down", "a")).await.unwrap();
    bench.router.accept(alert("Down", "b")).await.unwrap();
    let got = bench.received(1).await;
    assert_eq!(got[0]["status"], "firing");
    assert_eq!(got[0]["groupKey"], r#"{}:{alertname="Down"}"#);
    assert_eq!(got[0]["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(got[0]["commonLabels"], serde_json::json!({"alertname": "Down"}));
    assert_eq!(got[0]["commonAnnotations"], serde_json::json!({"summary": "text"}));
    assert_eq!((&got[0]["version"], &got[0]["externalURL"]), (&"4".into(), &"http://am".into()));
    let now = bench.router.now_ms();
    for instance in ["a", "b"] {
        let ended = PostedAlert { ends_at_ms: Some(now), ..alert("Down", instance) };
        bench.router.accept(ended).await.unwrap();
    }
    let got = bench.received(2).await;
    assert_eq!((got.len(), &got[1]["status"]), (2, &"resolved".into()));
}

#[tokio::test]
async fn silenced_and_inhibited_alerts_are_not_sent() {
    let inhibit = "inhibit_rules: [{source_matchers: ['alertname=Source'], target_matchers: ['alertname=Target']}]";
    let bench = bench(0, inhibit).await;
    let now = bench.router.now_ms();
    let silence = crate::silence::Silence {
        id: String::new(),
        matchers: vec![model::matcher::Matcher::equal("instance", "quiet")],
        starts_at_ms: now,
        ends_at_ms: now + 60_000,
        updated_at_ms: 0,
        created_by: "t".into(),
        comment: "c".into(),
    };
    bench.router.state.silences.set(silence, now).unwrap();
    bench.router.accept(alert("Target", "x")).await.unwrap();
    bench.router.accept(alert("Loud", "quiet")).await.unwrap();
    bench.router.accept(alert("Source", "x")).await.unwrap();
    let got = bench.received(1).await;
    assert_eq!(got[0]["groupLabels"]["alertname"], "Source");
    let labels = model::labels! { "alertname" => "Target" };
    assert_eq!(bench.router.inhibited_by(&labels, &bench.router.state.alerts.firing(now)).len(), 1);
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again_after_a_restart() {
    let (url, got) = webhook(0).await;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench { router: router_in(folder.path(), &url, "").await, got, _folder: folder };
    bench.router.accept(alert("Down", "a")).await.unwrap();
    bench.received(1).await;
    let again = router_in(bench._folder.path(), &url, "").await;
    again.accept(alert("Down", "a")).await.unwrap();
    again.accept(alert("Other", "a")).await.unwrap();
    let got = bench.received(2).await;
    assert_eq!(got[1]["groupLabels"]["alertname"], "Other", "the group known from before is not repeated");
}

#[tokio::test]
async fn alerts_that_make_no_sense_are_refused() {
    let bench = bench(0, "").await;
    assert_eq!(bench.router.accept(PostedAlert::default()).await, Err(AlertError::NoLabels));
    let backwards = PostedAlert { starts_at_ms: Some(10), ends_at_ms: Some(5), ..alert("a", "b") };
    assert_eq!(bench.router.accept(backwards).await, Err(AlertError::EndsBeforeStart));
}

//! Following changes.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Stack, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn labelled(name: &str, value: &str) -> serde_json::Value {
    let mut object = config_map(name, value);
    object["metadata"]["labels"] = json!({ "v": value });
    object
}

#[tokio::test]
async fn selectors_turn_changes_into_additions_and_deletions() {
    let stack = Stack::start().await;
    let http = &stack.http;
    http.ok("POST", MAPS, &labelled("a", "1")).await;
    let mut lines = http.watch(&format!("{MAPS}?watch=true&labelSelector=v%3D1")).await;
    assert_eq!(lines.step().await, ("ADDED".into(), "a".into()));
    http.ok("POST", MAPS, &labelled("b", "2")).await;
    http.ok("PUT", &format!("{MAPS}/b"), &labelled("b", "1")).await;
    assert_eq!(lines.step().await, ("ADDED".into(), "b".into()));
    let mut changed = labelled("b", "1");
    changed["data"]["x"] = json!("y");
    http.ok("PUT", &format!("{MAPS}/b"), &changed).await;
    assert_eq!(lines.step().await, ("MODIFIED".into(), "b".into()));
    let moved = http.ok("PUT", &format!("{MAPS}/a"), &labelled("a", "2")).await;
    let event = lines.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["labels"]["v"]), (&json!("DELETED"), &json!("1")));
    assert_eq!(event["object"]["metadata"]["resourceVersion"], moved["metadata"]["resourceVersion"]);
    http.ok("DELETE", &format!("{MAPS}/b"), &json!(null)).await;
    assert_eq!(lines.step().await, ("DELETED".into(), "b".into()));
}

#[tokio::test]
async fn streamed_lists_end_with_a_bookmark() {
    let stack = Stack::start().await;
    stack.http.ok("POST", MAPS, &labelled("a", "1")).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=v"
    );
    let mut lines = stack.http.watch(&path).await;
    assert_eq!(lines.step().await, ("ADDED".into(), "a".into()));
    let bookmark = lines.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let revision: u64 = bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(revision > 1);
    stack.http.ok("POST", MAPS, &labelled("b", "1")).await;
    assert_eq!(lines.step().await, ("ADDED".into(), "b".into()));
}

#[tokio::test]
async fn watches_end_in_time_and_at_shutdown() {
    let stack = Stack::start().await;
    let mut short = stack
        .http
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1&allowWatchBookmarks=true&labelSelector=none"
        ))
        .await;
    let last = short.next().await.unwrap();
    assert_eq!(last["type"], "BOOKMARK", "the client is told how far it has come");
    assert!(short.next().await.is_none());
    let mut long = stack.http.watch(&format!("{MAPS}?watch=1&resourceVersion=1&labelSelector=none")).await;
    stack.shutdown.begin();
    assert!(long.next().await.is_none());
    stack.shutdown.finish(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn revisions_that_are_gone_or_not_yet_there() {
    let stack = Stack::with(|config| config.history.events_max = 5).await;
    let http = &stack.http;
    for value in 0..10 {
        http.ok(
            if value == 0 { "POST" } else { "PUT" },
            &format!("{MAPS}{}", if value == 0 { "" } else { "/a" }),
            &labelled("a", &value.to_string()),
        )
        .await;
    }
    let (code, status) = http.get(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    for path in ["?watch=1&resourceVersion=99999", "?resourceVersion=99999"] {
        let (code, status) = http.get(&format!("{MAPS}{path}")).await;
        assert_eq!(
            (code, &status["details"]["causes"][0]["reason"]),
            (504, &json!("ResourceVersionTooLarge")),
            "{path}"
        );
    }
}

/// A client that stops reading is not waited for: nobody else notices, memory is bounded by the history, and once the
/// history has passed the client its stream ends with 410.
#[tokio::test]
async fn a_slow_client_is_told_to_start_over() {
    let stack = Stack::with(|config| config.history.events_max = 20).await;
    let http = &stack.http;
    let big = "x".repeat(400_000);
    http.ok("POST", MAPS, &config_map("big", "0")).await;
    let mut slow = http.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dbig")).await;
    for value in 0..100 {
        http.ok("PUT", &format!("{MAPS}/big"), &config_map("big", &format!("{value}{big}"))).await;
    }
    let mut events = 0;
    let last = loop {
        let event = slow.next().await.expect("the stream ends with an error, not without a word");
        events += 1;
        if event["type"] == "ERROR" {
            break event;
        }
    };
    assert_eq!((&last["object"]["code"], &last["object"]["reason"]), (&json!(410), &json!("Expired")));
    assert!(events < 100, "{events}");
}

#[tokio::test]
async fn the_number_of_watches_is_limited() {
    let stack = Stack::with(|config| config.limits.watches_max = 1).await;
    let path = format!("{MAPS}?watch=1");
    let first = stack.http.watch(&path).await;
    let response = stack.http.request("GET", &path).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    drop(first);
}

#[tokio::test]
async fn tables_and_metadata() {
    let stack = Stack::start().await;
    let http = &stack.http;
    http.ok("POST", MAPS, &labelled("a", "1")).await;
    let asking = |path: String, accept: &'static str| {
        let request = http.request("GET", &path).header("Accept", accept);
        async move { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap() }
    };
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = asking(MAPS.to_owned(), TABLE).await;
    assert_eq!((&table["kind"], &table["columnDefinitions"][0]["format"]), (&json!("Table"), &json!("name")));
    assert_eq!(table["rows"][0]["cells"][1], 1);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = asking(format!("{MAPS}/a?includeObject=Object"), TABLE).await;
    assert_eq!(whole["rows"][0]["object"]["data"]["v"], "1");
    let metadata = asking(MAPS.to_owned(), "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
    assert_eq!((&metadata["kind"], metadata["items"][0].get("data")), (&json!("PartialObjectMetadataList"), None));
}

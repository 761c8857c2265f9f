//! kube-rs, as the scraper's discovery uses it: lists, watches of both kinds, writes.

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::harness::{PATIENCE, Stack};

async fn client(stack: &Stack) -> Client {
    let kubeconfig = Kubeconfig::read_from(&stack.running.kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "set": "x" } }, "data": { "k": "v" } }))
        .unwrap()
}

#[tokio::test]
async fn writes_and_conflicts() {
    let stack = Stack::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&stack).await, "default");
    let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let again = maps.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    assert!(matches!(again, kube::Error::Api(status) if status.reason == "AlreadyExists"));
    let patch = json!({ "metadata": { "labels": { "more": "1" } } });
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.labels()["more"], "1");
    let strategic = maps.patch("a", &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    assert_eq!(strategic.resource_version(), patched.resource_version(), "nothing changed");
    let stale = maps.replace("a", &PostParams::default(), &made).await.unwrap_err();
    assert!(matches!(stale, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
    let selected = maps.list(&ListParams::default().labels("set=x,more").limit(1)).await.unwrap();
    assert_eq!(selected.items.len(), 1);
    let metadata = maps.list_metadata(&ListParams::default().fields("metadata.name=a")).await.unwrap();
    assert_eq!(metadata.items[0].name_any(), "a");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn watchers_of_both_kinds() {
    let stack = Stack::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&stack).await, "default");
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = Box::pin(watcher::watcher(maps.clone(), config.labels("set=x")));
        let mut next = async || tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(next().await, Event::Init));
        assert!(matches!(next().await, Event::InitApply(map) if map.name_any() == "a"));
        assert!(matches!(next().await, Event::InitDone));
        maps.create(&PostParams::default(), &config_map("b")).await.unwrap();
        assert!(matches!(next().await, Event::Apply(map) if map.name_any() == "b"));
        maps.delete("b", &DeleteParams::default()).await.unwrap();
        assert!(matches!(next().await, Event::Delete(map) if map.name_any() == "b"));
    }
}

#[tokio::test]
async fn discovery_documents() {
    let stack = Stack::start().await;
    let client = client(&stack).await;
    assert_eq!(client.apiserver_version().await.unwrap().minor, "32");
    let discovery = kube::discovery::Discovery::new(client.clone()).run().await.unwrap();
    let groups: Vec<_> = discovery.groups().map(|group| group.name().to_owned()).collect();
    assert_eq!(groups.len(), 3, "{groups:?}");
    let aggregated = kube::discovery::Discovery::new(client.clone()).run_aggregated().await.unwrap();
    assert_eq!(aggregated.groups().count(), 3);
    let pods: Api<Pod> = Api::all(client);
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

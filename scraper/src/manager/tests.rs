//! What a reload does to pools and discoveries, step by step.

use model::labels;
use model::labels::Labels;
use net::client::TlsConfig;

use super::*;
use crate::config::{FileSdConfig, GlobalConfig, ScrapeConfig, StaticConfig};
use crate::testing::Nothing;

/// An actor without its task, and what its discoveries send.
fn actor() -> (Actor, mpsc::Receiver<Update>) {
    let (updates, received) = mpsc::channel(EVENTS_MAX);
    let shared = Nothing::shared();
    let context = discovery::Context::new(Metrics::default(), "test");
    let views = Arc::default();
    (Actor { shared, context, jobs: BTreeMap::new(), generation: 0, updates, views }, received)
}

/// A job with listed targets, which are never scraped within a test.
fn job(name: &str, targets: &[&str]) -> ScrapeConfig {
    let listed = StaticConfig { targets: targets.iter().map(ToString::to_string).collect(), labels: Labels::empty() };
    ScrapeConfig {
        job_name: name.into(),
        scrape_interval: Some("1d".parse().unwrap()),
        static_configs: vec![listed],
        ..ScrapeConfig::default()
    }
}

fn resolved(jobs: &[ScrapeConfig]) -> Vec<JobConfig> {
    jobs.iter().map(|job| job.clone().resolve(&GlobalConfig::default()).unwrap()).collect()
}

fn group(target: &str) -> TargetGroup {
    let targets = vec![labels! { "__address__" => target }];
    TargetGroup { source: "0".into(), targets, labels: Labels::empty() }
}

impl Actor {
    /// Addresses of a job's targets after all that was sent is read and synced.
    async fn settled(&mut self, updates: &mut mpsc::Receiver<Update>, job: &str) -> Vec<String> {
        // Listed targets come from a task of their own.
        if let Some(update) = updates.recv().await {
            self.update(update);
        }
        self.sync().await;
        self.targets(job)
    }

    fn targets(&self, job: &str) -> Vec<String> {
        let views = self.views.read();
        let active = views.get(job).into_iter().flat_map(|view| view.active.iter());
        active.map(|active| active.target.labels.get("instance").unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_cannot_be_run_changes_nothing() {
    let (mut actor, mut updates) = actor();
    let first = actor.prepare(resolved(&[job("a", &["one:1"])])).await.unwrap();
    actor.apply(first).await.unwrap();
    assert_eq!(actor.settled(&mut updates, "a").await, ["one:1"]);
    let mut broken = job("b", &["two:1"]);
    let tls = TlsConfig { ca_file: "/nowhere/ca.pem".into(), ..TlsConfig::default() };
    broken.tls_config = Some(tls);
    let refused = actor.prepare(resolved(&[job("a", &["other:1"]), broken])).await.err().unwrap();
    assert!(refused.to_string().starts_with("scrape config \"b\": "), "{refused}");
    assert!(updates.try_recv().is_err(), "no discovery of it runs");
    actor.sync().await;
    assert_eq!((actor.targets("a"), actor.jobs.len()), (vec!["one:1".to_owned()], 1));
}

#[tokio::test]
async fn what_replaced_discoveries_still_say_is_not_heard() {
    let (mut actor, mut updates) = actor();
    let first = actor.prepare(resolved(&[job("a", &["old:1"])])).await.unwrap();
    actor.apply(first).await.unwrap();
    // The first discovery has spoken, and nobody listened yet, when the reload comes.
    let queued = updates.recv().await.unwrap();
    let second = actor.prepare(resolved(&[job("a", &["new:1"])])).await.unwrap();
    actor.apply(second).await.unwrap();
    assert_eq!(actor.settled(&mut updates, "a").await, ["new:1"]);
    assert_eq!((queued.discovery, queued.groups.len()), (0, 1));
    actor.update(queued);
    actor.sync().await;
    assert_eq!(actor.targets("a"), ["new:1"]);
    // Nor where the job was away in between.
    let away = actor.prepare(Vec::new()).await.unwrap();
    actor.apply(away).await.unwrap();
    let third = actor.prepare(resolved(&[job("a", &["third:1"])])).await.unwrap();
    actor.apply(third).await.unwrap();
    let late = Update { job: "a".into(), discovery: 0, generation: 2, groups: vec![group("old:1")] };
    actor.update(late);
    assert_eq!(actor.settled(&mut updates, "a").await, ["third:1"]);
}

#[tokio::test(start_paused = true)]
async fn targets_of_replaced_discoveries_stay_for_a_while() {
    let (mut actor, mut updates) = actor();
    let first = actor.prepare(resolved(&[job("a", &["one:1"])])).await.unwrap();
    actor.apply(first).await.unwrap();
    assert_eq!(actor.settled(&mut updates, "a").await, ["one:1"]);
    let mut silent = job("a", &[]);
    silent.static_configs.clear();
    let files = FileSdConfig { files: vec!["/nowhere/*.json".into()], refresh_interval: "1d".parse().unwrap() };
    silent.file_sd_configs.push(files);
    let second = actor.prepare(resolved(&[silent.clone()])).await.unwrap();
    actor.apply(second).await.unwrap();
    actor.sync().await;
    assert_eq!(actor.targets("a"), ["one:1"]);
    assert_eq!(actor.settled(&mut updates, "a").await, Vec::<String>::new());
    // Without any discovery there is nothing to wait for.
    silent.file_sd_configs.clear();
    let third = actor.prepare(resolved(&[job("b", &["two:1"])])).await.unwrap();
    actor.apply(third).await.unwrap();
    assert_eq!(actor.settled(&mut updates, "b").await, ["two:1"]);
    silent.job_name = "b".into();
    let last = actor.prepare(resolved(&[silent])).await.unwrap();
    actor.apply(last).await.unwrap();
    actor.sync().await;
    assert_eq!(actor.targets("b"), Vec::<String>::new());
}

#[tokio::test]
async fn only_what_was_prepared_last_is_applied() {
    let (mut actor, _updates) = actor();
    let first = actor.prepare(resolved(&[job("a", &["one:1"])])).await.unwrap();
    let second = actor.prepare(resolved(&[job("b", &["two:1"])])).await.unwrap();
    actor.apply(first).await.unwrap();
    assert!(matches!(actor.apply(second).await, Err(ApplyError::Outdated)));
    assert_eq!(actor.jobs.keys().collect::<Vec<_>>(), ["a"]);
}

//! One target's scrapes.

use axum::Router;
use axum::routing::get;
use model::labels;

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig};
use crate::pool;
use crate::target::{Outcome, TargetGroup, discovered_labels, from_discovered};
use crate::testing::Nothing;

async fn scrape_loop(labels: model::labels::Labels) -> ScrapeLoop {
    let config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
    let job = config.resolve(&GlobalConfig::default()).unwrap();
    let discovered = discovered_labels(&job, &TargetGroup::default(), &labels);
    let Ok(Outcome::Target(target)) = from_discovered(&job, discovered) else { panic!("no target") };
    let shared = Nothing::shared();
    let context = PoolContext {
        client: pool::client(&job, &shared).await.unwrap(),
        fetcher: Fetcher::new(&job),
        job,
        failures: None,
        storage: shared.storage,
        metrics: shared.metrics,
        clock: shared.clock,
        offset_seed: 0,
        features: shared.features,
        timestamp_tolerance: TIMESTAMP_TOLERANCE,
        user_agent: shared.user_agent,
        budget: Arc::default(),
        forced_error: Mutex::new(None),
    };
    ScrapeLoop::new(Arc::new(context), target, Arc::default(), Memory::default())
}

#[tokio::test]
async fn a_target_is_scraped_through_its_socket() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("metrics.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let app = Router::new().route("/metrics", get(|| async { ([("content-type", "text/plain")], "a 1\n") }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    // Nobody listens at the address, which is not asked.
    let labels = labels! { "__address__" => "127.0.0.1:1", "__unix_socket__" => path.to_str().unwrap() };
    let mut scrape_loop = scrape_loop(labels).await;
    scrape_loop.scrape(0).await;
    let status = scrape_loop.target.status.lock().clone();
    assert_eq!((status.health, status.last_error.as_str()), (Health::Up, ""));
    let mut away = self::scrape_loop(labels! { "__unix_socket__" => "/nowhere/metrics.sock" }).await;
    away.scrape(0).await;
    assert_eq!(away.target.status.lock().health, Health::Down);
}

//! The alert router as part of a process: started from flags, and fed by rules without HTTP between.

use std::path::PathBuf;
use std::sync::Arc;

use alertmanager::config::Config;
use alertmanager::metrics::Metrics;
use alertmanager::router::{Options, PostedAlert, Router};
use anyhow::{Context, Result};
use exposition::registry::Registry;
use net::clock::Clock;
use net::server::Server;
use net::shutdown::Shutdown;
use rules::notifier::{Notice, Notifier};
use tokio::sync::mpsc;

/// Alerts that may wait for the router.
const QUEUE_MAX: usize = 10_000;

/// Starts the router behind a bound address.
///
/// # Errors
/// If its state cannot be used.
pub async fn start(
    options: Options,
    config: Config,
    config_file: Option<PathBuf>,
    server: Server,
    registry: Registry,
    shutdown: &Shutdown,
) -> Result<Arc<Router>> {
    let metrics = Metrics::register(&registry);
    let router = Router::start(options, config, metrics).await.context("alert router")?;
    let app = alertmanager::app::routes(Arc::clone(&router), registry, config_file);
    shutdown.spawn(server.serve(app, shutdown.clone()));
    let (upkeep, stop) = (Arc::clone(&router), shutdown.clone());
    shutdown.spawn(async move {
        stop.until(alertmanager::app::maintain(upkeep)).await;
    });
    Ok(router)
}

/// The options of a router in a directory.
pub fn options(data_dir: PathBuf, retention_ms: i64, external_url: String) -> Options {
    Options { data_dir, retention_ms, external_url, clock: Clock::System }
}

/// Hands alerts to a router in the same process.
pub struct LocalNotifier {
    queue: mpsc::Sender<Vec<Notice>>,
}

impl LocalNotifier {
    /// Starts handing alerts over.
    pub fn start(router: Arc<Router>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Vec<Notice>>(QUEUE_MAX);
        tokio::spawn(async move {
            while let Some(notices) = waiting.recv().await {
                for notice in notices {
                    if let Err(error) = router.accept(posted(notice)).await {
                        tracing::error!(%error, "alert refused by the router");
                    }
                }
            }
        });
        Self { queue }
    }
}

impl Notifier for LocalNotifier {
    fn notify(&self, notices: Vec<Notice>) {
        if self.queue.try_send(notices).is_err() {
            tracing::error!(limit = QUEUE_MAX, "alerts dropped: the router is behind");
        }
    }
}

fn posted(notice: Notice) -> PostedAlert {
    PostedAlert {
        labels: notice.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        annotations: notice.annotations,
        starts_at_ms: Some(notice.starts_at_ms),
        ends_at_ms: Some(notice.ends_at_ms),
        generator_url: notice.generator_url,
    }
}

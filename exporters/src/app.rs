//! The exporter's HTTP side: `/metrics` with `collect[]` and `exclude[]`, and a landing page.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use exposition::print;
use exposition::registry::Registry;
use tokio::sync::Semaphore;

use crate::node::NodeExporter;

/// Pages made at the same time, where nothing else is said; node_exporter's `--web.max-requests`.
pub const REQUESTS_MAX: usize = 40;

#[derive(Clone)]
struct App {
    exporter: NodeExporter,
    /// The exporter's own metrics; absent with `--web.disable-exporter-metrics`.
    own: Option<Registry>,
    slots: Arc<Semaphore>,
}

/// Serves `exporter` at `path`. `requests_max` 0 means no limit.
pub fn router(exporter: NodeExporter, own: Option<Registry>, path: &str, requests_max: usize) -> Router {
    let slots = if requests_max == 0 { Semaphore::MAX_PERMITS } else { requests_max };
    let app = App { exporter, own, slots: Arc::new(Semaphore::new(slots)) };
    let landing = format!(
        "<!doctype html><html lang=\"en\"><head><title>Node Exporter</title></head><body><h1>Node Exporter</h1>\
         <p>Metrics of this machine, by Cresset.</p><p><a href=\"{path}\">Metrics</a></p></body></html>"
    );
    let mut router = Router::new().route(path, get(metrics));
    if path != "/" {
        router = router.route("/", get(|| async { Html(landing) }));
    }
    router.with_state(app)
}

async fn metrics(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let Ok(_slot) = app.slots.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Limit of concurrent requests reached, try again later.\n")
            .into_response();
    };
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "collect[]" => include.push(value.into_owned()),
            "exclude[]" => exclude.push(value.into_owned()),
            _ => {}
        }
    }
    let exporter = match app.exporter.filtered(&include, &exclude) {
        Ok(exporter) => exporter,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("Couldn't create filtered metrics handler: {error}\n"))
                .into_response();
        }
    };
    // Collectors read files, which may block.
    let page = tokio::task::spawn_blocking(move || {
        let mut page = String::new();
        print::text(&exporter.collect(), &mut page);
        match app.own.map(|own| own.text()) {
            Some(Ok(own)) => page.push_str(&own),
            Some(Err(error)) => tracing::error!(%error, "own metrics unavailable"),
            None => {}
        }
        page
    })
    .await;
    match page {
        Ok(page) => ([(header::CONTENT_TYPE, print::TEXT_CONTENT_TYPE)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "collecting failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

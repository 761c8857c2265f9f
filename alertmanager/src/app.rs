//! The router's HTTP side: API v2, health, metrics, reload.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as HttpRouter;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use exposition::print;
use exposition::registry::Registry;

use crate::api;
use crate::router::{Router, read_config};

/// How often ended alerts, silences and log entries are looked through.
const GARBAGE_INTERVAL: Duration = Duration::from_secs(60);

/// All routes of the router. `config_file` is what `/-/reload` reads; without one there is nothing to reload.
pub fn routes(router: Arc<Router>, registry: Registry, config_file: Option<PathBuf>) -> HttpRouter {
    let reload = {
        let router = Arc::clone(&router);
        move || reload(Arc::clone(&router), config_file.clone())
    };
    HttpRouter::new()
        .nest("/api/v2", api::routes(Arc::clone(&router)))
        .route("/api/v1/{*rest}", any(gone))
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(|| async { "OK" }))
        .route("/-/reload", post(reload))
        .route("/metrics", get(move || metrics(registry.clone())))
        .route("/", get(|| async { Html(LANDING) }))
}

/// Forgets what has ended, until aborted.
pub async fn maintain(router: Arc<Router>) {
    loop {
        tokio::time::sleep(GARBAGE_INTERVAL).await;
        let router = Arc::clone(&router);
        // Writes files anew now and then.
        if tokio::task::spawn_blocking(move || router.collect_garbage()).await.is_err() {
            tracing::error!("collecting garbage failed");
        }
    }
}

const LANDING: &str = "<!doctype html><html lang=\"en\"><head><title>Alert router</title></head><body>\
    <h1>Alert router</h1><p><a href=\"api/v2/alerts\">Alerts</a> \
    <a href=\"api/v2/alerts/groups\">Groups</a> <a href=\"api/v2/silences\">Silences</a> \
    <a href=\"api/v2/status\">Status</a> <a href=\"metrics\">Metrics</a></p></body></html>";

async fn gone() -> Response {
    let body = r#"{"status":"deprecated","error":"The Alertmanager v1 API was removed, use v2"}"#;
    (StatusCode::GONE, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics(registry: Registry) -> Response {
    match registry.text() {
        Ok(page) => ([(header::CONTENT_TYPE, print::TEXT_CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn reload(router: Arc<Router>, config_file: Option<PathBuf>) -> Response {
    let Some(path) = config_file else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "failed to reload config: no configuration file is in use\n")
            .into_response();
    };
    let result = match tokio::task::spawn_blocking(move || read_config(&path)).await {
        Ok(Ok(config)) => router.reload(config).await.map_err(|e| e.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response()
        }
    }
}

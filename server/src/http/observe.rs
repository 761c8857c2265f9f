//! Counts, durations and sizes of requests, by route, under Prometheus' names.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use exposition::registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::Api;

type Route = Vec<(&'static str, String)>;

const DURATION_BUCKETS: [f64; 14] =
    [0.000_01, 0.000_1, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Instruments of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<Route, Counter>,
    duration: Family<Route, Histogram, fn() -> Histogram>,
    size: Family<Route, Histogram, fn() -> Histogram>,
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(100.0, 10.0, 8))
}

impl HttpMetrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(durations as fn() -> Histogram),
            size: Family::new_with_constructor(sizes as fn() -> Histogram),
        };
        registry.register(|r| {
            r.register("prometheus_http_requests", "Counter of HTTP requests", metrics.requests.clone());
            r.register(
                "prometheus_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests",
                metrics.duration.clone(),
            );
            r.register(
                "prometheus_http_response_size_bytes",
                "Histogram of response size for HTTP requests whose length is known when they are sent",
                metrics.size.clone(),
            );
        });
        metrics
    }
}

/// Observes each request.
pub(super) async fn observe(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    // Routes are few; paths are as many as clients like.
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let handler = matched.replace('{', ":").replace('}', "");
    let began = Instant::now();
    let response = next.run(request).await;
    let route = vec![("handler", handler)];
    let metrics = &api.http_metrics;
    metrics.duration.get_or_create(&route).observe(began.elapsed().as_secs_f64());
    if let Some(size) = response.body().size_hint().exact() {
        metrics.size.get_or_create(&route).observe(size as f64);
    }
    let code = ("code", response.status().as_u16().to_string());
    metrics.requests.get_or_create(&vec![code, route[0].clone()]).inc();
    response
}

//! The scraper's own instruments, under Prometheus' names.

use exposition::registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Instruments;

/// Labels of instruments per job.
pub type JobLabels = Vec<(&'static str, String)>;

/// Shared by all pools; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Pools created.
    pub pools: Counter,
    /// Targets by pool.
    pub pool_targets: Family<JobLabels, Gauge>,
    /// Syncs by pool.
    pub pool_syncs: Family<JobLabels, Counter>,
    /// Targets that could not be made from what was discovered, by pool.
    pub sync_failures: Family<JobLabels, Counter>,
    /// Pools that hit their target limit.
    pub exceeded_target_limit: Counter,
    /// Scrapes that hit the sample limit.
    pub exceeded_sample_limit: Counter,
    /// Scrapes that hit the body size limit.
    pub exceeded_body_size_limit: Counter,
    /// Scrapes with a native histogram of too many buckets.
    pub exceeded_bucket_limit: Counter,
    /// Scrapes that hit a label limit.
    pub exceeded_label_limits: Counter,
    /// Samples dropped over a limit of active series, by pool.
    pub excess_samples: Family<JobLabels, Counter>,
    /// Active series by pool.
    pub active_series: Family<JobLabels, Gauge>,
    /// Samples refused as out of order.
    pub out_of_order: Counter,
    /// Samples refused as duplicates.
    pub duplicate: Counter,
    /// Samples refused as out of bounds.
    pub out_of_bounds: Counter,
    /// Scrapes that began late by more than an interval, so that one was missed.
    pub missed: Counter,
    /// Targets discovered, by job.
    pub discovered: Family<JobLabels, Gauge>,
    /// Files of file discovery that could not be read.
    pub file_errors: Counter,
    /// Refreshes of polling discoveries that failed, by mechanism.
    pub refresh_failures: Family<JobLabels, Counter>,
    /// Of these, of HTTP discovery.
    pub http_failures: Counter,
    /// Questions of DNS discovery.
    pub dns_lookups: Counter,
    /// Of these, not answered.
    pub dns_lookup_failures: Counter,
    /// Requests of Consul discovery that failed.
    pub consul_failures: Counter,
    /// Failures of the Kubernetes watch.
    pub kubernetes_failures: Counter,
    /// Events of the Kubernetes watch, by role and event.
    pub kubernetes_events: Family<JobLabels, Counter>,
}

impl Metrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|r| {
            metrics.register_pools(r);
            metrics.register_limits(r);
            metrics.register_refusals(r);
            metrics.register_discovery(r);
        });
        metrics
    }

    fn register_pools(&self, r: &mut Instruments) {
        r.register("prometheus_target_scrape_pools", "Scrape pools created", self.pools.clone());
        r.register(
            "prometheus_target_scrape_pool_targets",
            "Current number of targets in this scrape pool",
            self.pool_targets.clone(),
        );
        r.register("prometheus_target_scrape_pool_sync", "Syncs executed on a scrape pool", self.pool_syncs.clone());
        r.register("prometheus_target_sync_failed", "Target sync failures", self.sync_failures.clone());
        r.register(
            "cresset_target_scrapes_missed",
            "Scrapes that did not happen because the one before took too long",
            self.missed.clone(),
        );
        r.register(
            "cresset_target_scrape_pool_active_series",
            "Series that the targets of this scrape pool have now",
            self.active_series.clone(),
        );
    }

    fn register_limits(&self, r: &mut Instruments) {
        r.register(
            "prometheus_target_scrape_pool_exceeded_target_limit",
            "Times a scrape pool hit its target limit",
            self.exceeded_target_limit.clone(),
        );
        r.register(
            "prometheus_target_scrapes_exceeded_sample_limit",
            "Scrapes that hit the sample limit",
            self.exceeded_sample_limit.clone(),
        );
        r.register(
            "prometheus_target_scrapes_exceeded_body_size_limit",
            "Scrapes that hit the body size limit",
            self.exceeded_body_size_limit.clone(),
        );
        r.register(
            "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit",
            "Scrapes that hit the native histogram bucket limit",
            self.exceeded_bucket_limit.clone(),
        );
        r.register(
            "prometheus_target_scrape_pool_exceeded_label_limits",
            "Scrapes that hit a label limit",
            self.exceeded_label_limits.clone(),
        );
        r.register(
            "cresset_target_scrape_pool_excess_samples",
            "Samples dropped because their series were new beyond active_series_limit or metric_series_limit",
            self.excess_samples.clone(),
        );
    }

    fn register_refusals(&self, r: &mut Instruments) {
        r.register(
            "prometheus_target_scrapes_sample_out_of_order",
            "Samples rejected as out of order",
            self.out_of_order.clone(),
        );
        r.register(
            "prometheus_target_scrapes_sample_duplicate_timestamp",
            "Samples rejected as duplicates with another value",
            self.duplicate.clone(),
        );
        r.register(
            "prometheus_target_scrapes_sample_out_of_bounds",
            "Samples rejected as outside the time bounds",
            self.out_of_bounds.clone(),
        );
    }

    fn register_discovery(&self, r: &mut Instruments) {
        r.register(
            "prometheus_sd_discovered_targets",
            "Targets discovered, before relabelling",
            self.discovered.clone(),
        );
        r.register(
            "prometheus_sd_file_read_errors",
            "Files of file discovery that could not be read",
            self.file_errors.clone(),
        );
        r.register(
            "prometheus_sd_refresh_failures",
            "Number of refresh failures for the given SD mechanism",
            self.refresh_failures.clone(),
        );
        r.register("prometheus_sd_http_failures", "Failed refreshes of HTTP discovery", self.http_failures.clone());
        r.register("prometheus_sd_dns_lookups", "The number of DNS-SD lookups", self.dns_lookups.clone());
        r.register(
            "prometheus_sd_dns_lookup_failures",
            "The number of DNS-SD lookup failures",
            self.dns_lookup_failures.clone(),
        );
        r.register(
            "prometheus_sd_consul_rpc_failures",
            "The number of Consul RPC call failures",
            self.consul_failures.clone(),
        );
        r.register(
            "prometheus_sd_kubernetes_failures",
            "Failed requests of Kubernetes discovery",
            self.kubernetes_failures.clone(),
        );
        r.register(
            "prometheus_sd_kubernetes_events",
            "Events seen by Kubernetes discovery",
            self.kubernetes_events.clone(),
        );
    }

    /// Labels of instruments per pool.
    pub fn pool_labels(job: &str) -> JobLabels {
        vec![("scrape_job", job.to_owned())]
    }
}

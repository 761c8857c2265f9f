//! The senders' own instruments, under Prometheus' names, each with the labels `remote_name` and `url`.

use std::sync::atomic::AtomicU64;

use exposition::registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::request::Counts;

/// Labels of one destination.
pub(super) type Destination = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// Bounds of the duration of a request, in seconds.
const DURATION_BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0];

/// Counts of samples, histograms or exemplars on their way.
#[derive(Debug, Clone, Default)]
pub(super) struct Kind {
    pub(super) sent: Family<Destination, Counter>,
    pub(super) failed: Family<Destination, Counter>,
    pub(super) retried: Family<Destination, Counter>,
    pub(super) dropped: Family<Destination, Counter>,
    pub(super) pending: Family<Destination, Gauge>,
}

/// Shared by all destinations; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) samples: Kind,
    pub(super) histograms: Kind,
    pub(super) exemplars: Kind,
    pub(super) metadata_sent: Family<Destination, Counter>,
    pub(super) metadata_failed: Family<Destination, Counter>,
    pub(super) bytes: Family<Destination, Counter>,
    pub(super) metadata_bytes: Family<Destination, Counter>,
    pub(super) samples_in: Counter,
    pub(super) highest_in: Seconds,
    pub(super) highest_sent: Family<Destination, Seconds>,
    pub(super) shards: Family<Destination, Gauge>,
    pub(super) shards_max: Family<Destination, Gauge>,
    pub(super) shards_min: Family<Destination, Gauge>,
    pub(super) shards_desired: Family<Destination, Gauge>,
    pub(super) shard_capacity: Family<Destination, Gauge>,
    pub(super) batch_max: Family<Destination, Gauge>,
    pub(super) duration: Family<Destination, Histogram, fn() -> Histogram>,
    pub(super) disk_bytes: Family<Destination, Gauge>,
    pub(super) disk_requests: Family<Destination, Gauge>,
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

impl Metrics {
    /// Registers all instruments.
    pub fn register(registry: &Registry) -> Self {
        let m = Self {
            samples: Kind::default(),
            histograms: Kind::default(),
            exemplars: Kind::default(),
            metadata_sent: Family::default(),
            metadata_failed: Family::default(),
            bytes: Family::default(),
            metadata_bytes: Family::default(),
            samples_in: Counter::default(),
            highest_in: Seconds::default(),
            highest_sent: Family::default(),
            shards: Family::default(),
            shards_max: Family::default(),
            shards_min: Family::default(),
            shards_desired: Family::default(),
            shard_capacity: Family::default(),
            batch_max: Family::default(),
            duration: Family::new_with_constructor(durations as fn() -> Histogram),
            disk_bytes: Family::default(),
            disk_requests: Family::default(),
        };
        registry.register(|r| {
            let p = "prometheus_remote_storage";
            for (name, kind) in [("samples", &m.samples), ("histograms", &m.histograms), ("exemplars", &m.exemplars)] {
                r.register(format!("{p}_{name}"), format!("{name} sent to remote storage"), kind.sent.clone());
                r.register(
                    format!("{p}_{name}_failed"),
                    format!("{name} that remote storage refused for good"),
                    kind.failed.clone(),
                );
                r.register(
                    format!("{p}_{name}_retried"),
                    format!("{name} of requests that are tried again"),
                    kind.retried.clone(),
                );
                r.register(
                    format!("{p}_{name}_dropped"),
                    format!("{name} that are not sent: too old, dropped by relabelling, or past the queue's limits"),
                    kind.dropped.clone(),
                );
                r.register(format!("{p}_{name}_pending"), format!("{name} that wait to be sent"), kind.pending.clone());
            }
            r.register(format!("{p}_metadata"), "Metadata entries sent", m.metadata_sent.clone());
            r.register(format!("{p}_metadata_failed"), "Metadata entries refused", m.metadata_failed.clone());
            r.register(format!("{p}_bytes"), "Bytes sent, compressed", m.bytes.clone());
            r.register(format!("{p}_metadata_bytes"), "Bytes of metadata sent, compressed", m.metadata_bytes.clone());
            r.register(format!("{p}_samples_in"), "Samples read from the log", m.samples_in.clone());
            r.register(
                format!("{p}_highest_timestamp_in_seconds"),
                "Newest sample read from the log",
                m.highest_in.clone(),
            );
            r.register(
                format!("{p}_queue_highest_sent_timestamp_seconds"),
                "Newest sample that was sent",
                m.highest_sent.clone(),
            );
            r.register(format!("{p}_shards"), "Requests that may be under way at a time", m.shards.clone());
            r.register(format!("{p}_shards_max"), "Most shards", m.shards_max.clone());
            r.register(format!("{p}_shards_min"), "Fewest shards", m.shards_min.clone());
            r.register(format!("{p}_shards_desired"), "Shards that the load asks for", m.shards_desired.clone());
            r.register(format!("{p}_shard_capacity"), "Samples that a shard holds in memory", m.shard_capacity.clone());
            r.register(format!("{p}_max_samples_per_send"), "Samples in a request at most", m.batch_max.clone());
            r.register(
                format!("{p}_sent_batch_duration_seconds"),
                "Duration of requests to remote storage",
                m.duration.clone(),
            );
            r.register("cresset_remote_storage_disk_queue_bytes", "Bytes of the queue on disk", m.disk_bytes.clone());
            r.register(
                "cresset_remote_storage_disk_queue_requests",
                "Requests in the queue on disk",
                m.disk_requests.clone(),
            );
        });
        m
    }

    /// Shows how a queue stands; `lanes` are the fewest and the most, `sizes` a lane's capacity and a request's.
    pub(super) fn show(&self, instance: &Destination, state: &QueueState, lanes: (u32, u32), sizes: (u32, u32)) {
        let set = |family: &Family<Destination, Gauge>, value: i64| {
            family.get_or_create(instance).set(value);
        };
        set(&self.samples.pending, i64::from(state.pending.samples));
        set(&self.histograms.pending, i64::from(state.pending.histograms));
        set(&self.exemplars.pending, i64::from(state.pending.exemplars));
        set(&self.shards, state.lanes as i64);
        set(&self.shards_min, i64::from(lanes.0));
        set(&self.shards_max, i64::from(lanes.1));
        set(&self.shard_capacity, i64::from(sizes.0));
        set(&self.batch_max, i64::from(sizes.1));
        set(&self.disk_bytes, state.on_disk.0.cast_signed());
        set(&self.disk_requests, state.on_disk.1.cast_signed());
    }
}

/// How a queue stands.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) pending: Counts,
    pub(super) lanes: usize,
    /// Bytes and requests.
    pub(super) on_disk: (u64, u64),
}

//! The storage as flags and configuration want it.

use std::sync::{Arc, LazyLock};
use std::time::{Duration as StdDuration, Instant};

use anyhow::{Result, anyhow};
use model::duration::Duration;
use model::sample::Timestamp;
use net::clock::Clock;
use net::shutdown::Shutdown;
use tsdb::{Compression, Db, PendingReplay, Retention, RetentionRule};

use crate::app::Options;
use crate::config::StorageConfig;
use crate::flags::WalCompression;

/// How long samples are kept where nothing is said, of time or size.
const DEFAULT_RETENTION: Duration = Duration::from_seconds(15 * 24 * 3600);
/// How often the storage is synced if due, and how often it gets its upkeep.
const SYNC_INTERVAL: StdDuration = StdDuration::from_millis(250);
const UPKEEP_INTERVAL: StdDuration = StdDuration::from_secs(5);
/// How often the log tells how far the replay is.
const PROGRESS_INTERVAL: StdDuration = StdDuration::from_secs(5);

/// What the storage's stopwatch counts from.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is kept: the configuration's word counts before the flags', as upstream has it.
///
/// # Errors
/// If a rule's matchers are no selector.
pub fn retention(options: &Options, config: &StorageConfig) -> Result<Retention> {
    let configured = &config.tsdb.retention;
    let time = Some(configured.time).filter(|time| !time.is_zero()).or(options.tsdb.retention);
    let size = Some(configured.size).filter(|size| size.0 > 0).or(options.tsdb.retention_size);
    let share = Some(configured.percentage).filter(|share| *share > 0.0);
    let mut retention = Retention::default();
    retention.bytes = size.map(|size| size.0).filter(|bytes| *bytes > 0);
    retention.disk_percentage = share;
    let time = time.or((retention.bytes.is_none() && share.is_none()).then_some(DEFAULT_RETENTION));
    retention.time_ms = time.filter(|time| !time.is_zero()).map(Duration::as_millis);
    for rule in &configured.rules {
        let matchers = rule.selector().map_err(|e| anyhow!(e))?;
        retention.rules.push(RetentionRule::new(matchers, rule.time.as_millis()));
    }
    Ok(retention)
}

/// The retention as `status/runtimeinfo` shows it.
pub fn shown(retention: &Retention) -> String {
    let time = retention.time_ms.map(|ms| Duration::from_millis(ms).to_string());
    let size = retention.bytes.map(|bytes| model::bytes::ByteSize(bytes).to_string());
    let share = retention.disk_percentage.map(|share| format!("{share}%"));
    time.into_iter().chain(size).chain(share).collect::<Vec<_>>().join(" or ")
}

/// How many exemplars are kept.
fn exemplars_max(options: &Options, config: &StorageConfig) -> u64 {
    let configured = config.exemplars.clone().unwrap_or_default();
    if options.features.exemplars { configured.max_exemplars } else { 0 }
}

/// Opens the storage: blocks can be queried, and the log is still to be replayed.
///
/// # Errors
/// If the data directory cannot be used.
pub async fn open(options: &Options, configured: &StorageConfig) -> Result<(Arc<Db>, PendingReplay)> {
    let mut config = tsdb::Config::default();
    let flags = &options.tsdb;
    let Retention { time_ms, bytes, disk_percentage, rules, .. } = retention(options, configured)?;
    config.retention_ms = time_ms;
    config.retention_bytes = bytes;
    config.retention_disk_percentage = disk_percentage;
    config.retention_rules = rules;
    config.block_range_ms = flags.block_range.as_millis();
    config.block_range_max_ms = flags.block_range_max.map(Duration::as_millis);
    config.samples_per_chunk = flags.samples_per_chunk;
    config.wal_compression = match (flags.wal_compression, flags.wal_compression_type) {
        (false, _) => Compression::None,
        (true, WalCompression::Snappy) => Compression::Snappy,
        (true, WalCompression::Zstd) => Compression::Zstd,
    };
    if let Some(size) = flags.wal_segment_size {
        config.wal_segment_bytes = size.0;
    }
    if let Some(size) = flags.block_segment_size {
        config.block_segment_bytes = size.0;
    }
    if let Some(policy) = configured.wal.policy().map_err(|e| anyhow!(e))? {
        config.fsync = policy;
    }
    config.out_of_order_window_ms = configured.tsdb.out_of_order_time_window.as_millis();
    config.stale_series_compaction_threshold = configured.tsdb.stale_series_compaction_threshold;
    config.exemplars_max = exemplars_max(options, configured);
    config.lock_file = options.lock;
    config.stopwatch = Some(|| STARTED.elapsed());
    let directory = options.storage.clone();
    Ok(tokio::task::spawn_blocking(move || Db::open_blocks(&directory, config)).await??)
}

/// Replays the log; then the storage takes samples.
///
/// # Errors
/// If the log cannot be read.
pub async fn replay(db: &Db, pending: PendingReplay) -> Result<()> {
    let mut work = tokio::task::spawn_blocking(move || pending.run());
    loop {
        match tokio::time::timeout(PROGRESS_INTERVAL, &mut work).await {
            Ok(done) => break done??,
            Err(_) => {
                let (first, last, current) = db.config().replay_progress.segments();
                tracing::info!(segment = current, first, last, "replaying the write-ahead log");
            }
        }
    }
    let report = db.replay_report();
    if let Some(reason) = &report.snapshot_refused {
        tracing::warn!(%reason, "the snapshot of the last stop was not used: the log was replayed");
    }
    for damage in &report.damage {
        tracing::error!(%damage, "damage found at the start; what is left was kept");
    }
    let (series, samples, segments) = (report.series, report.samples + report.samples_mapped, report.segments);
    tracing::info!(series, samples, segments, blocks = db.block_metas().len(), "storage opened");
    Ok(())
}

/// Puts what a reload may change into force, all or nothing: `in_force` is what a failure goes back to.
///
/// # Errors
/// If a setting is out of its range.
pub fn apply(db: &Db, options: &Options, wanted: &StorageConfig, in_force: &mut StorageConfig) -> Result<()> {
    if let Err(error) = set(db, options, wanted) {
        // It was in force before.
        set(db, options, in_force)?;
        return Err(error);
    }
    in_force.clone_from(wanted);
    Ok(())
}

fn set(db: &Db, options: &Options, configured: &StorageConfig) -> Result<()> {
    db.apply_retention(retention(options, configured)?)?;
    db.set_out_of_order_window(configured.tsdb.out_of_order_time_window.as_millis())?;
    db.set_stale_series_compaction_threshold(configured.tsdb.stale_series_compaction_threshold);
    db.set_exemplars_max(exemplars_max(options, configured));
    Ok(())
}

/// Syncs the storage as its policy asks until the stop. Apart from its upkeep, which may take long.
pub async fn keep_synced(db: Arc<Db>, clock: Clock, shutdown: Shutdown) {
    repeat(db, clock, shutdown, SYNC_INTERVAL, |db, now| db.sync_if_due(now)).await;
}

/// Gives the storage its upkeep until the stop.
pub async fn keep_up(db: Arc<Db>, clock: Clock, shutdown: Shutdown) {
    repeat(db, clock, shutdown, UPKEEP_INTERVAL, |db, now| db.maintain(now)).await;
}

async fn repeat(
    db: Arc<Db>,
    clock: Clock,
    shutdown: Shutdown,
    interval: StdDuration,
    work: fn(&Db, Timestamp) -> Result<(), tsdb::Error>,
) {
    // What goes wrong is told once, and again when it is another thing.
    let mut told = String::new();
    loop {
        let (db, now) = (Arc::clone(&db), Timestamp(clock.now_ms()));
        let failed = match tokio::task::spawn_blocking(move || work(&db, now)).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if !failed.is_empty() && failed != told {
            tracing::error!(error = failed, "storage upkeep failed; it is tried again");
        }
        told = failed;
        if shutdown.until(tokio::time::sleep(interval)).await.is_none() {
            return;
        }
    }
}

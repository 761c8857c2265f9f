//! Service discovery, targets, scrape pools and loops, ingestion.
//!
//! A sample's way through this crate:
//!
//! ```text
//! discovery -> TargetGroup -> pool::sync: target::Target (relabelled, hashed, kept or dropped)
//!   -> scrape_loop: one task a target, offset by its hash
//!   -> fetch: pooled connection, gzip, limits -> page
//!   -> exposition::parse -> series_cache (predicts the next line) -> SeriesRef
//!   -> ingest: one storage::Appender a scrape; stale markers for what is gone; report::up and its kin
//! ```
//!
//! Everything is written through `model::storage::Appendable`; no storage is known here.

pub mod config;
pub mod discovery;
pub mod failure_log;
pub mod features;
pub mod fetch;
pub mod gunzip;
pub mod ingest;
pub mod limits;
pub mod manager;
pub mod metadata_cache;
pub mod metrics;
pub mod pool;
pub mod report;
pub mod scrape_loop;
pub mod series_budget;
pub mod series_cache;
pub mod target;
#[cfg(test)]
mod testing;

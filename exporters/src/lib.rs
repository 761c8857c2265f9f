//! Collectors for the metrics of machines and processes, under the names of the exporters they replace.
//!
//! ```text
//! GET /metrics -> app -> node::NodeExporter: each collector reads its files under --path.procfs, --path.sysfs
//!   -> exposition::family::MetricFamily -> exposition::print::text -> page
//! ```
//!
//! A collector that fails costs only its own metrics: `node_scrape_collector_success` says so.

pub mod app;
pub mod collector;
pub mod node;
pub mod process;

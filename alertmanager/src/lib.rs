//! The alert router: what Alertmanager does, on its configuration, API and files.
//!
//! An alert's way through this crate:
//!
//! ```text
//! POST /api/v2/alerts, or router::Router::accept in-process
//!   -> alerts::Alerts (merged with what is known of it)
//!   -> route::Route::matching -> dispatch: groups, flushed after group_wait, then every group_interval
//!   -> pipeline: inhibited and silenced alerts out -> dedup by the notification log -> receiver, with retries
//!   -> notify_log records what was sent
//! ```
//!
//! Silences and the notification log are kept in Alertmanager's own file formats.

pub mod alert;
pub mod alerts;
pub mod api;
pub mod app;
pub mod config;
pub mod dispatch;
pub mod inhibit;
pub mod journal;
pub mod matchers;
pub mod metrics;
pub mod notify_log;
pub mod pipeline;
pub mod receiver;
pub mod route;
pub mod router;
pub mod silence;

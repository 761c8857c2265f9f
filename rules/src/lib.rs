//! Recording and alerting rules: groups, alert states, the notifier.
//!
//! An alert's way through this crate:
//!
//! ```text
//! rule file -> config::RuleFile -> group::Group, one task a group, offset by its hash
//!   -> evaluate::Evaluator (PromQL at the slot's time) -> samples
//!   -> recording::record: series written under the rule's name
//!   -> alerting::AlertingRule: inactive -> pending -> firing -> resolved; ALERTS and ALERTS_FOR_STATE written
//!   -> notifier::Notifier: HTTP to any Alertmanager, or in-process to the embedded router
//! ```
//!
//! Storage and query engine come in as `model::storage::Appendable` and [`evaluate::Evaluator`].

pub mod alerting;
pub mod config;
pub mod evaluate;
pub mod group;
pub mod manager;
pub mod metrics;
pub mod notifier;
pub mod recording;
pub mod restore;
pub mod rule;
pub mod testing;

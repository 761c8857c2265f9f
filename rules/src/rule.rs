//! A rule of either kind, and what is known of its last evaluation.

use std::collections::BTreeMap;

use model::duration::Duration;
use model::labels::{LabelsBuilder, METRIC_NAME};

use crate::alerting::AlertingRule;
use crate::config::{GroupConfig, RuleConfig};
use crate::evaluate::VectorSample;
use crate::recording::RecordingRule;

/// How the last evaluation went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RuleHealth {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It succeeded.
    Good,
    /// It failed, and why.
    Bad(String),
}

impl RuleHealth {
    /// As the API shows it.
    pub fn as_str(&self) -> &'static str {
        match self {
            RuleHealth::Unknown => "unknown",
            RuleHealth::Good => "ok",
            RuleHealth::Bad(_) => "err",
        }
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<&str> {
        match self {
            RuleHealth::Bad(error) => Some(error),
            _ => None,
        }
    }
}

/// What is known of the last evaluation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleStatus {
    /// How it went.
    pub health: RuleHealth,
    /// When, in milliseconds since the epoch.
    pub evaluated_ms: Option<i64>,
    /// How long it took.
    pub seconds: f64,
}

/// Of which kind a rule is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Writes a series.
    Recording(RecordingRule),
    /// Raises alerts.
    Alerting(AlertingRule),
}

/// A rule and its state.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it does.
    pub kind: Kind,
    /// What became of it.
    pub status: RuleStatus,
}

/// A rule's result breaks a rule of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// Two samples got the same labels.
    #[error("vector contains metrics with the same labelset after applying {0} labels")]
    DuplicateLabels(&'static str),
    /// More than the group's limit.
    #[error("exceeded limit of {limit} with {count} {what}")]
    Limit {
        /// The limit.
        limit: u64,
        /// What there was.
        count: usize,
        /// `series` or `alerts`.
        what: &'static str,
    },
}

impl Rule {
    /// From its configuration; the group's labels stand under its own.
    pub fn new(config: &RuleConfig, group: &GroupConfig) -> Self {
        let mut labels = group.labels.clone();
        labels.extend(config.labels.clone());
        let kind = match config.alert.is_empty() {
            true => Kind::Recording(RecordingRule { record: config.record.clone(), expr: config.expr.clone(), labels }),
            false => Kind::Alerting(AlertingRule::new(
                config.alert.clone(),
                config.expr.clone(),
                config.r#for.unwrap_or(Duration::ZERO),
                config.keep_firing_for.unwrap_or(Duration::ZERO),
                labels,
                config.annotations.clone(),
            )),
        };
        Self { kind, status: RuleStatus::default() }
    }

    /// The name of what it records or alerts.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Recording(rule) => &rule.record,
            Kind::Alerting(rule) => &rule.name,
        }
    }

    /// Its expression.
    pub fn expr(&self) -> &str {
        match &self.kind {
            Kind::Recording(rule) => &rule.expr,
            Kind::Alerting(rule) => &rule.expr,
        }
    }

    /// Its labels as configured.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        match &self.kind {
            Kind::Recording(rule) => &rule.labels,
            Kind::Alerting(rule) => &rule.labels,
        }
    }

    /// Whether it carries on the state of `other` after a reload.
    pub fn continues(&self, other: &Rule) -> bool {
        self.name() == other.name()
            && self.labels() == other.labels()
            && matches!(
                (&self.kind, &other.kind),
                (Kind::Recording(_), Kind::Recording(_)) | (Kind::Alerting(_), Kind::Alerting(_))
            )
    }
}

/// The labels of a result without its metric name, to be added to.
pub(crate) fn without_name(sample: &VectorSample) -> LabelsBuilder {
    let mut builder = sample.labels.to_builder();
    builder.delete(METRIC_NAME);
    builder
}

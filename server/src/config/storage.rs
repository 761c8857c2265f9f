//! The `storage` section.

use model::bytes::ByteSize;
use model::duration::Duration;
use model::matcher::Matcher;
use serde::{Deserialize, Serialize};

use super::{is_default, null_is_default};

/// Exemplars kept where the section says nothing and the feature is on.
const DEFAULT_EXEMPLARS: u64 = 100_000;

/// `storage`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct StorageConfig {
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub tsdb: TsdbConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemplars: Option<ExemplarsConfig>,
    /// Beyond Prometheus: the write-ahead log.
    #[serde(skip_serializing_if = "is_default")]
    pub wal: WalConfig,
}

/// `storage.tsdb`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct TsdbConfig {
    #[serde(skip_serializing_if = "is_default")]
    pub out_of_order_time_window: Duration,
    #[serde(skip_serializing_if = "is_default")]
    pub stale_series_compaction_threshold: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub chunk_encoding: ChunkEncodingConfig,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub retention: RetentionConfig,
}

/// `storage.tsdb.chunk_encoding`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct ChunkEncodingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floats: Option<FloatEncoding>,
}

/// How chunks of floats are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatEncoding {
    /// As ever.
    Xor,
    /// With start timestamps.
    Xor2,
}

/// `storage.tsdb.retention`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct RetentionConfig {
    #[serde(skip_serializing_if = "is_default")]
    pub time: Duration,
    #[serde(skip_serializing_if = "is_default")]
    pub size: ByteSize,
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: f64,
    /// Beyond Prometheus: other times for the series that matchers accept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RetentionRule>,
}

/// How long some series are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// A selector such as `{job="batch"}`.
    pub matchers: String,
    /// How long.
    pub time: Duration,
}

impl RetentionRule {
    /// Its matchers.
    ///
    /// # Errors
    /// If they are no selector.
    pub fn selector(&self) -> Result<Vec<Matcher>, String> {
        promql::parser::parse_selector(&self.matchers)
            .map_err(|error| format!("storage.tsdb.retention.rules: matchers {:?}: {error}", self.matchers))
    }
}

/// `storage.exemplars`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct ExemplarsConfig {
    pub max_exemplars: u64,
}

impl Default for ExemplarsConfig {
    fn default() -> Self {
        Self { max_exemplars: DEFAULT_EXEMPLARS }
    }
}

/// `storage.wal`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// When the log is made durable: `always`, `segment`, or `every <duration>`; every second if absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fsync: String,
}

impl WalConfig {
    /// The policy.
    ///
    /// # Errors
    /// If it is none.
    pub fn policy(&self) -> Result<Option<tsdb::Fsync>, String> {
        match self.fsync.split_whitespace().collect::<Vec<_>>()[..] {
            [] => Ok(None),
            ["always"] => Ok(Some(tsdb::Fsync::Always)),
            ["segment"] => Ok(Some(tsdb::Fsync::Segment)),
            ["every", time] => match time.parse::<Duration>() {
                Ok(time) if !time.is_zero() => Ok(Some(tsdb::Fsync::Every(time.as_std()))),
                _ => Err(format!("storage.wal.fsync: {time:?} is no duration above 0")),
            },
            _ => Err(format!(
                "storage.wal.fsync: expected \"always\", \"segment\" or \"every <duration>\", got {:?}",
                self.fsync
            )),
        }
    }
}

impl StorageConfig {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// All faults.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let percentage = self.tsdb.retention.percentage;
        if !(0.0..=100.0).contains(&percentage) {
            faults.push(format!("'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percentage}"));
        }
        if !(0.0..=1.0).contains(&self.tsdb.stale_series_compaction_threshold) {
            faults.push("'storage.tsdb.stale_series_compaction_threshold' must be in the range [0, 1]".into());
        }
        faults.extend(self.tsdb.retention.rules.iter().filter_map(|rule| rule.selector().err()));
        faults.extend(self.wal.policy().err());
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

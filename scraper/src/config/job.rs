//! The `scrape_configs` section.

use std::collections::BTreeMap;
use std::path::Path;

use model::bytes::ByteSize;
use model::duration::Duration;
use model::labels::NameScheme;
use model::relabel::{RelabelConfig, RelabelRule};
use serde::{Deserialize, Serialize};

use super::places::KeyFault;
use super::protocol::validate_protocols;
use super::{
    DEFAULT_PROTOCOLS, DEFAULT_TIMEOUT, DiscoveryConfigs, EscapingScheme, GlobalConfig, NATIVE_HISTOGRAM_PROTOCOLS,
    Scheme, ScrapeProtocol, ValidationScheme, is_default,
};
use crate::with_discovery;

/// Limits that a job inherits from the global section; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Samples per scrape after metric relabelling.
    pub samples: u64,
    /// Targets per job after relabelling.
    pub targets: u64,
    /// Active series per job, over all its targets; what is new beyond it is dropped.
    pub active_series: u64,
    /// Active series per metric of a job, likewise.
    pub metric_series: u64,
    /// Labels per series.
    pub labels: u64,
    /// Bytes of a label name.
    pub label_name_bytes: u64,
    /// Bytes of a label value.
    pub label_value_bytes: u64,
    /// Bytes of a page, uncompressed.
    pub body_bytes: u64,
    /// Buckets of a native histogram.
    pub native_histogram_buckets: u64,
    /// Dropped targets that are remembered to be shown.
    pub keep_dropped_targets: u64,
}

with_discovery! {
    /// One entry of `scrape_configs`, as written. What is absent or 0 is inherited.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct ScrapeConfig {
        pub job_name: String,
        #[serde(skip_serializing_if = "is_default")]
        pub honor_labels: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub honor_timestamps: Option<bool>,
        pub track_timestamps_staleness: bool,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub params: BTreeMap<String, Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_interval: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_timeout: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fallback_scrape_protocol: Option<ScrapeProtocol>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scrape_native_histograms: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub always_scrape_classic_histograms: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub scrape_failure_log_file: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metrics_path: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scheme: Option<Scheme>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_compression: Option<bool>,
        #[serde(skip_serializing_if = "is_default")]
        pub body_size_limit: ByteSize,
        #[serde(skip_serializing_if = "is_default")]
        pub sample_limit: u64,
        /// Not upstream's: how many active series all targets of the job may have together.
        #[serde(skip_serializing_if = "is_default")]
        pub active_series_limit: u64,
        /// Not upstream's: how many of them one metric may have.
        #[serde(skip_serializing_if = "is_default")]
        pub metric_series_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub target_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub label_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub label_name_length_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub label_value_length_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub native_histogram_bucket_limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        pub native_histogram_min_bucket_factor: f64,
        #[serde(skip_serializing_if = "is_default")]
        pub keep_dropped_targets: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metric_name_validation_scheme: Option<ValidationScheme>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metric_name_escaping_scheme: Option<EscapingScheme>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub extra_scrape_metrics: Option<bool>,
    } {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub metric_relabel_configs: Vec<RelabelConfig>,
    }
}

/// What a scrape makes of histograms.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HistogramConfig {
    /// Native ones are stored as such.
    pub native: bool,
    /// Classic series are stored beside the native form.
    pub always_classic: bool,
    /// Classic ones are turned into native ones with custom buckets.
    pub classic_to_custom: bool,
    /// Buckets are merged until each is at least so much wider than the one before; 0 for as they come.
    pub min_bucket_factor: f64,
}

/// A job ready to run: everything inherited is filled in, rules are compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// As written, with what it inherits filled in: what `status/config` shows.
    pub written: ScrapeConfig,
    /// Name of the job.
    pub name: String,
    /// Time between scrapes.
    pub interval: Duration,
    /// How long a scrape may take; `timeout <= interval`.
    pub timeout: Duration,
    /// Formats to ask for, best first.
    pub protocols: Vec<ScrapeProtocol>,
    /// How names beyond the older formats are asked for.
    pub escaping: EscapingScheme,
    /// Whether timestamps on pages are used.
    pub honor_timestamps: bool,
    /// Whether pages may be compressed.
    pub compression: bool,
    /// Whether the `scrape_*` extras are written.
    pub extra_metrics: bool,
    /// Histograms.
    pub histograms: HistogramConfig,
    /// Limits.
    pub limits: Limits,
    /// Which names are valid.
    pub names: NameScheme,
    /// What finds targets.
    pub discovery: DiscoveryConfigs,
    /// For targets.
    pub relabel: Vec<RelabelRule>,
    /// For samples.
    pub metric_relabel: Vec<RelabelRule>,
}

/// `own`, or `inherited` if that is 0.
fn or_inherited<T: Default + PartialEq>(own: &mut T, inherited: T) {
    if is_default(own) {
        *own = inherited;
    }
}

/// What came of a step, its fault noted.
fn noted<T>(result: Result<T, KeyFault>, faults: &mut Vec<KeyFault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// The rules under `key`, those that make no sense noted.
fn compiled(key: &str, rules: &[RelabelConfig], names: NameScheme, faults: &mut Vec<KeyFault>) -> Vec<RelabelRule> {
    let compile = |(index, rule): (usize, &RelabelConfig)| {
        let rule = RelabelRule::new(rule.clone(), names);
        noted(rule.map_err(|error| KeyFault::here(error.to_string()).item(index).within(key)), faults)
    };
    rules.iter().enumerate().filter_map(compile).collect()
}

/// What is wrong with the rules under `key`.
pub fn rule_faults(key: &str, rules: &[RelabelConfig], names: NameScheme) -> Vec<KeyFault> {
    let mut faults = Vec::new();
    let _checked = compiled(key, rules, names, &mut faults);
    faults
}

impl ScrapeConfig {
    /// Fills in what is inherited, checks, and compiles. `global` is resolved.
    ///
    /// # Errors
    /// All that is wrong with the job.
    pub fn resolve(mut self, global: &GlobalConfig) -> Result<JobConfig, Vec<KeyFault>> {
        let what = format!("scrape config {:?}", self.job_name);
        let mut faults = Vec::new();
        if self.job_name.is_empty() {
            faults.push(KeyFault::here("job_name is empty"));
        }
        let times = noted(self.inherit_times(global), &mut faults);
        faults.extend(self.validate_http_client().err().map(|error| KeyFault::here(error.to_string())));
        let discovery = self.discovery();
        faults.extend(discovery.faults());
        if self.relabel_configs.is_empty() {
            faults.extend(self.address_faults());
        }
        let names = noted(self.inherit_names(global), &mut faults).unwrap_or_default().into();
        let relabel = compiled("relabel_configs", &self.relabel_configs, names, &mut faults);
        let metric_relabel = compiled("metric_relabel_configs", &self.metric_relabel_configs, names, &mut faults);
        let histograms = self.inherit_histograms(global);
        let protocols = noted(self.inherit_protocols(global, histograms.native), &mut faults);
        self.metrics_path.get_or_insert_with(|| "/metrics".into());
        self.scheme.get_or_insert_default();
        or_inherited(&mut self.scrape_failure_log_file, global.scrape_failure_log_file.clone());
        let (Some((interval, timeout)), Some(protocols), true) = (times, protocols, faults.is_empty()) else {
            return Err(faults.into_iter().map(|fault| fault.told_of(&what)).collect());
        };
        Ok(JobConfig {
            name: self.job_name.clone(),
            interval,
            timeout,
            protocols,
            escaping: self.metric_name_escaping_scheme.unwrap_or(EscapingScheme::AllowUtf8),
            honor_timestamps: *self.honor_timestamps.get_or_insert(true),
            compression: *self.enable_compression.get_or_insert(true),
            extra_metrics: *self.extra_scrape_metrics.get_or_insert(global.extra_scrape_metrics),
            histograms,
            limits: self.inherit_limits(global),
            names,
            discovery,
            relabel,
            metric_relabel,
            written: self,
        })
    }

    fn inherit_times(&mut self, global: &GlobalConfig) -> Result<(Duration, Duration), KeyFault> {
        let given = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        let interval = given(self.scrape_interval).unwrap_or(global.scrape_interval);
        let inherited = global.scrape_timeout.unwrap_or(DEFAULT_TIMEOUT).min(interval);
        let timeout = given(self.scrape_timeout).unwrap_or(inherited);
        if timeout > interval {
            let key = if given(self.scrape_timeout).is_some() { "scrape_timeout" } else { "scrape_interval" };
            let reason = format!("scrape timeout {timeout} is greater than scrape interval {interval}");
            return Err(KeyFault::of(key, reason));
        }
        (self.scrape_interval, self.scrape_timeout) = (Some(interval), Some(timeout));
        Ok((interval, timeout))
    }

    fn inherit_names(&mut self, global: &GlobalConfig) -> Result<ValidationScheme, KeyFault> {
        let own = self.metric_name_validation_scheme;
        let names = *self.metric_name_validation_scheme.get_or_insert(global.metric_name_validation_scheme);
        let inherited = match own {
            Some(_) => EscapingScheme::for_names(names),
            None => global
                .metric_name_escaping_scheme
                .unwrap_or(EscapingScheme::for_names(global.metric_name_validation_scheme)),
        };
        let escaping = *self.metric_name_escaping_scheme.get_or_insert(inherited);
        if escaping == EscapingScheme::AllowUtf8 && names == ValidationScheme::Legacy {
            let reason = "utf8 metric names requested but validation scheme is not set to UTF8";
            return Err(KeyFault::of("metric_name_escaping_scheme", reason));
        }
        Ok(names)
    }

    fn inherit_histograms(&mut self, global: &GlobalConfig) -> HistogramConfig {
        HistogramConfig {
            native: *self.scrape_native_histograms.get_or_insert(global.scrape_native_histograms),
            always_classic: *self
                .always_scrape_classic_histograms
                .get_or_insert(global.always_scrape_classic_histograms),
            classic_to_custom: *self
                .convert_classic_histograms_to_nhcb
                .get_or_insert(global.convert_classic_histograms_to_nhcb),
            min_bucket_factor: self.native_histogram_min_bucket_factor,
        }
    }

    fn inherit_protocols(&mut self, global: &GlobalConfig, is_native: bool) -> Result<Vec<ScrapeProtocol>, KeyFault> {
        let inherited = || match (&global.scrape_protocols, is_native) {
            (Some(protocols), _) => protocols.clone(),
            (None, true) => NATIVE_HISTOGRAM_PROTOCOLS.to_vec(),
            (None, false) => DEFAULT_PROTOCOLS.to_vec(),
        };
        let protocols = self.scrape_protocols.get_or_insert_with(inherited);
        validate_protocols(protocols).map_err(|reason| KeyFault::of("scrape_protocols", reason))?;
        Ok(protocols.clone())
    }

    fn inherit_limits(&mut self, global: &GlobalConfig) -> Limits {
        or_inherited(&mut self.body_size_limit, global.body_size_limit);
        or_inherited(&mut self.sample_limit, global.sample_limit);
        or_inherited(&mut self.active_series_limit, global.active_series_limit);
        or_inherited(&mut self.metric_series_limit, global.metric_series_limit);
        or_inherited(&mut self.target_limit, global.target_limit);
        or_inherited(&mut self.label_limit, global.label_limit);
        or_inherited(&mut self.label_name_length_limit, global.label_name_length_limit);
        or_inherited(&mut self.label_value_length_limit, global.label_value_length_limit);
        or_inherited(&mut self.keep_dropped_targets, global.keep_dropped_targets);
        Limits {
            samples: self.sample_limit,
            targets: self.target_limit,
            active_series: self.active_series_limit,
            metric_series: self.metric_series_limit,
            labels: self.label_limit,
            label_name_bytes: self.label_name_length_limit,
            label_value_bytes: self.label_value_length_limit,
            body_bytes: self.body_size_limit.0,
            native_histogram_buckets: self.native_histogram_bucket_limit,
            keep_dropped_targets: self.keep_dropped_targets,
        }
    }

    /// Checks listed addresses. Where they are relabelled they may be anything.
    fn address_faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        for (group, listed) in self.static_configs.iter().enumerate() {
            let bad =
                listed.targets.iter().enumerate().filter(|(_, address)| address.contains('/') || address.is_empty());
            faults.extend(bad.map(|(index, address)| {
                let fault = KeyFault::here(format!("{address:?} is not a valid hostname"));
                fault.item(index).within("targets").item(group).within("static_configs")
            }));
        }
        faults
    }

    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &Path) {
        self.resolve_http_paths(directory);
        self.resolve_discovery_paths(directory);
        if !self.scrape_failure_log_file.is_empty() {
            self.scrape_failure_log_file = directory.join(&self.scrape_failure_log_file).to_string_lossy().into_owned();
        }
    }
}

//! Targets: from discovered labels, by relabelling, to a URL and the labels every sample gets.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use model::duration::Duration;
use model::labels::{INSTANCE, JOB, Labels, LabelsBuilder};
use model::relabel::{self, Verdict};
use parking_lot::Mutex;
use url::Url;

use crate::config::{HistogramConfig, JobConfig, Scheme};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
/// What is made of histograms, in the order of [`flags_of`].
const HISTOGRAM_FLAGS: [&str; 3] =
    ["__scrape_native_histograms__", "__always_scrape_classic_histograms__", "__convert_classic_histograms_to_nhcb__"];
const PARAM_PREFIX: &str = "__param_";
/// The socket file through which a target is reached, whatever its address.
const UNIX_SOCKET: &str = "__unix_socket__";
/// Stands in URLs of targets that have a socket and no address.
const SOCKET_HOST: &str = "localhost";
const META_PREFIX: &str = "__meta_";
/// Labels with this prefix are gone after relabelling.
const RESERVED_PREFIX: &str = "__";

/// Targets found together, under a name that later updates refer to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TargetGroup {
    /// Unique within its discovery.
    pub source: String,
    /// Labels of each target, `__address__` among them.
    pub targets: Vec<Labels>,
    /// Labels that all of them get, unless they have their own.
    pub labels: Labels,
}

/// What became of the last scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// As the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// State that changes with each scrape.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What became of the last scrape.
    pub health: Health,
    /// Why it failed, empty if it did not.
    pub last_error: String,
    /// When it began, in milliseconds since the epoch; `None` before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took, in seconds.
    pub last_duration_seconds: f64,
    /// How many of its samples were dropped, since their series were new beyond a limit of active series.
    pub excess_series: u64,
}

/// Something to scrape. Equal targets have equal `labels` and `url`.
#[derive(Debug)]
pub struct Target {
    /// Labels before relabelling.
    pub discovered: Labels,
    /// Labels that its samples get.
    pub labels: Labels,
    /// Where its page is.
    pub url: Url,
    /// The socket file through which it is reached, if not by its address.
    pub socket: Option<PathBuf>,
    /// Time between scrapes.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// What is made of its histograms.
    pub histograms: HistogramConfig,
    /// What became of the last scrape.
    pub status: Mutex<Status>,
}

/// What relabelling made of discovered labels.
#[derive(Debug)]
pub enum Outcome {
    /// A target to scrape.
    Target(Arc<Target>),
    /// Dropped by a rule.
    Dropped(Labels),
}

/// Why discovered labels do not make a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing says where it is.
    #[error("no address")]
    NoAddress,
    /// The address has a path or is otherwise no `host:port`.
    #[error("{0:?} is not a valid hostname")]
    BadAddress(String),
    /// `__scrape_interval__` or `__scrape_timeout__` cannot be used.
    #[error("error parsing {label}: {reason}")]
    BadDuration {
        /// Which label.
        label: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Neither true nor false.
    #[error("{label}: {value:?} is neither true nor false")]
    BadFlag {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
    /// A label value or name that may not be.
    #[error("invalid label: {0}")]
    BadLabel(String),
    /// The parts do not make a URL.
    #[error("invalid target URL: {0}")]
    BadUrl(String),
}

impl Target {
    /// A number that stays the same as long as the target does: spreads scrapes over the interval.
    pub fn hash(&self) -> u64 {
        let socket = self.socket.as_deref().map_or(0, |path| model::labels::hash_packed(path.as_os_str().as_bytes()));
        self.labels.hash64() ^ model::labels::hash_packed(self.url.as_str().as_bytes()) ^ socket
    }

    /// Its URL for logs.
    pub fn shown_url(&self) -> String {
        net::auth::masked_url(self.url.as_str())
    }

    /// Whether `other` is to be scraped in the same way under the same labels.
    pub fn is_same(&self, other: &Target) -> bool {
        self.labels == other.labels
            && self.url == other.url
            && self.socket == other.socket
            && self.interval == other.interval
            && self.timeout == other.timeout
            && self.histograms == other.histograms
    }
}

/// Labels of one discovered target before relabelling: its own, its group's, and the job's defaults.
pub fn discovered_labels(job: &JobConfig, group: &TargetGroup, target: &Labels) -> Labels {
    let mut builder = target.to_builder();
    for (name, value) in group.labels.iter() {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    }
    let set_default = |name: &str, value: &str, builder: &mut LabelsBuilder| {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    };
    set_default(JOB, &job.name, &mut builder);
    set_default(SCRAPE_INTERVAL, &job.interval.to_string(), &mut builder);
    set_default(SCRAPE_TIMEOUT, &job.timeout.to_string(), &mut builder);
    set_default(METRICS_PATH, job.written.metrics_path.as_deref().unwrap_or("/metrics"), &mut builder);
    set_default(SCHEME, job.written.scheme.unwrap_or_default().as_str(), &mut builder);
    for (name, flag) in HISTOGRAM_FLAGS.into_iter().zip(flags_of(&job.histograms)) {
        set_default(name, if flag { "true" } else { "false" }, &mut builder);
    }
    for (name, values) in &job.written.params {
        if let Some(value) = values.first() {
            set_default(&format!("{PARAM_PREFIX}{name}"), value, &mut builder);
        }
    }
    builder.build()
}

/// Relabels discovered labels and makes a target of what remains.
///
/// # Errors
/// If they make no target; the caller shows it with the job.
pub fn from_discovered(job: &JobConfig, discovered: Labels) -> Result<Outcome, TargetError> {
    let mut builder = discovered.to_builder();
    if relabel::apply(&job.relabel, &mut builder) == Verdict::Drop {
        return Ok(Outcome::Dropped(discovered));
    }
    let socket = builder.get(UNIX_SOCKET).map(PathBuf::from);
    let address = builder.get(ADDRESS).or(socket.as_ref().map(|_| "")).ok_or(TargetError::NoAddress)?.to_owned();
    if address.contains('/') {
        return Err(TargetError::BadAddress(address));
    }
    let interval = duration_label(&builder, SCRAPE_INTERVAL, job.interval)?;
    let timeout = duration_label(&builder, SCRAPE_TIMEOUT, job.timeout)?;
    if timeout > interval {
        let reason = format!("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})");
        return Err(TargetError::BadDuration { label: SCRAPE_TIMEOUT, reason });
    }
    let histograms = histograms_of(&builder, job.histograms)?;
    let url = target_url(job, &builder, if address.is_empty() { SOCKET_HOST } else { &address })?;
    if builder.get(INSTANCE).is_none() && !address.is_empty() {
        builder.set(INSTANCE, &address);
    }
    builder.retain(|name, _| !name.starts_with(RESERVED_PREFIX) && !name.starts_with(META_PREFIX));
    let labels = builder.build();
    labels.validate(job.names).map_err(|e| TargetError::BadLabel(e.to_string()))?;
    let status = Mutex::new(Status::default());
    Ok(Outcome::Target(Arc::new(Target { discovered, labels, url, socket, interval, timeout, histograms, status })))
}

fn flags_of(histograms: &HistogramConfig) -> [bool; 3] {
    [histograms.native, histograms.always_classic, histograms.classic_to_custom]
}

/// What is made of the target's histograms: as the job has it, unless relabelling says otherwise.
fn histograms_of(labels: &LabelsBuilder, job: HistogramConfig) -> Result<HistogramConfig, TargetError> {
    let mut flags = flags_of(&job);
    for (label, flag) in HISTOGRAM_FLAGS.into_iter().zip(&mut flags) {
        *flag = match labels.get(label) {
            None => *flag,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(other) => return Err(TargetError::BadFlag { label, value: other.to_owned() }),
        };
    }
    let [native, always_classic, classic_to_custom] = flags;
    Ok(HistogramConfig { native, always_classic, classic_to_custom, ..job })
}

fn duration_label(labels: &LabelsBuilder, label: &'static str, default: Duration) -> Result<Duration, TargetError> {
    let Some(text) = labels.get(label) else { return Ok(default) };
    let bad = |reason: String| TargetError::BadDuration { label, reason };
    let duration: Duration = text.parse().map_err(|e: model::duration::DurationError| bad(e.to_string()))?;
    if duration.is_zero() {
        return Err(bad("cannot be 0".into()));
    }
    Ok(duration)
}

fn target_url(job: &JobConfig, labels: &LabelsBuilder, address: &str) -> Result<Url, TargetError> {
    let scheme = labels.get(SCHEME).unwrap_or(Scheme::Http.as_str());
    let path = labels.get(METRICS_PATH).unwrap_or("/metrics");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{address}{slash}{path}");
    let mut url = Url::parse(&text).map_err(|e| TargetError::BadUrl(format!("{text:?}: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TargetError::BadUrl(format!("scheme {scheme:?} must be http or https")));
    }
    // A `__param_` label replaces the first value of its parameter; further values stay.
    let mut params: BTreeMap<String, Vec<String>> = job.written.params.clone();
    for (name, value) in labels.iter() {
        if let Some(param) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(param.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, values) in &params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GlobalConfig, ScrapeConfig};
    use model::labels;
    use model::relabel::{Action, RelabelConfig};

    fn job(change: fn(&mut ScrapeConfig)) -> JobConfig {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        change(&mut config);
        config.resolve(&GlobalConfig::default()).unwrap()
    }

    fn target(job: &JobConfig, labels: Labels) -> Result<Outcome, TargetError> {
        from_discovered(job, discovered_labels(job, &TargetGroup::default(), &labels))
    }

    #[test]
    fn labels_become_a_url_and_what_samples_get() {
        let job = job(|c| {
            c.params.insert("module".into(), vec!["a".into(), "b".into()]);
        });
        let labels = labels! { "__address__" => "h:1", "__param_module" => "x", "__meta_y" => "z", "zone" => "1" };
        let Ok(Outcome::Target(target)) = target(&job, labels) else { panic!() };
        assert_eq!(target.url.as_str(), "http://h:1/metrics?module=x&module=b");
        assert_eq!(target.labels, labels! { "instance" => "h:1", "job" => "j", "zone" => "1" });
    }

    #[test]
    fn a_socket_stands_for_an_address() {
        let job = job(|_| {});
        let socket = |labels: Labels| match target(&job, labels) {
            Ok(Outcome::Target(target)) => target,
            other => panic!("{other:?}"),
        };
        let alone = socket(labels! { "__unix_socket__" => "/run/a.sock", "__scheme__" => "https" });
        assert_eq!((alone.url.as_str(), alone.labels.get("instance")), ("https://localhost/metrics", None));
        assert_eq!(alone.socket, Some(PathBuf::from("/run/a.sock")));
        let first = socket(labels! { "__unix_socket__" => "/run/a.sock", "__address__" => "h:1" });
        let second = socket(labels! { "__unix_socket__" => "/run/b.sock", "__address__" => "h:1" });
        assert_eq!((first.url.as_str(), first.labels.get("instance")), ("http://h:1/metrics", Some("h:1")));
        assert!(!first.is_same(&second) && first.hash() != second.hash());
    }

    #[test]
    fn labels_say_what_is_made_of_histograms() {
        let job = job(|c| c.always_scrape_classic_histograms = Some(true));
        let labels = labels! { "__address__" => "h:1", "__scrape_native_histograms__" => "true" };
        let Ok(Outcome::Target(target)) = target(&job, labels) else { panic!() };
        assert_eq!(flags_of(&target.histograms), [true, true, false]);
        let shown = HISTOGRAM_FLAGS.map(|name| target.discovered.get(name));
        assert_eq!(shown, [Some("true"), Some("true"), Some("false")]);
        assert_eq!(target.labels, labels! { "instance" => "h:1", "job" => "j" });
    }

    #[test]
    fn rules_drop_and_faults_are_named() {
        let dropping = job(|c| {
            c.relabel_configs.push(RelabelConfig {
                source_labels: vec!["__address__".into()],
                action: Action::Drop,
                ..RelabelConfig::default()
            });
        });
        assert!(matches!(target(&dropping, labels! { "__address__" => "h:1" }), Ok(Outcome::Dropped(_))));
        let plain = job(|_| {});
        assert_eq!(target(&plain, Labels::empty()).unwrap_err(), TargetError::NoAddress);
        assert!(matches!(target(&plain, labels! { "__address__" => "h/x" }), Err(TargetError::BadAddress(_))));
        let zero = labels! { "__address__" => "h", "__scrape_interval__" => "0s" };
        assert!(target(&plain, zero).unwrap_err().to_string().contains("cannot be 0"));
        let unclear = labels! { "__address__" => "h", "__scrape_native_histograms__" => "maybe" };
        assert!(target(&plain, unclear).unwrap_err().to_string().contains("neither true nor false"));
        let longer = labels! { "__address__" => "h", "__scrape_timeout__" => "2m" };
        assert!(target(&plain, longer).unwrap_err().to_string().contains("greater than scrape interval"));
    }
}

//! The node exporter: metrics of the machine under node_exporter's names.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod system;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use exposition::family::MetricFamily;
use model::pattern::{PatternError, Search};

use crate::collector::{CollectError, Collector, Paths};

/// Names of all collectors, in the order they run.
pub const COLLECTORS: [&str; 15] = [
    "conntrack",
    "cpu",
    "diskstats",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netdev",
    "os",
    "pressure",
    "sockstat",
    "stat",
    "time",
    "uname",
    "vmstat",
];

/// How the exporter is set up; names and defaults are node_exporter's flags.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the machine's files are.
    pub paths: Paths,
    /// Which collectors run.
    pub collectors: BTreeSet<String>,
    /// `--collector.filesystem.mount-points-exclude`
    pub mount_points_exclude: String,
    /// `--collector.filesystem.fs-types-exclude`
    pub fs_types_exclude: String,
    /// `--collector.diskstats.device-exclude`
    pub disk_exclude: String,
    /// `--collector.netdev.device-exclude`
    pub netdev_exclude: String,
    /// `--collector.netdev.device-include`
    pub netdev_include: String,
    /// `--collector.vmstat.fields`
    pub vmstat_fields: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            paths: Paths::default(),
            collectors: COLLECTORS.iter().map(|name| (*name).to_owned()).collect(),
            mount_points_exclude:
                "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)".into(),
            fs_types_exclude: "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|\
                iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$"
                .into(),
            disk_exclude: r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$".into(),
            netdev_exclude: String::new(),
            netdev_include: String::new(),
            vmstat_fields: "^(oom_kill|pgpg|pswp|pg.*fault).*".into(),
        }
    }
}

/// Why the exporter cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A flag holds no regular expression.
    #[error("{flag}: {source}")]
    Pattern {
        /// Which.
        flag: &'static str,
        /// What is wrong.
        source: PatternError,
    },
    /// No collector has this name.
    #[error("missing collector: {0}")]
    UnknownCollector(String),
    /// Both flags of a pair are set.
    #[error("{0} and {1} are mutually exclusive")]
    Exclusive(&'static str, &'static str),
}

/// All enabled collectors.
#[derive(Clone)]
pub struct NodeExporter {
    collectors: Vec<Arc<dyn Collector>>,
}

fn search(flag: &'static str, expression: &str) -> Result<Option<Search>, ConfigError> {
    if expression.is_empty() {
        return Ok(None);
    }
    Search::new(expression).map(Some).map_err(|source| ConfigError::Pattern { flag, source })
}

impl NodeExporter {
    /// Sets the exporter up.
    ///
    /// # Errors
    /// If a flag's value cannot be used.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        if !config.netdev_exclude.is_empty() && !config.netdev_include.is_empty() {
            return Err(ConfigError::Exclusive(
                "--collector.netdev.device-exclude",
                "--collector.netdev.device-include",
            ));
        }
        let paths = || config.paths.clone();
        let all: Vec<Arc<dyn Collector>> = vec![
            Arc::new(network::Conntrack { paths: paths() }),
            Arc::new(cpu::Cpu { paths: paths() }),
            Arc::new(disk::DiskStats {
                paths: paths(),
                exclude: search("--collector.diskstats.device-exclude", &config.disk_exclude)?,
            }),
            Arc::new(system::FileFd { paths: paths() }),
            Arc::new(filesystem::Filesystem {
                paths: paths(),
                mount_points_exclude: search(
                    "--collector.filesystem.mount-points-exclude",
                    &config.mount_points_exclude,
                )?,
                fs_types_exclude: search("--collector.filesystem.fs-types-exclude", &config.fs_types_exclude)?,
            }),
            Arc::new(cpu::LoadAverage { paths: paths() }),
            Arc::new(memory::MemInfo { paths: paths() }),
            Arc::new(network::NetDev {
                paths: paths(),
                include: search("--collector.netdev.device-include", &config.netdev_include)?,
                exclude: search("--collector.netdev.device-exclude", &config.netdev_exclude)?,
            }),
            Arc::new(system::Os { paths: paths() }),
            Arc::new(cpu::Pressure { paths: paths() }),
            Arc::new(network::SockStat { paths: paths() }),
            Arc::new(cpu::Stat { paths: paths() }),
            Arc::new(system::Time { paths: paths() }),
            Arc::new(system::Uname),
            Arc::new(memory::VmStat {
                paths: paths(),
                fields: search("--collector.vmstat.fields", &config.vmstat_fields)?,
            }),
        ];
        if let Some(unknown) = config.collectors.iter().find(|name| !COLLECTORS.contains(&name.as_str())) {
            return Err(ConfigError::UnknownCollector(unknown.clone()));
        }
        let enabled = all.into_iter().filter(|collector| config.collectors.contains(collector.name()));
        Ok(Self { collectors: enabled.collect() })
    }

    /// The exporter with only these collectors (`collect[]`) or without those (`exclude[]`).
    ///
    /// # Errors
    /// If a name is not that of an enabled collector, or both are given.
    pub fn filtered(&self, include: &[String], exclude: &[String]) -> Result<Self, ConfigError> {
        if !include.is_empty() && !exclude.is_empty() {
            return Err(ConfigError::Exclusive("collect[]", "exclude[]"));
        }
        for name in include.iter().chain(exclude) {
            if !self.collectors.iter().any(|collector| collector.name() == name) {
                return Err(ConfigError::UnknownCollector(name.clone()));
            }
        }
        let wanted = |name: &str| {
            (include.is_empty() || include.iter().any(|i| i == name)) && !exclude.iter().any(|e| e == name)
        };
        let collectors = self.collectors.iter().filter(|collector| wanted(collector.name())).cloned().collect();
        Ok(Self { collectors })
    }

    /// Runs all collectors.
    pub fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let mut durations = MetricFamily::gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
        );
        let mut successes =
            MetricFamily::gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.");
        for collector in &self.collectors {
            let started = Instant::now();
            let result = collector.collect(&mut families);
            let labels = [("collector", collector.name())];
            durations.push(&labels, started.elapsed().as_secs_f64());
            successes.push(&labels, f64::from(u8::from(result.is_ok())));
            match result {
                Ok(()) => {}
                Err(CollectError::NoData(reason)) => {
                    tracing::debug!(collector = collector.name(), reason, "collector returned no data");
                }
                Err(error) => tracing::warn!(collector = collector.name(), %error, "collector failed"),
            }
        }
        families.push(durations);
        families.push(successes);
        families
    }
}

#[cfg(test)]
mod tests;

//! Metrics of the own process, as every Prometheus client library exposes them.

use exposition::family::MetricFamily;

use crate::collector::{CollectError, Collector, Paths};

/// Position of a field in `/proc/self/stat` after the command, which may hold anything.
const STAT_UTIME: usize = 11;
const STAT_STIME: usize = 12;
const STAT_THREADS: usize = 17;
const STAT_START: usize = 19;
const STAT_VIRTUAL: usize = 20;
const STAT_RESIDENT: usize = 21;

/// The own process.
#[derive(Debug, Clone, Default)]
pub struct ProcessCollector {
    paths: Paths,
}

impl Collector for ProcessCollector {
    fn name(&self) -> &'static str {
        "process"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let stat = self.paths.read_proc("self/stat")?;
        let after = stat.text.rsplit_once(')').map(|(_, after)| after).ok_or_else(|| stat.expected(1, "a command"))?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let field = |index: usize| stat.number(1, fields.get(index).copied());
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as f64;
        let boot = self.boot_seconds()?;
        let open = std::fs::read_dir(self.paths.procfs.join("self/fd")).map_or(0, Iterator::count);
        let (soft, _) = (rustix::process::getrlimit(rustix::process::Resource::Nofile).current, ());
        families.extend([
            MetricFamily::counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
                .with(&[], (field(STAT_UTIME)? + field(STAT_STIME)?) / ticks),
            MetricFamily::gauge("process_max_fds", "Maximum number of open file descriptors.")
                .with(&[], soft.map_or(f64::INFINITY, |n| n as f64)),
            MetricFamily::gauge("process_open_fds", "Number of open file descriptors.").with(&[], open as f64),
            MetricFamily::gauge("process_resident_memory_bytes", "Resident memory size in bytes.")
                .with(&[], field(STAT_RESIDENT)? * page),
            MetricFamily::gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
                .with(&[], boot + field(STAT_START)? / ticks),
            MetricFamily::gauge("process_threads", "Number of operating system threads in the process.")
                .with(&[], field(STAT_THREADS)?),
            MetricFamily::gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")
                .with(&[], field(STAT_VIRTUAL)?),
        ]);
        Ok(())
    }
}

impl ProcessCollector {
    fn boot_seconds(&self) -> Result<f64, CollectError> {
        let stat = self.paths.read_proc("stat")?;
        let found = stat.lines().find_map(|(line, text)| Some((line, text.strip_prefix("btime ")?)));
        found.map_or_else(|| Err(stat.expected(1, "btime")), |(line, text)| stat.number(line, Some(text)))
    }
}

impl exposition::registry::Collector for ProcessCollector {
    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        if let Err(error) = Collector::collect(self, &mut families) {
            tracing::debug!(%error, "process metrics unavailable");
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_files() {
        let families = exposition::registry::Collector::collect(&ProcessCollector::default());
        let value = |name: &str| families.iter().find(|f| f.name == name).unwrap().samples[0].value;
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.6e9);
    }
}

//! Processors, load, scheduling, pressure: `/proc/stat`, `/proc/loadavg`, `/proc/pressure`.

use exposition::family::MetricFamily;

use crate::collector::{CollectError, Collector, Paths, Text};

/// Modes in the order of `/proc/stat`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) struct Cpu {
    pub(super) paths: Paths,
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let stat = self.paths.read_proc("stat")?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let mut seconds = MetricFamily::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
        let mut guest = MetricFamily::counter(
            "node_cpu_guest_seconds_total",
            "Seconds the CPUs spent in guests (VMs) for each mode.",
        );
        for (line, text) in stat.lines() {
            let Some(rest) = text.strip_prefix("cpu").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            else {
                continue;
            };
            let mut fields = rest.split_whitespace();
            let cpu = fields.next().unwrap_or("");
            for mode in MODES {
                seconds.push(&[("cpu", cpu), ("mode", mode)], stat.number(line, fields.next())? / ticks);
            }
            for mode in ["user", "nice"] {
                guest.push(&[("cpu", cpu), ("mode", mode)], stat.number(line, fields.next().or(Some("0")))? / ticks);
            }
        }
        families.extend([guest, seconds]);
        Ok(())
    }
}

pub(super) struct Stat {
    pub(super) paths: Paths,
}

impl Collector for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let stat = self.paths.read_proc("stat")?;
        for (line, text) in stat.lines() {
            let mut fields = text.split_whitespace();
            let family = match fields.next().unwrap_or("") {
                "intr" => MetricFamily::counter("node_intr_total", "Total number of interrupts serviced."),
                "ctxt" => MetricFamily::counter("node_context_switches_total", "Total number of context switches."),
                "processes" => MetricFamily::counter("node_forks_total", "Total number of forks."),
                "btime" => MetricFamily::gauge("node_boot_time_seconds", "Node boot time, in unixtime."),
                "procs_running" => MetricFamily::gauge("node_procs_running", "Number of processes in runnable state."),
                "procs_blocked" => MetricFamily::gauge(
                    "node_procs_blocked",
                    "Number of processes blocked waiting for I/O to complete.",
                ),
                _ => continue,
            };
            families.push(family.with(&[], stat.number(line, fields.next())?));
        }
        Ok(())
    }
}

pub(super) struct LoadAverage {
    pub(super) paths: Paths,
}

impl Collector for LoadAverage {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let loadavg = self.paths.read_proc("loadavg")?;
        let mut fields = loadavg.text.split_whitespace();
        for minutes in [1, 5, 15] {
            let value = loadavg.number(1, fields.next())?;
            let family = MetricFamily::gauge(format!("node_load{minutes}"), format!("{minutes}m load average."));
            families.push(family.with(&[], value));
        }
        Ok(())
    }
}

pub(super) struct Pressure {
    pub(super) paths: Paths,
}

/// Resource, kind of line in its file, name of the metric, its help.
const PRESSURES: [(&str, &str, &str, &str); 6] = [
    (
        "cpu",
        "some",
        "node_pressure_cpu_waiting_seconds_total",
        "Total time in seconds that processes have waited for CPU time",
    ),
    (
        "io",
        "some",
        "node_pressure_io_waiting_seconds_total",
        "Total time in seconds that processes have waited due to IO congestion",
    ),
    (
        "io",
        "full",
        "node_pressure_io_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IO congestion",
    ),
    (
        "memory",
        "some",
        "node_pressure_memory_waiting_seconds_total",
        "Total time in seconds that processes have waited for memory",
    ),
    (
        "memory",
        "full",
        "node_pressure_memory_stalled_seconds_total",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "node_pressure_irq_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let mut found = false;
        for (resource, kind, name, help) in PRESSURES {
            // Kernels know some resources and not others.
            let Ok(file) = self.paths.read_proc(&format!("pressure/{resource}")) else { continue };
            let Some(total) = total_of(&file, kind)? else { continue };
            families.push(MetricFamily::counter(name, help).with(&[], total / 1e6));
            found = true;
        }
        if found { Ok(()) } else { Err(CollectError::NoData("pressure information".into())) }
    }
}

/// Microseconds at the end of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn total_of(file: &Text, kind: &str) -> Result<Option<f64>, CollectError> {
    for (line, text) in file.lines() {
        if let Some(rest) = text.strip_prefix(kind) {
            let total = rest.split_whitespace().find_map(|field| field.strip_prefix("total="));
            return file.number(line, total).map(Some);
        }
    }
    Ok(None)
}

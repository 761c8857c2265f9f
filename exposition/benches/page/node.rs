//! A page of 1,000 series such as a node exporter on a machine of 32 processors writes; benches of several crates read it.

use std::fmt::Write as _;

const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
const PROCESSORS: u64 = 32;
const FAMILIES: u64 = 62;
const DEVICES: u64 = 12;
/// How many series are on it.
#[allow(dead_code, reason = "not every bench counts them")]
pub(crate) const SERIES: u64 = PROCESSORS * MODES.len() as u64 + FAMILIES * DEVICES;

/// The page as it is at the `scrape`-th time it is asked for: counters grow, a third of the gauges moves.
pub(crate) fn node_page(scrape: u64) -> String {
    let mut page = String::with_capacity(128 * 1024);
    page.push_str("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n");
    page.push_str("# TYPE node_cpu_seconds_total counter\n");
    for (cpu, mode) in (0..PROCESSORS).flat_map(|cpu| MODES.map(|mode| (cpu, mode))) {
        let hundredths = cpu * 123_456 + mode.len() as u64 * 100 + scrape * (cpu * 13 + mode.len() as u64 * 7) % 1500;
        let seconds = hundredths as f64 / 100.0 + scrape as f64 * 15.0;
        push(&mut page, format_args!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds:.2}\n"));
    }
    for family in 0..FAMILIES {
        let name = format!("node_filesystem_family{family}_bytes");
        push(&mut page, format_args!("# HELP {name} Filesystem size in bytes.\n# TYPE {name} gauge\n"));
        for device in 0..DEVICES {
            let moved = if family % 3 == 0 { scrape * (device * 17 + family) % 997 * 4096 } else { 0 };
            let bytes = 1_048_576 * (device + 1) * (family + 7) * 131 + moved;
            push(
                &mut page,
                format_args!(
                    "{name}{{device=\"/dev/nvme0n{device}p1\",fstype=\"ext4\",mountpoint=\"/srv/{device}\"}} {bytes}\n"
                ),
            );
        }
    }
    page
}

fn push(page: &mut String, line: std::fmt::Arguments<'_>) {
    page.write_fmt(line).expect("writing to memory never fails");
}

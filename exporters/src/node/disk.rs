//! Disks: `/proc/diskstats`.

use exposition::family::MetricFamily;
use model::metadata::MetricType;
use model::pattern::Search;

use crate::collector::{CollectError, Collector, Paths};

/// Sectors are 512 bytes whatever the disk.
const SECTOR: f64 = 512.0;
const MILLISECOND: f64 = 0.001;

/// Columns after the device's name: metric, help, unit of one.
const COLUMNS: [(&str, &str, f64); 17] = [
    ("node_disk_reads_completed_total", "The total number of reads completed successfully.", 1.0),
    ("node_disk_reads_merged_total", "The total number of reads merged.", 1.0),
    ("node_disk_read_bytes_total", "The total number of bytes read successfully.", SECTOR),
    ("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads.", MILLISECOND),
    ("node_disk_writes_completed_total", "The total number of writes completed successfully.", 1.0),
    ("node_disk_writes_merged_total", "The number of writes merged.", 1.0),
    ("node_disk_written_bytes_total", "The total number of bytes written successfully.", SECTOR),
    ("node_disk_write_time_seconds_total", "This is the total number of seconds spent by all writes.", MILLISECOND),
    ("node_disk_io_now", "The number of I/Os currently in progress.", 1.0),
    ("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os.", MILLISECOND),
    ("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os.", MILLISECOND),
    ("node_disk_discards_completed_total", "The total number of discards completed successfully.", 1.0),
    ("node_disk_discards_merged_total", "The total number of discards merged.", 1.0),
    ("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully.", 1.0),
    ("node_disk_discard_time_seconds_total", "This is the total number of seconds spent by all discards.", MILLISECOND),
    ("node_disk_flush_requests_total", "The total number of flush requests completed successfully", 1.0),
    (
        "node_disk_flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        MILLISECOND,
    ),
];
const IO_NOW: usize = 8;

pub(super) struct DiskStats {
    pub(super) paths: Paths,
    pub(super) exclude: Option<Search>,
}

impl Collector for DiskStats {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let diskstats = self.paths.read_proc("diskstats")?;
        let mut columns: Vec<MetricFamily> = COLUMNS
            .iter()
            .enumerate()
            .map(|(i, (name, help, _))| {
                let kind = if i == IO_NOW { MetricType::Gauge } else { MetricType::Counter };
                MetricFamily::new(*name, *help, kind)
            })
            .collect();
        let mut info = MetricFamily::gauge("node_disk_info", "Info of /sys/block/<block_device>.");
        for (line, text) in diskstats.lines() {
            let fields: Vec<&str> = text.split_whitespace().collect();
            let [major, minor, device, values @ ..] = fields.as_slice() else {
                return Err(diskstats.expected(line, "major, minor and device"));
            };
            if self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(device)) {
                continue;
            }
            info.push(&[("device", device), ("major", major), ("minor", minor)], 1.0);
            // Older kernels have fewer columns.
            for ((family, (_, _, unit)), value) in columns.iter_mut().zip(COLUMNS).zip(values) {
                family.push(&[("device", device)], diskstats.number(line, Some(value))? * unit);
            }
        }
        families.push(info);
        families.append(&mut columns);
        Ok(())
    }
}

//! The system as a whole: name, operating system, time, file descriptors.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use exposition::family::MetricFamily;
use jiff::Zoned;

use crate::collector::{CollectError, Collector, Paths, Text};

pub(super) struct Uname;

impl Collector for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let uname = rustix::system::uname();
        let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
        let (sysname, release, version) = (text(uname.sysname()), text(uname.release()), text(uname.version()));
        let (machine, nodename, domainname) = (text(uname.machine()), text(uname.nodename()), text(uname.domainname()));
        let labels: [(&str, &str); 6] = [
            ("sysname", &sysname),
            ("release", &release),
            ("version", &version),
            ("machine", &machine),
            ("nodename", &nodename),
            ("domainname", &domainname),
        ];
        let help = "Labeled system information as provided by the uname system call.";
        families.push(MetricFamily::gauge("node_uname_info", help).with(&labels, 1.0));
        Ok(())
    }
}

pub(super) struct Time {
    pub(super) paths: Paths,
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "System time in seconds since epoch (1970).";
        families.push(MetricFamily::gauge("node_time_seconds", help).with(&[], now.as_secs_f64()));
        let zoned = Zoned::now();
        let offset = zoned.offset();
        let zone = zoned.strftime("%Z").to_string();
        families.push(
            MetricFamily::gauge("node_time_zone_offset_seconds", "System time zone offset in seconds.")
                .with(&[("time_zone", &zone)], f64::from(offset.seconds())),
        );
        self.clock_sources(families)
    }
}

impl Time {
    fn clock_sources(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let mut available = MetricFamily::gauge(
            "node_time_clocksource_available_info",
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        );
        let mut current = MetricFamily::gauge(
            "node_time_clocksource_current_info",
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        );
        for device in 0.. {
            let folder = format!("devices/system/clocksource/clocksource{device}");
            let Ok(sources) = self.paths.read_sys(&format!("{folder}/available_clocksource")) else { break };
            let device = device.to_string();
            for source in sources.text.split_whitespace() {
                available.push(&[("device", &device), ("clocksource", source)], 1.0);
            }
            let chosen = self.paths.read_sys(&format!("{folder}/current_clocksource"))?;
            current.push(&[("device", &device), ("clocksource", chosen.text.trim())], 1.0);
        }
        families.extend([available, current]);
        Ok(())
    }
}

pub(super) struct FileFd {
    pub(super) paths: Paths,
}

impl Collector for FileFd {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let file = self.paths.read_proc("sys/fs/file-nr")?;
        let mut fields = file.text.split_whitespace();
        let allocated = file.number(1, fields.next())?;
        let maximum = file.number(1, fields.nth(1))?;
        for (name, value) in [("allocated", allocated), ("maximum", maximum)] {
            let help = format!("File descriptor statistics: {name}.");
            families.push(MetricFamily::gauge(format!("node_filefd_{name}"), help).with(&[], value));
        }
        Ok(())
    }
}

pub(super) struct Os {
    pub(super) paths: Paths,
}

/// Keys of `os-release` that become labels.
const OS_KEYS: [&str; 12] = [
    "BUILD_ID",
    "ID",
    "ID_LIKE",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "NAME",
    "PRETTY_NAME",
    "VARIANT",
    "VARIANT_ID",
    "VERSION",
    "VERSION_CODENAME",
    "VERSION_ID",
];

impl Collector for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let at = |file: &str| Text::read(self.paths.rootfs.join(file));
        let release = at("etc/os-release").or_else(|_| at("usr/lib/os-release"))?;
        let fields: BTreeMap<&str, &str> = release
            .lines()
            .filter_map(|(_, line)| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches(['"', '\''])))
            .collect();
        let get = |key: &str| fields.get(key).copied().unwrap_or("");
        let names: Vec<String> = OS_KEYS.iter().map(|key| key.to_lowercase()).collect();
        let labels: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(OS_KEYS.iter().map(|key| get(key))).collect();
        let help = "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, \
            pretty_name, variant, variant_id, version, version_codename, version_id.";
        families.push(MetricFamily::gauge("node_os_info", help).with(&labels, 1.0));
        let major_minor: String = get("VERSION_ID").splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        if let Ok(version) = major_minor.parse::<f64>() {
            let help = "Metric containing the major.minor part of the OS version.";
            let labels = [("id", get("ID")), ("id_like", get("ID_LIKE")), ("name", get("NAME"))];
            families.push(MetricFamily::gauge("node_os_version", help).with(&labels, version));
        }
        Ok(())
    }
}

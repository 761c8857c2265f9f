//! Memory: `/proc/meminfo`, `/proc/vmstat`.

use exposition::family::MetricFamily;
use model::metadata::MetricType;
use model::pattern::Search;

use crate::collector::{CollectError, Collector, Paths};

pub(super) struct MemInfo {
    pub(super) paths: Paths,
}

impl Collector for MemInfo {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let meminfo = self.paths.read_proc("meminfo")?;
        for (line, text) in meminfo.lines() {
            let Some((key, rest)) = text.split_once(':') else { continue };
            // "Active(anon)" is Active_anon.
            let field = key.replace('(', "_").replace(')', "");
            let mut words = rest.split_whitespace();
            let number = meminfo.number(line, words.next())?;
            let (suffix, factor) = if words.next() == Some("kB") { ("_bytes", 1024.0) } else { ("", 1.0) };
            let name = format!("node_memory_{field}{suffix}");
            let help = format!("Memory information field {field}{suffix}.");
            families.push(MetricFamily::gauge(name, help).with(&[], number * factor));
        }
        Ok(())
    }
}

pub(super) struct VmStat {
    pub(super) paths: Paths,
    pub(super) fields: Option<Search>,
}

impl Collector for VmStat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let vmstat = self.paths.read_proc("vmstat")?;
        for (line, text) in vmstat.lines() {
            let Some((field, value)) = text.split_once(' ') else { continue };
            if self.fields.as_ref().is_some_and(|fields| !fields.is_match(field)) {
                continue;
            }
            let help = format!("/proc/vmstat information field {field}.");
            let family = MetricFamily::new(format!("node_vmstat_{field}"), help, MetricType::Unknown);
            families.push(family.with(&[], vmstat.number(line, Some(value))?));
        }
        Ok(())
    }
}

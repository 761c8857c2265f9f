//! The network: `/proc/net/dev`, `/proc/net/sockstat`, connection tracking.

use exposition::family::MetricFamily;
use model::pattern::Search;

use crate::collector::{CollectError, Collector, Paths, Text};

/// Columns of `/proc/net/dev`, received and transmitted.
const RECEIVE: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"];
const TRANSMIT: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed"];

pub(super) struct NetDev {
    pub(super) paths: Paths,
    pub(super) include: Option<Search>,
    pub(super) exclude: Option<Search>,
}

impl NetDev {
    fn is_wanted(&self, device: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(device))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(device))
    }
}

impl Collector for NetDev {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let file = self.paths.read_proc("net/dev")?;
        let names =
            RECEIVE.iter().map(|c| format!("receive_{c}")).chain(TRANSMIT.iter().map(|c| format!("transmit_{c}")));
        let mut columns: Vec<MetricFamily> = names
            .map(|name| {
                let help = format!("Network device statistic {name}.");
                MetricFamily::counter(format!("node_network_{name}_total"), help)
            })
            .collect();
        for (line, text) in file.lines().skip(2) {
            let (device, rest) = text.split_once(':').ok_or_else(|| file.expected(line, "a device and a colon"))?;
            let device = device.trim();
            if !self.is_wanted(device) {
                continue;
            }
            let mut values = rest.split_whitespace();
            for column in &mut columns {
                column.push(&[("device", device)], file.number(line, values.next())?);
            }
        }
        families.append(&mut columns);
        Ok(())
    }
}

pub(super) struct SockStat {
    pub(super) paths: Paths,
}

impl Collector for SockStat {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let page = rustix::param::page_size() as f64;
        push_sockets(&self.paths.read_proc("net/sockstat")?, page, families)?;
        // A kernel without IPv6 has no such file.
        match self.paths.read_proc("net/sockstat6") {
            Ok(file) => push_sockets(&file, page, families),
            Err(CollectError::NoData(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// `TCP: inuse 4 orphan 0 mem 1`; memory is in pages.
fn push_sockets(file: &Text, page: f64, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
    for (line, text) in file.lines() {
        let Some((protocol, rest)) = text.split_once(':') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        for pair in fields.chunks(2) {
            let [field, value] = pair else { return Err(file.expected(line, "pairs of field and number")) };
            let value = file.number(line, Some(value))?;
            if (protocol, *field) == ("sockets", "used") {
                let family = MetricFamily::gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");
                families.push(family.with(&[], value));
                continue;
            }
            let mut push = |field: &str, value: f64| {
                let help = format!("Number of {protocol} sockets in state {field}.");
                families.push(MetricFamily::gauge(format!("node_sockstat_{protocol}_{field}"), help).with(&[], value));
            };
            push(field, value);
            if *field == "mem" {
                push("mem_bytes", value * page);
            }
        }
    }
    Ok(())
}

pub(super) struct Conntrack {
    pub(super) paths: Paths,
}

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        for (file, name, help) in [
            (
                "nf_conntrack_count",
                "node_nf_conntrack_entries",
                "Number of currently allocated flow entries for connection tracking.",
            ),
            ("nf_conntrack_max", "node_nf_conntrack_entries_limit", "Maximum size of connection tracking table."),
        ] {
            let value = self.paths.read_proc(&format!("sys/net/netfilter/{file}"))?.sole_number()?;
            families.push(MetricFamily::gauge(name, help).with(&[], value));
        }
        Ok(())
    }
}

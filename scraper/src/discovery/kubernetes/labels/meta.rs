//! Labels under the common prefix.

use model::labels::{Labels, LabelsBuilder};

use super::super::objects::Meta;
use crate::config::sanitize_label_name;

/// What all labels of this discovery begin with.
pub(super) const PREFIX: &str = "__meta_kubernetes_";

/// Collects labels under the common prefix.
pub(super) struct MetaLabels {
    pub(super) labels: LabelsBuilder,
}

impl MetaLabels {
    pub(super) fn new() -> Self {
        Self { labels: LabelsBuilder::new() }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.labels.set(&format!("{PREFIX}{name}"), value);
    }

    pub(super) fn address(&mut self, address: &str) {
        self.labels.set("__address__", address);
    }

    /// An object's own labels and annotations, and that they are present even if empty.
    pub(super) fn object(&mut self, kind: &str, meta: &Meta) {
        for (suffix, entries) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
            for (name, value) in entries {
                let name = sanitize_label_name(name);
                self.set(&format!("{kind}_{suffix}_{name}"), value);
                self.set(&format!("{kind}_{suffix}present_{name}"), "true");
            }
        }
    }

    pub(super) fn build(self) -> Labels {
        self.labels.build()
    }
}

/// IPv6 addresses need brackets before a port.
pub(super) fn host(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

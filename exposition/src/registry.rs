//! The program's own instruments, on `prometheus-client`, and their page in both text formats.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry as Instruments;

use crate::family::MetricFamily;
use crate::print;

/// Values computed when the page is asked for, such as those of a storage that counts for itself.
pub trait Collector: Send + Sync {
    /// The families as they stand now.
    fn collect(&self) -> Vec<MetricFamily>;
}

/// All instruments of a process. Cheap to clone; each crate registers its own at start.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    instruments: Instruments,
    collectors: Vec<Arc<dyn Collector>>,
}

/// Why the page cannot be made. Only a bug in an instrument's encoder leads here.
#[derive(Debug, thiserror::Error)]
#[error("encoding instruments: {0}")]
pub struct EncodeError(String);

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers instruments: `registry.register(|r| r.register("name", "Help", counter.clone()))`.
    ///
    /// `prometheus-client` ends each help text with a full stop of its own, and counters' names with `_total`.
    pub fn register(&self, register: impl FnOnce(&mut Instruments)) {
        register(&mut self.inner.lock().instruments);
    }

    /// Adds a collector, asked at each page.
    pub fn add_collector(&self, collector: Arc<dyn Collector>) {
        self.inner.lock().collectors.push(collector);
    }

    /// The page in the text format 0.0.4.
    ///
    /// # Errors
    /// If an instrument cannot be encoded.
    pub fn text(&self) -> Result<String, EncodeError> {
        let openmetrics = self.encode()?;
        let mut page = print::openmetrics_as_text(&openmetrics).map_err(|e| EncodeError(e.to_string()))?;
        // Collectors run without the lock: they may be slow, and may register.
        let collectors = self.inner.lock().collectors.clone();
        for collector in collectors {
            print::text(&collector.collect(), &mut page);
        }
        Ok(page)
    }

    /// The page in OpenMetrics 1.0.
    ///
    /// # Errors
    /// If an instrument cannot be encoded.
    pub fn openmetrics(&self) -> Result<String, EncodeError> {
        let mut page = self.encode()?;
        page.truncate(page.trim_end().strip_suffix("# EOF").map_or(page.len(), str::len));
        let collectors = self.inner.lock().collectors.clone();
        for collector in collectors {
            print::openmetrics(&collector.collect(), &mut page);
        }
        page.push_str("# EOF\n");
        Ok(page)
    }

    fn encode(&self) -> Result<String, EncodeError> {
        let mut page = String::new();
        let inner = self.inner.lock();
        prometheus_client::encoding::text::encode(&mut page, &inner.instruments)
            .map_err(|e| EncodeError(e.to_string()))?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    struct Fixed;

    impl Collector for Fixed {
        fn collect(&self) -> Vec<MetricFamily> {
            vec![MetricFamily::gauge("head_series", "Series in the head.").with(&[], 3.0)]
        }
    }

    #[test]
    fn instruments_and_collectors_share_a_page() {
        let registry = Registry::new();
        let requests: Counter = Counter::default();
        registry.register(|r| r.register("requests", "Requests served", requests.clone()));
        registry.add_collector(Arc::new(Fixed));
        requests.inc_by(2);
        assert_eq!(
            registry.text().unwrap(),
            "# HELP requests_total Requests served.\n# TYPE requests_total counter\nrequests_total 2\n\
             # HELP head_series Series in the head.\n# TYPE head_series gauge\nhead_series 3\n"
        );
        assert_eq!(
            registry.openmetrics().unwrap(),
            "# HELP requests Requests served.\n# TYPE requests counter\nrequests_total 2\n\
             # HELP head_series Series in the head.\n# TYPE head_series gauge\nhead_series 3\n# EOF\n"
        );
    }
}

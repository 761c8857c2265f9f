//! Experimental parts of scraping, which `--enable-feature` switches on.

use crate::config::{GlobalConfig, NATIVE_HISTOGRAM_PROTOCOLS};

/// What is switched on; each field names the feature that does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// `created-timestamp-zero-ingestion`: a zero is stored where a series' counting began.
    pub start_zeros: bool,
    /// `st-storage`: when counting began is stored with each sample.
    pub start_timestamps: bool,
    /// `st-synthesis`: series that do not tell when their counting began are counted from their first value.
    pub start_synthesis: bool,
    /// `metadata-wal-records`: type, unit and help of families are stored.
    pub metadata: bool,
    /// `type-and-unit-labels`: series get `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
}

impl Features {
    /// Whether pages are asked when counting began. `_created` lines are then no series of their own.
    pub fn wants_starts(self) -> bool {
        self.start_zeros || self.start_timestamps
    }

    /// Changes defaults of the global section as the features do; call it before [`GlobalConfig::resolve`]. Those that
    /// want start timestamps prefer the format that has most of them.
    pub fn apply_to(self, global: &mut GlobalConfig) {
        if self.wants_starts() {
            global.scrape_protocols.get_or_insert_with(|| NATIVE_HISTOGRAM_PROTOCOLS.to_vec());
        }
    }
}

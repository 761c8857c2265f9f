//! `--enable-feature`: experimental parts by upstream's names.

use crate::remote::ingest::IngestOptions;

/// What is enabled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// Of the query language.
    pub language: promql::Options,
    /// `promql-delayed-name-removal`
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`
    pub start_timestamps: bool,
    /// `promql-per-step-stats`
    pub per_step_stats: bool,
    /// `exemplar-storage`
    pub exemplars: bool,
    /// `extra-scrape-metrics`
    pub extra_scrape_metrics: bool,
    /// `search-api`
    pub search: bool,
    /// `otlp-deltatocumulative`
    pub otlp_delta_to_cumulative: bool,
    /// `otlp-native-delta-ingestion`
    pub otlp_native_delta: bool,
    /// What is stored beside samples: `created-timestamp-zero-ingestion`, `st-storage`, `type-and-unit-labels`,
    /// `metadata-wal-records`
    pub ingest: IngestOptions,
    /// `st-synthesis`
    pub start_synthesis: bool,
}

impl Features {
    /// What scraping is told of them.
    pub fn scraping(&self) -> scraper::features::Features {
        scraper::features::Features {
            start_zeros: self.ingest.zero_at_start,
            start_timestamps: self.ingest.starts,
            start_synthesis: self.start_synthesis,
            metadata: self.ingest.metadata,
            type_and_unit_labels: self.ingest.type_and_unit,
        }
    }

    /// From the names given. Unknown ones are told and have no effect, as upstream has it.
    pub fn from_names(names: &[String]) -> Self {
        let mut features = Self::default();
        for name in names {
            match name.as_str() {
                "promql-experimental-functions" => features.language.experimental_functions = true,
                "promql-extended-range-selectors" => features.language.extended_range_selectors = true,
                "promql-binop-fill-modifiers" => features.language.fill_modifiers = true,
                "promql-delayed-name-removal" => features.delayed_name_removal = true,
                "promql-per-step-stats" => features.per_step_stats = true,
                "use-start-timestamps" => features.start_timestamps = true,
                "created-timestamp-zero-ingestion" => features.ingest.zero_at_start = true,
                "st-synthesis" => features.start_synthesis = true,
                "st-storage" => features.ingest.starts = true,
                "type-and-unit-labels" => features.ingest.type_and_unit = true,
                "metadata-wal-records" => features.ingest.metadata = true,
                "extra-scrape-metrics" => features.extra_scrape_metrics = true,
                "search-api" => features.search = true,
                "otlp-deltatocumulative" => features.otlp_delta_to_cumulative = true,
                "otlp-native-delta-ingestion" => features.otlp_native_delta = true,
                "exemplar-storage" => features.exemplars = true,
                // A flag by another name; always on here, as upstream's last three are.
                "memory-snapshot-on-shutdown"
                | "promql-duration-expr"
                | "native-histograms"
                | "ooo-native-histograms"
                | "" => {}
                other => tracing::warn!(feature = other, "feature is unknown to this version and has no effect"),
            }
        }
        features
    }
}

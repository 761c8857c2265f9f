//! How samples of a target are turned into series.

use exposition::parse::protobuf::{HistogramValue, NativeHistograms};
use exposition::parse::series::{SeriesError, labels_of};
use model::histogram::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Resolution};
use model::labels::{BUCKET_BOUND, Labels, LabelsBuilder, METRIC_NAME, NameScheme, QUANTILE};
use model::metadata::MetricType;
use model::number::print_float_canonical;
use model::relabel::{self, RelabelRule, Verdict};
use model::sample::is_stale;

use super::IngestError;
use super::family::Family;
use crate::config::{HistogramConfig, JobConfig, Limits};
use crate::features::Features;
use crate::limits;

/// Labels of the feature `type-and-unit-labels`.
const METRIC_TYPE: &str = "__type__";
const METRIC_UNIT: &str = "__unit__";
/// Prefix of scraped labels that clash with the target's, unless `honor_labels`.
const EXPORTED_PREFIX: &str = "exported_";

/// How samples of a target are turned into series; the same for each of its scrapes.
#[derive(Debug)]
pub struct SampleRules {
    target_labels: Labels,
    honor_labels: bool,
    pub(super) honor_timestamps: bool,
    pub(super) track_timestamps: bool,
    relabel: Vec<RelabelRule>,
    pub(super) limits: Limits,
    /// `sample_limit`, or what stands for it.
    pub(super) samples_max: u64,
    pub(super) histograms: HistogramConfig,
    names: NameScheme,
    pub(super) features: Features,
}

impl SampleRules {
    /// For one target of `job`.
    pub fn new(job: &JobConfig, target_labels: Labels, features: Features) -> Self {
        Self {
            target_labels,
            honor_labels: job.written.honor_labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps: job.written.track_timestamps_staleness,
            relabel: job.metric_relabel.clone(),
            limits: job.limits,
            samples_max: if job.limits.samples == 0 { limits::SAMPLES_MAX } else { job.limits.samples },
            histograms: job.histograms,
            names: job.names,
            features,
        }
    }

    /// With what a target's own labels say of histograms.
    #[must_use]
    pub fn with_histograms(self, histograms: HistogramConfig) -> Self {
        Self { histograms, ..self }
    }

    /// What is wanted of histograms with native buckets.
    pub(super) fn native_histograms(&self) -> NativeHistograms {
        // What is to be converted is needed in its classic form, even if that is not stored.
        let always_classic = self.histograms.always_classic || self.histograms.classic_to_custom;
        NativeHistograms { native: self.histograms.native, always_classic }
    }

    /// A native histogram within the job's limits; `None` if it cannot be made to fit.
    pub(super) fn limited(&self, mut value: HistogramValue) -> Option<HistogramValue> {
        let (histogram, sum): (&mut dyn Resolution, f64) = match &mut value {
            HistogramValue::Int(histogram) => {
                let sum = histogram.sum;
                (histogram, sum)
            }
            HistogramValue::Float(histogram) => {
                let sum = histogram.sum;
                (histogram, sum)
            }
        };
        if is_stale(sum) {
            return Some(value);
        }
        let schema = schema_of(self.histograms.min_bucket_factor);
        if histogram.schema() > schema {
            histogram.reduce_to(schema);
        }
        let max = self.limits.native_histogram_buckets;
        (max == 0 || histogram.limit_buckets(usize::try_from(max).unwrap_or(usize::MAX))).then_some(value)
    }

    /// The labels a scraped series is stored under, or `None` if metric relabelling drops it.
    pub(super) fn stored_labels(&self, series: &str, family: &Family) -> Result<Option<Labels>, IngestError> {
        let scraped = labels_of(series)?;
        let mut builder = scraped.to_builder();
        normalise_bounds(&mut builder, family.metric_type);
        if self.features.type_and_unit_labels && family.has(series) {
            add_type_and_unit(&mut builder, family);
        }
        let scraped = builder.build();
        let mut builder = scraped.to_builder();
        self.add_target_labels(&scraped, &mut builder);
        if relabel::apply(&self.relabel, &mut builder) == Verdict::Drop {
            return Ok(None);
        }
        let labels = builder.build();
        if !labels.contains(METRIC_NAME) {
            return Err(
                SeriesError { series: series.into(), offset: 0, expected: "a metric name after relabelling" }.into()
            );
        }
        labels.validate(self.names)?;
        limits::check(&labels, &self.limits)?;
        Ok(Some(labels))
    }

    /// Target labels win over scraped ones, which are renamed, unless `honor_labels`.
    fn add_target_labels(&self, scraped: &Labels, builder: &mut LabelsBuilder) {
        for (name, value) in self.target_labels.iter() {
            let clash = scraped.get(name);
            if self.honor_labels {
                if clash.is_none() {
                    builder.set(name, value);
                }
                continue;
            }
            if let Some(scraped_value) = clash {
                let mut renamed = format!("{EXPORTED_PREFIX}{name}");
                while builder.get(&renamed).is_some() || self.target_labels.contains(&renamed) {
                    renamed.insert_str(0, EXPORTED_PREFIX);
                }
                builder.set(&renamed, scraped_value);
            }
            builder.set(name, value);
        }
    }
}

/// `le="1"` and `le="1.0"` are one bucket: Prometheus 3 stores the latter.
fn normalise_bounds(builder: &mut LabelsBuilder, family: MetricType) {
    let label = match family {
        MetricType::Histogram => BUCKET_BOUND,
        MetricType::Summary => QUANTILE,
        _ => return,
    };
    if let Some(bound) = builder.get(label).and_then(|text| text.parse::<f64>().ok()) {
        builder.set(label, &print_float_canonical(bound));
    }
}

/// What the family says of itself wins over what the line says.
fn add_type_and_unit(builder: &mut LabelsBuilder, family: &Family) {
    if family.metric_type != MetricType::Unknown {
        builder.set(METRIC_TYPE, family.metric_type.as_str());
    }
    if !family.unit.is_empty() {
        builder.set(METRIC_UNIT, &family.unit);
    }
}

/// The finest schema whose buckets grow by at least `factor`: from 8 (1.0027) to -4 (65536).
fn schema_of(factor: f64) -> i32 {
    if factor <= 1.0 {
        return EXPONENTIAL_SCHEMA_MAX;
    }
    // A bucket of schema n is 2^(2^-n) times as wide as the one before.
    let schema = -factor.log2().log2();
    (schema.floor() as i32).clamp(EXPONENTIAL_SCHEMA_MIN, EXPONENTIAL_SCHEMA_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_factors_are_schemas() {
        let schemas = [0.0, 1.0, 1.002, 1.1, 1.5, 2.0, 3.0, 4.0, 256.0, 1e9].map(schema_of);
        assert_eq!(schemas, [8, 8, 8, 2, 0, 0, -1, -1, -3, -4]);
    }
}

//! The walk over a request: resources, scopes, metrics, data points.

use std::collections::HashSet;

use model::exemplar::Exemplar;
use model::histogram::ResetHint;
use model::labels::{Labels, METRIC_NAME};
use model::metadata::{Metadata, MetricType};
use model::number::print_float;
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{NewValue, StorageError};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as WireExemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, SummaryDataPoint,
};
use parking_lot::Mutex;

use super::attributes::{LabelMap, ResourceLabels, labels_of, scope_labels};
use super::delta::{Accumulate, DeltaState, float};
use super::histogram::{self, is_stale};
use super::names::{Kind, Namer};
use crate::config::OtlpConfig;
use crate::remote::ingest::{Arriving, Ingest};

const EXEMPLAR_CHARS_MAX: usize = model::exemplar::LABELS_CHARS_MAX;
/// Samples of `target_info` for one request and resource, at most.
const TARGET_INFO_MAX: u64 = 10_000;

/// How a request is read.
#[derive(Debug, Clone, Copy)]
pub struct OtlpOptions<'a> {
    /// The section `otlp`.
    pub config: &'a OtlpConfig,
    /// `otlp-native-delta-ingestion`: deltas are stored as they are.
    pub native_delta: bool,
    /// `otlp-deltatocumulative`: deltas are added up here.
    pub deltas: Option<&'a Mutex<DeltaState>>,
    /// `type-and-unit-labels`
    pub type_and_unit: bool,
    /// How far back queries look, in ms: `target_info` has a sample every half of it.
    pub lookback_ms: i64,
    /// The time, in ms.
    pub now_ms: i64,
}

/// Converts one request.
pub struct Converter<'a, 's> {
    options: OtlpOptions<'a>,
    namer: Namer,
    ingest: &'a mut Ingest<'s>,
    resource: ResourceLabels,
    scope: LabelMap,
    faults: Vec<String>,
    target_infos: HashSet<(u64, i64)>,
    /// Earliest and latest data point of the resource, in ns.
    times: (u64, u64),
}

/// What all points of a metric share.
struct Family {
    name: String,
    metadata: Metadata,
    temporality: AggregationTemporality,
}

impl<'a, 's> Converter<'a, 's> {
    /// Into `ingest`.
    pub fn new(options: OtlpOptions<'a>, ingest: &'a mut Ingest<'s>) -> Self {
        Self {
            namer: Namer::new(options.config),
            options,
            ingest,
            resource: ResourceLabels::default(),
            scope: LabelMap::new(),
            faults: Vec::new(),
            target_infos: HashSet::new(),
            times: (u64::MAX, 0),
        }
    }

    /// Takes all of a request; what cannot be converted is told, the rest is taken.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn take(mut self, request: &ExportMetricsServiceRequest) -> Result<Vec<String>, StorageError> {
        for resource_metrics in &request.resource_metrics {
            self.resource_metrics(resource_metrics)?;
        }
        Ok(self.faults)
    }

    fn resource_metrics(&mut self, metrics: &ResourceMetrics) -> Result<(), StorageError> {
        let resource = metrics.resource.clone().unwrap_or_default();
        match ResourceLabels::new(&resource, self.namer, self.options.config) {
            Ok(labels) => self.resource = labels,
            Err(fault) => {
                self.faults.push(fault);
                return Ok(());
            }
        }
        self.times = (u64::MAX, 0);
        for scope_metrics in &metrics.scope_metrics {
            self.scope.clear();
            if self.options.config.promote_scope_metadata {
                match scope_labels(scope_metrics.scope.as_ref(), &scope_metrics.schema_url, self.namer) {
                    Ok(labels) => self.scope = labels,
                    Err(fault) => {
                        self.faults.push(fault);
                        continue;
                    }
                }
            }
            for metric in &scope_metrics.metrics {
                self.metric(metric)?;
            }
        }
        let keeps = self.options.config.keep_identifying_resource_attributes;
        match self.resource.target_info(&resource, self.namer, keeps) {
            Ok(Some(labels)) if self.times.1 > 0 || self.times.0 < u64::MAX => self.target_info(labels),
            Ok(_) => Ok(()),
            Err(fault) => {
                self.faults.push(fault);
                Ok(())
            }
        }
    }

    fn metric(&mut self, metric: &Metric) -> Result<(), StorageError> {
        let Some(data) = &metric.data else {
            self.faults.push(format!(
                "could not get aggregation temporality for {} as it has unsupported metric type Empty",
                metric.name
            ));
            return Ok(());
        };
        let (kind, metric_type, temporality) = described(data);
        let adds_up = self.options.deltas.is_some();
        let is_known = match temporality {
            Some(AggregationTemporality::Cumulative) | None => true,
            Some(AggregationTemporality::Delta) => self.options.native_delta || adds_up,
            Some(AggregationTemporality::Unspecified) => false,
        };
        if !is_known {
            self.faults.push(format!("invalid temporality and type combination for metric {:?}", metric.name));
            return Ok(());
        }
        let name = match self.namer.metric(&metric.name, &metric.unit, kind) {
            Ok(name) => name,
            Err(fault) => {
                self.faults.push(fault);
                return Ok(());
            }
        };
        let temporality = temporality.unwrap_or(AggregationTemporality::Cumulative);
        let is_raw_delta = temporality == AggregationTemporality::Delta && !adds_up;
        let family = Family {
            metadata: Metadata {
                metric_type: if is_raw_delta { MetricType::Unknown } else { metric_type },
                unit: self.namer.unit(&metric.unit),
                help: metric.description.clone(),
            },
            name,
            temporality,
        };
        match data {
            Data::Gauge(gauge) => gauge.data_points.iter().try_for_each(|point| self.number(&family, point)),
            Data::Sum(sum) => sum.data_points.iter().try_for_each(|point| self.number(&family, point)),
            Data::Histogram(histogram) => {
                histogram.data_points.iter().try_for_each(|point| self.histogram(&family, point))
            }
            Data::ExponentialHistogram(histogram) => {
                histogram.data_points.iter().try_for_each(|point| self.exponential(&family, point))
            }
            Data::Summary(summary) => summary.data_points.iter().try_for_each(|point| self.summary(&family, point)),
        }
    }

    fn number(&mut self, family: &Family, point: &NumberDataPoint) -> Result<(), StorageError> {
        self.note_time(point.time_unix_nano);
        let Some(labels) = self.labels(family, &point.attributes) else { return Ok(()) };
        let series = named(&labels, &family.name, &[]);
        let mut point = point.clone();
        if !self.accumulated(family, &series, &mut point) {
            return Ok(());
        }
        let value = if is_stale(point.flags) { STALE_NAN } else { point.value.map_or(0.0, float) };
        let exemplars = self.exemplars(&point.exemplars);
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        self.push(family, &series, times, NewValue::Float(value), &exemplars)
    }

    fn histogram(&mut self, family: &Family, point: &HistogramDataPoint) -> Result<(), StorageError> {
        self.note_time(point.time_unix_nano);
        let Some(labels) = self.labels(family, &point.attributes) else { return Ok(()) };
        let mut point = point.clone();
        if !self.accumulated(family, &named(&labels, &family.name, &[]), &mut point) {
            return Ok(());
        }
        let exemplars = self.exemplars(&point.exemplars);
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        if self.options.config.convert_histograms_to_nhcb {
            let histogram = histogram::explicit(&point, self.reset_hint(family));
            let value = NewValue::IntHistogram(&histogram);
            return self.push(family, &named(&labels, &family.name, &[]), times, value, &exemplars);
        }
        self.classic(family, &labels, &point, &exemplars)
    }

    /// A histogram as the series of classic buckets.
    fn classic(
        &mut self,
        family: &Family,
        labels: &LabelMap,
        point: &HistogramDataPoint,
        exemplars: &[Exemplar],
    ) -> Result<(), StorageError> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let stale = is_stale(point.flags);
        let value = |value: f64| NewValue::Float(if stale { STALE_NAN } else { value });
        let part = |suffix: &str, extra: &[(&str, &str)]| named(labels, &format!("{}{suffix}", family.name), extra);
        if let Some(sum) = point.sum {
            self.push(family, &part("_sum", &[]), times, value(sum), &[])?;
        }
        self.push(family, &part("_count", &[]), times, value(point.count as f64), &[])?;
        let mut rest: Vec<Exemplar> = exemplars.to_vec();
        let mut cumulative = 0_u64;
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative = cumulative.saturating_add(*count);
            let above = rest.iter().position(|exemplar| exemplar.value > *bound).unwrap_or(rest.len());
            let own: Vec<Exemplar> = rest.drain(..above).collect();
            let series = part("_bucket", &[("le", &print_float(*bound))]);
            self.push(family, &series, times, value(cumulative as f64), &own)?;
        }
        self.push(family, &part("_bucket", &[("le", "+Inf")]), times, value(point.count as f64), &rest)
    }

    fn exponential(&mut self, family: &Family, point: &ExponentialHistogramDataPoint) -> Result<(), StorageError> {
        self.note_time(point.time_unix_nano);
        let Some(labels) = self.labels(family, &point.attributes) else { return Ok(()) };
        let series = named(&labels, &family.name, &[]);
        let mut point = point.clone();
        if !self.accumulated(family, &series, &mut point) {
            return Ok(());
        }
        let histogram = match histogram::exponential(&point, self.reset_hint(family)) {
            Ok(histogram) => histogram,
            Err(fault) => {
                self.faults.push(fault);
                return Ok(());
            }
        };
        let exemplars = self.exemplars(&point.exemplars);
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        self.push(family, &series, times, NewValue::IntHistogram(&histogram), &exemplars)
    }

    fn summary(&mut self, family: &Family, point: &SummaryDataPoint) -> Result<(), StorageError> {
        self.note_time(point.time_unix_nano);
        let Some(labels) = self.labels(family, &point.attributes) else { return Ok(()) };
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let stale = is_stale(point.flags);
        let value = |value: f64| NewValue::Float(if stale { STALE_NAN } else { value });
        let part = |suffix: &str, extra: &[(&str, &str)]| named(&labels, &format!("{}{suffix}", family.name), extra);
        self.push(family, &part("_sum", &[]), times, value(point.sum), &[])?;
        self.push(family, &part("_count", &[]), times, value(point.count as f64), &[])?;
        for quantile in &point.quantile_values {
            let series = part("", &[("quantile", &print_float(quantile.quantile))]);
            self.push(family, &series, times, value(quantile.value), &[])?;
        }
        Ok(())
    }

    /// One sample of `target_info` at least every half of the lookback while the resource has data.
    fn target_info(&mut self, labels: LabelMap) -> Result<(), StorageError> {
        let series = named(&labels, "target_info", &[]);
        let family = Family {
            name: "target_info".into(),
            metadata: Metadata { metric_type: MetricType::Gauge, unit: String::new(), help: "Target metadata".into() },
            temporality: AggregationTemporality::Cumulative,
        };
        let interval = (self.options.lookback_ms / 2).max(1).cast_unsigned() * 1_000_000;
        let (first, last) = self.times;
        let steps = (last.saturating_sub(first) / interval).min(TARGET_INFO_MAX);
        let key = series.hash64();
        let times = (0..=steps).map(|step| first + step * interval).filter(|time| *time < last).chain([last]);
        for time in times {
            if self.target_infos.insert((key, ms(time))) {
                self.push(&family, &series, (0, time), NewValue::Float(1.0), &[])?;
            }
        }
        Ok(())
    }

    fn note_time(&mut self, time: u64) {
        self.times = (self.times.0.min(time), self.times.1.max(time));
    }

    /// Labels of a data point without its name; a fault is noted.
    fn labels(
        &mut self,
        family: &Family,
        attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
    ) -> Option<LabelMap> {
        let mut labels = match labels_of(attributes, self.namer, &[METRIC_NAME]) {
            Ok(labels) => labels,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        self.resource.add_to(&mut labels);
        labels.extend(self.scope.iter().map(|(name, value)| (name.clone(), value.clone())));
        if self.options.type_and_unit {
            let Metadata { metric_type, unit, .. } = &family.metadata;
            if *metric_type != MetricType::Unknown {
                labels.insert("__type__".into(), metric_type.as_str().into());
            }
            if !unit.is_empty() {
                labels.insert("__unit__".into(), unit.clone());
            }
        }
        Some(labels)
    }

    /// Adds a delta up; whether there is a point to store.
    fn accumulated(&mut self, family: &Family, series: &Labels, point: &mut impl Accumulate) -> bool {
        let (AggregationTemporality::Delta, Some(deltas)) = (family.temporality, self.options.deltas) else {
            return true;
        };
        match deltas.lock().accumulate(series.as_bytes(), point, self.options.now_ms) {
            Ok(()) => true,
            Err(fault) => {
                self.ingest.refuse(format!("{fault} for series {series}"));
                false
            }
        }
    }

    fn reset_hint(&self, family: &Family) -> ResetHint {
        let is_raw_delta = family.temporality == AggregationTemporality::Delta && self.options.deltas.is_none();
        if is_raw_delta { ResetHint::Gauge } else { ResetHint::Unknown }
    }

    fn exemplars(&self, exemplars: &[WireExemplar]) -> Vec<Exemplar> {
        exemplars.iter().filter_map(|exemplar| converted(exemplar, self.namer)).collect()
    }

    fn push(
        &mut self,
        family: &Family,
        series: &Labels,
        (start, time): (u64, u64),
        value: NewValue<'_>,
        exemplars: &[Exemplar],
    ) -> Result<(), StorageError> {
        let metadata = Some(&family.metadata);
        let arriving = Arriving { labels: series, start: ms(start), time: ms(time), value, exemplars, metadata };
        self.ingest.arrive(&arriving)
    }
}

fn ms(nanoseconds: u64) -> i64 {
    (nanoseconds / 1_000_000).cast_signed()
}

/// Labels with a metric's name and what else belongs to the series.
fn named(labels: &LabelMap, name: &str, extra: &[(&str, &str)]) -> Labels {
    let mut all: std::collections::BTreeMap<&str, &str> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(extra.iter().copied());
    all.insert(METRIC_NAME, name);
    all.retain(|_, value| !value.is_empty());
    Labels::from_sorted(all)
}

/// Kind and type of a metric, and its temporality if it has one.
fn described(data: &Data) -> (Kind, MetricType, Option<AggregationTemporality>) {
    let temporality = |number: i32| Some(AggregationTemporality::try_from(number).unwrap_or_default());
    match data {
        Data::Gauge(_) => (Kind::Gauge, MetricType::Gauge, None),
        Data::Sum(sum) if sum.is_monotonic => {
            (Kind::MonotonicCounter, MetricType::Counter, temporality(sum.aggregation_temporality))
        }
        Data::Sum(sum) => (Kind::Other, MetricType::Gauge, temporality(sum.aggregation_temporality)),
        Data::Histogram(histogram) => {
            (Kind::Other, MetricType::Histogram, temporality(histogram.aggregation_temporality))
        }
        Data::ExponentialHistogram(histogram) => {
            (Kind::Other, MetricType::Histogram, temporality(histogram.aggregation_temporality))
        }
        Data::Summary(_) => (Kind::Other, MetricType::Summary, None),
    }
}

/// An exemplar; attributes are left out where they do not fit beside trace and span.
fn converted(exemplar: &WireExemplar, namer: Namer) -> Option<Exemplar> {
    let value = match exemplar.value? {
        ExemplarValue::AsDouble(value) => value,
        ExemplarValue::AsInt(value) => value as f64,
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let mut labels = LabelMap::new();
    for (name, bytes) in [("trace_id", &exemplar.trace_id), ("span_id", &exemplar.span_id)] {
        if is_set(bytes) {
            labels.insert(name.into(), hex(bytes));
        }
    }
    let chars = |labels: &LabelMap| -> usize {
        labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum()
    };
    let attributes = namer.without_escaping();
    if let Ok(more) = labels_of(&exemplar.filtered_attributes, attributes, &[])
        && chars(&labels) + chars(&more) <= EXEMPLAR_CHARS_MAX
    {
        labels.extend(more);
    }
    let time = ms(exemplar.time_unix_nano);
    let labels = Labels::from_pairs(labels).ok()?;
    Some(Exemplar { labels, value, timestamp: (time != 0).then_some(Timestamp(time)) })
}

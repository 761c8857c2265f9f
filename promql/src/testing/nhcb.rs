//! `load_with_nhcb`: classic histograms loaded as native ones with custom buckets as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};
use model::labels::{BUCKET_BOUND, Labels, METRIC_NAME};
use model::sample::Value;

use super::memory::MemoryStorage;
use crate::histogram;

/// The parts of a classic histogram at one time.
#[derive(Default)]
struct Parts {
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The classic histograms of a load, by labels and time.
#[derive(Default)]
pub(super) struct Collected(BTreeMap<Labels, BTreeMap<i64, Parts>>);

impl Collected {
    /// Takes in a sample if it belongs to a classic histogram.
    pub(super) fn add(&mut self, labels: &Labels, time: i64, value: f64) {
        let name = labels.metric_name().unwrap_or_default();
        if let Some(base) = name.strip_suffix("_bucket") {
            let Some(bound) = labels.get(BUCKET_BOUND).and_then(|le| le.parse().ok()) else { return };
            self.parts(labels, base, time).buckets.push((bound, value));
        } else if let Some(base) = name.strip_suffix("_count") {
            self.parts(labels, base, time).count = Some(value);
        } else if let Some(base) = name.strip_suffix("_sum") {
            self.parts(labels, base, time).sum = value;
        }
    }

    fn parts(&mut self, labels: &Labels, base: &str, time: i64) -> &mut Parts {
        let mut builder = labels.to_builder();
        builder.set(METRIC_NAME, base).delete(BUCKET_BOUND);
        self.0.entry(builder.build()).or_default().entry(time).or_default()
    }

    /// Puts them into storage as native histograms.
    pub(super) fn store(self, storage: &MemoryStorage) {
        for (labels, times) in self.0 {
            let samples = times.into_iter().map(|(time, parts)| (time, Value::Histogram(Arc::new(parts.convert()))));
            storage.insert(&labels, samples);
        }
    }
}

impl Parts {
    fn convert(mut self) -> FloatHistogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(highest);
        let custom_values: Vec<f64> = self.buckets.iter().map(|(bound, _)| *bound).filter(|b| b.is_finite()).collect();
        let mut cumulative: Vec<f64> =
            self.buckets.iter().filter(|(bound, _)| bound.is_finite()).map(|(_, count)| *count).collect();
        cumulative.push(count);
        let mut previous = 0.0;
        let positive: Vec<f64> = cumulative
            .into_iter()
            .map(|count| {
                let own = count - previous;
                previous = count;
                own
            })
            .collect();
        let mut h = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: positive.len() as u32 }],
            positive,
            custom_values,
            ..FloatHistogram::default()
        };
        histogram::compact(&mut h);
        h
    }
}

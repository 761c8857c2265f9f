//! From the logs to a destination's queue: series by number, relabelled once, samples with their exemplars.

use std::collections::HashMap;

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::relabel::{self, RelabelRule, Verdict};
use tsdb::tail::{TailPosition, TailSink, TailValue};

use super::queue::Queue;
use super::request::{Counts, Entry};

/// Exemplars that wait for a sample of their series.
const EXEMPLARS_WAITING_MAX: usize = 10_000;

/// What is sent of what comes.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) external: Labels,
    pub(super) relabel: Vec<RelabelRule>,
    pub(super) exemplars: bool,
    pub(super) histograms: bool,
    /// Older samples are not sent, in ms; 0 for no limit.
    pub(super) age_max: i64,
}

/// A sample that was read.
struct Sample {
    series: u64,
    start: i64,
    time: i64,
    value: TailValue,
}

/// What one turn of reading found, and what is known of series.
pub(super) struct Feed {
    choice: Choice,
    /// As they are sent; `None` for those that relabelling drops.
    series: HashMap<u64, Option<Labels>>,
    metadata: HashMap<u64, Metadata>,
    samples: Vec<Sample>,
    exemplars: HashMap<u64, Vec<Exemplar>>,
    exemplars_waiting: usize,
}

/// What became of a turn's samples.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Fed {
    /// Samples read.
    pub(super) read: u64,
    /// The newest, in ms.
    pub(super) newest: i64,
    /// Not sent: relabelling drops the series, they are too old, or of a series that is not known.
    pub(super) dropped: Counts,
}

impl Feed {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            choice,
            series: HashMap::new(),
            metadata: HashMap::new(),
            samples: Vec::new(),
            exemplars: HashMap::new(),
            exemplars_waiting: 0,
        }
    }

    /// Forgets all series but those that `keep` accepts.
    pub(super) fn retain_series(&mut self, keep: impl Fn(u64) -> bool) {
        self.series.retain(|series, _| keep(*series));
        self.metadata.retain(|series, _| keep(*series));
        self.series.shrink_to_fit();
    }

    /// Puts what was read into the queue.
    pub(super) fn pour(&mut self, queue: &mut Queue, from: TailPosition, now: i64) -> Fed {
        let mut fed = Fed { newest: i64::MIN, ..Fed::default() };
        for sample in std::mem::take(&mut self.samples) {
            fed.read += 1;
            fed.newest = fed.newest.max(sample.time);
            let is_float = matches!(sample.value, TailValue::Float(_));
            let is_old = self.choice.age_max > 0 && sample.time < now - self.choice.age_max;
            let is_chosen = is_float || self.choice.histograms;
            let labels = self.series.get(&sample.series).and_then(Option::as_ref).filter(|_| is_chosen && !is_old);
            let Some(labels) = labels else {
                fed.dropped.samples += u32::from(is_float);
                fed.dropped.histograms += u32::from(!is_float);
                continue;
            };
            let exemplars = self.exemplars.remove(&sample.series).unwrap_or_default();
            self.exemplars_waiting -= exemplars.len();
            let entry = Entry {
                labels,
                start: sample.start,
                time: sample.time,
                value: &sample.value,
                exemplars: &exemplars,
                metadata: self.metadata.get(&sample.series),
            };
            queue.push(sample.series, &entry, from, now);
        }
        if self.exemplars_waiting > EXEMPLARS_WAITING_MAX {
            fed.dropped.exemplars += u32::try_from(self.exemplars_waiting).unwrap_or(u32::MAX);
            self.exemplars.clear();
            self.exemplars_waiting = 0;
        }
        fed
    }
}

impl TailSink for Feed {
    fn series(&mut self, series: u64, labels: Labels) {
        let mut builder = labels.to_builder();
        for (name, value) in self.choice.external.iter() {
            if builder.get(name).is_none() {
                builder.set(name, value);
            }
        }
        let is_kept = relabel::apply(&self.choice.relabel, &mut builder) == Verdict::Keep;
        let labels = is_kept.then(|| builder.build()).filter(|labels| !labels.is_empty());
        self.series.insert(series, labels);
    }

    fn sample(&mut self, series: u64, start: i64, time: i64, value: TailValue) {
        self.samples.push(Sample { series, start, time, value });
    }

    fn exemplar(&mut self, series: u64, exemplar: Exemplar) {
        if self.choice.exemplars {
            self.exemplars.entry(series).or_default().push(exemplar);
            self.exemplars_waiting += 1;
        }
    }

    fn metadata(&mut self, series: u64, metadata: Metadata) {
        self.metadata.insert(series, metadata);
    }
}

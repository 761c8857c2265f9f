//! What a query took, as upstream's `stats=all` tells it.

use model::number::print_float;

use crate::json::Object;

/// What a query took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Samples looked at, each as often as a window held it.
    pub total_samples: u64,
    /// Samples read, each once per selector.
    pub samples_read: u64,
    /// The most samples held at a time, as upstream would hold them: what `max_samples` limits.
    pub peak_samples: u64,
    /// The most bytes held at a time: what `max_bytes` limits.
    pub peak_bytes: u64,
    /// The samples of each step, if they were asked for.
    pub per_step: Option<StepSamples>,
    /// How long it took; zeros without a clock.
    pub timings: Timings,
}

/// The samples of each step, with its time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepSamples {
    /// As [`Stats::total_samples`].
    pub total: Vec<(i64, u64)>,
    /// As [`Stats::samples_read`].
    pub read: Vec<(i64, u64)>,
}

/// How long the parts of a query took, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Parsing excluded: planning, and opening the storage.
    pub preparation: u64,
    /// Running the plan.
    pub evaluation: u64,
    /// Ordering the result.
    pub sorting: u64,
}

impl Stats {
    /// The object `stats` of the HTTP API. The caller knows how many seconds the query waited for its turn, and how
    /// many it took altogether.
    pub fn to_json(&self, queued_seconds: f64, total_seconds: f64) -> String {
        let seconds = |nanos: u64| print_float(nanos as f64 / 1e9);
        let Timings { preparation, evaluation, sorting } = self.timings;
        let mut out = String::new();
        Object::new(&mut out)
            .with("timings", |out| {
                Object::new(out)
                    .number("evalTotalTime", seconds(preparation + evaluation + sorting))
                    .number("resultSortTime", seconds(sorting))
                    .number("queryPreparationTime", seconds(preparation))
                    .number("innerEvalTime", seconds(evaluation))
                    .number("execQueueTime", print_float(queued_seconds))
                    .number("execTotalTime", print_float(total_seconds))
                    .end();
            })
            .with("samples", |out| self.push_samples(out))
            .end();
        out
    }

    fn push_samples(&self, out: &mut String) {
        let push_step = |out: &mut String, (time, count): &(i64, u64)| {
            out.push_str(&format!("[{},{count}]", print_float(*time as f64 / 1000.0)));
        };
        let mut object = Object::new(out);
        if let Some(per_step) = &self.per_step {
            object = object.list("totalQueryableSamplesPerStep", &per_step.total, push_step);
        }
        object = object.number("totalQueryableSamples", self.total_samples);
        if let Some(per_step) = &self.per_step {
            object = object.list("samplesReadPerStep", &per_step.read, push_step);
        }
        object.number("samplesRead", self.samples_read).number("peakSamples", self.peak_samples).end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_written_as_upstream_writes_them() {
        let timings = Timings { preparation: 1_000_000, evaluation: 2_000_000_000, sorting: 0 };
        let per_step = StepSamples { total: vec![(1500, 3), (2000, 4)], read: vec![(1500, 3), (2000, 1)] };
        let mut stats = Stats {
            total_samples: 7,
            samples_read: 4,
            peak_samples: 5,
            peak_bytes: 80,
            per_step: Some(per_step),
            timings,
        };
        let head = concat!(
            r#"{"timings":{"evalTotalTime":2.001,"resultSortTime":0,"queryPreparationTime":0.001,"innerEvalTime":2,"#,
            r#""execQueueTime":0.25,"execTotalTime":2.5},"samples":{"#
        );
        let samples = concat!(
            r#""totalQueryableSamplesPerStep":[[1.5,3],[2,4]],"totalQueryableSamples":7,"#,
            r#""samplesReadPerStep":[[1.5,3],[2,1]],"samplesRead":4,"peakSamples":5}}"#
        );
        assert_eq!(stats.to_json(0.25, 2.5), format!("{head}{samples}"));
        stats.per_step = None;
        let samples = r#""totalQueryableSamples":7,"samplesRead":4,"peakSamples":5}}"#;
        assert_eq!(stats.to_json(0.25, 2.5), format!("{head}{samples}"));
    }
}

//! Series of all kinds, for both sides.

use std::fmt::Write;

use model::labels::{Labels, LabelsBuilder};
use model::sample::Value;
use promql::testing::MemoryStorage;

use super::expressions::Random;

/// Seconds since the epoch of the first sample; blocks begin here too.
pub(crate) const START: i64 = 1_599_998_400;
/// Samples of each series.
const SAMPLES: i64 = 240;
const INTERVAL_MS: i64 = 15_000;

/// The same data twice: in memory, and as a page to make blocks of.
pub(crate) struct Data {
    pub(crate) storage: MemoryStorage,
    pub(crate) open_metrics: String,
}

/// What a series is like.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    /// Whole numbers, with gaps and NaN.
    Odd,
    Info,
}

impl Data {
    pub(crate) fn new(seed: u64) -> Self {
        let mut data = Self { storage: MemoryStorage::new(), open_metrics: String::new() };
        let mut random = Random::new(seed ^ 0x5eed);
        for (name, kind) in [("c_total", Kind::Counter), ("g", Kind::Gauge), ("odd", Kind::Odd), ("info", Kind::Info)] {
            let family = name.strip_suffix("_total").unwrap_or(name);
            let type_name = if matches!(kind, Kind::Counter) { "counter" } else { "gauge" };
            writeln!(data.open_metrics, "# TYPE {family} {type_name}").unwrap();
            for job in ["a", "b", "c"] {
                for instance in 0..if matches!(kind, Kind::Info) { 1 } else { 4 } {
                    let mut labels = vec![("job", job.to_owned())];
                    match kind {
                        Kind::Info => labels.push(("version", format!("v{job}"))),
                        _ => labels.push(("instance", instance.to_string())),
                    }
                    data.series(name, &labels, &values(kind, &mut random));
                }
            }
        }
        data.histograms(&mut random);
        data.open_metrics.push_str("# EOF\n");
        data
    }

    fn histograms(&mut self, random: &mut Random) {
        self.open_metrics.push_str("# TYPE h histogram\n");
        for job in ["a", "b"] {
            let mut sums = vec![0.0; SAMPLES as usize];
            for le in ["0.1", "0.5", "1.0", "5.0", "+Inf"] {
                // Each bucket holds what the one below it holds.
                let own = values(Kind::Counter, random);
                let mut rising = 0.0_f64;
                for (sum, value) in sums.iter_mut().zip(own) {
                    rising = rising.max(value.unwrap_or(0.0).floor());
                    *sum += rising;
                }
                let values: Vec<Option<f64>> = sums.iter().copied().map(Some).collect();
                self.series("h_bucket", &[("job", job.to_owned()), ("le", le.to_owned())], &values);
            }
            let counts: Vec<Option<f64>> = sums.iter().copied().map(Some).collect();
            self.series("h_count", &[("job", job.to_owned())], &counts);
            self.series("h_sum", &[("job", job.to_owned())], &counts);
        }
    }

    fn series(&mut self, name: &str, labels: &[(&str, String)], values: &[Option<f64>]) {
        let mut builder = LabelsBuilder::new();
        builder.set("__name__", name);
        for (name, value) in labels {
            builder.set(name, value);
        }
        let built: Labels = builder.build();
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        // No series shares its times with the edge of any window: these are whole seconds.
        let offset = 333 + (built.hash64() % 400) as i64;
        let mut samples = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let time = START * 1000 + i as i64 * INTERVAL_MS + offset;
            samples.push((time, Value::Float(*value)));
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            writeln!(self.open_metrics, "{name}{{{}}} {value} {}", shown.join(","), time as f64 / 1000.0).unwrap();
        }
        self.storage.insert(&built, samples);
    }
}

fn values(kind: Kind, random: &mut Random) -> Vec<Option<f64>> {
    let mut level = random.below(1000) as f64;
    (0..SAMPLES)
        .map(|i| match kind {
            Kind::Info => Some(1.0),
            Kind::Counter => {
                level = if random.below(60) == 0 { random.below(5) as f64 } else { level + random.below(100) as f64 };
                Some(level)
            }
            Kind::Gauge => {
                level += random.below(2001) as f64 / 100.0 - 10.0;
                Some(level)
            }
            // Every now and then nothing for longer than an instant selector looks back.
            Kind::Odd if (i / 30) % 4 == 2 || random.below(10) == 0 => None,
            Kind::Odd if random.below(25) == 0 => Some(f64::NAN),
            Kind::Odd => Some(random.below(7) as f64 - 3.0),
        })
        .collect()
}

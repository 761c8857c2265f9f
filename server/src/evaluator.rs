//! Rules' way to the query engine.

use std::sync::Arc;
use std::time::Instant;

use model::duration::Duration;
use model::labels::Labels;
use model::sample::{Timestamp, Value};
use model::storage::Queryable;
use net::clock::Clock;
use promql::active::ActiveQueries;
use promql::{CancelToken, Engine, QueryOptions, QueryValue};
use rules::evaluate::{EvaluateError, Evaluator, VectorSample};

use crate::query_log::{LoggedQuery, QueryLog};

/// Evaluates on the local storage.
pub struct EngineEvaluator {
    /// Where samples are.
    pub storage: Arc<dyn Queryable>,
    /// What evaluates.
    pub engine: Arc<Engine>,
    /// How long one expression may take.
    pub timeout: Duration,
    /// Queries that run: rules' are listed, and can be cancelled, as all others.
    pub queries: Arc<ActiveQueries>,
    /// Where queries are logged, if that is configured.
    pub query_log: Arc<QueryLog>,
    /// The time.
    pub clock: Clock,
}

impl Evaluator for EngineEvaluator {
    fn evaluate(&self, expression: &str, at: Timestamp) -> Result<Vec<VectorSample>, EvaluateError> {
        let began = Instant::now();
        let deadline = began + self.timeout.as_std();
        let cancel = CancelToken::with_deadline(move || Instant::now() >= deadline);
        // Samples are counted for the query log alone.
        let options = QueryOptions { cancel, uncounted: !self.query_log.is_on(), ..QueryOptions::default() };
        let started = Timestamp(self.clock.now_ms());
        let _listed = self.queries.register(expression, started, &options.cancel, &options.usage);
        let result = self
            .engine
            .instant(&*self.storage, expression, at, &options)
            .map_err(|error| EvaluateError(error.to_string()))?;
        let logged = LoggedQuery {
            query: expression,
            start: at,
            end: at,
            step_seconds: 0.0,
            stats: &result.stats,
            queued_seconds: 0.0,
            total_seconds: began.elapsed().as_secs_f64(),
            request: None,
        };
        self.query_log.note(Timestamp(self.clock.now_ms()), &logged);
        match result.value {
            QueryValue::Vector { samples, .. } => {
                Ok(samples.into_iter().map(|s| VectorSample { labels: s.labels, value: s.value }).collect())
            }
            QueryValue::Scalar { value, .. } => {
                Ok(vec![VectorSample { labels: Labels::empty(), value: Value::Float(value) }])
            }
            QueryValue::String { .. } | QueryValue::Matrix(_) | QueryValue::Spilled(_) => {
                Err(EvaluateError("rule result is not a vector or scalar".into()))
            }
        }
    }
}

/// A quarter of the memory that is available now.
pub fn memory_share() -> u64 {
    let information = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    // Where the system does not say, only the limits of each query hold.
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes * 1024 / 4)
}

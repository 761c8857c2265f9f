//! Rules' way to the query engine.

use std::sync::Arc;
use std::time::Instant;

use model::duration::Duration;
use model::labels::Labels;
use model::sample::{Timestamp, Value};
use promql::{CancelToken, Engine, QueryOptions, QueryValue};
use rules::evaluate::{EvaluateError, Evaluator, VectorSample};
use tsdb::Db;

/// Evaluates on the local storage.
pub struct EngineEvaluator {
    /// Where samples are.
    pub db: Arc<Db>,
    /// What evaluates.
    pub engine: Arc<Engine>,
    /// How long one expression may take.
    pub timeout: Duration,
}

impl Evaluator for EngineEvaluator {
    fn evaluate(&self, expression: &str, at: Timestamp) -> Result<Vec<VectorSample>, EvaluateError> {
        let deadline = Instant::now() + self.timeout.as_std();
        let cancel = CancelToken::with_deadline(move || Instant::now() >= deadline);
        let options = QueryOptions { cancel, ..QueryOptions::default() };
        let result = self
            .engine
            .instant(&*self.db, expression, at, &options)
            .map_err(|error| EvaluateError(error.to_string()))?;
        match result.value {
            QueryValue::Vector { samples, .. } => {
                Ok(samples.into_iter().map(|s| VectorSample { labels: s.labels, value: s.value }).collect())
            }
            QueryValue::Scalar { value, .. } => {
                Ok(vec![VectorSample { labels: Labels::empty(), value: Value::Float(value) }])
            }
            QueryValue::String { .. } | QueryValue::Matrix(_) => {
                Err(EvaluateError("rule result is not a vector or scalar".into()))
            }
        }
    }
}

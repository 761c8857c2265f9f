//! What rules need of a query engine.

use model::labels::Labels;
use model::sample::{Timestamp, Value};

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// Why an expression could not be evaluated; the text is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluateError(pub String);

/// Evaluates expressions. Called on threads where blocking is fine.
pub trait Evaluator: Send + Sync {
    /// The instant vector of `expression` at `at`; a scalar is one sample without labels.
    ///
    /// # Errors
    /// As the engine words it.
    fn evaluate(&self, expression: &str, at: Timestamp) -> Result<Vec<VectorSample>, EvaluateError>;
}

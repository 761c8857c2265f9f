//! What can go wrong with a query, by what the caller can do about it.

use model::pattern::PatternError;
use model::storage::StorageError;

use crate::token::Span;

/// A query that cannot be read, with the place of the fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// `line:column`, both from 1.
    pub position: String,
    /// What is wrong.
    pub message: String,
    /// The bytes at fault.
    pub span: Span,
}

/// Why a query gave no result. [`Error::kind`] is the API's `errorType`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no PromQL, or its types do not fit.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The times, step or type asked for make no query.
    #[error("{0}")]
    BadRequest(BadRequest),
    /// The query ran and met what it cannot compute.
    #[error("{0}")]
    Execution(Fault),
    /// A limit with a name was reached.
    #[error("{0}")]
    Limit(Limit),
    /// The time allowed was over.
    #[error("query timed out in {stage}")]
    Timeout {
        /// What was being done.
        stage: &'static str,
    },
    /// The caller gave up.
    #[error("query was canceled in {stage}")]
    Canceled {
        /// What was being done.
        stage: &'static str,
    },
    /// The engine itself failed: a fault in it, caught at its edge.
    #[error("unexpected error: {0}")]
    Panicked(String),
    /// Storage could not be read.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// The API's `errorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// `bad_data`
    BadData,
    /// `execution`
    Execution,
    /// `timeout`
    Timeout,
    /// `canceled`
    Canceled,
    /// `internal`
    Internal,
}

impl ErrorKind {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Internal => "internal",
        }
    }
}

impl Error {
    /// Which of the API's kinds it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Parse(_) | Error::BadRequest(_) => ErrorKind::BadData,
            Error::Execution(_) | Error::Limit(_) | Error::Panicked(_) => ErrorKind::Execution,
            Error::Timeout { .. } => ErrorKind::Timeout,
            Error::Canceled { .. } | Error::Storage(StorageError::Cancelled) => ErrorKind::Canceled,
            Error::Storage(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn fault(fault: Fault) -> Self {
        Error::Execution(fault)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::Execution(fault)
    }
}

/// A request that cannot be a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// Range queries give series over time; ranges and texts have none.
    #[error("invalid expression type {found:?} for range query, must be Scalar or instant Vector")]
    RangeQueryType {
        /// The type found.
        found: &'static str,
    },
    /// The step is zero or negative.
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    /// The end lies before the start.
    #[error("end timestamp must not be before start time")]
    EndBeforeStart,
    /// A computed duration came out wrong.
    #[error("{start}:{end}: {message}")]
    Duration {
        /// Where it starts, in bytes.
        start: usize,
        /// Where it ends.
        end: usize,
        /// What is wrong.
        message: &'static str,
    },
}

/// A limit that a query met; see [`crate::engine::Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// `max_samples`
    #[error("query processing would load too many samples into memory in query execution")]
    Samples {
        /// The limit.
        max: u64,
    },
    /// `max_bytes`
    #[error("query would hold more than {max} bytes in memory (limit max_bytes)")]
    Bytes {
        /// The limit.
        max: u64,
    },
    /// `max_memory`
    #[error("all queries together would hold more than {max} bytes in memory (limit max_memory)")]
    TotalBytes {
        /// The limit.
        max: u64,
    },
}

/// What a query cannot compute.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Two series of one vector have the same labels.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabels,
    /// Both match the same on the "one" side.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateInGroup {
        /// The labels matched on.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One series.
        first: String,
        /// The other.
        second: String,
    },
    /// Several series on the left without `group_left`.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOneNotExplicit,
    /// Several results with the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// A count parameter beyond 64 bits.
    #[error("Scalar value {0} overflows int64")]
    Overflow(String),
    /// A count parameter below 64 bits.
    #[error("Scalar value {0} underflows int64")]
    Underflow(String),
    /// A count parameter that is not a number.
    #[error("Parameter value is NaN")]
    ParamNotANumber,
    /// A ratio parameter that is not a number.
    #[error("Ratio value is NaN")]
    RatioNotANumber,
    /// Not a name for a label, in quotes.
    #[error("invalid label name {0}")]
    LabelName(String),
    /// `label_replace` and `label_join` word it so.
    #[error("invalid destination label name in {function}(): {name}")]
    DestinationLabel {
        /// The function.
        function: &'static str,
        /// The name given.
        name: String,
    },
    /// `label_join`'s sources.
    #[error("invalid source label name in {function}(): {name}")]
    SourceLabel {
        /// The function.
        function: &'static str,
        /// The name given.
        name: String,
    },
    /// Not a regular expression.
    #[error("invalid regular expression in {function}(): {expression}")]
    Pattern {
        /// The function.
        function: &'static str,
        /// The expression.
        expression: String,
        /// What is wrong with it.
        reason: PatternError,
    },
    /// A smoothing or trend factor out of range.
    #[error("invalid {name}. Expected: 0 < {short} < 1, got: {value}")]
    Factor {
        /// Which factor.
        name: &'static str,
        /// Its short name.
        short: &'static str,
        /// The value given.
        value: f64,
    },
    /// A function that only takes a selector.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Any other fault in upstream's words.
    #[error("{0}")]
    Other(String),
}

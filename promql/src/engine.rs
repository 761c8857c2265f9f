//! The engine: runs queries at one time or at many, within limits.

mod result;
mod span;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::annotations::Annotations;
use model::duration::Duration;
use model::sample::Timestamp;
use model::storage::Queryable;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::ast::{Expr, ValueType};
use crate::cancel::CancelToken;
use crate::error::{BadRequest, Error, Fault};
use crate::exec::budget::Budget;
use crate::exec::{Context, Settings};
use crate::notes::Notes;
use crate::parser::{self, Options};
use crate::plan::{self, Node, QueryTimes};
use crate::value::{QueryValue, Steps};

/// Expressions up to this height are evaluated on the stack of whoever asks; the usual 2 MiB are enough for them.
const HEIGHT_ON_CALLERS_STACK: usize = 50;
/// The stack for higher ones, up to [`parser::HEIGHT_MAX`]; only what is used of it takes memory.
const DEEP_STACK_BYTES: usize = 256 * 1024 * 1024;

/// How an engine works and what it allows. Defaults are Prometheus'.
#[derive(Debug, Clone)]
pub struct Config {
    /// How far back an instant selector looks for a sample (`--query.lookback-delta`).
    pub lookback: Duration,
    /// The most samples a query may hold at a time (`--query.max-samples`).
    pub max_samples: u64,
    /// The most bytes a query may hold at a time.
    pub max_bytes: u64,
    /// The step of subqueries that name none: the global evaluation interval.
    pub default_subquery_step: Duration,
    /// Which experimental parts of the language are allowed.
    pub language: Options,
    /// Metric names go at the very end instead of at each step (`promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// `rate` and `increase` look at the label `__type__` instead of the name (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// `rate`, `irate`, `increase`, `resets` and `start_timestamp` look at start timestamps (`use-start-timestamps`).
    pub start_timestamps: bool,
    /// Threads that queries share; 1 for none beyond the caller's own.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lookback: Duration::from_seconds(300),
            max_samples: 50_000_000,
            max_bytes: u64::MAX,
            default_subquery_step: Duration::from_seconds(60),
            language: Options::default(),
            delayed_name_removal: false,
            type_and_unit_labels: false,
            start_timestamps: false,
            threads: 1,
        }
    }
}

/// What one query may have of its own.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Another lookback than the engine's.
    pub lookback: Option<Duration>,
    /// Ends the query from outside or at a deadline.
    pub cancel: CancelToken,
}

/// What a query gave.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// Its value.
    pub value: QueryValue,
    /// Warnings and notes.
    pub annotations: Annotations,
    /// What it took.
    pub stats: Stats,
}

/// What a query took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Samples looked at, each as often as a window held it.
    pub total_samples: u64,
    /// The most samples held at a time.
    pub peak_samples: u64,
    /// The most bytes held at a time.
    pub peak_bytes: u64,
}

/// Runs queries. Cheap to share; holds no query's state.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    pool: Option<Arc<ThreadPool>>,
}

impl Engine {
    /// An engine with its own threads. If the system gives no threads, queries run on their caller's.
    pub fn new(config: Config) -> Self {
        let pool = (config.threads > 1)
            .then(|| ThreadPoolBuilder::new().num_threads(config.threads).thread_name(|i| format!("query-{i}")).build())
            .and_then(Result::ok)
            .map(Arc::new);
        Self { config, pool }
    }

    /// An engine on threads that others use too.
    pub fn with_pool(config: Config, pool: Arc<ThreadPool>) -> Self {
        Self { config, pool: Some(pool) }
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Parses a query with the language options of this engine.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(&self, query: &str) -> Result<Expr, Error> {
        Ok(parser::parse_with(query, &self.config.language)?)
    }

    /// The value of a query at one time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn instant(
        &self,
        queryable: &dyn Queryable,
        query: &str,
        time: Timestamp,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        let expr = self.parse(query)?;
        let times = QueryTimes { start: time.0, end: time.0, step: 0 };
        with_stack(&expr, || self.run(queryable, query, &expr, times, Steps::once(time.0), options))
    }

    /// The values of a query from `start` to `end`, both included, every `step`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn range(
        &self,
        queryable: &dyn Queryable,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        let expr = self.parse(query)?;
        let found = expr.value_type();
        if !matches!(found, ValueType::Vector | ValueType::Scalar) {
            return Err(Error::BadRequest(BadRequest::RangeQueryType { found: found.documented() }));
        }
        if step.is_zero() {
            return Err(Error::BadRequest(BadRequest::Step));
        }
        if end < start {
            return Err(Error::BadRequest(BadRequest::EndBeforeStart));
        }
        let times = QueryTimes { start: start.0, end: end.0, step: step.as_millis() };
        let steps = Steps::range(start.0, end.0, step.as_millis());
        with_stack(&expr, || self.run(queryable, query, &expr, times, steps, options))
    }

    fn run(
        &self,
        queryable: &dyn Queryable,
        query: &str,
        expr: &Expr,
        times: QueryTimes,
        steps: Steps,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        options.cancel.check("query preparation")?;
        let plan = plan::build(expr, times)?;
        let settings = Settings {
            lookback: options.lookback.unwrap_or(self.config.lookback).as_millis(),
            delayed_names: self.config.delayed_name_removal,
            type_and_unit_labels: self.config.type_and_unit_labels,
            start_timestamps: self.config.start_timestamps,
            default_subquery_step: self.config.default_subquery_step.as_millis(),
        };
        let (start, end) = span::needed(&plan, steps, settings).unwrap_or((0, 0));
        let querier = queryable.querier(Timestamp(start), Timestamp(end))?;
        let ctx = Context {
            querier: querier.as_ref(),
            pool: self.pool.as_deref(),
            cancel: &options.cancel,
            budget: Arc::new(Budget::new(self.config.max_samples, self.config.max_bytes)),
            settings,
            notes: Mutex::new(Notes::default()),
            storage_annotations: Mutex::new(Annotations::new()),
            selected: Mutex::new(HashMap::new()),
        };
        ctx.check_steps(steps)?;
        let value = evaluate(&ctx, &plan, times, steps)?;
        Ok(finish(ctx, value, query))
    }
}

/// Runs a query that nests deeply on a thread with a stack to match: evaluation descends as the expression does.
fn with_stack<T: Send>(expr: &Expr, run: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if parser::height(expr) <= HEIGHT_ON_CALLERS_STACK {
        return run();
    }
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new()
            .name("deep-query".to_owned())
            .stack_size(DEEP_STACK_BYTES)
            .spawn_scoped(scope, run);
        match spawned.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(Fault::Other(format!("no thread for a deep expression: {error}")).into()),
        }
    })
}

fn evaluate(ctx: &Context<'_>, plan: &Node, times: QueryTimes, steps: Steps) -> Result<QueryValue, Error> {
    if times.step == 0 { result::instant(ctx, plan, times.start) } else { result::range(ctx, plan, steps) }
}

fn finish(ctx: Context<'_>, value: QueryValue, query: &str) -> QueryResult {
    let stats = Stats {
        total_samples: ctx.budget.total_samples(),
        peak_samples: ctx.budget.peak_samples(),
        peak_bytes: ctx.budget.peak_bytes(),
    };
    let mut annotations = ctx.notes.into_inner().unwrap_or_else(PoisonError::into_inner).finish(query);
    annotations.merge(ctx.storage_annotations.into_inner().unwrap_or_else(PoisonError::into_inner));
    QueryResult { value, annotations, stats }
}

//! The engine: runs queries at one time or at many, within limits.

mod account;
mod edge;
mod result;
mod span;
mod stats;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::annotations::Annotations;
use model::duration::Duration;
use model::sample::Timestamp;
use model::storage::Queryable;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use self::stats::{Stats, StepSamples, Timings};
pub use crate::exec::Clock;
pub use crate::exec::budget::Usage;

use self::account::Account;
use crate::ast::{Expr, ValueType};
use crate::cancel::CancelToken;
use crate::error::{BadRequest, Error, Limit};
use crate::exec::budget::{Budget, Charge};
use crate::exec::meter::Meter;
use crate::exec::{Context, Settings};
use crate::explain::{self, PlanNode};
use crate::notes::Notes;
use crate::parser::{self, Options};
use crate::plan::{self, Leave, Node, Plan, QueryTimes};
use crate::spill::Spill;
use crate::value::{QueryValue, Steps};

/// What a plan leaves out where nobody can tell.
const EVERYTHING: Leave = Leave { series: true, labels: true };

/// How an engine works and what it allows. Defaults are Prometheus'.
#[derive(Debug, Clone)]
pub struct Config {
    /// How far back an instant selector looks for a sample (`--query.lookback-delta`).
    pub lookback: Duration,
    /// The most samples a query may hold at a time (`--query.max-samples`).
    pub max_samples: u64,
    /// The most bytes a query may hold at a time (`--query.max-memory-per-query`).
    pub max_bytes: u64,
    /// The most bytes all queries together may hold at a time (`--query.max-memory`).
    pub max_memory: u64,
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
            max_memory: u64::MAX,
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
#[derive(Clone, Default)]
pub struct QueryOptions {
    /// Another lookback than the engine's.
    pub lookback: Option<Duration>,
    /// Ends the query from outside or at a deadline.
    pub cancel: CancelToken,
    /// Where the memory it holds is told while it runs.
    pub usage: Arc<Usage>,
    /// Samples are counted for each step too.
    pub per_step_stats: bool,
    /// Nobody looks at how many samples were read: series that cannot be seen in the result are left out. Otherwise the
    /// counts are upstream's, which reads them.
    pub uncounted: bool,
    /// All labels of all series are built, even those that nothing looks at. The answer is the same.
    pub whole_labels: bool,
    /// The result has the plan with what each of its parts took.
    pub analyze: bool,
    /// Nanoseconds since any time, to tell how long things took. The crate reads no clock.
    pub clock: Option<Arc<Clock>>,
    /// Finished series may leave memory: a value of many points is then a [`QueryValue::Spilled`].
    pub spill: Option<Spill>,
}

impl std::fmt::Debug for QueryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryOptions")
            .field("lookback", &self.lookback)
            .field("cancel", &self.cancel)
            .field("per_step_stats", &self.per_step_stats)
            .field("uncounted", &self.uncounted)
            .field("whole_labels", &self.whole_labels)
            .field("analyze", &self.analyze)
            .field("spill", &self.spill)
            .finish_non_exhaustive()
    }
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
    /// How it was run, if [`QueryOptions::analyze`] asked for it.
    pub plan: Option<PlanNode>,
    /// What the value weighs: it counts among what the engine's queries hold until the result is dropped.
    _held: Arc<Charge>,
}

/// Runs queries. Cheap to share; holds no query's state.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    pool: Option<Arc<ThreadPool>>,
    /// What all running queries hold.
    usage: Arc<Usage>,
}

impl Engine {
    /// An engine with its own threads. If the system gives no threads, queries run on their caller's.
    pub fn new(config: Config) -> Self {
        let pool = (config.threads > 1)
            .then(|| ThreadPoolBuilder::new().num_threads(config.threads).thread_name(|i| format!("query-{i}")).build())
            .and_then(Result::ok)
            .map(Arc::new);
        Self { config, pool, usage: Arc::default() }
    }

    /// An engine on threads that others use too.
    pub fn with_pool(config: Config, pool: Arc<ThreadPool>) -> Self {
        Self { config, pool: Some(pool), usage: Arc::default() }
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What all its running queries hold in memory.
    pub fn usage(&self) -> &Usage {
        &self.usage
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
        let request = Request::instant(query, time);
        edge::guarded(&expr, || self.run(queryable, &expr, &request, options))
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
        let request = Request::range(query, &expr, start, end, step)?;
        edge::guarded(&expr, || self.run(queryable, &expr, &request, options))
    }

    /// How a query would be run: at `start` alone without a step, else from `start` to `end`.
    ///
    /// # Errors
    /// As for running it, but for what only its data can tell.
    pub fn explain(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Option<Duration>,
    ) -> Result<PlanNode, Error> {
        let expr = self.parse(query)?;
        let request = match step {
            Some(step) => Request::range(query, &expr, start, end, step)?,
            None => Request::instant(query, start),
        };
        edge::guarded(&expr, || Ok(explain::explain(&plan::build(&expr, request.times, EVERYTHING)?.root, &[])))
    }

    fn settings(&self, options: &QueryOptions) -> Settings {
        Settings {
            lookback: options.lookback.unwrap_or(self.config.lookback).as_millis(),
            delayed_names: self.config.delayed_name_removal,
            type_and_unit_labels: self.config.type_and_unit_labels,
            start_timestamps: self.config.start_timestamps,
            default_subquery_step: self.config.default_subquery_step.as_millis(),
            max_samples: self.config.max_samples,
            per_step: options.per_step_stats,
        }
    }

    fn run(
        &self,
        queryable: &dyn Queryable,
        expr: &Expr,
        request: &Request<'_>,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        let counts_matter = !options.uncounted || options.per_step_stats || options.analyze;
        // Where types and units are labels, series of one name may differ in these alone: plans would take too much for
        // granted.
        let labels = !options.whole_labels && !self.config.type_and_unit_labels;
        let leave = Leave { series: !counts_matter, labels };
        let plan = plan::build(expr, request.times, leave)?;
        let cuts = plan.cuts;
        match self.run_plan(queryable, plan, request, options) {
            // The fault may be of labels that were left out, and its text may name some.
            Err(Error::Execution(_)) if cuts => {
                let whole = plan::build(expr, request.times, Leave { labels: false, ..leave })?;
                self.run_plan(queryable, whole, request, options)
            }
            result => result,
        }
    }

    fn run_plan(
        &self,
        queryable: &dyn Queryable,
        plan: Plan,
        request: &Request<'_>,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        options.cancel.check("query preparation")?;
        let clock = options.clock.as_deref();
        let now = || clock.map_or(0, |clock| clock());
        let started = now();
        let settings = self.settings(options);
        let (start, end) = span::needed(&plan.root, request.steps, settings).unwrap_or((0, 0));
        let querier = queryable.querier(Timestamp(start), Timestamp(end))?;
        let (own, total) = (Arc::clone(&options.usage), Arc::clone(&self.usage));
        let ctx = Context {
            querier: querier.as_ref(),
            pool: self.pool.as_deref(),
            cancel: &options.cancel,
            budget: Arc::new(Budget::new(own, self.config.max_bytes, total, self.config.max_memory)),
            settings,
            meters: account::stepwise(&plan).into_iter().map(Meter::new).collect(),
            clock,
            notes: Mutex::new(Notes::default()),
            storage_annotations: Mutex::new(Annotations::new()),
            selected: Mutex::new(HashMap::new()),
            kept: Mutex::new(Vec::new()),
        };
        ctx.check_steps(request.steps)?;
        let prepared = now();
        let mut value = evaluate(&ctx, &plan.root, request, options.spill.as_ref())?;
        let held = ctx.budget.charge(value.bytes())?;
        let evaluated = now();
        if let QueryValue::Matrix(series) = &mut value {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        let timings = Timings {
            preparation: prepared.saturating_sub(started),
            evaluation: evaluated.saturating_sub(prepared),
            sorting: now().saturating_sub(evaluated),
        };
        let stats = Stats { timings, ..counted(&ctx, &plan.root, request)? };
        let explained = options.analyze.then(|| explain::explain(&plan.root, &ctx.meters));
        let result = finish(ctx, value, request.query, stats, explained);
        Ok(QueryResult { _held: Arc::new(held), ..result })
    }
}

/// What is asked for, checked.
struct Request<'a> {
    query: &'a str,
    times: QueryTimes,
    steps: Steps,
}

impl<'a> Request<'a> {
    fn instant(query: &'a str, time: Timestamp) -> Self {
        let times = QueryTimes { start: time.0, end: time.0, step: 0 };
        Self { query, times, steps: Steps::once(time.0) }
    }

    fn range(query: &'a str, expr: &Expr, start: Timestamp, end: Timestamp, step: Duration) -> Result<Self, Error> {
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
        Ok(Self { query, times, steps: Steps::range(start.0, end.0, step.as_millis()) })
    }
}

fn evaluate(ctx: &Context<'_>, plan: &Node, request: &Request<'_>, spill: Option<&Spill>) -> Result<QueryValue, Error> {
    match request.times.step {
        0 => result::instant(ctx, plan, request.times.start, spill),
        _ => result::range(ctx, plan, request.steps, spill),
    }
}

/// What the query took.
///
/// # Errors
/// If upstream's engine would have held more samples than allowed.
fn counted(ctx: &Context<'_>, plan: &Node, request: &Request<'_>) -> Result<Stats, Error> {
    let (settings, steps) = (ctx.settings, request.steps);
    let peak_samples = Account::new(&ctx.meters, settings).peak(plan, steps);
    if peak_samples > settings.max_samples {
        return Err(Error::Limit(Limit::Samples { max: settings.max_samples }));
    }
    let counted = Account::new(&ctx.meters, settings).counted(plan, steps);
    let per_step = settings.per_step.then(|| {
        let timed =
            |counts: &[u64]| (0..steps.count).map(|i| (steps.at(i), counts.get(i).copied().unwrap_or(0))).collect();
        StepSamples { total: timed(&counted.seen_per_step), read: timed(&counted.read_per_step) }
    });
    Ok(Stats {
        total_samples: counted.seen,
        samples_read: counted.read,
        peak_samples,
        peak_bytes: ctx.budget.peak_bytes(),
        per_step,
        timings: Timings::default(),
    })
}

fn finish(ctx: Context<'_>, value: QueryValue, query: &str, stats: Stats, plan: Option<PlanNode>) -> QueryResult {
    let mut annotations = ctx.notes.into_inner().unwrap_or_else(PoisonError::into_inner).finish(query);
    annotations.merge(ctx.storage_annotations.into_inner().unwrap_or_else(PoisonError::into_inner));
    QueryResult { value, annotations, stats, plan, _held: Arc::default() }
}

//! Running a plan: operators that yield batches of series, each with its values at all steps.
//!
//! An operator is pulled by its parent. Leaves decode a series once and compute all steps; aggregations fold batches
//! into their groups, so that memory is groups × steps; joins and orders hold what they must. Within a batch, series
//! are worked on in parallel; batches and their order are fixed, so results do not depend on the number of threads.

mod absent;
mod aggregate;
mod binary;
mod buckets;
pub(crate) mod budget;
mod call;
mod estimate;
mod floats;
mod info;
mod join;
mod label;
mod map;
mod matching;
pub(crate) mod meter;
mod range;
mod ranking;
pub(crate) mod scalar;
mod scan;
mod selector;
mod set;
mod sort;
mod subquery;
mod tally;
pub(crate) mod unique;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::annotations::Annotations;
use model::labels::Labels;
use model::storage::{Querier, Series};
use rayon::ThreadPool;
use rayon::prelude::*;

pub(crate) use info::info_select;
pub(crate) use range::{RangeSeries, range_series};
pub(crate) use subquery::inner_steps;

use crate::ast::ValueType;
use crate::cancel::CancelToken;
use crate::error::{Error, Limit};
use crate::exec::budget::{Budget, Charge};
use crate::exec::meter::{Meter, Worked};
use crate::notes::{Note, Notes};
use crate::plan::{Node, NodeKind, Select};
use crate::token::Span;
use crate::value::{Column, Points, Steps, without_metadata};

/// How many series are in work at a time. Fixed, so that results do not depend on the number of threads.
pub(crate) const BATCH_SERIES: usize = 256;
/// The most points that the series in work at a time may have together: with many steps they are fewer.
const BATCH_POINTS_MAX: usize = 1 << 22;
/// Below this many series, threads cost more than they give.
const PARALLEL_SERIES_MIN: usize = 16;

/// So many steps are tried, whatever the limit on samples: there may be few samples at them.
const STEPS_ALWAYS_ALLOWED: u64 = 1 << 20;

const STAGE: &str = "expression evaluation";

/// Series with their values, in a fixed order.
pub(crate) type Batch = Vec<Column>;

/// Yields the series of an instant vector, batch by batch.
pub(crate) trait Operator {
    /// The next series; `None` at the end. A batch may be empty.
    fn next(&mut self) -> Result<Option<Batch>, Error>;
}

pub(crate) type BoxOperator<'q> = Box<dyn Operator + 'q>;

/// What every operator of a query shares.
pub(crate) struct Context<'q> {
    pub(crate) querier: &'q dyn Querier,
    pub(crate) pool: Option<&'q ThreadPool>,
    pub(crate) cancel: &'q CancelToken,
    pub(crate) budget: Arc<Budget>,
    pub(crate) settings: Settings,
    /// One for each node of the plan, by its id.
    pub(crate) meters: Vec<Meter>,
    /// Nanoseconds since any time, if operators are to be timed.
    pub(crate) clock: Option<&'q Clock>,
    pub(crate) notes: Mutex<Notes>,
    /// What storage had to say.
    pub(crate) storage_annotations: Mutex<Annotations>,
    /// Series already selected, by what selected them: equal selectors are fetched once.
    pub(crate) selected: Mutex<HashMap<String, SelectedSeries>>,
    /// What is held for the whole query.
    pub(crate) kept: Mutex<Vec<Charge>>,
}

/// Nanoseconds since any time: the crate reads no clock, its caller may.
pub type Clock = dyn Fn() -> u64 + Send + Sync;

/// Series of a selector; light, decoded when read.
pub(crate) type SelectedSeries = Arc<Vec<Box<dyn Series>>>;

/// How a query is to be understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) lookback: i64,
    pub(crate) delayed_names: bool,
    pub(crate) type_and_unit_labels: bool,
    /// `rate` and its kin look at start timestamps.
    pub(crate) start_timestamps: bool,
    pub(crate) default_subquery_step: i64,
    /// The most samples held at a time, as upstream counts them.
    pub(crate) max_samples: u64,
    /// Samples are counted for each step.
    pub(crate) per_step: bool,
}

impl Context<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.cancel.check(STAGE)
    }

    pub(crate) fn note(&self, note: &Note<'_>, span: Span) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).add(note, span);
    }

    /// Fails if there are so many steps that a single series would be too much, before any memory is taken for it.
    pub(crate) fn check_steps(&self, steps: Steps) -> Result<Steps, Error> {
        let max = self.settings.max_samples;
        if steps.count as u64 > max.max(STEPS_ALWAYS_ALLOWED) {
            return Err(Error::Limit(Limit::Samples { max }));
        }
        Ok(steps)
    }

    /// The labels and the mark of a series whose metric changed its meaning.
    pub(crate) fn nameless(&self, labels: &Labels) -> (Labels, bool) {
        if self.settings.delayed_names { (labels.clone(), true) } else { (without_metadata(labels), true) }
    }

    /// A column with what it weighs taken from the budget.
    pub(crate) fn column(&self, labels: Labels, drop_name: bool, points: Points) -> Result<Column, Error> {
        let charge = self.charge(&points)?;
        Ok(Column { labels, drop_name, points, charge })
    }

    pub(crate) fn charge(&self, points: &Points) -> Result<Charge, Error> {
        self.budget.charge(points.bytes())
    }

    /// Keeps a charge until the query is over.
    pub(crate) fn keep(&self, charge: Charge) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
    }

    /// Takes note of series in their order for node `id`, and gives the columns that came of them.
    pub(crate) fn settle(&self, id: usize, worked: Vec<Worked>) -> Result<Batch, Error> {
        match self.meters.get(id) {
            Some(meter) => meter.settle(worked, self.settings.max_samples),
            None => Ok(worked.into_iter().filter_map(|worked| worked.column).collect()),
        }
    }

    /// The time, if it is wanted.
    pub(crate) fn now(&self) -> u64 {
        self.clock.map_or(0, |clock| clock())
    }

    /// Applies `work` to all items, in parallel where it pays, keeping their order and dropping what came to nothing.
    pub(crate) fn parallel<T, R, S>(
        &self,
        items: Vec<T>,
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, T) -> Result<Option<R>, Error> + Sync + Send,
    ) -> Result<Vec<R>, Error>
    where
        T: Send,
        R: Send,
    {
        match self.pool {
            Some(pool) if items.len() >= PARALLEL_SERIES_MIN && pool.current_num_threads() > 1 => {
                let results: Vec<Result<Option<R>, Error>> = pool.install(|| {
                    items.into_par_iter().with_min_len(4).map_init(&scratch, |s, item| work(s, item)).collect()
                });
                results.into_iter().filter_map(Result::transpose).collect()
            }
            _ => {
                let mut s = scratch();
                items.into_iter().filter_map(|item| work(&mut s, item).transpose()).collect()
            }
        }
    }
}

/// Opens the operator of a node whose value is an instant vector.
pub(crate) fn open<'q>(ctx: &'q Context<'q>, node: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    if steps.count == 0 {
        return Ok(Box::new(Ready::new(Vec::new())));
    }
    let started = ctx.now();
    let operator: BoxOperator<'q> = match &node.kind {
        NodeKind::Select(select) => selector::open(ctx, node, select, steps)?,
        NodeKind::StepInvariant(child) => map::broadcast(ctx, child, steps)?,
        NodeKind::Call { function, args } => call::open(ctx, node, function, args, steps)?,
        NodeKind::Aggregate(aggregate) => aggregate::open(ctx, aggregate, node.span, steps)?,
        NodeKind::Binary(binary) => binary::open(ctx, binary, node.span, steps)?,
        NodeKind::Negate(child) => map::negate(ctx, child, steps)?,
        NodeKind::Number(_)
        | NodeKind::Folded { .. }
        | NodeKind::Text(_)
        | NodeKind::Range(_)
        | NodeKind::Subquery(_) => {
            debug_assert!(node.value_type != ValueType::Vector, "the checker lets only vectors come here");
            Box::new(Ready::new(Vec::new()))
        }
    };
    // What an operator does when it is opened is its work too.
    let spent = ctx.now().saturating_sub(started);
    if let Some(meter) = ctx.meters.get(node.id) {
        meter.nanos.fetch_add(spent, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(meter::metered(ctx, node.id, operator))
}

/// How many series to work on at a time, by the number of steps alone: results must not depend on anything else.
pub(crate) fn batch_size(steps: Steps) -> usize {
    (BATCH_POINTS_MAX / steps.count.max(1)).clamp(1, BATCH_SERIES)
}

/// All series of an operator.
pub(crate) fn drain(operator: &mut dyn Operator) -> Result<Vec<Column>, Error> {
    let mut all = Vec::new();
    while let Some(batch) = operator.next()? {
        all.extend(batch);
    }
    Ok(all)
}

/// Series that are there already.
pub(crate) struct Ready {
    batch: Option<Batch>,
}

impl Ready {
    pub(crate) fn new(batch: Batch) -> Self {
        Self { batch: Some(batch) }
    }
}

impl Operator for Ready {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        Ok(self.batch.take())
    }
}

/// Series made whole at the first pull, by an operator that needs all its input first.
pub(crate) struct Lazy<F> {
    make: Option<F>,
}

impl<F: FnOnce() -> Result<Vec<Column>, Error>> Lazy<F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make: Some(make) }
    }
}

impl<F: FnOnce() -> Result<Vec<Column>, Error>> Operator for Lazy<F> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        self.make.take().map(|make| make()).transpose()
    }
}

/// The span of time that a selector looks at over `steps`: both ends included.
pub(crate) fn selector_range(select: &Select, steps: Steps, before: i64, after: i64) -> (i64, i64) {
    let (first, last) = (select.reference(steps.start), select.reference(steps.last()));
    (first.saturating_sub(before).saturating_add(1), last.saturating_add(after))
}

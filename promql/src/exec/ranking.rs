//! `topk`, `bottomk`, `limitk`, `limit_ratio`: some of the series of each group, step by step.
//!
//! Series stream by; one is held only while some step of its group still has it.

use std::collections::HashMap;

use model::labels::{Labels, hash_packed};

use super::matching::{Chooser, Signature};
use super::unique::StepSet;
use super::{Batch, BoxOperator, Context, Lazy, Operator, open, scalar};
use crate::ast::AggregateOp;
use crate::error::{Error, Fault};
use crate::exec::scalar::Numbers;
use crate::notes::Note;
use crate::plan::Aggregate;
use crate::token::Span;
use crate::value::{Column, Point, Steps};

pub(super) fn open_ranking<'q>(
    ctx: &'q Context<'q>,
    aggregate: &'q Aggregate,
    span: Span,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let params = match &aggregate.param {
        Some(param) => scalar::evaluate(ctx, param, steps)?,
        None => Numbers::Same(f64::NAN),
    };
    if aggregate.op == AggregateOp::LimitRatio {
        return ratio(ctx, aggregate, params, steps);
    }
    if !counts_are_valid(&params, steps)? {
        // Nothing is kept, but what the argument has to say is heard.
        return Ok(Box::new(Lazy::new(move || {
            let mut child = open(ctx, &aggregate.child, steps)?;
            while child.next()?.is_some() {}
            Ok(Vec::new())
        })));
    }
    Ok(Box::new(Lazy::new(move || ranked(ctx, aggregate, span, &params, steps))))
}

/// Whether any count is at least 1.
fn counts_are_valid(params: &Numbers, steps: Steps) -> Result<bool, Error> {
    let numbers = || params.all(steps.count);
    let highest = numbers().fold(f64::NEG_INFINITY, f64::max);
    let has_nan = numbers().any(f64::is_nan);
    if highest < 1.0 && !has_nan {
        return Ok(false);
    }
    if has_nan {
        return Err(Fault::ParamNotANumber.into());
    }
    let bound = i64::MAX as f64;
    let print = model::number::print_float_general;
    if let Some(low) = numbers().find(|k| *k <= -bound) {
        return Err(Fault::Underflow(print(low)).into());
    }
    if highest >= bound {
        return Err(Fault::Overflow(print(highest)).into());
    }
    Ok(true)
}

/// A binary heap with the worst kept value on top, as Go's `container/heap` moves it: so that ties are kept alike.
#[derive(Debug, Default, Clone)]
struct Heap(Vec<(f64, usize)>);

impl Heap {
    fn less(&self, i: usize, j: usize, order: Order) -> bool {
        let (a, b) = (self.0[i].0, self.0[j].0);
        match order {
            _ if a.is_nan() => true,
            Order::Largest => a < b,
            Order::Smallest => a > b,
        }
    }

    fn push(&mut self, entry: (f64, usize), order: Order) {
        self.0.push(entry);
        let mut at = self.0.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.less(at, parent, order) {
                break;
            }
            self.0.swap(at, parent);
            at = parent;
        }
    }

    fn replace_top(&mut self, entry: (f64, usize), order: Order) -> usize {
        let (_, replaced) = std::mem::replace(&mut self.0[0], entry);
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.0.len() {
                return replaced;
            }
            let right = left + 1;
            let child = if right < self.0.len() && self.less(right, left, order) { right } else { left };
            if !self.less(child, at, order) {
                return replaced;
            }
            self.0.swap(at, child);
            at = child;
        }
    }
}

/// Which values win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Largest,
    Smallest,
}

/// Series held, with the number of steps that have them.
#[derive(Default)]
struct Held {
    columns: Vec<Option<Column>>,
    uses: Vec<usize>,
}

impl Held {
    fn release(&mut self, index: usize) {
        self.uses[index] -= 1;
    }

    /// Lets go of series that no step has.
    fn sweep(&mut self, from: usize) {
        for index in 0..self.columns.len() {
            if self.uses[index] == 0 && (index >= from || self.columns[index].is_some()) {
                self.columns[index] = None;
            }
        }
    }
}

fn ranked(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    span: Span,
    params: &Numbers,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    let chooser = Chooser::grouping(&aggregate.grouping, aggregate.without);
    let order = if aggregate.op == AggregateOp::Bottomk { Order::Smallest } else { Order::Largest };
    let limits: Vec<usize> = params.all(steps.count).map(|k| if k < 1.0 { 0 } else { k as usize }).collect();
    let mut places: HashMap<Signature, usize> = HashMap::new();
    let mut groups: Vec<Vec<Heap>> = Vec::new();
    let mut held = Held::default();
    let mut child = open(ctx, &aggregate.child, steps)?;
    while let Some(batch) = child.next()? {
        ctx.check()?;
        let from = held.columns.len();
        for column in batch {
            let signature = chooser.signature(&column.labels);
            let at = *places.entry(signature).or_insert_with(|| {
                groups.push(vec![Heap::default(); steps.count]);
                groups.len() - 1
            });
            let index = held.columns.len();
            held.uses.push(0);
            let ignored = offer(&mut groups[at], &column, index, &limits, aggregate.op, order, &mut held);
            if ignored {
                ctx.note(&Note::HistogramIgnoredInAggregation { aggregation: aggregate.op.as_str() }, span);
            }
            held.columns.push(Some(column));
        }
        held.sweep(from);
    }
    Ok(collect(groups, held, aggregate.op, order, steps))
}

/// Offers a series to its group's heaps; whether histograms were left out.
fn offer(
    heaps: &mut [Heap],
    column: &Column,
    index: usize,
    limits: &[usize],
    op: AggregateOp,
    order: Order,
    held: &mut Held,
) -> bool {
    let mut ignored = false;
    for (i, heap) in heaps.iter_mut().enumerate() {
        let Some(point) = column.points.get(i) else { continue };
        if limits[i] == 0 {
            continue;
        }
        let value = match (point, op) {
            (Point::Float(value), _) => value,
            // Upstream's heap sees a float of 0 in a histogram's place.
            (Point::Histogram(_), AggregateOp::Limitk) => 0.0,
            (Point::Histogram(_), _) => {
                ignored = true;
                continue;
            }
        };
        if heap.0.len() < limits[i] {
            heap.push((value, index), order);
            held.uses[index] += 1;
        } else if op != AggregateOp::Limitk && wins(value, heap.0[0].0, order) {
            let replaced = heap.replace_top((value, index), order);
            held.uses[index] += 1;
            held.release(replaced);
        }
    }
    ignored
}

fn wins(new: f64, worst: f64, order: Order) -> bool {
    let better = match order {
        Order::Largest => new > worst,
        Order::Smallest => new < worst,
    };
    better || (worst.is_nan() && !new.is_nan())
}

/// The series that are left, each at its steps. An instant vector is ordered: by group, best first.
fn collect(groups: Vec<Vec<Heap>>, mut held: Held, op: AggregateOp, order: Order, steps: Steps) -> Vec<Column> {
    let mut kept: Vec<Option<StepSet>> = vec![None; held.columns.len()];
    let mut sequence: Vec<usize> = Vec::new();
    for heaps in groups {
        for (i, heap) in heaps.into_iter().enumerate() {
            let mut entries = heap.0;
            if op != AggregateOp::Limitk {
                entries.sort_by(|a, b| best_first(a.0, b.0, order));
            }
            for (_, index) in entries {
                let set = kept[index].get_or_insert_with(|| {
                    sequence.push(index);
                    StepSet::new(steps.count)
                });
                set.insert(i);
            }
        }
    }
    sequence
        .into_iter()
        .filter_map(|index| {
            let mut column = held.columns[index].take()?;
            let set = kept[index].as_ref()?;
            (0..steps.count).filter(|i| !set.contains(*i)).for_each(|i| column.points.clear(i));
            Some(column)
        })
        .collect()
}

fn best_first(a: f64, b: f64, order: Order) -> std::cmp::Ordering {
    let ascending = crate::kernel::quantile::by_value(&a, &b);
    match order {
        Order::Largest => ascending.reverse(),
        // NaN comes last here too.
        Order::Smallest if a.is_nan() || b.is_nan() => ascending.reverse(),
        Order::Smallest => ascending,
    }
}

/// `limit_ratio`: a series is in or out by the hash of its labels.
struct Ratio<'q> {
    child: BoxOperator<'q>,
    ratios: Numbers,
}

fn ratio<'q>(
    ctx: &'q Context<'q>,
    aggregate: &'q Aggregate,
    ratios: Numbers,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let span = aggregate.param.as_ref().map_or(aggregate.child.span, |param| param.span);
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for r in ratios.all(steps.count) {
        if r.is_nan() {
            return Err(Fault::RatioNotANumber.into());
        }
        (lowest, highest) = (lowest.min(r), highest.max(r));
    }
    for (bad, ratio, capped) in [(highest > 1.0, highest, 1.0), (lowest < -1.0, lowest, -1.0)] {
        if bad {
            ctx.note(&Note::RatioOutOfRange { ratio, capped }, span);
        }
    }
    Ok(Box::new(Ratio { child: open(ctx, &aggregate.child, steps)?, ratios }))
}

impl Operator for Ratio<'_> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let Some(mut batch) = self.child.next()? else { return Ok(None) };
        let ratios = &self.ratios;
        batch.retain_mut(|column| {
            let offset = sampling_offset(&column.labels);
            for i in 0..column.points.len() {
                let ratio = ratios.at(i).clamp(-1.0, 1.0);
                let chosen = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
                if !chosen {
                    column.points.clear(i);
                }
            }
            column.points.any_present()
        });
        Ok(Some(batch))
    }
}

/// A number in `[0, 1)` from the labels: upstream's hash of its own packed form, so that the same series are chosen.
fn sampling_offset(labels: &Labels) -> f64 {
    let mut packed = Vec::with_capacity(labels.as_bytes().len());
    for (name, value) in labels.iter_bytes() {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => packed.push(length),
                _ => {
                    packed.push(255);
                    packed.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            packed.extend_from_slice(text);
        }
    }
    hash_packed(&packed) as f64 / u64::MAX as f64
}

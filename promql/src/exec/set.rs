//! `and`, `or`, `unless`: which series are there at which steps.

use std::collections::HashMap;

use super::matching::{Chooser, Signature};
use super::unique::{self, StepSet, Within};
use super::{Batch, BoxOperator, Context, Operator, drain, estimate, open};
use crate::ast::BinaryOp;
use crate::error::Error;
use crate::plan::Binary;
use crate::value::{Column, Steps};

pub(super) fn open_set<'q>(ctx: &'q Context<'q>, binary: &'q Binary, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let chooser = Chooser::matching(&binary.matching);
    let operator: BoxOperator<'q> = match binary.op {
        BinaryOp::Or => Box::new(Or {
            left: Some(open(ctx, &binary.lhs, steps)?),
            right: open(ctx, &binary.rhs, steps)?,
            present: HashMap::new(),
            chooser,
            count: steps.count,
        }),
        op => Box::new(Filter {
            ctx,
            binary,
            steps,
            left: None,
            first: None,
            over: false,
            present: HashMap::new(),
            chooser,
            wanted: op == BinaryOp::And,
        }),
    };
    Ok(unique::checked(ctx, operator, Within::Step))
}

type Presence = HashMap<Signature, StepSet>;

/// `and` and `unless`: the left series at the steps at which a right one is, or is not.
struct Filter<'q> {
    ctx: &'q Context<'q>,
    binary: &'q Binary,
    steps: Steps,
    /// Opened after the right side was read, or before it if that may be skipped.
    left: Option<BoxOperator<'q>>,
    /// The left side's first series, if they were looked at already.
    first: Option<Batch>,
    /// The right side is empty, so that the left one does not matter.
    over: bool,
    present: Presence,
    chooser: Chooser,
    wanted: bool,
}

impl Operator for Filter<'_> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.left.is_none() && !self.begin()? {
            return Ok(None);
        }
        let next = match self.first.take() {
            Some(batch) => Some(batch),
            None => self.left.as_mut().map_or(Ok(None), |left| left.next())?,
        };
        let Some(mut batch) = next else { return Ok(None) };
        let mut signature = Signature::new();
        batch.retain_mut(|column| {
            self.chooser.signature_into(&column.labels, &mut signature);
            keep(column, self.present.get(&signature), self.wanted)
        });
        Ok(Some(batch))
    }
}

impl Filter<'_> {
    /// Reads the right side; `false` if nothing can come any more.
    fn begin(&mut self) -> Result<bool, Error> {
        if self.over {
            return Ok(false);
        }
        let (left_skippable, right_skippable) = self.binary.skippable;
        let mut left_last = self.wanted && left_skippable;
        if left_last && right_skippable {
            left_last = !estimate::left_is_smaller(self.ctx, self.binary, self.steps)?;
        }
        if right_skippable && !left_last {
            let mut left = open(self.ctx, &self.binary.lhs, self.steps)?;
            self.first = left.next()?;
            self.left = Some(left);
            if self.first.is_none() {
                return Ok(false);
            }
        }
        let mut right = open(self.ctx, &self.binary.rhs, self.steps)?;
        for column in drain(right.as_mut())? {
            mark(&mut self.present, &self.chooser, &column);
        }
        if self.present.is_empty() && left_last {
            self.over = true;
            return Ok(false);
        }
        if self.left.is_none() {
            self.left = Some(open(self.ctx, &self.binary.lhs, self.steps)?);
        }
        Ok(true)
    }
}

fn mark(present: &mut Presence, chooser: &Chooser, column: &Column) {
    let steps = present.entry(chooser.signature(&column.labels)).or_insert_with(|| StepSet::new(column.points.len()));
    steps.insert_present(&column.points);
}

/// Clears the points at steps that are in the set or not as `wanted`; whether any is left.
fn keep(column: &mut Column, set: Option<&StepSet>, wanted: bool) -> bool {
    for i in 0..column.points.len() {
        if set.is_some_and(|set| set.contains(i)) != wanted {
            column.points.clear(i);
        }
    }
    column.points.any_present()
}

/// The left series, then the right ones at the steps at which no left one matched.
struct Or<'q> {
    left: Option<BoxOperator<'q>>,
    right: BoxOperator<'q>,
    present: Presence,
    chooser: Chooser,
    count: usize,
}

impl Operator for Or<'_> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        if let Some(left) = &mut self.left {
            if let Some(batch) = left.next()? {
                batch.iter().for_each(|column| mark(&mut self.present, &self.chooser, column));
                return Ok(Some(batch));
            }
            self.left = None;
        }
        let Some(mut batch) = self.right.next()? else { return Ok(None) };
        debug_assert!(batch.iter().all(|c| c.points.len() == self.count), "both sides have the same steps");
        let mut signature = Signature::new();
        batch.retain_mut(|column| {
            self.chooser.signature_into(&column.labels, &mut signature);
            keep(column, self.present.get(&signature), false)
        });
        Ok(Some(batch))
    }
}

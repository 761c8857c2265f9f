//! No two series of a vector may have the same labels at the same step; different steps are merged in the end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::labels::Labels;

use super::{Batch, BoxOperator, Context, Operator};
use crate::error::{Error, Fault};
use crate::plan::Node;
use crate::spill::join;
use crate::value::{Column, Points};

/// A bit per step.
#[derive(Debug, Clone)]
pub(super) struct StepSet(Vec<u64>);

impl StepSet {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn contains(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }

    /// Whether it was not in yet.
    pub(super) fn insert(&mut self, i: usize) -> bool {
        let fresh = !self.contains(i);
        self.0[i / 64] |= 1 << (i % 64);
        fresh
    }

    /// Adds the steps at which there is a point; `false` if one of them was in already.
    pub(super) fn insert_present(&mut self, points: &Points) -> bool {
        let mut fresh = true;
        for (at, word) in self.0.iter_mut().enumerate() {
            let steps = at * 64..(at * 64 + 64).min(points.len());
            let present = steps.fold(0_u64, |bits, i| bits | u64::from(points.is_present(i)) << (i % 64));
            fresh &= *word & present == 0;
            *word |= present;
        }
        fresh
    }
}

/// Where two series with the same labels are a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// At the same step.
    Step,
    /// Anywhere: functions of ranges have it so.
    Query,
}

struct Checked<'q> {
    within: Within,
    child: BoxOperator<'q>,
    seen: HashMap<Labels, StepSet>,
}

/// Fails if two series come with the same labels. With delayed names that is looked at in the end.
pub(super) fn checked<'q>(ctx: &'q Context<'q>, child: BoxOperator<'q>, within: Within) -> BoxOperator<'q> {
    if ctx.settings.delayed_names {
        return child;
    }
    Box::new(Checked { within, child, seen: HashMap::new() })
}

/// As [`checked`], of an operator that makes one series of each of `argument`'s. Nothing is looked at if these have only
/// some of their labels: the plan told that they differ.
pub(super) fn checked_each<'q>(
    ctx: &'q Context<'q>,
    argument: &Node,
    child: BoxOperator<'q>,
    within: Within,
) -> BoxOperator<'q> {
    if argument.is_cut() { child } else { checked(ctx, child, within) }
}

impl Operator for Checked<'_> {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let Some(batch) = self.child.next()? else { return Ok(None) };
        for column in &batch {
            // Anywhere in the query: at which steps does not matter.
            let count = if self.within == Within::Query { 0 } else { column.points.len() };
            let fresh = match self.seen.entry(column.labels.clone()) {
                Entry::Vacant(entry) => {
                    let steps = entry.insert(StepSet::new(count));
                    count == 0 || steps.insert_present(&column.points)
                }
                Entry::Occupied(mut entry) => count > 0 && entry.get_mut().insert_present(&column.points),
            };
            if !fresh {
                return Err(Fault::SameLabels.into());
            }
        }
        Ok(Some(batch))
    }
}

/// Joins series with the same labels into one, in the order of their first.
///
/// # Errors
/// If two of them have a point at the same step.
pub(crate) fn merged(columns: Vec<Column>) -> Result<Vec<Column>, Error> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let Some(&at) = places.get(&column.labels) else {
            places.insert(column.labels.clone(), merged.len());
            merged.push(column);
            continue;
        };
        join(&mut merged[at].points, &column.points)?;
    }
    Ok(merged)
}

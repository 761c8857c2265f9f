//! `sort` and its kin: the order of an instant vector.

use std::cmp::Ordering;

use super::{BoxOperator, Context, Lazy, drain, open};
use crate::error::Error;
use crate::function::Sort;
use crate::notes::Note;
use crate::plan::Node;
use crate::token::Span;
use crate::value::{Column, Steps};

pub(super) fn open_sort<'q>(
    ctx: &'q Context<'q>,
    sort: Sort,
    args: &'q [Node],
    span: Span,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    if steps.count > 1 {
        ctx.note(&Note::SortInRangeQuery, span);
    }
    let names: Vec<&str> = args.iter().skip(1).map(Node::text).collect();
    let mut operator = open(ctx, &args[0], steps)?;
    Ok(Box::new(Lazy::new(move || {
        let mut columns = drain(operator.as_mut())?;
        match sort {
            Sort::Value { descending } => by_value(&mut columns, descending),
            Sort::Label { descending } => columns.sort_by(|a, b| {
                let order = by_labels(a, b, &names);
                if descending { order.reverse() } else { order }
            }),
        }
        Ok(columns)
    })))
}

/// Histograms have no order and are left out; NaN comes last either way.
fn by_value(columns: &mut Vec<Column>, descending: bool) {
    for column in columns.iter_mut() {
        column.points.histograms = None;
    }
    columns.retain(|column| column.points.any_present());
    // Only an instant vector has an order: the first step is the only one.
    columns.sort_by(|a, b| {
        let (x, y) = (a.points.floats[0], b.points.floats[0]);
        match (x.is_nan(), y.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if descending => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
            (false, false) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
        }
    });
}

fn by_labels(a: &Column, b: &Column, names: &[&str]) -> Ordering {
    names
        .iter()
        .map(|name| {
            let (x, y) = (a.labels.get(name).unwrap_or_default(), b.labels.get(name).unwrap_or_default());
            natural(x, y)
        })
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.labels.cmp(&b.labels))
}

/// Digits compare as numbers, everything else as text: `a2` before `a10`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (chunks(a).into_iter(), chunks(b).into_iter());
    loop {
        let order = match (x.next(), y.next()) {
            (None, None) => return a.cmp(b),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(p), Some(q)) => compare_chunks(p, q),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn compare_chunks(a: &str, b: &str) -> Ordering {
    let numeric = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    if !numeric(a) || !numeric(b) {
        return a.cmp(b);
    }
    let (x, y) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| a.len().cmp(&b.len()))
}

/// Runs of digits and of everything else.
fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (chunk, tail) = rest.split_at(end);
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = ["a10", "a2", "b1", "a1", "", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a1", "a2", "a10", "b1"]);
    }
}

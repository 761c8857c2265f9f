//! Binary operations: which operator carries them out, and what they make of two points.

use std::sync::Arc;

use super::map::Map;
use super::scalar::{self, Numbers};
use super::unique::{self, Within};
use super::{BoxOperator, Context, Lazy, join, open as open_node, set};
use crate::ast::{BinaryOp, ValueType};
use crate::error::Error;
use crate::histogram::{self, Incompatible};
use crate::kernel::arithmetic;
use crate::notes::{HistogramUse, Note};
use crate::plan::Binary;
use crate::token::Span;
use crate::value::{Column, Point, Points, Steps};

pub(super) fn open<'q>(
    ctx: &'q Context<'q>,
    binary: &'q Binary,
    span: Span,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let scalar_left = binary.lhs.value_type == ValueType::Scalar;
    let scalar_right = binary.rhs.value_type == ValueType::Scalar;
    if scalar_left || scalar_right {
        return with_scalar(ctx, binary, span, steps, scalar_left);
    }
    if binary.op.is_set() {
        return set::open_set(ctx, binary, steps);
    }
    let joined = Lazy::new(move || join::joined(ctx, binary, span, steps));
    Ok(unique::checked(ctx, Box::new(joined), Within::Step))
}

/// A point that an operator made, owned.
#[derive(Debug, Clone)]
pub(super) enum Made {
    Float(f64),
    Histogram(Arc<model::histogram::FloatHistogram>),
}

impl Made {
    pub(super) fn store(self, points: &mut Points, i: usize) {
        match self {
            Made::Float(value) => points.set_float(i, value),
            Made::Histogram(histogram) => points.set_histogram(i, histogram),
        }
    }

    fn of(point: Point<'_>) -> Self {
        match point {
            Point::Float(value) => Made::Float(value),
            Point::Histogram(histogram) => Made::Histogram(Arc::clone(histogram)),
        }
    }
}

/// Where an operation leaves what its user should know; as upstream, what comes later takes the place.
pub(super) type Noted = Option<Note<'static>>;

/// What an operator makes of two points: the value, and whether a comparison holds. `None` if the two do not go
/// together.
pub(super) fn element(op: BinaryOp, a: Point<'_>, b: Point<'_>, noted: &mut Noted) -> Option<(Made, bool)> {
    match (a, b) {
        (Point::Float(x), Point::Float(y)) if op.is_comparison() => {
            Some((Made::Float(x), arithmetic::compare(op, x, y)))
        }
        (Point::Float(x), Point::Float(y)) if !op.is_trim() => Some((Made::Float(arithmetic::compute(op, x, y)), true)),
        (Point::Float(x), Point::Histogram(h)) if op == BinaryOp::Mul => Some((scaled(h, x), true)),
        (Point::Histogram(h), Point::Float(x)) => match op {
            BinaryOp::Mul => Some((scaled(h, x), true)),
            BinaryOp::Div => Some((Made::Histogram(Arc::new(histogram::divided(h, x))), true)),
            BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                let upper = op == BinaryOp::TrimUpper;
                Some((Made::Histogram(Arc::new(histogram::trimmed(h, x, upper))), true))
            }
            _ => incompatible(op, a, b, noted),
        },
        (Point::Histogram(x), Point::Histogram(y)) => match op {
            BinaryOp::Add | BinaryOp::Sub => combined(op, x, y, noted).map(|made| (made, true)),
            BinaryOp::Equal => Some((Made::of(a), histogram::equal(x, y))),
            BinaryOp::NotEqual => Some((Made::of(a), !histogram::equal(x, y))),
            _ => incompatible(op, a, b, noted),
        },
        _ => incompatible(op, a, b, noted),
    }
}

fn scaled(h: &model::histogram::FloatHistogram, factor: f64) -> Made {
    let mut scaled = histogram::scaled(h, factor);
    histogram::compact(&mut scaled);
    Made::Histogram(Arc::new(scaled))
}

fn incompatible(op: BinaryOp, a: Point<'_>, b: Point<'_>, noted: &mut Noted) -> Option<(Made, bool)> {
    let name = |point| match point {
        Point::Float(_) => "float",
        Point::Histogram(_) => "histogram",
    };
    *noted = Some(Note::IncompatibleTypes { operator: op.as_str(), left: name(a), right: name(b) });
    None
}

fn combined(
    op: BinaryOp,
    a: &model::histogram::FloatHistogram,
    b: &model::histogram::FloatHistogram,
    noted: &mut Noted,
) -> Option<Made> {
    let (result, during) = match op {
        BinaryOp::Add => (histogram::add(a, b), HistogramUse::Addition),
        _ => (histogram::subtract(a, b), HistogramUse::Subtraction),
    };
    match result {
        Ok(sum) => {
            if sum.collision {
                *noted = Some(Note::CounterResetCollision(during));
            }
            if sum.reconciled {
                *noted = Some(Note::CustomBucketsReconciled(during));
            }
            let mut made = sum.histogram;
            if op == BinaryOp::Sub {
                made.reset_hint = model::histogram::ResetHint::Gauge;
            }
            histogram::compact(&mut made);
            Some(Made::Histogram(Arc::new(made)))
        }
        Err(Incompatible) => {
            *noted = Some(Note::IncompatibleLayout { operator: op.as_str() });
            None
        }
    }
}

fn with_scalar<'q>(
    ctx: &'q Context<'q>,
    binary: &'q Binary,
    span: Span,
    steps: Steps,
    scalar_left: bool,
) -> Result<BoxOperator<'q>, Error> {
    let (scalar_side, vector_side) = if scalar_left { (&binary.lhs, &binary.rhs) } else { (&binary.rhs, &binary.lhs) };
    let numbers = scalar::evaluate(ctx, scalar_side, steps)?;
    let child = open_node(ctx, vector_side, steps)?;
    let new_metric = !binary.op.is_trim() && !binary.op.is_comparison() || binary.return_bool;
    let mapped = Map::new(ctx, child, move |mut column: Column| {
        let points = &mut column.points;
        if points.histograms.is_none() && !binary.op.is_comparison() && !binary.op.is_trim() {
            floats_with_scalar(binary.op, points, &numbers, scalar_left);
        } else {
            points_with_scalar(ctx, binary, span, points, &numbers, scalar_left);
        }
        if !column.points.any_present() {
            return Ok(None);
        }
        if new_metric {
            (column.labels, column.drop_name) = ctx.nameless(&column.labels);
        }
        Ok(Some(column))
    });
    Ok(match new_metric {
        true => unique::checked_each(ctx, vector_side, Box::new(mapped), Within::Step),
        false => Box::new(mapped),
    })
}

fn floats_with_scalar(op: BinaryOp, points: &mut Points, numbers: &Numbers, scalar_left: bool) {
    for i in 0..points.len() {
        let Some(value) = points.float(i) else { continue };
        let number = numbers.at(i);
        let (a, b) = if scalar_left { (number, value) } else { (value, number) };
        points.floats[i] = arithmetic::compute(op, a, b);
    }
}

fn points_with_scalar(
    ctx: &Context<'_>,
    binary: &Binary,
    span: Span,
    points: &mut Points,
    numbers: &Numbers,
    scalar_left: bool,
) {
    for i in 0..points.len() {
        let Some(point) = points.get(i) else { continue };
        let number = Point::Float(numbers.at(i));
        let (a, b) = if scalar_left { (number, point) } else { (point, number) };
        let mut noted = None;
        let element = element(binary.op, a, b, &mut noted);
        if let Some(note) = noted {
            ctx.note(&note, span);
        }
        let made = match element {
            None => None,
            Some((_, holds)) if binary.return_bool => Some(Made::Float(f64::from(u8::from(holds)))),
            Some((_, false)) => None,
            // A comparison that holds keeps the vector's value, whichever side it stands on.
            Some(_) if binary.op.is_comparison() => continue,
            Some((made, true)) => Some(made),
        };
        match made {
            Some(made) => made.store(points, i),
            None => points.clear(i),
        }
    }
}

//! Function calls whose value is an instant vector.

use super::map::Map;
use super::scalar::{self, Numbers};
use super::selector::{self, Take};
use super::unique::{self, Within};
use super::{BoxOperator, Context, Ready, absent, buckets, label, open as open_node, sort, window};
use crate::error::{Error, Fault};
use crate::function::{Apply, Bounded, Calendar, Function, HistogramPart};
use crate::histogram;
use crate::kernel::{arithmetic, calendar};
use crate::plan::{Node, NodeKind};
use crate::value::{ABSENT, Column, Points, Steps};

pub(super) fn open<'q>(
    ctx: &'q Context<'q>,
    node: &'q Node,
    function: &'static Function,
    args: &'q [Node],
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    match function.apply {
        Apply::Window(kind) => window::open(ctx, node.id, function, kind, args, steps),
        Apply::AbsentOverTime => absent_over_time(ctx, node.id, &args[0], steps),
        Apply::Math(map) => each_float(ctx, &args[0], steps, move |_, value| Some(map(value))),
        Apply::Bounded(kind) => bounded(ctx, kind, args, steps),
        Apply::Calendar(part) => dated(ctx, part, args, steps),
        Apply::Histogram(part) => histogram_part(ctx, part, &args[0], steps),
        Apply::Quantile => buckets::quantile(ctx, args, steps),
        Apply::Quantiles => buckets::quantiles(ctx, args, steps),
        Apply::Fraction => buckets::fraction(ctx, args, steps),
        Apply::LabelReplace => label::replace(ctx, args, steps),
        Apply::LabelJoin => label::join(ctx, args, steps),
        Apply::Sort(order) => sort::open_sort(ctx, order, args, node.span, steps),
        Apply::Absent => Ok(absent::of_vector(ctx, &args[0], steps)),
        Apply::Vector => vector(ctx, &args[0], steps),
        Apply::Timestamp => timestamp(ctx, &args[0], steps),
        Apply::StartTimestamp => start_timestamp(ctx, &args[0], steps),
        Apply::Info => super::info::open_info(ctx, node.id, args, steps),
        Apply::Scalar | Apply::Clock(_) | Apply::MaxOf | Apply::MinOf => {
            Err(Fault::Unsupported("a scalar stands where a vector is needed").into())
        }
    }
}

/// Changes every float, or drops it; histograms are left out, the name goes.
fn each_float<'q>(
    ctx: &'q Context<'q>,
    child: &'q Node,
    steps: Steps,
    map: impl Fn(usize, f64) -> Option<f64> + Sync + Send + 'q,
) -> Result<BoxOperator<'q>, Error> {
    let operator = open_node(ctx, child, steps)?;
    let mapped = Map::new(ctx, operator, move |mut column: Column| {
        let points = &mut column.points;
        points.histograms = None;
        for i in 0..points.len() {
            if let Some(value) = points.float(i) {
                points.floats[i] = map(i, value).unwrap_or(ABSENT);
            }
        }
        if !points.any_present() {
            return Ok(None);
        }
        (column.labels, column.drop_name) = ctx.nameless(&column.labels);
        Ok(Some(column))
    });
    Ok(unique::checked_each(ctx, child, Box::new(mapped), Within::Step))
}

fn bounded<'q>(ctx: &'q Context<'q>, kind: Bounded, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let arg = |n: usize| args.get(n).map(|node| scalar::evaluate(ctx, node, steps)).transpose();
    let (first, second) = (arg(1)?, arg(2)?);
    let at = |numbers: &Option<Numbers>, i: usize, default: f64| numbers.as_ref().map_or(default, |n| n.at(i));
    each_float(ctx, &args[0], steps, move |i, value| match kind {
        Bounded::Round => {
            // The inverse loses less for steps like 0.1.
            let inverse = 1.0 / at(&first, i, 1.0);
            Some((value * inverse + 0.5).floor() / inverse)
        }
        Bounded::Clamp => clamped(value, at(&first, i, f64::NAN), at(&second, i, f64::NAN)),
        Bounded::ClampMin => clamped(value, at(&first, i, f64::NAN), f64::INFINITY),
        Bounded::ClampMax => clamped(value, f64::NEG_INFINITY, at(&first, i, f64::NAN)),
    })
}

fn clamped(value: f64, low: f64, high: f64) -> Option<f64> {
    let empty = high < low;
    (!empty).then(|| arithmetic::max(low, arithmetic::min(high, value)))
}

fn dated<'q>(ctx: &'q Context<'q>, part: Calendar, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    match args.first() {
        Some(child) => each_float(ctx, child, steps, move |_, value| Some(calendar::part(part, value))),
        None => {
            let floats = (0..steps.count).map(|i| calendar::part(part, (steps.at(i) / 1000) as f64)).collect();
            constant(ctx, floats)
        }
    }
}

/// One series without labels.
fn constant<'q>(ctx: &'q Context<'q>, floats: Vec<f64>) -> Result<BoxOperator<'q>, Error> {
    let points = Points { floats, histograms: None };
    let column = ctx.column(model::labels::Labels::empty(), false, points)?;
    Ok(Box::new(Ready::new(vec![column])))
}

fn vector<'q>(ctx: &'q Context<'q>, arg: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let numbers = scalar::evaluate(ctx, arg, steps)?;
    constant(ctx, numbers.all(steps.count).collect())
}

fn histogram_part<'q>(
    ctx: &'q Context<'q>,
    part: HistogramPart,
    child: &'q Node,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let operator = open_node(ctx, child, steps)?;
    let mapped = Map::new(ctx, operator, move |mut column: Column| {
        let mut points = Points::absent(steps.count);
        for i in 0..steps.count {
            if let Some(h) = column.points.histogram(i) {
                points.floats[i] = histogram::part(part, h);
            }
        }
        if !points.any_present() {
            return Ok(None);
        }
        column.points = points;
        (column.labels, column.drop_name) = ctx.nameless(&column.labels);
        Ok(Some(column))
    });
    Ok(unique::checked_each(ctx, child, Box::new(mapped), Within::Step))
}

/// The time of the samples of a selector; of anything else the time of the step.
fn timestamp<'q>(ctx: &'q Context<'q>, arg: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    if let NodeKind::Select(select) = &arg.kind {
        let taken = selector::taking(ctx, arg.id, select, steps, Take::Timestamp)?;
        return Ok(unique::checked_each(ctx, arg, taken, Within::Step));
    }
    let child = open_node(ctx, arg, steps)?;
    let mapped = Map::new(ctx, child, move |mut column: Column| {
        let mut points = Points::absent(steps.count);
        for i in (0..steps.count).filter(|i| column.points.is_present(*i)) {
            points.floats[i] = steps.at(i) as f64 / 1000.0;
        }
        column.points = points;
        (column.labels, column.drop_name) = ctx.nameless(&column.labels);
        Ok(Some(column))
    });
    Ok(unique::checked_each(ctx, arg, Box::new(mapped), Within::Step))
}

/// The start timestamps of a selector's samples; nothing else has any.
fn start_timestamp<'q>(ctx: &'q Context<'q>, arg: &'q Node, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    match &arg.kind {
        NodeKind::Select(select) if ctx.settings.start_timestamps => {
            let taken = selector::taking(ctx, arg.id, select, steps, Take::Start)?;
            Ok(unique::checked_each(ctx, arg, taken, Within::Step))
        }
        _ => Ok(Box::new(Ready::new(Vec::new()))),
    }
}

/// `absent_over_time`: where no series has a sample in its window.
fn absent_over_time<'q>(
    ctx: &'q Context<'q>,
    id: usize,
    arg: &'q Node,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let present = move || window::present(ctx, id, arg, steps);
    Ok(absent::open_absent(ctx, arg, present, steps))
}

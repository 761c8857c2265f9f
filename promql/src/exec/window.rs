//! Functions over ranges: the samples of a series, windowed at every step and fed to a kernel.

use std::sync::Arc;

use model::labels::Labels;
use model::storage::{Columns, Series};

use super::meter::{Load, Worked};
use super::scalar::{self, Numbers};
use super::scan::{self, Scan};
use super::subquery;
use super::tally::Tally;
use super::unique::{self, Within};
use super::{BoxOperator, Context, floats, selector_range};
use crate::ast::Extension;
use crate::error::{Error, Fault};
use crate::function::{Function, Window as Kind};
use crate::histogram;
use crate::kernel::frames;
use crate::kernel::sliding::Extreme;
use crate::kernel::window::{Bounds, Flags, Output, Samples, Window};
use crate::kernel::{extended, over_time, rate, regression};
use crate::notes::{HistogramUse, Note};
use crate::plan::{Node, NodeKind, RangeSelect, Select};
use crate::token::Span;
use crate::value::{Points, Steps};

/// A function over a range with its other arguments.
pub(super) struct Call {
    /// Of the node, for its meter.
    pub(super) id: usize,
    pub(super) kind: Kind,
    /// Keeps the metric's name: it shows samples as they are.
    keeps_name: bool,
    pub(super) extension: Extension,
    /// How far windows are opened before their start and after their end.
    around: (i64, i64),
    args: Vec<Numbers>,
    /// Where the first argument stands: notes point there.
    first_span: Span,
}

impl Call {
    /// Argument `n` beside the range, at step `i`.
    pub(super) fn arg(&self, n: usize, i: usize) -> f64 {
        self.args.get(n).map_or(f64::NAN, |numbers| numbers.at(i))
    }
}

/// Opens a call of a range function.
pub(super) fn open<'q>(
    ctx: &'q Context<'q>,
    id: usize,
    function: &'static Function,
    kind: Kind,
    args: &'q [Node],
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let Some(range) = args.iter().find(|a| matches!(a.kind, NodeKind::Range(_) | NodeKind::Subquery(_))) else {
        return Err(Fault::Unsupported("function needs a range vector").into());
    };
    let others = args.iter().filter(|a| !std::ptr::eq(*a, range));
    let call = Call {
        id,
        kind,
        keeps_name: matches!(kind, Kind::First | Kind::Last),
        extension: extension_of(range),
        around: around(ctx, extension_of(range)),
        args: others.map(|a| scalar::evaluate(ctx, a, steps)).collect::<Result<_, _>>()?,
        first_span: note_span(&args[0]),
    };
    check_extension(function.name, kind, call.extension)?;
    check_factors(&call, steps)?;
    Ok(unique::checked_each(ctx, range, over(ctx, range, call, steps)?, Within::Query))
}

/// 1 at the steps whose window holds anything: what `absent_over_time` asks for.
pub(super) fn present<'q>(
    ctx: &'q Context<'q>,
    id: usize,
    range: &'q Node,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let call = Call {
        id,
        kind: Kind::Present,
        keeps_name: true,
        extension: extension_of(range),
        around: (0, 0),
        args: Vec::new(),
        first_span: range.span,
    };
    check_extension("absent_over_time", call.kind, call.extension)?;
    over(ctx, range, call, steps)
}

fn over<'q>(ctx: &'q Context<'q>, range: &'q Node, call: Call, steps: Steps) -> Result<BoxOperator<'q>, Error> {
    match &range.kind {
        NodeKind::Range(range) => over_series(ctx, range, call, steps),
        NodeKind::Subquery(subquery) => subquery::over(ctx, subquery, call, steps),
        _ => Err(Fault::Unsupported("function needs a range vector").into()),
    }
}

/// Where notes about an argument point. Upstream forgets where a subquery stood once it is evaluated: at the start.
fn note_span(arg: &Node) -> Span {
    if matches!(arg.kind, NodeKind::Subquery(_)) { Span::default() } else { arg.span }
}

fn extension_of(node: &Node) -> Extension {
    match &node.kind {
        NodeKind::Range(range) => range.select.extension,
        _ => Extension::None,
    }
}

/// By how much windows are opened wider.
fn around(ctx: &Context<'_>, extension: Extension) -> (i64, i64) {
    let lookback = ctx.settings.lookback;
    match extension {
        Extension::None => (0, 0),
        Extension::Anchored => (lookback, 0),
        Extension::Smoothed => (lookback, lookback),
    }
}

fn check_extension(name: &str, kind: Kind, extension: Extension) -> Result<(), Error> {
    let rates = matches!(kind, Kind::Rate | Kind::Increase | Kind::Delta);
    let counted = matches!(kind, Kind::Resets | Kind::Changes);
    let fault = match extension {
        Extension::Anchored if !rates && !counted => {
            "anchored modifier can only be used with: changes, delta, increase, rate, resets"
        }
        Extension::Smoothed if !rates => "smoothed modifier can only be used with: delta, increase, rate",
        _ => return Ok(()),
    };
    Err(Fault::Other(format!("{fault} - not with {name}")).into())
}

fn check_factors(call: &Call, steps: Steps) -> Result<(), Error> {
    if call.kind != Kind::Smoothing {
        return Ok(());
    }
    for (numbers, (name, short)) in call.args.iter().zip([("smoothing factor", "sf"), ("trend factor", "tf")]) {
        if let Some(value) = numbers.all(steps.count).find(|v| *v <= 0.0 || *v >= 1.0) {
            return Err(Fault::Factor { name, short, value }.into());
        }
    }
    Ok(())
}

fn over_series<'q>(
    ctx: &'q Context<'q>,
    range: &'q RangeSelect,
    call: Call,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let select = &range.select;
    let (before, after) = call.around;
    let span = selector_range(select, steps, range.range.saturating_add(before), after);
    let series = scan::select(ctx, select, span, steps.interval, range.range)?;
    let started =
        ctx.settings.start_timestamps && matches!(call.kind, Kind::Rate | Kind::Irate | Kind::Increase | Kind::Resets);
    let bounds = move |i: usize| {
        let end = select.reference(steps.at(i));
        Bounds { start: end.saturating_sub(range.range), end, before, after, time: steps.at(i) }
    };
    Ok(Box::new(Scan::new(ctx, call.id, select, series, steps, move |series: &dyn Series, columns: &Columns| {
        let samples = if started { Samples::started(columns) } else { Samples::of(columns) };
        apply(ctx, &call, &samples, steps, bounds, || Ok((scan::labels(select, series)?, false)))
    })))
}

/// Runs the kernel over all windows of one series.
pub(super) fn apply(
    ctx: &Context<'_>,
    call: &Call,
    samples: &Samples<'_>,
    steps: Steps,
    bounds: impl Fn(usize) -> Bounds,
    labels: impl Fn() -> Result<(Labels, bool), Error>,
) -> Result<Worked, Error> {
    if samples.is_empty() {
        return Ok(Worked::default());
    }
    let mut points = Points::absent(steps.count);
    let mut flags = Flags::default();
    let mut tally = Tally::new(samples, steps, ctx.settings.per_step);
    let (mut some_floats, mut histograms) = (false, false);
    if let Some((times, values)) = samples.plain().filter(|_| floats::knows(call)) {
        let window = |i: usize| {
            let Bounds { start, end, .. } = bounds(i);
            (start, end)
        };
        let frames = frames::frames(times, steps.count, window);
        tally.add_frames(&frames);
        floats::compute(call, (times, values), &frames, window, &mut points.floats);
        some_floats = points.any_present();
    } else {
        let mut kernel = kernel(call, samples, &mut flags);
        samples.each(steps.count, bounds, |i, w| {
            tally.add(i, w);
            match kernel(i, w) {
                Output::None => {}
                Output::Float(value) => {
                    some_floats = true;
                    points.floats[i] = value;
                }
                Output::Histogram(histogram) => {
                    histograms = true;
                    points.set_histogram(i, Arc::new(histogram));
                }
            }
        });
    }
    let load = tally.finish(ctx, call.id);
    let (labels, dropped) = labels()?;
    note(ctx, call, &labels, flags, some_floats);
    if !some_floats && !histograms {
        return Ok(Worked { column: None, load });
    }
    let (labels, drop_name) = if call.keeps_name { (labels, dropped) } else { ctx.nameless(&labels) };
    Ok(Worked { column: Some(ctx.column(labels, drop_name, points)?), load })
}

type Kernel<'k> = Box<dyn FnMut(usize, &Window<'_>) -> Output + 'k>;

const RATE: rate::Kind = rate::Kind { counter: true, per_second: true };
const INCREASE: rate::Kind = rate::Kind { counter: true, per_second: false };
const DELTA: rate::Kind = rate::Kind { counter: false, per_second: false };

/// What `rate` and its kin want of their samples.
pub(super) fn rate_kind(kind: Kind) -> rate::Kind {
    match kind {
        Kind::Rate | Kind::Irate => RATE,
        Kind::Increase => INCREASE,
        _ => DELTA,
    }
}

fn kernel<'k>(call: &'k Call, samples: &'k Samples<'_>, flags: &'k mut Flags) -> Kernel<'k> {
    let extension = call.extension;
    let kind = rate_kind(call.kind);
    match call.kind {
        Kind::Rate | Kind::Increase | Kind::Delta if extension != Extension::None => {
            Box::new(move |_, w| extended::increase(w, kind, extension, flags))
        }
        Kind::Rate | Kind::Increase | Kind::Delta => {
            let starts = samples.float_starts();
            let resets = if kind.counter { rate::resets_before(samples.floats(), starts) } else { Vec::new() };
            let all = samples.histograms();
            let histogram_resets =
                if kind.counter { histogram::resets(all, samples.histogram_starts()) } else { vec![] };
            Box::new(move |_, w| rate::extrapolated(w, kind, &resets, &histogram_resets, flags))
        }
        Kind::Irate | Kind::Idelta => Box::new(move |_, w| rate::instant(w, kind, flags)),
        Kind::Resets => Box::new(move |_, w| from_anchor(w, extension).map_or(Output::None, |f| rate::resets(w, f))),
        Kind::Changes => Box::new(move |_, w| from_anchor(w, extension).map_or(Output::None, |f| rate::changes(w, f))),
        Kind::Sum => Box::new(move |_, w| over_time::sum(w, flags)),
        Kind::Avg => Box::new(move |_, w| over_time::avg(w, flags)),
        Kind::Count => Box::new(|_, w| over_time::count(w)),
        Kind::Present => Box::new(|_, _| Output::Float(1.0)),
        Kind::Max | Kind::Min => {
            let mut extreme = Extreme::new(samples.floats(), call.kind == Kind::Max);
            Box::new(move |_, w| over_time::extreme(w, &mut extreme, flags))
        }
        Kind::Stddev => Box::new(move |_, w| over_time::variance(w, flags).map_or(Output::None, |v| v.sqrt().into())),
        Kind::Stdvar => Box::new(move |_, w| over_time::variance(w, flags).map_or(Output::None, Output::Float)),
        Kind::Mad => Box::new(move |_, w| over_time::median_deviation(w, flags)),
        Kind::First => Box::new(|_, w| over_time::first(w)),
        Kind::Last => Box::new(|_, w| over_time::last(w)),
        Kind::TsOfFirst => Box::new(|_, w| over_time::time_of_first(w)),
        Kind::TsOfLast => Box::new(|_, w| over_time::time_of_last(w)),
        Kind::TsOfMax => Box::new(move |_, w| over_time::time_of_max(w, flags)),
        Kind::TsOfMin => Box::new(move |_, w| over_time::time_of_min(w, flags)),
        Kind::Quantile | Kind::Deriv | Kind::PredictLinear | Kind::Smoothing => with_args(call, flags),
    }
}

fn with_args<'k>(call: &'k Call, flags: &'k mut Flags) -> Kernel<'k> {
    let arg = |n: usize, i: usize| call.arg(n, i);
    match call.kind {
        Kind::Quantile => Box::new(move |i, w| over_time::quantile_over_time(w, arg(0, i), flags)),
        Kind::Deriv => Box::new(move |_, w| {
            if !two_floats(w, flags) {
                return Output::None;
            }
            regression::line(w.float_times, w.floats, w.float_times[0]).0.into()
        }),
        Kind::PredictLinear => Box::new(move |i, w| {
            if !two_floats(w, flags) {
                return Output::None;
            }
            let (slope, now) = regression::line(w.float_times, w.floats, w.time);
            (slope * arg(0, i) + now).into()
        }),
        _ => Box::new(move |i, w| {
            if !two_floats(w, flags) {
                return Output::None;
            }
            regression::smooth(w.floats, arg(0, i), arg(1, i)).into()
        }),
    }
}

/// Whether there are floats enough for a line; histograms among floats are noted.
fn two_floats(w: &Window<'_>, flags: &mut Flags) -> bool {
    flags.histogram_ignored |= !w.floats.is_empty() && !w.histograms.is_empty();
    w.floats.len() >= 2
}

fn from_anchor(w: &Window<'_>, extension: Extension) -> Option<(usize, usize)> {
    if extension == Extension::Anchored { extended::anchor(w) } else { Some((0, 0)) }
}

fn note(ctx: &Context<'_>, call: &Call, labels: &Labels, flags: Flags, floats: bool) {
    let metric = labels.metric_name().unwrap_or_default();
    flag_notes(ctx, metric, flags, call.first_span);
    if matches!(call.kind, Kind::Rate | Kind::Increase) && floats && !metric.is_empty() {
        note_counter(ctx, labels, metric, call.first_span);
    }
    if call.kind == Kind::Quantile && floats {
        let outside = |q: &f64| !(0.0..=1.0).contains(q);
        for q in call.args.iter().flat_map(|numbers| match numbers {
            Numbers::Same(q) => vec![*q],
            Numbers::Each(all) => all.clone(),
        }) {
            if outside(&q) {
                ctx.note(&Note::QuantileOutOfRange(q), call.first_span);
            }
        }
    }
}

/// Tells what the windows of a series had.
pub(super) fn flag_notes(ctx: &Context<'_>, metric: &str, flags: Flags, span: Span) {
    if flags == Flags::default() {
        return;
    }
    for (set, note) in [
        (flags.mixed, Note::MixedFloatsHistograms { metric }),
        (flags.histogram_ignored, Note::HistogramIgnoredInRange { metric }),
        (flags.not_counter, Note::NotCounterHistogram { metric }),
        (flags.not_gauge, Note::NotGaugeHistogram { metric }),
        (flags.mixed_custom, Note::MixedExponentialCustom { metric }),
        (flags.reconciled_addition, Note::CustomBucketsReconciled(HistogramUse::Addition)),
        (flags.reconciled_subtraction, Note::CustomBucketsReconciled(HistogramUse::Subtraction)),
        (flags.reconciled_aggregation, Note::CustomBucketsReconciled(HistogramUse::Aggregation)),
        (flags.start_overlap, Note::StartOverlap { metric }),
        (flags.collision_aggregation, Note::CounterResetCollision(HistogramUse::Aggregation)),
    ] {
        if set {
            ctx.note(&note, span);
        }
    }
}

fn note_counter(ctx: &Context<'_>, labels: &Labels, metric: &str, span: Span) {
    if ctx.settings.type_and_unit_labels {
        let label = labels.get("__type__").unwrap_or_default();
        if !matches!(label, "counter" | "histogram") {
            ctx.note(&Note::PossiblyNotCounterByLabel { metric, label }, span);
        }
    } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix)) {
        ctx.note(&Note::PossiblyNotCounter { metric }, span);
    }
}

/// A `smoothed` instant selector.
pub(super) fn smoothed_selector<'q>(
    ctx: &'q Context<'q>,
    node: &'q Node,
    select: &'q Select,
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let lookback = ctx.settings.lookback;
    let span = node.span;
    let series = scan::select(ctx, select, selector_range(select, steps, lookback, lookback), steps.interval, 0)?;
    Ok(Box::new(Scan::new(ctx, node.id, select, series, steps, move |series: &dyn Series, columns: &Columns| {
        let samples = Samples::of(columns);
        let mut points = Points::absent(steps.count);
        let mut flags = Flags::default();
        let bounds = |i: usize| {
            let end = select.reference(steps.at(i));
            Bounds { start: end.saturating_sub(lookback), end, before: 0, after: lookback, time: steps.at(i) }
        };
        samples.each(steps.count, bounds, |i, w| match extended::smoothed_value(w, &mut flags) {
            Output::None => {}
            Output::Float(value) => points.floats[i] = value,
            Output::Histogram(histogram) => points.set_histogram(i, Arc::new(histogram)),
        });
        let labels = scan::labels(select, series)?;
        flag_notes(ctx, labels.metric_name().unwrap_or_default(), flags, span);
        if !points.any_present() {
            return Ok(Worked::default());
        }
        // Upstream does not count the samples of these.
        Ok(Worked { column: Some(ctx.column(labels, false, points)?), load: Load::default() })
    })))
}

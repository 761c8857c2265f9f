//! `info`: series enriched with the labels of info metrics that share their `instance` and `job`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::storage::Columns;

use super::selector::{Take, latest};
use super::unique::{self, StepSet, Within};
use super::{BoxOperator, Context, Lazy, drain, open, scan, selector_range};
use crate::ast::Extension;
use crate::error::{Error, Fault};
use crate::plan::{Node, NodeKind, Select};
use crate::value::{Column, Points, Steps};

/// The info metric if none is named.
const TARGET_INFO: &str = "target_info";
/// What links a series to its info series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

pub(super) fn open_info<'q>(
    ctx: &'q Context<'q>,
    id: usize,
    args: &'q [Node],
    steps: Steps,
) -> Result<BoxOperator<'q>, Error> {
    let made = Lazy::new(move || enriched(ctx, id, args, steps));
    Ok(unique::checked(ctx, Box::new(made), Within::Step))
}

/// Time span and offset of the info series: as the first selector of the argument has them.
pub(crate) fn info_select(args: &[Node]) -> Select {
    let (at, offset) = args.first().and_then(|arg| first_select(arg, &mut Vec::new())).unwrap_or((None, 0));
    Select {
        matchers: Vec::new(),
        pushed: Vec::new(),
        cut: None,
        offset,
        at,
        extension: Extension::None,
        applied: "info",
        totals_only: false,
    }
}

/// `@` and offset of the first selector, with those of the subqueries around it, the outermost first in `around`.
fn first_select(node: &Node, around: &mut Vec<(Option<i64>, i64)>) -> Option<(Option<i64>, i64)> {
    match &node.kind {
        NodeKind::Select(select) => Some(anchored(select, around)),
        NodeKind::Range(range) => Some(anchored(&range.select, around)),
        NodeKind::Subquery(subquery) => {
            around.push((subquery.at, subquery.offset));
            let found = first_select(&subquery.child, around);
            around.pop();
            found
        }
        NodeKind::StepInvariant(child) | NodeKind::Negate(child) => first_select(child, around),
        NodeKind::Call { args, .. } => args.iter().find_map(|arg| first_select(arg, around)),
        NodeKind::Aggregate(aggregate) => first_select(&aggregate.child, around),
        NodeKind::Binary(binary) => first_select(&binary.lhs, around).or_else(|| first_select(&binary.rhs, around)),
        NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => None,
    }
}

fn anchored(select: &Select, around: &[(Option<i64>, i64)]) -> (Option<i64>, i64) {
    let (mut at, mut offset) = (select.at, select.offset);
    for (outer_at, outer_offset) in around.iter().rev() {
        if at.is_some() {
            break;
        }
        offset += outer_offset;
        at = *outer_at;
    }
    (at, offset)
}

/// The matchers of the second argument: on the info metric's name, and on the labels to take over.
struct Wanted {
    names: Vec<Matcher>,
    labels: BTreeMap<String, Vec<Matcher>>,
}

impl Wanted {
    fn of(args: &[Node]) -> Self {
        let mut wanted = Self { names: Vec::new(), labels: BTreeMap::new() };
        let given = match args.get(1).map(|arg| &arg.inner().kind) {
            Some(NodeKind::Select(select)) => select.matchers.as_slice(),
            _ => &[],
        };
        for matcher in given {
            if matcher.name() == METRIC_NAME {
                wanted.names.push(matcher.clone());
            } else {
                wanted.labels.entry(matcher.name().to_owned()).or_default().push(matcher.clone());
            }
        }
        let positive = wanted.names.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex));
        if wanted.names.is_empty() {
            wanted.names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if !positive {
            // Only exclusions: of everything that is named like an info metric.
            wanted.names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info"));
        }
        wanted
    }

    /// Whether a series is itself such an info series.
    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|m| m.matches_labels(labels))
    }

    /// Whether a series stays although no info series matched it.
    fn stays_alone(&self) -> bool {
        self.labels.values().flatten().all(Matcher::matches_empty)
    }
}

fn enriched(ctx: &Context<'_>, id: usize, args: &[Node], steps: Steps) -> Result<Vec<Column>, Error> {
    let base = drain(open(ctx, &args[0], steps)?.as_mut())?;
    let wanted = Wanted::of(args);
    let infos = Infos::fetch(ctx, id, args, &base, &wanted, steps)?;
    let mut columns = Vec::with_capacity(base.len());
    for column in base {
        if wanted.is_info(&column.labels) {
            columns.push(column);
            continue;
        }
        enrich(ctx, &column, &infos, &wanted, steps, &mut columns)?;
    }
    Ok(columns)
}

/// What identifies a series' target.
fn identity(labels: &Labels) -> Identity {
    IDENTIFYING.iter().map(|name| labels.get(name).map(str::to_owned)).collect()
}

/// The values of the identifying labels.
type Identity = Vec<Option<String>>;

/// For each info metric, which series is the newest at each step.
type Newest = BTreeMap<String, Vec<Option<usize>>>;

/// Info series by target and metric.
struct Infos {
    series: Vec<Labels>,
    newest: HashMap<Identity, Newest>,
}

impl Infos {
    fn fetch(
        ctx: &Context<'_>,
        id: usize,
        args: &[Node],
        base: &[Column],
        wanted: &Wanted,
        steps: Steps,
    ) -> Result<Self, Error> {
        let mut infos = Self { series: Vec::new(), newest: HashMap::new() };
        let enrichable = || base.iter().filter(|column| !wanted.is_info(&column.labels));
        let mut select = info_select(args);
        for name in IDENTIFYING {
            let values: BTreeSet<&str> = enrichable().filter_map(|column| column.labels.get(name)).collect();
            if !values.is_empty() {
                let alternatives: Vec<String> = values.into_iter().map(quoted).collect();
                select.matchers.extend(Matcher::new(name, MatchOp::Regex, &alternatives.join("|")));
            }
        }
        if select.matchers.is_empty() {
            return Ok(infos);
        }
        select.matchers.extend(wanted.names.iter().cloned());
        select.matchers.extend(wanted.labels.values().flatten().cloned());
        let mut present = StepSet::new(steps.count);
        base.iter().for_each(|column| {
            present.insert_present(&column.points);
        });
        infos.read(ctx, id, &select, steps, &present)?;
        Ok(infos)
    }

    fn read(
        &mut self,
        ctx: &Context<'_>,
        id: usize,
        select: &Select,
        steps: Steps,
        present: &StepSet,
    ) -> Result<(), Error> {
        let lookback = ctx.settings.lookback;
        let range = selector_range(select, steps, lookback, 0);
        let series = scan::select(ctx, select, range, steps.interval, 0)?;
        let mut times: Vec<Points> = Vec::new();
        let mut columns = Columns::default();
        for one in series.iter() {
            ctx.check()?;
            columns.clear();
            one.read(&mut columns)?;
            if !columns.histograms.is_empty() {
                let text = "this should be an info metric, with float samples";
                return Err(Fault::Other(format!("{text}: {}", one.labels())).into());
            }
            let mut points = Points::absent(steps.count);
            let seen = latest(select, steps, lookback, &columns, Take::Timestamp, &mut points);
            if let Some(meter) = ctx.meters.get(id) {
                let mut loads = meter.loads();
                loads.seen += seen;
                loads.read += seen;
            }
            self.add(one.labels(), points, &mut times, present)?;
        }
        Ok(())
    }

    fn add(&mut self, labels: Labels, found: Points, times: &mut Vec<Points>, present: &StepSet) -> Result<(), Error> {
        let index = self.series.len();
        let metric = labels.metric_name().unwrap_or_default().to_owned();
        let by_metric = self.newest.entry(identity(&labels)).or_default();
        let newest = by_metric.entry(metric).or_insert_with(|| vec![None; found.len()]);
        for (i, winner) in newest.iter_mut().enumerate() {
            let Some(time) = found.float(i) else { continue };
            let known = winner.map(|w| (w, times[w].floats[i]));
            match known {
                Some((other, at)) if at == time && present.contains(i) => {
                    let ms = (time * 1000.0).round();
                    let text = "found duplicate series for info metric: existing";
                    let existing = &self.series[other];
                    return Err(Fault::Other(format!("{text} {existing} @ {ms}, new {labels} @ {ms}")).into());
                }
                Some((_, at)) if at >= time => {}
                _ => *winner = Some(index),
            }
        }
        self.series.push(labels);
        times.push(found);
        Ok(())
    }
}

/// The text as a regular expression that matches only it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The series with the labels of its info series; as these may change over time, it may become several.
fn enrich(
    ctx: &Context<'_>,
    column: &Column,
    infos: &Infos,
    wanted: &Wanted,
    steps: Steps,
    columns: &mut Vec<Column>,
) -> Result<(), Error> {
    let by_metric = infos.newest.get(&identity(&column.labels));
    let mut made: Vec<(Vec<usize>, Option<Labels>, Points)> = Vec::new();
    for i in 0..steps.count {
        let Some(point) = column.points.get(i) else { continue };
        let chosen: Vec<usize> = by_metric.iter().flat_map(|m| m.values()).filter_map(|newest| newest[i]).collect();
        let at = match made.iter().position(|(known, ..)| *known == chosen) {
            Some(at) => at,
            None => {
                let labels = if chosen.is_empty() && !wanted.stays_alone() {
                    None
                } else {
                    Some(combined(&column.labels, infos, &chosen, wanted)?)
                };
                made.push((chosen, labels, Points::absent(steps.count)));
                made.len() - 1
            }
        };
        made[at].2.set(i, point);
    }
    for (_, labels, points) in made {
        if let Some(labels) = labels {
            columns.push(ctx.column(labels, column.drop_name, points)?);
        }
    }
    Ok(())
}

fn combined(base: &Labels, infos: &Infos, chosen: &[usize], wanted: &Wanted) -> Result<Labels, Error> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for labels in chosen.iter().map(|index| &infos.series[*index]) {
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            if !wanted.labels.is_empty() && !wanted.labels.contains_key(name) {
                continue;
            }
            if taken.get(name).is_some_and(|known| *known != value) {
                return Err(Fault::Other(format!("conflicting label: {name}")).into());
            }
            if !base.contains(name) {
                taken.insert(name, value);
            }
        }
    }
    let mut builder = base.to_builder();
    for (name, value) in taken {
        builder.set(name, value);
    }
    Ok(builder.build())
}

//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`: of classic histograms, whose buckets are series,
//! and of native ones.

use std::collections::{BTreeMap, HashMap};

use model::labels::{BUCKET_BOUND, Labels};
use model::number::print_float_canonical;

use super::scalar::{self, Numbers};
use super::unique::{self, Within};
use super::{BoxOperator, Context, Lazy, drain, open};
use crate::error::Error;
use crate::histogram::{self, NanNote};
use crate::kernel::classic::{self, Bucket, Raised};
use crate::notes::{Monotonicity, Note};
use crate::plan::Node;
use crate::token::Span;
use crate::value::{Column, Points, Steps};

/// `histogram_quantile(q, v)`
pub(super) fn quantile<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let numbers = scalar::evaluate(ctx, &args[0], steps)?;
    note_quantiles(ctx, &numbers, steps, args[0].span);
    let made = Lazy::new(move || {
        let family = Family::gather(ctx, &args[1], steps)?;
        family.columns(ctx, |group, i| group.quantile(ctx, numbers.at(i), i, steps, args[1].span))
    });
    Ok(unique::checked(ctx, Box::new(made), Within::Step))
}

/// `histogram_fraction(lower, upper, v)`
pub(super) fn fraction<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let lower = scalar::evaluate(ctx, &args[0], steps)?;
    let upper = scalar::evaluate(ctx, &args[1], steps)?;
    let made = Lazy::new(move || {
        let family = Family::gather(ctx, &args[2], steps)?;
        family.columns(ctx, |group, i| group.fraction(ctx, (lower.at(i), upper.at(i)), i, args[2].span))
    });
    Ok(unique::checked(ctx, Box::new(made), Within::Step))
}

/// `histogram_quantiles(v, label, q...)`
pub(super) fn quantiles<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let label = args[1].text();
    let mut all = Vec::new();
    for arg in &args[2..] {
        let numbers = scalar::evaluate(ctx, arg, steps)?;
        note_quantiles(ctx, &numbers, steps, arg.span);
        all.push(numbers);
    }
    let made = Lazy::new(move || {
        let family = Family::gather(ctx, &args[0], steps)?;
        let mut columns = Vec::new();
        for numbers in &all {
            let found = family.columns(ctx, |group, i| group.quantile(ctx, numbers.at(i), i, steps, args[0].span))?;
            for column in found {
                split_by_quantile(ctx, column, label, numbers, steps, &mut columns)?;
            }
        }
        Ok(columns)
    });
    Ok(unique::checked(ctx, Box::new(made), Within::Step))
}

/// The quantile stands in a label, and may change from step to step.
fn split_by_quantile(
    ctx: &Context<'_>,
    column: Column,
    label: &str,
    numbers: &Numbers,
    steps: Steps,
    columns: &mut Vec<Column>,
) -> Result<(), Error> {
    let mut by_quantile: BTreeMap<String, Points> = BTreeMap::new();
    for i in 0..steps.count {
        let Some(value) = column.points.float(i) else { continue };
        let text = print_float_canonical(numbers.at(i));
        by_quantile.entry(text).or_insert_with(|| Points::absent(steps.count)).floats[i] = value;
    }
    for (text, points) in by_quantile {
        let mut builder = column.labels.to_builder();
        builder.set(label, &text);
        columns.push(ctx.column(builder.build(), column.drop_name, points)?);
    }
    Ok(())
}

fn note_quantiles(ctx: &Context<'_>, numbers: &Numbers, steps: Steps, span: Span) {
    for q in numbers.all(steps.count) {
        if !(0.0..=1.0).contains(&q) {
            ctx.note(&Note::QuantileOutOfRange(q), span);
        }
    }
}

/// All series of the argument.
struct Family {
    columns: Vec<Column>,
    groups: Vec<(Labels, Members)>,
    count: usize,
}

/// The series of one histogram.
#[derive(Default)]
struct Members {
    /// Upper bound and series.
    buckets: Vec<(f64, usize)>,
    native: Option<usize>,
    drop_name: bool,
}

/// One histogram with its series at hand.
struct Group<'a> {
    columns: &'a [Column],
    labels: &'a Labels,
    members: &'a Members,
}

impl Family {
    fn gather(ctx: &Context<'_>, arg: &Node, steps: Steps) -> Result<Self, Error> {
        let columns = drain(open(ctx, arg, steps)?.as_mut())?;
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<(Labels, Members)> = Vec::new();
        let mut member = |labels: Labels, add: &dyn Fn(&mut Members)| {
            let at = *places.entry(labels.clone()).or_insert_with(|| {
                groups.push((labels, Members::default()));
                groups.len() - 1
            });
            add(&mut groups[at].1);
        };
        for (index, column) in columns.iter().enumerate() {
            let dropped = column.drop_name;
            if column.points.histograms.is_some() {
                member(column.labels.clone(), &|m| (m.native, m.drop_name) = (Some(index), dropped));
            }
            if (0..steps.count).all(|i| column.points.float(i).is_none()) {
                continue;
            }
            let bound = column.labels.get(BUCKET_BOUND).unwrap_or_default();
            match parse_bound(bound) {
                Some(bound) => {
                    let labels = column.labels.filtered(|name| name != BUCKET_BOUND.as_bytes());
                    member(labels, &|m| {
                        m.buckets.push((bound, index));
                        m.drop_name = dropped;
                    });
                }
                None => ctx
                    .note(&Note::BadBucketLabel { label: bound, metric: name_in_notes(ctx, &column.labels) }, arg.span),
            }
        }
        Ok(Self { columns, groups, count: steps.count })
    }

    /// A series per histogram, of what `value` makes of each step.
    fn columns(
        &self,
        ctx: &Context<'_>,
        value: impl Fn(&Group<'_>, usize) -> Option<f64>,
    ) -> Result<Vec<Column>, Error> {
        let mut columns = Vec::with_capacity(self.groups.len());
        for (labels, members) in &self.groups {
            let group = Group { columns: &self.columns, labels, members };
            let mut points = Points::absent(self.count);
            for i in 0..self.count {
                if let Some(value) = value(&group, i) {
                    points.floats[i] = value;
                }
            }
            if points.any_present() {
                let (labels, drop_name) = ctx.nameless(labels);
                columns.push(ctx.column(labels, drop_name, points)?);
            }
        }
        Ok(columns)
    }
}

/// A bound as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Names are only known in notes where they are kept to the end.
fn name_in_notes<'a>(ctx: &Context<'_>, labels: &'a Labels) -> &'a str {
    if ctx.settings.delayed_names { labels.metric_name().unwrap_or_default() } else { "" }
}

impl Group<'_> {
    /// The classic buckets or the native histogram at a step; both at once is noted and counts for nothing.
    fn at(&self, ctx: &Context<'_>, i: usize, span: Span) -> Option<Found<'_>> {
        let buckets: Vec<Bucket> = self
            .members
            .buckets
            .iter()
            .filter_map(|&(bound, m)| Some(Bucket { bound, count: self.columns[m].points.float(i)? }))
            .collect();
        let native = self.members.native.and_then(|m| self.columns[m].points.histogram(i));
        match native {
            Some(_) if !buckets.is_empty() => {
                ctx.note(&Note::MixedClassicNative { metric: name_in_notes(ctx, self.labels) }, span);
                None
            }
            Some(native) => Some(Found::Native(native)),
            None if buckets.is_empty() => None,
            None => Some(Found::Classic(buckets)),
        }
    }

    fn quantile(&self, ctx: &Context<'_>, q: f64, i: usize, steps: Steps, span: Span) -> Option<f64> {
        match self.at(ctx, i, span)? {
            Found::Native(h) => Some(self.noted(ctx, histogram::quantile(q, h), span)),
            Found::Classic(mut buckets) => {
                let (value, raised) = classic::quantile(q, &mut buckets);
                if let Some(Raised { lowest, highest, max_difference }) = raised {
                    let (metric, at) = (name_in_notes(ctx, self.labels).to_owned(), steps.at(i));
                    let fixed =
                        Monotonicity { metric, lowest, highest, max_difference, samples: 1, first: at, last: at };
                    ctx.note(&Note::ForcedMonotonicity(&fixed), span);
                }
                Some(value)
            }
        }
    }

    fn fraction(&self, ctx: &Context<'_>, (lower, upper): (f64, f64), i: usize, span: Span) -> Option<f64> {
        match self.at(ctx, i, span)? {
            Found::Native(h) => Some(self.noted(ctx, histogram::fraction(lower, upper, h), span)),
            Found::Classic(mut buckets) => Some(classic::fraction(lower, upper, &mut buckets)),
        }
    }

    fn noted(&self, ctx: &Context<'_>, (value, note): (f64, Option<NanNote>), span: Span) -> f64 {
        let metric = name_in_notes(ctx, self.labels);
        match note {
            Some(NanNote::ResultIsNan) => ctx.note(&Note::QuantileOfNan { metric }, span),
            Some(NanNote::SkewedHigher) => ctx.note(&Note::QuantileSkewedByNan { metric }, span),
            Some(NanNote::Excluded) => ctx.note(&Note::FractionWithoutNan { metric }, span),
            None => {}
        }
        value
    }
}

enum Found<'a> {
    Classic(Vec<Bucket>),
    Native(&'a model::histogram::FloatHistogram),
}

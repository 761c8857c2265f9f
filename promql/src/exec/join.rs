//! Binary operations between the series of two vectors.
//!
//! The side on which a match must be unique (the "one" side) is held; the other streams by. Where it must be unique on
//! both and is known to be, the side of fewer series is held. Everything is decided step by step, as series may take each
//! other's place over time.

use std::collections::{BTreeMap, HashMap};

use model::labels::Labels;
use model::sample::is_stale;

use super::binary::{Made, element};
use super::matching::{Chooser, Signature};
use super::unique::StepSet;
use super::{Context, drain, estimate, open};
use crate::ast::Cardinality;
use crate::error::{Error, Fault};
use crate::kernel::arithmetic;
use crate::notes::Note;
use crate::plan::Binary;
use crate::token::Span;
use crate::value::{ABSENT, Column, Point, Points, Steps};

/// Joins both sides.
pub(super) fn joined(ctx: &Context<'_>, binary: &Binary, span: Span, steps: Steps) -> Result<Vec<Column>, Error> {
    let is_grouped = binary.matching.card == Cardinality::OneToMany;
    let swapped = is_grouped || binary.either_held && estimate::left_is_smaller(ctx, binary, steps)?;
    let (many_side, one_side) = if swapped { (&binary.rhs, &binary.lhs) } else { (&binary.lhs, &binary.rhs) };
    let (left_skippable, right_skippable) = binary.skippable;
    let (many_skippable, one_skippable) =
        if swapped { (right_skippable, left_skippable) } else { (left_skippable, right_skippable) };
    let mut begun = None;
    let many_first = match (many_skippable, one_skippable) {
        // If either may be held, the one that is has fewer series.
        (true, true) if !binary.either_held => estimate::left_is_smaller(ctx, binary, steps)? != swapped,
        (many, one) => one && !many,
    };
    if many_first {
        let mut many = open(ctx, many_side, steps)?;
        let Some(first) = many.next()? else { return Ok(Vec::new()) };
        begun = Some((many, first));
    }
    let one = OneSide::new(ctx, one_side, binary, steps)?;
    if many_skippable && one.columns.is_empty() {
        return Ok(Vec::new());
    }
    if binary.matching.fill_left.is_some() || binary.matching.fill_right.is_some() {
        // With a value to fill in, whatever is on the one side is matched, even if nothing stands on the other.
        one.check(|_| true)?;
    }
    let (matched, made, noted) = (HashMap::new(), Vec::new(), Vec::new());
    let mut join = Join { ctx, binary, steps, swapped, one, matched, made, noted };
    let (mut many, mut next) = match begun {
        Some((many, first)) => (many, Some(first)),
        None => (open(ctx, many_side, steps)?, None),
    };
    while let Some(batch) = next.take().map_or_else(|| many.next(), |batch| Ok(Some(batch)))? {
        ctx.check()?;
        for column in &batch {
            join.many_column(column)?;
        }
    }
    if binary.matching.fill_left.is_some() {
        join.unmatched()?;
    }
    let mut told: Vec<&Note<'static>> = Vec::new();
    for (_, note) in join.noted.iter().flatten() {
        if !told.contains(&note) {
            ctx.note(note, span);
            told.push(note);
        }
    }
    if !is_grouped && swapped {
        // As if the left side had streamed by.
        join.made.sort_by_key(|(left, _)| *left);
    }
    Ok(join.made.into_iter().map(|(_, column)| column).collect())
}

/// The side whose series are unique per match and step.
struct OneSide {
    columns: Vec<Column>,
    groups: HashMap<Signature, Vec<usize>>,
    chooser: Chooser,
    /// Steps at which two series match the same, in order, with the fault that is.
    duplicates: Vec<(usize, Fault)>,
}

impl OneSide {
    fn new(ctx: &Context<'_>, node: &crate::plan::Node, binary: &Binary, steps: Steps) -> Result<Self, Error> {
        let chooser = Chooser::matching(&binary.matching);
        let columns = drain(open(ctx, node, steps)?.as_mut())?;
        let mut groups: HashMap<Signature, Vec<usize>> = HashMap::with_capacity(columns.len());
        for (i, column) in columns.iter().enumerate() {
            groups.entry(chooser.signature(&column.labels)).or_default().push(i);
        }
        let mut one = Self { columns, groups, chooser, duplicates: Vec::new() };
        one.find_duplicates(binary, steps.count);
        Ok(one)
    }

    /// At each step upstream goes through the side in order, and stops at the first series that meets one of its kind.
    fn find_duplicates(&mut self, binary: &Binary, count: usize) {
        let side = if binary.matching.card == Cardinality::OneToMany { "left" } else { "right" };
        let mut first: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for members in self.groups.values().filter(|members| members.len() > 1) {
            for i in 0..count {
                let mut present = members.iter().filter(|&&m| self.columns[m].points.is_present(i));
                let (Some(&a), Some(&b)) = (present.next(), present.next()) else { continue };
                let known = first.entry(i).or_insert((a, b));
                if b < known.1 {
                    *known = (a, b);
                }
            }
        }
        self.duplicates = first
            .into_iter()
            .map(|(i, (a, b))| {
                let mut names = [a, b].map(|m| self.columns[m].labels.to_string());
                names.sort();
                let [first, second] = names;
                let group = self.chooser.labels(&self.columns[a].labels).to_string();
                (i, Fault::DuplicateInGroup { group, side, first, second })
            })
            .collect();
    }

    /// Fails if a duplicate shows at one of these steps.
    fn check(&self, shows: impl Fn(usize) -> bool) -> Result<(), Error> {
        match self.duplicates.iter().find(|(i, _)| shows(*i)) {
            Some((_, fault)) => Err(fault.clone().into()),
            None => Ok(()),
        }
    }
}

/// What is known of the matches of one signature.
struct Matched {
    /// Steps at which something matched.
    steps: StepSet,
    /// With grouping: the same by labels of the result.
    results: HashMap<Labels, StepSet>,
}

impl Matched {
    fn new(count: usize) -> Self {
        Self { steps: StepSet::new(count), results: HashMap::new() }
    }
}

struct Join<'a, 'q> {
    ctx: &'a Context<'q>,
    binary: &'a Binary,
    steps: Steps,
    swapped: bool,
    one: OneSide,
    matched: HashMap<Signature, Matched>,
    /// With the place of the held series that each came of.
    made: Vec<(usize, Column)>,
    /// The last note of each step: the only one that upstream tells. Empty without any.
    noted: Vec<Option<(usize, Note<'static>)>>,
}

/// Where the only held series of a match stands.
fn place(members: &[usize]) -> usize {
    members.first().copied().unwrap_or_default()
}

/// A partner on the "one" side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Partner {
    Member(usize),
    /// The value of `fill`.
    Fill,
}

impl Join<'_, '_> {
    fn many_column(&mut self, many: &Column) -> Result<(), Error> {
        self.one.check(|i| many.points.is_present(i))?;
        let signature = self.one.chooser.signature(&many.labels);
        let members = self.one.groups.get(&signature).cloned().unwrap_or_default();
        let fill = self.binary.matching.fill_right;
        if members.is_empty() && fill.is_none() {
            return Ok(());
        }
        // Without labels taken over, all partners give the same result labels: one column holds them all.
        let partners: Vec<Partner> =
            members.iter().map(|m| Partner::Member(*m)).chain(fill.map(|_| Partner::Fill)).collect();
        let together = self.binary.matching.include.is_empty();
        if together {
            return self.combine(many, &signature, &members, &partners);
        }
        for partner in partners {
            self.combine(many, &signature, &members, &[partner])?;
        }
        Ok(())
    }

    /// Combines a series of the "many" side with some of its partners into one series.
    fn combine(
        &mut self,
        many: &Column,
        signature: &Signature,
        members: &[usize],
        partners: &[Partner],
    ) -> Result<(), Error> {
        let labels = match partners.first() {
            Some(Partner::Member(m)) => self.result_labels(&many.labels, &self.one.columns[*m].labels),
            _ => self.result_labels(&many.labels, &self.one.chooser.labels(&many.labels)),
        };
        let count = self.steps.count;
        let mut points = Points::absent(count);
        let mut any = false;
        let mut matched = self.matched.remove(signature).unwrap_or_else(|| Matched::new(count));
        let mut results = matched.results.remove(&labels).unwrap_or_else(|| StepSet::new(count));
        if let Some(made) = self.lone_floats(many, members, partners) {
            let first = matched.steps.insert_present(&made);
            let fresh = results.insert_present(&made);
            self.alone(first, fresh)?;
            matched.results.insert(labels.clone(), results);
            self.matched.insert(signature.clone(), matched);
            return if made.any_present() { self.push(place(members), labels, made) } else { Ok(()) };
        }
        let mut noted = std::mem::take(&mut self.noted);
        for i in 0..count {
            let Some(a) = many.points.get(i) else { continue };
            let present = members.iter().find(|&&m| self.one.columns[m].points.is_present(i));
            let partner = present.map_or(Partner::Fill, |m| Partner::Member(*m));
            if !partners.contains(&partner) {
                continue;
            }
            let b = match partner {
                Partner::Member(m) => self.one.columns[m].points.get(i),
                Partner::Fill => self.binary.matching.fill_right.map(Point::Float),
            };
            let at = (i, place(members));
            let Some(made) = b.and_then(|b| self.element(at, &mut noted, a, b)) else { continue };
            let first = matched.steps.insert(i);
            let fresh = results.insert(i);
            self.alone(first, fresh)?;
            if let Some(made) = made {
                made.store(&mut points, i);
                any = true;
            }
        }
        self.noted = noted;
        if self.binary.matching.card != Cardinality::OneToOne {
            matched.results.insert(labels.clone(), results);
        }
        self.matched.insert(signature.clone(), matched);
        if any { self.push(place(members), labels, points) } else { Ok(()) }
    }

    /// Fails if something matched at that step before: the first of its signature, or fresh among the results.
    fn alone(&self, first: bool, fresh: bool) -> Result<(), Error> {
        match self.binary.matching.card {
            Cardinality::OneToOne if !first => Err(Fault::ManyToOneNotExplicit.into()),
            Cardinality::ManyToOne | Cardinality::OneToMany if !fresh => Err(Fault::GroupingNotUnique.into()),
            _ => Ok(()),
        }
    }

    /// The usual case at one go: arithmetic of floats with the one series that matches, where both are.
    fn lone_floats(&self, many: &Column, members: &[usize], partners: &[Partner]) -> Option<Points> {
        let ([only], [Partner::Member(_)]) = (members, partners) else { return None };
        let (many, one, op) = (&many.points, &self.one.columns[*only].points, self.binary.op);
        let arithmetic = !op.is_comparison() && !op.is_trim();
        if !arithmetic || many.histograms.is_some() || one.histograms.is_some() {
            return None;
        }
        let pairs = many.floats.iter().zip(&one.floats).map(|(many, one)| {
            let (a, b) = if self.swapped { (*one, *many) } else { (*many, *one) };
            if is_stale(a) || is_stale(b) { ABSENT } else { arithmetic::compute(op, a, b) }
        });
        Some(Points { floats: pairs.collect(), histograms: None })
    }

    /// What step `i` has: `None` if the two do not go together; `Some(None)` if a comparison does not hold.
    fn element(
        &self,
        (i, place): (usize, usize),
        all: &mut Vec<Option<(usize, Note<'static>)>>,
        many: Point<'_>,
        one: Point<'_>,
    ) -> Option<Option<Made>> {
        let (a, b) = if self.swapped { (one, many) } else { (many, one) };
        let mut noted = None;
        let element = element(self.binary.op, a, b, &mut noted);
        if let Some(noted) = noted {
            all.resize_with(self.steps.count, || None);
            let streams_right = self.swapped && self.binary.matching.card == Cardinality::OneToOne;
            let is_later = all[i].as_ref().is_none_or(|(known, _)| !streams_right || *known <= place);
            if is_later {
                all[i] = Some((place, noted));
            }
        }
        let (made, holds) = element?;
        Some(match (self.binary.return_bool, holds) {
            (true, holds) => Some(Made::Float(f64::from(u8::from(holds)))),
            (false, true) => Some(made),
            (false, false) => None,
        })
    }

    fn push(&mut self, place: usize, labels: Labels, points: Points) -> Result<(), Error> {
        let column = self.ctx.column(labels, self.binary.return_bool, points)?;
        self.made.push((place, column));
        Ok(())
    }

    /// Series of the "one" side that nothing matched meet the fill value.
    fn unmatched(&mut self) -> Result<(), Error> {
        let Some(fill) = self.binary.matching.fill_left else { return Ok(()) };
        let mut noted = std::mem::take(&mut self.noted);
        for index in 0..self.one.columns.len() {
            let column = &self.one.columns[index];
            let signature = self.one.chooser.signature(&column.labels);
            let labels = self.result_labels(&self.one.chooser.labels(&column.labels), &column.labels);
            let mut points = Points { floats: vec![ABSENT; self.steps.count], histograms: None };
            let mut any = false;
            for i in 0..self.steps.count {
                if self.matched.get(&signature).is_some_and(|m| m.steps.contains(i)) {
                    continue;
                }
                let Some(b) = self.one.columns[index].points.get(i) else { continue };
                if let Some(Some(made)) = self.element((i, index), &mut noted, Point::Float(fill), b) {
                    made.store(&mut points, i);
                    any = true;
                }
            }
            if any {
                self.push(index, labels, points)?;
            }
        }
        self.noted = noted;
        Ok(())
    }

    /// The labels of what comes of `many` and `one`.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.binary.matching;
        let op = self.binary.op;
        let new_metric = !op.is_comparison() && !op.is_trim();
        // A comparison keeps the labels of the left side, whichever streams by.
        let many = if self.swapped && matching.card == Cardinality::OneToOne { one } else { many };
        let drops_name = new_metric || (self.binary.return_bool && !self.ctx.settings.delayed_names);
        let mut labels = if drops_name { crate::value::without_metadata(many) } else { many.clone() };
        if matching.card == Cardinality::OneToOne {
            let listed = |name: &[u8]| matching.labels.iter().any(|l| l.as_bytes() == name);
            labels = labels.filtered(|name| listed(name) == matching.on);
        }
        if matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build()
    }
}

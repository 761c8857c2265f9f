//! The plan of a query for people and programs to read: `explain` shows it, `analyze` adds what every part took.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::Ordering;

use model::duration::Duration;
use model::matcher::Matcher;
use model::number::print_float;

use crate::ast::{Cardinality, Extension, ValueType};
use crate::exec::meter::Meter;
use crate::json::{Object, push_string};
use crate::plan::{Aggregate, Binary, Node, NodeKind, Select, Subquery};
use crate::value::METADATA_LABELS;

/// One part of a plan, with the parts it works on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanNode {
    /// Its number, parents first, from 0.
    pub id: usize,
    /// What it does, in a word.
    pub operator: &'static str,
    /// What exactly.
    pub detail: String,
    /// What it took, if it was run.
    pub measured: Option<Measured>,
    /// The parts it works on.
    pub children: Vec<PlanNode>,
}

/// What a part of a plan took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// Series it gave.
    pub series: u64,
    /// Points it gave, at all steps; histograms count by their size.
    pub points: u64,
    /// Bytes of these points.
    pub bytes: u64,
    /// Samples it looked at, each as often as a window held it.
    pub samples: u64,
    /// Nanoseconds, the parts it works on left out; 0 without a clock.
    pub nanos: u64,
}

/// The plan; with what its parts took if there are meters.
pub(crate) fn explain(root: &Node, meters: &[Meter]) -> PlanNode {
    Explainer { meters, fetched: HashMap::new() }.node(root)
}

struct Explainer<'a> {
    meters: &'a [Meter],
    /// Selectors by what they fetch, with the first node that does.
    fetched: HashMap<String, usize>,
}

impl Explainer<'_> {
    fn node(&mut self, node: &Node) -> PlanNode {
        let (operator, detail) = self.described(node);
        let children: Vec<PlanNode> = node.children().into_iter().map(|child| self.node(child)).collect();
        PlanNode { id: node.id, operator, detail, measured: self.measured(node), children }
    }

    fn described(&mut self, node: &Node) -> (&'static str, String) {
        match &node.kind {
            NodeKind::Number(value) => ("number", print_float(*value)),
            NodeKind::Folded { value, .. } => ("number", format!("{} folded", print_float(*value))),
            NodeKind::Text(text) => ("text", model::quote::quote(&text.value)),
            NodeKind::Select(select) => ("select", self.select(node.id, select, "")),
            NodeKind::Range(range) => ("select", self.select(node.id, &range.select, &length(range.range))),
            NodeKind::Subquery(subquery) => ("subquery", subquery_detail(subquery)),
            NodeKind::StepInvariant(_) => ("once", "the same at every step".to_owned()),
            NodeKind::Call { function, .. } => {
                let over_range = node.children().iter().any(|child| child.value_type == ValueType::Matrix);
                (if over_range { "window" } else { "call" }, function.name.to_owned())
            }
            NodeKind::Aggregate(aggregate) => ("aggregate", aggregate_detail(aggregate)),
            NodeKind::Binary(binary) => binary_detail(binary),
            NodeKind::Negate(_) => ("negate", String::new()),
        }
    }

    fn select(&mut self, id: usize, select: &Select, range: &str) -> String {
        let list = |matchers: &[Matcher]| matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(",");
        let mut detail = format!("{{{}}}", list(&select.matchers));
        if !range.is_empty() {
            detail.push_str(&format!("[{range}]"));
        }
        detail.push_str(match select.extension {
            Extension::None => "",
            Extension::Anchored => " anchored",
            Extension::Smoothed => " smoothed",
        });
        detail.push_str(&shift(select.at, select.offset));
        if select.totals_only {
            detail.push_str(" without buckets");
        }
        if !select.pushed.is_empty() {
            detail.push_str(&format!(" if {{{}}} unless counted", list(&select.pushed)));
        }
        match self.fetched.get(&detail) {
            Some(first) => detail.push_str(&format!(" fetched with #{first}")),
            None => {
                self.fetched.insert(detail.clone(), id);
            }
        }
        if let Some(cut) = &select.cut {
            let names: Vec<&str> =
                cut.names.iter().map(String::as_str).filter(|n| !METADATA_LABELS.contains(n)).collect();
            detail.push_str(&format!(" labels ({})", names.join(", ")));
        }
        detail
    }

    fn measured(&self, node: &Node) -> Option<Measured> {
        let meter = self.meters.get(node.id)?;
        let nanos = |node: &Node| self.meters.get(node.id).map_or(0, |m| m.nanos.load(Ordering::Relaxed));
        let below: u64 = node.children().into_iter().map(nanos).sum();
        Some(Measured {
            series: meter.series.load(Ordering::Relaxed),
            points: meter.points(),
            bytes: meter.bytes.load(Ordering::Relaxed),
            samples: meter.loads().seen,
            nanos: nanos(node).saturating_sub(below),
        })
    }
}

fn length(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", Duration::from_millis(ms.saturating_abs()))
}

fn shift(at: Option<i64>, offset: i64) -> String {
    let at = at.map_or_else(String::new, |at| format!(" @ {:.3}", at as f64 / 1000.0));
    if offset == 0 { at } else { format!("{at} offset {}", length(offset)) }
}

fn subquery_detail(subquery: &Subquery) -> String {
    let step = subquery.step.map_or_else(String::new, length);
    format!("[{}:{step}]{}", length(subquery.range), shift(subquery.at, subquery.offset))
}

fn aggregate_detail(aggregate: &Aggregate) -> String {
    let word = if aggregate.without { "without" } else { "by" };
    format!("{} {word} ({})", aggregate.op.as_str(), aggregate.grouping.join(", "))
}

fn binary_detail(binary: &Binary) -> (&'static str, String) {
    let mut detail = binary.op.as_str().to_owned();
    if binary.return_bool {
        detail.push_str(" bool");
    }
    let scalars = [&binary.lhs, &binary.rhs].iter().filter(|side| side.value_type == ValueType::Scalar).count();
    if scalars > 0 {
        return (if scalars == 2 { "scalar" } else { "with scalar" }, detail);
    }
    let matching = &binary.matching;
    let word = if matching.on { "on" } else { "ignoring" };
    detail.push_str(&format!(" {word} ({})", matching.labels.join(", ")));
    match matching.card {
        Cardinality::ManyToOne => detail.push_str(&format!(" group_left ({})", matching.include.join(", "))),
        Cardinality::OneToMany => detail.push_str(&format!(" group_right ({})", matching.include.join(", "))),
        Cardinality::OneToOne | Cardinality::ManyToMany => {}
    }
    if binary.either_held {
        detail.push_str(", the side of fewer series held");
    }
    detail.push_str(match binary.skippable {
        (false, false) => "",
        (true, false) => ", left skipped if right is empty unless counted",
        (false, true) => ", right skipped if left is empty unless counted",
        (true, true) => ", the side of fewer series first, the other skipped if it is empty unless counted",
    });
    (if binary.op.is_set() { "set" } else { "join" }, detail)
}

impl PlanNode {
    /// As JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.push_json(&mut out);
        out
    }

    fn push_json(&self, out: &mut String) {
        let mut object = Object::new(out)
            .number("id", self.id)
            .with("operator", |out| push_string(out, self.operator))
            .text("detail", &self.detail);
        if let Some(measured) = &self.measured {
            object = object
                .number("series", measured.series)
                .number("points", measured.points)
                .number("bytes", measured.bytes)
                .number("samples", measured.samples)
                .number("seconds", print_float(measured.nanos as f64 / 1e9));
        }
        object.list("children", &self.children, |out, child| child.push_json(out)).end();
    }

    fn write(&self, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{}#{} {}", "  ".repeat(depth), self.id, self.operator)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        if let Some(measured) = &self.measured {
            let Measured { series, points, bytes, samples, nanos } = measured;
            write!(
                f,
                "  ({series} series, {points} points, {bytes} bytes, {samples} samples, {} ms)",
                nanos / 1_000_000
            )?;
        }
        writeln!(f)?;
        self.children.iter().try_for_each(|child| child.write(f, depth + 1))
    }
}

/// One line for each part, those it works on below it and indented.
impl Display for PlanNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

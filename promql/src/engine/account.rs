//! How many samples upstream's engine would hold, at most, and how many it would count: reckoned from what every node
//! of the plan gave and looked at.
//!
//! Upstream evaluates node by node, holds each result whole, and where it goes step by step counts what it takes of its
//! inputs for a step once more, and the outputs so far. This
//! engine holds far less; but its limit and its statistics are to be the same, so that a query is refused by both or by
//! neither. Matchers pushed down are the one difference: what is not read is not counted.

use crate::ast::{AggregateOp, Extension, ValueType};
use crate::exec::meter::{Loads, Meter, StepCounts};
use crate::exec::{Settings, inner_steps};
use crate::function::Apply;
use crate::plan::{Node, NodeKind, Plan, Subquery};
use crate::value::Steps;

/// What a query took, by upstream's reckoning.
pub(super) struct Account<'a> {
    meters: &'a [Meter],
    settings: Settings,
    peak: u64,
}

/// For each node of a plan, whether its result must be counted step by step: operators that upstream evaluates step by
/// step, and what they work on.
pub(super) fn stepwise(plan: &Plan) -> Vec<bool> {
    let mut marked = vec![false; plan.nodes];
    mark(&plan.root, &mut marked);
    marked
}

fn mark(node: &Node, marked: &mut [bool]) {
    let inputs: Vec<&Node> = if goes_by_step(node) { node.children() } else { Vec::new() };
    let itself = (!inputs.is_empty()).then_some(node);
    for node in inputs.into_iter().chain(itself).filter(|node| node.value_type == ValueType::Vector) {
        marked[node.id] = true;
    }
    node.children().into_iter().for_each(|child| mark(child, marked));
}

fn goes_by_step(node: &Node) -> bool {
    let of_selector = |args: &[Node]| matches!(args, [Node { kind: NodeKind::Select(_), .. }]);
    match &node.kind {
        NodeKind::Binary(_) => true,
        NodeKind::Aggregate(aggregate) => aggregate.op == AggregateOp::CountValues,
        NodeKind::Call { function, args } => match function.apply {
            Apply::Window(_) | Apply::AbsentOverTime | Apply::LabelReplace | Apply::LabelJoin | Apply::Info => false,
            Apply::Timestamp | Apply::StartTimestamp => !of_selector(args),
            _ => true,
        },
        _ => false,
    }
}

/// Samples looked at by a part of a plan.
#[derive(Debug, Default, Clone)]
pub(super) struct Counted {
    /// Each as often as a window held it.
    pub(super) seen: u64,
    /// Each once.
    pub(super) read: u64,
    /// The same for each step, if that was asked for.
    pub(super) seen_per_step: Vec<u64>,
    pub(super) read_per_step: Vec<u64>,
}

impl<'a> Account<'a> {
    pub(super) fn new(meters: &'a [Meter], settings: Settings) -> Self {
        Self { meters, settings, peak: 0 }
    }

    /// The most samples held at a time.
    pub(super) fn peak(mut self, root: &Node, steps: Steps) -> u64 {
        self.held(root, steps, 0);
        self.peak
    }

    fn reach(&mut self, held: u64) -> u64 {
        self.peak = self.peak.max(held);
        held
    }

    fn loads(&self, node: &Node) -> Loads {
        self.meters.get(node.id).map(|meter| meter.loads().clone()).unwrap_or_default()
    }

    /// Points of the node's result.
    fn points(&self, node: &Node, steps: Steps) -> u64 {
        match node.value_type {
            ValueType::Scalar => steps.count as u64,
            _ => self.meters.get(node.id).map_or(0, Meter::points),
        }
    }

    /// How many samples are held after the node, if `base` were before.
    fn held(&mut self, node: &Node, steps: Steps, base: u64) -> u64 {
        let points = self.points(node, steps);
        match &node.kind {
            NodeKind::Text(_) => base,
            NodeKind::Number(_) => self.reach(base + steps.count as u64),
            NodeKind::Folded { original, .. } => self.held(original, steps, base),
            NodeKind::Select(select) if select.extension == Extension::Smoothed => base,
            NodeKind::Select(_) => self.reach(base + points),
            NodeKind::Range(_) => {
                let out = self.loads(node).out;
                self.reach(base + out)
            }
            NodeKind::Subquery(subquery) => self.subquery(subquery, steps, base),
            NodeKind::StepInvariant(child) => {
                let once = Steps::once(steps.start);
                let held = self.held(child, once, base);
                if matches!(child.kind, NodeKind::Range(_) | NodeKind::Subquery(_)) {
                    return held;
                }
                let copies = self.points(child, once) * (steps.count.saturating_sub(1)) as u64;
                self.reach(held + copies)
            }
            NodeKind::Negate(child) => self.held(child, steps, base),
            NodeKind::Call { function, args } => self.call(node, function.apply, args, steps, base),
            NodeKind::Aggregate(aggregate) => {
                let param = aggregate.param.iter().filter(|_| aggregate.op != AggregateOp::CountValues);
                let with_param = param.fold(base, |held, param| self.held(param, steps, held));
                let held = self.held(&aggregate.child, steps, with_param);
                if aggregate.op == AggregateOp::CountValues {
                    self.step_by_step(node, steps, held);
                }
                self.reach(base + points)
            }
            NodeKind::Binary(binary) => {
                let sides = self.held(&binary.lhs, steps, base);
                let sides = self.held(&binary.rhs, steps, sides);
                self.step_by_step(node, steps, sides);
                base + points
            }
        }
    }

    fn subquery(&mut self, subquery: &Subquery, steps: Steps, base: u64) -> u64 {
        self.held(&subquery.child, inner_steps(self.settings, subquery, steps), base)
    }

    fn call(&mut self, node: &Node, apply: Apply, args: &[Node], steps: Steps, base: u64) -> u64 {
        let points = self.points(node, steps);
        match (apply, args) {
            (Apply::Window(_) | Apply::AbsentOverTime, _) => self.window(node, args, steps, base),
            (Apply::LabelReplace | Apply::LabelJoin, [child, ..]) => self.held(child, steps, base),
            (Apply::Timestamp | Apply::StartTimestamp, [Node { kind: NodeKind::Select(_), .. }]) => {
                // The samples of a step count twice while it is worked on.
                let mut before = base;
                for at_step in self.loads(&args[0]).seen_per_step {
                    self.reach(before + 2 * at_step);
                    before += at_step;
                }
                base + points
            }
            (Apply::Info, [child, ..]) => {
                let held = self.held(child, steps, base) + self.loads(node).seen;
                self.reach(held + points)
            }
            _ => {
                let held = args.iter().fold(base, |held, arg| self.held(arg, steps, held));
                self.step_by_step(node, steps, held);
                base + points
            }
        }
    }

    /// On top of what is held, at each step the inputs of that step and the outputs up to it.
    fn step_by_step(&mut self, node: &Node, steps: Steps, held: u64) {
        let of = |node: &Node| self.meters.get(node.id).map(|meter| meter.steps().clone()).unwrap_or_default();
        let vectors = node.children().into_iter().filter(|child| child.value_type == ValueType::Vector);
        let inputs: Vec<StepCounts> = vectors.map(of).collect();
        let numbers = node.children().iter().filter(|child| child.value_type == ValueType::Scalar).count() as u64;
        let output = (node.value_type != ValueType::Scalar).then(|| of(node));
        let mut made = 0;
        for i in 0..steps.count {
            made += output.as_ref().map_or(1, |output| output.samples_at(i));
            let taken = inputs.iter().map(|input| input.series.get(i).map_or(0, |count| u64::from(*count)));
            let taken = taken.sum::<u64>() + numbers;
            self.reach(held + made + taken);
        }
    }

    /// A function of ranges: the windows of one series after the other, and the points so far.
    fn window(&mut self, node: &Node, args: &[Node], steps: Steps, base: u64) -> u64 {
        let mut held = base;
        let mut range = 0;
        for arg in args {
            if let NodeKind::Subquery(subquery) = &arg.kind {
                held = self.subquery(subquery, steps, held);
                range = held - base;
            }
        }
        let others = args.iter().filter(|arg| arg.value_type != ValueType::Matrix);
        held = others.fold(held, |held, arg| self.held(arg, steps, held));
        let loads = self.loads(node);
        self.reach(held + loads.peak);
        held + loads.out - range.min(held)
    }

    /// The samples looked at.
    pub(super) fn counted(&self, node: &Node, steps: Steps) -> Counted {
        let loads = self.loads(node);
        let mut counted = match &node.kind {
            NodeKind::Folded { .. } => Counted::default(),
            NodeKind::Subquery(subquery) => self.whole_subquery(subquery, steps),
            NodeKind::StepInvariant(child) => self.repeated(child, steps),
            NodeKind::Call { function, args } if matches!(function.apply, Apply::Window(_) | Apply::AbsentOverTime) => {
                let mut counted = Counted::default();
                for arg in args {
                    let of_arg = match &arg.kind {
                        NodeKind::Range(_) => Counted::default(),
                        NodeKind::Subquery(subquery) => self.read_below(subquery, steps),
                        _ => self.counted(arg, steps),
                    };
                    counted.merge(of_arg);
                }
                counted
            }
            _ => {
                let mut counted = Counted::default();
                node.children().into_iter().for_each(|child| counted.merge(self.counted(child, steps)));
                counted
            }
        };
        let over_subquery = node.children().iter().any(|child| matches!(child.kind, NodeKind::Subquery(_)));
        let selects = matches!(node.kind, NodeKind::Select(_));
        let read = if over_subquery { 0 } else { loads.read };
        let read_per_step = match (over_subquery, selects) {
            (true, _) => Vec::new(),
            (false, true) => loads.seen_per_step.clone(),
            (false, false) => loads.read_per_step,
        };
        counted.merge(Counted { seen: loads.seen, read, seen_per_step: loads.seen_per_step, read_per_step });
        counted
    }

    /// A subquery that is the result: all it saw counts for the last step.
    fn whole_subquery(&self, subquery: &Subquery, steps: Steps) -> Counted {
        let inner = self.counted(&subquery.child, inner_steps(self.settings, subquery, steps));
        let per_step = |n: u64| if self.settings.per_step { vec![n] } else { Vec::new() };
        Counted {
            seen: inner.seen,
            read: inner.read,
            seen_per_step: per_step(inner.seen),
            read_per_step: per_step(inner.read),
        }
    }

    /// What stands below a function of a subquery: its windows count what they hold, so only reading counts here, for
    /// the first step that uses it. What falls between the windows is left out.
    fn read_below(&self, subquery: &Subquery, steps: Steps) -> Counted {
        let inner_steps = inner_steps(self.settings, subquery, steps);
        let inner = self.counted(&subquery.child, inner_steps);
        if inner.read_per_step.is_empty() || steps.count <= 1 {
            let read_per_step = if self.settings.per_step { vec![inner.read] } else { Vec::new() };
            return Counted { read: inner.read, read_per_step, ..Counted::default() };
        }
        let mut counted = Counted { read_per_step: vec![0; steps.count], ..Counted::default() };
        for (k, read) in inner.read_per_step.iter().enumerate() {
            let time = inner_steps.at(k) + subquery.offset;
            let behind = (time - steps.start).max(0);
            let step = ((behind + steps.interval - 1) / steps.interval) as usize;
            let step = step.min(steps.count - 1);
            if time > steps.at(step) - subquery.range {
                counted.read += read;
                counted.read_per_step[step] += read;
            }
        }
        counted
    }

    /// A part that is evaluated once: what it saw counts at every step, what it read at the first.
    fn repeated(&self, child: &Node, steps: Steps) -> Counted {
        let once = self.counted(child, Steps::once(steps.start));
        let (mut seen_per_step, mut read_per_step) = (Vec::new(), Vec::new());
        if self.settings.per_step {
            seen_per_step = vec![once.seen; steps.count];
            read_per_step = vec![once.read];
        }
        Counted { seen: once.seen * steps.count as u64, read: once.read, seen_per_step, read_per_step }
    }
}

impl Counted {
    fn merge(&mut self, other: Self) {
        self.seen += other.seen;
        self.read += other.read;
        merge_steps(&mut self.seen_per_step, other.seen_per_step);
        merge_steps(&mut self.read_per_step, other.read_per_step);
    }
}

fn merge_steps(into: &mut Vec<u64>, other: Vec<u64>) {
    if into.len() < other.len() {
        into.resize(other.len(), 0);
    }
    into.iter_mut().zip(other).for_each(|(sum, n)| *sum += n);
}

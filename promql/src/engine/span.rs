//! Which span of time a plan needs from storage.

use crate::ast::Extension;
use crate::exec::{Settings, info_select, inner_steps, selector_range};
use crate::function::Apply;
use crate::plan::{Node, NodeKind, Select};
use crate::value::Steps;

/// First and last millisecond that any selector looks at; `None` without selectors.
pub(super) fn needed(node: &Node, steps: Steps, settings: Settings) -> Option<(i64, i64)> {
    let here = |node: &Node| needed(node, steps, settings);
    match &node.kind {
        NodeKind::Number(_) | NodeKind::Folded { .. } | NodeKind::Text(_) => None,
        NodeKind::Select(select) => {
            let after = if select.extension == Extension::Smoothed { settings.lookback } else { 0 };
            Some(selector_range(select, steps, settings.lookback, after))
        }
        NodeKind::Range(range) => Some(of_range(&range.select, range.range, steps, settings)),
        NodeKind::Subquery(subquery) => needed(&subquery.child, inner_steps(settings, subquery, steps), settings),
        NodeKind::StepInvariant(child) => needed(child, Steps::once(steps.start), settings),
        NodeKind::Negate(child) => here(child),
        NodeKind::Call { function, args } => {
            let info = matches!(function.apply, Apply::Info)
                .then(|| selector_range(&info_select(args), steps, settings.lookback, 0));
            args.iter().map(here).fold(info, join)
        }
        NodeKind::Aggregate(aggregate) => join(here(&aggregate.child), aggregate.param.as_ref().and_then(here)),
        NodeKind::Binary(binary) => join(here(&binary.lhs), here(&binary.rhs)),
    }
}

fn of_range(select: &Select, range: i64, steps: Steps, settings: Settings) -> (i64, i64) {
    let (before, after) = match select.extension {
        Extension::None => (0, 0),
        Extension::Anchored => (settings.lookback, 0),
        Extension::Smoothed => (settings.lookback, settings.lookback),
    };
    selector_range(select, steps, range.saturating_add(before), after)
}

fn join(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

//! Syntax tree to text: one line, in upstream's canonical form, which parses back to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use model::duration::Duration;
use model::labels::{METRIC_NAME, print_name};
use model::matcher::MatchOp;
use model::number::{print_float, print_float_general};
use model::quote::quote;

use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, DurationExpr, DurationNode, Expr, Extension, Length, Matching,
    NumberLiteral, RangeSelector, Shift, Subquery, VectorSelector,
};

/// The expression as one line.
pub fn print(expr: &Expr) -> String {
    expr.to_string()
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(number) => number.fmt(f),
            Expr::String(text) => match &text.bytes {
                Some(literal) => f.write_str(literal),
                None => f.write_str(&quote(&text.value)),
            },
            Expr::Selector(selector) => selector.fmt(f),
            Expr::Range(range) => range.fmt(f),
            Expr::Subquery(subquery) => subquery.fmt(f),
            Expr::Call(call) => call.fmt(f),
            Expr::Aggregate(aggregate) => aggregate.fmt(f),
            Expr::Binary(binary) => binary.fmt(f),
            Expr::Unary(unary) => write!(f, "{}{}", if unary.negative { "-" } else { "+" }, unary.expr),
            Expr::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.duration {
            return f.write_str(&print_float(self.value));
        }
        if self.value < 0.0 {
            f.write_char('-')?;
        }
        f.write_str(&print_milliseconds((self.value.abs() * 1000.0).round() as i64))
    }
}

/// A duration that may be negative.
fn print_milliseconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", Duration::from_millis(ms.saturating_abs()))
}

fn write_list(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    for (i, label) in labels.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{}", print_name(label))?;
    }
    Ok(())
}

/// An aggregation up to its parenthesis.
pub(crate) struct AggregateHead<'a>(pub(crate) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Aggregate { op, without, grouping, .. } = self.0;
        f.write_str(op.as_str())?;
        if *without || !grouping.is_empty() {
            f.write_str(if *without { " without (" } else { " by (" })?;
            write_list(f, grouping)?;
            f.write_str(") ")?;
        }
        Ok(())
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", AggregateHead(self))?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

/// A binary operator with its modifiers.
pub(crate) struct BinaryHead<'a>(pub(crate) &'a Binary);

impl Display for BinaryHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        match self.0.vector_matching() {
            Some(matching) => matching.fmt(f),
            None => Ok(()),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.lhs, BinaryHead(self), self.rhs)
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let grouped = match self.card {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !self.labels.is_empty() || self.on || grouped.is_some() {
            f.write_str(if self.on { " on (" } else { " ignoring (" })?;
            write_list(f, &self.labels)?;
            f.write_char(')')?;
        }
        if let Some(side) = grouped {
            write!(f, " group_{side} (")?;
            write_list(f, &self.include)?;
            f.write_char(')')?;
        }
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({})", print_float_general(left)),
            (left, right) => {
                if let Some(value) = left {
                    write!(f, " fill_left ({})", print_float_general(value))?;
                }
                if let Some(value) = right {
                    write!(f, " fill_right ({})", print_float_general(value))?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (i, arg) in self.args.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{arg}")?;
        }
        f.write_char(')')
    }
}

impl VectorSelector {
    /// The name and the matchers in braces, sorted as text.
    fn write_bare(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown_by_name = |name: &str, op: MatchOp, value: &str| {
            name == METRIC_NAME && op == MatchOp::Equal && value == self.name && !value.is_empty()
        };
        let mut matchers: Vec<String> = self
            .matchers
            .iter()
            .filter(|m| !shown_by_name(m.name(), m.op(), m.value()))
            .map(ToString::to_string)
            .collect();
        matchers.sort();
        f.write_str(&self.name)?;
        if !matchers.is_empty() {
            write!(f, "{{{}}}", matchers.join(","))?;
        } else if self.name.is_empty() {
            f.write_str("{}")?;
        }
        Ok(())
    }

    fn extension_text(&self) -> &'static str {
        match self.extension {
            Extension::None => "",
            Extension::Anchored => " anchored",
            Extension::Smoothed => " smoothed",
        }
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_bare(f)?;
        write!(f, "{}{}{}", AtText(&self.shift), self.extension_text(), OffsetText(&self.shift))
    }
}

impl Display for RangeSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        selector.write_bare(f)?;
        let shift = &selector.shift;
        write!(f, "[{}]{}{}{}", self.range, selector.extension_text(), AtText(shift), OffsetText(shift))
    }
}

/// What makes a subquery of an expression: its range, step and modifiers.
pub(crate) struct SubqueryTail<'a>(pub(crate) &'a Subquery);

impl Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Subquery { range, step, shift, .. } = self.0;
        write!(f, "[{range}:")?;
        if let Some(step) = step {
            step.fmt(f)?;
        }
        write!(f, "]{}{}", AtText(shift), OffsetText(shift))
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.expr, SubqueryTail(self))
    }
}

struct AtText<'a>(&'a Shift);

impl Display for AtText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.at {
            Some(At::Timestamp(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
            Some(At::Start) => f.write_str(" @ start()"),
            Some(At::End) => f.write_str(" @ end()"),
            None => Ok(()),
        }
    }
}

struct OffsetText<'a>(&'a Shift);

impl Display for OffsetText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.offset {
            // An offset of nothing is not shown.
            Some(Length::Fixed(0)) | None => Ok(()),
            Some(offset) => write!(f, " offset {offset}"),
        }
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Length::Fixed(ms) => f.write_str(&print_milliseconds(*ms)),
            Length::Computed(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.parenthesized {
            f.write_char('(')?;
        }
        match &self.node {
            DurationNode::Literal(number) => number.fmt(f)?,
            DurationNode::Step => f.write_str("step()")?,
            DurationNode::QueryRange => f.write_str("range()")?,
            DurationNode::Minus(inner) => write!(f, "-{inner}")?,
            DurationNode::MinOf(a, b) => write!(f, "min_of({a}, {b})")?,
            DurationNode::MaxOf(a, b) => write!(f, "max_of({a}, {b})")?,
            DurationNode::Arithmetic(op, a, b) => write!(f, "{a} {} {b}", op.as_str())?,
        }
        if self.parenthesized {
            f.write_char(')')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Options, parse_with};

    fn check(text: &str, expected: &str) {
        let parse = |text: &str| parse_with(text, &Options::all()).unwrap();
        let printed = print(&parse(text));
        assert_eq!(printed, expected, "{text}");
        assert_eq!(print(&parse(&printed)), printed, "a fixed point");
    }

    #[test]
    fn prints_the_canonical_form() {
        for (text, expected) in [
            ("sum(rate(a{b='c'}[5m])) BY (job,)", r#"sum by (job) (rate(a{b="c"}[5m]))"#),
            ("sum without () (a)", "sum without () (a)"),
            ("a + on(b,\"c.d\") group_left(x) c", "a + on (b, \"c.d\") group_left (x) c"),
            ("a / ignoring(x) b", "a / ignoring (x) b"),
            ("a == bool fill(0) b", "a == bool fill (0) b"),
            ("{\"my.metric\", z=~'.', a!=''}", r#"{__name__="my.metric",a!="",z=~"."}"#),
            ("a[300] @ 1.5 offset -7m", "a[5m] @ 1.500 offset -7m"),
            ("max_over_time(rate(a[5m])[1h:] @ end())", "max_over_time(rate(a[5m])[1h:] @ end())"),
            ("-a ^ 2 * -1", "-a ^ 2 * -1"),
            ("(1 + 2) * 1h30m", "(1 + 2) * 1h30m"),
            ("foo offset -min_of(10s, +max_of(step() ^ 2, 2))", "foo offset -min_of(10s, max_of(step() ^ 2, 2))"),
            ("foo offset 0s", "foo"),
            ("foo[(5m) + 1]", "foo[(5m) + 1]"),
            ("a{b=\"c\"}[5m] smoothed @ start() offset 1m", "a{b=\"c\"}[5m] smoothed @ start() offset 1m"),
        ] {
            check(text, expected);
        }
    }
}

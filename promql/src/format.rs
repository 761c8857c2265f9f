//! Syntax tree to text on many lines: what is too long for one is split at its operators and arguments, as upstream's
//! `format_query` and `promtool promql format` do.

use crate::ast::{Aggregate, Binary, Call, Expr};
use crate::printer::{AggregateHead, BinaryHead, SubqueryTail};

/// Whatever prints longer than this, in bytes, is split.
pub const LINE_BYTES_MAX: usize = 100;

const INDENT: &str = "  ";

/// The expression on as many lines as it needs.
pub fn format(expr: &Expr) -> String {
    Formatter { line_bytes: LINE_BYTES_MAX }.expr(expr, 0)
}

struct Formatter {
    line_bytes: usize,
}

impl Formatter {
    /// The expression, every line of it indented by `level` unless that is 0.
    fn expr(&self, expr: &Expr, level: usize) -> String {
        let indent = INDENT.repeat(level);
        // A sign is kept at what it belongs to, however long that is.
        if let Expr::Unary(unary) = expr {
            let operand = self.expr(&unary.expr, level);
            return format!("{indent}{}{}", if unary.negative { "-" } else { "+" }, operand.trim());
        }
        let line = expr.to_string();
        let fits = line.len() <= self.line_bytes;
        match expr {
            // Upstream leaves the indentation of a subquery to what stands in it, even if nothing of that is split.
            Expr::Subquery(_) if fits => line,
            _ if fits => indent + &line,
            Expr::Subquery(subquery) => format!("{}{}", self.expr(&subquery.expr, level), SubqueryTail(subquery)),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, level),
            Expr::Binary(binary) => self.binary(binary, level),
            Expr::Call(call) => self.call(call, level),
            Expr::Paren(paren) => format!("{indent}(\n{}\n{indent})", self.expr(&paren.expr, level + 1)),
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Range(_) | Expr::Unary(_) => indent + &line,
        }
    }

    fn aggregate(&self, aggregate: &Aggregate, level: usize) -> String {
        let indent = INDENT.repeat(level);
        let mut out = format!("{indent}{}(\n", AggregateHead(aggregate));
        if let Some(param) = &aggregate.param {
            out.push_str(&self.expr(param, level + 1));
            out.push_str(",\n");
        }
        out.push_str(&self.expr(&aggregate.expr, level + 1));
        out + "\n" + &indent + ")"
    }

    fn binary(&self, binary: &Binary, level: usize) -> String {
        let (lhs, rhs) = (self.expr(&binary.lhs, level + 1), self.expr(&binary.rhs, level + 1));
        format!("{lhs}\n{}{}\n{rhs}", INDENT.repeat(level), BinaryHead(binary))
    }

    fn call(&self, call: &Call, level: usize) -> String {
        let indent = INDENT.repeat(level);
        let args: Vec<String> = call.args.iter().map(|arg| self.expr(arg, level + 1)).collect();
        format!("{indent}{}(\n{}\n{indent})", call.function.name, args.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Options, parse_with};

    /// With lines of at most 10 bytes, so that little texts show it.
    fn check(text: &str, expected: &str) {
        let parse = |text: &str| parse_with(text, &Options::all()).unwrap();
        let expr = parse(text);
        let narrow = Formatter { line_bytes: 10 };
        let formatted = narrow.expr(&expr, 0);
        assert_eq!(formatted, expected, "{text}");
        assert_eq!(parse(&formatted).to_string(), expr.to_string(), "the same expression");
        assert_eq!(narrow.expr(&parse(&formatted), 0), expected, "a fixed point");
    }

    #[test]
    fn aggregations_and_calls_split_at_their_arguments() {
        check("sum(foo)", "sum(foo)");
        check("sum by (a) (job_name)", "sum by (a) (\n  job_name\n)");
        check("topk(10, job_name_long)", "topk(\n  10,\n  job_name_long\n)");
        check("rate(foo[1m])", "rate(\n  foo[1m]\n)");
        check(
            "label_replace(up, \"foo\", \"$1\", \"s\", \"(.*)\")",
            "label_replace(\n  up,\n  \"foo\",\n  \"$1\",\n  \"s\",\n  \"(.*)\"\n)",
        );
        check("-rate(foo[1m])", "-rate(\n  foo[1m]\n)");
    }

    #[test]
    fn operators_stand_on_lines_of_their_own() {
        check("a+b", "a + b");
        check("a == bool 1", "  a\n== bool\n  1");
        check("foo + baar + foo_3", "  foo + baar\n+\n  foo_3");
        check("a + ignoring(job) b", "  a\n+ ignoring (job)\n  b");
        check("(foo_1 + foo_2)", "(\n    foo_1\n  +\n    foo_2\n)");
        check("((foo_long))", "(\n  (foo_long)\n)");
        check("foo_1 + on(x) group_left foo_2 + fill_left(0) b", {
            "    foo_1\n  + on (x) group_left ()\n    foo_2\n+ fill_left (0)\n  b"
        });
    }

    #[test]
    fn subqueries_split_inside() {
        check(
            "max_over_time(rate(foo[1m])[1m:] @ start() offset 1m)",
            "max_over_time(\n  rate(\n    foo[1m]\n  )[1m:] @ start() offset 1m\n)",
        );
        // Short enough for a line, but not its parent: upstream does not indent it.
        check("sum_over_time(a[1m:])", "sum_over_time(\na[1m:]\n)");
    }

    #[test]
    fn lines_may_be_a_hundred_bytes_long() {
        let name = "m".repeat(LINE_BYTES_MAX - "sum()".len());
        let parse = |text: String| parse_with(&text, &Options::all()).unwrap();
        assert_eq!(format(&parse(format!("sum({name})"))), format!("sum({name})"));
        assert_eq!(format(&parse(format!("sum({name}m)"))), format!("sum(\n  {name}m\n)"));
    }
}

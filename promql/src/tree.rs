//! Syntax tree to JSON, as upstream's `/api/v1/parse_query` gives it: keys sorted, `<`, `>` and `&` escaped.

use model::matcher::Matcher;
use model::number::print_float;

use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, DurationExpr, DurationNode, Expr, Extension, Length, NumberLiteral,
    RangeSelector, Shift, Subquery, ValueType, VectorSelector,
};
use crate::function::Variadic;
use crate::json::Object;

/// The expression as a JSON object.
pub fn to_json(expr: &Expr) -> String {
    let mut out = String::new();
    push_expr(&mut out, expr);
    out
}

fn push_expr(out: &mut String, expr: &Expr) {
    match expr {
        Expr::Number(number) => {
            Object::new(out).text("type", "numberLiteral").text("val", &print_float(number.value)).end();
        }
        Expr::String(text) => Object::new(out).text("type", "stringLiteral").text("val", &text.value).end(),
        Expr::Selector(selector) => push_selector(out, selector),
        Expr::Range(range) => push_range(out, range),
        Expr::Subquery(subquery) => push_subquery(out, subquery),
        Expr::Call(call) => push_call(out, call),
        Expr::Aggregate(aggregate) => push_aggregate(out, aggregate),
        Expr::Binary(binary) => push_binary(out, binary),
        Expr::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            Object::new(out)
                .with("expr", |out| push_expr(out, &unary.expr))
                .text("op", op)
                .text("type", "unaryExpr")
                .end();
        }
        Expr::Paren(paren) => {
            Object::new(out).with("expr", |out| push_expr(out, &paren.expr)).text("type", "parenExpr").end();
        }
    }
}

fn push_aggregate(out: &mut String, aggregate: &Aggregate) {
    Object::new(out)
        .with("expr", |out| push_expr(out, &aggregate.expr))
        .texts("grouping", &aggregate.grouping)
        .text("op", aggregate.op.as_str())
        .optional("param", aggregate.param.as_ref(), push_expr)
        .text("type", "aggregation")
        .flag("without", aggregate.without)
        .end();
}

fn push_binary(out: &mut String, binary: &Binary) {
    let push_float = |out: &mut String, value: &f64| match value.is_finite() {
        true => out.push_str(&print_float(*value)),
        false => out.push_str("null"),
    };
    Object::new(out)
        .flag("bool", binary.return_bool)
        .with("lhs", |out| push_expr(out, &binary.lhs))
        .optional("matching", binary.vector_matching(), |out, matching| {
            Object::new(out)
                .text("card", cardinality(matching.card))
                .with("fillValues", |out| {
                    Object::new(out)
                        .optional("lhs", matching.fill_left.as_ref(), push_float)
                        .optional("rhs", matching.fill_right.as_ref(), push_float)
                        .end();
                })
                .texts("include", &matching.include)
                .texts("labels", &matching.labels)
                .flag("on", matching.on)
                .end();
        })
        .text("op", binary.op.as_str())
        .with("rhs", |out| push_expr(out, &binary.rhs))
        .text("type", "binaryExpr")
        .end();
}

fn cardinality(card: Cardinality) -> &'static str {
    match card {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    }
}

fn push_call(out: &mut String, call: &Call) {
    let function = call.function;
    let variadic = match function.variadic {
        Variadic::No => 0,
        Variadic::UpTo(n) => n as i64,
        Variadic::Any => -1,
    };
    let types: Vec<&str> = function.args.iter().copied().map(ValueType::as_str).collect();
    Object::new(out)
        .list("args", &call.args, push_expr)
        .with("func", |out| {
            Object::new(out)
                .texts("argTypes", &types)
                .text("name", function.name)
                .text("returnType", function.returns.as_str())
                .number("variadic", variadic)
                .end();
        })
        .text("type", "call")
        .end();
}

fn push_selector(out: &mut String, selector: &VectorSelector) {
    let shift = &selector.shift;
    Object::new(out)
        .flag("anchored", selector.extension == Extension::Anchored)
        .list("matchers", &selector.matchers, push_matcher)
        .text("name", &selector.name)
        .number("offset", fixed(shift.offset.as_ref()))
        .optional("offsetExpr", computed(shift.offset.as_ref()), push_duration)
        .flag("smoothed", selector.extension == Extension::Smoothed)
        .optional("startOrEnd", start_or_end(shift), push_text)
        .optional("timestamp", timestamp(shift), push_integer)
        .text("type", "vectorSelector")
        .end();
}

fn push_range(out: &mut String, range: &RangeSelector) {
    let (selector, shift) = (&range.selector, &range.selector.shift);
    Object::new(out)
        .flag("anchored", selector.extension == Extension::Anchored)
        .list("matchers", &selector.matchers, push_matcher)
        .text("name", &selector.name)
        .number("offset", fixed(shift.offset.as_ref()))
        .optional("offsetExpr", computed(shift.offset.as_ref()), push_duration)
        .number("range", fixed(Some(&range.range)))
        .optional("rangeExpr", computed(Some(&range.range)), push_duration)
        .flag("smoothed", selector.extension == Extension::Smoothed)
        .optional("startOrEnd", start_or_end(shift), push_text)
        .optional("timestamp", timestamp(shift), push_integer)
        .text("type", "matrixSelector")
        .end();
}

fn push_subquery(out: &mut String, subquery: &Subquery) {
    let shift = &subquery.shift;
    Object::new(out)
        .with("expr", |out| push_expr(out, &subquery.expr))
        .number("offset", fixed(shift.offset.as_ref()))
        .optional("offsetExpr", computed(shift.offset.as_ref()), push_duration)
        .number("range", fixed(Some(&subquery.range)))
        .optional("rangeExpr", computed(Some(&subquery.range)), push_duration)
        .optional("startOrEnd", start_or_end(shift), push_text)
        .number("step", fixed(subquery.step.as_ref()))
        .optional("stepExpr", computed(subquery.step.as_ref()), push_duration)
        .optional("timestamp", timestamp(shift), push_integer)
        .text("type", "subquery")
        .end();
}

fn push_matcher(out: &mut String, matcher: &Matcher) {
    Object::new(out)
        .text("name", matcher.name())
        .text("type", matcher.op().as_str())
        .text("value", matcher.value())
        .end();
}

/// A length that is known, in milliseconds; 0 for others.
fn fixed(length: Option<&Length>) -> i64 {
    match length {
        Some(Length::Fixed(ms)) => *ms,
        Some(Length::Computed(_)) | None => 0,
    }
}

fn computed(length: Option<&Length>) -> Option<&DurationExpr> {
    match length {
        Some(Length::Computed(expr)) => Some(expr),
        Some(Length::Fixed(_)) | None => None,
    }
}

fn start_or_end(shift: &Shift) -> Option<&'static str> {
    match shift.at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        Some(At::Timestamp(_)) | None => None,
    }
}

fn timestamp(shift: &Shift) -> Option<i64> {
    match shift.at {
        Some(At::Timestamp(ms)) => Some(ms),
        Some(At::Start | At::End) | None => None,
    }
}

fn push_text(out: &mut String, text: &str) {
    crate::json::push_string(out, text);
}

fn push_integer(out: &mut String, number: i64) {
    out.push_str(&number.to_string());
}

/// A node of a duration expression. Upstream has no parentheses around a literal: it makes a sign of them.
fn push_duration(out: &mut String, expr: &DurationExpr) {
    let none: Option<&DurationExpr> = None;
    let mut node = |op: &str, lhs: Option<&DurationExpr>, rhs: Option<&DurationExpr>| {
        Object::new(out)
            .optional("lhs", lhs, push_duration)
            .text("op", op)
            .optional("rhs", rhs, push_duration)
            .text("type", "durationExpr")
            .flag("wrapped", expr.parenthesized)
            .end();
    };
    match &expr.node {
        DurationNode::Literal(number) if expr.parenthesized => {
            Object::new(out)
                .optional("lhs", none, push_duration)
                .text("op", "+")
                .with("rhs", |out| push_literal(out, number))
                .text("type", "durationExpr")
                .flag("wrapped", true)
                .end();
        }
        DurationNode::Literal(number) => push_literal(out, number),
        DurationNode::Step => node("step", None, None),
        DurationNode::QueryRange => node("range", None, None),
        DurationNode::Minus(inner) => node("-", None, Some(inner)),
        DurationNode::MinOf(a, b) => node("min_of", Some(a), Some(b)),
        DurationNode::MaxOf(a, b) => node("max_of", Some(a), Some(b)),
        DurationNode::Arithmetic(op, a, b) => node(op.as_str(), Some(a), Some(b)),
    }
}

fn push_literal(out: &mut String, number: &NumberLiteral) {
    Object::new(out)
        .flag("duration", number.duration)
        .text("type", "numberLiteral")
        .text("val", &print_float(number.value))
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Options, parse_with};

    fn check(text: &str, expected: &str) {
        assert_eq!(to_json(&parse_with(text, &Options::all()).unwrap()), expected, "{text}");
    }

    #[test]
    fn nodes_have_upstreams_keys() {
        check("-1.50", r#"{"type":"numberLiteral","val":"-1.5"}"#);
        check(
            "+(1)",
            r#"{"expr":{"expr":{"type":"numberLiteral","val":"1"},"type":"parenExpr"},"op":"+","type":"unaryExpr"}"#,
        );
        check("\"a<b\"", r#"{"type":"stringLiteral","val":"a\u003cb"}"#);
        check(
            "up{a=~\"b\"} @ start() offset -5m",
            concat!(
                r#"{"anchored":false,"matchers":[{"name":"a","type":"=~","value":"b"},"#,
                r#"{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":-300000,"offsetExpr":null,"#,
                r#""smoothed":false,"startOrEnd":"start","timestamp":null,"type":"vectorSelector"}"#
            ),
        );
        check(
            "rate(m[(5m)] @ 1.5)",
            concat!(
                r#"{"args":[{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"m"}],"name":"m","#,
                r#""offset":0,"offsetExpr":null,"range":0,"rangeExpr":{"lhs":null,"op":"+","#,
                r#""rhs":{"duration":true,"type":"numberLiteral","val":"300"},"type":"durationExpr","wrapped":true},"#,
                r#""smoothed":false,"startOrEnd":null,"timestamp":1500,"type":"matrixSelector"}],"#,
                r#""func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}"#
            ),
        );
    }

    #[test]
    fn operations_carry_their_matching() {
        let one = r#"{"type":"numberLiteral","val":"1"}"#;
        check(
            "1 + 1",
            &format!(r#"{{"bool":false,"lhs":{one},"matching":null,"op":"+","rhs":{one},"type":"binaryExpr"}}"#),
        );
        let json = |text| to_json(&parse_with(text, &Options::all()).unwrap());
        let matching = concat!(
            r#""matching":{"card":"many-to-one","fillValues":{"lhs":null,"rhs":2},"#,
            r#""include":["y"],"labels":["x"],"on":true},"op":"/""#
        );
        let found = json("a / on(x) group_left(y) fill_right(2) b");
        assert!(found.contains(matching), "{found}");
        let found = json("topk by (a) (2, m)");
        assert!(
            found.contains(r#""grouping":["a"],"op":"topk","param":{"type":"numberLiteral","val":"2"}"#),
            "{found}"
        );
    }
}

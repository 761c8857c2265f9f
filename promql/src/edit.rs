//! Changing an expression: label matchers set or deleted in all its selectors, as `promtool promql label-matchers` does.

use model::matcher::{MatchOp, Matcher};
use model::pattern::PatternError;

use crate::ast::{Expr, VectorSelector};

/// Sets a matcher in every selector: in the place of those for that label, or behind the others.
///
/// # Errors
/// If the value is to be a pattern and is none.
pub fn set_matcher(expr: &mut Expr, op: MatchOp, name: &str, value: &str) -> Result<(), PatternError> {
    let matcher = Matcher::new(name, op, value)?;
    each_selector(expr, &mut |selector| {
        let mut found = false;
        for present in selector.matchers.iter_mut().filter(|m| m.name() == name) {
            *present = matcher.clone();
            found = true;
        }
        if !found {
            selector.matchers.push(matcher.clone());
        }
    });
    Ok(())
}

/// Deletes the matchers for a label from every selector.
pub fn delete_matchers(expr: &mut Expr, name: &str) {
    each_selector(expr, &mut |selector| selector.matchers.retain(|m| m.name() != name));
}

fn each_selector(expr: &mut Expr, change: &mut dyn FnMut(&mut VectorSelector)) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Selector(selector) => change(selector),
        Expr::Range(range) => change(&mut range.selector),
        Expr::Subquery(subquery) => each_selector(&mut subquery.expr, change),
        Expr::Call(call) => call.args.iter_mut().for_each(|arg| each_selector(arg, change)),
        Expr::Aggregate(aggregate) => {
            each_selector(&mut aggregate.expr, change);
            if let Some(param) = &mut aggregate.param {
                each_selector(param, change);
            }
        }
        Expr::Binary(binary) => {
            each_selector(&mut binary.lhs, change);
            each_selector(&mut binary.rhs, change);
        }
        Expr::Unary(unary) => each_selector(&mut unary.expr, change),
        Expr::Paren(paren) => each_selector(&mut paren.expr, change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::format;
    use crate::parser::{Options, parse_with};

    fn check(text: &str, expected: &str, edit: impl FnOnce(&mut Expr)) {
        let mut expr = parse_with(text, &Options::all()).unwrap();
        edit(&mut expr);
        assert_eq!(format(&expr), expected, "{text}");
    }

    #[test]
    fn matchers_are_set_everywhere() {
        let set = |op, name: &'static str, value: &'static str| {
            move |expr: &mut Expr| set_matcher(expr, op, name, value).unwrap()
        };
        check("sum(a{x=\"1\"}) / rate(b[5m])", r#"sum(a{x!="2"}) / rate(b{x!="2"}[5m])"#, {
            set(MatchOp::NotEqual, "x", "2")
        });
        let deep = "topk(scalar(k), -max_over_time((a)[1h:]))";
        let everywhere = r#"topk(scalar(k{y=~"z"}), -max_over_time((a{y=~"z"})[1h:]))"#;
        check(deep, everywhere, set(MatchOp::Regex, "y", "z"));
        check("foo", r#"foo{__name__="bar"}"#, set(MatchOp::Equal, "__name__", "bar"));
        let mut expr = parse_with("a", &Options::all()).unwrap();
        assert!(set_matcher(&mut expr, MatchOp::Regex, "x", "(").is_err());
    }

    #[test]
    fn matchers_are_deleted_everywhere() {
        let delete = |expr: &mut Expr| delete_matchers(expr, "x");
        check("a{x=\"1\",y=\"2\",x!=\"3\"} + rate(b{x=\"1\"}[5m])", "a{y=\"2\"} + rate(b[5m])", delete);
    }
}

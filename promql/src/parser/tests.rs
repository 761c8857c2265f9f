//! Trees and faults of the parser, against what upstream's parser says.

use super::*;
use crate::ast::ValueType;

fn parsed(text: &str) -> Result<Expr, String> {
    parse_with(text, &Options::all()).map_err(|e| e.to_string())
}

fn check_fault(text: &str, expected: &str) {
    match parsed(text) {
        Ok(expr) => panic!("{text} parsed as {expr}"),
        Err(message) => assert_eq!(message, expected, "{text}"),
    }
}

#[test]
fn faults_of_syntax() {
    for (text, expected) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("# only", "1:1: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        ("1 /", "1:4: parse error: unexpected end of input"),
        ("foo ignoring(a) bar", "1:5: parse error: unexpected <ignoring>"),
        ("foo + group_left(baz) bar", "1:7: parse error: unexpected <group_left>"),
        ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        (
            "foo{a=\"b\" lol}",
            "1:11: parse error: unexpected identifier \"lol\" in label matching, expected \",\" or \"}\"",
        ),
        ("foo{,}", "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[5m] OFFSET",
            "1:15: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
        (
            "sum by test (some_metric)",
            "1:8: parse error: unexpected identifier \"test\" in grouping opts, expected \"(\"",
        ),
        ("sum(foo) by (==)", "1:14: parse error: unexpected <op:==> in grouping opts, expected label"),
        (
            "sum(foo) by (a b)",
            "1:16: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        ("sum some_metric by (test)", "1:5: parse error: unexpected identifier \"some_metric\""),
        ("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation"),
        ("rate(foo bar)", "1:10: parse error: unexpected identifier \"bar\""),
        ("sum (some_metric) without (test) by (test)", "1:34: parse error: unexpected <by>"),
        ("foo\n  bar", "2:3: parse error: unexpected identifier \"bar\""),
        ("foo 123", "1:5: parse error: unexpected number \"123\""),
        ("foo \"abcdefghijklmn\"", "1:5: parse error: unexpected string \"\\\"abcdefghi\"..."),
    ] {
        check_fault(text, expected);
    }
}

#[test]
fn faults_of_meaning() {
    for (text, expected) in [
        ("1 and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        (
            "-\"string\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "1 offset 1d",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo offset 1s offset 2s", "1:1: parse error: offset may not be set multiple times"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("foo @ 1[5m]", "1:8: parse error: no @ modifiers allowed before range"),
        ("(foo + bar)[5m]", "1:12: parse error: ranges only allowed for vector selectors"),
        ("1 or on(bar) foo", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("foo and on(bar) group_left(baz) bar", "1:1: parse error: no grouping allowed for \"and\" operation"),
        (
            "foo * on(instance) group_left(instance) bar",
            "1:5: parse error: label \"instance\" must not occur in ON and GROUP clause at once",
        ),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{x=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m1h]", "1:5: parse error: not a valid duration string: \"5m1h\""),
        ("foo[5y1hs]", "1:5: parse error: unknown unit \"hs\" in duration \"5y1hs\""),
        ("foo[5m/0]", "1:7: parse error: division by zero"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(some_metric)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        (
            "topk(some_metric, other)",
            "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
        ),
        ("count_values(5, other)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("floor()", "1:1: parse error: expected 1 argument(s) in call to \"floor\", got 0"),
        ("floor(1)", "1:7: parse error: expected type instant vector in call to function \"floor\", got scalar"),
        ("hour(a, b, c)", "1:1: parse error: expected at most 1 argument(s) in call to \"hour\", got 3"),
        ("label_join()", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 0"),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("holt(foo)", "1:1: parse error: unknown function with name \"holt\""),
        ("sum(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("foo[5m][5m:1m]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
    ] {
        check_fault(text, expected);
    }
}

#[test]
fn features_must_be_enabled() {
    let fault = |text: &str| parse_with(text, &Options::default()).unwrap_err().to_string();
    assert_eq!(fault("mad_over_time(a[5m])"), "1:1: parse error: function \"mad_over_time\" is not enabled");
    assert!(fault("limitk(1, a)").contains("must be enabled with --enable-feature=promql-experimental-functions"));
    assert!(fault("a + fill(0) b").contains("binop fill modifiers are experimental and not enabled"));
    assert!(fault("a[5m] anchored").contains("anchored modifier is experimental and not enabled"));
}

#[test]
fn precedence_is_upstreams() {
    let printed = |text: &str| fully_parenthesized(&parsed(text).unwrap());
    for (text, expected) in [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("-a ^ b", "-(a ^ b)"),
        ("-a * b", "(-a * b)"),
        ("a ^ -b * c", "((a ^ -b) * c)"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a == b + c", "(a == (b + c))"),
        ("a atan2 b % c", "((a atan2 b) % c)"),
        ("a - b offset 5m", "(a - b offset 5m)"),
        ("-1 ^ 2", "-(1 ^ 2)"),
        ("a offset 100 + 2", "(a offset 1m40s + 2)"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
    }
}

fn fully_parenthesized(expr: &Expr) -> String {
    match expr {
        Expr::Binary(b) => {
            format!("({} {} {})", fully_parenthesized(&b.lhs), b.op.as_str(), fully_parenthesized(&b.rhs))
        }
        Expr::Unary(u) => format!("-{}", fully_parenthesized(&u.expr)),
        other => other.to_string(),
    }
}

#[test]
fn words_may_name_metrics_and_labels() {
    for text in
        ["sum", "offset", "by{sum='x'}", "fill + fill", "start", "sum by (bool, on, start) (group)", "step", "nan_x"]
    {
        assert_eq!(parsed(text).map(|e| e.value_type()), Ok(ValueType::Vector), "{text}");
    }
    for text in ["bool", "on", "ignoring", "group_left", "atan2"] {
        assert!(parsed(text).is_err(), "{text}");
    }
    assert_eq!(parsed("step()").map(|e| e.value_type()), Ok(ValueType::Scalar));
}

#[test]
fn size_is_limited() {
    let deep = format!("{}1{}", "(".repeat(NESTING_MAX + 1), ")".repeat(NESTING_MAX + 1));
    assert!(parsed(&deep).unwrap_err().contains("nests deeper than"));
    let long = vec!["a"; HEIGHT_MAX + 2].join("+");
    assert!(parsed(&long).unwrap_err().contains("higher than"));
    assert!(parsed(&" ".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().contains("longer than"));
    let signs = format!("{}1", "-".repeat(100_000));
    assert!(parsed(&signs).unwrap_err().contains("nests deeper than"));
}

#[test]
fn selectors_alone() {
    let matchers = parse_selector("up{job=\"a\", x!~\"y\"}").unwrap();
    assert_eq!(format!("{matchers:?}"), r#"[job="a", x!~"y", __name__="up"]"#);
    assert!(parse_selector("rate(a[5m])").is_err());
    assert!(parse_selector("up +").is_err());
}

//! Whatever is printed parses back to the same; whatever is thrown at the parser gives an answer.

use promql::{Options, format, parse_selector, parse_with, print, to_json};
use proptest::prelude::*;

fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("job".to_owned()), Just("le".to_owned()), Just("sum".to_owned()), Just("\"my.label\"".to_owned())]
}

fn selector() -> impl Strategy<Value = String> {
    let op = prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")];
    let matcher = (label(), op, "[a-z|é]{0,4}").prop_map(|(name, op, value)| format!("{name}{op}\"{value}x\""));
    let matchers = prop::collection::vec(matcher, 0..3).prop_map(|m| format!("{{{}}}", m.join(",")));
    // After an offset in parentheses upstream's grammar takes what follows for more of it: not followed by anything here.
    let shift = prop_oneof![
        Just(""),
        Just(" offset 5m"),
        Just(" offset -1h30m"),
        Just(" @ 12.5"),
        Just(" @ end() offset 3s"),
        Just(" offset step()"),
    ];
    (prop_oneof![Just("up"), Just("a:b"), Just("on_x"), Just("fill")], matchers, shift)
        .prop_map(|(name, matchers, shift)| format!("{name}{matchers}{shift}"))
}

fn expression() -> impl Strategy<Value = String> {
    let number = prop_oneof![Just("1"), Just("0x1F"), Just("1e-3"), Just("5m"), Just("Inf")].prop_map(str::to_owned);
    let leaf = prop_oneof![3 => selector(), 1 => number.prop_map(|n| format!("vector({n})"))];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("^"),
            Just("%"),
            Just("atan2"),
            Just("== bool"),
            Just("> on (job)"),
            Just("and ignoring (le)"),
            Just("or"),
            Just("unless"),
            Just("/ on (job) group_left (le)"),
            Just("+ fill (-1)"),
            Just("</"),
        ];
        let aggregate = prop_oneof![Just("sum"), Just("topk"), Just("quantile"), Just("limitk")];
        let grouping = prop_oneof![Just(""), Just(" by (job, \"my.label\")"), Just(" without (le)")];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[10m:1m] @ start())")),
            selector().prop_map(|s| format!("rate({})", s.replacen('}', "}[5m]", 1))),
            (aggregate, grouping, inner).prop_map(|(op, grouping, a)| {
                let param = if op == "sum" { "" } else { "0.5, " };
                format!("{op}{grouping} ({param}{a})")
            }),
        ]
    })
}

proptest! {
    #[test]
    fn printing_is_a_fixed_point(text in expression()) {
        let expr = parse_with(&text, &Options::all());
        prop_assert!(expr.is_ok(), "{text}: {}", expr.unwrap_err());
        let printed = print(&expr.unwrap());
        let again = parse_with(&printed, &Options::all());
        prop_assert!(again.is_ok(), "{text} printed as {printed}: {}", again.unwrap_err());
        prop_assert_eq!(print(&again.unwrap()), printed);
    }

    #[test]
    fn formatting_is_a_fixed_point(text in expression()) {
        let expr = parse_with(&text, &Options::all()).unwrap();
        let formatted = format(&expr);
        let again = parse_with(&formatted, &Options::all());
        prop_assert!(again.is_ok(), "{text} formatted as {formatted}: {}", again.unwrap_err());
        let again = again.unwrap();
        prop_assert_eq!(print(&again), print(&expr));
        // Matchers are printed in order, whatever order they were written in.
        let canonical = parse_with(&print(&expr), &Options::all()).unwrap();
        prop_assert_eq!(to_json(&again), to_json(&canonical));
        prop_assert_eq!(format(&again), formatted);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9{}()\\[\\]\"'`,:=~!<>+*/%^@ .\\\\é#\n-]{0,60}") {
        // Only that it returns, with an error that has a place.
        if let Err(error) = parse_with(&text, &Options::all()) {
            prop_assert!(error.to_string().contains("parse error: "));
        }
        drop(parse_selector(&text));
        drop(promql::series_description::parse_series_description(&text));
    }

    #[test]
    fn words_in_any_order_do_not_make_it_panic(words in prop::collection::vec(
        prop_oneof![
            Just("sum"), Just("by"), Just("("), Just(")"), Just("up"), Just("{"), Just("}"), Just("[5m"), Just("]"),
            Just(":"), Just("offset"), Just("-"), Just("5m"), Just("@"), Just("start()"), Just("on"), Just("bool"),
            Just("=="), Just("rate"), Just(","), Just("\"x\""), Just("fill("), Just("group_left"), Just("step()"),
        ], 0..14))
    {
        drop(parse_with(&words.join(" "), &Options::all()));
    }
}

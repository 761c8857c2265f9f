//! What `explain` shows of a plan, and what `analyze` adds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::duration::Duration;
use model::sample::Timestamp;
use promql::testing::load_script;
use promql::{Config, Engine, QueryOptions};

fn check(query: &str, expected: &str) {
    let engine = Engine::new(Config::default());
    let step = Some(Duration::from_seconds(60));
    let plan = engine.explain(query, Timestamp(0), Timestamp(3_600_000), step).unwrap();
    assert_eq!(plan.to_string(), expected, "{query}");
}

#[test]
fn plans_are_shown() {
    check(
        "sum by (b, a) (rate(m{x=\"1\"}[5m] offset 1h)) / 24 * (60 * 60)",
        concat!(
            "#0 with scalar *\n",
            "  #1 with scalar /\n",
            "    #2 aggregate sum by (a, b)\n",
            "      #3 window rate\n",
            "        #4 select {x=\"1\",__name__=\"m\"}[5m] offset 1h labels (a, b)\n",
            "    #5 number 24\n",
            "  #6 number 3600 folded\n",
        ),
    );
    check(
        "m / on (a) group_left (b) max_over_time(m[1h:1m] @ end()) > bool m",
        concat!(
            "#0 join > bool ignoring (), right skipped if left is empty unless counted\n",
            "  #1 join / on (a) group_left (b), left skipped if right is empty unless counted\n",
            "    #2 select {__name__=\"m\"}\n",
            "    #3 once the same at every step\n",
            "      #4 window max_over_time\n",
            "        #5 subquery [1h:1m] @ 3600.000\n",
            "          #6 select {__name__=\"m\"} fetched with #2 labels (a, b)\n",
            "  #7 select {__name__=\"m\"} fetched with #2\n",
        ),
    );
}

#[test]
fn matchers_pass_through_set_operators_on_selectors_only() {
    check(
        "a{x=\"1\",y=\"2\"} and on (x) b{z=\"3\"}",
        concat!(
            "#0 set and on (x), the side of fewer series first, the other skipped if it is empty unless counted\n",
            "  #1 select {x=\"1\",y=\"2\",__name__=\"a\"}\n",
            "  #2 select {z=\"3\",__name__=\"b\"} if {x=\"1\"} unless counted labels (x)\n",
        ),
    );
    check(
        "a{x=\"1\"} unless b{y=\"2\"}",
        "#0 set unless ignoring (), right skipped if left is empty unless counted\n  #1 select {x=\"1\",__name__=\"a\"}\n  #2 select {y=\"2\",__name__=\"b\"} if {x=\"1\"} unless counted\n",
    );
    check(
        "a{x=\"1\"} + b",
        "#0 join + ignoring (), the side of fewer series held, the side of fewer series first, the other skipped if it is empty unless counted\n  #1 select {x=\"1\",__name__=\"a\"}\n  #2 select {__name__=\"b\"}\n",
    );
}

#[test]
fn analysis_tells_what_every_part_took() {
    let storage = load_script("load 10s\n  m{a=\"1\"} 1+1x30\n  m{a=\"2\"} 1+1x30\n").unwrap();
    let time = AtomicU64::new(0);
    // A clock that goes on by a millisecond whenever it is looked at.
    let clock = Arc::new(move || time.fetch_add(1_000_000, Ordering::Relaxed));
    let options = QueryOptions { analyze: true, clock: Some(clock), ..QueryOptions::default() };
    let engine = Engine::new(Config::default());
    let (start, end) = (Timestamp(60_000), Timestamp(120_000));
    let result = engine.range(&storage, "sum(rate(m[30s]))", start, end, Duration::from_seconds(30), &options).unwrap();
    let plan = result.plan.unwrap();
    let (sum, window) = (plan.measured.unwrap(), plan.children[0].measured.unwrap());
    assert_eq!((sum.series, sum.points, sum.bytes, sum.samples), (1, 3, 24, 0));
    assert_eq!((window.series, window.points, window.bytes, window.samples), (2, 6, 48, 18));
    assert!(sum.nanos > 0 && window.nanos > 0 && result.stats.timings.evaluation >= sum.nanos + window.nanos);
    let json = plan.to_json();
    let head = r#"{"id":0,"operator":"aggregate","detail":"sum by ()","series":1,"points":3,"bytes":24,"samples":0,"#;
    assert!(json.starts_with(head), "{json}");
    assert!(json.contains(r#""operator":"window","detail":"rate","series":2"#), "{json}");
    let plain = engine.instant(&storage, "m", end, &QueryOptions::default()).unwrap();
    assert!(plain.plan.is_none());
}

#[test]
fn a_side_is_skipped_if_the_other_is_empty() {
    let storage = load_script("load 10s\n  m{a=\"1\"} 1+1x30\n  m{a=\"2\"} 1+1x30\n").unwrap();
    let engine = Engine::new(Config { language: promql::Options::all(), ..Config::default() });
    let run = |query: &str, uncounted| {
        let options = QueryOptions { uncounted, ..QueryOptions::default() };
        engine.instant(&storage, query, Timestamp(60_000), &options).unwrap()
    };
    for (query, read) in [
        ("m and none", 0),
        ("none and m", 0),
        ("none unless m", 0),
        ("m unless none", 2),
        ("m or none", 2),
        ("m + none", 0),
        ("none * on (a) group_right () m", 0),
        ("m * on (a) group_left () none", 0),
        ("m == none", 0),
        ("none + m", 0),
        ("m unless (none and m)", 2),
        ("m + on (a) fill (0) none", 2),
        ("m and on () count(none)", 0),
        ("abs(m) and none", 2),
        ("m and m", 4),
    ] {
        let (counted, uncounted) = (run(query, false), run(query, true));
        assert_eq!(counted.value, uncounted.value, "{query}");
        assert_eq!(uncounted.stats.total_samples, read, "{query}");
    }
}

/// Expressions whose sides may be taken in either order, on data in which now the one, now the other has fewer series.
#[test]
fn the_side_that_is_held_cannot_be_seen_in_the_result() {
    let few = "load 10s\n  few{a=\"2\"} 5+1x30\n  few{a=\"9\"} _x5 1+1x20\n  few{a=\"x\"} {{schema:0 count:3 sum:2 buckets:[3]}}x30\n";
    let many: String = (0..12).map(|a| format!("  many{{a=\"{a}\"}} {a}+2x9 _x4 1+1x10\n")).collect();
    let mixed = "  many{a=\"x\"} 7x30\n";
    let storage = load_script(&format!("{few}{many}{mixed}")).unwrap();
    let engine = Engine::new(Config { language: promql::Options::all(), ..Config::default() });
    let (start, end) = (Timestamp(0), Timestamp(300_000));
    let run = |query: &str| {
        let options = QueryOptions::default();
        let result = engine.range(&storage, query, start, end, Duration::from_seconds(10), &options).unwrap();
        (format!("{:?}", result.value), result.annotations)
    };
    let of = |query: &str| {
        let instant = engine.instant(&storage, query, Timestamp(200_000), &QueryOptions::default()).unwrap();
        format!("{:?}", instant.value)
    };
    for op in ["+", "-", "/", "%", "^", "*", ">", "<=", "!=", "> bool", "== bool", "atan2"] {
        for (left, right) in
            [("few", "many"), ("many", "few"), ("rate(few[1m])", "-many"), ("many", "sum by (a) (few)")]
        {
            // The same join, but on labels that are listed: the right side is always held.
            let (either, right_held) = (format!("{left} {op} {right}"), format!("{left} {op} on (a) {right}"));
            let plan = |query: &str| engine.explain(query, start, end, None).unwrap().to_string();
            assert!(plan(&either).contains("fewer series held") && !plan(&right_held).contains("series held"));
            let ((a, notes_a), (b, notes_b)) = (run(&either), run(&right_held));
            let nameless = |text: String| text.replace("__name__=\"few\", ", "").replace("__name__=\"many\", ", "");
            assert_eq!(nameless(a), nameless(b), "{either}");
            let texts = |notes: &model::annotations::Annotations| format!("{notes:?}").replace(&right_held, &either);
            let places = |text: String| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
            assert_eq!(places(texts(&notes_a)), places(texts(&notes_b)), "{either}");
            assert_eq!(nameless(of(&either)), nameless(of(&right_held)), "{either}");
        }
    }
}

//! Samples are counted as upstream counts them: the peak that `max_samples` limits, and what statistics tell. The
//! numbers are those that Prometheus 3.14 gives for these queries on this data.

use model::duration::Duration;
use model::sample::Timestamp;
use promql::testing::load_script;
use promql::{Config, Engine, Error, QueryOptions, QueryResult};

const DATA: &str = r#"
load 10s
  one 1+1x100
  two{a="1"} 1+1x100
  two{a="2"} 1+1x100
  three{a="1",b="1"} 1+1x100
  three{a="2",b="2"} 1+1x100
  three{a="3",b="2"} 1+1x100
  hist {{schema:1 count:5 sum:20 buckets:[1 2 1 1]}}+{{schema:1 count:10 sum:5 buckets:[1 2 3 4]}}x100
"#;

/// Query; start, end and step in seconds (0 for an instant query); peak, samples looked at, samples read (0 and 0 if
/// they are not known).
type Row = (&'static str, (i64, i64, i64), (u64, u64, u64));

const ROWS: &[Row] = &[
    ("\"literal string\"", (21, 21, 0), (0, 0, 0)),
    ("1", (21, 21, 0), (1, 0, 0)),
    ("one", (21, 21, 0), (1, 1, 1)),
    ("hist", (21, 21, 0), (13, 13, 13)),
    ("timestamp(one)", (21, 21, 0), (2, 1, 1)),
    ("timestamp(hist)", (21, 21, 0), (2, 1, 1)),
    ("one", (22, 22, 0), (1, 1, 1)),
    ("one offset 10s", (21, 21, 0), (1, 1, 1)),
    ("one @ 15", (21, 21, 0), (1, 1, 1)),
    ("three{a=\"1\"}", (21, 21, 0), (1, 1, 1)),
    ("three{a=\"1\"} @ 19", (21, 21, 0), (1, 1, 1)),
    ("three{a=\"1\"}[20s] @ 19", (21, 21, 0), (2, 2, 2)),
    ("three", (21, 21, 0), (3, 3, 3)),
    ("one[60s]", (201, 201, 0), (6, 6, 6)),
    ("hist[60s]", (201, 201, 0), (78, 78, 78)),
    ("max_over_time(one[60s])[20s:5s]", (201, 201, 0), (10, 24, 8)),
    ("max_over_time(one[61s])[20s:5s]", (201, 201, 0), (11, 26, 8)),
    ("max_over_time(hist[60s])[20s:5s]", (201, 201, 0), (78, 312, 104)),
    ("one[60s] @ 30", (201, 201, 0), (4, 4, 4)),
    ("hist[60s] @ 30", (201, 201, 0), (52, 52, 52)),
    ("sum(max_over_time(three[60s] @ 30))", (201, 201, 0), (7, 12, 12)),
    ("sum by (b) (max_over_time(three[60s] @ 30))", (201, 201, 0), (7, 12, 12)),
    ("one[60s] offset 10s", (201, 201, 0), (6, 6, 6)),
    ("three[60s]", (201, 201, 0), (18, 18, 18)),
    ("max_over_time(one[60s])", (201, 201, 0), (7, 6, 6)),
    ("absent_over_time(one[60s])", (201, 201, 0), (7, 6, 6)),
    ("max_over_time(three[60s])", (201, 201, 0), (9, 18, 18)),
    ("one[60s:5s]", (201, 201, 0), (12, 12, 12)),
    ("one[60s:5s] offset 10s", (201, 201, 0), (12, 12, 12)),
    ("max_over_time(three[60s:5s])", (201, 201, 0), (51, 36, 36)),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(three[60s:5s]))", (201, 201, 0), (52, 72, 72)),
    ("three{a=\"1\"}", (201, 220, 5), (4, 4, 4)),
    ("three{a=\"1\"}", (204, 223, 5), (4, 4, 4)),
    ("hist", (204, 223, 5), (52, 52, 52)),
    ("timestamp(one)", (201, 220, 5), (5, 4, 4)),
    ("timestamp(hist)", (201, 220, 5), (5, 4, 4)),
    ("max_over_time(three{a=\"1\"}[10s])", (991, 1021, 10), (2, 2, 2)),
    ("three{a=\"1\"} offset 10s", (201, 220, 5), (4, 4, 4)),
    ("max_over_time(three[60s] @ 30)", (201, 220, 5), (12, 48, 12)),
    ("three", (201, 220, 5), (12, 12, 12)),
    ("max_over_time(three[60s])", (201, 220, 5), (18, 72, 21)),
    ("max_over_time(three[60s:5s])", (201, 216, 5), (69, 144, 45)),
    ("max_over_time(three[60s:5s])", (201, 220, 5), (69, 144, 45)),
    ("max_over_time(one[60s:5s])", (201, 220, 5), (31, 48, 15)),
    ("sum by (b) (max_over_time(one[60s:5s]))", (201, 220, 5), (31, 48, 15)),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(three[60s:5s]))", (201, 220, 5), (73, 288, 90)),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(one[60s:5s]))", (201, 216, 5), (69, 192, 60)),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(one[60s:5s]))", (201, 220, 5), (69, 192, 60)),
    ("max_over_time(one[20s:10s])", (201, 201, 0), (5, 2, 2)),
    ("sum_over_time(one[30s:30s])", (90, 90, 0), (3, 1, 1)),
    ("max_over_time(one[30s:2m])", (240, 240, 0), (3, 1, 1)),
    ("max_over_time(one[30s:10s])", (201, 231, 30), (11, 6, 6)),
    ("max_over_time(one[20s:10s])", (201, 261, 10), (17, 14, 8)),
    ("max_over_time(one[30s:10s])", (201, 261, 60), (14, 6, 6)),
    ("histogram_count(max_over_time(hist[20s:10s]))", (201, 201, 0), (52, 26, 26)),
    ("avg_over_time(hist[2m:1m])", (120, 240, 60), (117, 78, 52)),
    ("max_over_time(three[60s:10s])", (200, 400, 30), (99, 126, 72)),
    ("predict_linear(one[60s] @ 100, 60)", (100, 300, 100), (12, 18, 6)),
    ("sum_over_time(three[20s:10s] @ 200)", (250, 250, 0), (11, 6, 6)),
    ("sum_over_time(one[20s:10s] offset 1m)", (240, 240, 0), (5, 2, 2)),
    ("sum_over_time(three[1m:10s] @ 200 offset 1m)", (300, 300, 0), (27, 18, 18)),
    ("sum_over_time(max_over_time(three[60s] @ 300)[5m:1m] @ 600)[10m:2m]", (800, 800, 0), (23, 75, 18)),
    ("rate(sum_over_time(one[30s])[1m:30s])", (240, 240, 0), (5, 2, 6)),
    ("rate(one[20s])", (10, 10, 0), (3, 2, 2)),
    ("1", (0, 2, 1), (3, 0, 0)),
    ("one @ 10", (0, 10, 5), (3, 3, 1)),
    ("rate(two[10s:1s] @ 10)", (0, 10, 5), (32, 0, 0)),
    ("rate(two[10s:1s] @ 10) + rate(two[10s:1s] @ 30)", (0, 10, 5), (34, 0, 0)),
    ("rate(two[10s:1s]) + rate(two[10s:1s] @ 30)", (10, 20, 5), (56, 0, 0)),
    ("rate(rate(two[10s:1s] @ 10)[100s:25s] @ 1000)[17s:1s] @ 2000", (10, 10, 0), (34, 0, 0)),
    ("max_over_time(hist[61s])[20s:5s]", (201, 201, 0), (91, 0, 0)),
];

fn run(max_samples: u64, (query, (start, end, step), _): &Row, options: &QueryOptions) -> Result<QueryResult, Error> {
    let storage = load_script(DATA).unwrap();
    let engine = Engine::new(Config { max_samples, ..Config::default() });
    let (start, end) = (Timestamp(start * 1000), Timestamp(end * 1000));
    match step {
        0 => engine.instant(&storage, query, start, options),
        step => engine.range(&storage, query, start, end, Duration::from_seconds(*step), options),
    }
}

#[test]
fn the_limit_is_met_exactly() {
    for row in ROWS {
        let (query, _, (peak, total, read)) = row;
        let stats = run(*peak, row, &QueryOptions::default()).unwrap_or_else(|e| panic!("{query}: {e}")).stats;
        assert_eq!(stats.peak_samples, *peak, "{query}");
        if *total > 0 {
            assert_eq!(stats.total_samples, *total, "{query}");
        }
        if *peak > 0 {
            let error = run(peak - 1, row, &QueryOptions::default()).unwrap_err();
            assert!(error.to_string().contains("too many samples"), "{query}: {error}");
        }
        let per_step = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
        let stats = run(*peak, row, &per_step).unwrap().stats;
        let steps = stats.per_step.unwrap();
        assert_eq!(steps.total.iter().map(|(_, n)| n).sum::<u64>(), stats.total_samples, "{query}");
        assert_eq!(steps.read.iter().map(|(_, n)| n).sum::<u64>(), stats.samples_read, "{query}");
        if *total > 0 {
            assert_eq!(stats.samples_read, *read, "{query}");
        }
    }
}

#[test]
fn samples_are_counted_for_each_step() {
    let options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
    let steps = |query, times| run(1_000, &(query, times, (0, 0, 0)), &options).unwrap().stats.per_step.unwrap();
    let found = steps("max_over_time(three[60s])", (201, 220, 5));
    assert_eq!(found.total, [(201_000, 18), (206_000, 18), (211_000, 18), (216_000, 18)]);
    assert_eq!(found.read, [(201_000, 18), (206_000, 0), (211_000, 3), (216_000, 0)]);
    let found = steps("max_over_time(three[60s:5s])", (201, 220, 5));
    assert_eq!(found.total, [(201_000, 36), (206_000, 36), (211_000, 36), (216_000, 36)]);
    assert_eq!(found.read, [(201_000, 36), (206_000, 3), (211_000, 3), (216_000, 3)]);
    let found = steps("max_over_time(three[60s] @ 30)", (201, 220, 5));
    assert_eq!(found.total, [(201_000, 12), (206_000, 12), (211_000, 12), (216_000, 12)]);
    assert_eq!(found.read, [(201_000, 12), (206_000, 0), (211_000, 0), (216_000, 0)]);
}

#[test]
fn what_is_pushed_down_only_shows_where_nobody_counts() {
    let storage = load_script(DATA).unwrap();
    let engine = Engine::new(Config::default());
    let run = |uncounted, per_step_stats| {
        let options = QueryOptions { uncounted, per_step_stats, ..QueryOptions::default() };
        engine.instant(&storage, "three{a=\"1\"} and two", Timestamp(100_000), &options).unwrap()
    };
    let (counted, uncounted, shown) = (run(false, false), run(true, false), run(true, true));
    assert_eq!(counted.value, uncounted.value);
    // Upstream reads one of `three` and both of `two`.
    assert_eq!((counted.stats.total_samples, shown.stats.total_samples), (3, 3));
    assert_eq!(uncounted.stats.total_samples, 2);
}

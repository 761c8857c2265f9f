//! Upstream's PromQL scripts, file by file: every query of every file passes.

use std::path::PathBuf;

use promql::testing::run_script;

/// The files with the number of their queries: all that are there are run.
const SCRIPTS: [(&str, usize); 21] = [
    ("aggregators", 160),
    ("at_modifier", 78),
    ("collision", 2),
    ("duration_expression", 59),
    ("extended_vectors", 169),
    ("fill-modifier", 46),
    ("functions", 431),
    ("histograms", 185),
    ("info", 53),
    ("limit", 37),
    ("literals", 25),
    ("name_label_dropping", 30),
    ("native_histograms", 522),
    ("operators", 214),
    ("range_queries", 18),
    ("selectors", 31),
    ("staleness", 17),
    ("start_timestamps", 26),
    ("subquery", 34),
    ("trig_functions", 19),
    ("type_and_unit", 58),
];

/// The folder of the scripts, if this machine has them. In CI it must be there.
fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let base =
        std::env::var_os("CRESSET_CONFORMANCE_DIR").map_or_else(|| root.join("../shared/conformance"), PathBuf::from);
    let folder = base.join("promqltest");
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(folder.is_dir() || !in_ci, "the conformance scripts are not at {}", folder.display());
    folder.is_dir().then_some(folder)
}

#[test]
fn upstreams_scripts_pass() {
    let Some(folder) = folder() else { return };
    let shown: usize = std::env::var("CRESSET_SCRIPT_FAILURES").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let only = std::env::var("CRESSET_SCRIPT").ok();
    let mut fallen = Vec::new();
    let (mut passed, mut total) = (0, 0);
    for (name, count) in SCRIPTS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let text = std::fs::read_to_string(folder.join(format!("{name}.test"))).unwrap();
        let report = run_script(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {}/{}", report.passed, report.total);
        for failure in report.failures.iter().take(shown) {
            println!("    line {}: {}\n        {}", failure.line, failure.query, failure.message);
        }
        (passed, total) = (passed + report.passed, total + report.total);
        if report.passed < report.total || report.total != *count {
            fallen.push(format!("{name}: {} of {} pass, {count} are in the file", report.passed, report.total));
        }
    }
    println!("all: {passed}/{total}");
    assert!(fallen.is_empty(), "{fallen:#?}");
}

//! Test files written here, and upstream's own where they are at hand.

use std::path::{Path, PathBuf};

use super::*;

/// A folder of its own with files in it, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("rules-testing-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs one file: whether it passed, and what went to each stream.
fn run_one(path: &Path, options: &Options) -> (bool, String, String, String) {
    let (mut out, mut err, mut xml) = (Vec::new(), Vec::new(), Vec::new());
    let mut streams = Streams { out: &mut out, err: &mut err, junit: Some(&mut xml) };
    let passed = run(&[path.to_path_buf()], options, &mut streams).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (passed, text(out), text(err), text(xml))
}

const RULES: &str = r#"
groups:
- name: later
  rules:
  - alert: High
    expr: doubled > 4
    for: 2m
    labels: {severity: page}
    annotations: {text: "{{ $labels.job }} at {{ $value }} in {{ $externalLabels.dc }}"}
- name: first
  rules:
  - record: doubled
    expr: 2 * load
"#;

const TESTS: &str = r#"
rule_files: ["rul?s.yml"]
evaluation_interval: 1m
group_eval_order: [first, later]
tests:
- name: the story
  interval: 1m
  external_labels: {dc: eu}
  input_series:
  - {series: 'load{job="a"}', values: '1+1x10'}
  - {series: 'h', values: '{{schema:1 sum:3 count:4 buckets:[1 2 1]}}'}
  alert_rule_test:
  - {eval_time: 3m, alertname: High}
  - eval_time: 4m
    alertname: High
    exp_alerts:
    - exp_labels: {severity: page, job: a}
      exp_annotations: {text: a at 10 in eu}
  promql_expr_test:
  - {expr: doubled, eval_time: 90s, exp_samples: [{labels: 'doubled{job="a"}', value: 4}]}
  - expr: h
    eval_time: 0
    exp_samples: [{labels: h, histogram: '{{schema:1 count:4 sum:3 buckets:[1 2 1]}}'}]
"#;

#[test]
fn a_story_passes_and_says_so() {
    let scratch = Scratch::new("story", &[("rules.yml", RULES), ("tests.yml", TESTS)]);
    let path = scratch.0.join("tests.yml");
    let (passed, out, err, xml) = run_one(&path, &Options::default());
    assert!(passed, "{err}");
    assert_eq!((out, err), (format!("Unit Testing:  {}\n  SUCCESS\n\n", path.display()), String::new()));
    assert!(xml.contains(r#"tests="1" failures="0" errors="0""#), "{xml}");
}

#[test]
fn what_differs_is_told_as_promtool_does() {
    let wrong = TESTS.replace("value: 4", "value: 5").replace("at 10 in", "at 11 in").replace("time: 90s", "time: 1m");
    let scratch = Scratch::new("wrong", &[("rules.yml", RULES), ("tests.yml", &wrong)]);
    let path = scratch.0.join("tests.yml");
    let (passed, _, err, xml) = run_one(&path, &Options::default());
    assert!(!passed);
    let expected = r#"  FAILED:
    name: the story,
    alertname: High, time: 4m, 
        exp:[
            0:
              Labels:{alertname="High", job="a", severity="page"}
              Annotations:{text="a at 11 in eu"}
            ], 
        got:[
            0:
              Labels:{alertname="High", job="a", severity="page"}
              Annotations:{text="a at 10 in eu"}
            ]
    expr: "doubled", time: 1m,
        exp: {__name__="doubled", job="a"} 5E+00
        got: {__name__="doubled", job="a"} 4E+00
"#;
    assert_eq!(err, expected);
    assert!(xml.contains(r#"tests="1" failures="2" errors="0""#), "{xml}");
    let (_, _, err, _) = run_one(&path, &Options { diff: true, ..Options::default() });
    assert!(err.contains("\"text\": \x1b[0;33m\"a at 11 in eu\" => \"a at 10 in eu\"\x1b[0m"), "{err}");
    let (passed, ..) = run_one(&path, &Options { run: vec!["^other".into()], ..Options::default() });
    assert!(passed, "no test was run");
    let (_, _, err, _) = run_one(&path, &Options { debug: true, ..Options::default() });
    assert!(err.contains("DEBUG: Starting test the story\n"), "{err}");
    assert!(err.contains("{__name__=\"doubled\", job=\"a\"} =>\n4 @[60000]\n"), "{err}");
}

#[test]
fn faults_name_their_place() {
    let scratch = Scratch::new(
        "faults",
        &[
            ("bad.yml", "tests:\n- interval: 1m\n  inputs: []\n"),
            ("extra.yml", &RULES.replace("- name: first", "- name: first\n  owner: {team: x}")),
            ("uses-extra.yml", &TESTS.replace("rul?s", "extra")),
            ("none.yml", "rule_files: [missing*.yml]\n"),
        ],
    );
    let run_named = |name: &str, options: &Options| run_one(&scratch.0.join(name), options);
    let (passed, _, err, xml) = run_named("bad.yml", &Options::default());
    assert!(!passed && err.contains("bad.yml:3:") && err.contains("inputs"), "{err}");
    assert!(xml.contains(r#"errors="1""#), "{xml}");
    let (passed, _, err, _) = run_named("uses-extra.yml", &Options::default());
    assert!(!passed && err.contains("owner"), "{err}");
    let lenient = Options { ignore_unknown_fields: true, ..Options::default() };
    let (passed, _, err, _) = run_named("uses-extra.yml", &lenient);
    assert!(passed, "{err}");
    let (passed, _, err, _) = run_named("none.yml", &Options::default());
    assert!(passed && err == "  WARNING: no file match pattern missing*.yml\n", "{err}");
    let mut nothing = (Vec::new(), Vec::new());
    let mut streams = Streams { out: &mut nothing.0, err: &mut nothing.1, junit: None };
    let bad_pattern = Options { run: vec!["(".into()], ..Options::default() };
    assert!(matches!(run(&[], &bad_pattern, &mut streams), Err(TestError::Pattern { .. })));
}

/// Upstream's own files, with whether they pass.
const UPSTREAM: [(&str, bool); 12] = [
    ("unittest.yml", true),
    ("at-modifier-test.yml", true),
    ("negative-offset-test.yml", true),
    ("no-test-group-interval.yml", true),
    ("start-time-test.yml", true),
    ("long-period.yml", true),
    ("failing.yml", false),
    ("rules_run.yml", false),
    ("rules_run_fuzzy.yml", false),
    ("rules_run_no_fuzzy.yml", false),
    ("bad-rules-error-test.yml", false),
    ("bad-rules-syntax-test.yml", false),
];

#[test]
fn upstreams_files_pass_and_fail_as_they_should() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let folder = std::env::var_os("CRESSET_CONFORMANCE_DIR").map_or(root, PathBuf::from).join("promtool");
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(folder.is_dir() || !in_ci, "the conformance files are not at {}", folder.display());
    if !folder.is_dir() {
        return;
    }
    for (name, expected) in UPSTREAM {
        let (passed, out, err, _) = run_one(&folder.join(name), &Options::default());
        println!("{name}: {}", if passed { "passes" } else { "fails" });
        assert_eq!(passed, expected, "{name}\n{out}{err}");
    }
    let only = |pattern: &str| Options { run: vec![pattern.to_owned()], ..Options::default() };
    assert!(run_one(&folder.join("rules_run.yml"), &only("correct")).0);
    assert!(!run_one(&folder.join("rules_run.yml"), &only("wrong")).0);
    assert!(run_one(&folder.join("rules_run_fuzzy.yml"), &only("correct")).0);
    let lenient = Options { ignore_unknown_fields: true, ..Options::default() };
    assert!(run_one(&folder.join("rules_run_extrafields.yml"), &lenient).0);
}

/// Files that Debian's promtool 2.42 understands as 3.x does.
const COMMON: [&str; 6] =
    ["failing.yml", "rules_run.yml", "long-period.yml", "at-modifier-test.yml", "negative-offset-test.yml", "mine.yml"];

#[test]
fn the_output_is_promtools() {
    const PROGRAM: &str = "/usr/bin/promtool";
    let is_installed = Path::new(PROGRAM).exists();
    assert!(is_installed || std::env::var_os("CI").is_none(), "{PROGRAM} must be installed in CI");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let folder = std::env::var_os("CRESSET_CONFORMANCE_DIR").map_or(root, PathBuf::from).join("promtool");
    if !is_installed || !folder.is_dir() {
        return;
    }
    let wrong = TESTS.replace("value: 4", "value: 5").replace("at 10 in", "at 11 in").replace("time: 90s", "time: 1m");
    let (before_histograms, _) = wrong.split_once("  - expr: h").unwrap();
    let mine =
        before_histograms.replace("  - {series: 'h', values: '{{schema:1 sum:3 count:4 buckets:[1 2 1]}}'}\n", "");
    let scratch = Scratch::new("promtool", &[("rules.yml", RULES), ("mine.yml", &mine)]);
    for name in COMMON {
        let path = if name == "mine.yml" { scratch.0.join(name) } else { folder.join(name) };
        let theirs = std::process::Command::new(PROGRAM).args(["test", "rules"]).arg(&path).output().unwrap();
        let (passed, out, err, _) = run_one(&path, &Options::default());
        assert_eq!(out, String::from_utf8_lossy(&theirs.stdout), "{name}");
        assert_eq!(err, String::from_utf8_lossy(&theirs.stderr), "{name}");
        assert_eq!(passed, theirs.status.success(), "{name}");
    }
}

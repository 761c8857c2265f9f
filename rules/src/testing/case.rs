//! One test group: its series loaded and its rules evaluated step by step, alerts and expressions compared.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use model::duration::Duration;
use model::labels::{ALERT_NAME, Labels};
use model::sample::{Timestamp, Value};
use promql::series_description::{SequenceValue, parse_series_description, print_histogram};
use promql::testing::MemoryStorage;
use promql::{Engine, QueryOptions, QueryValue};

use super::file::{AlertTest, ExprTest, TestFile, TestGroup};
use super::report::{self, ShownAlert, ShownSample};
use super::{Options, difference};
use crate::alerting::AlertState;
use crate::config::{self, Reading, RuleFile, UnknownFields};
use crate::evaluate::{EvaluateError, Evaluator, VectorSample};
use crate::group::{Group, GroupContext, GroupState};
use crate::metrics::Metrics;
use crate::notifier::{Notice, Notifier};
use crate::restore::RestoreConfig;
use crate::rule::{Kind, Rule};

/// The most samples that an expression may hold, as in promtool.
const SAMPLES_MAX: u64 = 10_000;

/// A test group with what it needs.
pub(super) struct Case<'a> {
    pub(super) file: &'a TestFile,
    pub(super) group: &'a TestGroup,
    pub(super) name: &'a str,
    /// Between evaluations.
    pub(super) interval: Duration,
    pub(super) rule_files: &'a [PathBuf],
    pub(super) options: &'a Options,
}

/// Alerts go nowhere in tests.
struct Nowhere;

impl Notifier for Nowhere {
    fn notify(&self, _notices: Vec<Notice>) {}
}

/// Evaluates on the storage of a test group.
struct Bench {
    storage: Arc<MemoryStorage>,
    engine: Engine,
}

impl Evaluator for Bench {
    fn evaluate(&self, expression: &str, at: Timestamp) -> Result<Vec<VectorSample>, EvaluateError> {
        let result = self.engine.instant(&*self.storage, expression, at, &QueryOptions::default());
        match result.map_err(|error| EvaluateError(error.to_string()))?.value {
            QueryValue::Vector { samples, .. } => {
                Ok(samples.into_iter().map(|s| VectorSample { labels: s.labels, value: s.value }).collect())
            }
            QueryValue::Scalar { value, .. } => {
                Ok(vec![VectorSample { labels: Labels::empty(), value: Value::Float(value) }])
            }
            QueryValue::String { .. } | QueryValue::Matrix(_) | QueryValue::Spilled(_) => {
                Err(EvaluateError("rule result is not a vector or scalar".into()))
            }
        }
    }
}

/// An input series with the samples that are not loaded yet, the latest first.
type Pending = Vec<(Labels, Vec<(i64, Value)>)>;

impl Case<'_> {
    /// Runs the tests; gives what failed.
    pub(super) fn run(&self, err: &mut dyn Write) -> io::Result<Vec<String>> {
        let started = self.options.clock.now_ms();
        if self.options.debug {
            writeln!(err, "DEBUG: Starting test {}", self.name)?;
        }
        let bench = Arc::new(Bench { storage: Arc::default(), engine: self.engine() });
        let faults = match self.prepared(&bench) {
            Ok((mut groups, mut pending)) => {
                let faults = self.tested(&bench, &mut groups, &mut pending);
                if self.options.debug {
                    self.dump(&bench, err)?;
                }
                faults
            }
            Err(faults) => faults,
        };
        if self.options.debug {
            let took = Duration::from_millis((self.options.clock.now_ms() - started).max(0));
            writeln!(err, "DEBUG: Test {} finished, took {}", self.name, report::go_duration(took))?;
        }
        Ok(faults)
    }

    fn engine(&self) -> Engine {
        Engine::new(promql::Config {
            lookback: Duration::from_seconds(300),
            max_samples: SAMPLES_MAX,
            default_subquery_step: self.interval,
            ..self.options.engine.clone()
        })
    }

    fn prepared(&self, bench: &Arc<Bench>) -> Result<(Vec<Group>, Pending), Vec<String>> {
        let pending = self.input().map_err(|fault| vec![fault])?;
        if let Some(test) = self.group.alert_rule_test.iter().find(|test| test.alertname.is_empty()) {
            let group = match self.group.name.as_str() {
                "" => String::new(),
                name => format!(" (in TestGroup {name})"),
            };
            let text = "an item under alert_rule_test misses required attribute alertname at eval_time";
            return Err(vec![format!("{text} {}{group}", test.eval_time.0)]);
        }
        Ok((self.groups(bench)?, pending))
    }

    fn input(&self) -> Result<Pending, String> {
        let interval = self.group.interval.filter(|i| !i.is_zero()).unwrap_or(self.interval).as_millis();
        let start = self.group.start_timestamp.ms;
        let mut pending = Pending::new();
        for (number, series) in self.group.input_series.iter().enumerate() {
            let text = format!("{} {}", series.series, series.values);
            let (labels, values) = parse_series_description(&text).map_err(|error| {
                // As promtool: the series are lines of a script whose first line says `load`.
                let column = error.position.split_once(':').map_or("1", |(_, column)| column);
                format!("{}:{column}: parse error: {}", number + 2, error.message)
            })?;
            let timed = |(i, value): (usize, SequenceValue)| {
                let time = start + i as i64 * interval;
                match value {
                    SequenceValue::Omitted => None,
                    SequenceValue::Float(value) => Some((time, Value::Float(value))),
                    SequenceValue::Histogram(histogram, _) => Some((time, Value::Histogram(histogram))),
                }
            };
            let mut samples: Vec<(i64, Value)> = values.into_iter().enumerate().filter_map(timed).collect();
            samples.reverse();
            pending.push((labels, samples));
        }
        Ok(pending)
    }

    /// The groups of all rule files, in the order they are evaluated.
    fn groups(&self, bench: &Arc<Bench>) -> Result<Vec<Group>, Vec<String>> {
        let context = Arc::new(GroupContext {
            storage: Arc::clone(&bench.storage) as Arc<dyn model::storage::Appendable>,
            queryable: Arc::clone(&bench.storage) as Arc<dyn model::storage::Queryable>,
            evaluator: Arc::clone(bench) as Arc<dyn Evaluator>,
            notifier: Arc::new(Nowhere),
            metrics: Metrics::default(),
            clock: self.options.clock,
            external_labels: report::labels_of(&self.group.external_labels),
            external_url: self.group.external_url.clone(),
            resend_delay: Duration::from_seconds(60),
            restore: RestoreConfig::default(),
        });
        let mut states = Vec::new();
        for path in self.rule_files {
            let file = self.rule_file(path)?;
            states.extend(file.groups.iter().map(|group| self.state(path, &group.value)));
        }
        let order = &self.file.group_eval_order;
        states.sort_by_key(|state: &GroupState| order.iter().position(|name| *name == state.name).unwrap_or(0));
        Ok(states.into_iter().map(|state| Group::new(Arc::clone(&context), state)).collect())
    }

    fn rule_file(&self, path: &std::path::Path) -> Result<RuleFile, Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
        let reading = Reading {
            language: self.options.engine.language,
            unknown_fields: match self.options.ignore_unknown_fields {
                true => UnknownFields::Ignored,
                false => UnknownFields::Refused,
            },
        };
        config::parse(path, &text, reading).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    fn state(&self, path: &std::path::Path, group: &config::GroupConfig) -> GroupState {
        let mut rules: Vec<Rule> = group.rules.iter().map(|rule| Rule::new(&rule.value, group)).collect();
        for rule in &mut rules {
            // There is nothing to restore alerts from.
            if let Kind::Alerting(rule) = &mut rule.kind {
                rule.restored = true;
            }
        }
        GroupState {
            name: group.name.clone(),
            file: path.display().to_string(),
            interval: group.interval.unwrap_or(self.interval),
            query_offset: group.query_offset.unwrap_or(Duration::ZERO),
            limit: group.limit,
            rules,
            evaluated_ms: None,
            seconds: 0.0,
        }
    }

    fn tested(&self, bench: &Bench, groups: &mut [Group], pending: &mut Pending) -> Vec<String> {
        let mut faults = Vec::new();
        let (start, step) = (self.group.start_timestamp.ms, self.interval.as_millis());
        let times: BTreeSet<i64> = self.group.alert_rule_test.iter().map(|test| test.eval_time.0.as_millis()).collect();
        let mut times = times.into_iter().peekable();
        let mut passed = 0;
        while passed <= self.group.last_time().as_millis() {
            let failed = self.step(bench, groups, pending, start + passed);
            if !failed.is_empty() {
                faults.extend(failed);
                return faults;
            }
            while let Some(time) = times.next_if(|time| *time < passed + step) {
                faults.extend(self.alerts(groups, time));
            }
            passed += step;
        }
        faults.extend(self.group.promql_expr_test.iter().filter_map(|test| self.expression(bench, test)));
        faults
    }

    /// Loads samples up to a time and evaluates all groups; gives the rules that failed.
    fn step(&self, bench: &Bench, groups: &mut [Group], pending: &mut Pending, at: i64) -> Vec<String> {
        for (labels, samples) in pending.iter_mut() {
            while let Some(sample) = samples.pop_if(|(time, _)| *time <= at) {
                bench.storage.insert(labels, [sample]);
            }
        }
        let mut failed = Vec::new();
        for group in groups {
            group.evaluate(Timestamp(at));
            let state = group.state();
            for rule in &state.read().rules {
                if let Some(error) = rule.status.health.error() {
                    let time = report::go_duration(Duration::from_millis(at));
                    failed.push(format!("    rule: {}, time: {time}, err: {error}", rule.name()));
                }
            }
        }
        failed
    }

    /// Compares the alerts that fire with those expected at a time.
    fn alerts(&self, groups: &[Group], time: i64) -> Vec<String> {
        let tests = self.group.alert_rule_test.iter().filter(|test| test.eval_time.0.as_millis() == time);
        tests.filter_map(|test| self.alert(groups, test)).collect()
    }

    fn alert(&self, groups: &[Group], test: &AlertTest) -> Option<String> {
        let mut found = firing(groups, &test.alertname);
        let expectation = |alert: &super::file::ExpectedAlert| {
            let mut labels = report::labels_of(&alert.exp_labels).to_builder();
            labels.set(ALERT_NAME, &test.alertname);
            ShownAlert { labels: labels.build(), annotations: report::labels_of(&alert.exp_annotations) }
        };
        let mut expected: Vec<ShownAlert> = test.exp_alerts.iter().map(expectation).collect();
        found.sort();
        expected.sort();
        if found == expected {
            return None;
        }
        let name = match self.group.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head = format!("{name}    alertname: {}, time: {}, \n        ", test.alertname, test.eval_time.0);
        let deep = |text: &str| report::indented(text, "            ");
        Some(match self.options.diff {
            true => format!("{head}diff: {}", deep(&difference::difference(&expected, &found))),
            false => {
                let (expected, found) = (report::alerts_text(&expected), report::alerts_text(&found));
                format!("{head}exp:{}, \n        got:{}", deep(&expected), deep(&found))
            }
        })
    }

    fn expression(&self, bench: &Bench, test: &ExprTest) -> Option<String> {
        let head = format!("    expr: {}, time: {},", model::quote::quote(&test.expr), test.eval_time.0);
        let at = Timestamp(self.group.start_timestamp.ms + test.eval_time.0.as_millis());
        let shown = |sample: VectorSample| match sample.value {
            Value::Float(value) => ShownSample { labels: sample.labels, value, histogram: String::new() },
            Value::Histogram(h) => ShownSample { labels: sample.labels, value: 0.0, histogram: print_histogram(&h) },
        };
        let found = bench.evaluate(&test.expr, at).map_err(|error| error.to_string());
        let compared = found.and_then(|found| {
            let expected: Result<Vec<ShownSample>, String> = test.exp_samples.iter().map(expected_sample).collect();
            Ok((expected?, found.into_iter().map(shown).collect::<Vec<_>>()))
        });
        match compared {
            Err(error) => Some(format!("{head} err: {error}")),
            Ok((mut expected, mut found)) => {
                if report::same_samples(&mut expected, &mut found, self.file.fuzzy_compare) {
                    return None;
                }
                let (expected, found) = (report::samples_text(&expected), report::samples_text(&found));
                Some(format!("{head}\n        exp: {expected}\n        got: {found}"))
            }
        }
    }

    /// Shows all series.
    fn dump(&self, bench: &Bench, err: &mut dyn Write) -> io::Result<()> {
        let whole_seconds = self.group.last_time().as_millis() / 1000 + 1;
        let span = Duration::from_seconds(whole_seconds);
        let at = Timestamp(self.group.start_timestamp.ms + span.as_millis());
        // As promtool: the window is open on the left, so that what lies at the very start is not shown.
        let query = format!("{{__name__=~\".+\"}}[{whole_seconds}s]");
        match bench.engine.instant(&*bench.storage, &query, at, &QueryOptions::default()) {
            Err(error) => {
                writeln!(err, "DEBUG: Failed query exec, expr: {}, err: {error}", model::quote::quote(&query))
            }
            Ok(result) => {
                let shown = report::go_duration(span);
                writeln!(err, "DEBUG: Dump of all data (input_series and rules) at {shown}:")?;
                let QueryValue::Matrix(series) = result.value else { return Ok(()) };
                if series.is_empty() {
                    writeln!(err)?;
                }
                for series in series {
                    writeln!(err, "{} =>", series.labels)?;
                    for (time, value) in &series.floats {
                        writeln!(err, "{} @[{}]", model::number::print_float(*value), time.0)?;
                    }
                    for (time, histogram) in &series.histograms {
                        writeln!(err, "{} @[{}]", promql::histogram::print(histogram), time.0)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The alerts of a name that fire, of all groups.
fn firing(groups: &[Group], name: &str) -> Vec<ShownAlert> {
    let mut found = Vec::new();
    for group in groups {
        let state = group.state();
        for rule in &state.read().rules {
            let Kind::Alerting(rule) = &rule.kind else { continue };
            if rule.name != name {
                continue;
            }
            let fires = rule.active().filter(|alert| alert.state == AlertState::Firing);
            found.extend(fires.map(|alert| ShownAlert {
                labels: alert.labels.clone(),
                annotations: report::labels_of(&alert.annotations),
            }));
        }
    }
    found
}

fn expected_sample(sample: &super::file::ExpectedSample) -> Result<ShownSample, String> {
    let fault = |error: String| format!("labels {}: {error}", model::quote::quote(&sample.labels));
    let labels = match sample.labels.trim() {
        "" => Labels::empty(),
        text => match parse_series_description(text) {
            Ok((labels, values)) if values.is_empty() => labels,
            Ok(_) => return Err(fault("unexpected text after the labels".to_owned())),
            Err(error) => return Err(fault(error.to_string())),
        },
    };
    if sample.histogram.is_empty() {
        return Ok(ShownSample { labels, value: sample.value, histogram: String::new() });
    }
    let (_, values) =
        parse_series_description(&format!("{{}} {}", sample.histogram)).map_err(|e| fault(e.to_string()))?;
    match values.as_slice() {
        [SequenceValue::Histogram(histogram, _)] => {
            Ok(ShownSample { labels, value: 0.0, histogram: print_histogram(histogram) })
        }
        [_] => Err(fault("expected histogram".to_owned())),
        many => Err(fault(format!("expected 1 value, got {}", many.len()))),
    }
}

//! A group against a storage in memory and an evaluator that is told what to answer.

use std::collections::BTreeMap;

use super::*;
use crate::config;
use crate::evaluate::EvaluateError;
use model::exemplar::Exemplar;
use model::labels;
use model::metadata::Metadata;
use model::storage::Querier;
use parking_lot::Mutex;

/// Series in order of their creation; samples as `(series, time, value)`.
#[derive(Default)]
struct Memory {
    series: Vec<Labels>,
    samples: Vec<(usize, i64, f64)>,
}

#[derive(Default, Clone)]
struct Storage(Arc<Mutex<Memory>>);

struct Batch(Storage);

impl Appendable for Storage {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch(self.clone()))
    }
}

impl Appender for Batch {
    fn append(&mut self, labels: &Labels, at: Timestamp, value: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        let mut memory = self.0.0.lock();
        let known = memory.series.iter().position(|l| l == labels);
        let index = known.unwrap_or_else(|| {
            memory.series.push(labels.clone());
            memory.series.len() - 1
        });
        drop(memory);
        self.append_ref(SeriesRef(index as u64), at, value)?;
        Ok(SeriesRef(index as u64))
    }

    fn append_ref(&mut self, series: SeriesRef, at: Timestamp, value: NewValue<'_>) -> Result<(), AppendError> {
        let NewValue::Float(value) = value else { panic!("only floats here") };
        self.0.0.lock().samples.push((series.0 as usize, at.0, value));
        Ok(())
    }

    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Ok(())
    }

    fn update_metadata(&mut self, _: SeriesRef, _: &Metadata) -> Result<(), AppendError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        Ok(0)
    }

    fn rollback(self: Box<Self>) {}
}

impl Queryable for Storage {
    fn querier(&self, _: Timestamp, _: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        Err(StorageError::NotReady)
    }
}

/// Answers by expression.
#[derive(Default)]
struct Answers(Mutex<BTreeMap<String, Vec<VectorSample>>>);

impl Evaluator for Answers {
    fn evaluate(&self, expression: &str, _: Timestamp) -> Result<Vec<VectorSample>, EvaluateError> {
        self.0.lock().get(expression).cloned().ok_or_else(|| EvaluateError("no such series".into()))
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<Notice>>);

impl Notifier for Sent {
    fn notify(&self, notices: Vec<Notice>) {
        self.0.lock().extend(notices);
    }
}

struct Bench {
    storage: Storage,
    answers: Arc<Answers>,
    sent: Arc<Sent>,
    group: Group,
}

fn bench(rules: &str) -> Bench {
    let (storage, answers, sent) = (Storage::default(), Arc::new(Answers::default()), Arc::new(Sent::default()));
    let context = Arc::new(GroupContext {
        storage: Arc::new(storage.clone()),
        queryable: Arc::new(storage.clone()),
        evaluator: Arc::clone(&answers) as Arc<dyn Evaluator>,
        notifier: Arc::clone(&sent) as Arc<dyn Notifier>,
        metrics: Metrics::default(),
        clock: Clock::System,
        external_labels: labels! { "dc" => "eu" },
        external_url: "http://cresset:9090".into(),
        resend_delay: Duration::from_seconds(60),
        restore: RestoreConfig::default(),
    });
    let text = format!("groups:\n- name: g\n  rules:\n{rules}");
    let file = config::parse(std::path::Path::new("r.yml"), &text, config::Reading::default()).unwrap();
    let config = &file.groups[0].value;
    let state = GroupState {
        name: "g".into(),
        file: "r.yml".into(),
        interval: Duration::from_seconds(15),
        query_offset: Duration::ZERO,
        limit: 0,
        rules: config.rules.iter().map(|rule| Rule::new(&rule.value, config)).collect(),
        evaluated_ms: None,
        seconds: 0.0,
    };
    Bench { storage, answers, sent, group: Group::new(context, state) }
}

impl Bench {
    fn answer(&self, expression: &str, labels: &[Labels]) {
        let vector = labels.iter().map(|l| VectorSample { labels: l.clone(), value: Value::Float(7.0) }).collect();
        self.answers.0.lock().insert(expression.into(), vector);
    }

    /// What the last evaluation wrote.
    fn evaluate(&mut self, seconds: i64) -> BTreeMap<String, f64> {
        self.storage.0.lock().samples.clear();
        self.group.evaluate(Timestamp(seconds * 1000));
        let memory = self.storage.0.lock();
        memory.samples.iter().map(|(series, _, value)| (memory.series[*series].to_string(), *value)).collect()
    }
}

#[test]
fn recorded_series_go_stale_when_they_end() {
    let mut bench = bench("  - record: job:up\n    expr: up\n    labels: {l: v, drop: ''}\n");
    bench.answer("up", &[labels! { "__name__" => "up", "job" => "a", "drop" => "x" }]);
    let name = r#"{__name__="job:up", job="a", l="v"}"#;
    assert_eq!(bench.evaluate(0), BTreeMap::from([(name.to_owned(), 7.0)]));
    bench.answer("up", &[]);
    assert!(model::sample::is_stale(bench.evaluate(15)[name]));
    assert!(bench.evaluate(30).is_empty());
}

#[test]
fn alerts_are_sent_with_templates_and_a_link() {
    let mut bench = bench(
        "  - alert: Down\n    expr: up == 0\n    for: 15s\n    labels: {who: '{{ $labels.job }}'}\n    \
         annotations: {text: '{{ $value }} in {{ $externalLabels.dc }}'}\n",
    );
    bench.answer("up == 0", &[labels! { "__name__" => "up", "job" => "a" }]);
    bench.evaluate(0);
    assert!(bench.sent.0.lock().is_empty(), "pending");
    bench.evaluate(15);
    let sent = bench.sent.0.lock().drain(..).next().unwrap();
    assert_eq!(sent.labels, labels! { "alertname" => "Down", "job" => "a", "who" => "a" });
    assert_eq!(sent.annotations["text"], "7 in eu");
    assert_eq!((sent.starts_at_ms, sent.ends_at_ms, sent.resolved), (15_000, 255_000, false));
    assert_eq!(sent.generator_url, "http://cresset:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    bench.answer("up == 0", &[]);
    bench.evaluate(30);
    let sent = bench.sent.0.lock().drain(..).next().unwrap();
    assert_eq!((sent.ends_at_ms, sent.resolved), (30_000, true));
}

#[test]
fn a_failing_rule_says_why_and_the_others_go_on() {
    let mut bench = bench("  - record: a\n    expr: nothing\n  - record: b\n    expr: up\n");
    bench.answer("up", &[labels! { "job" => "a" }]);
    assert_eq!(bench.evaluate(0).len(), 1);
    let state = bench.group.state();
    let state = state.read();
    assert_eq!(state.rules[0].status.health, RuleHealth::Bad("no such series".into()));
    assert_eq!(state.rules[1].status.health, RuleHealth::Good);
}

#[test]
fn a_reload_carries_alerts_on_and_ends_what_is_gone() {
    let mut old = bench("  - alert: A\n    expr: up\n    for: 1m\n  - record: gone\n    expr: up\n");
    old.answer("up", &[labels! { "job" => "a" }]);
    old.evaluate(0);
    let mut new = bench("  - alert: A\n    expr: up\n    for: 1m\n");
    new.answer("up", &[labels! { "job" => "a" }]);
    // Both groups write to the same storage, as after a reload.
    new.storage = old.storage.clone();
    let context = Arc::get_mut(&mut new.group.context).unwrap();
    context.storage = Arc::new(old.storage.clone());
    new.group.take_over(old.group);
    let written = new.evaluate(60);
    assert!(model::sample::is_stale(written[r#"{__name__="gone", job="a"}"#]));
    assert_eq!(new.sent.0.lock().len(), 1, "pending since before the reload, it fires now");
}

#[test]
fn slots_keep_their_phase() {
    let interval = Duration::from_seconds(15);
    let slot = first_slot(1_000_000, interval, "k");
    assert!(slot > 1_000_000 && slot <= 1_015_000);
    assert_eq!((first_slot(5_000_000, interval, "k") - slot) % 15_000, 0);
}

//! Runs scripts.

use model::duration::Duration;
use model::sample::{Timestamp, Value};

use super::memory::MemoryStorage;
use super::nhcb::Collected;
use super::script::{self, Command, Eval, Load, LoadedSeries, ScriptError, When};
use super::{compare, fixed_time};
use crate::engine::{Config, Engine, QueryOptions, QueryResult};
use crate::error::Error;
use crate::parser::Options;
use crate::series_description::SequenceValue;
use crate::value::{QueryValue, VectorSample};

/// How a script went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Queries that gave what was expected.
    pub passed: usize,
    /// All queries.
    pub total: usize,
    /// Those that did not.
    pub failures: Vec<Failure>,
}

/// A query that did not give what was expected.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Where it stands in the script, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What was wrong.
    pub message: String,
}

/// The engine that upstream's scripts are written for: all experimental features on.
pub fn script_config() -> Config {
    Config {
        lookback: Duration::from_seconds(300),
        max_samples: 10_000,
        default_subquery_step: Duration::from_seconds(60),
        language: Options::all(),
        delayed_name_removal: true,
        start_timestamps: true,
        ..Config::default()
    }
}

/// Runs a script on the engine it is written for.
///
/// # Errors
/// If the script cannot be read. Queries that fail are in the report.
pub fn run_script(text: &str) -> Result<Report, ScriptError> {
    run_script_with(&Engine::new(script_config()), text)
}

/// A storage with what the `load` commands of a script give.
///
/// # Errors
/// If the script cannot be read, or holds anything but `load`.
pub fn load_script(text: &str) -> Result<MemoryStorage, ScriptError> {
    let storage = MemoryStorage::new();
    for command in script::parse(text)? {
        match command {
            Command::Load(command) => load(&storage, command),
            Command::Clear => {
                return Err(ScriptError { line: 0, message: "only load commands are allowed".to_owned() });
            }
            Command::Eval(eval) => {
                return Err(ScriptError { line: eval.line, message: "only load commands are allowed".to_owned() });
            }
        }
    }
    Ok(storage)
}

/// Runs a script on an engine.
///
/// # Errors
/// If the script cannot be read. Queries that fail are in the report.
pub fn run_script_with(engine: &Engine, text: &str) -> Result<Report, ScriptError> {
    let mut report = Report::default();
    let mut storage = MemoryStorage::new();
    for command in script::parse(text)? {
        match command {
            Command::Clear => storage = MemoryStorage::new(),
            Command::Load(command) => load(&storage, command),
            Command::Eval(eval) => {
                report.total += 1;
                match run(engine, &storage, &eval) {
                    Ok(()) => report.passed += 1,
                    Err(message) => {
                        report.failures.push(Failure { line: eval.line, query: eval.query.clone(), message });
                    }
                }
            }
        }
    }
    Ok(report)
}

fn load(storage: &MemoryStorage, command: Load) {
    let mut collected = Collected::default();
    for LoadedSeries { labels, values, starts } in command.series {
        let mut samples = Vec::with_capacity(values.len());
        for (i, value) in values.into_iter().enumerate() {
            let time = i as i64 * command.step;
            let start = starts.get(i).copied().flatten().map_or(0, |offset| time + offset);
            match value {
                SequenceValue::Omitted => {}
                SequenceValue::Float(value) => {
                    collected.add(&labels, time, value);
                    samples.push((start, time, Value::Float(value)));
                }
                SequenceValue::Histogram(histogram, _) => samples.push((start, time, Value::Histogram(histogram))),
            }
        }
        storage.insert_started(&labels, samples);
    }
    if command.custom_buckets {
        collected.store(storage);
    }
}

fn run(engine: &Engine, storage: &MemoryStorage, eval: &Eval) -> Result<(), String> {
    let options = QueryOptions::default();
    match eval.when {
        When::Range { start, end, step } => {
            let step = Duration::from_millis(step.max(0));
            let result = engine.range(storage, &eval.query, Timestamp(start), Timestamp(end), step, &options);
            if let Some(result) = outcome(eval, result)? {
                compare::annotations(eval, &result)?;
                compare::value(eval, &result.value)?;
            }
            Ok(())
        }
        When::Instant(time) => {
            instant(engine, storage, eval, &eval.query, time)?;
            for (query, time) in at_other_times(engine, eval, time) {
                instant(engine, storage, eval, &query, time)
                    .map_err(|message| format!("as {query} at {time}ms: {message}"))?;
            }
            Ok(())
        }
    }
}

/// The result, or `None` if the query failed as it had to.
fn outcome(eval: &Eval, result: Result<QueryResult, Error>) -> Result<Option<QueryResult>, String> {
    match (result, &eval.fails) {
        (Ok(result), None) => Ok(Some(result)),
        (Ok(_), Some(_)) => Err("expected an error but got none".to_owned()),
        (Err(error), Some(expectation)) if expectation.accepts(&error.to_string()) => Ok(None),
        (Err(error), Some(_)) => Err(format!("failed with another error than expected: {error}")),
        (Err(error), None) => Err(error.to_string()),
    }
}

/// The query with its time fixed by `@`, at several evaluation times.
fn at_other_times(engine: &Engine, eval: &Eval, time: i64) -> Vec<(String, i64)> {
    let Some(fixed) = engine.parse(&eval.query).ok().and_then(|expr| fixed_time::fix(expr, time)) else {
        return Vec::new();
    };
    let query = fixed.to_string();
    let times = if time == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time, 0, time / 5, time, 10 * time] };
    times.into_iter().map(|time| (query.clone(), time)).collect()
}

fn instant(engine: &Engine, storage: &MemoryStorage, eval: &Eval, query: &str, time: i64) -> Result<(), String> {
    let options = QueryOptions::default();
    let result = engine.instant(storage, query, Timestamp(time), &options);
    let Some(result) = outcome(eval, result)? else { return Ok(()) };
    compare::annotations(eval, &result)?;
    compare::value(eval, &result.value)?;
    let own_times = ["start()", "end()", "step()", "range()"].iter().any(|word| query.contains(word));
    if eval.range_vector.is_some() || eval.values.string.is_some() || own_times {
        return Ok(());
    }
    in_a_range(engine, storage, eval, query, (time, &result.value)).map_err(|m| format!("in a range query: {m}"))
}

/// The same query as a range query must give the same at the step in its middle.
fn in_a_range(
    engine: &Engine,
    storage: &MemoryStorage,
    eval: &Eval,
    query: &str,
    (time, found): (i64, &QueryValue),
) -> Result<(), String> {
    let step = Duration::from_seconds(60);
    let (start, end) = (Timestamp(time - 60_000), Timestamp(time + 60_000));
    let result = engine.range(storage, query, start, end, step, &QueryOptions::default()).map_err(|e| e.to_string())?;
    if eval.ordered {
        return Ok(());
    }
    let QueryValue::Matrix(series) = result.value else { return Err("no matrix".to_owned()) };
    let at = Timestamp(time);
    let mut samples = Vec::new();
    for series in series {
        let float = series.floats.iter().find(|(t, _)| *t == at).map(|(_, v)| Value::Float(*v));
        let histogram = series.histograms.iter().find(|(t, _)| *t == at).map(|(_, h)| Value::Histogram(h.clone()));
        if let Some(value) = float.or(histogram) {
            samples.push(VectorSample { labels: series.labels, value });
        }
    }
    match (found, samples.first()) {
        (QueryValue::Scalar { .. }, Some(VectorSample { value: Value::Float(value), .. })) => {
            compare::value(eval, &QueryValue::Scalar { timestamp: at, value: *value })
        }
        (QueryValue::Scalar { .. }, _) => Err("no value".to_owned()),
        _ => compare::vector(&eval.values, &samples, false),
    }
}

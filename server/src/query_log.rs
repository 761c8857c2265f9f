//! The query log (`query_log_file`): a line of JSON for each query that was run, as upstream writes it. It is opened anew
//! with each load of the configuration.

use std::fs::{File, OpenOptions};
use std::io::Write;

use anyhow::{Context, Result};
use model::sample::Timestamp;
use parking_lot::Mutex;
use promql::Stats;
use serde::Serialize;
use serde_json::value::RawValue;

/// The log; off until it is opened.
#[derive(Debug, Default)]
pub struct QueryLog {
    file: Mutex<Option<File>>,
}

/// A query that was run.
#[derive(Debug)]
pub struct LoggedQuery<'a> {
    /// Its text.
    pub query: &'a str,
    /// First time it was evaluated at.
    pub start: Timestamp,
    /// Last time.
    pub end: Timestamp,
    /// Between them; 0 for an instant query.
    pub step_seconds: f64,
    /// What it took.
    pub stats: &'a Stats,
    /// How long it waited.
    pub queued_seconds: f64,
    /// How long it took, waiting included.
    pub total_seconds: f64,
    /// The request it came with: method and path.
    pub request: Option<(&'a str, &'a str)>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: &'static str,
    params: Params<'a>,
    stats: Option<Box<RawValue>>,
    #[serde(rename = "httpRequest", skip_serializing_if = "Option::is_none")]
    request: Option<Request<'a>>,
}

#[derive(Serialize)]
struct Params<'a> {
    end: String,
    query: &'a str,
    start: String,
    step: f64,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
}

impl QueryLog {
    /// Opens the file at `path` to be written at its end; none if that is empty. See [`QueryLog::switch_to`].
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &str) -> Result<Option<File>> {
        Ok(match path {
            "" => None,
            path => Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("query_log_file: {path}"))?,
            ),
        })
    }

    /// Whether queries are logged at this moment.
    pub fn is_on(&self) -> bool {
        self.file.lock().is_some()
    }

    /// Writes to that file from now on.
    pub fn switch_to(&self, file: Option<File>) {
        *self.file.lock() = file;
    }

    /// Writes a query down, if the log is on.
    pub fn note(&self, now: Timestamp, query: &LoggedQuery<'_>) {
        let mut file = self.file.lock();
        let Some(open) = file.as_mut() else { return };
        let time = |time: Timestamp| {
            jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
        };
        let line = Line {
            time: time(now),
            level: "INFO",
            msg: "promql query logged",
            params: Params {
                end: time(query.end),
                query: query.query,
                start: time(query.start),
                step: query.step_seconds,
            },
            stats: RawValue::from_string(query.stats.to_json(query.queued_seconds, query.total_seconds)).ok(),
            request: query.request.map(|(method, path)| Request { method, path }),
        };
        let written = serde_json::to_string(&line).map_err(std::io::Error::from).and_then(|mut text| {
            text.push('\n');
            open.write_all(text.as_bytes())
        });
        if let Err(error) = written {
            tracing::error!(%error, "query log cannot be written; it is off until the next reload");
            *file = None;
        }
    }
}

//! The scrape failure log (`scrape_failure_log_file`): a line of JSON for each scrape that failed, as upstream writes it.
//!
//! The file is opened anew for each line, so that it can be moved away at any time.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Writes lines for one job.
#[derive(Debug)]
pub struct FailureLog {
    path: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: &'a str,
    job_name: &'a str,
    target: &'a str,
}

impl FailureLog {
    /// On the file at `path`, if that is not empty.
    pub fn at(path: &str) -> Option<Self> {
        (!path.is_empty()).then(|| Self { path: PathBuf::from(path) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line with the time in milliseconds since the epoch.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&self, now_ms: i64, job: &str, target: &str, error: &str) -> std::io::Result<()> {
        let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
        let line = Line { time, level: "ERROR", msg: error, job_name: job, target };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        // One write call, so that lines of several targets do not mix.
        std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fail.log");
        let log = FailureLog::at(path.to_str().unwrap()).unwrap();
        log.note(1_767_225_600_000, "j", "http://a:1/metrics", "no \"route\"").unwrap();
        log.note(1_767_225_601_000, "j", "http://a:1/metrics", "again").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(
                r#"{"time":"2026-01-01T00:00:00Z","level":"ERROR","msg":"no \"route\"","job_name":"j","target":"http://a:1/metrics"}"#
            )
        );
        assert_eq!(text.lines().count(), 2);
        assert!(FailureLog::at("").is_none());
    }
}

//! `tool push metrics`: pages in the text format, sent to a server's remote-write receiver.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use exposition::parse::series::labels_of;
use exposition::parse::{Entry, Parser};
use model::duration::Duration;
use net::clock::Clock;
use prost::Message as _;

use super::say;
use crate::remote::messages::{Label, Sample, TimeSeries, WriteRequest};

/// What is pushed.
#[derive(Debug, Subcommand)]
pub enum PushCommand {
    /// Push metrics to a prometheus remote write (for testing purpose only)
    Metrics(MetricsFlags),
}

/// Flags of `push metrics`.
#[derive(Debug, Args)]
pub struct MetricsFlags {
    /// Label to attach to metrics, as name=value. Can be specified multiple times
    #[arg(long = "label", value_parser = pair, default_value = "job=promtool")]
    labels: Vec<(String, String)>,
    /// The time to wait for pushing metrics
    #[arg(long, default_value = "30s")]
    timeout: Duration,
    /// Prometheus remote write header, as name=value
    #[arg(long = "header", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Prometheus remote write url to push metrics
    url: String,
    /// The metric files to push; standard input if there are none
    files: Vec<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("expected name=value, got {text:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(PushCommand::Metrics(flags): PushCommand) -> Result<()> {
    let mut pages = Vec::new();
    if flags.files.is_empty() {
        let mut page = String::new();
        std::io::stdin().read_to_string(&mut page).context("standard input")?;
        pages.push(("standard input".to_owned(), page));
    }
    for file in &flags.files {
        let page = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        pages.push((file.display().to_string(), page));
    }
    for (name, page) in pages {
        say(&format!("Parsing {name}"));
        let request = request_of(&page, &flags.labels, Clock::System.now_ms()).with_context(|| name.clone())?;
        send(&flags, request).await.with_context(|| name.clone())?;
        say("  SUCCESS: metrics pushed to remote write.");
    }
    Ok(())
}

/// The page's samples, each with the extra labels; those without a time are of now.
fn request_of(page: &str, extra: &[(String, String)], now_ms: i64) -> Result<WriteRequest> {
    let mut request = WriteRequest::default();
    let mut parser = Parser::text(page);
    while let Some(entry) = parser.advance("")? {
        let Entry::Sample(line) = entry else { continue };
        let mut builder = labels_of(line.series)?.to_builder();
        for (name, value) in extra {
            builder.set(name, value);
        }
        let pair = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
        request.timeseries.push(TimeSeries {
            labels: builder.build().iter().map(pair).collect(),
            samples: vec![Sample {
                value: line.value,
                timestamp: line.timestamp.unwrap_or(now_ms),
                start_timestamp: 0,
            }],
            ..TimeSeries::default()
        });
    }
    Ok(request)
}

async fn send(flags: &MetricsFlags, request: WriteRequest) -> Result<()> {
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let mut request = reqwest::Client::new()
        .post(&flags.url)
        .timeout(flags.timeout.as_std())
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(body);
    for (name, value) in &flags.headers {
        request = request.header(name, value);
    }
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    bail!("server returned HTTP status {status}: {}", response.text().await.unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_request() {
        let page = "# TYPE a counter\na_total{x=\"1\"} 2 5000\nb 3\n";
        let request = request_of(page, &[("job".into(), "j".into())], 9000).unwrap();
        let shown: Vec<_> = request.timeseries.iter().map(|s| (s.labels.len(), s.samples[0].timestamp)).collect();
        assert_eq!(shown, [(3, 5000), (2, 9000)]);
        assert!(request_of("a{ 1", &[], 0).is_err());
    }
}

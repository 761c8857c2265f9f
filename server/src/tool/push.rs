//! `tool push metrics`: pages in the text format, sent to a server's remote-write receiver.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use exposition::parse::series::{labels_of, unescape_help};
use exposition::parse::{Entry, Format, Parser};
use model::duration::Duration;
use model::labels::Labels;
use net::clock::Clock;
use prost::Message as _;
use reqwest::{Method, Url};

use super::client::{Client, ClientFlags, pair};
use super::{complain, say};
use crate::remote::messages::{Label, MetricMetadata, Sample, TimeSeries, WriteRequest, v2};

/// What is pushed, and how its receiver is reached.
#[derive(Debug, Args)]
pub struct PushFlags {
    #[command(flatten)]
    client: ClientFlags,
    #[command(subcommand)]
    command: PushCommand,
}

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
    /// Protobuf message to use when writing
    #[arg(long = "protobuf_message", default_value = "prometheus.WriteRequest")]
    message: WriteMessage,
    /// Remote write API path, put behind the URL's path unless that ends with it
    #[arg(long = "remote-write.path", default_value = "/api/v1/write")]
    path: String,
    /// Prometheus remote write url to push metrics
    url: String,
    /// The metric files to push; standard input if there are none
    files: Vec<PathBuf>,
}

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WriteMessage {
    #[value(name = "prometheus.WriteRequest")]
    V1,
    #[value(name = "io.prometheus.write.v2.Request")]
    V2,
}

pub(super) async fn run(PushFlags { client, command: PushCommand::Metrics(flags) }: PushFlags) -> Result<()> {
    let client = client.connect(&flags.url, flags.headers.clone()).await?;
    let url = receiver(&client, &flags.path)?;
    if flags.files.is_empty() {
        let mut page = String::new();
        std::io::stdin().read_to_string(&mut page).context("standard input")?;
        say("Parsing standard input");
        push(&client, &url, &flags, &page).await?;
        say("  SUCCESS: metrics pushed to remote write.");
        return Ok(());
    }
    let mut failed = 0;
    for file in &flags.files {
        let shown = file.display();
        let pushed = match std::fs::read_to_string(file) {
            Err(error) => Err(anyhow::Error::from(error).context(shown.to_string())),
            Ok(page) => {
                say(&format!("Parsing metrics file {shown}"));
                push(&client, &url, &flags, &page).await
            }
        };
        match pushed {
            Ok(()) => say(&format!("  SUCCESS: metrics file {shown} pushed to remote write.")),
            Err(error) => {
                complain(&format!("  FAILED: {error:#}"));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", flags.files.len()) } else { Ok(()) }
}

/// Where requests go: newer promtools are given the server, older ones the receiver.
fn receiver(client: &Client, path: &str) -> Result<Url> {
    let given = client.url("")?;
    let given_path = given.path().trim_end_matches('/');
    if given_path.ends_with(path.trim_end_matches('/')) {
        let mut url = given.clone();
        url.set_path(given_path);
        return Ok(url);
    }
    client.url(path)
}

async fn push(client: &Client, url: &Url, flags: &MetricsFlags, page: &str) -> Result<()> {
    let request = request_of(page, &flags.labels, Clock::System.now_ms())?;
    let (body, content_type, version) = match flags.message {
        WriteMessage::V1 => (request.encode_to_vec(), "application/x-protobuf", "0.1.0"),
        WriteMessage::V2 => {
            let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
            (second_version(&request).encode_to_vec(), content_type, "2.0.0")
        }
    };
    let response = client
        .request(Method::POST, url)
        .await?
        .timeout(flags.timeout.as_std())
        .header("content-type", content_type)
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", version)
        .body(snap::raw::Encoder::new().compress_vec(&body)?)
        .send()
        .await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    bail!("server returned HTTP status {status}: {}", response.text().await.unwrap_or_default().trim_end())
}

/// The page's samples, each with the extra labels; those without a time are of now. What the page says itself counts
/// more than the extra labels, and its `job` makes way for theirs.
fn request_of(page: &str, extra: &[(String, String)], now_ms: i64) -> Result<WriteRequest> {
    let mut request = WriteRequest::default();
    let mut metadata: Vec<MetricMetadata> = Vec::new();
    let mut parser = Parser::text(page);
    while let Some(entry) = parser.advance("")? {
        match entry {
            Entry::Sample(line) => request.timeseries.push(TimeSeries {
                labels: labelled(&labels_of(line.series)?, extra),
                samples: vec![Sample {
                    value: line.value,
                    timestamp: line.timestamp.unwrap_or(now_ms),
                    start_timestamp: 0,
                }],
                ..TimeSeries::default()
            }),
            Entry::Help { name, text } => {
                of_family(&mut metadata, name).help = unescape_help(text, Format::Text).into_owned()
            }
            Entry::Type { name, metric_type } => {
                of_family(&mut metadata, name).r#type = metric_type.wire_number() as i32
            }
            Entry::Unit { .. } | Entry::Histogram(_) => {}
        }
    }
    request.metadata = metadata;
    Ok(request)
}

/// What is known of a family, the last one mostly.
fn of_family<'a>(metadata: &'a mut Vec<MetricMetadata>, name: &str) -> &'a mut MetricMetadata {
    let place = metadata.iter().rposition(|family| family.metric_family_name == name).unwrap_or_else(|| {
        metadata.push(MetricMetadata { metric_family_name: name.to_owned(), ..MetricMetadata::default() });
        metadata.len() - 1
    });
    &mut metadata[place]
}

fn labelled(labels: &Labels, extra: &[(String, String)]) -> Vec<Label> {
    let mut all: std::collections::BTreeMap<&str, &str> =
        extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(labels.iter().map(|(name, value)| (if name == "job" { "exported_job" } else { name }, value)));
    all.into_iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// The same as one of version 2.
fn second_version(request: &WriteRequest) -> v2::Request {
    let mut symbols = vec![String::new()];
    let mut known: HashMap<String, u32> = HashMap::from([(String::new(), 0)]);
    let mut number = |text: &str| match known.get(text) {
        Some(number) => *number,
        None => {
            let next = u32::try_from(symbols.len()).unwrap_or(0);
            symbols.push(text.to_owned());
            known.insert(text.to_owned(), next);
            next
        }
    };
    let mut timeseries = Vec::with_capacity(request.timeseries.len());
    for series in &request.timeseries {
        let name = series.labels.iter().find(|label| label.name == "__name__").map_or("", |label| &label.value);
        let family = request.metadata.iter().find(|family| is_of(name, family));
        let labels_refs = series.labels.iter().flat_map(|label| [number(&label.name), number(&label.value)]).collect();
        let metadata =
            family.map(|family| v2::Metadata { r#type: family.r#type, help_ref: number(&family.help), unit_ref: 0 });
        timeseries.push(v2::TimeSeries {
            labels_refs,
            samples: series.samples.clone(),
            metadata,
            ..Default::default()
        });
    }
    v2::Request { symbols, timeseries }
}

/// Whether a series' name is one of a family's.
fn is_of(name: &str, family: &MetricMetadata) -> bool {
    let is_part = |rest: &str| matches!(rest, "_bucket" | "_sum" | "_count");
    let has_parts = matches!(family.r#type, 3..=5);
    name.strip_prefix(&family.metric_family_name).is_some_and(|rest| rest.is_empty() || (has_parts && is_part(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total How\\nmany.\n# TYPE a_total counter\na_total{x=\"1\",job=\"own\"} 2 5000\nb 3\n";

    #[test]
    fn a_page_becomes_a_request() {
        let request = request_of(PAGE, &[("job".into(), "j".into()), ("x".into(), "lost".into())], 9000).unwrap();
        let shown: Vec<String> = request
            .timeseries
            .iter()
            .map(|s| {
                let labels: Vec<String> = s.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
                format!("{} @{}", labels.join(","), s.samples[0].timestamp)
            })
            .collect();
        assert_eq!(shown, ["__name__=a_total,exported_job=own,job=j,x=1 @5000", "__name__=b,job=j,x=lost @9000"]);
        assert_eq!((request.metadata[0].r#type, request.metadata[0].help.as_str()), (1, "How\nmany."));
        assert!(request_of("a{ 1", &[], 0).is_err());
    }

    #[test]
    fn the_second_version_says_the_same() {
        let request = second_version(&request_of(PAGE, &[], 9000).unwrap());
        let text = |number: &u32| request.symbols[*number as usize].clone();
        let first = &request.timeseries[0];
        let labels: Vec<String> = first.labels_refs.iter().map(text).collect();
        assert_eq!(labels, ["__name__", "a_total", "exported_job", "own", "x", "1"]);
        let metadata = first.metadata.unwrap();
        assert_eq!((metadata.r#type, text(&metadata.help_ref)), (1, "How\nmany.".to_owned()));
        assert_eq!(request.timeseries[1].metadata, None);
    }
}

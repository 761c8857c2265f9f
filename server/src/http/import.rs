//! Samples from elsewhere, of any age: lines of JSON as [`super::export`] writes them, or an OpenMetrics page. They
//! become blocks beside those that are there, which compaction merges.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use exposition::parse::series::labels_of;
use exposition::parse::{Entry, Parser, validate};
use model::histogram::FloatHistogram;
use model::labels::{Labels, METRIC_NAME, NameScheme};
use model::sample::Timestamp;
use model::storage::NewValue;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tsdb::Db;

use super::Api;
use super::envelope::{ApiError, ErrorType, success};
use super::lines::SeriesLine;

/// The longest line of JSON, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The largest OpenMetrics page, in bytes: it is read whole. Lines of JSON have no end that is too far.
const PAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How far a sample may be ahead of this machine's clock, as of a scrape.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;
/// Samples gathered before they are written as blocks.
const BATCH_SAMPLES: usize = 4_000_000;
/// Pieces of the body that wait for whoever reads it.
const PIECES_AHEAD: usize = 8;
/// Imports at a time; others are told to come again.
pub const IMPORTS_MAX: usize = 2;

/// What was taken in.
#[derive(Debug, Default, Serialize)]
struct Imported {
    series: usize,
    samples: usize,
    blocks: Vec<String>,
}

pub(super) async fn import(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    if !api.web.admin {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    let Ok(slot) = Arc::clone(&api.import_slots).try_acquire_owned() else {
        let text = format!("{IMPORTS_MAX} imports are running, which is the limit");
        return Err(ApiError::new(ErrorType::Unavailable, text));
    };
    let is_openmetrics = named(&headers, &header::CONTENT_TYPE).starts_with("application/openmetrics-text");
    let encoding = named(&headers, &header::CONTENT_ENCODING);
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    let work = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let reader = decoded(PieceReader { pieces: receiver, piece: Bytes::new() }, &encoding)?;
        let now = Timestamp(api.clock.now_ms());
        let mut batch = Batch { db: &api.db, now, series: BTreeMap::new(), samples: 0, done: Imported::default() };
        let result = if is_openmetrics { batch.page(reader) } else { batch.lines(reader) };
        result.and_then(|()| batch.flush()).map(|()| batch.done)
    });
    forward(body, pieces).await;
    match work.await {
        Ok(result) => result.map(success),
        Err(error) => Err(ApiError::new(ErrorType::Internal, error.to_string())),
    }
}

/// The body unpacked as its `Content-Encoding` says.
fn decoded(source: PieceReader, encoding: &str) -> Result<Box<dyn Read>, ApiError> {
    match encoding {
        "" | "identity" => Ok(Box::new(source)),
        "gzip" => Ok(Box::new(flate2::read::MultiGzDecoder::new(source))),
        "zstd" => match zstd::stream::read::Decoder::new(source) {
            Ok(decoder) => Ok(Box::new(decoder)),
            Err(error) => Err(ApiError::new(ErrorType::Internal, error.to_string())),
        },
        other => {
            let text = format!("content encoding {other:?}: expected gzip, zstd or none");
            Err(ApiError::new(ErrorType::BadData, text))
        }
    }
}

fn named(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").trim().to_ascii_lowercase()
}

/// Hands a body on piece by piece, until its end or until nobody wants more.
async fn forward(body: Body, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        if pieces.send(piece.map_err(io::Error::other)).await.is_err() {
            return;
        }
    }
}

/// A body on the blocking side.
struct PieceReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for PieceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.piece.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

type Samples = Vec<(i64, Sample)>;

enum Sample {
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

/// Samples on their way into blocks.
struct Batch<'a> {
    db: &'a Db,
    now: Timestamp,
    series: BTreeMap<Labels, Samples>,
    samples: usize,
    done: Imported,
}

impl Batch<'_> {
    /// What went wrong where, told with what is in already.
    fn failure(&self, kind: ErrorType, place: &str, error: impl std::fmt::Display) -> ApiError {
        ApiError::new(kind, format!("{place}: {error}; {} samples before it were imported", self.done.samples))
    }

    fn lines(&mut self, reader: Box<dyn Read>) -> Result<(), ApiError> {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let place = format!("line {number}");
            let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
            let count = read.map_err(|error| self.failure(ErrorType::BadData, &place, error))?;
            if count == 0 {
                break;
            }
            if count as u64 > LINE_BYTES_MAX {
                let text = format!("longer than the limit of {LINE_BYTES_MAX} bytes");
                return Err(self.failure(ErrorType::BadData, &place, text));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let parsed: Result<SeriesLine, _> = serde_json::from_slice(&line);
            let parsed = parsed.map_err(|error| self.failure(ErrorType::BadData, &place, error))?;
            self.add_line(parsed).map_err(|error| self.failure(ErrorType::BadData, &place, error))?;
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: SeriesLine) -> Result<(), String> {
        if line.timestamps.len() != line.values.len() || line.histogram_timestamps.len() != line.histograms.len() {
            return Err("expected as many timestamps as values".into());
        }
        let labels = valid(Labels::from_pairs(line.metric).map_err(|error| error.to_string())?)?;
        let newest = line.timestamps.iter().chain(&line.histogram_timestamps).max();
        self.in_time(newest.copied().unwrap_or(i64::MIN))?;
        let mut samples: Samples = Vec::with_capacity(line.values.len() + line.histograms.len());
        samples.extend(line.timestamps.iter().zip(&line.values).map(|(time, value)| (*time, Sample::Float(value.0))));
        for (time, fields) in line.histogram_timestamps.iter().zip(&line.histograms) {
            let histogram = FloatHistogram::from(fields);
            histogram.validate().map_err(|error| error.to_string())?;
            samples.push((*time, Sample::Histogram(Box::new(histogram))));
        }
        self.samples += samples.len();
        self.series.entry(labels).or_default().extend(samples);
        Ok(())
    }

    fn page(&mut self, reader: Box<dyn Read>) -> Result<(), ApiError> {
        let mut page = Vec::new();
        let read = reader.take(PAGE_BYTES_MAX + 1).read_to_end(&mut page);
        read.map_err(|error| self.failure(ErrorType::BadData, "body", error))?;
        if page.len() as u64 > PAGE_BYTES_MAX {
            let text = format!("longer than the limit of {PAGE_BYTES_MAX} bytes; send parts, or lines of JSON");
            return Err(self.failure(ErrorType::BadData, "body", text));
        }
        let valid_page = validate(&page).map_err(|error| self.failure(ErrorType::BadData, "body", error))?;
        let mut parser = Parser::open_metrics(valid_page);
        while let Some(entry) = parser.advance("").map_err(|error| self.failure(ErrorType::BadData, "body", error))? {
            let Entry::Sample(line) = entry else { continue };
            let place = format!("byte {}", line.offset);
            let Some(timestamp) = line.timestamp else {
                let text = format!("expected timestamp for series {}, got none", line.series);
                return Err(self.failure(ErrorType::BadData, &place, text));
            };
            self.in_time(timestamp).map_err(|error| self.failure(ErrorType::BadData, &place, error))?;
            let labels = labels_of(line.series).map_err(|error| error.to_string()).and_then(valid);
            let labels = labels.map_err(|error| self.failure(ErrorType::BadData, &place, error))?;
            self.series.entry(labels).or_default().push((timestamp, Sample::Float(line.value)));
            self.samples += 1;
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Retention counts from the newest sample: one of the future would make all others too old.
    fn in_time(&self, timestamp: i64) -> Result<(), String> {
        if timestamp <= self.now.0.saturating_add(AHEAD_MAX_MS) {
            return Ok(());
        }
        Err(format!("timestamp {timestamp} is in the future, by more than {} minutes", AHEAD_MAX_MS / 60_000))
    }

    fn flush_if_full(&mut self) -> Result<(), ApiError> {
        if self.samples < BATCH_SAMPLES { Ok(()) } else { self.flush() }
    }

    /// Writes what is gathered as blocks, and takes them in.
    fn flush(&mut self) -> Result<(), ApiError> {
        if self.samples == 0 {
            return Ok(());
        }
        let series = std::mem::take(&mut self.series);
        let (count, samples) = (series.len(), std::mem::take(&mut self.samples));
        let written = self.write(series).map_err(|error| self.failure(ErrorType::Internal, "storage", error))?;
        self.done.series += count;
        self.done.samples += samples;
        self.done.blocks.extend(written);
        Ok(())
    }

    fn write(&self, series: BTreeMap<Labels, Samples>) -> Result<Vec<String>, tsdb::Error> {
        let mut writer = self.db.block_writer(self.now)?;
        for (labels, samples) in series {
            for (time, sample) in &samples {
                let value = match sample {
                    Sample::Float(value) => NewValue::Float(*value),
                    Sample::Histogram(histogram) => NewValue::FloatHistogram(histogram),
                };
                writer.append(Timestamp(*time), value);
            }
            writer.end_series(&labels)?;
        }
        Ok(self.db.adopt_written(writer)?.iter().map(|meta| meta.ulid.to_string()).collect())
    }
}

/// Labels that a series may have.
fn valid(labels: Labels) -> Result<Labels, String> {
    if !labels.contains(METRIC_NAME) {
        return Err(format!("series {labels} has no metric name"));
    }
    labels.validate(NameScheme::Utf8).map_err(|error| error.to_string())?;
    Ok(labels)
}

//! Checkpoints: what the living head still needs of segments that are no longer kept. Layout: `docs/formats/wal.md`.

use std::io;
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::storage::StorageError;

use super::Batch;
use super::output::Output;
use super::reader::{Damage, RecordReader};
use super::record::{
    Grouping, MappedMarker, RecordSink, SampleValue, SeriesRecord, Tombstone, WalRef, decode, encode_exemplars,
    encode_metadata, encode_samples, encode_tombstones,
};
use super::repair;
use super::segment::{self, path_of};
use crate::chunk::Stamp;
use crate::config::Compression;
use crate::error::{corrupt, io_error};
use crate::fs::{self, FileSystem};
use crate::metrics::WalInstruments;
use crate::mmap::Map;

const PREFIX: &str = "checkpoint.";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// Series whose metadata stands in one record of a checkpoint.
const METADATA_PER_RECORD: usize = 1000;

/// A checkpoint in the log's directory: it stands for all segments up to `through`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) through: u32,
    pub(crate) directory: PathBuf,
}

/// The checkpoints of a log, oldest first.
pub(crate) fn list(wal: &Path) -> Result<Vec<Checkpoint>, StorageError> {
    let entries = fs::list(wal).map_err(|error| io_error(wal, error))?;
    let mut checkpoints: Vec<_> = entries
        .iter()
        .filter(|entry| entry.is_directory)
        .filter_map(|entry| {
            let through = entry.name.strip_prefix(PREFIX)?.parse().ok()?;
            Some(Checkpoint { through, directory: wal.join(&entry.name) })
        })
        .collect();
    checkpoints.sort_by_key(|checkpoint| checkpoint.through);
    Ok(checkpoints)
}

/// Removes what an interrupted creation left.
pub(crate) fn clean(fs: &dyn FileSystem, wal: &Path) -> Result<(), StorageError> {
    for entry in fs::list(wal).map_err(|error| io_error(wal, error))? {
        let path = wal.join(&entry.name);
        let result = if entry.is_directory && entry.name.starts_with(PREFIX) && entry.name.ends_with(TEMPORARY_SUFFIX) {
            fs.remove_directory(&path)
        } else if !entry.is_directory && entry.name.ends_with(".rewrite") {
            fs.remove_file(&path)
        } else {
            Ok(())
        };
        result.map_err(|error| io_error(&path, error))?;
    }
    Ok(())
}

/// What stays in a checkpoint.
pub(crate) struct Keep<'a> {
    /// Whether a series still lives.
    pub(crate) series: &'a dyn Fn(WalRef) -> bool,
    /// Samples and exemplars before it go.
    pub(crate) min_time: i64,
    /// Tombstones that end before it go.
    pub(crate) tombstones_min_time: i64,
    pub(crate) compression: Compression,
    pub(crate) segment_bytes: u64,
}

/// Writes a checkpoint of the last one and all segments up to `through`. These are of no use then: [`remove_through`].
/// Damage that was met and set aside is told in `damage`.
///
/// # Errors
/// If the disk fails; the old segments then stay in use.
pub(crate) fn create(
    fs: &dyn FileSystem,
    wal: &Path,
    through: u32,
    keep: &Keep<'_>,
    damage: &mut Vec<StorageError>,
) -> Result<(), StorageError> {
    let directory = wal.join(format!("{PREFIX}{through:08}"));
    let temporary = wal.join(format!("{PREFIX}{through:08}{TEMPORARY_SUFFIX}"));
    let old = list(wal)?;
    let io = |error| io_error(&temporary, error);
    if temporary.exists() {
        fs.remove_directory(&temporary).map_err(io)?;
    }
    fs.create_directory(&temporary).map_err(io)?;
    let mut filter = Filter::new(keep, Output::create(fs, &temporary, keep.segment_bytes).map_err(io)?);
    let mut sources = Vec::new();
    if let Some(last) = old.last() {
        sources.extend(segment::list(&last.directory)?.iter().map(|s| (&*last.directory, s.segment)));
    }
    let first = old.last().map_or(0, |last| last.through + 1);
    let segments = segment::list(wal)?.into_iter().filter(|s| (first..=through).contains(&s.segment));
    sources.extend(segments.map(|s| (wal, s.segment)));
    for (directory, segment) in sources {
        copy(fs, directory, segment, &mut filter, damage)?;
    }
    filter.finish().map_err(io)?;
    fs.sync_directory(&temporary).map_err(io)?;
    fs.rename(&temporary, &directory).map_err(io)?;
    fs.sync_directory(wal).map_err(io)
}

/// Removes segments up to `through` and checkpoints before it, and counts these.
pub(crate) fn remove_through(
    fs: &dyn FileSystem,
    wal: &Path,
    through: u32,
    instruments: &WalInstruments,
) -> Result<(), StorageError> {
    for file in segment::list(wal)?.iter().filter(|file| file.segment <= through) {
        let path = path_of(wal, file.segment);
        fs.remove_file(&path).map_err(|error| io_error(&path, error))?;
    }
    for old in list(wal)?.iter().filter(|checkpoint| checkpoint.through < through) {
        instruments.checkpoint_deletions.add(1);
        fs.remove_directory(&old.directory).map_err(|error| {
            instruments.checkpoint_deletions_failed.add(1);
            io_error(&old.directory, error)
        })?;
    }
    Ok(())
}

/// Copies what is to be kept. Damage, which a start from a snapshot does not come across, is set aside as a replay does.
fn copy(
    fs: &dyn FileSystem,
    directory: &Path,
    segment: u32,
    filter: &mut Filter<'_>,
    damage: &mut Vec<StorageError>,
) -> Result<(), StorageError> {
    let source = &path_of(directory, segment);
    let map = Map::open(source).map_err(|error| io_error(source, error))?;
    let mut reader = RecordReader::new(map.bytes());
    loop {
        match reader.advance() {
            Ok(Some(record)) => filter.take(record).map_err(|error| io_error(source, error))?,
            Ok(None) => return Ok(()),
            Err(Damage { good_bytes, offset, reason }) => {
                damage.push(corrupt(source, offset, reason));
                return repair::set_aside(fs, directory, segment, good_bytes);
            }
        }
    }
}

/// Lets through what is to be kept.
struct Filter<'a> {
    keep: &'a Keep<'a>,
    series: SeriesRecord,
    samples: Vec<(WalRef, Stamp, SampleValue)>,
    tombstones: Vec<Tombstone>,
    exemplars: Vec<(WalRef, Exemplar)>,
    /// The last of each series, written at the end.
    metadata: HashMap<WalRef, Metadata, RandomState>,
    batch: Batch,
    output: Output<'a>,
}

impl<'a> Filter<'a> {
    fn new(keep: &'a Keep<'a>, output: Output<'a>) -> Self {
        Self {
            keep,
            series: SeriesRecord::default(),
            samples: Vec::new(),
            tombstones: Vec::new(),
            exemplars: Vec::new(),
            metadata: HashMap::default(),
            batch: Batch::default(),
            output,
        }
    }

    fn take(&mut self, record: &[u8]) -> io::Result<()> {
        let compression = self.keep.compression;
        self.series.clear();
        self.samples.clear();
        self.tombstones.clear();
        self.exemplars.clear();
        self.batch.clear();
        // What cannot be understood was counted at replay; it is not carried on.
        drop(decode(record, self));
        if !self.series.bytes().is_empty() {
            self.batch.push(compression, self.series.bytes());
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let samples = self.samples.iter().map(|(series, stamp, value)| (*series, *stamp, value));
        encode_samples(Grouping::ByKind, samples, &mut bytes, &mut ends);
        let mut start = 0;
        for end in ends {
            self.batch.push(compression, &bytes[start..end]);
            start = end;
        }
        if !self.tombstones.is_empty() {
            bytes.clear();
            encode_tombstones(&self.tombstones, &mut bytes);
            self.batch.push(compression, &bytes);
        }
        if !self.exemplars.is_empty() {
            bytes.clear();
            encode_exemplars(self.exemplars.iter().map(|(series, exemplar)| (*series, exemplar)), &mut bytes);
            self.batch.push(compression, &bytes);
        }
        self.output.write(&self.batch)
    }

    /// Writes the metadata and ends the checkpoint.
    fn finish(&mut self) -> io::Result<()> {
        let mut metadata: Vec<_> = self.metadata.iter().collect();
        metadata.sort_unstable_by_key(|(series, _)| **series);
        for part in metadata.chunks(METADATA_PER_RECORD) {
            let mut bytes = Vec::new();
            encode_metadata(part.iter().map(|(series, metadata)| (**series, *metadata)), &mut bytes);
            self.batch.clear();
            self.batch.push(self.keep.compression, &bytes);
            self.output.write(&self.batch)?;
        }
        self.output.finish()
    }
}

impl RecordSink for Filter<'_> {
    fn series(&mut self, series: WalRef, labels: Labels) {
        if (self.keep.series)(series) {
            self.series.push(series, &labels);
        }
    }

    fn sample(&mut self, series: WalRef, stamp: Stamp, value: SampleValue) {
        if stamp.time >= self.keep.min_time && (self.keep.series)(series) {
            self.samples.push((series, stamp, value));
        }
    }

    fn exemplar(&mut self, series: WalRef, exemplar: Exemplar) {
        let is_recent = exemplar.timestamp.is_some_and(|timestamp| timestamp.0 >= self.keep.min_time);
        if is_recent && (self.keep.series)(series) {
            self.exemplars.push((series, exemplar));
        }
    }

    fn metadata(&mut self, series: WalRef, metadata: Metadata) {
        if (self.keep.series)(series) {
            self.metadata.insert(series, metadata);
        }
    }

    // These stand in the write-behind log only.
    fn mapped_marker(&mut self, _marker: MappedMarker) {}

    fn tombstone(&mut self, tombstone: Tombstone) {
        if tombstone.max_time >= self.keep.tombstones_min_time && (self.keep.series)(tombstone.series) {
            self.tombstones.push(tombstone);
        }
    }

    fn skipped(&mut self, _kind: u8) {}
}

//! Following the logs while they are written: what was committed, in order, for whoever passes it on (remote write).
//!
//! A [`TailPosition`] is all a reader has to remember. Reading never holds the database up: segments are mapped, and only
//! their sound part is read.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use model::exemplar::Exemplar;
use model::histogram::{FloatHistogram, IntHistogram};
use model::labels::Labels;
use model::metadata::Metadata;
use model::storage::StorageError;

use crate::chunk::Stamp;
use crate::db::Db;
use crate::error::io_error;
use crate::head::snapshot::LogPlace;
use crate::mmap::Map;
use crate::wal::Wal;
use crate::wal::checkpoint;
use crate::wal::reader::RecordReader;
use crate::wal::record::{self, MappedMarker, RecordSink, SampleValue, Tombstone};
use crate::wal::segment::{self, path_of};

/// A place in one log: the next record to read begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    /// Number of the segment.
    pub segment: u32,
    /// Byte in the segment.
    pub offset: u64,
}

/// How far both logs have been read. Prints and parses as `wal-segment:offset/wbl-segment:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailPosition {
    /// In the write-ahead log.
    pub wal: LogPosition,
    /// In the write-behind log, which holds out-of-order samples.
    pub wbl: LogPosition,
}

/// The text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected segment:offset/segment:offset, got {0:?}")]
pub struct PositionError(pub String);

impl fmt::Display for TailPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wal, wbl } = self;
        write!(f, "{}:{}/{}:{}", wal.segment, wal.offset, wbl.segment, wbl.offset)
    }
}

impl FromStr for TailPosition {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let log = |text: &str| {
            let (segment, offset) = text.split_once(':')?;
            Some(LogPosition { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
        };
        let both = text.trim().split_once('/').and_then(|(wal, wbl)| Some(Self { wal: log(wal)?, wbl: log(wbl)? }));
        both.ok_or_else(|| PositionError(text.to_owned()))
    }
}

/// A sample's value.
#[derive(Debug, Clone)]
pub enum TailValue {
    /// A number.
    Float(f64),
    /// A native histogram with integer counts.
    Int(Arc<IntHistogram>),
    /// A native histogram with float counts.
    FloatHistogram(Arc<FloatHistogram>),
}

/// Takes what was committed. Series are told before their samples, by numbers that are never used twice.
pub trait TailSink {
    /// A series.
    fn series(&mut self, series: u64, labels: Labels);
    /// A sample at `time`, whose counting began at `start` (0 if that is not known); both in ms.
    fn sample(&mut self, series: u64, start: i64, time: i64, value: TailValue);
    /// An exemplar; its timestamp is always given.
    fn exemplar(&mut self, series: u64, exemplar: Exemplar);
    /// What the series says of its family.
    fn metadata(&mut self, series: u64, metadata: Metadata);
}

/// What one turn of reading did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailTurn {
    /// Records read.
    pub records: usize,
    /// Whether the end of both logs was reached.
    pub at_end: bool,
    /// Segments that were gone before they were read, or damaged from some place on.
    pub segments_lost: u32,
}

/// Passes records on, or only series and metadata of them.
struct Adapter<'s, S> {
    sink: &'s mut S,
    only_series: bool,
}

impl<S: TailSink> RecordSink for Adapter<'_, S> {
    fn series(&mut self, series: u64, labels: Labels) {
        self.sink.series(series, labels);
    }

    fn sample(&mut self, series: u64, stamp: Stamp, value: SampleValue) {
        if self.only_series {
            return;
        }
        let value = match value {
            SampleValue::Float(float) => TailValue::Float(float),
            SampleValue::Int(histogram) => TailValue::Int(histogram),
            SampleValue::FloatHistogram(histogram) => TailValue::FloatHistogram(histogram),
        };
        self.sink.sample(series, stamp.start, stamp.time, value);
    }

    fn tombstone(&mut self, _tombstone: Tombstone) {}

    fn exemplar(&mut self, series: u64, exemplar: Exemplar) {
        if !self.only_series {
            self.sink.exemplar(series, exemplar);
        }
    }

    fn metadata(&mut self, series: u64, metadata: Metadata) {
        self.sink.metadata(series, metadata);
    }

    fn mapped_marker(&mut self, _marker: MappedMarker) {}

    fn skipped(&mut self, _kind: u8) {}
}

fn position_of(place: LogPlace) -> LogPosition {
    LogPosition { segment: place.segment, offset: place.offset }
}

impl Db {
    /// Where the logs end now.
    pub fn tail_end(&self) -> TailPosition {
        let (wal, wbl) = self.logs();
        TailPosition { wal: position_of(wal.place()), wbl: wbl.map(|wbl| position_of(wbl.place())).unwrap_or_default() }
    }

    /// The segment that the log's oldest checkpoint stands for, if there is one: a new one means that series may be gone.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn checkpoint_segment(&self) -> Result<Option<u32>, StorageError> {
        Ok(checkpoint::list(self.logs().0.directory())?.last().map(|checkpoint| checkpoint.through))
    }

    /// All series that the log knows, up to `end`, and what they say of their families.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn tail_series(&self, end: TailPosition, sink: &mut impl TailSink) -> Result<(), StorageError> {
        let wal = self.logs().0.directory();
        let mut adapter = Adapter { sink, only_series: true };
        if let Some(last) = checkpoint::list(wal)?.last() {
            for file in segment::list(&last.directory)? {
                read_segment(&path_of(&last.directory, file.segment), 0, u64::MAX, usize::MAX, &mut adapter)?;
            }
        }
        for file in segment::list(wal)?.iter().filter(|file| file.segment <= end.wal.segment) {
            let through = if file.segment == end.wal.segment { end.wal.offset } else { u64::MAX };
            read_segment(&path_of(wal, file.segment), 0, through, usize::MAX, &mut adapter)?;
        }
        Ok(())
    }

    /// Reads on from `position`, at most about `records_max` records, and moves it behind what was read.
    ///
    /// # Errors
    /// If a file cannot be read; what was read before is behind `position`.
    pub fn tail(
        &self,
        position: &mut TailPosition,
        records_max: usize,
        sink: &mut impl TailSink,
    ) -> Result<TailTurn, StorageError> {
        let mut adapter = Adapter { sink, only_series: false };
        let (wal, wbl) = self.logs();
        // The write-behind log's end first: series of its samples stand in the write-ahead log before that.
        let wbl_end = wbl.map(|wbl| position_of(wbl.place()));
        let mut turn = TailTurn { at_end: true, ..TailTurn::default() };
        let end = position_of(wal.place());
        follow(wal, &mut position.wal, end, records_max, &mut adapter, &mut turn)?;
        if let (Some(wbl), Some(end), true) = (wbl, wbl_end, turn.at_end) {
            follow(wbl, &mut position.wbl, end, records_max, &mut adapter, &mut turn)?;
        }
        Ok(turn)
    }
}

/// Reads one log on, up to `end`.
fn follow<S: TailSink>(
    log: &Wal,
    position: &mut LogPosition,
    end: LogPosition,
    records_max: usize,
    adapter: &mut Adapter<'_, S>,
    turn: &mut TailTurn,
) -> Result<(), StorageError> {
    if *position > end {
        // Of another log, or of one that was cut: what is there now is all there is.
        *position = end;
    }
    while *position < end {
        if turn.records >= records_max {
            turn.at_end = false;
            return Ok(());
        }
        let is_last = position.segment == end.segment;
        let through = if is_last { end.offset } else { u64::MAX };
        let path = path_of(log.directory(), position.segment);
        if !path.exists() {
            turn.segments_lost += 1;
            let next = segment::list(log.directory())?.iter().map(|file| file.segment).find(|&s| s > position.segment);
            *position = LogPosition { segment: next.unwrap_or(end.segment), offset: 0 };
            continue;
        }
        let room = records_max - turn.records;
        let read = read_segment(&path, position.offset, through, room, adapter)?;
        turn.records += read.records;
        turn.segments_lost += u32::from(read.is_damaged);
        position.offset = read.offset;
        if read.is_over && !is_last {
            *position = LogPosition { segment: position.segment + 1, offset: 0 };
        } else if read.is_over {
            // Padding of a page may stand before the end.
            position.offset = end.offset;
        }
    }
    Ok(())
}

struct Read {
    records: usize,
    offset: u64,
    /// Whether nothing more can be read of the segment.
    is_over: bool,
    is_damaged: bool,
}

fn read_segment<S: TailSink>(
    path: &Path,
    from: u64,
    through: u64,
    records_max: usize,
    adapter: &mut Adapter<'_, S>,
) -> Result<Read, StorageError> {
    let map = Map::open(path).map_err(|error| io_error(path, error))?;
    let bytes = map.bytes();
    let end = usize::try_from(through).unwrap_or(usize::MAX).min(bytes.len());
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(end);
    let mut reader = RecordReader::starting_at(&bytes[..end], from);
    let mut read = Read { records: 0, offset: from as u64, is_over: false, is_damaged: false };
    while read.records < records_max {
        match reader.advance() {
            Ok(Some(bytes)) => {
                // A record that cannot be decoded has a right checksum: it is of a newer version, and passed over.
                let _passed_over = record::decode(bytes, adapter);
                read.records += 1;
                read.offset = reader.position();
            }
            Ok(None) => {
                read.is_over = true;
                break;
            }
            Err(_damage) => {
                (read.is_over, read.is_damaged) = (true, true);
                break;
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use model::labels;
    use model::sample::Timestamp;
    use model::storage::{Appendable as _, NewValue};

    use super::*;
    use crate::Config;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl TailSink for Seen {
        fn series(&mut self, series: u64, labels: Labels) {
            self.0.push(format!("{series} is {labels}"));
        }

        fn sample(&mut self, series: u64, _start: i64, time: i64, value: TailValue) {
            self.0.push(format!("{series} {time} {value:?}"));
        }

        fn exemplar(&mut self, series: u64, exemplar: Exemplar) {
            self.0.push(format!("{series} {exemplar:?}"));
        }

        fn metadata(&mut self, series: u64, metadata: Metadata) {
            self.0.push(format!("{series} {metadata:?}"));
        }
    }

    fn append(db: &Db, name: &str, time: i64, value: f64) {
        let mut appender = db.appender();
        let labels = labels! { "__name__" => name };
        appender.append(&labels, Timestamp(time), NewValue::Float(value)).unwrap();
        appender.commit().unwrap();
    }

    #[test]
    fn what_is_committed_is_seen_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { wal_segment_bytes: 64 * 1024, ..Config::default() };
        let db = Db::open(dir.path(), config.clone()).unwrap();
        db.set_out_of_order_window(1_000_000).unwrap();
        append(&db, "before", 1, 1.0);
        let mut position = db.tail_end();
        assert_eq!(position.to_string().parse(), Ok(position));
        let mut seen = Seen::default();
        db.tail_series(position, &mut seen).unwrap();
        assert_eq!(seen.0, [r#"1 is {__name__="before"}"#]);
        seen.0.clear();
        // Over several segments.
        (0..5000).for_each(|i| append(&db, "a", 1000 + i, i as f64));
        append(&db, "a", 500, 0.5);
        while !db.tail(&mut position, 100, &mut seen).unwrap().at_end {}
        assert!(position.wal.segment > 1, "{position}");
        assert_eq!(seen.0.len(), 5002);
        assert_eq!(seen.0[0], r#"2 is {__name__="a"}"#);
        assert_eq!(seen.0[1], "2 1000 Float(0.0)");
        assert_eq!(seen.0[5001], "2 500 Float(0.5)");
        // A position outlives the process.
        db.close().unwrap();
        drop(db);
        let db = Db::open(dir.path(), config).unwrap();
        append(&db, "a", 9000, 9.0);
        seen.0.clear();
        while !db.tail(&mut position, 100, &mut seen).unwrap().at_end {}
        assert_eq!(seen.0, ["2 9000 Float(9.0)"]);
        assert!("1:2".parse::<TailPosition>().is_err());
    }
}

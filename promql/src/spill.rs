//! Series with many points: those beyond a given size wait in a file until they are sent, so that an answer of any size
//! takes the same memory.
//!
//! ```text
//! finished series -> SpillBuilder -> memory, or an unnamed file -> SpilledMatrix
//! ```
//!
//! In the file a series of a range query is a float for each of its steps, one of a range vector has times and floats in
//! turn; all of them 8 bytes, the lowest first.
//!
//! A query's faults are known before the first series is read back: what was answered is never taken back.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::labels::Labels;
use model::sample::Timestamp;
use model::storage::StorageError;

use crate::error::{Error, Fault};
use crate::exec::budget::Charge;
use crate::value::{Column, MatrixSeries, Point, Points, Steps};

/// Bytes of a time and its float.
const SAMPLE_BYTES: usize = 16;

/// When and where finished series leave memory.
#[derive(Debug, Clone)]
pub struct Spill {
    /// Where the file is made. It has no name, so nothing of it is left once the answer is sent or the process ends.
    pub directory: PathBuf,
    /// The most bytes of finished series that are held in memory. Native histograms are held whatever they weigh.
    pub memory_max: u64,
}

/// Series ordered by their labels.
#[derive(Debug, Clone)]
pub struct SpilledMatrix {
    steps: Steps,
    series: Vec<Waiting>,
    file: Option<SpillFile>,
}

/// A finished series.
#[derive(Debug, Clone)]
struct Waiting {
    labels: Labels,
    place: Place,
}

impl Waiting {
    fn is_stepped(&self) -> bool {
        matches!(self.place, Place::Points(_) | Place::PointsAt(_))
    }
}

#[derive(Debug, Clone)]
enum Place {
    /// At the steps of the query.
    Points(Points),
    /// The same in the file, from this byte on.
    PointsAt(u64),
    /// At times of its own.
    Samples(MatrixSeries),
    /// The same in the file.
    SamplesAt { offset: u64, count: usize },
}

#[derive(Debug, Clone)]
struct SpillFile {
    directory: PathBuf,
    file: Arc<File>,
}

impl SpillFile {
    fn read(&self, offset: u64, count: usize) -> Result<Vec<[u8; 8]>, Error> {
        let mut words = vec![[0; 8]; count];
        let read = self.file.read_exact_at(words.as_flattened_mut(), offset);
        read.map_err(|error| failed(&self.directory, error))?;
        Ok(words)
    }
}

fn failed(directory: &Path, error: std::io::Error) -> Error {
    Error::Storage(StorageError::Io { path: directory.to_owned(), source: Arc::new(error) })
}

impl SpilledMatrix {
    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many points they may have together.
    pub fn points_max(&self) -> usize {
        let points = |waiting: &Waiting| match &waiting.place {
            Place::Points(_) | Place::PointsAt(_) => self.steps.count,
            Place::Samples(series) => series.floats.len() + series.histograms.len(),
            Place::SamplesAt { count, .. } => *count,
        };
        self.series.iter().map(points).sum()
    }

    /// Whether some of them wait in a file.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// How many bytes the points take, in memory or in the file.
    pub(crate) fn bytes(&self) -> u64 {
        let of_steps = (self.steps.count * size_of::<f64>()) as u64;
        let bytes = |waiting: &Waiting| match &waiting.place {
            Place::Points(points) => points.bytes(),
            Place::PointsAt(_) => of_steps,
            Place::Samples(series) => series.bytes(),
            Place::SamplesAt { count, .. } => (count * SAMPLE_BYTES) as u64,
        };
        self.series.iter().map(bytes).sum()
    }

    /// The series one by one; each is forgotten when the next is taken.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn into_series(self) -> impl ExactSizeIterator<Item = Result<MatrixSeries, Error>> {
        let Self { steps, series, file } = self;
        series.into_iter().map(move |Waiting { labels, place }| match place {
            Place::Samples(series) => Ok(MatrixSeries { labels, ..series }),
            Place::SamplesAt { offset, count } => {
                let words = file.as_ref().map_or(Ok(Vec::new()), |file| file.read(offset, count * 2))?;
                let (pairs, _) = words.as_chunks::<2>();
                let floats = pairs
                    .iter()
                    .map(|[time, value]| (Timestamp(i64::from_le_bytes(*time)), f64::from_le_bytes(*value)));
                Ok(MatrixSeries { labels, floats: floats.collect(), histograms: Vec::new() })
            }
            stepped => Ok(matrix_series(labels, &load(stepped, file.as_ref(), steps)?, steps)),
        })
    }
}

impl PartialEq for SpilledMatrix {
    fn eq(&self, other: &Self) -> bool {
        let all = |matrix: &Self| matrix.clone().into_series().collect::<Result<Vec<_>, _>>();
        matches!((all(self), all(other)), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
}

/// The points of a series at the query's steps.
fn load(place: Place, file: Option<&SpillFile>, steps: Steps) -> Result<Points, Error> {
    match (place, file) {
        (Place::Points(points), _) => Ok(points),
        (Place::PointsAt(offset), Some(file)) => {
            let words = file.read(offset, steps.count)?;
            Ok(Points { floats: words.into_iter().map(f64::from_le_bytes).collect(), histograms: None })
        }
        // A place in a file is not without a file, and one with times of its own is not asked for.
        _ => Ok(Points::absent(steps.count)),
    }
}

/// Floats and histograms apart.
pub(crate) fn matrix_series(labels: Labels, points: &Points, steps: Steps) -> MatrixSeries {
    let mut series = MatrixSeries { labels, ..MatrixSeries::default() };
    for i in 0..steps.count {
        let time = Timestamp(steps.at(i));
        match points.get(i) {
            Some(Point::Float(value)) => series.floats.push((time, value)),
            Some(Point::Histogram(histogram)) => series.histograms.push((time, histogram.clone())),
            None => {}
        }
    }
    series
}

/// Takes series as they are finished.
pub(crate) struct SpillBuilder<'a> {
    spill: &'a Spill,
    steps: Steps,
    series: Vec<Waiting>,
    /// What all series weigh in the query's budget, those in the file too: one limit bounds memory and file.
    charges: Vec<Charge>,
    in_memory: u64,
    file: Option<(BufWriter<File>, u64)>,
}

impl<'a> SpillBuilder<'a> {
    pub(crate) fn new(spill: &'a Spill, steps: Steps) -> Self {
        Self { spill, steps, series: Vec::new(), charges: Vec::new(), in_memory: 0, file: None }
    }

    /// Takes a series of a range query, unless it has no point.
    ///
    /// # Errors
    /// If the file cannot be made or written.
    pub(crate) fn push(&mut self, column: Column) -> Result<(), Error> {
        let Column { labels, points, charge, .. } = column;
        if points.any_present() { self.take(labels, Place::Points(points), charge) } else { Ok(()) }
    }

    /// Takes a series of a range vector.
    ///
    /// # Errors
    /// If the file cannot be made or written.
    pub(crate) fn push_samples(&mut self, series: MatrixSeries, charge: Charge) -> Result<(), Error> {
        self.take(series.labels.clone(), Place::Samples(series), charge)
    }

    fn take(&mut self, labels: Labels, place: Place, charge: Charge) -> Result<(), Error> {
        self.charges.push(charge);
        let place = if self.file.is_some() { self.moved(place)? } else { place };
        self.in_memory += match &place {
            Place::Points(points) => points.bytes(),
            Place::Samples(series) => series.bytes(),
            Place::PointsAt(_) | Place::SamplesAt { .. } => 0,
        };
        self.series.push(Waiting { labels, place });
        if self.file.is_none() && self.in_memory > self.spill.memory_max { self.leave_memory() } else { Ok(()) }
    }

    /// Moves what can wait in a file there.
    fn leave_memory(&mut self) -> Result<(), Error> {
        let directory = &self.spill.directory;
        let file = tempfile::tempfile_in(directory).map_err(|error| failed(directory, error))?;
        self.file = Some((BufWriter::with_capacity(1 << 20, file), 0));
        let series = std::mem::take(&mut self.series);
        self.series.reserve(series.len());
        for Waiting { labels, place } in series {
            let place = self.moved(place)?;
            self.series.push(Waiting { labels, place });
        }
        Ok(())
    }

    /// Writes a series behind the others in the file, if it has no histograms.
    fn moved(&mut self, place: Place) -> Result<Place, Error> {
        let Some((file, end)) = &mut self.file else { return Ok(place) };
        let offset = *end;
        let mut put = |word: [u8; 8]| {
            *end += word.len() as u64;
            file.write_all(&word).map_err(|error| failed(&self.spill.directory, error))
        };
        match place {
            Place::Points(points) if points.histograms.is_none() => {
                points.floats.iter().try_for_each(|value| put(value.to_le_bytes()))?;
                Ok(Place::PointsAt(offset))
            }
            Place::Samples(series) if series.histograms.is_empty() => {
                for (time, value) in &series.floats {
                    put(time.0.to_le_bytes())?;
                    put(value.to_le_bytes())?;
                }
                Ok(Place::SamplesAt { offset, count: series.floats.len() })
            }
            held => Ok(held),
        }
    }

    /// All series in order of their labels; those of a range query with the same labels joined.
    ///
    /// # Errors
    /// If two series with the same labels have a point at the same step, or the file fails.
    pub(crate) fn finish(self) -> Result<SpilledMatrix, Error> {
        let Self { spill, steps, mut series, file, .. } = self;
        let file = match file {
            None => None,
            Some((file, _)) => {
                let failed = |error| failed(&spill.directory, error);
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                Some(SpillFile { directory: spill.directory.clone(), file: Arc::new(file) })
            }
        };
        // Stable: of the same labels the first come first.
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut joined: Vec<Waiting> = Vec::with_capacity(series.len());
        for waiting in series {
            match joined.last_mut() {
                Some(last) if last.labels == waiting.labels && waiting.is_stepped() => {
                    let empty = Place::Points(Points::default());
                    let mut into = load(std::mem::replace(&mut last.place, empty), file.as_ref(), steps)?;
                    join(&mut into, &load(waiting.place, file.as_ref(), steps)?)?;
                    last.place = Place::Points(into);
                }
                _ => joined.push(waiting),
            }
        }
        Ok(SpilledMatrix { steps, series: joined, file })
    }
}

/// Adds the points of one series to those of another.
///
/// # Errors
/// If both have a point at the same step.
pub(crate) fn join(into: &mut Points, other: &Points) -> Result<(), Error> {
    for i in 0..other.len() {
        let Some(point) = other.get(i) else { continue };
        if into.is_present(i) {
            return Err(Fault::SameLabels.into());
        }
        into.set(i, point);
    }
    Ok(())
}

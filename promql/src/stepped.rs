//! The series of a range query, a number per step each: those beyond a given size wait in a file until they are sent, so
//! that an answer of any size takes the same memory.
//!
//! ```text
//! batches of columns -> SteppedBuilder -> memory, or slots of `8 * steps` bytes in an unnamed file -> SteppedMatrix
//! ```
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

/// When and where the series of a range query leave memory.
#[derive(Debug, Clone)]
pub struct Spill {
    /// Where the file is made. It has no name, so nothing of it is left once the answer is sent or the process ends.
    pub directory: PathBuf,
    /// The most bytes of finished series that are held in memory. Native histograms are held whatever they weigh.
    pub memory_max: u64,
}

/// Series ordered by their labels.
#[derive(Debug, Clone)]
pub struct SteppedMatrix {
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

#[derive(Debug, Clone)]
enum Place {
    Memory(Points),
    /// In the file, by the number of its slot.
    Slot(u64),
}

#[derive(Debug, Clone)]
struct SpillFile {
    directory: PathBuf,
    file: Arc<File>,
}

impl SpillFile {
    fn read(&self, slot: u64, count: usize) -> Result<Points, Error> {
        let mut bytes = vec![0; count * size_of::<f64>()];
        let offset = slot * bytes.len() as u64;
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| failed(&self.directory, error))?;
        let (floats, _) = bytes.as_chunks::<8>();
        Ok(Points { floats: floats.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(), histograms: None })
    }
}

fn failed(directory: &Path, error: std::io::Error) -> Error {
    Error::Storage(StorageError::Io { path: directory.to_owned(), source: Arc::new(error) })
}

impl SteppedMatrix {
    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many points they may have together: none has more than there are steps.
    pub fn points_max(&self) -> usize {
        self.series.len() * self.steps.count
    }

    /// Whether some of them wait in a file.
    pub fn is_spilled(&self) -> bool {
        self.file.is_some()
    }

    /// How many bytes the points take, in memory or in the file.
    pub(crate) fn bytes(&self) -> u64 {
        let of_slot = (self.steps.count * size_of::<f64>()) as u64;
        let bytes = |waiting: &Waiting| match &waiting.place {
            Place::Memory(points) => points.bytes(),
            Place::Slot(_) => of_slot,
        };
        self.series.iter().map(bytes).sum()
    }

    /// The series one by one; each is forgotten when the next is taken.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn into_series(self) -> impl ExactSizeIterator<Item = Result<MatrixSeries, Error>> {
        let Self { steps, series, file } = self;
        series.into_iter().map(move |Waiting { labels, place }| {
            let points = load(place, file.as_ref(), steps)?;
            Ok(matrix_series(labels, &points, steps))
        })
    }
}

impl PartialEq for SteppedMatrix {
    fn eq(&self, other: &Self) -> bool {
        let all = |matrix: &Self| matrix.clone().into_series().collect::<Result<Vec<_>, _>>();
        matches!((all(self), all(other)), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
}

fn load(place: Place, file: Option<&SpillFile>, steps: Steps) -> Result<Points, Error> {
    match (place, file) {
        (Place::Memory(points), _) => Ok(points),
        (Place::Slot(slot), Some(file)) => file.read(slot, steps.count),
        (Place::Slot(_), None) => Ok(Points::absent(steps.count)),
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
pub(crate) struct SteppedBuilder<'a> {
    spill: &'a Spill,
    steps: Steps,
    series: Vec<Waiting>,
    /// What all series weigh in the query's budget, those in the file too: one limit bounds memory and file.
    charges: Vec<Charge>,
    in_memory: u64,
    file: Option<(BufWriter<File>, u64)>,
}

impl<'a> SteppedBuilder<'a> {
    pub(crate) fn new(spill: &'a Spill, steps: Steps) -> Self {
        Self { spill, steps, series: Vec::new(), charges: Vec::new(), in_memory: 0, file: None }
    }

    /// Takes a series, unless it has no point.
    ///
    /// # Errors
    /// If the file cannot be made or written.
    pub(crate) fn push(&mut self, column: Column) -> Result<(), Error> {
        let Column { labels, points, charge, .. } = column;
        if !points.any_present() {
            return Ok(());
        }
        self.charges.push(charge);
        if self.file.is_some() && points.histograms.is_none() {
            let slot = self.write(&points)?;
            self.series.push(Waiting { labels, place: Place::Slot(slot) });
            return Ok(());
        }
        self.in_memory += points.bytes();
        self.series.push(Waiting { labels, place: Place::Memory(points) });
        if self.file.is_none() && self.in_memory > self.spill.memory_max {
            self.leave_memory()?;
        }
        Ok(())
    }

    /// Moves what can wait in a file there.
    fn leave_memory(&mut self) -> Result<(), Error> {
        let directory = &self.spill.directory;
        let file = tempfile::tempfile_in(directory).map_err(|error| failed(directory, error))?;
        self.file = Some((BufWriter::with_capacity(1 << 20, file), 0));
        let mut series = std::mem::take(&mut self.series);
        for waiting in &mut series {
            if let Place::Memory(points) = &waiting.place
                && points.histograms.is_none()
            {
                waiting.place = Place::Slot(self.write(points)?);
            }
        }
        self.series = series;
        Ok(())
    }

    /// Writes a series into the next slot of the file.
    fn write(&mut self, points: &Points) -> Result<u64, Error> {
        let Some((file, slots)) = &mut self.file else { return Ok(0) };
        for value in &points.floats {
            file.write_all(&value.to_le_bytes()).map_err(|error| failed(&self.spill.directory, error))?;
        }
        *slots += 1;
        Ok(*slots - 1)
    }

    /// All series in order of their labels, those with the same labels joined.
    ///
    /// # Errors
    /// If two series with the same labels have a point at the same step, or the file fails.
    pub(crate) fn finish(self) -> Result<SteppedMatrix, Error> {
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
                Some(last) if last.labels == waiting.labels => {
                    let empty = Place::Memory(Points::default());
                    let mut into = load(std::mem::replace(&mut last.place, empty), file.as_ref(), steps)?;
                    join(&mut into, &load(waiting.place, file.as_ref(), steps)?)?;
                    last.place = Place::Memory(into);
                }
                _ => joined.push(waiting),
            }
        }
        Ok(SteppedMatrix { steps, series: joined, file })
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

//! What a collector is, and how its files are read.

use std::io;
use std::path::{Path, PathBuf};

use exposition::family::MetricFamily;

/// The largest file under `/proc` or `/sys` that is read.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a collector gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: line {line}: expected {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What should have stood there.
        expected: &'static str,
    },
    /// This machine has nothing of the kind.
    #[error("collector returned no data: {0} does not exist")]
    NoData(String),
    /// A call to the operating system failed.
    #[error("{call}: {source}")]
    System {
        /// Which.
        call: &'static str,
        /// How.
        source: io::Error,
    },
}

/// Where the machine's files are, so that a container can watch its host.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `/proc`
    pub procfs: PathBuf,
    /// `/sys`
    pub sysfs: PathBuf,
    /// `/`
    pub rootfs: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { procfs: "/proc".into(), sysfs: "/sys".into(), rootfs: "/".into() }
    }
}

impl Paths {
    /// Reads a file under `/proc`.
    ///
    /// # Errors
    /// [`CollectError::NoData`] if there is no such file.
    pub fn read_proc(&self, file: &str) -> Result<Text, CollectError> {
        Text::read(self.procfs.join(file))
    }

    /// Reads a file under `/sys`.
    ///
    /// # Errors
    /// [`CollectError::NoData`] if there is no such file.
    pub fn read_sys(&self, file: &str) -> Result<Text, CollectError> {
        Text::read(self.sysfs.join(file))
    }
}

/// A file's text, which remembers where it came from.
#[derive(Debug)]
pub struct Text {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

impl Text {
    /// Reads a whole file; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`CollectError::NoData`] if there is no such file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CollectError> {
        let path = path.as_ref().to_owned();
        match std::fs::File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)?;
            Ok(bytes)
        }) {
            Ok(bytes) => Ok(Self { text: String::from_utf8_lossy(&bytes).into_owned(), path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CollectError::NoData(path.display().to_string()))
            }
            Err(source) => Err(CollectError::Read { path, source }),
        }
    }

    /// The lines with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// A fault at a line.
    pub fn expected(&self, line: usize, expected: &'static str) -> CollectError {
        CollectError::Format { path: self.path.clone(), line, expected }
    }

    /// A number somewhere on a line.
    ///
    /// # Errors
    /// If `field` is absent or no number.
    pub fn number(&self, line: usize, field: Option<&str>) -> Result<f64, CollectError> {
        field.and_then(|text| text.trim().parse().ok()).ok_or_else(|| self.expected(line, "a number"))
    }

    /// The number that the whole file is.
    ///
    /// # Errors
    /// If it is none.
    pub fn sole_number(&self) -> Result<f64, CollectError> {
        self.number(1, Some(&self.text))
    }
}

/// A group of metrics that is read together and can be switched off.
pub trait Collector: Send + Sync {
    /// As in flags and in the `collector` label.
    fn name(&self) -> &'static str;

    /// Appends what it finds.
    ///
    /// # Errors
    /// If nothing can be said; what was appended before stays.
    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError>;
}

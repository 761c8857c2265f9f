//! What can go wrong when opening or maintaining a database, beyond what [`StorageError`] already names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

/// Why a database could not be opened or maintained.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the data directory open.
    #[error("{}: the data directory is locked by another process; stop it, or give this one its own directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A setting is out of its range.
    #[error("storage setting {name}: {reason}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What is expected.
        reason: &'static str,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An I/O error with the path it happened on.
pub(crate) fn io_error(path: &Path, source: io::Error) -> StorageError {
    StorageError::Io { path: path.to_owned(), source: Arc::new(source) }
}

/// Damage with the place it stands at.
pub(crate) fn corrupt(file: &Path, offset: u64, reason: impl ToString) -> StorageError {
    StorageError::Corrupt { file: file.to_owned(), offset, reason: reason.to_string() }
}

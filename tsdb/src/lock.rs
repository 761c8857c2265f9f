//! The data directory's lock file, as Prometheus has it: `lock`, held with flock while the database is open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, io_error};

/// Turns after which someone else keeps winning the race for the lock file.
const TURNS_MAX: usize = 16;

/// A locked data directory; unlocked when dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    path: PathBuf,
    _file: File,
    /// No lock file was left behind by an unclean stop.
    pub(crate) was_clean: bool,
}

impl DirectoryLock {
    /// Locks `directory`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("lock");
        for _ in 0..TURNS_MAX {
            let was_clean = !path.exists();
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(|error| io_error(&path, error))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(Error::Locked { path }),
                Err(error) => return Err(io_error(&path, error.into()).into()),
            }
            // The file may have been removed by its last holder between opening and locking.
            let is_there = match (file.metadata(), std::fs::metadata(&path)) {
                (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
                _ => false,
            };
            if is_there {
                return Ok(Self { path, _file: file, was_clean });
            }
        }
        Err(Error::Locked { path })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Removed while still locked, so that it is never another one's file. A file left behind only reads as an
        // unclean stop.
        let _left_behind = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(directory.path()).unwrap();
        assert!(lock.was_clean);
        assert!(matches!(DirectoryLock::acquire(directory.path()), Err(Error::Locked { .. })));
        drop(lock);
        std::fs::write(directory.path().join("lock"), "").unwrap();
        assert!(!DirectoryLock::acquire(directory.path()).unwrap().was_clean);
    }
}

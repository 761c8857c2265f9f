//! The file system for those who may only look: whatever would change a file outside a scratch directory is left undone, and
//! said to have worked.
//!
//! So a database opens as it always does, repairs included, and the disk stays as it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, FileSystem, WriteFile};

/// Changes nothing outside `scratch`.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    scratch: PathBuf,
}

impl ReadOnly {
    pub(crate) fn outside(scratch: PathBuf) -> Self {
        Self { scratch }
    }

    fn if_inside(&self, path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if path.starts_with(&self.scratch) { change() } else { Ok(()) }
    }
}

impl FileSystem for ReadOnly {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        if path.starts_with(&self.scratch) { Disk.create(path) } else { Ok(Arc::new(Nowhere)) }
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.if_inside(path, || Disk.create_directory(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.if_inside(from, || Disk.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.if_inside(to, || Disk.hard_link(from, to))
    }

    fn cut_file(&self, path: &Path, length: u64) -> io::Result<()> {
        self.if_inside(path, || Disk.cut_file(path, length))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.if_inside(path, || Disk.remove_file(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.if_inside(path, || Disk.remove_directory(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.if_inside(path, || Disk.sync_directory(path))
    }
}

/// A file that takes everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl WriteFile for Nowhere {
    fn write_all(&self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

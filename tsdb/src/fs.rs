//! The file system as this crate uses it: a seam, so that tests can lose unsynced bytes, fail any call, or crash between
//! any two.
//!
//! Reading goes through [`crate::mmap`]; only what changes the disk passes here.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod read_only;

/// A file open for appending.
pub(crate) trait WriteFile: Send + Sync + Debug {
    /// Appends all of `bytes` with one write call where the system allows.
    fn write_all(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length` bytes; later writes append there.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// What stands in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) is_directory: bool,
}

/// Everything this crate does to directories and files.
pub(crate) trait FileSystem: Send + Sync + Debug {
    /// Creates the file, emptying one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>>;
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Cuts a file that is not open for appending to `length` bytes.
    fn cut_file(&self, path: &Path, length: u64) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// What the directory holds, ordered by name; nothing if it does not exist. Names that are not UTF-8 are left out.
pub(crate) fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let directory = match std::fs::read_dir(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for entry in directory {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(Entry { name, bytes: metadata.len(), is_directory: metadata.is_dir() });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Bytes of all files in the directory and below it.
pub(crate) fn bytes_below(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in list(path)? {
        bytes += if entry.is_directory { bytes_below(&path.join(&entry.name))? } else { entry.bytes };
    }
    Ok(bytes)
}

/// Writes a file beside the old one, makes it durable and puts it in its place.
pub(crate) fn replace(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let file = fs.create(&temporary)?;
    file.write_all(bytes)?;
    file.sync()?;
    fs.rename(&temporary, path)?;
    fs.sync_directory(path.parent().unwrap_or(path))
}

/// The real file system.
#[derive(Debug)]
pub(crate) struct Disk;

impl FileSystem for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(0)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn cut_file(&self, path: &Path, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl WriteFile for DiskFile {
    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

//! A file system that fails at a chosen call: once, for good as in a crash, or for good losing what was not synced.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, FileSystem, WriteFile};
use crate::sync::Mutex;

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// That call fails half done, those after it succeed.
    Once,
    /// That call fails half done, and every one after it fails.
    Crash,
}

/// The disk with a fault.
#[derive(Debug)]
pub(crate) struct Faulty {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    calls: usize,
    fault_at: usize,
    /// Written and synced bytes of each file.
    files: HashMap<PathBuf, Lengths>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    written: u64,
    synced: u64,
}

impl State {
    fn call(&mut self) -> Result<(), io::Error> {
        self.calls += 1;
        let fails = match self.fault {
            Fault::Once => self.calls == self.fault_at,
            Fault::Crash => self.calls >= self.fault_at,
        };
        if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl Faulty {
    /// Fails at the `fault_at`-th call, counted from 1.
    pub(crate) fn new(fault: Fault, fault_at: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { fault, calls: 0, fault_at, files: HashMap::new() })) }
    }

    /// Chooses another call to fail at.
    pub(crate) fn fail_at(&self, fault_at: usize) {
        self.state.lock().fault_at = fault_at;
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.state.lock().calls
    }

    /// Cuts every file to what was synced and `kept` of 256 parts of the rest, as a machine without power would.
    pub(crate) fn lose_unsynced(&self, kept: u64) {
        for (path, lengths) in &self.state.lock().files {
            if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
                file.set_len(lengths.synced + (lengths.written - lengths.synced) * kept / 256).unwrap();
            }
        }
    }
}

impl FileSystem for Faulty {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.state.lock().call()?;
        let file = Disk.create(path)?;
        self.state.lock().files.insert(path.to_owned(), Lengths::default());
        Ok(Arc::new(FaultyFile { file, path: path.to_owned(), state: Arc::clone(&self.state) }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        Disk.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        let moved: Vec<_> = state.files.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let lengths = state.files.remove(&path).unwrap_or_default();
            let rest = path.strip_prefix(from).unwrap();
            let target = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            state.files.insert(target, lengths);
        }
        Disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().call()?;
        Disk.hard_link(from, to)
    }

    fn cut_file(&self, path: &Path, length: u64) -> io::Result<()> {
        self.state.lock().call()?;
        Disk.cut_file(path, length)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        state.files.remove(path);
        Disk.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        state.files.retain(|file, _| !file.starts_with(path));
        Disk.remove_directory(path)
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.state.lock().call()
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn WriteFile>,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl WriteFile for FaultyFile {
    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let called = state.call();
        let done = if called.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let is_dead = state.fault == Fault::Crash && state.calls > state.fault_at;
        if !is_dead {
            self.file.write_all(done)?;
            if let Some(lengths) = state.files.get_mut(&self.path) {
                lengths.written += done.len() as u64;
            }
        }
        called
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        if let Some(lengths) = state.files.get_mut(&self.path) {
            lengths.synced = lengths.written;
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        if let Some(lengths) = state.files.get_mut(&self.path) {
            lengths.written = length;
            lengths.synced = lengths.synced.min(length);
        }
        self.file.truncate(length)
    }
}

//! Which queries run: to list them, to end one by its number, and to know after a crash what was running.
//!
//! The file `queries.active` is upstream's: `[`, then slots of 1000 bytes, each with a JSON object and a comma at its
//! end while a query runs, and zeros else. It is written through, not synced: it is to outlive the process, not the
//! machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::sample::Timestamp;

use crate::cancel::CancelToken;
use crate::engine::Usage;
use crate::json::Object;

/// Its name in the data directory.
pub const FILE_NAME: &str = "queries.active";
/// How long a slot is, its comma included.
const SLOT_BYTES: usize = 1000;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// The queries that run.
#[derive(Debug, Default)]
pub struct ActiveQueries {
    next_id: AtomicU64,
    state: Mutex<State>,
    file: Option<File>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u64, Running>,
    /// Slots of the file that are free, the last to be used next.
    free: Vec<u64>,
}

#[derive(Debug)]
struct Running {
    query: String,
    started: Timestamp,
    slot: Option<u64>,
    cancel: CancelToken,
    usage: Arc<Usage>,
}

/// A query that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveQuery {
    /// Its number.
    pub id: u64,
    /// Its text.
    pub query: String,
    /// When it began.
    pub started: Timestamp,
    /// Bytes it holds.
    pub bytes: u64,
    /// The most bytes it held.
    pub peak_bytes: u64,
}

/// Keeps a query in the list until it is dropped.
#[derive(Debug)]
pub struct Registration<'a> {
    queries: &'a ActiveQueries,
    id: u64,
}

impl ActiveQueries {
    /// Without a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a file of `slots` slots in `folder`, and what was in it: the queries that ran when the process before this
    /// one died, as a JSON list, if there were any.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(folder: &Path, slots: usize) -> Result<(Self, Option<String>), FileError> {
        let path = folder.join(FILE_NAME);
        let fault = |source| FileError { path: path.clone(), source };
        let left = leftovers(&path, slots).map_err(fault)?;
        let file = File::create(&path).map_err(fault)?;
        file.set_len(1 + (slots * SLOT_BYTES) as u64).map_err(fault)?;
        file.write_all_at(b"[", 0).map_err(fault)?;
        let state = State { running: BTreeMap::new(), free: (0..slots as u64).rev().collect() };
        Ok((Self { next_id: AtomicU64::new(0), state: Mutex::new(state), file: Some(file) }, left))
    }

    /// Adds a query to the list. With more queries than slots it is only not in the file.
    pub fn register(
        &self,
        query: &str,
        started: Timestamp,
        cancel: &CancelToken,
        usage: &Arc<Usage>,
    ) -> Registration<'_> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let slot = state.free.pop();
        if let Some(slot) = slot {
            self.write(slot, &entry(query, started));
        }
        let (cancel, usage) = (cancel.clone(), Arc::clone(usage));
        state.running.insert(id, Running { query: query.to_owned(), started, slot, cancel, usage });
        Registration { queries: self, id }
    }

    /// The queries that run, the oldest first.
    pub fn list(&self) -> Vec<ActiveQuery> {
        let running = |(id, running): (&u64, &Running)| ActiveQuery {
            id: *id,
            query: running.query.clone(),
            started: running.started,
            bytes: running.usage.held(),
            peak_bytes: running.usage.peak(),
        };
        self.state().running.iter().map(running).collect()
    }

    /// Ends a query; `false` if none of that number runs.
    pub fn cancel(&self, id: u64) -> bool {
        match self.state().running.get(&id) {
            Some(running) => {
                running.cancel.cancel();
                true
            }
            None => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills a slot. If that fails nothing is lost but a hint after a crash.
    fn write(&self, slot: u64, entry: &[u8]) {
        let Some(file) = &self.file else { return };
        let mut bytes = [0; SLOT_BYTES];
        bytes[..entry.len()].copy_from_slice(entry);
        if !entry.is_empty() {
            bytes[SLOT_BYTES - 1] = b',';
        }
        drop(file.write_all_at(&bytes, 1 + slot * SLOT_BYTES as u64));
    }
}

impl Registration<'_> {
    /// The query's number.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut state = self.queries.state();
        let Some(Running { slot: Some(slot), .. }) = state.running.remove(&self.id) else { return };
        self.queries.write(slot, &[]);
        state.free.push(slot);
    }
}

/// The JSON object of a query, its text cut so that it fits a slot.
fn entry(query: &str, started: Timestamp) -> Vec<u8> {
    let mut kept = query.len().min(SLOT_BYTES);
    loop {
        while !query.is_char_boundary(kept) {
            kept -= 1;
        }
        let mut out = String::new();
        let text = query.get(..kept).unwrap_or_default();
        Object::new(&mut out).text("query", text).number("timestamp_sec", started.0.div_euclid(1000)).end();
        match out.len().checked_sub(SLOT_BYTES - 1) {
            None | Some(0) => return out.into_bytes(),
            // Escapes make several bytes of one: cut again.
            Some(over) => kept = kept.saturating_sub(over.div_ceil(6).max(1)),
        }
    }
}

/// What a file has that was not emptied: a JSON list without its end.
fn leftovers(path: &Path, slots: usize) -> std::io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    // A file of another size limit may be longer: what stands beyond the slots is not looked at, as upstream does.
    file.take(1 + (slots * SLOT_BYTES) as u64).read_to_end(&mut bytes)?;
    bytes.retain(|byte| *byte != 0);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.pop();
    if text.is_empty() {
        return Ok(None);
    }
    text.push(']');
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("promql-active-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn queries_are_listed_and_ended() {
        let queries = ActiveQueries::new();
        let (cancel, usage) = (CancelToken::new(), Arc::default());
        let first = queries.register("up", Timestamp(1_500), &cancel, &usage);
        let second = queries.register("down", Timestamp(2_500), &CancelToken::new(), &usage);
        assert_eq!(queries.list().iter().map(|q| q.query.as_str()).collect::<Vec<_>>(), ["up", "down"]);
        assert!(queries.cancel(first.id()) && cancel.is_canceled());
        let id = second.id();
        drop(second);
        assert!(!queries.cancel(id));
        assert_eq!(queries.list().len(), 1);
    }

    #[test]
    fn the_file_says_what_ran() {
        let scratch = Scratch::new("file");
        let (queries, left) = ActiveQueries::open(&scratch.0, 2).unwrap();
        assert_eq!(left, None);
        let usage = Arc::default();
        let running: Vec<Registration<'_>> = ["done", "sum(\"é\")", "no slot left"]
            .iter()
            .map(|query| queries.register(query, Timestamp(1_500), &CancelToken::new(), &usage))
            .collect();
        let file = std::fs::read(scratch.0.join(FILE_NAME)).unwrap();
        assert_eq!((file.len(), file[0], file[1000], file[2000]), (2001, b'[', b',', b','));
        let mut running = running.into_iter();
        drop(running.next());
        // As if the process had died here.
        let (again, left) = ActiveQueries::open(&scratch.0, 2).unwrap();
        assert_eq!(left.as_deref(), Some(r#"[{"query":"sum(\"é\")","timestamp_sec":1}]"#));
        drop(again);
        let (_, left) = ActiveQueries::open(&scratch.0, 2).unwrap();
        assert_eq!(left, None, "what is done is not left over");
    }

    #[test]
    fn long_queries_are_cut_to_a_slot() {
        for text in ["x", "é", "\"", "<"] {
            let bytes = entry(&text.repeat(2000), Timestamp(1_700_000_000_000));
            assert!(bytes.len() < SLOT_BYTES && bytes.len() > SLOT_BYTES - 16, "{text}: {}", bytes.len());
            assert!(bytes.ends_with(br#"","timestamp_sec":1700000000}"#));
        }
    }
}

//! The file of the embedded store: three redb tables.
//!
//! `objects` maps `group/plural/namespace/name` to the object's JSON; `history` maps revisions to events, JSON lists of
//! key, object before and object after; `meta` holds the numbers `format` (1), `revision` (of the last event) and
//! `oldest` (up to which the history is forgotten). Revisions in `history` are contiguous from `oldest + 1` to
//! `revision`. A batch of writes is one transaction, durable when `append` returns.
//!
//! After a failed transaction nobody knows whether it reached the disk. The file is then closed, and opened again
//! before the next write: [`Table::recover`] tells what became of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

use super::history::HistoryLimits;
use super::state::{Planned, State};
use super::watch::{Change, Event};
use super::{Key, StoreError};
use crate::api::meta;

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;
const REVISION: &str = "revision";
const OLDEST: &str = "oldest";

/// Memory redb may use for its page cache.
const CACHE_BYTES: usize = 4 << 20;

/// Opens the file; called again after a failure.
pub(super) type Source = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// The file. `database` is absent from a failed write to the next successful opening.
pub(super) struct Table {
    path: PathBuf,
    source: Source,
    database: Option<Database>,
}

impl Table {
    /// Opens the file, making it if it is not there, and reads all of it.
    pub(super) fn open(path: &Path, limits: HistoryLimits) -> Result<(Self, State), StoreError> {
        let file = path.to_owned();
        let source = Box::new(move || Database::builder().set_cache_size(CACHE_BYTES).create(&file));
        let opened = Self::open_with(path, source, limits)?;
        opened.0.make_private()?;
        Ok(opened)
    }

    /// The same from somewhere else than a file; the path is only for messages.
    pub(super) fn open_with(path: &Path, source: Source, limits: HistoryLimits) -> Result<(Self, State), StoreError> {
        let mut table = Self { path: path.to_owned(), source, database: None };
        table.reopen()?;
        table.initialise().map_err(|error| table.failed(error))?;
        let state = table.load(limits)?;
        Ok((table, state))
    }

    fn reopen(&mut self) -> Result<&Database, StoreError> {
        let database = (self.source)().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: self.path.clone() },
            error => self.failed(error),
        })?;
        Ok(self.database.insert(database))
    }

    /// After a failed `append`: opens the file again and returns the revision that is in it. Nothing to do, and no
    /// answer, if nothing has failed.
    pub(super) fn recover(&mut self) -> Result<Option<u64>, StoreError> {
        if self.database.is_some() {
            return Ok(None);
        }
        self.reopen()?;
        let revision = self.revision().map_err(|error| self.failed(error));
        if revision.is_err() {
            self.database = None;
        }
        revision.map(Some)
    }

    fn revision(&self) -> Result<u64, redb::Error> {
        let meta = self.database()?.begin_read()?.open_table(META)?;
        Ok(meta.get(REVISION)?.map_or(0, |guard| guard.value()))
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::PreviousIo)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Io { path: self.path.clone(), source: Arc::new(error.into()) }
    }

    fn corrupt(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), reason: reason.to_string() }
    }

    /// Secrets are stored as they are: only the owner may read the file.
    fn make_private(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::PermissionsExt as _;
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&self.path, owner_only).map_err(|error| self.failed(redb::Error::Io(error)))
    }

    fn initialise(&self) -> Result<(), redb::Error> {
        let transaction = self.database()?.begin_write()?;
        {
            transaction.open_table(OBJECTS)?;
            transaction.open_table(HISTORY)?;
            let mut meta = transaction.open_table(META)?;
            if meta.get(FORMAT)?.is_none() {
                meta.insert(FORMAT, FORMAT_VERSION)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn load(&self, limits: HistoryLimits) -> Result<State, StoreError> {
        let failed = |error: redb::Error| self.failed(error);
        let transaction = self.database().map_err(failed)?.begin_read().map_err(|error| failed(error.into()))?;
        let meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
        let number = |name: &str| -> Result<Option<u64>, StoreError> {
            Ok(meta.get(name).map_err(|error| failed(error.into()))?.map(|guard| guard.value()))
        };
        if let Some(version) = number(FORMAT)?.filter(|&version| version != FORMAT_VERSION) {
            return Err(self.corrupt(format!("format version {version}, this program knows {FORMAT_VERSION}")));
        }
        let (revision, oldest) = (number(REVISION)?.unwrap_or(0), number(OLDEST)?.unwrap_or(0));
        let mut state = State::new(limits, oldest, oldest);
        let objects = transaction.open_table(OBJECTS).map_err(|error| failed(error.into()))?;
        // Versions that are still current are shared between the objects and the history.
        let mut current: HashMap<String, Arc<Value>> = HashMap::new();
        for row in objects.iter().map_err(|error| failed(error.into()))? {
            let (key, bytes) = row.map_err(|error| failed(error.into()))?;
            let object: Value = serde_json::from_slice(bytes.value())
                .map_err(|error| self.corrupt(format!("object {}: {error}", key.value())))?;
            current.insert(key.value().to_owned(), Arc::new(object));
        }
        let history = transaction.open_table(HISTORY).map_err(|error| failed(error.into()))?;
        for row in history.iter().map_err(|error| failed(error.into()))? {
            let (number, bytes) = row.map_err(|error| failed(error.into()))?;
            let number = number.value();
            if number != state.revision + 1 {
                return Err(self.corrupt(format!("history jumps from {} to {number}", state.revision)));
            }
            let event = decode(number, bytes.value(), &current).map_err(|reason| self.corrupt(reason))?;
            state.apply(Arc::new(event), bytes.value().len());
        }
        if state.revision != revision {
            return Err(self.corrupt(format!("history ends at {}, expected {revision}", state.revision)));
        }
        state.objects = current.into_iter().map(|(key, object)| (Key::from(key), object)).collect();
        Ok(state)
    }

    /// Writes a batch and waits until it is on the disk. Forgets the history up to `oldest`.
    /// Returns the bytes each event takes.
    pub(super) fn append(
        &mut self,
        batch: &[Planned],
        forget: impl FnOnce(&[usize]) -> u64,
    ) -> Result<Vec<usize>, StoreError> {
        let encoded: Vec<_> = batch.iter().map(|planned| encode(&planned.event)).collect();
        let bytes: Vec<_> = encoded.iter().map(Vec::len).collect();
        let oldest = forget(&bytes);
        match self.transact(batch, &encoded, oldest) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                self.database = None;
                Err(self.failed(error))
            }
        }
    }

    fn transact(&self, batch: &[Planned], encoded: &[Vec<u8>], oldest: u64) -> Result<(), redb::Error> {
        let transaction = self.database()?.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut history = transaction.open_table(HISTORY)?;
            let mut meta = transaction.open_table(META)?;
            for (planned, encoded) in batch.iter().zip(encoded) {
                match planned.event.change.after() {
                    Some(_) => objects.insert(planned.event.key.as_str(), planned.bytes.as_slice())?,
                    None => objects.remove(planned.event.key.as_str())?,
                };
                history.insert(planned.event.revision, encoded.as_slice())?;
                meta.insert(REVISION, planned.event.revision)?;
            }
            let forgotten = meta.get(OLDEST)?.map_or(0, |guard| guard.value());
            for revision in forgotten + 1..=oldest {
                history.remove(revision)?;
            }
            meta.insert(OLDEST, oldest)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// What an event takes in the file.
pub(super) fn event_bytes(event: &Event) -> usize {
    encode(event).len()
}

/// `[key, before, after]`, either of them null.
fn encode(event: &Event) -> Vec<u8> {
    let json = |object: Option<&Arc<Value>>| object.map_or("null".to_owned(), |object| object.to_string());
    let (key, before, after) = (event.key.as_str(), json(event.change.before()), json(event.change.after()));
    format!("[{},{before},{after}]", Value::from(key)).into_bytes()
}

fn decode(revision: u64, bytes: &[u8], current: &HashMap<String, Arc<Value>>) -> Result<Event, String> {
    let parsed: (String, Option<Value>, Option<Value>) =
        serde_json::from_slice(bytes).map_err(|error| format!("event {revision}: {error}"))?;
    let (key, before, after) = parsed;
    let before = before.map(Arc::new);
    let after = after.map(|after| match current.get(&key) {
        Some(object) if **object == after => Arc::clone(object),
        _ => Arc::new(after),
    });
    let change = match (before, after) {
        (None, Some(after)) => Change::Created { after },
        (Some(before), Some(after)) => Change::Updated { before, after },
        (Some(before), None) => {
            let mut last = Value::clone(&before);
            meta::metadata(&mut last).insert("resourceVersion".to_owned(), revision.to_string().into());
            Change::Deleted { before, last: Arc::new(last) }
        }
        (None, None) => return Err(format!("event {revision} has no object")),
    };
    Ok(Event { revision, key: Key::from(key), change })
}

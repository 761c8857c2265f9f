//! The default store: one redb file and all objects in memory.
//!
//! One thread writes. It takes what has gathered since its last fsync as one batch, checks each write against the state
//! and the writes before it, makes the batch durable, then visible, then answers. If the disk refuses, the whole batch
//! fails; before the next one the file is opened again, and what had reached the disk after all becomes visible then. Readers take a short shared lock and never wait for the disk.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch as signal};

pub use super::history::HistoryLimits;
use super::state::{Planned, State};
use super::table::Table;
use super::watch::{Batch, Watch};
use super::{Answer, Committed, Key, Listing, Page, Range, Store, StoreError, Write};

/// Writes that may wait for the writer; more have to wait to be queued.
pub const QUEUE_MAX: usize = 1024;
/// Writes that share one fsync.
pub const COMMIT_BATCH_MAX: usize = 256;

type Reply = oneshot::Sender<Result<Committed, StoreError>>;

/// What the writer is asked to do.
enum Order {
    Write(Write, Reply),
    /// Finish what was ordered before, close the file, and say so.
    Close(oneshot::Sender<()>),
}

/// The embedded store. The file is closed by [`Embedded::close`], or when the store is dropped and the writer has finished.
pub struct Embedded {
    shared: Arc<RwLock<State>>,
    queue: mpsc::Sender<Order>,
    /// The latest visible revision.
    latest: signal::Receiver<u64>,
}

/// A position in the history.
struct Cursor {
    shared: Arc<RwLock<State>>,
    latest: signal::Receiver<u64>,
    range: Range,
    after: u64,
}

struct Writer {
    table: Table,
    shared: Arc<RwLock<State>>,
    queue: mpsc::Receiver<Order>,
    latest: signal::Sender<u64>,
    /// The batch of a failed write, until it is known whether it reached the disk.
    unsure: Vec<Planned>,
}

impl Embedded {
    /// Opens the file (blocking) and starts the writer.
    pub fn open(path: &Path, limits: HistoryLimits) -> Result<Self, StoreError> {
        Self::over(Table::open(path, limits)?, path)
    }

    fn over((table, state): (Table, State), path: &Path) -> Result<Self, StoreError> {
        let (latest, seen) = signal::channel(state.revision);
        let shared = Arc::new(RwLock::new(state));
        let (queue, writes) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { table, shared: Arc::clone(&shared), queue: writes, latest, unsure: Vec::new() };
        std::thread::Builder::new()
            .name("cluster-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io { path: path.to_owned(), source: Arc::new(redb::Error::Io(error)) })?;
        Ok(Self { shared, queue, latest: seen })
    }

    /// Waits for the writes ordered before, then closes the file. Later writes fail; reads go on.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Order::Close(done)).await.is_ok() {
            // An error means that the writer is gone, and the file closed with it.
            drop(closed.await);
        }
    }
}

impl Store for Embedded {
    fn revision(&self) -> u64 {
        *self.latest.borrow()
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Arc<Value>>> {
        let object = self.shared.read().objects.get(key).cloned();
        Box::pin(std::future::ready(Ok(object)))
    }

    fn list<'a>(&'a self, range: &'a Range, page: Page) -> Answer<'a, Listing> {
        let listing = self.shared.read().list(range, &page);
        Box::pin(std::future::ready(listing))
    }

    fn commit(&self, write: Write) -> Answer<'_, Committed> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue.send(Order::Write(write, reply)).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn watch(&self, range: Range, after: u64) -> Result<Box<dyn Watch>, StoreError> {
        let state = self.shared.read();
        if after > state.revision {
            return Err(StoreError::Future { asked: after, current: state.revision });
        }
        if after < state.history.oldest() {
            return Err(StoreError::Compacted { asked: after, oldest: state.history.oldest() });
        }
        let (shared, latest) = (Arc::clone(&self.shared), self.latest.clone());
        Ok(Box::new(Cursor { shared, latest, range, after }))
    }
}

impl Watch for Cursor {
    fn next(&mut self) -> Answer<'_, Batch> {
        Box::pin(async move {
            let after = self.after;
            self.latest.wait_for(|latest| *latest > after).await.map_err(|_| StoreError::Closed)?;
            let batch = self.shared.read().history.batch(&self.range, self.after)?;
            self.after = batch.revision;
            Ok(batch)
        })
    }
}

impl Writer {
    fn run(mut self) {
        let mut gathered = Vec::with_capacity(COMMIT_BATCH_MAX);
        let mut closing = None;
        while closing.is_none() && self.queue.blocking_recv_many(&mut gathered, COMMIT_BATCH_MAX) > 0 {
            let mut writes = Vec::with_capacity(gathered.len());
            for order in gathered.drain(..) {
                match order {
                    Order::Write(write, reply) if closing.is_none() => writes.push((write, reply)),
                    // Dropping the reply tells the caller that the store is closed.
                    Order::Write(..) => {}
                    Order::Close(done) => closing = Some(done),
                }
            }
            self.commit(writes);
        }
        drop(self.table);
        if let Some(done) = closing {
            // Nobody waits any more if this fails: closed is closed.
            let _received = done.send(()).is_ok();
        }
    }

    fn commit(&mut self, writes: Vec<(Write, Reply)>) {
        if let Err(error) = self.recover() {
            return fail(writes.into_iter().map(|(_, reply)| reply), &error);
        }
        let (mut planned, mut replies) = (Vec::new(), Vec::new());
        {
            let state = self.shared.read();
            for (write, reply) in writes {
                match state.plan(&planned, write) {
                    Ok(plan) => {
                        planned.push(plan);
                        replies.push(reply);
                    }
                    // A caller that is gone does not need to know.
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
        if planned.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match self.table.append(&planned, |bytes| shared.read().history.oldest_after(bytes)) {
            Ok(bytes) => {
                self.publish(&planned, &bytes);
                answer(&planned, replies);
            }
            Err(error) => {
                tracing::error!(%error, "the cluster store cannot be written");
                self.unsure = planned;
                fail(replies, &error);
            }
        }
    }

    /// After a failed write: opens the file again and finds out whether the write had reached the disk.
    fn recover(&mut self) -> Result<(), StoreError> {
        let Some(found) = self.table.recover()? else { return Ok(()) };
        let unsure = std::mem::take(&mut self.unsure);
        let visible = *self.latest.borrow();
        let reached = unsure.last().is_some_and(|last| last.event.revision == found);
        if reached && found > visible {
            let bytes: Vec<usize> = unsure.iter().map(|planned| super::table::event_bytes(&planned.event)).collect();
            self.publish(&unsure, &bytes);
        }
        tracing::info!(revision = found, "the cluster store is written again");
        Ok(())
    }

    fn publish(&self, planned: &[Planned], bytes: &[usize]) {
        let mut state = self.shared.write();
        for (planned, &bytes) in planned.iter().zip(bytes) {
            state.apply(Arc::clone(&planned.event), bytes);
        }
        let revision = state.revision;
        drop(state);
        self.latest.send_replace(revision);
    }
}

fn fail(replies: impl IntoIterator<Item = Reply>, error: &StoreError) {
    for reply in replies {
        drop(reply.send(Err(error.clone())));
    }
}

fn answer(planned: &[Planned], replies: Vec<Reply>) {
    for (planned, reply) in planned.iter().zip(replies) {
        let event = &planned.event;
        let object = match &event.change {
            super::watch::Change::Deleted { last, .. } => Arc::clone(last),
            change => change.after().map(Arc::clone).unwrap_or_default(),
        };
        drop(reply.send(Ok(Committed { revision: event.revision, object })));
    }
}

#[cfg(test)]
mod tests;

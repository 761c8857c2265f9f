//! What blocks need of the head: to know that nothing is on its way into a range any more, and its chunks.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::labels::Labels;
use model::storage::StorageError;

use super::Head;
use super::isolation::Snapshot;
use super::late::{LateChunk, LateList};
use super::mapped_chunks::MappedChunk;
use super::reader::TimeRange;
use super::series::Series;
use super::slab::Slot;
use super::symbols::Symbol;
use crate::block::builder::{BlockBuilder, Provisional, SeriesChunks};
use crate::chunk::{ChunkError, Encoding};
use crate::compact::recode::{self, ChunkToPut, Cut};
use crate::error::corrupt;
use crate::sync::Mutex;
use crate::tombstones::Interval;

/// Appenders that are not over yet, by number.
#[derive(Debug, Default)]
pub(crate) struct OpenAppenders {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    open: BTreeSet<u64>,
}

/// An appender that is not over until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenAppender<'a> {
    appenders: &'a OpenAppenders,
    number: u64,
}

impl OpenAppenders {
    /// Begins an appender.
    pub(crate) fn begin(&self) -> OpenAppender<'_> {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        state.open.insert(number);
        OpenAppender { appenders: self, number }
    }

    /// A number such that appenders up to it began before now.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().last
    }

    /// Whether an appender numbered `number` or lower is still at work.
    pub(crate) fn has_any_through(&self, number: u64) -> bool {
        self.state.lock().open.first().is_some_and(|oldest| *oldest <= number)
    }
}

impl Drop for OpenAppender<'_> {
    fn drop(&mut self) {
        self.appenders.state.lock().open.remove(&self.number);
    }
}

/// A chunk of a series, and how many of its samples are seen.
pub(super) struct Listed {
    min_time: i64,
    max_time: i64,
    encoding: Encoding,
    seen: usize,
    /// What is deleted of it, if it is of late samples.
    late: Option<Vec<Interval>>,
    source: Source,
}

enum Source {
    Mapped(MappedChunk),
    Bytes(Arc<[u8]>),
}

/// The chunks that meet the range, in order.
fn list(series: &Series, range: TimeRange, snapshot: &Snapshot) -> Vec<Listed> {
    let mut hidden = series.marks.hidden(snapshot);
    let mut listed = Vec::new();
    let mut push = |min_time, max_time, encoding, count: u16, source: &dyn Fn() -> Source| {
        let seen = usize::from(count).saturating_sub(hidden);
        hidden = hidden.saturating_sub(usize::from(count));
        if seen > 0 && min_time <= range.max && range.min <= max_time {
            listed.push(Listed { min_time, max_time, encoding, seen, late: None, source: source() });
        }
    };
    // From the last chunk back, because the last samples are the ones hidden.
    if let Some(open) = &series.open {
        let source = || Source::Bytes(open.bytes().into());
        push(series.open_min_time(), open.last_time(), open.encoding(), open.count(), &source);
    }
    for chunk in series.full.iter().flat_map(|full| full.iter().rev()) {
        let source = || Source::Bytes(Arc::clone(&chunk.bytes));
        push(chunk.min_time, chunk.max_time, chunk.encoding, chunk.count, &source);
    }
    for chunk in series.mapped.iter().rev() {
        push(chunk.min_time(), chunk.max_time, chunk.encoding, chunk.count, &|| Source::Mapped(*chunk));
    }
    listed.reverse();
    listed
}

fn list_late(late: LateList, listed: &mut Vec<Listed>) {
    listed.extend(late.mapped.into_iter().map(|LateChunk { chunk, deleted }| Listed {
        min_time: chunk.min_time(),
        max_time: chunk.max_time,
        encoding: chunk.encoding,
        seen: usize::MAX,
        late: Some(deleted),
        source: Source::Mapped(chunk),
    }));
    listed.extend(late.unmapped.into_iter().map(|chunk| Listed {
        min_time: chunk.min_time,
        max_time: chunk.max_time,
        encoding: chunk.encoding,
        seen: usize::MAX,
        late: Some(Vec::new()),
        source: Source::Bytes(chunk.bytes),
    }));
}

impl Head {
    /// Puts what all series hold in `range` into a block, and late samples in `late_range`, without what is deleted.
    /// Symbols of the head must not be freed meanwhile: the caller holds the lock of the upkeep, under which alone series
    /// are removed.
    pub(crate) fn put_into_block(
        &self,
        range: TimeRange,
        late_range: Option<TimeRange>,
        builder: &mut BlockBuilder,
        check: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let snapshot = self.isolation.snapshot();
        let mut numbers: Vec<Provisional> = Vec::new();
        let mut chunks = SeriesChunks::default();
        let mut pairs = Vec::new();
        for slot in 0..self.slab.end() {
            let Some((symbols, listed)) = self.list_at(slot, range, late_range, &snapshot) else {
                continue;
            };
            check()?;
            chunks.clear();
            let deleted = self.tombstones.read().of(slot).to_vec();
            for chunk in &listed {
                let cut = match &chunk.late {
                    Some(deleted) => Cut { range: late_range.unwrap_or(range), deleted },
                    None => Cut { range, deleted: &deleted },
                };
                self.put_chunk(chunk, &cut, &mut chunks)?;
            }
            recode::resolve_overlaps(&mut chunks).map_err(|error| corrupt("head".as_ref(), 0, error))?;
            pairs.clear();
            pairs.extend(symbols.iter().map(|symbol| self.number_of(*symbol, &mut numbers, builder)));
            builder.add(&pairs, &chunks)?;
        }
        Ok(())
    }

    /// Leaves to the blocks what is before `end`: readers that begin from now on do not see it in the head.
    pub(crate) fn leave_to_blocks(&self, end: i64) {
        self.times.raise_min_valid(end);
    }

    /// The series with these labels, if there is one.
    pub(crate) fn slot_of(&self, labels: &Labels) -> Option<Slot> {
        self.find(labels, labels.hash64()).map(|id| id.slot)
    }

    pub(super) fn list_at(
        &self,
        slot: Slot,
        range: TimeRange,
        late_range: Option<TimeRange>,
        snapshot: &Snapshot,
    ) -> Option<(Box<[Symbol]>, Vec<Listed>)> {
        let series = self.slab.cell(slot)?.lock();
        if series.wal_ref == 0 || series.is_dead {
            return None;
        }
        let mut listed = list(&series, range, snapshot);
        if let (Some(range), Some(late)) = (late_range, &series.late) {
            list_late(late.list(range, snapshot), &mut listed);
        }
        (!listed.is_empty()).then(|| (series.symbols.clone(), listed))
    }

    pub(super) fn put_chunk(&self, chunk: &Listed, cut: &Cut<'_>, out: &mut SeriesChunks) -> Result<(), StorageError> {
        let Listed { min_time, max_time, encoding, seen, .. } = *chunk;
        let mut put = |data: &[u8]| -> Result<(), ChunkError> {
            recode::put(ChunkToPut { min_time, max_time, encoding, data, seen }, cut, out)
        };
        match &chunk.source {
            Source::Mapped(mapped) => {
                self.mapped.with_bytes(mapped, put)?.map_err(|error| self.mapped.damage_at(mapped, error))
            }
            Source::Bytes(bytes) => put(bytes).map_err(|error| corrupt("head".as_ref(), 0, error)),
        }
    }

    /// The block's number of a symbol of the head.
    fn number_of(&self, symbol: Symbol, numbers: &mut Vec<Provisional>, builder: &mut BlockBuilder) -> Provisional {
        let at = symbol as usize;
        if at >= numbers.len() {
            numbers.resize(at + 1, Provisional::MAX);
        }
        if numbers[at] == Provisional::MAX {
            numbers[at] = builder.intern(self.symbols.read().text(symbol));
        }
        numbers[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appender_is_waited_for_and_those_after_it_are_not() {
        let appenders = OpenAppenders::default();
        let first = appenders.begin();
        let number = appenders.last();
        let second = appenders.begin();
        assert!(appenders.has_any_through(number));
        drop(first);
        assert!(!appenders.has_any_through(number));
        drop(second);
    }
}

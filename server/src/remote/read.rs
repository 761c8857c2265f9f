//! Remote read, asking: queries see the series of other servers merged with the local ones.
//!
//! As upstream has it: a destination is asked only for times before what the local storage holds, unless it is to be read
//! for recent times too; external labels are asked for and taken off again; one that fails is a warning of the query,
//! which goes on with the rest.

mod client;
mod merge;

use std::sync::Arc;

use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::Timestamp;
use model::storage::{Order, Querier, Queryable, SelectHints, SeriesSet, StorageError};
use parking_lot::RwLock;

use client::Source;
use merge::MergedSet;

pub use client::prepare;

/// The local storage and the destinations of the configuration in force.
pub struct Readable {
    local: Arc<tsdb::Db>,
    sources: RwLock<Arc<[Source]>>,
}

/// Destinations whose clients are built.
pub struct Prepared(Arc<[Source]>);

impl Readable {
    /// Local alone.
    pub fn new(local: Arc<tsdb::Db>) -> Self {
        Self { local, sources: RwLock::new(Arc::new([])) }
    }

    /// Puts a configuration into force.
    pub fn apply(&self, prepared: Prepared) {
        *self.sources.write() = prepared.0;
    }
}

impl Queryable for Readable {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        let local = self.local.querier(min_time, max_time)?;
        let sources = Arc::clone(&self.sources.read());
        if sources.is_empty() {
            return Ok(local);
        }
        let local_start = self.local.head_statistics().min_time;
        let local_start = self.local.block_metas().iter().map(|meta| meta.min_time).fold(local_start, i64::min);
        Ok(Box::new(ReadQuerier { local, sources, min_time, max_time, local_start: Timestamp(local_start) }))
    }
}

struct ReadQuerier {
    local: Box<dyn Querier>,
    sources: Arc<[Source]>,
    min_time: Timestamp,
    max_time: Timestamp,
    /// The first time that the local storage holds.
    local_start: Timestamp,
}

impl ReadQuerier {
    /// The range a source is asked for, if it is asked at all.
    fn range(&self, source: &Source, matchers: &[Matcher]) -> Option<(Timestamp, Timestamp)> {
        let has = |(name, value): (&String, &String)| {
            matchers.iter().any(|m| m.op() == MatchOp::Equal && m.name() == name && m.value() == value)
        };
        if !source.required.iter().all(has) {
            return None;
        }
        if source.read_recent {
            return Some((self.min_time, self.max_time));
        }
        (self.min_time < self.local_start).then(|| (self.min_time, self.max_time.min(self.local_start)))
    }
}

impl Querier for ReadQuerier {
    fn select(
        &self,
        order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        let asked: Vec<(&Source, (Timestamp, Timestamp))> =
            self.sources.iter().filter_map(|source| Some((source, self.range(source, matchers)?))).collect();
        if asked.is_empty() {
            return self.local.select(order, hints, matchers);
        }
        let mut set = MergedSet::new(self.local.select(Order::ByLabels, hints, matchers)?);
        for (source, (start, end)) in asked {
            match source.read(start, end, matchers, hints) {
                Ok(series) => series.into_iter().for_each(|(labels, columns)| set.add(labels, columns)),
                Err(error) => {
                    tracing::warn!(remote = source.name, error, "remote read failed");
                    set.warn(format!("remote_read {}: {error}", source.name));
                }
            }
        }
        Ok(Box::new(set))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        // The protocol does not ask for names.
        self.local.label_names(matchers, limit)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.local.label_values(name, matchers, limit)
    }
}

/// The labels that a source is asked for beside the query's own: external ones that the query says nothing of.
fn asked_labels(external: &Labels, matchers: &[Matcher]) -> Vec<(String, String)> {
    let is_free = |name: &str| matchers.iter().all(|matcher| matcher.name() != name);
    external.iter().filter(|(name, _)| is_free(name)).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

//! What tests of several modules share: a storage that takes everything and keeps nothing.

use std::sync::Arc;

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{AppendError, Appendable, Appender, NewValue, SeriesRef, StorageError};
use net::clock::Clock;

use crate::features::Features;
use crate::metrics::Metrics;
use crate::pool::Shared;
use crate::scrape_loop::TIMESTAMP_TOLERANCE;

/// Takes everything, keeps nothing.
pub(crate) struct Nothing;

impl Nothing {
    /// What a server gives its pools, with this for a storage.
    pub(crate) fn shared() -> Shared {
        Shared {
            storage: Arc::new(Nothing),
            metrics: Metrics::default(),
            clock: Clock::System,
            offset_seed: 0,
            user_agent: "test".into(),
            features: Features::default(),
            timestamp_tolerance: TIMESTAMP_TOLERANCE,
        }
    }
}

impl Appendable for Nothing {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Nothing)
    }
}

impl Appender for Nothing {
    fn append(&mut self, _: &Labels, _: Timestamp, _: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(1))
    }

    fn append_ref(&mut self, _: SeriesRef, _: Timestamp, _: NewValue<'_>) -> Result<(), AppendError> {
        Ok(())
    }

    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Ok(())
    }

    fn update_metadata(&mut self, _: SeriesRef, _: &Metadata) -> Result<(), AppendError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        Ok(0)
    }

    fn rollback(self: Box<Self>) {}
}

//! An appender of a database that is closed or not yet replayed: refuses everything.

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::Timestamp;
use model::storage::{AppendError, Appender, NewValue, SeriesRef, StorageError};

/// Takes nothing.
pub(crate) struct ClosedAppender;

const CLOSED: AppendError = AppendError::Storage(StorageError::NotReady);

impl Appender for ClosedAppender {
    fn append(&mut self, _: &Labels, _: Timestamp, _: NewValue<'_>) -> Result<SeriesRef, AppendError> {
        Err(CLOSED)
    }

    fn append_ref(&mut self, _: SeriesRef, _: Timestamp, _: NewValue<'_>) -> Result<(), AppendError> {
        Err(CLOSED)
    }

    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Err(CLOSED)
    }

    fn update_metadata(&mut self, _: SeriesRef, _: &Metadata) -> Result<(), AppendError> {
        Err(CLOSED)
    }

    fn commit(self: Box<Self>) -> Result<usize, StorageError> {
        Err(StorageError::NotReady)
    }

    fn rollback(self: Box<Self>) {}
}

//! Bodies written while they are sent: a writer on the blocking pool, a few pieces ahead of the connection at most.
//!
//! A client that reads slowly stops the writer, one that goes ends it: no answer is ever held in memory whole.

use std::io;

use axum::body::{Body, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes gathered before they are handed to the connection.
const PIECE_BYTES: usize = 64 * 1024;
/// Room for what is written between two looks at whether there are enough.
const PIECE_ROOM: usize = PIECE_BYTES + 16 * 1024;
/// Pieces that wait for the connection.
const PIECES_AHEAD: usize = 4;

/// The client has gone: there is nobody to write for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub(super) struct Gone;

/// Takes a body piece by piece.
#[derive(Debug)]
pub(super) struct BodyWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl BodyWriter {
    /// Where to write next; [`BodyWriter::checkpoint`] sends it on.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends a text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Gone> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.checkpoint()
    }

    /// Sends what is gathered if it is enough to be worth it; waits while the connection is slow.
    pub(super) fn checkpoint(&mut self) -> Result<(), Gone> {
        if self.buffer.len() < PIECE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Sends what is gathered.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_ROOM)));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| Gone)
    }

    /// Breaks the answer off, so that nobody takes it for a whole one.
    pub(super) fn fail(&mut self, reason: &str) {
        tracing::warn!(reason, "answer broken off");
        // The client may have gone already.
        let _sent = self.pieces.blocking_send(Err(io::Error::other(reason.to_owned())));
    }
}

/// A body that `write` writes, on the blocking pool.
pub(super) fn body(write: impl FnOnce(&mut BodyWriter) -> Result<(), Gone> + Send + 'static) -> Body {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut writer = BodyWriter { pieces, buffer: Vec::with_capacity(PIECE_ROOM) };
        if write(&mut writer).and_then(|()| writer.flush()).is_err() {
            tracing::debug!("the client went before its answer was whole");
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_comes_whole_and_its_writer_stops_when_nobody_reads() {
        let whole = body(|out| (0..100_000).try_for_each(|i| out.text(&format!("{i}\n"))));
        let bytes = axum::body::to_bytes(whole, usize::MAX).await.unwrap();
        assert_eq!(bytes.iter().filter(|&&b| b == b'\n').count(), 100_000);

        let (told, ended) = tokio::sync::oneshot::channel();
        let endless = body(move |out| {
            let stopped = loop {
                if let Err(gone) = out.text("forever and ever\n") {
                    break gone;
                }
            };
            told.send(stopped).unwrap();
            Err(stopped)
        });
        drop(endless);
        assert_eq!(ended.await, Ok(Gone));
    }

    #[tokio::test]
    async fn a_failure_breaks_the_body_off() {
        let broken = body(|out| {
            out.text("half")?;
            out.flush()?;
            out.fail("disk on fire");
            Ok(())
        });
        assert!(axum::body::to_bytes(broken, usize::MAX).await.is_err());
    }
}

//! State files in Alertmanager's format: protobuf messages, each after its length as a varint; of messages with one key
//! the last counts.
//!
//! Upstream writes such a file whole now and then. Here each change is appended and synced at once, so that a kill loses
//! nothing, and the file is written anew when most of it is outdated. Either program reads the other's file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use prost::Message;

/// The largest state file that is read.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A file is not written anew before it has this many messages.
const REWRITE_MIN: usize = 1000;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// On which file.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("{}: larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// An open state file of messages `M`.
#[derive(Debug)]
pub struct Journal<M> {
    path: PathBuf,
    file: File,
    /// Messages in the file, outdated ones too.
    written: usize,
    message: PhantomData<M>,
}

impl<M: Message + Default> Journal<M> {
    /// Opens or creates a file and gives its messages. What is damaged at the end, such as by a kill in the middle of
    /// a write, is cut off and told.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path) -> Result<(Self, Vec<M>), JournalError> {
        let fail = |source| JournalError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() > FILE_BYTES_MAX {
            return Err(JournalError::TooLarge { path: path.to_owned() });
        }
        let bytes = std::fs::read(path).map_err(fail)?;
        let (messages, good) = read_all::<M>(&bytes);
        if good < bytes.len() {
            tracing::warn!(file = %path.display(), offset = good, lost = bytes.len() - good, "damaged end of file cut off");
            file.set_len(good as u64).map_err(fail)?;
        }
        let journal = Self { path: path.to_owned(), file, written: messages.len(), message: PhantomData };
        Ok((journal, messages))
    }

    /// Appends a message; it is on disk when this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, message: &M) -> Result<(), JournalError> {
        let bytes = message.encode_length_delimited_to_vec();
        let result = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        result.map_err(|source| JournalError::Io { path: self.path.clone(), source })?;
        self.written += 1;
        Ok(())
    }

    /// Writes the file anew if less than half of its messages are still current.
    ///
    /// # Errors
    /// If the new file cannot be written; the old one is then still in place.
    pub fn rewrite_if_outdated(&mut self, count: usize, current: impl Iterator<Item = M>) -> Result<(), JournalError> {
        if self.written < REWRITE_MIN || count * 2 > self.written {
            return Ok(());
        }
        let fail = |source| JournalError::Io { path: self.path.clone(), source };
        let temporary = self.path.with_extension("tmp");
        let mut bytes = Vec::new();
        let mut written = 0;
        for message in current {
            bytes.extend(message.encode_length_delimited_to_vec());
            written += 1;
        }
        let mut file = File::create(&temporary).map_err(fail)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&temporary, &self.path).map_err(fail)?;
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(fail)?;
        self.written = written;
        Ok(())
    }
}

/// The messages up to the first that is damaged, and where it begins.
fn read_all<M: Message + Default>(bytes: &[u8]) -> (Vec<M>, usize) {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let before = rest;
        match M::decode_length_delimited(&mut rest) {
            Ok(message) => messages.push(message),
            Err(_) => return (messages, bytes.len() - before.len()),
        }
    }
    (messages, bytes.len())
}

/// A time in protobuf.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WireTime {
    /// Whole seconds since the epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl WireTime {
    /// From milliseconds since the epoch.
    pub fn from_ms(ms: i64) -> Self {
        Self { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
    }

    /// In milliseconds since the epoch.
    pub fn as_ms(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos) / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_back_and_a_torn_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut journal, messages) = Journal::<WireTime>::open(&path).unwrap();
        assert!(messages.is_empty());
        journal.append(&WireTime::from_ms(1500)).unwrap();
        journal.append(&WireTime::from_ms(-1)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (mut journal, messages) = Journal::<WireTime>::open(&path).unwrap();
        assert_eq!(messages.iter().map(|m| m.as_ms()).collect::<Vec<_>>(), [1500]);
        journal.append(&WireTime::from_ms(7)).unwrap();
        let (_, messages) = Journal::<WireTime>::open(&path).unwrap();
        assert_eq!(messages.iter().map(|m| m.as_ms()).collect::<Vec<_>>(), [1500, 7]);
    }
}

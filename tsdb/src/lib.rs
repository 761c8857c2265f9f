//! The time series database: head, WAL, chunks, index, queries, in Prometheus' on-disk formats.
//!
//! A sample's way through this crate:
//!
//! ```text
//! Appender::append_ref    checked against its series (head/slab by slot, no hashing), staged in the batch
//! Appender::commit        wal: one record of series, one of samples, one write call   -> durable by policy
//!                         head/series: into the open chunk, under one commit number   -> visible at once
//!                         full chunk -> head/mapped_chunks, memory-mapped, off the heap
//! Queryable::querier      head/isolation: a snapshot of commits
//! Querier::select         head/select: matchers -> roaring postings -> slots
//! Series::read            head/reader: chunks listed under the cell's lock, decoded into columns outside it
//! Db::maintain            mapping, sync, recovery; the head's old part -> block/builder -> a block -> compact into larger ones
//!                         retention; checkpoints of what the head still needs of the log
//! ```
//!
//! It reads no clock (time is an argument) and starts no thread but the workers that replay, which end with it.

mod block;
mod chunk;
pub mod chunks;
mod codec;
mod compact;
mod config;
mod db;
mod error;
mod exemplars;
mod fs;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod lock;
pub mod metrics;
mod mmap;
mod postings;
mod query;
mod refusal;
mod sync;
pub mod tail;
mod texts;
mod tombstones;
mod wal;

pub use block::meta::{BlockCompaction, BlockMeta, BlockParent, BlockStats};
pub use block::ulid::{Ulid, UlidError};
pub use compact::retention::{Retention, RetentionRule};
pub use compact::writer::BlockWriter;
pub use config::{Compression, Config, Fsync, LockFile, OnStop};
pub use db::compaction::WithHead;
pub use db::open::PendingReplay;
pub use db::read_only::{BlockView, RawChunk, ReadOnlyDb};
pub use db::{Db, DiskUsage, WalStatus};
pub use error::Error;
pub use head::replay::{ReplayProgress, ReplayReport};
pub use head::statistics::{HeadStatistics, NamedCount, TopLists};

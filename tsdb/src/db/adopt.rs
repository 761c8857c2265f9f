//! Taking in blocks that were made elsewhere, while the database runs: imports, backfill.
//!
//! An adopted block says of itself that it is out of order: it overlaps others, the head may hold other samples of its
//! range, and where it ends tells nothing of how far the head was written out. Blocks it overlaps are compacted with it
//! in time; until then queries merge them, and of two samples at one time one is told.

use std::path::Path;

use model::sample::Timestamp;
use model::storage::StorageError;

use super::Db;
use crate::block::meta::{self, BlockMeta};
use crate::block::ulid::Ulid;
use crate::block::{Block, CREATION_SUFFIX, chunks, index, tombstones};
use crate::compact::writer::BlockWriter;
use crate::error::{Error, corrupt, io_error};
use crate::fs;

impl Db {
    /// Moves the finished block in `directory`, on the data directory's file system, into the data directory, durably,
    /// and shows it to queries from then on. What its directory is called does not matter: its `meta.json` names it. It
    /// may overlap other blocks and the head; of two samples at one time it is not said which one stays. Appends,
    /// queries and compaction go on meanwhile.
    ///
    /// A block of the future makes all others older by the retention's measure; one that the retention does not keep
    /// goes with the next [`Db::maintain`].
    ///
    /// # Errors
    /// If the database is not open for writes, the block is damaged or here already, or the disk fails; the block then
    /// stays where it was.
    pub fn adopt_block(&self, directory: &Path) -> Result<Ulid, Error> {
        let _adoption = self.blocks.adoption.lock();
        if !self.is_open_for_writes() {
            return Err(StorageError::NotReady.into());
        }
        let compactor = &self.blocks.compactor;
        // Whoever cannot be read is refused before anything moves.
        let ulid = Block::open(directory, &compactor.cache)?.meta().ulid;
        let target = self.directory().join(ulid.to_string());
        if target.exists() || self.blocks.knows(ulid) {
            return Err(
                corrupt(&directory.join(meta::FILE), 0, format!("block {ulid} is in the database already")).into()
            );
        }
        self.make_durable(directory)?;
        let (fs, io) = (&*self.fs, |error| io_error(directory, error));
        fs.rename(directory, &target).map_err(io)?;
        let opened =
            fs.sync_directory(self.directory()).map_err(io).and_then(|()| Block::open(&target, &compactor.cache));
        match opened {
            Ok(block) => self.blocks.add(block.into()),
            Err(error) => {
                // Not shown, it must not come back with the next start as if it had been.
                fs.rename(&target, directory).map_err(io)?;
                return Err(error.into());
            }
        }
        // Without this a crash may bring the old name back beside the new one; both are the same block.
        if let Some(parent) = directory.parent() {
            fs.sync_directory(parent).map_err(io)?;
        }
        Ok(ulid)
    }

    /// A writer of blocks of this database's width, named as of `now`, on its file system. Unless it is handed to
    /// [`Db::adopt_written`], what it wrote goes with it.
    ///
    /// # Errors
    /// If its directory cannot be made.
    pub fn block_writer(&self, now: Timestamp) -> Result<BlockWriter, Error> {
        // The name is one that the next start cleans up.
        let directory = self.directory().join(format!("import-{}{CREATION_SUFFIX}", Ulid::new(now.0)));
        BlockWriter::create_scratch(directory, self.config().block_range_ms, now)
    }

    /// Finishes the blocks of a writer that [`Db::block_writer`] made, and adopts them, oldest first. Tells what they are.
    ///
    /// # Errors
    /// As [`Db::adopt_block`] and [`BlockWriter::finish`]. Blocks adopted before stay; the others are gone.
    pub fn adopt_written(&self, mut writer: BlockWriter) -> Result<Vec<BlockMeta>, Error> {
        let metas = writer.finish_blocks()?;
        for meta in &metas {
            self.adopt_block(&writer.directory().join(meta.ulid.to_string()))?;
        }
        Ok(metas)
    }

    /// Says in the block's `meta.json` what an adopted block is, and makes all its files durable, whoever wrote them.
    fn make_durable(&self, directory: &Path) -> Result<(), StorageError> {
        let mut meta = BlockMeta::read(directory)?;
        meta.note_out_of_order();
        // What it came from elsewhere is not to be removed here.
        meta.compaction.parents.clear();
        (meta.compaction.deletable, meta.compaction.failed) = (false, false);
        meta.write(&*self.fs, directory)?;
        let of_chunks = directory.join(chunks::DIRECTORY);
        let segments = fs::list(&of_chunks).map_err(|error| io_error(&of_chunks, error))?;
        let files = [index::FILE, tombstones::FILE].iter().map(|name| directory.join(name));
        let files = files.chain(segments.iter().map(|segment| of_chunks.join(&segment.name)));
        for path in files.filter(|path| path.exists()).chain([of_chunks.clone(), directory.to_owned()]) {
            // A file is made durable as a directory is: opened and synced.
            self.fs.sync_directory(&path).map_err(|error| io_error(&path, error))?;
        }
        Ok(())
    }
}

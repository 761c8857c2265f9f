//! `meta.json`: what a block is. Layout: `docs/formats/block.md`.

use std::path::Path;

use model::storage::StorageError;
use serde::{Deserialize, Deserializer, Serialize};

use super::ulid::Ulid;
use crate::error::{corrupt, io_error};
use crate::fs::FileSystem;

/// The file's name in a block's directory.
pub(crate) const FILE: &str = "meta.json";
const VERSION: u32 = 1;
/// The hint of blocks written from out-of-order samples.
pub(crate) const HINT_OUT_OF_ORDER: &str = "from-out-of-order";
/// The hint of blocks of series that ended, written before the rest of the head. They bear the one above too: the head may
/// hold other samples of their range, and programs that do not know this hint know that one.
pub(crate) const HINT_STALE_SERIES: &str = "from-stale-series";
/// No block describes itself at greater length.
const BYTES_MAX: u64 = 16 << 20;

/// What a block is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlockMeta {
    /// Its name.
    pub ulid: Ulid,
    /// The first time it may hold.
    pub min_time: i64,
    /// The first time after it.
    pub max_time: i64,
    /// Counts.
    #[serde(default)]
    pub stats: BlockStats,
    /// Where it comes from.
    #[serde(default)]
    pub compaction: BlockCompaction,
    /// Of the block's format: 1.
    pub version: u32,
    /// What other programs noted beside it; carried along.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Counts of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct BlockStats {
    /// Samples of every kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Floats.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Histograms.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted ranges that are still in the block.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// Where a block comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BlockCompaction {
    /// How often its samples were compacted.
    pub level: u32,
    /// The blocks of level 1 that it came from.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "none_as_empty")]
    pub sources: Vec<Ulid>,
    /// It is empty and may go.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The blocks it was compacted from; they may go.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "none_as_empty")]
    pub parents: Vec<BlockParent>,
    /// A compaction failed on it: it is not tried again.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Further notes, such as `from-out-of-order`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "none_as_empty")]
    pub hints: Vec<String>,
}

/// A block that another one came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlockParent {
    /// Its name.
    pub ulid: Ulid,
    /// The first time it may hold.
    pub min_time: i64,
    /// The first time after it.
    pub max_time: i64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A list that a program in Go may have left as `null`.
fn none_as_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl BlockMeta {
    /// A new block of level 1 over `[min_time, max_time)`.
    pub(crate) fn new(ulid: Ulid, min_time: i64, max_time: i64) -> Self {
        let compaction = BlockCompaction { level: 1, sources: vec![ulid], ..BlockCompaction::default() };
        let stats = BlockStats::default();
        Self { ulid, min_time, max_time, stats, compaction, version: VERSION, other: serde_json::Map::new() }
    }

    /// The block that these are compacted into.
    pub(crate) fn of_parents(ulid: Ulid, parents: &[&BlockMeta]) -> Self {
        let min_time = parents.iter().map(|parent| parent.min_time).min().unwrap_or(0);
        let max_time = parents.iter().map(|parent| parent.max_time).max().unwrap_or(0);
        let mut meta = Self::new(ulid, min_time, max_time);
        let compaction = &mut meta.compaction;
        compaction.level = parents.iter().map(|parent| parent.compaction.level).max().unwrap_or(0).saturating_add(1);
        compaction.sources = parents.iter().flat_map(|parent| parent.compaction.sources.iter().copied()).collect();
        compaction.sources.sort_unstable();
        compaction.sources.dedup();
        compaction.parents = parents
            .iter()
            .map(|parent| BlockParent { ulid: parent.ulid, min_time: parent.min_time, max_time: parent.max_time })
            .collect();
        // What reaches beyond the last block that the head wrote says nothing of how far the head was written out.
        let of_head = parents.iter().filter(|parent| !parent.is_out_of_order());
        if of_head.map(|parent| parent.max_time).max() != Some(max_time) {
            meta.note_out_of_order();
        }
        meta
    }

    /// Notes that the head may hold other samples of its range.
    pub(crate) fn note_out_of_order(&mut self) {
        if !self.is_out_of_order() {
            self.compaction.hints.push(HINT_OUT_OF_ORDER.to_owned());
        }
    }

    /// Whether it is of samples that did not come through the head in order, or reaches beyond those that did.
    pub fn is_out_of_order(&self) -> bool {
        self.compaction.hints.iter().any(|hint| hint == HINT_OUT_OF_ORDER)
    }

    /// Reads the file of the block in `directory`.
    pub(crate) fn read(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(FILE);
        let length = std::fs::metadata(&path).map_err(|error| io_error(&path, error))?.len();
        if length > BYTES_MAX {
            return Err(StorageError::Limit { name: "meta_json_bytes_max", max: BYTES_MAX });
        }
        let bytes = std::fs::read(&path).map_err(|error| io_error(&path, error))?;
        let meta: Self = serde_json::from_slice(&bytes).map_err(|error| corrupt(&path, 0, error))?;
        if meta.version != VERSION {
            return Err(corrupt(&path, 0, format!("version {} of blocks, expected {VERSION}", meta.version)));
        }
        if meta.min_time > meta.max_time {
            return Err(corrupt(&path, 0, format!("a block from {} to {}", meta.min_time, meta.max_time)));
        }
        Ok(meta)
    }

    /// Writes the file of the block in `directory`, whole or not at all.
    pub(crate) fn write(&self, fs: &dyn FileSystem, directory: &Path) -> Result<(), StorageError> {
        let path = directory.join(FILE);
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        self.serialize(&mut serializer).map_err(|error| io_error(&path, error.into()))?;
        crate::fs::replace(fs, &path, &text).map_err(|error| io_error(&path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_and_thanos_wrote_is_read_and_carried_along() {
        let text = r#"{"ulid":"01BKGV7JBM69T2G1BGBGM6KB12","minTime":1,"maxTime":7200000,"stats":{"numSamples":4},
            "compaction":{"level":1,"sources":null,"hints":["from-out-of-order"]},"version":1,"thanos":{"labels":{"a":"b"}}}"#;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let meta = BlockMeta::read(directory.path()).unwrap();
        assert!(meta.is_out_of_order() && meta.compaction.sources.is_empty());
        meta.write(&crate::fs::Disk, directory.path()).unwrap();
        assert_eq!(BlockMeta::read(directory.path()).unwrap(), meta);
        assert!(std::fs::read_to_string(directory.path().join(FILE)).unwrap().contains("\"thanos\""));
        std::fs::write(directory.path().join(FILE), text.replace("\"version\":1", "\"version\":2")).unwrap();
        assert!(BlockMeta::read(directory.path()).unwrap_err().to_string().contains("version 2"));
    }

    #[test]
    fn a_child_names_its_parents_and_their_sources() {
        let (a, b) = (BlockMeta::new(Ulid(1), 0, 10), BlockMeta::new(Ulid(2), 10, 20));
        let child = BlockMeta::of_parents(Ulid(3), &[&a, &b]);
        assert_eq!((child.min_time, child.max_time, child.compaction.level), (0, 20, 2));
        assert_eq!(child.compaction.sources, [Ulid(1), Ulid(2)]);
        let grandchild = BlockMeta::of_parents(Ulid(4), &[&child, &a]);
        assert_eq!(grandchild.compaction.sources, [Ulid(1), Ulid(2)]);
        assert_eq!(grandchild.compaction.parents.len(), 2);
    }

    #[test]
    fn a_child_that_reaches_beyond_what_the_head_wrote_says_so() {
        let (of_head, mut other) = (BlockMeta::new(Ulid(1), 0, 10), BlockMeta::new(Ulid(2), 0, 10));
        other.note_out_of_order();
        let is_out_of_order = |parents: &[&BlockMeta]| BlockMeta::of_parents(Ulid(3), parents).is_out_of_order();
        assert!(is_out_of_order(&[&other]) && !is_out_of_order(&[&of_head, &other]));
        other.max_time = 11;
        assert!(is_out_of_order(&[&of_head, &other]));
    }
}

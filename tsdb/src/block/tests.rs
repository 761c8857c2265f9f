//! Blocks written, read, and damaged.

mod damage;
mod golden;
mod version_1;

use std::collections::BTreeMap;

use model::labels;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{Columns, Series as SeriesContract};

use super::builder::{BlockBuilder, SeriesChunks};
use super::reader::BlockSeriesIter;
use super::ulid::Ulid;
use super::*;
use crate::chunk::{OpenChunk, ValueRef};
use crate::fs::Disk;

const ALL: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

pub(super) fn cache() -> Arc<PostingsCache> {
    Arc::new(PostingsCache::new(1 << 20, Arc::default()))
}

fn chunk(samples: &[(i64, f64)], chunks: &mut SeriesChunks) {
    let mut open = OpenChunk::starting_with(samples[0].0, ValueRef::Float(samples[0].1), None);
    samples[1..].iter().for_each(|(time, value)| open.append(*time, ValueRef::Float(*value)));
    chunks.push(samples[0].0, samples[samples.len() - 1].0, open.encoding(), open.bytes());
}

/// The values of a label, as a block alone tells them.
pub(super) fn label_values(block: &Block, name: &str, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
    let mut values = Vec::new();
    block.add_label_values(name, matchers, 0, &mut values)?;
    Ok(values)
}

/// What a block holds, by the text of the labels.
pub(super) type Content = BTreeMap<String, Vec<(i64, f64)>>;

pub(super) fn content(block: &Arc<Block>, matchers: &[Matcher], range: TimeRange) -> Result<Content, StorageError> {
    let selected = block.select(matchers)?;
    let mut iter = BlockSeriesIter::new(block, selected, range);
    let mut content = Content::new();
    while let Some(series) = iter.advance()? {
        let mut columns = Columns::default();
        series.read(&mut columns)?;
        let samples = columns.timestamps.into_iter().zip(columns.values).collect();
        assert!(content.insert(series.labels().to_string(), samples).is_none(), "a series comes once");
    }
    Ok(content)
}

fn series(i: usize) -> Labels {
    let third = if i.is_multiple_of(3) { "third" } else { "other" };
    labels! {
        "__name__" => "metric", "i" => &i.to_string(), third => &format!("v{}", i % 5),
        "parity" => if i.is_multiple_of(2) { "even" } else { "odd" },
    }
}

/// A block of `count` series with two chunks each.
pub(super) fn write(data: &Path, count: usize) -> PathBuf {
    let fs: Arc<dyn FileSystem> = Arc::new(Disk);
    let meta = BlockMeta::new(Ulid(7), 0, 7_200_000);
    let mut builder = BlockBuilder::create(&fs, data, meta, 2000).unwrap();
    let mut chunks = SeriesChunks::default();
    for i in (0..count).rev() {
        chunks.clear();
        for start in [0, 1_000_000i64] {
            let samples: Vec<_> = (0..5).map(|at| (start + at * 15_000, (at * i as i64) as f64 / 3.0)).collect();
            chunk(&samples, &mut chunks);
        }
        builder.add_labels(&series(i), &chunks).unwrap();
    }
    builder.finish().unwrap().unwrap().0
}

#[test]
fn what_was_written_is_read_whole_and_in_part() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 40);
    assert!(list(scratch.path()).unwrap().iter().eq([&directory]));
    let block = Arc::new(Block::open(&directory, &cache()).unwrap());
    let stats = block.meta().stats;
    assert_eq!((stats.num_series, stats.num_chunks, stats.num_samples, stats.num_float_samples), (40, 80, 400, 400));
    assert!(block.chunks.bytes() > 2000, "several segments");
    let all = content(&block, &[], ALL).unwrap();
    assert_eq!(all.len(), 40);
    for i in 0..40 {
        let samples = &all[&series(i).to_string()];
        assert_eq!(samples.len(), 10);
        assert_eq!(samples[9], (1_060_000, (4 * i) as f64 / 3.0));
    }
    let part = content(&block, &[Matcher::equal("i", "3")], TimeRange { min: 15_001, max: 1_000_000 }).unwrap();
    assert_eq!(
        part[&series(3).to_string()].iter().map(|s| s.0).collect::<Vec<_>>(),
        [30_000, 45_000, 60_000, 1_000_000]
    );
    let none = content(&block, &[], TimeRange { min: 70_000, max: 90_000 }).unwrap();
    assert!(none.is_empty(), "no chunk is there");
}

#[test]
fn matchers_select_as_naive_matching_does() {
    let scratch = tempfile::tempdir().unwrap();
    let block = Arc::new(Block::open(&write(scratch.path(), 90), &cache()).unwrap());
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let conditions = [
        ("parity", Equal, "odd"),
        ("parity", NotEqual, "odd"),
        ("i", Regex, "1.*"),
        ("i", Regex, "8[0-9]*|nothing"),
        ("i", NotRegex, "1.*|2"),
        ("third", Equal, ""),
        ("third", NotEqual, ""),
        ("third", Regex, "v1|v2"),
        ("third", Regex, "v1|"),
        ("third", NotRegex, "v1|"),
        ("third", NotRegex, ".+"),
        ("absent", Equal, ""),
        ("absent", NotEqual, ""),
        ("absent", Regex, ".*"),
        ("i", Regex, ".*"),
        ("i", Regex, ".+"),
        ("i", Regex, ".*7"),
        ("i", NotEqual, "7"),
        ("other", NotRegex, "v[0-3]"),
        ("__name__", Regex, "met.*"),
        ("__name__", NotEqual, "metric"),
    ];
    for a in conditions {
        for b in conditions {
            let matchers: Vec<_> =
                [a, b].iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap()).collect();
            let naive = (0..90).map(series).filter(|labels| matchers.iter().all(|m| m.matches_labels(labels)));
            let mut naive: Vec<_> = naive.collect();
            naive.sort();
            let found: Vec<_> = {
                let mut iter = BlockSeriesIter::new(&block, block.select(&matchers).unwrap(), ALL);
                std::iter::from_fn(|| iter.advance().unwrap()).map(|series| series.labels()).collect()
            };
            assert_eq!(found, naive, "{matchers:?}");
            let values: std::collections::BTreeSet<_> =
                naive.iter().filter_map(|labels| labels.get("i")).map(str::to_owned).collect();
            assert_eq!(label_values(&block, "i", &matchers).unwrap(), values.into_iter().collect::<Vec<_>>());
            let names: std::collections::BTreeSet<_> =
                naive.iter().flat_map(|labels| labels.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>()).collect();
            assert_eq!(block.label_names(&matchers).unwrap(), names);
        }
    }
    assert_eq!(label_values(&block, "i", &[]).unwrap().len(), 90);
    assert_eq!(block.label_names(&[]).unwrap().len(), 5);
}

#[test]
fn deleted_ranges_are_not_seen_and_stay_deleted() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 10);
    let block = Arc::new(Block::open(&directory, &cache()).unwrap());
    let range = TimeRange { min: 30_000, max: 1_000_000 };
    assert_eq!(block.delete(&Disk, range, &[Matcher::equal("parity", "odd")]).unwrap(), 5);
    let nothing_there = TimeRange { min: 70_000, max: 80_000 };
    assert_eq!(block.delete(&Disk, nothing_there, &[Matcher::equal("parity", "even")]).unwrap(), 0);
    let again = Arc::new(Block::open(&directory, &cache()).unwrap());
    assert_eq!(again.meta().stats.num_tombstones, 5);
    for block in [block, again] {
        let all = content(&block, &[], ALL).unwrap();
        assert_eq!(all[&series(2).to_string()].len(), 10);
        let times: Vec<_> = all[&series(3).to_string()].iter().map(|sample| sample.0).collect();
        assert_eq!(times, [0, 15_000, 1_015_000, 1_030_000, 1_045_000, 1_060_000]);
    }
}

#[test]
fn leftovers_are_cleaned_and_a_removed_block_stays_readable() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 3);
    for suffix in [CREATION_SUFFIX, DELETION_SUFFIX] {
        std::fs::create_dir_all(with_suffix(&scratch.path().join(Ulid(9).to_string()), suffix).join("x")).unwrap();
    }
    let block = Arc::new(Block::open(&directory, &cache()).unwrap());
    clean(&Disk, scratch.path()).unwrap();
    remove(&Disk, &directory).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(content(&block, &[], ALL).unwrap().len(), 3);
}

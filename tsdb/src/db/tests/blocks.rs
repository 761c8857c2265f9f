//! Blocks made of the head and of each other, deleted from, retained, copied, and damaged.

use super::*;
use crate::block::DAMAGED_SUFFIX;
use crate::compact::retention::RetentionRule;
use crate::compact::writer::NewChunk;
use crate::{BlockWriter, ReadOnlyDb, Retention, WithHead};

const RANGE_MS: i64 = 100_000;
const STEP_MS: i64 = 5_000;
/// Steps in a block range.
const STEPS: i64 = RANGE_MS / STEP_MS;
const SERIES: usize = 6;

fn config() -> Config {
    Config { block_range_ms: RANGE_MS, block_range_max_ms: Some(9 * RANGE_MS), retention_ms: None, ..small() }
}

fn value(i: usize, step: i64) -> f64 {
    (step * 7 + i as i64 * 3) as f64 / 8.0
}

fn append_step(db: &Db, step: i64) {
    let mut appender = db.appender();
    for i in 0..SERIES {
        // The last series ends early, so that it is in blocks alone.
        if i + 1 < SERIES || step < 2 * STEPS {
            appender.append(&series(i), Timestamp(step * STEP_MS), value(i, step).into()).unwrap();
        }
    }
    appender.commit().unwrap();
}

/// Appends the steps and maintains the database as time goes on.
fn fill(db: &Db, steps: std::ops::Range<i64>) {
    for step in steps {
        append_step(db, step);
        db.maintain(Timestamp(step * STEP_MS)).unwrap();
    }
}

type All = Vec<(String, Vec<(i64, f64)>)>;

fn expected(steps: std::ops::Range<i64>) -> All {
    let of = |i: usize| {
        let end = if i + 1 < SERIES { steps.end } else { steps.end.min(2 * STEPS) };
        (steps.start..end).map(|step| (step * STEP_MS, value(i, step))).collect::<Vec<_>>()
    };
    (0..SERIES).map(|i| (series(i).to_string(), of(i))).filter(|(_, samples)| !samples.is_empty()).collect()
}

/// Everything in the range, in both orders.
fn read_both(db: &Db, min: i64, max: i64) -> All {
    let sorted = read(db, min, max, &metric());
    let querier = db.querier(Timestamp(min), Timestamp(max)).unwrap();
    let mut set = querier.select(Order::Any, &SelectHints::default(), &metric()).unwrap();
    let mut any = All::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        any.push((series.labels().to_string(), columns.timestamps.into_iter().zip(columns.values).collect()));
    }
    any.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(any, sorted);
    sorted
}

fn metas(db: &Db) -> Vec<(i64, i64, u32)> {
    db.block_metas().iter().map(|m| (m.min_time / RANGE_MS, m.max_time / RANGE_MS, m.compaction.level)).collect()
}

#[test]
fn the_head_becomes_blocks_these_become_larger_ones_and_no_query_sees_a_seam() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    let end = 21 * STEPS;
    fill(&db, 0..end);
    assert_eq!(metas(&db), [(0, 9, 3), (9, 18, 3), (18, 19, 1), (19, 20, 1)]);
    let statistics = db.head_statistics();
    assert!(statistics.min_time == 20 * RANGE_MS && statistics.series as usize == SERIES - 1);
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), expected(0..end));
    for (min, max) in [(3, 40), (end - 50, end), (end - 3, end), (0, 0), (2 * STEPS - 1, 2 * STEPS + 1)] {
        let mut wanted = expected(min..max + 1);
        wanted.iter_mut().for_each(|(_, samples)| samples.retain(|(time, _)| *time < end * STEP_MS));
        assert_eq!(read_both(&db, min * STEP_MS, max * STEP_MS), wanted, "{min} to {max}");
    }
    let hints = SelectHints { range: Some((Timestamp(0), Timestamp(0))), limit: 2, ..SelectHints::default() };
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::Any, &hints, &metric()).unwrap();
    let mut count = 0;
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        assert_eq!(columns.timestamps, [0]);
        count += 1;
    }
    assert_eq!(count, 2);
    drop(set);
    assert_eq!(querier.label_values("i", &[], 0).unwrap().len(), SERIES);
    assert_eq!(querier.label_values("i", &[Matcher::equal("parity", "odd")], 0).unwrap(), ["1", "3", "5"]);
    assert_eq!(querier.label_names(&metric(), 2).unwrap(), ["__name__", "i"]);
    drop(querier);
    drop(db);
    let db = Db::open(directory.path(), config()).unwrap();
    assert!(db.replay_report().damage.is_empty());
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), expected(0..end));
    fill(&db, end..end + 2 * STEPS);
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), expected(0..end + 2 * STEPS));
    let instruments = &db.instruments().blocks;
    assert_eq!(instruments.loaded.value(), metas(&db).len() as i64);
    assert_eq!((instruments.lowest_timestamp.value(), instruments.compactions_failed.value()), (0, 0));
}

#[test]
fn an_appender_that_began_before_holds_the_range_back() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    append(&db, &series(0), 0, 0.0).unwrap();
    let mut slow = db.appender();
    slow.append(&series(1), Timestamp(10), 1.0.into()).unwrap();
    append(&db, &series(0), 4 * RANGE_MS, 2.0).unwrap();
    db.maintain(Timestamp(4 * RANGE_MS)).unwrap();
    assert!(db.block_metas().is_empty());
    slow.append(&series(1), Timestamp(20), 1.0.into()).unwrap();
    slow.commit().unwrap();
    db.maintain(Timestamp(4 * RANGE_MS)).unwrap();
    assert_eq!(metas(&db), [(0, 1, 1)]);
    let all = read_both(&db, i64::MIN, i64::MAX);
    assert_eq!(all[1].1, [(10, 1.0), (20, 1.0)]);
    let mut late = db.appender();
    let refused = late.append(&series(1), Timestamp(30), 1.0.into());
    assert!(matches!(refused, Err(AppendError::OutOfBounds)));
}

#[test]
fn readers_keep_the_blocks_they_began_with() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let first = set.advance().unwrap().unwrap();
    fill(&db, 4 * STEPS..12 * STEPS);
    db.apply_retention(Retention { bytes: Some(1), ..Retention::default() }).unwrap();
    db.maintain(Timestamp(12 * RANGE_MS)).unwrap();
    assert!(db.block_metas().is_empty(), "all are too large for one byte");
    let mut columns = Columns::default();
    first.read(&mut columns).unwrap();
    assert_eq!(columns.len() as i64, 4 * STEPS);
    assert_eq!(set.advance().unwrap().unwrap().labels(), series(1));
    assert_eq!(db.instruments().blocks.size_retentions.value(), 1);
}

#[test]
fn old_blocks_go_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { retention_ms: Some(4 * RANGE_MS), block_range_max_ms: Some(RANGE_MS), ..config() };
    let db = Db::open(directory.path(), config).unwrap();
    fill(&db, 0..12 * STEPS);
    assert_eq!(metas(&db), [(7, 8, 1), (8, 9, 1), (9, 10, 1), (10, 11, 1)]);
    assert_eq!(db.instruments().blocks.retention_limit_seconds.value(), 4 * RANGE_MS / 1000);
    assert!(db.instruments().blocks.time_retentions.value() > 0);
    assert!(db.apply_retention(Retention { time_ms: Some(0), ..Retention::default() }).is_err());
    assert!(db.disk_usage().unwrap().blocks > 1000);
}

#[test]
fn a_share_of_the_disk_is_a_limit_too() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..5 * STEPS);
    let share = |percentage| Retention { disk_percentage: Some(percentage), ..Retention::default() };
    assert!(db.apply_retention(share(101.0)).is_err());
    db.apply_retention(share(100.0)).unwrap();
    db.maintain(Timestamp(5 * RANGE_MS)).unwrap();
    assert!(!db.block_metas().is_empty() && db.instruments().blocks.retention_limit_bytes.value() > 1 << 20);
    db.apply_retention(share(1e-12)).unwrap();
    db.maintain(Timestamp(5 * RANGE_MS)).unwrap();
    assert!(db.block_metas().is_empty());
}

#[test]
fn rules_keep_some_series_longer_and_others_shorter() {
    let directory = tempfile::tempdir().unwrap();
    let rules = vec![
        RetentionRule::new(vec![Matcher::equal("i", "0")], 100 * RANGE_MS),
        RetentionRule::new(vec![Matcher::equal("i", "1")], 2 * RANGE_MS),
    ];
    let config = Config { retention_ms: Some(5 * RANGE_MS), retention_rules: rules, ..config() };
    let db = Db::open(directory.path(), config).unwrap();
    fill(&db, 0..14 * STEPS);
    let all = read_both(&db, i64::MIN, i64::MAX);
    let first = |i: usize| all.iter().find(|(labels, _)| *labels == series(i).to_string()).map(|(_, s)| s[0].0);
    assert_eq!(first(0), Some(0));
    assert_eq!(first(1), Some(11 * RANGE_MS), "two ranges before the newest block's end");
    assert!(
        first(2).is_some_and(|time| (1..=8 * RANGE_MS).contains(&time)),
        "five ranges, and what its block still has"
    );
    assert_eq!(first(5), None, "it ended long ago");
    assert!(db.instruments().blocks.rule_retentions.value() > 0);
}

#[test]
fn deletions_reach_blocks_and_cleaning_takes_the_samples_off_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..7 * STEPS);
    let (from, to) = (RANGE_MS / 2, 6 * RANGE_MS);
    let matchers = [Matcher::equal("parity", "even")];
    assert!(db.delete_series(Timestamp(from), Timestamp(to), &matchers).unwrap() >= 3);
    let mut wanted = expected(0..7 * STEPS);
    for (labels, samples) in &mut wanted {
        samples.retain(|(time, _)| !labels.contains("even") || !(from..=to).contains(time));
    }
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), wanted);
    let before = db.disk_usage().unwrap().blocks;
    db.clean_tombstones(Timestamp(7 * RANGE_MS)).unwrap();
    assert!(db.block_metas().iter().all(|meta| meta.stats.num_tombstones == 0));
    assert!(db.disk_usage().unwrap().blocks < before);
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), wanted);
    drop(db);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), wanted);
    db.delete_series(Timestamp(i64::MIN), Timestamp(i64::MAX), &metric()).unwrap();
    db.clean_tombstones(Timestamp(7 * RANGE_MS)).unwrap();
    assert!(db.block_metas().is_empty(), "nothing is left to write");
    assert!(read_both(&db, i64::MIN, i64::MAX).iter().all(|(_, samples)| samples.is_empty()));
}

#[test]
fn a_snapshot_is_a_database_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), Config { out_of_order_window_ms: 10 * RANGE_MS, ..config() }).unwrap();
    fill(&db, 0..7 * STEPS);
    append(&db, &series(0), 1, 0.5).unwrap();
    append(&db, &labels! { "__name__" => "zz_only_late" }, 2, 0.5).unwrap();
    let target = directory.path().join("snapshots/whole");
    db.snapshot(&target, WithHead::Yes, Timestamp(7 * RANGE_MS)).unwrap();
    let blocks_only = directory.path().join("snapshots/blocks");
    db.snapshot(&blocks_only, WithHead::No, Timestamp(7 * RANGE_MS)).unwrap();
    let in_blocks = db.block_metas().iter().map(|meta| meta.max_time).max().unwrap() / STEP_MS;
    fill(&db, 7 * STEPS..12 * STEPS);
    drop(db);
    let whole = Db::open(&target, config()).unwrap();
    let mut wanted = expected(0..7 * STEPS);
    wanted[0].1.insert(1, (1, 0.5));
    assert_eq!(read_both(&whole, i64::MIN, i64::MAX), wanted);
    let only_late = [Matcher::equal("__name__", "zz_only_late")];
    assert_eq!(read(&whole, i64::MIN, i64::MAX, &only_late)[0].1, [(2, 0.5)]);
    let part = Db::open(&blocks_only, config()).unwrap();
    assert_eq!(read_both(&part, i64::MIN, i64::MAX), expected(0..in_blocks));
}

/// Name, length and time of change of everything in a directory.
fn listing(directory: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::metadata(&path).unwrap();
        all.push((path.clone(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            all.extend(listing(&path));
        }
    }
    all.sort();
    all
}

#[test]
fn a_read_only_database_shows_everything_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), Config { samples_per_chunk: 8, ..config() }).unwrap();
    fill(&db, 0..7 * STEPS);
    // Damage, and what an interrupted creation left, stay as they are.
    let block = db.block_metas()[0].ulid.to_string();
    let mut index = std::fs::read(directory.path().join(&block).join("index")).unwrap();
    index[20] ^= 1;
    std::fs::write(directory.path().join(&block).join("index"), index).unwrap();
    std::fs::create_dir(directory.path().join("00000000000000000000000000.tmp-for-creation")).unwrap();
    let log = directory.path().join("wal").join(format!("{:08}", db.wal.current_segment()));
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend_from_slice(&[1, 0, 9, 1, 2, 3, 4, 5]);
    std::fs::write(&log, bytes).unwrap();
    let before = listing(directory.path());
    let found = {
        let read_only = ReadOnlyDb::open(directory.path(), scratch.path()).unwrap();
        assert_eq!(read_only.replay_report().damage.len(), 2, "{:?}", read_only.replay_report());
        assert_eq!(read_only.block_metas().len(), db.block_metas().len() - 1);
        let view = &read_only.blocks()[0];
        assert_eq!(view.label_values("parity").unwrap(), [("even".to_owned(), 3), ("odd".to_owned(), 2)]);
        let mut samples = 0;
        view.each_series(&metric(), |_, chunks| {
            samples += chunks.iter().map(|chunk| u64::from(chunk.samples)).sum::<u64>();
            Ok(())
        })
        .unwrap();
        assert_eq!(samples, view.meta().stats.num_samples);
        read(&read_only.db, 3 * RANGE_MS, i64::MAX, &metric())
    };
    assert_eq!(found, expected(3 * STEPS..7 * STEPS));
    assert_eq!(listing(directory.path()), before);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert!(ReadOnlyDb::open(&directory.path().join("absent"), scratch.path()).is_err());
}

#[test]
fn backfilled_blocks_are_taken_in_and_merged_with_those_they_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    drop(db);
    let mut writer = BlockWriter::create(directory.path(), RANGE_MS, Timestamp(1)).unwrap();
    // Between the steps, in no order, and at a step with another value: what was there first counts.
    for time in [150_001, 50_001, 1, 2] {
        writer.append(Timestamp(time), 9.0.into());
    }
    writer.append(Timestamp(0), 77.0.into());
    writer.end_series(&series(0)).unwrap();
    writer.append_started(Timestamp(-5), Timestamp(3), 1.0.into());
    writer.end_series(&labels! { "__name__" => "metric", "i" => "new" }).unwrap();
    let written = writer.finish().unwrap();
    assert_eq!(written.iter().map(|meta| meta.min_time).collect::<Vec<_>>(), [0, RANGE_MS]);
    let db = Db::open(directory.path(), config()).unwrap();
    let before = read_both(&db, i64::MIN, i64::MAX);
    db.maintain(Timestamp(4 * RANGE_MS)).unwrap();
    assert!(db.instruments().blocks.vertical_compactions.value() > 0);
    assert!(db.block_metas().windows(2).all(|pair| pair[0].max_time <= pair[1].min_time));
    let after = read_both(&db, i64::MIN, i64::MAX);
    let samples = &after.iter().find(|(labels, _)| *labels == series(0).to_string()).unwrap().1;
    assert_eq!(samples.iter().filter(|(_, value)| *value == 9.0).count(), 4);
    assert_eq!(samples.len() as i64, 4 * STEPS + 4);
    assert_eq!(
        before.iter().map(|s| s.1.len()).collect::<Vec<_>>(),
        after.iter().map(|s| s.1.len()).collect::<Vec<_>>()
    );
    assert_eq!(after.last().unwrap().1, [(3, 1.0)]);
}

#[test]
fn backfill_into_the_range_of_the_head_hides_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    let head_from = db.head_statistics().min_time;
    drop(db);
    let mut writer = BlockWriter::create(directory.path(), RANGE_MS, Timestamp(1)).unwrap();
    writer.append(Timestamp(head_from + 1), 9.0.into());
    writer.end_series(&series(0)).unwrap();
    writer.finish().unwrap();
    let mut wanted = expected(0..4 * STEPS);
    let at = wanted[0].1.partition_point(|(time, _)| *time <= head_from);
    wanted[0].1.insert(at, (head_from + 1, 9.0));
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), wanted);
    for step in 4 * STEPS..8 * STEPS {
        append_step(&db, step);
        db.maintain(Timestamp(step * STEP_MS)).unwrap();
    }
    assert_eq!(read_both(&db, i64::MIN, 4 * RANGE_MS - 1), wanted);
}

#[test]
fn out_of_order_series_become_blocks_that_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    let chunk = |times: &[i64]| {
        let mut open = crate::chunk::OpenChunk::starting_with(times[0], crate::chunk::ValueRef::Float(9.0), None);
        times[1..].iter().for_each(|time| open.append(*time, crate::chunk::ValueRef::Float(9.0)));
        let (min_time, max_time, encoding) = (times[0], times[times.len() - 1], open.encoding());
        NewChunk { min_time, max_time, encoding, bytes: open.into_bytes().into() }
    };
    let chunks = vec![chunk(&[50_001, RANGE_MS + 1]), chunk(&[1, 50_001, 60_001])];
    let written = db.write_out_of_order_blocks(Timestamp(0), &mut [Ok((series(0), chunks))].into_iter()).unwrap();
    assert_eq!(written, 2);
    assert_eq!(db.block_metas().iter().filter(|meta| meta.is_out_of_order()).count(), 2);
    let all = read_both(&db, i64::MIN, i64::MAX);
    assert_eq!(all[0].1.len() as i64, 4 * STEPS + 4);
    drop(db);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), all);
}

#[test]
fn a_damaged_block_is_set_aside_or_left_alone_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    let blocks: Vec<_> = db.block_metas().iter().map(|m| directory.path().join(m.ulid.to_string())).collect();
    drop(db);
    assert_eq!(blocks.len(), 3);
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip(&blocks[0].join("index"), 20);
    flip(&blocks[1].join("chunks/000001"), 40);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(db.replay_report().damage.len(), 1, "{:?}", db.replay_report().damage);
    assert_eq!(db.instruments().blocks.set_aside.value(), 1);
    assert!(crate::block::with_suffix(&blocks[0], DAMAGED_SUFFIX).exists());
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let mut failed = 0;
    while let Some(series) = set.advance().unwrap() {
        failed += usize::from(matches!(series.read(&mut Columns::default()), Err(StorageError::Corrupt { .. })));
    }
    assert_eq!(failed, 1, "only the series of that chunk");
    drop(set);
    drop(querier);
    let mut errors = 0;
    for step in 4 * STEPS..13 * STEPS {
        append_step(&db, step);
        errors += usize::from(db.maintain(Timestamp(step * STEP_MS)).is_err());
    }
    assert_eq!(errors, 1, "told once, then left alone");
    assert!(db.block_metas().iter().any(|meta| meta.compaction.failed));
    assert_eq!(read_both(&db, 2 * RANGE_MS, i64::MAX), expected(2 * STEPS..13 * STEPS));
}

#[test]
fn parents_that_outlived_their_child_are_removed_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..4 * STEPS);
    let kept = tempfile::tempdir().unwrap();
    db.snapshot(kept.path(), WithHead::No, Timestamp(0)).unwrap();
    fill(&db, 4 * STEPS..7 * STEPS);
    let expected = read_both(&db, i64::MIN, i64::MAX);
    let blocks = metas(&db);
    assert!(blocks.contains(&(0, 3, 2)));
    drop(db);
    for parent in crate::block::list(kept.path()).unwrap() {
        std::fs::rename(&parent, directory.path().join(parent.file_name().unwrap())).unwrap();
    }
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(metas(&db), blocks);
    assert_eq!(crate::block::list(directory.path()).unwrap().len(), blocks.len());
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), expected);
}

#[test]
fn queries_and_appends_go_on_while_blocks_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let db = Arc::new(Db::open(directory.path(), config()).unwrap());
    let end = 30 * STEPS;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..end).for_each(|step| append_step(&db, step));
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                db.maintain(Timestamp(end * STEP_MS)).unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                for (labels, samples) in read(&db, i64::MIN, i64::MAX, &metric()) {
                    let is_whole = samples.iter().enumerate().all(|(at, (time, _))| *time == at as i64 * STEP_MS);
                    assert!(is_whole, "a hole in {labels}: {samples:?}");
                }
            }
        });
    });
    db.maintain(Timestamp(end * STEP_MS)).unwrap();
    assert_eq!(read_both(&db, i64::MIN, i64::MAX), expected(0..end));
    assert!(metas(&db).len() < 8, "{:?}", metas(&db));
}

//! Nothing acknowledged is lost: at whichever call the disk fails, the process dies, or the machine loses power.

use super::*;
use crate::fs::faulty::{Fault, Faulty};

const SERIES: usize = 60;
const BATCHES: i64 = 120;
const STEP_MS: i64 = 120_000;
const RETENTION_MS: i64 = 7_200_000;
/// Every so many batches bring out-of-order samples too.
const LATE_EVERY: i64 = 3;

fn config(fsync: Fsync) -> Config {
    Config {
        fsync,
        wal_compression: Compression::None,
        samples_per_chunk: 20,
        retention_ms: Some(RETENTION_MS),
        block_range_ms: 1_800_000,
        block_range_max_ms: Some(3 * 1_800_000),
        out_of_order_window_ms: 3_600_000,
        ..small()
    }
}

/// Appends a batch of one sample to each series, and tells whether it was acknowledged.
fn append_batch(db: &Db, batch: i64) -> bool {
    let mut appender = db.appender();
    for i in 0..SERIES {
        let value = (batch as f64 * 1.7 + i as f64).sin();
        if appender.append(&series(i), Timestamp(batch * STEP_MS), value.into()).is_err() {
            return false;
        }
        if brings_late(batch)
            && appender.append(&series(i), Timestamp(batch * STEP_MS - STEP_MS / 2), value.into()).is_err()
        {
            return false;
        }
    }
    appender.commit().is_ok_and(|count| count == SERIES * if brings_late(batch) { 2 } else { 1 })
}

fn brings_late(batch: i64) -> bool {
    batch % LATE_EVERY == LATE_EVERY - 1
}

/// Which batches are there, each whole.
fn batches_in(db: &Db) -> Vec<i64> {
    let all = read(db, i64::MIN, i64::MAX, &metric());
    let mut samples_at = std::collections::BTreeMap::new();
    for (_, samples) in &all {
        for (time, _) in samples {
            *samples_at.entry(*time).or_insert(0) += 1;
        }
    }
    assert!(samples_at.values().all(|count| *count == SERIES), "half a batch: {samples_at:?}");
    let has_late = |batch: i64| !brings_late(batch) || samples_at.contains_key(&(batch * STEP_MS - STEP_MS / 2));
    let batches = samples_at.keys().filter(|time| *time % STEP_MS == 0).map(|time| time / STEP_MS);
    batches.filter(|batch| has_late(*batch)).collect()
}

/// Runs the load until the first failure, upkeep included, and returns what was acknowledged.
fn run(fs: Arc<Faulty>, directory: &Path, fsync: Fsync) -> Vec<i64> {
    let Ok(db) = Db::open_on(fs, directory, config(fsync)) else {
        return Vec::new();
    };
    let mut acknowledged = Vec::new();
    for batch in 0..BATCHES {
        if append_batch(&db, batch) {
            acknowledged.push(batch);
        }
        // Its failures are the disk's; what counts is what is there afterwards.
        let _failed = db.maintain(Timestamp(batch * STEP_MS));
    }
    // As a killed process: nothing of what a stop does happens.
    *db.lock.lock() = None;
    db.is_closed.store(true, Ordering::Release);
    acknowledged
}

fn assert_kept(directory: &Path, acknowledged: &[i64], fault_at: usize) {
    let db = Db::open(directory, config(Fsync::Segment)).unwrap();
    let found = batches_in(&db);
    let Some(last) = acknowledged.last() else {
        return;
    };
    let oldest_kept = (last * STEP_MS - RETENTION_MS) / STEP_MS;
    let wanted = acknowledged.iter().filter(|batch| **batch >= oldest_kept);
    let lost: Vec<_> = wanted.filter(|batch| !found.contains(batch)).collect();
    assert!(lost.is_empty(), "fault at call {fault_at}: {lost:?} lost of {acknowledged:?}, {:?}", db.replay_report());
    assert!(append_batch(&db, BATCHES + 1), "and it goes on");
}

fn calls_of_a_whole_run(fsync: Fsync) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let fs = Arc::new(Faulty::new(Fault::Once, usize::MAX));
    let acknowledged = run(Arc::clone(&fs), directory.path(), fsync);
    assert_eq!(acknowledged.len() as i64, BATCHES);
    assert_kept(directory.path(), &acknowledged, 0);
    assert!(directory.path().join("wal").read_dir().unwrap().count() > 1, "the load reaches a second segment");
    let blocks = Db::open(directory.path(), config(Fsync::Segment)).unwrap().block_metas();
    assert!(blocks.iter().any(|meta| meta.compaction.level > 1), "blocks are compacted");
    assert!(blocks[0].min_time > 0, "and old ones removed");
    fs.calls()
}

#[test]
fn a_process_killed_at_any_call_loses_nothing() {
    for fault_at in (1..=calls_of_a_whole_run(Fsync::Segment)).step_by(7) {
        let directory = tempfile::tempdir().unwrap();
        let fs = Arc::new(Faulty::new(Fault::Crash, fault_at));
        let acknowledged = run(fs, directory.path(), Fsync::Segment);
        assert_kept(directory.path(), &acknowledged, fault_at);
    }
}

#[test]
fn a_machine_that_loses_power_at_any_call_loses_nothing_that_was_synced() {
    for fault_at in (1..=calls_of_a_whole_run(Fsync::Always)).step_by(11) {
        let directory = tempfile::tempdir().unwrap();
        let fs = Arc::new(Faulty::new(Fault::Crash, fault_at));
        let acknowledged = run(Arc::clone(&fs), directory.path(), Fsync::Always);
        fs.lose_unsynced(fault_at as u64 * 37 % 257);
        assert_kept(directory.path(), &acknowledged, fault_at);
    }
}

#[test]
fn a_disk_that_fails_once_at_any_call_is_survived() {
    for fault_at in (1..=calls_of_a_whole_run(Fsync::Every(std::time::Duration::from_secs(1)))).step_by(11) {
        let directory = tempfile::tempdir().unwrap();
        let fs = Arc::new(Faulty::new(Fault::Once, fault_at));
        let acknowledged = run(fs, directory.path(), Fsync::Every(std::time::Duration::from_secs(1)));
        let opened = !acknowledged.is_empty();
        assert!(!opened || acknowledged.len() as i64 >= BATCHES - 2, "fault at {fault_at}: {acknowledged:?}");
        assert_kept(directory.path(), &acknowledged, fault_at);
    }
}

#[test]
fn a_log_that_cannot_be_written_refuses_appends_and_serves_reads() {
    let directory = tempfile::tempdir().unwrap();
    // The calls before: the first segments of both logs and their directories, what the second begins with, and a batch.
    let fs = Arc::new(Faulty::new(Fault::Crash, 7));
    let db = Db::open_on(fs, directory.path(), config(Fsync::Segment)).unwrap();
    assert!(append_batch(&db, 0));
    assert!(!append_batch(&db, 1));
    assert!(matches!(db.check_writable(), Err(StorageError::WritesRefused { .. })));
    assert!(!append_batch(&db, 2));
    assert_eq!(batches_in(&db), [0]);
    assert_eq!(db.instruments().wal.refusing.value(), 1);
}

/// Deletes from blocks and cleans them, as far as the disk lets it.
fn delete_and_clean(fs: Arc<Faulty>, directory: &Path) {
    let Ok(db) = Db::open_on(fs, directory, config(Fsync::Segment)) else {
        return;
    };
    let _failed = db.delete_series(Timestamp(0), Timestamp(40 * STEP_MS), &[Matcher::equal("parity", "odd")]);
    let _failed = db.clean_tombstones(Timestamp(0));
    *db.lock.lock() = None;
    db.is_closed.store(true, Ordering::Release);
}

#[test]
fn a_deletion_interrupted_at_any_call_is_done_or_not_block_by_block_and_spares_the_rest() {
    let kept = tempfile::tempdir().unwrap();
    let source = Db::open(kept.path(), config(Fsync::Segment)).unwrap();
    for batch in 0..BATCHES / 2 {
        assert!(append_batch(&source, batch));
        source.maintain(Timestamp(batch * STEP_MS)).unwrap();
    }
    let copy = |fault, fault_at| {
        let directory = tempfile::tempdir().unwrap();
        source.snapshot(directory.path(), crate::WithHead::Yes, Timestamp(0)).unwrap();
        let fs = Arc::new(Faulty::new(fault, fault_at));
        delete_and_clean(Arc::clone(&fs), directory.path());
        (directory, fs)
    };
    let all = read(&source, i64::MIN, i64::MAX, &metric());
    let calls = copy(Fault::Once, usize::MAX).1.calls();
    for fault_at in (1..=calls).step_by(3) {
        for fault in [Fault::Once, Fault::Crash] {
            let (directory, fs) = copy(fault, fault_at);
            fs.lose_unsynced(fault_at as u64 * 91 % 257);
            let db = Db::open(directory.path(), config(Fsync::Segment)).unwrap();
            // Nothing of the write-behind log was synced yet: the power may tear its first record, which tells of no sample.
            let is_its_first = |damage: &StorageError| match damage {
                StorageError::Corrupt { file, offset, .. } => *offset == 0 && file.ends_with("wbl/00000000"),
                _ => false,
            };
            let report = db.replay_report();
            assert!(report.damage.iter().all(is_its_first), "fault at {fault_at}: {:?}", report.damage);
            assert_eq!((report.samples_late, report.samples_unknown), (0, 0), "fault at {fault_at}");
            for ((labels, found), (_, had)) in read(&db, i64::MIN, i64::MAX, &metric()).iter().zip(&all) {
                let may_go = |time: i64| labels.contains("odd") && time <= 40 * STEP_MS;
                let must_stay: Vec<_> = had.iter().filter(|(time, _)| !may_go(*time)).collect();
                assert!(must_stay.iter().all(|sample| found.contains(sample)), "fault at {fault_at}: {labels}");
                assert!(found.iter().all(|sample| had.contains(sample)), "fault at {fault_at}: {labels}");
            }
        }
    }
}

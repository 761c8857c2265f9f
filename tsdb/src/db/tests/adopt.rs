//! Blocks from elsewhere taken in by a running database.

use super::*;
use crate::fs::faulty::{Fault, Faulty};
use crate::{BlockWriter, Ulid};

const RANGE_MS: i64 = 100_000;
const STEP_MS: i64 = 5_000;

fn config() -> Config {
    Config { block_range_ms: RANGE_MS, block_range_max_ms: Some(9 * RANGE_MS), retention_ms: None, ..small() }
}

fn fill(db: &Db, steps: std::ops::Range<i64>) {
    for step in steps {
        let mut appender = db.appender();
        for i in 0..2 {
            appender.append(&series(i), Timestamp(step * STEP_MS), (step as f64).into()).unwrap();
        }
        appender.commit().unwrap();
        db.maintain(Timestamp(step * STEP_MS)).unwrap();
    }
}

/// Samples between the steps, in no order: of a series the database has, and of one it has not.
fn write(writer: &mut BlockWriter, times: std::ops::Range<i64>) {
    let histogram = IntHistogram { count: 3, zero_count: 3, ..IntHistogram::default() };
    for time in times.step_by(STEP_MS as usize).collect::<Vec<_>>().into_iter().rev() {
        writer.append(Timestamp(time + 1), 9.0.into());
    }
    writer.end_series(&series(0)).unwrap();
    writer.append(Timestamp(7), NewValue::IntHistogram(&histogram));
    writer.end_series(&labels! { "__name__" => "metric", "i" => "new" }).unwrap();
}

type All = Vec<(String, Vec<i64>)>;

fn times(db: &Db) -> All {
    let all = read(db, i64::MIN, i64::MAX, &metric()).into_iter();
    all.map(|(labels, samples)| (labels, samples.into_iter().map(|sample| sample.0).collect())).collect()
}

fn killed(db: Db) {
    *db.lock.lock() = None;
    db.is_closed.store(true, Ordering::Release);
}

#[test]
fn an_import_is_seen_at_once_merged_in_time_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    let end = 90;
    fill(&db, 0..end);
    assert!(db.head_statistics().min_time >= 3 * RANGE_MS);
    let mut wanted = times(&db);
    // Over blocks, over what the head alone has, and before everything.
    let mut writer = db.block_writer(Timestamp(0)).unwrap();
    write(&mut writer, -2 * RANGE_MS..end * STEP_MS);
    assert!(writer.memory_bytes() > 0);
    let scratch = writer.directory().to_owned();
    let adopted = db.adopt_written(writer).unwrap();
    assert_eq!(adopted.len(), 7);
    assert!(!scratch.exists());
    wanted[0].1.extend((-2 * RANGE_MS..end * STEP_MS).step_by(STEP_MS as usize).map(|time| time + 1));
    wanted[0].1.sort_unstable();
    wanted.push((labels! { "__name__" => "metric", "i" => "new" }.to_string(), vec![7]));
    assert_eq!(times(&db), wanted);
    // A block as it was written ends where the head has samples of its own: it must not stand for them after a kill.
    killed(db);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(times(&db), wanted);
    db.maintain(Timestamp(end * STEP_MS)).unwrap();
    assert!(db.instruments().blocks.vertical_compactions.value() > 0);
    assert_eq!(times(&db), wanted);
    killed(db);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(times(&db), wanted);
    fill(&db, end..end + 100);
    let later = times(&db);
    assert!(wanted.iter().zip(&later).all(|(before, after)| after.1.starts_with(&before.1)));
    assert!(db.block_metas().windows(2).all(|pair| pair[0].max_time <= pair[1].min_time), "{:?}", db.block_metas());
}

#[test]
fn a_block_with_uneven_bounds_does_not_stand_for_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..91);
    let wanted = times(&db);
    let head_from = db.head_statistics().min_time;
    let elsewhere = tempfile::tempdir_in(directory.path()).unwrap();
    // Reaches from a block of the head's into what the head still holds.
    let mut writer = BlockWriter::create(elsewhere.path(), 2 * RANGE_MS, Timestamp(1)).unwrap();
    writer.append(Timestamp(head_from - 1), 9.0.into());
    writer.end_series(&series(5)).unwrap();
    let ulid = writer.finish().unwrap()[0].ulid;
    assert_eq!(db.adopt_block(&elsewhere.path().join(ulid.to_string())).unwrap(), ulid);
    db.maintain(Timestamp(91 * STEP_MS)).unwrap();
    assert!(db.block_metas().iter().any(|meta| meta.max_time > head_from), "{:?}", db.block_metas());
    killed(db);
    let db = Db::open(directory.path(), config()).unwrap();
    let found = times(&db);
    assert_eq!(found[..2], wanted[..]);
    assert_eq!(found[2].1, [head_from - 1]);
}

/// A finished block in a directory of another name.
fn made(parent: &Path) -> (PathBuf, Ulid) {
    let mut writer = BlockWriter::create(parent, RANGE_MS, Timestamp(1)).unwrap();
    writer.append(Timestamp(50_001), 9.0.into());
    writer.end_series(&series(0)).unwrap();
    let ulid = writer.finish().unwrap()[0].ulid;
    let directory = parent.join("made elsewhere");
    std::fs::rename(parent.join(ulid.to_string()), &directory).unwrap();
    (directory, ulid)
}

#[test]
fn what_cannot_be_taken_in_stays_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..30);
    let elsewhere = tempfile::tempdir_in(directory.path()).unwrap();
    let (block, ulid) = made(elsewhere.path());
    let mut index = std::fs::read(block.join("index")).unwrap();
    index[20] ^= 1;
    std::fs::write(block.join("index"), &index).unwrap();
    assert!(matches!(db.adopt_block(&block), Err(Error::Storage(StorageError::Corrupt { .. }))));
    index[20] ^= 1;
    std::fs::write(block.join("index"), &index).unwrap();
    let copy = elsewhere.path().join("copy");
    std::fs::create_dir_all(copy.join("chunks")).unwrap();
    for name in ["index", "meta.json", "tombstones", "chunks/000001"] {
        std::fs::copy(block.join(name), copy.join(name)).unwrap();
    }
    assert_eq!(db.adopt_block(&block).unwrap(), ulid);
    let found = times(&db);
    assert!(found[0].1.contains(&50_001));
    assert!(db.adopt_block(&copy).unwrap_err().to_string().contains("is in the database already"));
    assert!(copy.join("meta.json").exists());
    assert!(db.adopt_block(&elsewhere.path().join("absent")).is_err());
    assert_eq!(times(&db), found);
    db.close().unwrap();
    assert!(matches!(db.adopt_block(&copy), Err(Error::Storage(StorageError::NotReady))));
    assert!(
        matches!(db.block_writer(Timestamp(0)).map(|writer| db.adopt_written(writer)), Ok(Ok(none)) if none.is_empty())
    );
}

#[test]
fn an_adoption_interrupted_at_any_call_happened_or_did_not() {
    let calls = |fault, fault_at| {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), config()).unwrap();
        fill(&db, 0..10);
        let before = times(&db);
        drop(db);
        let elsewhere = directory.path().join("elsewhere");
        let (block, ulid) = made(&elsewhere);
        let fs = Arc::new(Faulty::new(fault, usize::MAX));
        let db = Db::open_on(Arc::<Faulty>::clone(&fs), directory.path(), config()).unwrap();
        let opened = fs.calls();
        fs.fail_at(opened + fault_at);
        let adopted = db.adopt_block(&block);
        let calls = fs.calls() - opened;
        killed(db);
        fs.lose_unsynced(fault_at as u64 * 91 % 257);
        let db = Db::open(directory.path(), config()).unwrap();
        assert!(db.replay_report().damage.is_empty(), "{fault:?} at {fault_at}: {:?}", db.replay_report());
        let has_it = db.block_metas().iter().any(|meta| meta.ulid == ulid);
        assert!(has_it || adopted.is_err(), "{fault:?} at {fault_at}");
        let mut wanted = before;
        if has_it {
            wanted[0].1.push(50_001);
        } else {
            assert_eq!(times(&db), wanted, "{fault:?} at {fault_at}");
            assert_eq!(db.adopt_block(&block).unwrap(), ulid, "it can be tried again");
            wanted[0].1.push(50_001);
        }
        wanted[0].1.sort_unstable();
        assert_eq!(times(&db), wanted, "{fault:?} at {fault_at}");
        calls
    };
    let whole = calls(Fault::Once, 1_000_000);
    assert!(whole > 8);
    for fault_at in 1..=whole {
        calls(Fault::Once, fault_at);
        calls(Fault::Crash, fault_at);
    }
}

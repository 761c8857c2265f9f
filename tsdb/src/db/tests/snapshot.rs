//! A clean stop leaves a snapshot, which says the same as the log, and is not believed when anything is wrong with it.

use model::exemplar::Exemplar;
use model::metadata::Metadata;
use model::storage::ExemplarQueryable;

use super::*;
use crate::fs::Disk;
use crate::fs::faulty::{Fault, Faulty};
use crate::wal::Batch;
use crate::wal::output::Output;
use crate::wal::reader::RecordReader;

fn config() -> Config {
    Config { exemplars_max: 10, out_of_order_window_ms: 600_000, ..small() }
}

/// Series of every kind, exemplars, metadata, tombstones and late samples.
fn fill(db: &Db, steps: std::ops::Range<i64>) {
    let histogram = |step: i64| IntHistogram { count: step as u64, zero_count: step as u64, ..IntHistogram::default() };
    for step in steps {
        let mut appender = db.appender();
        let time = Timestamp(step * 15_000);
        let float = appender.append(&series(0), time, (step as f64 / 3.0).into()).unwrap();
        appender.append(&series(1), time, NewValue::IntHistogram(&histogram(step))).unwrap();
        appender.append(&series(2), time, NewValue::FloatHistogram(&histogram(step).to_float())).unwrap();
        let started = appender.append(&series(3), time, 1.0.into()).unwrap();
        appender.append_started(started, Timestamp(5), Timestamp(time.0 + 1), 2.0.into()).unwrap();
        if step % 50 == 49 {
            let exemplar = Exemplar { labels: labels! { "t" => "x" }, value: 1.0, timestamp: Some(time) };
            appender.append_exemplar(float, &exemplar).unwrap();
            let metadata = Metadata { help: format!("Help of {step}."), ..Metadata::default() };
            appender.update_metadata(float, &metadata).unwrap();
            appender.append(&series(0), Timestamp(time.0 - 7), 9.0.into()).unwrap();
        }
        appender.commit().unwrap();
    }
    db.delete_series(Timestamp(30_000), Timestamp(60_000), &[Matcher::equal("i", "0")]).unwrap();
}

/// Everything a database knows, as text.
fn everything(db: &Db) -> Vec<String> {
    let querier = db.querier(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let mut all = Vec::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        let samples = (0..columns.len()).map(|i| (columns.start_at(i), columns.sample(i)));
        all.push(format!("{} {:?}", series.labels(), samples.collect::<Vec<_>>()));
    }
    let exemplars = db.exemplars(Timestamp::MIN, Timestamp::MAX, &[metric().to_vec()]).unwrap();
    all.push(format!("{exemplars:?} {:?}", db.metadata(0)));
    all
}

/// Shows where two differ, not all of both.
fn assert_same(found: &[String], expected: &[String], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let same = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| text.get(same.saturating_sub(80)..(same + 80).min(text.len())).map(str::to_owned);
        assert!(found == expected, "{what}: {:?}, expected {:?}", around(found), around(expected));
    }
}

fn snapshots(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("chunk_snapshot.")).collect()
}

fn kill(db: Db) {
    *db.lock.lock() = None;
    db.is_closed.store(true, Ordering::Release);
}

#[test]
fn the_next_start_reads_the_snapshot_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..200);
    let (expected, chunks) = (everything(&db), db.head_statistics().chunks);
    drop(db);
    assert_eq!(snapshots(directory.path()).len(), 1);
    let db = Db::open(directory.path(), config()).unwrap();
    let report = db.replay_report();
    assert_eq!((report.snapshot_series, report.samples, report.samples_mapped), (4, 0, 0), "{report:?}");
    assert!(report.snapshot_refused.is_none() && snapshots(directory.path()).is_empty(), "it is used once");
    assert_same(&everything(&db), &expected, "after a clean stop");
    assert_eq!(db.head_statistics().chunks, chunks);
    fill(&db, 200..230);
    let expected = everything(&db);
    let other = tempfile::tempdir().unwrap();
    let continued = Db::open(other.path(), config()).unwrap();
    fill(&continued, 0..230);
    assert_eq!(db.head_statistics().chunks, continued.head_statistics().chunks, "no chunk was cut for it");
    kill(db);
    assert_same(&everything(&Db::open(directory.path(), config()).unwrap()), &expected, "the log has everything too");
}

#[test]
fn a_snapshot_is_left_as_it_was_if_nothing_was_appended_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..50);
    let expected = everything(&db);
    drop(db);
    for _ in 0..3 {
        let db = Db::open(directory.path(), config()).unwrap();
        assert_same(&everything(&db), &expected, "with a snapshot");
        assert_eq!(db.replay_report().snapshot_series, 4);
    }
    drop(Db::open(directory.path(), Config { on_stop: OnStop::Nothing, ..config() }).unwrap());
    assert!(snapshots(directory.path()).is_empty());
}

#[test]
fn an_old_snapshot_is_completed_by_the_log_or_thrown_away() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 0..50);
    drop(db);
    let aside = tempfile::tempdir().unwrap();
    let snapshot = snapshots(directory.path()).remove(0);
    let kept = aside.path().join("snapshot");
    copy_directory(&snapshot, &kept);
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 50..80);
    let expected = everything(&db);
    kill(db);
    copy_directory(&kept, &snapshot);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_same(&everything(&db), &expected, "with a snapshot");
    assert_eq!(db.replay_report().snapshot_series, 4);
    kill(db);
    // Of a place that the log does not reach.
    copy_directory(&kept, &directory.path().join("chunk_snapshot.000099.0000000000"));
    let db = Db::open(directory.path(), config()).unwrap();
    assert_same(&everything(&db), &expected, "with a stale one");
    assert_eq!(db.replay_report().snapshot_series, 0);
    assert!(db.replay_report().snapshot_refused.is_some() && snapshots(directory.path()).is_empty());
}

#[test]
fn numbers_of_removed_series_are_not_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let config = Config { retention_ms: Some(hour), ..small() };
    let db = Db::open(directory.path(), config.clone()).unwrap();
    append(&db, &series(0), 0, 1.0).unwrap();
    append(&db, &series(1), 20 * hour, 1.0).unwrap();
    append(&db, &series(2), 0, 1.0).unwrap_err();
    db.maintain(Timestamp(20 * hour)).unwrap();
    db.maintain(Timestamp(20 * hour)).unwrap();
    assert_eq!(db.head_statistics().series, 1);
    let last = db.head.last_ref();
    drop(db);
    let db = Db::open(directory.path(), config).unwrap();
    assert_eq!((db.replay_report().snapshot_series, db.head.last_ref()), (1, last));
}

/// Every byte of a snapshot flipped, its files cut at every length, or missing: what is read is always right.
#[test]
fn a_damaged_snapshot_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 45..52);
    let expected = everything(&db);
    drop(db);
    let name = snapshots(directory.path()).remove(0).file_name().unwrap().to_owned();
    let check = |what: &str, change: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), copy.path());
        change(&copy.path().join(&name));
        let db = Db::open(copy.path(), config()).unwrap();
        assert_same(&everything(&db), &expected, what);
        assert!(db.replay_report().snapshot_refused.is_some(), "{what}");
        kill(db);
    };
    for file in ["00000000", "complement/00000000"] {
        let length = std::fs::read(directory.path().join(&name).join(file)).unwrap().len();
        for at in 0..length {
            check(&format!("byte {at} of {file} flipped"), &|snapshot| {
                let path = snapshot.join(file);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[at] ^= 1 << (at % 8);
                std::fs::write(&path, bytes).unwrap();
            });
        }
        for at in (0..length).step_by(7) {
            check(&format!("{file} cut at {at}"), &|snapshot| {
                let path = snapshot.join(file);
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, &bytes[..at]).unwrap();
            });
        }
        check(&format!("{file} missing"), &|snapshot| std::fs::remove_file(snapshot.join(file)).unwrap());
    }
}

/// Writes a file of a snapshot anew, one of its records changed, its checksums right.
fn forge(directory: &Path, number: u64) {
    let path = directory.join("00000000");
    let bytes = std::fs::read(&path).unwrap();
    let mut reader = RecordReader::new(&bytes);
    let mut records = Vec::new();
    while let Some(record) = reader.advance().unwrap() {
        records.push(record.to_vec());
    }
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % end.max(1)
    };
    let at = below(records.len());
    let record = &mut records[at];
    match below(4) {
        0 => record.truncate(below(record.len())),
        1 => record.extend_from_slice(&[0xff; 9]),
        _ => {
            let place = below(record.len());
            record[place] = [0, 1, 0x7f, 0x80, 0xff, below(256) as u8][below(6)];
        }
    }
    let mut output = Output::create(&Disk, directory, 1 << 30).unwrap();
    for record in records {
        let mut batch = Batch::default();
        batch.push(Compression::None, &record);
        output.write(&batch).unwrap();
    }
    output.finish().unwrap();
}

#[test]
fn a_forged_snapshot_is_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 45..120);
    drop(db);
    let name = snapshots(directory.path()).remove(0).file_name().unwrap().to_owned();
    let mut refused = 0;
    for number in 0..400 {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), copy.path());
        let snapshot = copy.path().join(&name);
        forge(&if number % 2 == 0 { snapshot } else { snapshot.join("complement") }, number);
        let db = match Db::open(copy.path(), config()) {
            Ok(db) => db,
            // What only shows while it is entered: the next start does without it.
            Err(error) => {
                assert!(matches!(error, crate::Error::Storage(StorageError::Corrupt { .. })), "{number}: {error}");
                Db::open(copy.path(), config()).unwrap()
            }
        };
        refused += usize::from(db.replay_report().snapshot_series == 0);
        let querier = db.querier(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
        let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
        while let Ok(Some(series)) = set.advance() {
            // Other samples or an error.
            let _forged = series.read(&mut Columns::default());
        }
        drop(set);
        drop(querier);
        // What was forged may be appended to.
        let _refused = append(&db, &series(0), 10_000_000, 1.0);
        kill(db);
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_stop_that_fails_at_any_call_loses_nothing() {
    let run = |fault, at| {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), config()).unwrap();
        fill(&db, 0..60);
        let expected = everything(&db);
        kill(db);
        let fs = Arc::new(Faulty::new(fault, usize::MAX));
        let db = Db::open_on(Arc::clone(&fs) as Arc<dyn FileSystem>, directory.path(), config()).unwrap();
        let calls = fs.calls();
        fs.fail_at(calls + at);
        let closed = db.close().is_ok();
        drop(db);
        let found = everything(&Db::open(directory.path(), config()).unwrap());
        assert_same(&found, &expected, &format!("{fault:?} at call {at}"));
        (closed, fs.calls() - calls)
    };
    let (closed, calls) = run(Fault::Once, usize::MAX / 2);
    assert!(closed && calls > 8);
    for at in 1..=calls {
        run(Fault::Crash, at);
        run(Fault::Once, at);
    }
}

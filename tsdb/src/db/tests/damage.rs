//! Every byte of a small log flipped, and the log cut at every length: no panic, no wrong sample, a report.

use super::*;

const SAMPLES: i64 = 6;

fn written(directory: &Path, compression: Compression) -> Vec<u8> {
    let config = Config { wal_compression: compression, ..small() };
    let db = Db::open(directory, config).unwrap();
    for step in 0..SAMPLES {
        let mut appender = db.appender();
        for i in 0..4 {
            appender.append(&series(i), Timestamp(step * 1000), (step as f64 + i as f64 / 8.0).into()).unwrap();
        }
        appender.commit().unwrap();
    }
    drop(db);
    std::fs::read(directory.join("wal/00000000")).unwrap()
}

/// Opens a directory with that log and returns how many samples were found, all of them right.
fn samples_found(log: &[u8]) -> (usize, ReplayReport) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("wal")).unwrap();
    std::fs::write(directory.path().join("wal/00000000"), log).unwrap();
    let db = open(directory.path());
    let mut found = 0;
    for (labels, samples) in read(&db, i64::MIN, i64::MAX, &metric()) {
        let i = (0..4).find(|i| series(*i).to_string() == labels).expect("no series that was not written");
        for (time, value) in &samples {
            assert_eq!(*value, *time as f64 / 1000.0 + i as f64 / 8.0, "no sample that was not written");
        }
        found += samples.len();
    }
    if !db.replay_report().damage.is_empty() {
        let aside = std::fs::read(directory.path().join("wal/00000000.damaged")).unwrap();
        assert_eq!(aside, log, "the damaged segment is kept");
        drop(db);
        let again = open(directory.path());
        assert!(again.replay_report().damage.is_empty(), "what is left is sound");
        return (found, ReplayReport { damage: vec![StorageError::NotReady], ..again.replay_report().clone() });
    }
    let report = db.replay_report().clone();
    (found, report)
}

#[test]
fn every_bit_flipped() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let directory = tempfile::tempdir().unwrap();
        let log = written(directory.path(), compression);
        let all = 4 * SAMPLES as usize;
        assert_eq!(samples_found(&log).0, all);
        for at in 0..log.len() {
            let mut flipped = log.clone();
            flipped[at] ^= 1 << (at % 8);
            let (found, report) = samples_found(&flipped);
            let told = !report.damage.is_empty() || report.records_broken + report.records_skipped > 0;
            assert!(found < all && told, "flipped bit {} of byte {at}: {found} {report:?}", at % 8);
        }
    }
}

#[test]
fn cut_at_every_length() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), Compression::Snappy);
    let mut most = 0;
    for length in 0..log.len() {
        let (found, _) = samples_found(&log[..length]);
        assert!(found >= most && found % 4 == 0, "whole batches up to the cut: {found} at {length}");
        most = found;
    }
    assert_eq!(most, 4 * (SAMPLES as usize - 1));
}

#[test]
fn segments_after_a_damaged_one_are_still_replayed() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), Compression::None);
    {
        let db = Db::open(directory.path(), Config { on_stop: OnStop::Nothing, ..small() }).unwrap();
        append(&db, &series(0), 100_000, 1.0).unwrap();
    }
    let first = directory.path().join("wal/00000000");
    let mut log = std::fs::read(&first).unwrap();
    let length = log.len();
    log[length - 1] ^= 1;
    std::fs::write(&first, log).unwrap();
    let db = open(directory.path());
    assert_eq!(db.replay_report().damage.len(), 1);
    assert_eq!(db.instruments().wal.corruptions.value(), 1);
    assert_eq!(read(&db, 0, i64::MAX, &metric())[0].1.last(), Some(&(100_000, 1.0)));
}

/// 400 samples of a series, most of them in mapped chunks.
fn mapped(directory: &Path) -> Vec<(i64, f64)> {
    let db = open(directory);
    for step in 0..400 {
        append(&db, &series(0), step * 15_000, step as f64).unwrap();
    }
    read(&db, 0, i64::MAX, &metric()).remove(0).1
}

#[test]
fn damaged_mapped_chunks_cost_nothing_where_the_log_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let expected = mapped(directory.path());
    let path = directory.path().join("chunks_head/000001");
    let sound = std::fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(3) {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&path, flipped).unwrap();
        let db = Db::open(directory.path(), Config { on_stop: OnStop::Nothing, ..small() }).unwrap();
        assert_eq!(read(&db, 0, i64::MAX, &metric())[0].1, expected, "byte {at}");
        drop(db);
        std::fs::remove_dir_all(directory.path().join("chunks_head")).unwrap();
        std::fs::create_dir(directory.path().join("chunks_head")).unwrap();
    }
}

/// A start from a snapshot reads no mapped chunk: what is damaged shows when it is read, never as another answer, and is
/// whole again after the next start.
#[test]
fn damaged_mapped_chunks_behind_a_snapshot_are_told_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let expected = mapped(directory.path());
    let path = directory.path().join("chunks_head/000001");
    let sound = std::fs::read(&path).unwrap();
    let aside = tempfile::tempdir().unwrap();
    copy_directory(directory.path(), aside.path());
    let mut told = 0;
    // Behind the file's header, which only scans look at.
    for at in (8..sound.len()).step_by(7) {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(aside.path(), copy.path());
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        std::fs::write(copy.path().join("chunks_head/000001"), flipped).unwrap();
        let db = open(copy.path());
        assert_eq!((db.replay_report().snapshot_series, db.replay_report().damage.len()), (1, 0), "byte {at}");
        let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
        let mut set = querier.select(Order::Any, &SelectHints::default(), &metric()).unwrap();
        let found = set.advance().unwrap().unwrap();
        let mut columns = Columns::default();
        let error = found.read(&mut columns).expect_err("a byte of a chunk differs");
        assert!(
            matches!(&error, StorageError::Corrupt { file, offset, .. } if file.ends_with("chunks_head/000001") && *offset >= 8)
        );
        told += db.instruments().mapped_chunk_corruptions.value();
        drop((set, found));
        drop(querier);
        drop(db);
        let db = open(copy.path());
        assert_eq!(read(&db, 0, i64::MAX, &metric())[0].1, expected, "byte {at}");
        assert_eq!(db.replay_report().snapshot_series, 0, "the log was read");
    }
    assert_eq!(told, (8..sound.len()).step_by(7).count() as u64);
}

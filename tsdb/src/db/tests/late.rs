//! Out-of-order samples: what is taken, what is read, and what a damaged write-behind log costs.

use super::*;
use crate::fs::faulty::{Fault, Faulty};

const MINUTE: i64 = 60_000;

fn config() -> Config {
    Config { out_of_order_window_ms: 30 * MINUTE, ..small() }
}

fn open_late(directory: &Path) -> Db {
    Db::open(directory, config()).unwrap()
}

fn times(db: &Db) -> Vec<i64> {
    read(db, i64::MIN, i64::MAX, &metric())
        .first()
        .map_or(Vec::new(), |(_, samples)| samples.iter().map(|s| s.0).collect())
}

#[test]
fn late_samples_are_read_in_their_place_and_outlive_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let base = 1000 * MINUTE;
    {
        let db = open_late(directory.path());
        append(&db, &series(0), base, 1.0).unwrap();
        for minute in [5, 20, 10, 7, 6, 25, 12, 9, 8, 11, 10] {
            append(&db, &series(0), base - minute * MINUTE, minute as f64).unwrap();
        }
        let too_old = append(&db, &series(0), base - 31 * MINUTE, 1.0);
        assert!(matches!(too_old, Err(AppendError::TooOld)), "{too_old:?}");
        let duplicate = append(&db, &series(0), base, 2.0);
        assert!(matches!(duplicate, Err(AppendError::Duplicate)), "{duplicate:?}");
        let head = &db.instruments().head;
        assert_eq!((head.too_old_samples.value(), head.out_of_order_appended.value()), (1, 11));
        assert_eq!(head.out_of_order_samples.value(), 0);
    }
    let expected: Vec<i64> =
        [25, 20, 12, 11, 10, 9, 8, 7, 6, 5, 0].iter().map(|minute| base - minute * MINUTE).collect();
    for _ in 0..2 {
        let db = open_late(directory.path());
        assert_eq!(times(&db), expected);
        assert!(db.replay_report().chunks_mapped > 0, "some are in mapped chunks");
        let open = db.head.slab.cell(0).unwrap().lock().late.as_ref().unwrap().open_count();
        assert!(open > 0 && open <= crate::head::late::LATE_SAMPLES_MAX, "which spares keeping them: {open}");
        let some = read(&db, base - 10 * MINUTE, base - 8 * MINUTE, &metric());
        assert_eq!(some[0].1, [10, 9, 8].map(|minute| (base - minute * MINUTE, minute as f64)));
    }
    std::fs::remove_dir_all(directory.path().join("chunks_head")).unwrap();
    assert_eq!(times(&open_late(directory.path())), expected, "the log has what the lost chunks had");
}

#[test]
fn a_window_can_be_opened_and_closed() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    append(&db, &series(0), 100 * MINUTE, 1.0).unwrap();
    assert!(matches!(append(&db, &series(0), 99 * MINUTE, 1.0), Err(AppendError::OutOfOrder)));
    db.set_out_of_order_window(2 * MINUTE).unwrap();
    append(&db, &series(0), 99 * MINUTE, 1.0).unwrap();
    append(&db, &series(1), 98 * MINUTE, 1.0).unwrap();
    db.set_out_of_order_window(0).unwrap();
    assert!(matches!(append(&db, &series(0), 97 * MINUTE, 1.0), Err(AppendError::OutOfOrder)));
    drop(db);
    assert_eq!(times(&open(directory.path())), [99 * MINUTE, 100 * MINUTE]);
}

#[test]
fn a_window_whose_log_cannot_be_made_stays_closed() {
    let calls = |fault_at| {
        let directory = tempfile::tempdir().unwrap();
        let fs = Arc::new(Faulty::new(Fault::Once, usize::MAX));
        let db = Db::open_on(Arc::clone(&fs) as Arc<dyn FileSystem>, directory.path(), small()).unwrap();
        append(&db, &series(0), 100 * MINUTE, 1.0).unwrap();
        let before = fs.calls();
        fs.fail_at(before + fault_at);
        if db.set_out_of_order_window(2 * MINUTE).is_err() {
            assert_eq!(db.head.late_window_ms(), 0);
            assert!(matches!(append(&db, &series(0), 99 * MINUTE, 1.0), Err(AppendError::OutOfOrder)));
            db.set_out_of_order_window(2 * MINUTE).unwrap();
        }
        let all = fs.calls() - before;
        append(&db, &series(0), 99 * MINUTE, 1.0).unwrap();
        drop(db);
        assert_eq!(times(&open(directory.path())), [99 * MINUTE, 100 * MINUTE], "fault at call {fault_at}");
        all
    };
    let all = calls(usize::MAX / 2);
    assert!(all >= 3);
    for fault_at in 1..=all {
        calls(fault_at);
    }
}

#[test]
fn late_histograms_and_stale_markers_are_chunks_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let histogram =
        |count: u64| IntHistogram { count, zero_count: count, sum: count as f64, ..IntHistogram::default() };
    let db = open_late(directory.path());
    append(&db, &series(0), 100 * MINUTE, 1.0).unwrap();
    for minute in 80..100 {
        let mut appender = db.appender();
        let time = Timestamp(minute * MINUTE);
        match minute % 3 {
            0 => appender.append(&series(0), time, NewValue::IntHistogram(&histogram(200 - minute as u64))).unwrap(),
            1 => appender.append(&series(0), time, STALE_NAN.into()).unwrap(),
            _ => appender.append(&series(0), time, 1.0.into()).unwrap(),
        };
        appender.commit().unwrap();
    }
    let check = |db: &Db| {
        let all = read(db, 0, i64::MAX, &metric());
        assert_eq!(all[0].1.len(), 21);
        for (time, value) in &all[0].1[..20] {
            let minute = time / MINUTE;
            let expected = [(200 - minute) as f64, STALE_NAN, 1.0][minute as usize % 3];
            assert_eq!(value.to_bits(), expected.to_bits(), "minute {minute}");
        }
    };
    check(&db);
    drop(db);
    check(&open_late(directory.path()));
}

/// Every bit of a write-behind log flipped, and the log cut at every length: no panic, and no sample that was not written.
#[test]
fn damage_costs_late_samples_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let base = 1000 * MINUTE;
    {
        let db = Db::open(directory.path(), Config { wal_compression: Compression::None, ..config() }).unwrap();
        append(&db, &series(0), base, 0.0).unwrap();
        for minute in [5, 3, 9, 7, 1, 8, 2] {
            append(&db, &series(0), base - minute * MINUTE, minute as f64).unwrap();
        }
    }
    let path = directory.path().join("wbl/00000000");
    let sound = std::fs::read(&path).unwrap();
    let (wal, chunks) = (directory.path().join("wal/00000000"), directory.path().join("chunks_head/000001"));
    let flipped = (0..sound.len()).map(|at| {
        let mut log = sound.clone();
        log[at] ^= 1 << (at % 8);
        log
    });
    let cut = (0..sound.len()).map(|length| sound[..length].to_vec());
    for (number, log) in flipped.chain(cut).enumerate() {
        let copy = tempfile::tempdir().unwrap();
        for (name, bytes) in [("wal/00000000", std::fs::read(&wal).unwrap()), ("wbl/00000000", log)] {
            std::fs::create_dir_all(copy.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
        if number % 2 == 0 {
            std::fs::create_dir(copy.path().join("chunks_head")).unwrap();
            std::fs::copy(&chunks, copy.path().join("chunks_head/000001")).unwrap();
        }
        let db = open_late(copy.path());
        let all = read(&db, i64::MIN, i64::MAX, &metric());
        assert_eq!(all[0].1.last(), Some(&(base, 0.0)), "the in-order sample is safe");
        for (time, value) in &all[0].1 {
            assert_eq!(*value, ((base - time) / MINUTE) as f64);
        }
        let told = !db.replay_report().damage.is_empty() || db.replay_report().records_broken > 0;
        assert!(told || number >= sound.len(), "flipped byte {number} of {}", sound.len());
        append(&db, &series(0), base - 6 * MINUTE, 6.0).unwrap();
    }
}

/// Late samples end up in blocks of their own once the head writes a range out, and the log of them goes.
#[test]
fn late_samples_become_blocks_and_the_log_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 60 * MINUTE;
    let config = Config { out_of_order_window_ms: 3 * hour, retention_ms: None, ..small() };
    let db = Db::open(directory.path(), config.clone()).unwrap();
    let mut expected = std::collections::BTreeMap::new();
    let mut late = 0;
    for minute in 0..8 * 60i64 {
        let time = minute * MINUTE;
        append(&db, &series(0), time, minute as f64).unwrap();
        expected.insert(time, minute as f64);
        if minute > 130 && minute % 3 == 0 {
            let time = time - 130 * MINUTE + 1;
            append(&db, &series(0), time, -(minute as f64)).unwrap();
            expected.insert(time, -(minute as f64));
            late += 1;
        }
        if minute == 300 {
            db.delete_series(Timestamp(150 * MINUTE), Timestamp(155 * MINUTE), &metric()).unwrap();
        }
        if minute % 5 == 0 {
            db.maintain(Timestamp(time)).unwrap();
        }
    }
    db.maintain(Timestamp(8 * hour)).unwrap();
    db.maintain(Timestamp(8 * hour)).unwrap();
    assert!(late > 100);
    expected.retain(|time, _| !(150 * MINUTE..=155 * MINUTE).contains(time));
    let expected: Vec<(i64, f64)> = expected.into_iter().collect();
    let check = |db: &Db| {
        let found = read(db, i64::MIN, i64::MAX, &metric());
        assert_eq!(found[0].1.len(), expected.len());
        assert!(found[0].1 == expected);
    };
    check(&db);
    let hints = db.block_metas().iter().filter(|meta| !meta.compaction.hints.is_empty()).count();
    let merged = db.instruments().blocks.vertical_compactions.value();
    assert!(hints > 0 || merged > 0, "blocks of late samples, or those they were merged into");
    let segments = crate::wal::segment::list(&directory.path().join("wbl")).unwrap();
    assert!(segments[0].segment > 0, "the log was cut: {segments:?}");
    drop(db);
    check(&Db::open(directory.path(), config.clone()).unwrap());
    std::fs::remove_dir_all(directory.path().join("chunks_head")).unwrap();
    check(&Db::open(directory.path(), config).unwrap());
}

#[test]
fn what_is_wanted_in_order_alone_is_never_late() {
    let directory = tempfile::tempdir().unwrap();
    let db = open_late(directory.path());
    let base = 1000 * MINUTE;
    let mut appender = db.appender();
    let fresh = appender.series(&series(0)).unwrap();
    // A zero before the first sample, in the batch that makes the series.
    appender.append_in_order(fresh, Timestamp(base - MINUTE), 0.0.into()).unwrap();
    appender.append_ref(fresh, Timestamp(base), 5.0.into()).unwrap();
    assert_eq!(appender.commit().unwrap(), 2);
    let mut appender = db.appender();
    assert_eq!(appender.series(&series(0)).unwrap(), fresh);
    for minutes in [1, 2] {
        let refused = appender.append_in_order(fresh, Timestamp(base - minutes * MINUTE), 0.0.into());
        assert!(matches!(refused, Err(AppendError::OutOfOrder)), "{refused:?}");
    }
    assert!(appender.series(&Labels::empty()).is_err());
    appender.commit().unwrap();
    assert_eq!(times(&db), [base - MINUTE, base]);
    assert_eq!(db.instruments().head.out_of_order_samples.value(), 0, "it is no surprise");
}

fn delete(db: &Db, from: i64, to: i64) {
    db.delete_series(Timestamp(from), Timestamp(to), &metric()).unwrap();
}

fn kill(db: Db) {
    *db.lock.lock() = None;
    db.is_closed.store(true, Ordering::Release);
}

#[test]
fn what_is_appended_into_a_deleted_range_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let base = 1000 * MINUTE;
    let at = |minute: i64| base - minute * MINUTE;
    let mut expected: Vec<i64> = Vec::new();
    for is_killed in [true, false, true] {
        let db = open_late(directory.path());
        assert_eq!(times(&db), expected);
        if expected.is_empty() {
            for minute in [20, 10, 0] {
                append(&db, &series(0), at(minute), 0.0).unwrap();
            }
            // More than stay open: some are in mapped chunks when they are deleted.
            for minute in [25, 19, 18, 17, 16, 15, 14, 13, 12, 11] {
                append(&db, &series(0), at(minute), 1.0).unwrap();
            }
        }
        delete(&db, at(20), at(12));
        expected = [25, 11, 10, 0].map(at).to_vec();
        assert_eq!(times(&db), expected);
        // Where an in-order sample was, where late ones were, in chunks and open, and where nothing was.
        for (step, minute) in [20, 18, 12, 13].iter().enumerate() {
            append(&db, &series(0), at(*minute) + step as i64 % 2, 2.0).unwrap();
            expected.push(at(*minute) + step as i64 % 2);
        }
        expected.sort_unstable();
        assert_eq!(times(&db), expected);
        if is_killed {
            kill(db);
        }
    }
    assert_eq!(times(&open_late(directory.path())), expected);
}

#[test]
fn deletions_of_late_samples_outlive_the_log_they_stand_in() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { block_range_ms: 100 * MINUTE, out_of_order_window_ms: 300 * MINUTE, ..small() };
    let open = || Db::open(directory.path(), config.clone()).unwrap();
    let db = open();
    append(&db, &series(0), 0, 0.0).unwrap();
    append(&db, &series(0), 149 * MINUTE, 0.0).unwrap();
    // One chunk on both sides of where the head is going to be cut, and others after it.
    for minute in [90, 95, 105, 110, 115, 91, 96, 106, 111, 116, 92] {
        append(&db, &series(0), minute * MINUTE, 1.0).unwrap();
    }
    delete(&db, 91 * MINUTE, 110 * MINUTE);
    for minute in [95, 106] {
        append(&db, &series(0), minute * MINUTE, 2.0).unwrap();
    }
    let expected: Vec<i64> = [0, 90, 95, 106, 111, 115, 116, 149].iter().map(|minute| minute * MINUTE).collect();
    assert_eq!(times(&db), expected);
    append(&db, &series(0), 170 * MINUTE, 0.0).unwrap();
    for _ in 0..3 {
        db.maintain(Timestamp(170 * MINUTE)).unwrap();
    }
    let first_segment = crate::wal::segment::list(&directory.path().join("wbl")).unwrap()[0].segment;
    assert!(first_segment > 0, "late samples were written out");
    assert_eq!(db.block_metas().iter().map(|meta| meta.stats.num_samples).sum::<u64>(), 3);
    let expected: Vec<i64> = expected.into_iter().chain([170 * MINUTE]).collect();
    assert_eq!(times(&db), expected);
    kill(db);
    let db = open();
    assert_eq!(times(&db), expected);
    append(&db, &series(0), 107 * MINUTE, 3.0).unwrap();
    drop(db);
    assert_eq!(times(&open()).len(), expected.len() + 1);
}

/// Writes the write-behind log anew as Prometheus would have: it tells no deletions.
fn forget_deletions(directory: &Path) {
    let (wbl, copy) = (directory.join("wbl"), directory.join("wbl.copy"));
    std::fs::rename(&wbl, &copy).unwrap();
    std::fs::create_dir(&wbl).unwrap();
    let log = Wal::open(Arc::new(crate::fs::Disk), &wbl, 0, &config(), Arc::default()).unwrap();
    for file in crate::wal::segment::list(&copy).unwrap() {
        let bytes = std::fs::read(crate::wal::segment::path_of(&copy, file.segment)).unwrap();
        let mut reader = crate::wal::reader::RecordReader::new(&bytes);
        while let Some(record) = reader.advance().unwrap() {
            if record[0] != crate::wal::record::kind::TOMBSTONES {
                log.append_record(record).unwrap();
            }
        }
    }
    std::fs::remove_dir_all(copy).unwrap();
}

#[test]
fn where_the_log_of_late_samples_tells_no_deletions_the_other_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let base = 1000 * MINUTE;
    let db = open_late(directory.path());
    for minute in [0, -9, -3, -8, -4, -7, -5, -6, -2] {
        append(&db, &series(0), base + minute * MINUTE, 0.0).unwrap();
    }
    delete(&db, base - 6 * MINUTE, base - 3 * MINUTE);
    kill(db);
    forget_deletions(directory.path());
    let mut expected: Vec<i64> = [-9, -8, -7, -2, 0].iter().map(|minute| base + minute * MINUTE).collect();
    let db = open_late(directory.path());
    assert_eq!(times(&db), expected);
    // From here on the log tells them.
    append(&db, &series(0), base - 5 * MINUTE, 1.0).unwrap();
    expected.insert(3, base - 5 * MINUTE);
    assert_eq!(times(&db), expected);
    drop(db);
    for is_killed in [true, false, false] {
        let db = open_late(directory.path());
        assert_eq!(times(&db), expected);
        if is_killed {
            kill(db);
        }
    }
}

#[test]
fn nothing_deleted_shows_while_the_log_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let base = 1000 * MINUTE;
    let db = open_late(directory.path());
    for step in 0..6000 {
        append(&db, &series(0), base + step * 1000, 0.0).unwrap();
        append(&db, &series(0), base + step * 1000 - 500, 0.0).unwrap();
    }
    let (from, to) = (base + 50_000, base + 5_900_000);
    delete(&db, from, to);
    let expected = times(&db);
    kill(db);
    for is_killed in [true, false, true] {
        let (db, pending) = Db::open_blocks(directory.path(), config()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| pending.run().unwrap());
            while !db.is_replayed() {
                let seen = times(&db);
                assert!(seen.iter().all(|time| !(from..=to).contains(time)), "{:?}", seen.len());
            }
        });
        assert_eq!(times(&db), expected);
        if is_killed {
            *db.lock.lock() = None;
            db.is_closed.store(true, Ordering::Release);
        }
    }
}

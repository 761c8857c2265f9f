//! Out-of-order samples: what is taken, what is read, and what a damaged write-behind log costs.

use super::*;

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

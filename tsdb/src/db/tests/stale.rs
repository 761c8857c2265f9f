//! Series that ended leave the head before their time.

use super::*;

const RANGE_MS: i64 = 600_000;
const STEPS: i64 = 40;
const SERIES: usize = 6;

fn config() -> Config {
    let stale_series_compaction_threshold = 0.5;
    Config { block_range_ms: RANGE_MS, retention_ms: None, stale_series_compaction_threshold, ..small() }
}

/// Bits, because a stale marker does not equal itself.
fn everything(db: &Db) -> Vec<(String, Vec<(i64, u64)>)> {
    let all = read(db, i64::MIN, i64::MAX, &metric()).into_iter();
    all.map(|(labels, samples)| (labels, samples.into_iter().map(|(t, v)| (t, v.to_bits())).collect())).collect()
}

/// Fills six series, of which those below `ended` end.
fn fill(db: &Db, ended: usize) {
    for step in 0..STEPS {
        let mut appender = db.appender();
        for i in 0..SERIES {
            let is_last = step == STEPS - 1;
            let value = if is_last && i < ended { STALE_NAN } else { step as f64 };
            appender.append(&series(i), Timestamp(step * 10_000), value.into()).unwrap();
        }
        appender.commit().unwrap();
    }
}

fn head_series(db: &Db) -> i64 {
    db.instruments().head.series.value()
}

#[test]
fn enough_of_them_become_a_block_and_readers_see_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 4);
    let all = everything(&db);
    let early = db.querier(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
    db.maintain(Timestamp(0)).unwrap();
    assert_eq!((db.block_metas().len(), head_series(&db)), (1, 6), "a reader holds them");
    let hints = &db.block_metas()[0].compaction.hints;
    assert_eq!(hints, &["from-out-of-order", "from-stale-series"]);
    assert_eq!(everything(&db), all);
    // One of them goes on before it is evicted.
    append(&db, &series(0), STEPS * 10_000, 7.0).unwrap();
    let mut set = early.select(Order::Any, &SelectHints::default(), &metric()).unwrap();
    let mut seen = 0;
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        seen += columns.len() as i64;
    }
    assert_eq!(seen, SERIES as i64 * STEPS);
    drop(set);
    drop(early);
    db.maintain(Timestamp(1000)).unwrap();
    assert_eq!(head_series(&db), 3, "two that live and one that lives again");
    let mut all = all;
    all[0].1.push((STEPS * 10_000, 7f64.to_bits()));
    assert_eq!(everything(&db), all);
    // A series that comes again is another one of the head.
    append(&db, &series(1), STEPS * 10_000, 8.0).unwrap();
    all[1].1.push((STEPS * 10_000, 8f64.to_bits()));
    assert_eq!(everything(&db), all);
    drop(db);
    let again = Db::open(directory.path(), config()).unwrap();
    assert_eq!(everything(&again), all);
    for step in STEPS + 1..4 * STEPS {
        append(&again, &series(5), step * 10_000, 0.0).unwrap();
        all[5].1.push((step * 10_000, 0));
        again.maintain(Timestamp(step * 10_000)).unwrap();
    }
    assert_eq!(everything(&again), all, "their block and the head's are merged");
    drop(again);
    assert_eq!(everything(&Db::open(directory.path(), config()).unwrap()), all);
}

#[test]
fn too_few_of_them_stay() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), config()).unwrap();
    fill(&db, 2);
    db.maintain(Timestamp(0)).unwrap();
    assert_eq!((db.block_metas().len(), db.instruments().head.stale_series.value()), (0, 2));
    db.set_stale_series_compaction_threshold(0.3);
    db.maintain(Timestamp(59_999)).unwrap();
    assert!(db.block_metas().is_empty(), "they are counted once a minute");
    db.maintain(Timestamp(60_000)).unwrap();
    db.maintain(Timestamp(61_000)).unwrap();
    assert_eq!((db.block_metas().len(), head_series(&db)), (1, 4));
}

#[test]
fn those_of_a_snapshot_are_known_too() {
    let directory = tempfile::tempdir().unwrap();
    fill(&Db::open(directory.path(), config()).unwrap(), 6);
    let db = Db::open(directory.path(), config()).unwrap();
    assert_eq!(db.replay_report().snapshot_series, 6);
    let all = everything(&db);
    db.maintain(Timestamp(0)).unwrap();
    db.maintain(Timestamp(1000)).unwrap();
    assert_eq!((db.block_metas().len(), head_series(&db)), (1, 0));
    assert_eq!(everything(&db), all);
}

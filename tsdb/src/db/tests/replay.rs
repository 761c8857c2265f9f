//! Queries and writes while the log is replayed.

use super::*;

const RANGE_MS: i64 = 100_000;
const STEP_MS: i64 = 1_000;
const STEPS: i64 = 450;
const SERIES: usize = 30;

fn config(on_stop: OnStop) -> Config {
    Config { block_range_ms: RANGE_MS, retention_ms: None, on_stop, ..small() }
}

/// Blocks of the first ranges, and the rest in the log.
fn fill(directory: &Path, on_stop: OnStop) -> Vec<(String, Vec<(i64, f64)>)> {
    let db = Db::open(directory, config(on_stop)).unwrap();
    for step in 0..STEPS {
        let mut appender = db.appender();
        for i in 0..SERIES {
            appender.append(&series(i), Timestamp(step * STEP_MS), ((step * 3 + i as i64) as f64).into()).unwrap();
        }
        appender.commit().unwrap();
        db.maintain(Timestamp(step * STEP_MS)).unwrap();
    }
    assert!(db.block_metas().len() >= 2);
    read(&db, i64::MIN, i64::MAX, &metric())
}

#[test]
fn before_the_replay_blocks_are_read_and_writes_refused() {
    let directory = tempfile::tempdir().unwrap();
    let all = fill(directory.path(), OnStop::Nothing);
    let (db, pending) = Db::open_blocks(directory.path(), config(OnStop::Nothing)).unwrap();
    let end = db.block_metas().iter().map(|meta| meta.max_time).max().unwrap();
    let in_blocks: Vec<_> = all
        .iter()
        .map(|(labels, samples)| (labels.clone(), samples.iter().copied().filter(|(t, _)| *t < end).collect()))
        .collect();
    assert_eq!(read(&db, i64::MIN, i64::MAX, &metric()), in_blocks);
    assert!(!db.is_replayed() && db.replay_report().samples == 0);
    let refused = append(&db, &series(0), STEPS * STEP_MS, 1.0);
    assert!(matches!(refused, Err(AppendError::Storage(StorageError::NotReady))), "{refused:?}");
    assert!(matches!(db.check_writable(), Err(StorageError::NotReady)));
    let deleted = db.delete_series(Timestamp(0), Timestamp(i64::MAX), &metric());
    assert!(matches!(deleted, Err(Error::Storage(StorageError::NotReady))), "{deleted:?}");
    db.maintain(Timestamp(0)).unwrap();
    db.sync_if_due(Timestamp(0)).unwrap();
    db.set_out_of_order_window(10 * RANGE_MS).unwrap();

    // One who began before sees the head's part as it comes, and nothing twice.
    let early = db.querier(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
    pending.run().unwrap();
    assert!(db.is_replayed() && db.replay_report().samples + db.replay_report().samples_mapped > 0);
    let mut set = early.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let mut found = Vec::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        found.push((series.labels().to_string(), columns.timestamps.into_iter().zip(columns.values).collect()));
    }
    assert!(found == all || found == in_blocks);
    drop(set);
    assert_eq!(read(&db, i64::MIN, i64::MAX, &metric()), all);
    append(&db, &series(0), STEPS * STEP_MS, 1.0).unwrap();
    append(&db, &series(0), (STEPS - 300) * STEP_MS + 1, 1.0).expect("the window set meanwhile is in force");
    drop(early);
    db.maintain(Timestamp(0)).unwrap();
    assert_eq!(read(&db, i64::MIN, i64::MAX, &metric())[1..], all[1..]);
}

#[test]
fn closing_gives_a_replay_up_and_the_next_start_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let all = fill(directory.path(), OnStop::Snapshot);
    for _ in 0..3 {
        let (db, pending) = Db::open_blocks(directory.path(), config(OnStop::Snapshot)).unwrap();
        db.close().unwrap();
        assert!(matches!(pending.run(), Err(Error::Storage(StorageError::Cancelled))));
        assert!(!db.is_replayed());
    }
    let db = Db::open(directory.path(), config(OnStop::Snapshot)).unwrap();
    assert!(db.replay_report().snapshot_series > 0, "the snapshot of the stop before is still good");
    assert_eq!(read(&db, i64::MIN, i64::MAX, &metric()), all);
}

#[test]
fn queries_while_the_head_is_filled_see_a_part_of_each_series_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let all = fill(directory.path(), OnStop::Nothing);
    let (db, pending) = Db::open_blocks(directory.path(), config(OnStop::Nothing)).unwrap();
    std::thread::scope(|scope| {
        let replay = scope.spawn(move || pending.run());
        let mut is_last = false;
        loop {
            let found = read(&db, i64::MIN, i64::MAX, &metric());
            assert_eq!(found.len(), SERIES, "all series are in blocks");
            for ((labels, samples), (_, whole)) in found.iter().zip(&all) {
                assert_eq!(samples, &whole[..samples.len()], "{labels}");
            }
            if is_last {
                assert_eq!(found, all);
                break;
            }
            is_last = db.is_replayed();
        }
        replay.join().unwrap().unwrap();
    });
}

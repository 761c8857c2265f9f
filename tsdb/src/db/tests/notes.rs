//! Exemplars and metadata come back after a restart, through log and checkpoints, and so do records compressed with zstd.

use model::exemplar::Exemplar;
use model::metadata::{Metadata, MetricType};
use model::storage::ExemplarQueryable;

use super::*;

fn exemplar(step: i64, timestamp: Option<i64>) -> Exemplar {
    let labels = labels! { "trace_id" => &format!("{step:x}") };
    Exemplar { labels, value: step as f64, timestamp: timestamp.map(Timestamp) }
}

fn exemplars(db: &Db) -> Vec<(String, Vec<i64>)> {
    let all = db.exemplars(Timestamp::MIN, Timestamp::MAX, &[metric().to_vec()]).unwrap();
    let times = |exemplars: &[Exemplar]| exemplars.iter().map(|e| e.timestamp.unwrap().0).collect();
    all.iter().map(|(labels, exemplars)| (labels.to_string(), times(exemplars))).collect()
}

#[test]
fn exemplars_and_metadata_outlive_restarts_and_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let config = Config { exemplars_max: 50, retention_ms: Some(4 * hour), ..small() };
    let metadata =
        |i: usize| Metadata { metric_type: MetricType::Counter, unit: String::new(), help: format!("Help {}.", i % 2) };
    let db = Db::open(directory.path(), config.clone()).unwrap();
    let mut refs = Vec::new();
    for step in 0..10 * 60i64 {
        let now = Timestamp(step * 60_000);
        let mut appender = db.appender();
        for i in 0..30usize {
            let value = (step as f64 * 1.7 + i as f64).sin();
            if step == 0 {
                let series_ref = appender.append(&series(i), now, value.into()).unwrap();
                appender.update_metadata(series_ref, &metadata(i)).unwrap();
                refs.push(series_ref);
            } else {
                appender.append_ref(refs[i], now, value.into()).unwrap();
            }
        }
        if step % 10 == 0 {
            appender.append_exemplar(refs[0], &exemplar(step, None)).unwrap();
            appender.append_exemplar(refs[1], &exemplar(step, Some(now.0 - 7))).unwrap();
            appender.append_exemplar(refs[1], &exemplar(step, Some(now.0 - 7))).unwrap();
        }
        appender.commit().unwrap();
        db.maintain(now).unwrap();
    }
    assert!(db.instruments().wal.checkpoints.value() > 0);
    assert_eq!(exemplars(&db).iter().map(|(_, times)| times.len()).sum::<usize>(), 50);
    assert_eq!(db.metadata_of(refs[3]).as_deref(), Some(&metadata(3)));
    assert_eq!(db.metadata(0).len(), 2);
    let late = db.appender().append_exemplar(refs[0], &exemplar(1, Some(5)));
    assert!(matches!(late, Err(AppendError::OutOfOrder)));
    let expected = exemplars(&db);
    drop(db);
    let db = Db::open(directory.path(), config).unwrap();
    assert_eq!(db.replay_report().metadata, 30);
    assert_eq!(db.metadata(1)[0].0, "metric");
    // The log keeps those of the head's time: a tail of what the ring had.
    let found = exemplars(&db);
    assert_eq!(found.len(), 2);
    for ((labels, times), (expected_labels, expected_times)) in found.iter().zip(&expected) {
        assert!(labels == expected_labels && times.len() > 10 && expected_times.ends_with(times), "{times:?}");
    }
}

#[test]
fn nothing_is_kept_when_the_size_is_zero() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let series_ref = append(&db, &series(0), 1000, 1.0).unwrap();
    let mut appender = db.appender();
    appender.append_exemplar(series_ref, &exemplar(1, None)).unwrap();
    appender.commit().unwrap();
    assert_eq!((exemplars(&db).len(), db.instruments().head.exemplars_dropped.value()), (0, 1));
    db.set_exemplars_max(3);
    let mut appender = db.appender();
    appender.append_exemplar(series_ref, &exemplar(1, None)).unwrap();
    let unknown = appender.append_exemplar(SeriesRef(9), &exemplar(1, None));
    assert!(matches!(unknown, Err(AppendError::UnknownSeries)));
    appender.commit().unwrap();
    assert_eq!(exemplars(&db), [(series(0).to_string(), vec![1000])]);
}

#[test]
fn a_log_compressed_with_zstd_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { wal_compression: Compression::Zstd, ..small() };
    let expected = {
        let db = Db::open(directory.path(), config).unwrap();
        for step in 0..50 {
            let mut appender = db.appender();
            for i in 0..50 {
                appender.append(&series(i), Timestamp(step * 1000), (step as f64).into()).unwrap();
            }
            appender.commit().unwrap();
        }
        read(&db, 0, i64::MAX, &metric())
    };
    let db = open(directory.path());
    assert_eq!(read(&db, 0, i64::MAX, &metric()), expected);
    assert!(db.replay_report().damage.is_empty());
    let log = std::fs::read(directory.path().join("wal/00000000")).unwrap();
    assert_eq!(log[0] & 0x18, 0x10, "the first record's flags");
}

//! A database written, closed or abandoned, and opened again.

mod adopt;
mod blocks;
mod concurrency;
mod crash;
mod damage;
mod golden;
mod late;
mod notes;
mod property;
mod replay;
mod snapshot;
mod stale;
mod starts;

use std::sync::Arc;

use model::histogram::{FloatHistogram, IntHistogram, Span};
use model::labels;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::{STALE_NAN, Timestamp};
use model::storage::{
    AppendError, Appendable, Columns, NewValue, Order, Queryable, SelectHints, SeriesRef, StorageError,
};

use super::*;
use crate::config::{Compression, Fsync, LockFile, OnStop};

fn small() -> Config {
    Config { wal_segment_bytes: 64 * 1024, mapped_file_bytes: 64 * 1024, ..Config::default() }
}

fn open(directory: &Path) -> Db {
    Db::open(directory, small()).unwrap()
}

fn series(i: usize) -> Labels {
    labels! { "__name__" => "metric", "i" => &i.to_string(), "parity" => if i.is_multiple_of(2) { "even" } else { "odd" } }
}

fn read(db: &Db, min: i64, max: i64, matchers: &[Matcher]) -> Vec<(String, Vec<(i64, f64)>)> {
    let querier = db.querier(Timestamp(min), Timestamp(max)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), matchers).unwrap();
    let mut all = Vec::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        all.push((series.labels().to_string(), columns.timestamps.into_iter().zip(columns.values).collect()));
    }
    all
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_directory(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn metric() -> [Matcher; 1] {
    [Matcher::equal("__name__", "metric")]
}

fn append(db: &Db, labels: &Labels, time: i64, value: f64) -> Result<SeriesRef, AppendError> {
    let mut appender = db.appender();
    let series = appender.append(labels, Timestamp(time), value.into())?;
    appender.commit()?;
    Ok(series)
}

#[test]
fn what_was_committed_is_there_after_a_kill_and_after_a_clean_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for run in 0..3i64 {
        let db = open(directory.path());
        assert_eq!(read(&db, i64::MIN, i64::MAX, &metric()), expected, "run {run}");
        let mut refs: Vec<Option<SeriesRef>> = vec![None; 20];
        for step in 0..300i64 {
            let time = (run * 300 + step) * 15_000;
            let mut appender = db.appender();
            for (i, known) in refs.iter_mut().enumerate() {
                let value = (step * i as i64) as f64;
                match known {
                    Some(series) => appender.append_ref(*series, Timestamp(time), value.into()).unwrap(),
                    None => *known = Some(appender.append(&series(i), Timestamp(time), value.into()).unwrap()),
                }
            }
            assert_eq!(appender.commit().unwrap(), 20);
        }
        expected = read(&db, i64::MIN, i64::MAX, &metric());
        assert_eq!(expected.len(), 20);
        assert!(expected.iter().all(|(_, samples)| samples.len() as i64 == (run + 1) * 300));
        assert!(db.instruments().head.chunks.value() > 20, "chunks were cut");
        if run == 1 {
            // As after kill -9: nothing of what a stop does happens, but the lock is let go.
            *db.lock.lock() = None;
            db.is_closed.store(true, Ordering::Release);
        }
    }
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    append(&db, &series(0), 1000, 1.0).unwrap();
    let before = db.querier(Timestamp(0), Timestamp(10_000)).unwrap();
    let mut appender = db.appender();
    appender.append(&series(0), Timestamp(2000), 2.0.into()).unwrap();
    appender.append(&series(1), Timestamp(2000), 2.0.into()).unwrap();
    assert_eq!(read(&db, 0, 10_000, &metric()).len(), 1, "nothing is visible before the commit");
    appender.commit().unwrap();
    let mut set = before.select(Order::Any, &SelectHints::default(), &metric()).unwrap();
    let mut samples = 0;
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        samples += columns.len();
    }
    assert_eq!(samples, 1, "a snapshot does not see later commits");
    let mut rolled_back = db.appender();
    rolled_back.append(&series(0), Timestamp(3000), 3.0.into()).unwrap();
    rolled_back.rollback();
    let all = read(&db, 0, 10_000, &metric());
    assert_eq!(all.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_series_made_by_a_rolled_back_batch_is_logged_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    {
        let db = open(directory.path());
        let mut appender = db.appender();
        let series_ref = appender.append(&series(0), Timestamp(1000), 1.0.into()).unwrap();
        appender.rollback();
        let mut appender = db.appender();
        appender.append_ref(series_ref, Timestamp(2000), 2.0.into()).unwrap();
        appender.commit().unwrap();
    }
    assert_eq!(read(&open(directory.path()), 0, 10_000, &metric())[0].1, [(2000, 2.0)]);
}

#[test]
fn errors_are_named_as_prometheus_names_them_and_leave_the_batch_usable() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let series_ref = append(&db, &series(0), 10_000_000, 1.0).unwrap();
    let mut appender = db.appender();
    let mut try_at = |time, value: f64| appender.append_ref(series_ref, Timestamp(time), value.into());
    assert!(matches!(try_at(10_000_000, 2.0), Err(AppendError::Duplicate)));
    assert!(matches!(try_at(10_000_000, 1.0), Ok(())));
    assert!(matches!(try_at(9_999_999, 1.0), Err(AppendError::OutOfOrder)));
    assert!(matches!(try_at(10_000_000 - 3_600_001, 1.0), Err(AppendError::OutOfBounds)));
    assert!(matches!(try_at(10_000_001, 1.0), Ok(())));
    let unknown = appender.append_ref(SeriesRef(77 << 32), Timestamp(10_000_002), 1.0.into());
    assert!(matches!(unknown, Err(AppendError::UnknownSeries)));
    let broken = IntHistogram { count: 5, ..IntHistogram::default() };
    let result = appender.append_ref(series_ref, Timestamp(10_000_002), NewValue::IntHistogram(&broken));
    assert!(matches!(result, Err(AppendError::InvalidHistogram(_))));
    assert!(matches!(
        appender.append(&Labels::empty(), Timestamp(10_000_002), 1.0.into()),
        Err(AppendError::InvalidLabels(_))
    ));
    assert_eq!(appender.commit().unwrap(), 1);
    let head = &db.instruments().head;
    assert_eq!((head.duplicate_samples.value(), head.out_of_order_samples.value()), (1, 1));
    assert_eq!(head.out_of_bound_samples.value(), 1);
}

#[test]
fn histograms_come_back_through_log_and_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let histogram = |step: u64| IntHistogram {
        schema: 2,
        count: step * 3,
        sum: step as f64,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive: vec![step as i64, step as i64],
        ..IntHistogram::default()
    };
    let check = |db: &Db| {
        let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
        let mut set = querier.select(Order::Any, &SelectHints::default(), &metric()).unwrap();
        let series = set.advance().unwrap().unwrap();
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        assert_eq!(columns.len(), 801);
        for step in 0..800u64 {
            let expected = histogram(step).to_float();
            assert!(columns.histogram_at(step as usize).unwrap().equals(&expected), "step {step}");
        }
        assert!(model::sample::is_stale(columns.values[800]), "a float stale marker ends it");
        assert!(columns.histogram_at(800).is_some(), "as a histogram");
    };
    {
        let db = open(directory.path());
        for step in 0..800u64 {
            let mut appender = db.appender();
            let time = Timestamp(step as i64 * 15_000);
            appender.append(&series(0), time, NewValue::IntHistogram(&histogram(step))).unwrap();
            appender.commit().unwrap();
        }
        append(&db, &series(0), 800 * 15_000, STALE_NAN).unwrap();
        check(&db);
    }
    check(&open(directory.path()));
    std::fs::remove_dir_all(directory.path().join("chunks_head")).unwrap();
    check(&open(directory.path()));
    let db = open(directory.path());
    let float = FloatHistogram { count: 1.5, sum: 1.0, zero_count: 1.5, ..FloatHistogram::default() };
    let mut appender = db.appender();
    appender.append(&series(1), Timestamp(12_000_000), NewValue::FloatHistogram(&float)).unwrap();
    assert_eq!(appender.commit().unwrap(), 1);
}

#[test]
fn values_that_were_asked_for_follow_what_comes_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let db = Db::open(directory.path(), Config { retention_ms: Some(hour), ..small() }).unwrap();
    let values = |limit| db.head.label_values("i", &[], limit);
    for i in [2, 0, 1] {
        append(&db, &series(i), 0, 1.0).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(
            (values(0), values(2)),
            (["0", "1", "2"].map(String::from).into(), ["0", "1"].map(String::from).into())
        );
    }
    append(&db, &series(1), 1, 1.0).unwrap();
    append(&db, &series(10), 1, 1.0).unwrap();
    assert_eq!(values(0), ["0", "1", "10", "2"]);
    append(&db, &series(3), 20 * hour, 1.0).unwrap();
    append(&db, &series(4), 20 * hour, 1.0).unwrap();
    assert_eq!(values(0), ["0", "1", "10", "2", "3", "4"]);
    for _ in 0..3 {
        db.maintain(Timestamp(20 * hour)).unwrap();
    }
    assert_eq!(values(0), ["3", "4"]);
}

#[test]
fn matchers_select_as_naive_matching_does() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let mut all = Vec::new();
    let mut appender = db.appender();
    for i in 0..60 {
        let mut labels = series(i).to_builder();
        labels.set(if i % 3 == 0 { "third" } else { "other" }, &format!("v{}", i % 5));
        let labels = labels.build();
        appender.append(&labels, Timestamp(1000), 1.0.into()).unwrap();
        all.push(labels);
    }
    appender.commit().unwrap();
    all.sort();
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let conditions = [
        ("parity", Equal, "odd"),
        ("parity", NotEqual, "odd"),
        ("i", Regex, "1.*"),
        ("i", NotRegex, "1.*|2"),
        ("third", Equal, ""),
        ("third", NotEqual, ""),
        ("third", Regex, "v1|v2"),
        ("third", Regex, "v1|"),
        ("third", NotRegex, "v1|"),
        ("third", NotRegex, ".+"),
        ("absent", Equal, ""),
        ("absent", NotEqual, ""),
        ("absent", Equal, "x"),
        ("i", Regex, ".*"),
        ("i", Regex, ".+"),
        ("i", Regex, ".*7"),
        ("i", NotEqual, "7"),
        ("other", NotRegex, "v[0-3]"),
        ("__name__", Regex, "met.*"),
        ("__name__", NotEqual, "metric"),
    ];
    for a in conditions {
        for b in conditions {
            let matchers: Vec<_> =
                [a, b].iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap()).collect();
            let naive = all.iter().filter(|labels| matchers.iter().all(|m| m.matches_labels(labels)));
            let naive: Vec<_> = naive.map(|labels| labels.to_string()).collect();
            let found: Vec<_> = read(&db, 0, 10_000, &matchers).into_iter().map(|(labels, _)| labels).collect();
            assert_eq!(found, naive, "{matchers:?}");
        }
    }
    let querier = db.querier(Timestamp(0), Timestamp(10_000)).unwrap();
    let odd = [Matcher::equal("parity", "odd")];
    assert_eq!(querier.label_names(&[], 0).unwrap(), ["__name__", "i", "other", "parity", "third"]);
    assert_eq!(querier.label_values("third", &[], 2).unwrap(), ["v0", "v1"]);
    assert_eq!(querier.label_values("i", &odd, 0).unwrap().len(), 30);
    assert_eq!(querier.label_values("absent", &[], 0).unwrap(), Vec::<String>::new());
    assert_eq!(querier.label_names(&[Matcher::equal("i", "3")], 0).unwrap(), ["__name__", "i", "parity", "third"]);
}

#[test]
fn deleted_samples_stay_deleted_and_later_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    {
        let db = open(directory.path());
        for time in 1..=5 {
            append(&db, &series(0), time * 1000, time as f64).unwrap();
        }
        let deleted = db.delete_series(Timestamp(2000), Timestamp(i64::MAX), &metric()).unwrap();
        assert_eq!(deleted, 1);
        append(&db, &series(0), 6000, 6.0).unwrap();
        assert_eq!(read(&db, 0, 10_000, &metric())[0].1, [(1000, 1.0), (6000, 6.0)]);
    }
    assert_eq!(read(&open(directory.path()), 0, 10_000, &metric())[0].1, [(1000, 1.0), (6000, 6.0)]);
}

#[test]
fn retention_forgets_samples_series_files_and_segments() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let config = Config { retention_ms: Some(4 * hour), ..small() };
    let db = Db::open(directory.path(), config.clone()).unwrap();
    let mut now = 0;
    let mut disk = Vec::new();
    for round in 0..10i64 {
        for step in 0..240i64 {
            now = round * hour + step * 15_000;
            let mut appender = db.appender();
            for i in 0..20 {
                // A tenth of the series is new every round.
                let i = if i < 2 { i + 100 * round as usize } else { i };
                appender.append(&series(i), Timestamp(now), (now as f64 * 1.1 + i as f64).sin().into()).unwrap();
            }
            appender.commit().unwrap();
            db.maintain(Timestamp(now)).unwrap();
        }
        disk.push(db.disk_usage().unwrap());
    }
    let statistics = db.head_statistics();
    assert!(statistics.min_time >= now - 6 * hour - hour, "old samples are gone");
    assert!(statistics.series < 20 + 2 * 8, "so are old series: {}", statistics.series);
    assert!(disk[9].wal < disk[5].wal * 2 && disk[9].mapped_chunks < disk[5].mapped_chunks * 2, "{disk:?}");
    assert!(db.instruments().wal.checkpoints.value() > 0);
    let before = read(&db, now - 4 * hour, i64::MAX, &metric());
    drop(db);
    let db = Db::open(directory.path(), config).unwrap();
    assert!(db.replay_report().damage.is_empty());
    assert_eq!(db.replay_report().samples_unknown, 0);
    assert_eq!(read(&db, now - 4 * hour, i64::MAX, &metric()), before);
}

#[test]
fn a_reader_keeps_what_a_truncation_would_take() {
    let directory = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let db = Db::open(directory.path(), Config { retention_ms: Some(hour), ..small() }).unwrap();
    append(&db, &series(0), 1000, 1.0).unwrap();
    append(&db, &series(1), 20 * hour, 1.0).unwrap();
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
    let select = || {
        let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
        let mut all = Vec::new();
        while let Some(series) = set.advance().unwrap() {
            all.push(series.labels().to_string());
        }
        all.len()
    };
    assert_eq!(select(), 2);
    db.maintain(Timestamp(20 * hour)).unwrap();
    assert_eq!(select(), 2, "the reader began before");
    assert_eq!(read(&db, 0, i64::MAX, &metric()).len(), 2, "a new one finds it in a block");
    drop(querier);
    db.maintain(Timestamp(20 * hour)).unwrap();
    assert_eq!(db.head_statistics().series, 1);
    db.maintain(Timestamp(20 * hour)).unwrap();
    assert_eq!(append(&db, &series(0), 20 * hour, 1.0).unwrap().0 as u32, 0, "the slot is used again");
}

#[test]
fn a_second_process_is_refused_and_a_closed_database_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    assert!(matches!(Db::open(directory.path(), small()), Err(Error::Locked { .. })));
    db.close().unwrap();
    let mut appender = db.appender();
    let result = appender.append(&series(0), Timestamp(1), 1.0.into());
    assert!(matches!(result, Err(AppendError::Storage(StorageError::NotReady))));
    let other = Db::open(directory.path(), Config { lock_file: LockFile::None, ..small() }).unwrap();
    assert_eq!(other.instruments().clean_start.value(), 1);
}

#[test]
fn settings_out_of_range_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let open = |config| Db::open(directory.path(), config).map(drop).unwrap_err().to_string();
    assert!(open(Config { wal_segment_bytes: 100_000, ..Config::default() }).contains("wal_segment_bytes"));
    assert!(open(Config { samples_per_chunk: 0, ..Config::default() }).contains("samples_per_chunk"));
}

#[test]
fn many_threads_append_and_query_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = Arc::new(Db::open(directory.path(), Config { fsync: Fsync::Segment, ..small() }).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let db = Arc::clone(&db);
            scope.spawn(move || {
                for step in 0..300i64 {
                    let mut appender = db.appender();
                    for i in 0..10 {
                        let labels = series(thread * 10 + i);
                        appender.append(&labels, Timestamp(step * 1000), (step as f64).into()).unwrap();
                    }
                    assert_eq!(appender.commit().unwrap(), 10);
                }
            });
        }
        let db = Arc::clone(&db);
        scope.spawn(move || {
            for _ in 0..200 {
                let all = read(&db, 0, i64::MAX, &metric());
                for thread in 0..4 {
                    let of_thread = |(labels, _): &&(String, Vec<(i64, f64)>)| {
                        (0..10).any(|i| labels.contains(&format!("i=\"{}\"", thread * 10 + i)))
                    };
                    let mut lengths: Vec<_> = all.iter().filter(of_thread).map(|(_, samples)| samples.len()).collect();
                    lengths.dedup();
                    assert!(lengths.len() <= 1, "half a batch was seen: {lengths:?}");
                }
            }
        });
    });
    assert_eq!(read(&db, 0, i64::MAX, &metric()).iter().map(|(_, samples)| samples.len()).sum::<usize>(), 12_000);
}

//! Appenders, readers, mapping and truncation under the schedules of a model checker.
//!
//! Each test opens a database of its own in every schedule; `explore` says how many.

use std::sync::Arc;

use shuttle::thread;

use super::*;
use crate::head::isolation::{Isolation, Marks};
use crate::sync::Mutex;
use crate::sync::modelled::explore;

/// Without locks of files, which are the system's, and with nothing made durable, which takes long.
fn config() -> Config {
    let (lock_file, on_stop) = (LockFile::None, OnStop::Nothing);
    Config { lock_file, on_stop, fsync: Fsync::Segment, wal_compression: Compression::None, ..small() }
}

/// The number of samples of each series that a reader sees, checked to be numbered from `first` on without a gap.
fn counts(db: &Db, first: i64) -> Vec<i64> {
    read(db, i64::MIN, i64::MAX, &metric())
        .iter()
        .map(|(labels, samples)| {
            let expected: Vec<_> = (first..first + samples.len() as i64).map(|n| (n * 1000, n as f64)).collect();
            assert_eq!(samples, &expected, "{labels}");
            samples.len() as i64
        })
        .collect()
}

#[test]
fn a_reader_sees_the_commits_that_ended_before_it_and_no_part_of_others() {
    explore(2000, || {
        let isolation = Arc::new(Isolation::default());
        let series = Arc::new(Mutex::new((Marks::default(), Vec::new())));
        let ended = Arc::new(Mutex::new(Vec::new()));
        let committers: Vec<_> = (0..2u64)
            .map(|_| {
                let (isolation, series, ended) = (Arc::clone(&isolation), Arc::clone(&series), Arc::clone(&ended));
                thread::spawn(move || {
                    let commit = isolation.begin_commit();
                    for _ in 0..2 {
                        let mut series = series.lock();
                        series.0.note(commit, isolation.low());
                        series.1.push(commit);
                    }
                    isolation.end_commit(commit);
                    ended.lock().push(commit);
                })
            })
            .collect();
        let ended_before = ended.lock().clone();
        let snapshot = isolation.snapshot();
        let seen = || {
            let series = series.lock();
            let hidden = series.0.hidden(&snapshot);
            series.1[..series.1.len() - hidden].to_vec()
        };
        let first = seen();
        assert!(first.iter().all(|commit| snapshot.sees(*commit)));
        committers.into_iter().for_each(|committer| committer.join().unwrap());
        assert_eq!(seen(), first, "a snapshot does not change");
        drop(snapshot);
        let snapshot = isolation.snapshot();
        assert_eq!(series.lock().0.hidden(&snapshot), 0);
        assert!(ended_before.len() <= 2 && isolation.low() == 3);
    });
}

#[test]
fn batches_of_two_appenders_are_seen_whole_while_chunks_are_cut_and_mapped() {
    explore(60, || {
        let directory = tempfile::tempdir().unwrap();
        let db = Arc::new(Db::open(directory.path(), Config { samples_per_chunk: 8, ..config() }).unwrap());
        for i in 0..4 {
            append(&db, &series(i), 0, 0.0).unwrap();
        }
        // Two series each, in one page of the slab.
        let appenders: Vec<_> = (0..2usize)
            .map(|k| {
                let db = Arc::clone(&db);
                thread::spawn(move || {
                    for n in 1..=18i64 {
                        let mut appender = db.appender();
                        for i in [k, k + 2] {
                            appender.append(&series(i), Timestamp(n * 1000), (n as f64).into()).unwrap();
                        }
                        assert_eq!(appender.commit().unwrap(), 2);
                    }
                })
            })
            .collect();
        let mut last = [0; 4];
        for _ in 0..3 {
            let seen = counts(&db, 0);
            assert!(seen[0] == seen[2] && seen[1] == seen[3], "whole batches: {seen:?}");
            assert!(seen.iter().zip(last).all(|(now, before)| *now >= before), "nothing goes away");
            last = seen.try_into().unwrap();
        }
        appenders.into_iter().for_each(|appender| appender.join().unwrap());
        assert_eq!(counts(&db, 0), [19; 4]);
        assert!(db.instruments().head.chunks.value() >= 8);
    });
}

#[test]
fn a_series_removed_while_it_is_appended_to_loses_nothing() {
    explore(400, || {
        let directory = tempfile::tempdir().unwrap();
        let db = Arc::new(Db::open(directory.path(), config()).unwrap());
        // One that goes at the truncation, unless its appender comes first.
        let removed = append(&db, &series(0), 0, 0.0).unwrap();
        append(&db, &series(1), 0, 0.0).unwrap();
        let truncater = {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                db.head.times.raise_min_valid(1000);
                let last_reader = db.head.isolation.last_reader();
                while db.head.isolation.has_reader_through(last_reader) {
                    thread::yield_now();
                }
                db.head.truncate(1000).unwrap();
                db.head.bury();
            })
        };
        let appender = {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                let mut appender = db.appender();
                let by_ref = appender.append_ref(removed, Timestamp(1000), 1.0.into());
                match by_ref {
                    Ok(()) => {}
                    Err(AppendError::UnknownSeries) => {
                        appender.append(&series(0), Timestamp(1000), 1.0.into()).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
                // And one that takes a slot that may have become free.
                appender.append(&series(2), Timestamp(1000), 1.0.into()).unwrap();
                assert_eq!(appender.commit().unwrap(), 2);
            })
        };
        let seen = read(&db, i64::MIN, i64::MAX, &metric());
        // A series whose only samples are not to be seen yet comes without any.
        let right: [&[(i64, f64)]; 4] = [&[], &[(0, 0.0)], &[(1000, 1.0)], &[(0, 0.0), (1000, 1.0)]];
        assert!(seen.iter().all(|(_, samples)| right.contains(&&samples[..])), "{seen:?}");
        truncater.join().unwrap();
        appender.join().unwrap();
        let all: Vec<_> = read(&db, 1000, i64::MAX, &metric());
        assert_eq!(all, [0, 2].map(|i| (series(i).to_string(), vec![(1000, 1.0)])));
        drop(db);
        let again = Db::open(directory.path(), config()).unwrap();
        assert_eq!(read(&again, 1000, i64::MAX, &metric()), all, "the log knows them");
    });
}

#[test]
fn writing_the_head_out_hides_nothing_from_readers_and_keeps_what_is_appended_meanwhile() {
    explore(25, || {
        let directory = tempfile::tempdir().unwrap();
        let db = Arc::new(Db::open(directory.path(), Config { block_range_ms: 10_000, ..config() }).unwrap());
        let mut appender = db.appender();
        for n in 0..18i64 {
            appender.append(&series(0), Timestamp(n * 1000), (n as f64).into()).unwrap();
        }
        assert_eq!(appender.commit().unwrap(), 18);
        let keeper = {
            let db = Arc::clone(&db);
            thread::spawn(move || (0..3).for_each(|_| db.maintain(Timestamp(0)).unwrap()))
        };
        let appender = {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                for n in 18..21i64 {
                    append(&db, &series(0), n * 1000, n as f64).unwrap();
                }
            })
        };
        for _ in 0..3 {
            let seen = counts(&db, 0);
            assert!(seen.len() == 1 && (18..=21).contains(&seen[0]), "{seen:?}");
        }
        keeper.join().unwrap();
        appender.join().unwrap();
        db.maintain(Timestamp(0)).unwrap();
        assert_eq!(counts(&db, 0), [21]);
        assert!(!db.block_metas().is_empty());
    });
}

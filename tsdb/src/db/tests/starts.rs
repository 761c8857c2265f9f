//! Start timestamps come back through the log, the head's chunks and the mapped files.

use super::*;

/// Starts of the samples of each series, with their times.
fn starts(db: &Db) -> Vec<Vec<(i64, i64)>> {
    let querier = db.querier(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let mut all = Vec::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        all.push((0..columns.len()).map(|i| (columns.start_at(i), columns.timestamps[i])).collect());
    }
    all
}

#[test]
fn starts_come_back_and_series_without_stay_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let histogram = IntHistogram { count: 1, zero_count: 1, ..IntHistogram::default() };
    let float_histogram = histogram.to_float();
    let mut expected = vec![Vec::new(); 4];
    {
        let db = open(directory.path());
        let refs: Vec<_> = (0..4).map(|i| append(&db, &series(i), 0, 0.0).unwrap()).collect();
        expected.iter_mut().for_each(|samples| samples.push((0, 0)));
        for step in 1..500i64 {
            let (time, start) = (Timestamp(step * 15_000), Timestamp(step / 100 * 100 * 15_000 - 5));
            let mut appender = db.appender();
            appender.append_ref(refs[0], time, (step as f64).into()).unwrap();
            appender.append_started(refs[1], start, time, (step as f64).into()).unwrap();
            appender.append_started(refs[2], start, time, NewValue::IntHistogram(&histogram)).unwrap();
            appender.append_started(refs[3], start, time, NewValue::FloatHistogram(&float_histogram)).unwrap();
            assert_eq!(appender.commit().unwrap(), 4);
            expected[0].push((0, time.0));
            expected[1..].iter_mut().for_each(|samples| samples.push((start.0, time.0)));
        }
        assert_eq!(starts(&db), expected);
        let slot = |index: usize| db.head.slab.cell(refs[index].0 as u32).unwrap().lock();
        let encodings = |index| slot(index).mapped.iter().map(|chunk| chunk.encoding as u8).max();
        assert_eq!([0, 1, 2, 3].map(encodings), [Some(1), Some(4), Some(5), Some(6)]);
        let delete = [Matcher::equal("i", "1")];
        db.delete_series(Timestamp(16_000), Timestamp(40_000), &delete).unwrap();
        expected[1].drain(2..3);
        assert_eq!(starts(&db), expected);
    }
    assert_eq!(starts(&open(directory.path())), expected);
    std::fs::remove_dir_all(directory.path().join("chunks_head")).unwrap();
    assert_eq!(starts(&open(directory.path())), expected);
}

#[test]
fn a_start_after_its_sample_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let series_ref = append(&db, &series(0), 0, 0.0).unwrap();
    let mut appender = db.appender();
    appender.append_started(series_ref, Timestamp(2000), Timestamp(1000), 1.0.into()).unwrap();
    appender.commit().unwrap();
    assert_eq!(starts(&db), [[(0, 0), (0, 1000)]]);
}

//! The files we write, byte for byte: `tests/golden/` holds one of each format version. `CRESSET_BLESS=1` writes them anew.

use super::*;

fn custom() -> FloatHistogram {
    FloatHistogram {
        schema: -53,
        count: 3.5,
        sum: 4.0,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive: vec![1.5, 2.0],
        custom_values: vec![0.25, 1.0 / 3.0, 2.0],
        ..FloatHistogram::default()
    }
}

fn int(step: u64) -> IntHistogram {
    IntHistogram {
        schema: 3,
        zero_threshold: 0.5f64.powi(10),
        zero_count: step,
        count: 3 * step,
        sum: step as f64 / 4.0,
        positive_spans: vec![Span { offset: -1, length: 1 }, Span { offset: 70, length: 1 }],
        positive: vec![step as i64, 0],
        ..IntHistogram::default()
    }
}

/// Every kind of record and chunk there is.
fn fill(db: &Db) {
    for step in 0..300u64 {
        let mut appender = db.appender();
        let time = Timestamp(1_700_000_000_000 + step as i64 * 15_000);
        appender.append(&series(0), time, (step as f64).into()).unwrap();
        appender.append(&series(1), time, (step as f64 / 3.0).into()).unwrap();
        if step % 2 == 0 {
            appender.append(&series(2), time, NewValue::IntHistogram(&int(step))).unwrap();
            appender.append(&series(3), time, NewValue::FloatHistogram(&custom())).unwrap();
            appender.append(&series(4), time, NewValue::IntHistogram(&int(step / 40 % 2))).unwrap();
            appender.append(&series(5), time, NewValue::FloatHistogram(&int(step).to_float())).unwrap();
        }
        appender.commit().unwrap();
    }
    let matchers = [Matcher::equal("i", "1")];
    db.delete_series(Timestamp(0), Timestamp(1_700_000_300_000), &matchers).unwrap();
}

fn everything(db: &Db) -> Vec<(String, Vec<model::sample::Sample>)> {
    let querier = db.querier(Timestamp(0), Timestamp(i64::MAX)).unwrap();
    let mut set = querier.select(Order::ByLabels, &SelectHints::default(), &metric()).unwrap();
    let mut all = Vec::new();
    while let Some(series) = set.advance().unwrap() {
        let mut columns = Columns::default();
        series.read(&mut columns).unwrap();
        all.push((series.labels().to_string(), (0..columns.len()).map(|i| columns.sample(i)).collect()));
    }
    all
}

#[test]
fn files_are_written_and_read_as_ever() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { wal_compression: Compression::None, wal_segment_bytes: 1 << 20, ..small() };
    let db = Db::open(directory.path(), config).unwrap();
    fill(&db);
    let expected = everything(&db);
    drop(db);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = [("wal/00000000", "wal-1"), ("chunks_head/000001", "head-chunks-1")];
    for (written, kept) in files {
        let (written, kept) = (directory.path().join(written), golden.join(kept));
        if std::env::var_os("CRESSET_BLESS").is_some() {
            std::fs::copy(&written, &kept).unwrap();
        }
        let is_same = std::fs::read(&written).unwrap() == std::fs::read(&kept).unwrap();
        assert!(is_same, "{} is no longer written as {}", written.display(), kept.display());
    }
    let copy = tempfile::tempdir().unwrap();
    for (target, kept) in files {
        let target = copy.path().join(target);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(golden.join(kept), target).unwrap();
    }
    let db = open(copy.path());
    assert_eq!(everything(&db), expected);
    assert!(db.replay_report().chunks_mapped >= 6 && db.replay_report().damage.is_empty());
}

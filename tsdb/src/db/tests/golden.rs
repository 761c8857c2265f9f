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

/// Compares a file with the golden one, or makes that anew.
fn check_golden(written: &Path, kept: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kept);
    if std::env::var_os("CRESSET_BLESS").is_some() {
        std::fs::copy(written, &kept).unwrap();
    }
    let is_same = std::fs::read(written).unwrap() == std::fs::read(&kept).unwrap();
    assert!(is_same, "{} is no longer written as {}", written.display(), kept.display());
}

#[test]
fn a_write_behind_log_and_a_snapshot_are_written_as_ever() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        Config { wal_compression: Compression::None, out_of_order_window_ms: 3_600_000, exemplars_max: 3, ..small() };
    let db = Db::open(directory.path(), config).unwrap();
    let base = 1_700_000_000_000;
    let series_ref = append(&db, &series(0), base, 1.0).unwrap();
    for step in [9, 3, 7, 5, 1, 8, 2] {
        append(&db, &series(0), base - step * 15_000, step as f64).unwrap();
    }
    let mut appender = db.appender();
    appender.append(&series(1), Timestamp(base), NewValue::IntHistogram(&int(3))).unwrap();
    appender.append_started(series_ref, Timestamp(base - 1), Timestamp(base + 1), 2.0.into()).unwrap();
    let exemplar = model::exemplar::Exemplar { labels: labels! { "t" => "x" }, value: 0.5, timestamp: None };
    appender.append_exemplar(series_ref, &exemplar).unwrap();
    let metadata = model::metadata::Metadata { help: "Helps.".into(), ..<_>::default() };
    appender.update_metadata(series_ref, &metadata).unwrap();
    appender.commit().unwrap();
    db.delete_series(Timestamp(base), Timestamp(base), &[Matcher::equal("i", "1")]).unwrap();
    let expected = everything(&db);
    drop(db);
    check_golden(&directory.path().join("wbl/00000000"), "wbl-1");
    let entries = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_snapshot = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("chunk_snapshot.");
    let snapshot = entries.into_iter().find(is_snapshot).unwrap();
    check_golden(&snapshot.join("00000000"), "snapshot-1");
    check_golden(&snapshot.join("complement/00000000"), "snapshot-complement-2");
    let db = open(directory.path());
    assert_eq!(everything(&db), expected);
    assert_eq!(db.replay_report().snapshot_series, 2);
}

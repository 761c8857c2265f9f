//! The embedded store: order, durability, history, failing disks.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::api::{self, Resource, meta};
use crate::store::Expect;
use crate::store::watch::Change;

fn pods() -> &'static Resource {
    api::find("", "v1", "pods").unwrap()
}

fn object(name: &str, value: u64) -> Value {
    json!({ "metadata": { "name": name, "namespace": "d" }, "spec": { "value": value } })
}

fn open(path: &Path, events_max: usize) -> Embedded {
    Embedded::open(path, HistoryLimits { events_max, bytes_max: 1 << 20 }).unwrap()
}

/// Opens again; the writer of the one before may still be closing the file.
fn reopen(path: &Path, events_max: usize) -> Embedded {
    for _ in 0..500 {
        match Embedded::open(path, HistoryLimits { events_max, bytes_max: 1 << 20 }) {
            Err(StoreError::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
            outcome => return outcome.unwrap(),
        }
    }
    panic!("the store stays locked");
}

async fn put(store: &Embedded, name: &str, value: u64) -> u64 {
    let key = Key::new(pods(), "d", name);
    let expect = match store.read(&key).await.unwrap() {
        Some(old) => Expect::Revision(meta::resource_version(&old).parse().unwrap()),
        None => Expect::Absent,
    };
    store.commit(Write { key, expect, value: Some(object(name, value)) }).await.unwrap().revision
}

async fn remove(store: &Embedded, name: &str) -> u64 {
    let key = Key::new(pods(), "d", name);
    let old = store.read(&key).await.unwrap().unwrap();
    let expect = Expect::Revision(meta::resource_version(&old).parse().unwrap());
    store.commit(Write { key, expect, value: None }).await.unwrap().revision
}

async fn values(store: &Embedded, at: Option<u64>) -> Result<BTreeMap<String, u64>, StoreError> {
    let listing = store.list(&Range::all(pods()), Page { at, ..Page::default() }).await?;
    Ok(listing
        .objects
        .iter()
        .map(|object| (meta::name(object).to_owned(), object["spec"]["value"].as_u64().unwrap()))
        .collect())
}

/// A model: what was there after each revision. Lists at any remembered revision agree with it, before and after the
/// store is opened again.
#[tokio::test]
async fn lists_at_old_revisions_agree_with_a_model() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.redb");
    let mut store = open(&path, 40);
    let mut model: Vec<BTreeMap<String, u64>> = vec![BTreeMap::new()];
    let mut seed = 7_u64;
    for round in 0..120 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("p{}", (seed >> 33) % 6);
        let mut now = model.last().unwrap().clone();
        let revision = match now.contains_key(&name) && seed >> 60 < 6 {
            true => {
                now.remove(&name);
                remove(&store, &name).await
            }
            false => {
                now.insert(name.clone(), round);
                put(&store, &name, round).await
            }
        };
        assert_eq!(revision, round + 1, "revisions are contiguous");
        model.push(now);
        if round % 50 == 49 {
            drop(store);
            store = reopen(&path, 40);
            assert_eq!(store.revision(), round + 1);
        }
        let oldest = (round + 1).saturating_sub(40);
        for at in oldest..=round + 1 {
            assert_eq!(
                values(&store, Some(at)).await.unwrap(),
                model[usize::try_from(at).unwrap()],
                "at {at} of {round}"
            );
        }
        if oldest > 0 {
            assert!(matches!(values(&store, Some(oldest - 1)).await, Err(StoreError::Compacted { .. })));
        }
    }
    assert!(matches!(values(&store, Some(1000)).await, Err(StoreError::Future { asked: 1000, current: 120 })));
}

#[tokio::test]
async fn expectations_are_checked_against_the_batch_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory.path().join("s.redb"), 100));
    let writers: Vec<_> = (0..50)
        .map(|value| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .commit(Write {
                        key: Key::new(pods(), "d", "one"),
                        expect: Expect::Absent,
                        value: Some(object("one", value)),
                    })
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => won += 1,
            Err(StoreError::Conflict { current }) => assert!(current.is_some()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((won, store.revision()), (1, 1));
}

#[tokio::test]
async fn watchers_see_every_event_once_and_resume_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.redb");
    let store = open(&path, 100);
    put(&store, "a", 1).await;
    let mut cursor = store.watch(Range::all(pods()), 0).unwrap();
    put(&store, "a", 2).await;
    remove(&store, "a").await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(cursor.next().await.unwrap().events);
    }
    assert!(matches!(seen[0].change, Change::Created { .. }));
    assert!(
        matches!(&seen[1].change, Change::Updated { before, after } if before["spec"]["value"] == 1 && after["spec"]["value"] == 2)
    );
    assert!(matches!(&seen[2].change, Change::Deleted { last, .. } if meta::resource_version(last) == "3"));
    drop((cursor, store));
    let store = reopen(&path, 100);
    let batch = store.watch(Range::all(pods()), 1).unwrap().next().await.unwrap();
    assert_eq!(batch.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn a_watcher_that_history_has_passed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("s.redb"), 3);
    put(&store, "a", 0).await;
    let mut cursor = store.watch(Range::all(pods()), 1).unwrap();
    for value in 1..10 {
        put(&store, "a", value).await;
    }
    assert!(matches!(cursor.next().await, Err(StoreError::Compacted { asked: 1, oldest: 7 })));
    assert!(matches!(store.watch(Range::all(pods()), 2), Err(StoreError::Compacted { .. })));
    assert!(matches!(store.watch(Range::all(pods()), 11), Err(StoreError::Future { .. })));
}

#[tokio::test]
async fn history_is_bounded_by_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.redb");
    let store = Embedded::open(&path, HistoryLimits { events_max: 1000, bytes_max: 2000 }).unwrap();
    for value in 0..100 {
        put(&store, "a", value).await;
    }
    let oldest = match store.watch(Range::all(pods()), 0) {
        Err(StoreError::Compacted { oldest, .. }) => oldest,
        _ => panic!("history is not bounded"),
    };
    assert!(oldest > 80, "{oldest}");
    drop(store);
    assert_eq!(reopen(&path, 1000).revision(), 100);
}

#[test]
fn a_second_opening_and_garbage_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.redb");
    let store = open(&path, 10);
    assert!(matches!(Embedded::open(&path, HistoryLimits::default()), Err(StoreError::Locked { .. })));
    drop(store);
    let garbage = directory.path().join("g.redb");
    std::fs::write(&garbage, vec![7; 10_000]).unwrap();
    let error = Embedded::open(&garbage, HistoryLimits::default()).err().unwrap();
    assert!(error.to_string().contains("g.redb"), "{error}");
}

/// A disk in memory that can be made to fail, before or after what it was given has reached it.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<parking_lot::Mutex<Vec<u8>>>,
    /// Writes and syncs that still succeed; all of them if absent.
    left: Arc<parking_lot::Mutex<Option<u32>>>,
}

impl Disk {
    fn spend(&self) -> std::io::Result<()> {
        match &mut *self.left.lock() {
            None => Ok(()),
            Some(0) => Err(std::io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn store(&self) -> Embedded {
        let disk = self.clone();
        let source = Box::new(move || redb::Database::builder().create_with_backend(disk.clone()));
        let path = Path::new("memory");
        Embedded::over(Table::open_with(path, source, HistoryLimits::default()).unwrap(), path).unwrap()
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.spend()?;
        self.bytes.lock().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.spend()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.spend()?;
        let start = usize::try_from(offset).unwrap();
        self.bytes.lock()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// Wherever in a commit the disk fails: the write fails, what was there is still served, and once the disk works again
/// so does the store, with the failed write either whole or not at all.
#[tokio::test]
async fn a_disk_that_fails_at_any_point_and_comes_back() {
    let (mut lost, mut kept) = (0, 0);
    for point in 0..60 {
        let disk = Disk::default();
        let store = disk.store();
        put(&store, "a", 1).await;
        *disk.left.lock() = Some(point);
        let key = Key::new(pods(), "d", "b");
        let write = Write { key: key.clone(), expect: Expect::Absent, value: Some(object("b", 2)) };
        let failed = store.commit(write.clone()).await.is_err();
        assert_eq!(values(&store, None).await.unwrap()["a"], 1, "reads go on");
        if failed {
            assert!(
                matches!(store.commit(write).await, Err(StoreError::Io { .. } | StoreError::Conflict { .. })),
                "still broken"
            );
        }
        *disk.left.lock() = None;
        let revision = put(&store, "c", 3).await;
        let now = values(&store, None).await.unwrap();
        match now.get("b") {
            Some(_) => kept += 1,
            None => lost += 1,
        }
        assert_eq!(revision, if now.contains_key("b") { 3 } else { 2 }, "failing at {point}");
        assert!(failed || now.contains_key("b"), "an acknowledged write is there");
        store.close().await;
        let again = disk.store();
        assert_eq!((values(&again, None).await.unwrap(), again.revision()), (now, revision), "failing at {point}");
    }
    assert!(lost > 0 && kept > 0, "the points cover both outcomes: {lost} {kept}");
}

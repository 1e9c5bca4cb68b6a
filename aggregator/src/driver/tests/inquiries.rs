//! What anybody may ask costs the aggregator little, and the machine next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jobs::digest::BlobRef;
use jobs::money::Amount;
use store::{Batch, Column, KeyRange, Kv, Page, RocksStore, StoreError, View};

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob, config};
use crate::driver::{records, start_on};

/// Counts the readings of the journal, and those that the machine's own thread does.
#[derive(Debug, Default)]
struct Readings {
    all: AtomicUsize,
    machine: AtomicUsize,
}

#[derive(Debug)]
struct Counted<S> {
    inner: S,
    readings: Arc<Readings>,
}

impl<S: View> View for Counted<S> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(column, key)
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        if column == Column::Journal {
            self.readings.all.fetch_add(1, Ordering::SeqCst);
            if std::thread::current().name() == Some("machine") {
                self.readings.machine.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.inner.scan(column, range, limit)
    }
}

impl<S: Kv> Kv for Counted<S> {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.inner.commit(batch)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(Counted {
            inner: self.inner.snapshot(),
            readings: Arc::clone(&self.readings),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_under_way_is_consistent_beside_the_machine_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let readings = Arc::new(Readings::default());
    let store = Counted {
        inner: RocksStore::open(dir.path().join("store")).unwrap(),
        readings: Arc::clone(&readings),
    };
    let running = start_on(store, config(dir.path())).await.unwrap();
    let rig = Rig::of(dir, running);
    let account = rig.account();
    let paying = async {
        for number in 0..200 {
            rig.deposit(&account, Amount(1), &number.to_string()).await;
        }
    };
    let auditing = async {
        for _ in 0..50 {
            let audit = rig.http.audit().await.unwrap();
            assert_eq!(audit["clean"], true, "{audit}");
        }
    };
    tokio::join!(paying, auditing);
    assert_eq!(readings.machine.load(Ordering::SeqCst), 0);
    let first = rig.http.audit().await.unwrap();
    let before = readings.all.load(Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(rig.http.audit().await.unwrap(), first);
    }
    assert_eq!(readings.all.load(Ordering::SeqCst), before);
    assert!(rig.deposit(&account, Amount(1), "one more").await);
    assert_ne!(rig.http.audit().await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_within_its_bound_and_read_once_for_all_of_its_blobs() {
    let rig = Rig::new().await;
    rig.fund().await;
    let _first = Scripted::join(1, Manner::Honest, &rig.running).await;
    let _second = Scripted::join(2, Manner::Honest, &rig.running).await;
    let job = TestJob::new();
    let id = rig.run(&job).await.job;
    rig.ended(id).await;
    let record = rig.http.record(id).await.unwrap();
    let bytes = serde_json::to_vec(&record).unwrap();
    let shards = serde_json::to_vec(&record.shards).unwrap().len();
    let mut package = job.package.clone();
    package.replication.max_replicas = 2;
    let max = |package| records::record_bytes_max(package, record.package.package.len());
    let mut none = package.clone();
    none.input.items = 0;
    let of_shards = max(&package) - max(&none);
    assert!((shards as u64) < of_shards, "{shards} {of_shards}");
    assert!((bytes.len() - shards) as u64 <= max(&none));

    let file = tempfile::NamedTempFile::new().unwrap();
    let shard = &record.shards[0];
    rig.http
        .record_blob(id, shard.input, file.path())
        .await
        .unwrap();
    std::fs::remove_file(rig.blob_path(&BlobRef::of(&bytes))).unwrap();
    for blob in [shard.canonical, job.package.component] {
        rig.http.record_blob(id, blob, file.path()).await.unwrap();
    }
}

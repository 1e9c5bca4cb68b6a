//! Blobs between real nodes: whole, resumed, tampered with, too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::ProviderId;
use network::blobs::{BlobSource, BlobStore, OpenBlob};
use network::protocol::BlobReply;
use network::{Error, Role};
use tempfile::TempDir;

use crate::harness::{Node, QUIC, TCP, config, node, start, within};
use crate::raw::{self, frame};

const MIB: usize = 1024 * 1024;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index / 5 % 253) as u8).collect()
}

fn store(quota: usize) -> (TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), quota as u64).unwrap();
    (dir, store)
}

async fn serving(seed: u8, listen: &str, source: impl BlobSource + 'static) -> Node {
    let mut config = config(seed, Role::Aggregator, listen);
    config.blobs = Some(Arc::new(source));
    start(config).await
}

/// A provider that is connected to all of `peers`.
async fn fetcher(listen: &str, peers: &[&Node]) -> Node {
    let fetcher = node(1, Role::Provider, listen).await;
    for peer in peers {
        fetcher.client.dial(&peer.address).await.unwrap();
    }
    fetcher
}

/// Counts how often it is asked, and serves the first `serves` times.
struct Flaky {
    store: BlobStore,
    asked: Arc<AtomicU64>,
    serves: u64,
}

impl BlobSource for Flaky {
    fn open(&self, from: ProviderId, digest: &Digest) -> Option<OpenBlob> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        (asked < self.serves)
            .then(|| self.store.open(from, digest))
            .flatten()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_five_megabytes_arrives_verified() {
    for listen in [TCP, QUIC] {
        let bytes = content(5 * MIB + 12_345);
        let (_there, source) = store(100 * MIB);
        let blob = source.put_bytes(&bytes).unwrap();
        let peer = serving(2, listen, source).await;
        let fetcher = fetcher(listen, &[&peer]).await;
        let (_here, target) = store(100 * MIB);
        let peers = [peer.client.local()];
        // Two callers, one transfer.
        let (one, two) = within(async {
            tokio::join!(
                fetcher.client.fetch_blob(&peers, blob, &target),
                fetcher.client.fetch_blob(&peers, blob, &target)
            )
        })
        .await;
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(target.read(&blob).unwrap(), bytes);
        // What was fetched can be served in turn: its tree was kept.
        assert!(target.open(peers[0], &blob.digest).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_tiny_blobs_arrive_too() {
    let (_there, source) = store(MIB);
    let blobs = [&b""[..], b"x"].map(|bytes| source.put_bytes(bytes).unwrap());
    let peer = serving(2, TCP, source).await;
    let fetcher = fetcher(TCP, &[&peer]).await;
    let (_here, target) = store(MIB);
    for blob in blobs {
        let peers = [peer.client.local()];
        let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
        within(fetched).await.unwrap();
        assert_eq!(target.read(&blob).unwrap().len() as u64, blob.size);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_peer_continues_where_the_first_stopped() {
    let bytes = content(5 * MIB);
    let (_there, source) = store(100 * MIB);
    let blob = source.put_bytes(&bytes).unwrap();
    let asked = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let flaky = |index: usize, serves| Flaky {
        store: source.clone(),
        asked: asked[index].clone(),
        serves,
    };
    let first = serving(2, TCP, flaky(0, 3)).await;
    let second = serving(3, TCP, flaky(1, u64::MAX)).await;
    let fetcher = fetcher(TCP, &[&first, &second]).await;
    let (_here, target) = store(100 * MIB);
    let peers = [first.client.local(), second.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    within(fetched).await.unwrap();
    assert_eq!(target.read(&blob).unwrap(), bytes);
    let asked = asked.map(|count| count.load(Ordering::SeqCst));
    assert_eq!(asked, [4, 2], "three chunks and a refusal, then two chunks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_fetch_continues_where_an_earlier_one_stopped() {
    let bytes = content(4 * MIB);
    let (_there, source) = store(100 * MIB);
    let blob = source.put_bytes(&bytes).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let flaky = Flaky {
        store: source.clone(),
        asked: asked.clone(),
        serves: 3,
    };
    let first = serving(2, TCP, flaky).await;
    let fetcher = fetcher(TCP, &[&first]).await;
    let (_here, target) = store(100 * MIB);
    let peers = [first.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    let error = within(fetched).await.unwrap_err();
    assert!(matches!(error, Error::NoSource { .. }), "{error}");
    assert_eq!(target.usage().used, 3 * MIB as u64);
    let second = serving(3, TCP, source).await;
    fetcher.client.dial(&second.address).await.unwrap();
    let peers = [second.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    within(fetched).await.unwrap();
    assert_eq!(target.read(&blob).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_chunk_is_refused_and_an_honest_peer_asked_instead() {
    let bytes = content(2 * MIB);
    let blob = BlobRef::of(&bytes);
    // Serves other bytes under the wanted digest.
    struct Liar(Vec<u8>);
    impl BlobSource for Liar {
        fn open(&self, _: ProviderId, _: &Digest) -> Option<OpenBlob> {
            Some(OpenBlob::bytes(self.0.clone()))
        }
    }
    let mut tampered = bytes.clone();
    tampered[MIB + 77] ^= 1;
    let liar = serving(2, TCP, Liar(tampered)).await;
    let fetcher = fetcher(TCP, &[&liar]).await;
    let (_here, target) = store(100 * MIB);
    let peers = [liar.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    let Err(Error::NoSource { last, .. }) = within(fetched).await else {
        panic!("a tampered blob arrived");
    };
    assert!(matches!(*last, Error::BlobChunk { .. }), "{last}");
    assert_eq!(target.usage().used, 0, "no false byte is kept");

    let (_there, source) = store(100 * MIB);
    source.put_bytes(&bytes).unwrap();
    let honest = serving(3, TCP, source).await;
    fetcher.client.dial(&honest.address).await.unwrap();
    let peers = [liar.client.local(), honest.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    within(fetched).await.unwrap();
    assert_eq!(target.read(&blob).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_size_is_refused_before_a_byte_is_stored() {
    let blob = BlobRef::of(&content(1000));
    let reply = BlobReply::Chunk {
        digest: blob.digest,
        total: 2000,
        slice: vec![0; 100],
    };
    let reply = frame(1, 0, &postcard::to_stdvec(&reply).unwrap());
    let address = raw::serve("/assay/blob/1", move |_| reply.clone()).await;
    let fetcher = node(1, Role::Provider, TCP).await;
    let liars = [fetcher.client.dial(&address).await.unwrap()];
    let (_here, target) = store(MIB);
    let fetched = fetcher.client.fetch_blob(&liars, blob, &target);
    let Err(Error::NoSource { last, .. }) = within(fetched).await else {
        panic!("a blob of another size arrived");
    };
    assert!(
        matches!(*last, Error::BlobSize { actual: 2000, .. }),
        "{last}"
    );
    assert_eq!(target.usage().used, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_its_cap_is_not_read() {
    let blob = BlobRef::of(&content(1000));
    let address = raw::serve("/assay/blob/1", |_| {
        let mut reply = frame(1, 0, &[]);
        reply[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        reply
    })
    .await;
    let fetcher = node(1, Role::Provider, TCP).await;
    let liars = [fetcher.client.dial(&address).await.unwrap()];
    let (_here, target) = store(MIB);
    let fetched = fetcher.client.fetch_blob(&liars, blob, &target);
    let Err(Error::NoSource { last, .. }) = within(fetched).await else {
        panic!("a blob arrived");
    };
    assert!(matches!(*last, Error::BadAnswer { .. }), "{last}");
    assert!(last.to_string().contains("more than the"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_over_the_quota_is_refused_before_it_is_asked_for() {
    let (_there, source) = store(100 * MIB);
    let blob = source.put_bytes(&content(2 * MIB)).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Flaky {
        store: source,
        asked: asked.clone(),
        serves: u64::MAX,
    };
    let peer = serving(2, TCP, counted).await;
    let fetcher = fetcher(TCP, &[&peer]).await;
    let (_here, target) = store(MIB);
    let peers = [peer.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    let error = within(fetched).await.unwrap_err();
    assert!(matches!(error, Error::QuotaFull { .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_nobody_has_is_named() {
    let (_there, source) = store(MIB);
    let with = serving(2, TCP, source).await;
    let without = node(3, Role::Aggregator, TCP).await;
    let fetcher = fetcher(TCP, &[&with, &without]).await;
    let (_here, target) = store(MIB);
    let blob = BlobRef::of(b"nobody has this");
    let peers = [with.client.local(), without.client.local()];
    let fetched = fetcher.client.fetch_blob(&peers, blob, &target);
    let Err(Error::NoSource { last, peers, .. }) = within(fetched).await else {
        panic!("it arrived");
    };
    assert!(matches!(*last, Error::BlobNotFound { .. }), "{last}");
    assert_eq!(peers, 2);
    let nobody = fetcher.client.fetch_blob(&[], blob, &target).await;
    assert!(matches!(nobody, Err(Error::NoSource { peers: 0, .. })));
}

/// Takes its time.
struct Slow {
    store: BlobStore,
    pause: Duration,
}

impl BlobSource for Slow {
    fn open(&self, from: ProviderId, digest: &Digest) -> Option<OpenBlob> {
        std::thread::sleep(self.pause);
        self.store.open(from, digest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_too_slow_is_given_up_and_what_came_stays() {
    let (_there, source) = store(100 * MIB);
    let blob = source.put_bytes(&content(5 * MIB)).unwrap();
    let pause = Duration::from_millis(200);
    let store_there = source.clone();
    let slow = Slow {
        store: source,
        pause,
    };
    let peer = serving(2, TCP, slow).await;
    let fetcher = fetcher(TCP, &[&peer]).await;
    let (_here, target) = store(100 * MIB);
    let peers = [peer.client.local()];
    let fetch = |time| {
        let client = &fetcher.client;
        client.fetch_blob_within(&peers, blob, &target, time)
    };
    // Each alone has not the time for five pieces; together they have.
    let error = within(fetch(pause * 3)).await.unwrap_err();
    assert!(matches!(error, Error::FetchTimeout { .. }), "{error}");
    assert!(error.is_retryable());
    within(async { while fetch(pause * 3).await.is_err() {} }).await;
    assert_eq!(
        target.read(&blob).unwrap(),
        store_there.read(&blob).unwrap()
    );
    // One that waits for another's fetch is not late for it.
    let other = store_there.put_bytes(&content(3 * MIB)).unwrap();
    let client = &fetcher.client;
    let (first, second) = within(async {
        tokio::join!(
            client.fetch_blob(&peers, other, &target),
            client.fetch_blob_within(&peers, other, &target, pause)
        )
    })
    .await;
    assert_eq!(first.unwrap(), second.unwrap());
}

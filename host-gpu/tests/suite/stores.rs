//! The model store and the graph cache: digests, quotas, damage, sharing, eviction.

use host_gpu::{
    CacheLimits, Device, GraphCache, ModelDigest, ModelStore, NnError, ReferenceBackend,
};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn put(store: &ModelStore, bytes: &[u8]) -> Result<PathBuf, NnError> {
    store.put_from_reader(&ModelDigest::of(bytes), &mut &bytes[..], 1 << 20)
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_model_is_found_under_its_digest_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![7; 600_000];
    let digest = ModelDigest::of(&bytes);
    let store = ModelStore::open(dir.path(), 1 << 20).unwrap();
    assert!(matches!(
        store.get(&digest),
        Err(NnError::ModelMissing { .. })
    ));
    let path = put(&store, &bytes).unwrap();
    assert_eq!(store.get(&digest).unwrap(), path);
    // The same model again costs nothing.
    assert_eq!(put(&store, &bytes).unwrap(), path);
    assert_eq!(store.used_bytes(), 600_000);
    drop(store);

    fs::write(dir.path().join(".incoming-3"), b"left by a crash").unwrap();
    let store = ModelStore::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(fs::read(store.get(&digest).unwrap()).unwrap(), bytes);
    assert_eq!((store.used_bytes(), files(dir.path())), (600_000, 1));
    store.remove(&digest).unwrap();
    store.remove(&digest).unwrap();
    assert_eq!((store.used_bytes(), files(dir.path())), (0, 0));
}

#[test]
fn bytes_with_another_digest_are_refused_and_both_digests_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModelStore::open(dir.path(), 1 << 20).unwrap();
    let (expected, found) = (ModelDigest::of(b"good"), ModelDigest::of(b"evil"));
    let error = store
        .put_from_reader(&expected, &mut &b"evil"[..], 100)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&expected.to_string()) && text.contains(&found.to_string()),
        "{text}"
    );
    assert_eq!((store.used_bytes(), files(dir.path())), (0, 0));
    let source = dir.path().join("elsewhere");
    fs::write(&source, b"good").unwrap();
    assert!(store.put_file(&found, &source, 100).is_err());
    assert!(store.put_file(&expected, &source, 100).is_ok());
    assert!(
        store
            .put_file(&expected, &dir.path().join("nothing"), 100)
            .is_ok(),
        "it is there already"
    );
}

/// Yields zeros for ever.
struct Endless;

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[test]
fn sizes_are_bounded_one_by_one_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModelStore::open(dir.path(), 1000).unwrap();
    put(&store, &[1; 600]).unwrap();
    let zeros = ModelDigest::of(&[0; 401]);
    let together = store
        .put_from_reader(&zeros, &mut &[0; 401][..], 1 << 20)
        .unwrap_err();
    assert!(
        matches!(together, NnError::Quota { bound: 1000, .. }),
        "{together}"
    );
    let alone = store
        .put_from_reader(&zeros, &mut &[0; 401][..], 400)
        .unwrap_err();
    assert!(
        matches!(alone, NnError::Quota { bound: 400, .. }),
        "{alone}"
    );
    assert!(store.put_from_reader(&zeros, &mut Endless, 300).is_err());
    assert!(
        store
            .put_from_reader(&zeros, &mut Endless, u64::MAX)
            .is_err()
    );
    assert_eq!((store.used_bytes(), files(dir.path())), (600, 1));
    put(&store, &[2; 400]).unwrap();
    assert_eq!(store.used_bytes(), 1000);
}

fn reference(text: &str) -> Vec<u8> {
    format!("assay-reference-graph 1\n{text}\n").into_bytes()
}

fn cache(limits: CacheLimits) -> GraphCache {
    GraphCache::new(Arc::new(ReferenceBackend::new()), limits)
}

#[test]
fn a_file_that_rotted_is_refused_at_the_load_and_replaced_by_the_next_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModelStore::open(dir.path(), 1 << 20).unwrap();
    let bytes = reference("input x f32 1\noutput y = identity x");
    let digest = ModelDigest::of(&bytes);
    let path = put(&store, &bytes).unwrap();
    let mut rotten = bytes.clone();
    rotten[30] ^= 1;
    fs::write(&path, &rotten).unwrap();

    let cache = cache(CacheLimits::default());
    let error = cache.load("m", digest, &path, Device::Cpu).unwrap_err();
    assert!(matches!(error, NnError::DigestMismatch { .. }), "{error}");
    assert!(cache.is_empty());
    put(&store, &bytes).unwrap();
    assert_eq!(store.used_bytes(), bytes.len() as u64);
    assert!(cache.load("m", digest, &path, Device::Cpu).is_ok());
}

#[test]
fn digests_are_sixty_four_hexadecimal_digits() {
    let digest = ModelDigest::of(b"x");
    assert_eq!(digest.to_string().parse::<ModelDigest>().unwrap(), digest);
    let long = "ab".repeat(33);
    for text in [
        "",
        "xyz",
        "../../etc/passwd",
        long.as_str(),
        &digest.to_string()[1..],
    ] {
        assert!(text.parse::<ModelDigest>().is_err(), "{text}");
    }
}

fn write(dir: &Path, name: &str, padding: usize) -> (ModelDigest, PathBuf) {
    let bytes = reference(&format!(
        "input {name} f32 1\noutput y = identity {name}{}",
        " ".repeat(padding)
    ));
    let path = dir.join(name);
    fs::write(&path, &bytes).unwrap();
    (ModelDigest::of(&bytes), path)
}

#[test]
fn one_graph_is_loaded_once_for_all_who_ask_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, path) = write(dir.path(), "a", 0);
    let cache = cache(CacheLimits::default());
    let load = || cache.load("a", digest, &path, Device::Cpu).unwrap();
    let graphs: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    });
    assert!(graphs.iter().all(|graph| Arc::ptr_eq(graph, &graphs[0])));
    assert_eq!(cache.len(), 1);
}

#[test]
fn idle_graphs_make_room_and_graphs_in_use_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| write(dir.path(), name, 0));
    let cache = cache(CacheLimits {
        max_graphs: 2,
        ..CacheLimits::default()
    });
    let load =
        |(digest, path): &(ModelDigest, PathBuf)| cache.load("g", *digest, path, Device::Cpu);
    let held = load(&a).unwrap();
    let other = load(&b).unwrap();
    let full = load(&c).unwrap_err();
    assert!(
        matches!(full, NnError::CacheFull { count: 2, bound: 2 }),
        "{full}"
    );
    drop(other);
    load(&c).unwrap();
    assert_eq!(cache.len(), 2);
    assert!(
        Arc::ptr_eq(&held, &load(&a).unwrap()),
        "a graph in use stays"
    );
}

#[test]
fn models_above_the_caches_bounds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, path) = write(dir.path(), "a", 1000);
    let small = cache(CacheLimits {
        max_model_bytes: 100,
        ..CacheLimits::default()
    });
    let total = cache(CacheLimits {
        max_total_bytes: 100,
        ..CacheLimits::default()
    });
    for cache in [small, total] {
        let error = cache.load("a", digest, &path, Device::Cpu).unwrap_err();
        assert!(
            matches!(error, NnError::Quota { bound: 100, .. }),
            "{error}"
        );
        assert!(cache.is_empty());
    }
}

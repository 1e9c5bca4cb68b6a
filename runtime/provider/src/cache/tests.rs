use jobs::ids::ProviderId;

use super::*;
use crate::journal::Bounds;

/// A cache with room for about three blobs of [`SIZE`].
fn cache(dir: &std::path::Path) -> Cache {
    let path = dir.join("journal");
    let journal = Journal::open(&path, ProviderId([1; 32]), Bounds::default()).unwrap();
    let store = BlobStore::open(dir.join("blobs"), 3 * SIZE as u64 + 500).unwrap();
    Cache::new(store, Arc::new(journal))
}

const SIZE: usize = 1000;

fn blob(number: u8) -> Vec<u8> {
    vec![number; SIZE]
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let blobs: Vec<BlobRef> = (0..3).map(|n| cache.put(&blob(n)).unwrap()).collect();
    let is_there = |n: usize| cache.store().contains(&blobs[n].digest);
    let pins = cache.pin([blobs[0]]);
    cache.put(&blob(3)).unwrap();
    assert!(is_there(0) && !is_there(1) && is_there(2));
    drop(cache.pin([blobs[2]]));
    drop(pins);
    cache.put(&blob(4)).unwrap();
    assert!(!is_there(0) && is_there(2));
}

#[test]
fn a_cache_full_of_what_is_needed_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let blobs: Vec<BlobRef> = (0..3).map(|n| cache.put(&blob(n)).unwrap()).collect();
    let _pins = cache.pin(blobs);
    let error = cache.put(&blob(3)).unwrap_err();
    assert!(matches!(error, network::Error::QuotaFull { .. }), "{error}");
}

#[test]
fn blobs_from_before_a_restart_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let old = cache(dir.path()).put(&blob(0)).unwrap();
    let cache = cache(dir.path());
    for number in 1..4 {
        cache.put(&blob(number)).unwrap();
    }
    assert!(!cache.store().contains(&old.digest));
}

#[test]
fn nothing_but_outputs_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let blob = cache.put(b"a component").unwrap();
    assert!(BlobSource::open(&cache, ProviderId([1; 32]), &blob.digest).is_none());
}

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::engine::engine;
use crate::guests;

fn open(directory: &Path, engine: &Engine) -> ComponentCache {
    ComponentCache::open(directory, 64 << 20, engine).unwrap()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    listed
        .filter(|path| path.extension().is_some_and(|e| e == EXTENSION))
        .collect()
}

#[test]
fn a_component_is_compiled_once_and_shared_between_processes() {
    let (dir, engine, bytes) = (
        tempfile::tempdir().unwrap(),
        engine().unwrap(),
        guests::echo(),
    );
    let digest = Digest::of(&bytes);
    let origin = |cache: &ComponentCache| cache.load(&engine, digest, &bytes).unwrap().1;
    assert_eq!(origin(&open(dir.path(), &engine)), Origin::Compiled);
    // A second cache stands for another process: it reads the key of the first.
    assert_eq!(origin(&open(dir.path(), &engine)), Origin::Cached);
    let key = fs::metadata(dir.path().join(KEY_FILE)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn who_misses_a_component_at_the_same_time_compiles_it_once() {
    let (dir, engine, bytes) = (
        tempfile::tempdir().unwrap(),
        engine().unwrap(),
        guests::echo(),
    );
    let digest = Digest::of(&bytes);
    let start = std::sync::Barrier::new(4);
    let origins: Vec<Origin> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let cache = open(dir.path(), &engine);
                    start.wait();
                    cache.load(&engine, digest, &bytes).unwrap().1
                })
            })
            .collect();
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    let compiled = origins.iter().filter(|one| **one == Origin::Compiled);
    assert_eq!(compiled.count(), 1, "{origins:?}");
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "the key and the entry");
}

#[test]
fn a_touched_or_foreign_entry_is_compiled_again_and_replaced() {
    let (dir, engine, bytes) = (
        tempfile::tempdir().unwrap(),
        engine().unwrap(),
        guests::echo(),
    );
    let digest = Digest::of(&bytes);
    let cache = open(dir.path(), &engine);
    cache.load(&engine, digest, &bytes).unwrap();
    let path = cache.path(digest);
    let good = fs::read(&path).unwrap();
    let foreign = Component::new(&engine, guests::trap())
        .unwrap()
        .serialize()
        .unwrap();

    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    let mut swapped = good[..MAC_BYTES].to_vec();
    swapped.extend(&foreign);
    for (what, entry) in [
        ("one bit", flipped),
        ("half", cut),
        ("empty", Vec::new()),
        ("code without a code", foreign),
        ("other code under our code", swapped),
    ] {
        fs::write(&path, entry).unwrap();
        let (_, origin) = cache.load(&engine, digest, &bytes).unwrap();
        assert_eq!(origin, Origin::Compiled, "{what}");
        let (_, origin) = cache.load(&engine, digest, &bytes).unwrap();
        assert_eq!(origin, Origin::Cached, "{what} was not replaced");
    }

    // A good entry under another component's name.
    let other = guests::trap();
    fs::copy(&path, cache.path(Digest::of(&other))).unwrap();
    let (_, origin) = cache.load(&engine, Digest::of(&other), &other).unwrap();
    assert_eq!(origin, Origin::Compiled);
}

#[test]
fn another_key_makes_every_entry_foreign() {
    let (dir, engine, bytes) = (
        tempfile::tempdir().unwrap(),
        engine().unwrap(),
        guests::echo(),
    );
    let digest = Digest::of(&bytes);
    open(dir.path(), &engine)
        .load(&engine, digest, &bytes)
        .unwrap();
    fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
    let (_, origin) = open(dir.path(), &engine)
        .load(&engine, digest, &bytes)
        .unwrap();
    assert_eq!(origin, Origin::Compiled);
}

#[test]
fn a_key_that_others_can_read_or_that_is_cut_is_refused() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), engine().unwrap());
    open(dir.path(), &engine);
    let key = dir.path().join(KEY_FILE);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = |wanted: &str| {
        let error = ComponentCache::open(dir.path(), 1 << 20, &engine).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    };
    refused("this user alone");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, b"short").unwrap();
    refused("has 5 bytes");
}

#[test]
fn the_entry_that_was_idle_longest_goes_first() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), engine().unwrap());
    let guests = [guests::echo(), guests::trap(), guests::endless()];
    let digests = guests.each_ref().map(|bytes| Digest::of(bytes));
    let large = open(dir.path(), &engine);
    large.load(&engine, digests[0], &guests[0]).unwrap();
    large.load(&engine, digests[1], &guests[1]).unwrap();
    let size = |digest| fs::metadata(large.path(digest)).unwrap().len();
    // Room for two entries; the first was used last.
    let room = size(digests[0]) + size(digests[1]) + size(digests[0]) / 2;
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    File::open(large.path(digests[1]))
        .unwrap()
        .set_modified(old)
        .unwrap();

    let small = ComponentCache::open(dir.path(), room, &engine).unwrap();
    small.load(&engine, digests[2], &guests[2]).unwrap();
    assert!(small.path(digests[0]).exists());
    assert!(!small.path(digests[1]).exists());
    assert_eq!(entries(dir.path()).len(), 2);

    // A cache too small for anything compiles all the same.
    let tiny = ComponentCache::open(dir.path(), 10, &engine).unwrap();
    fs::remove_file(tiny.path(digests[2])).unwrap();
    let (_, origin) = tiny.load(&engine, digests[2], &guests[2]).unwrap();
    assert_eq!(origin, Origin::Compiled);
    assert!(!tiny.path(digests[2]).exists());
}

use jobs::time::Timestamp;

use super::*;
use crate::blobs::account::cost;

const MIB: u64 = 1024 * 1024;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index / 7 % 251) as u8).collect()
}

fn store(quota: u64) -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path().join("blobs"), quota).unwrap();
    (dir, store)
}

#[test]
fn what_is_put_is_read_back_also_after_a_restart() {
    let (dir, store) = store(10 * MIB);
    let mut blobs = Vec::new();
    for size in [0, 1, 1024, 1025, 700_000] {
        let bytes = content(size);
        let blob = store.put_bytes(&bytes).unwrap();
        assert_eq!(store.put_bytes(&bytes).unwrap(), blob, "twice is once");
        blobs.push((blob, bytes));
    }
    let usage = store.usage();
    drop(store);
    let store = BlobStore::open(dir.path().join("blobs"), 10 * MIB).unwrap();
    assert_eq!(store.usage(), usage);
    for (blob, bytes) in blobs {
        assert_eq!(store.read(&blob).unwrap(), bytes);
        assert_eq!(fs::read(store.get(&blob.digest).unwrap()).unwrap(), bytes);
    }
}

#[test]
fn content_that_is_not_the_blob_is_refused_and_leaves_nothing() {
    let (_dir, store) = store(10 * MIB);
    let blob = BlobRef::of(&content(5000));
    for (bytes, expected) in [
        (content(4999), "has 4999 bytes, expected 5000"),
        (content(5001), "bytes, expected 5000"),
        (vec![0; 5000], "has digest"),
    ] {
        let error = store.put_reader(blob, &bytes[..]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(!store.contains(&blob.digest));
    let usage = store.usage();
    assert_eq!((usage.used, usage.reserved, usage.blobs), (0, 0, 0));
    assert_eq!(fs::read_dir(store.0.dir.join(TMP)).unwrap().count(), 0);
}

#[test]
fn an_endless_reader_is_cut_off() {
    let (_dir, store) = store(10 * MIB);
    let blob = BlobRef::of(&content(100));
    let error = store.put_reader(blob, std::io::repeat(1)).unwrap_err();
    assert!(
        matches!(error, Error::BlobSize { expected: 100, .. }),
        "{error}"
    );
}

#[test]
fn the_quota_is_refused_by_name_and_freed_by_removal() {
    let (_dir, store) = store(cost(5000) + cost(100));
    let first = store.put_bytes(&content(5000)).unwrap();
    let error = store.put_bytes(&content(4000)).unwrap_err();
    assert!(matches!(error, Error::QuotaFull { .. }), "{error}");
    assert!(error.is_retryable());
    store.put_bytes(&content(100)).unwrap();
    assert!(store.remove(&first.digest).unwrap());
    assert!(!store.remove(&first.digest).unwrap());
    assert!(!store.contains(&first.digest));
    store.put_bytes(&content(4000)).unwrap();
}

#[test]
fn a_full_disk_has_a_name_of_its_own() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = Error::io("write", Path::new("x"), full);
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
}

#[test]
fn content_that_rotted_on_disk_is_noticed() {
    let (_dir, store) = store(MIB);
    let blob = store.put_bytes(&content(5000)).unwrap();
    let path = store.get(&blob.digest).unwrap();
    fs::write(&path, vec![1; 5000]).unwrap();
    let error = store.read(&blob).unwrap_err();
    assert!(matches!(error, Error::BlobDigest { .. }), "{error}");
    fs::write(&path, [1]).unwrap();
    let error = store.read(&blob).unwrap_err();
    assert!(
        matches!(error, Error::BlobSize { actual: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_partial_blob_is_continued_after_a_restart() {
    let (dir, store) = store(10 * MIB);
    let bytes = content(3 * MIB as usize + 5);
    let blob = BlobRef::of(&bytes);
    let mut partial = store.begin(blob.digest, blob).unwrap();
    assert_eq!(store.usage().reserved, cost(blob.size));
    partial.append(&bytes[..MIB as usize]).unwrap();
    partial.append(&bytes[MIB as usize..][..10]).unwrap();
    drop(partial);
    let usage = store.usage();
    assert_eq!((usage.used, usage.reserved), (MIB + 10, 0));
    drop(store);

    let store = BlobStore::open(dir.path().join("blobs"), 10 * MIB).unwrap();
    assert_eq!(store.usage().used, MIB + 10);
    let mut partial = store.begin(blob.digest, blob).unwrap();
    assert_eq!(partial.offset(), MIB, "a torn chunk does not count");
    partial.append(&bytes[MIB as usize..]).unwrap();
    partial.finish().unwrap();
    assert_eq!(store.read(&blob).unwrap(), bytes);
    let usage = store.usage();
    assert_eq!((usage.used, usage.reserved), (cost(blob.size), 0));
}

#[test]
fn a_partial_blob_that_rotted_is_not_stored_and_begins_anew() {
    let (_dir, store) = store(10 * MIB);
    let bytes = content(2 * MIB as usize);
    let blob = BlobRef::of(&bytes);
    let mut partial = store.begin(blob.digest, blob).unwrap();
    partial.append(&vec![9; MIB as usize]).unwrap();
    partial.append(&bytes[MIB as usize..]).unwrap();
    let error = partial.finish().unwrap_err();
    assert!(matches!(error, Error::BlobDigest { .. }), "{error}");
    assert!(!store.contains(&blob.digest));
    assert_eq!(store.begin(blob.digest, blob).unwrap().offset(), 0);
}

#[test]
fn partial_blobs_make_room_for_whole_ones() {
    let (_dir, store) = store(cost(2 * MIB));
    let bytes = content(2 * MIB as usize);
    let mut partial = store
        .begin(Digest::of(&bytes), BlobRef::of(&bytes))
        .unwrap();
    partial.append(&bytes[..MIB as usize]).unwrap();
    let other = content(3 * MIB as usize / 2);
    assert!(store.put_bytes(&other).is_err(), "its room is promised");
    drop(partial);
    store.put_bytes(&other).unwrap();
    assert_eq!(store.usage().used, cost(3 * MIB / 2));
}

#[test]
fn what_came_of_a_blob_that_finds_no_room_now_stays() {
    let (_dir, store) = store(3 * MIB);
    let (name, blob) = (Digest::of(b"mine"), BlobRef::of(&content(2 * MIB as usize)));
    let mut upload = store.begin_upload(name, blob, 0).unwrap();
    upload.append(&content(MIB as usize)).unwrap();
    drop(upload);
    let rival = BlobRef::of(b"rival");
    store.reserve(BlobRef { size: MIB, ..rival }).unwrap();
    let refused = store.begin_upload(name, blob, MIB).unwrap_err();
    assert!(refused.is_full() && refused.lacked() > 0, "{refused}");
    assert_eq!(store.upload_offset(&name), MIB);
    store.account().release(BlobRef { size: MIB, ..rival });
    assert_eq!(store.begin_upload(name, blob, MIB).unwrap().offset(), MIB);
}

#[test]
fn asking_for_a_blob_does_not_keep_it_unless_it_is_needed() {
    let (_dir, store) = store(MIB);
    let blob = store.put_bytes(b"bytes").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3));
    let now = store.now();
    assert!(store.holds(&blob.digest));
    let anybody = ProviderId([7; 32]);
    assert!(store.open(anybody, &blob.digest).is_some());
    assert!(store.is_idle(&blob.digest, now));
    assert!(store.contains(&blob.digest));
    assert!(!store.is_idle(&blob.digest, now));
}

#[test]
fn half_a_pair_is_removed_when_the_store_is_opened() {
    let (dir, store) = store(MIB);
    let one = store.put_bytes(&content(10)).unwrap().digest;
    let two = store.put_bytes(&content(20)).unwrap().digest;
    fs::remove_file(store.tree_path(&one)).unwrap();
    fs::remove_file(store.path(&two)).unwrap();
    fs::write(dir.path().join("blobs").join("stray"), "not ours").unwrap();
    let again = BlobStore::open(dir.path().join("blobs"), MIB).unwrap();
    assert_eq!(again.usage().blobs, 0);
    assert_eq!(again.usage().used, 0);
    assert!(!store.path(&one).exists() && !store.tree_path(&two).exists());
}

#[test]
fn an_upload_goes_on_from_whole_chunks_also_after_a_restart_and_is_forgotten_in_time() {
    let (dir, store) = store(10 * MIB);
    let bytes = content(3 * MIB as usize + 5);
    let (blob, name) = (BlobRef::of(&bytes), Digest::of(b"mine"));
    let mut upload = store.begin_upload(name, blob, 0).unwrap();
    upload.append(&bytes[..2 * MIB as usize + 7]).unwrap();
    drop(upload);
    assert_eq!(store.upload_offset(&name), 2 * MIB);
    assert_eq!(store.upload_offset(&Digest::of(b"another's")), 0);
    drop(store);
    let store = BlobStore::open(dir.path().join("blobs"), 10 * MIB).unwrap();
    assert_eq!(store.upload_offset(&name), 2 * MIB);
    // From less than there is: what comes after is forgotten.
    let mut upload = store.begin_upload(name, blob, MIB).unwrap();
    assert_eq!(upload.offset(), MIB);
    upload.append(&bytes[MIB as usize..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(store.read(&blob).unwrap(), bytes);
    assert_eq!((store.upload_offset(&name), store.usage().reserved), (0, 0));

    let other = BlobRef::of(&content(2 * MIB as usize));
    let mut upload = store.begin_upload(name, other, 0).unwrap();
    upload.append(&content(MIB as usize)).unwrap();
    assert_eq!(
        store.expire_partials(Timestamp(u64::MAX)),
        0,
        "it is being written"
    );
    drop(upload);
    assert_eq!(store.expire_partials(Timestamp(1)), 0, "it is not that old");
    assert_eq!(store.upload_offset(&name), MIB);
    assert_eq!(store.expire_partials(Timestamp(u64::MAX)), 1);
    assert_eq!(store.upload_offset(&name), 0);
    assert_eq!(store.usage().used, cost(blob.size));
}

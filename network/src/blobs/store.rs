//! The file-backed store: `<dir>/<two hex digits>/<64 hex digits>` with the tree beside it in
//! `….bao`, partial blobs in `<dir>/partial`, files being written in `<dir>/tmp`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::digest::{BlobRef, DIGEST_PREFIX, Digest};
use jobs::ids::ProviderId;
use tokio::sync::watch;
use tracing::warn;

use super::account::{Account, Usage, cost};
use super::idle::Moment;
use super::writing::{self, Partial};
use super::{BlobSource, OpenBlob};
use crate::Error;

/// Folder of partial blobs.
const PARTIAL: &str = "partial";

/// Folder of files being written; emptied when the store is opened.
const TMP: &str = "tmp";

/// Ending of a tree's file.
const TREE: &str = "bao";

/// Blobs by digest in one folder of one process, under one quota. Cheap to clone. All calls block on
/// the disk.
#[derive(Clone, Debug)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    account: Mutex<Account>,
    /// One lock a blob being fetched.
    fetches: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    next_tmp: AtomicU64,
}

impl BlobStore {
    /// Opens or makes a store that holds at most `quota` bytes, trees included. What a crash left
    /// half-written is removed; partial blobs are kept.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>, quota: u64) -> Result<Self, Error> {
        let dir = dir.into();
        let tmp = dir.join(TMP);
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(|error| Error::io("empty", &tmp, error))?;
        }
        for folder in [&tmp, &dir.join(PARTIAL)] {
            fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        }
        let mut account = Account::new(quota);
        scan(&dir, &mut account)?;
        Ok(Self(Arc::new(Inner {
            dir,
            account: Mutex::new(account),
            fetches: Mutex::new(HashMap::new()),
            next_tmp: AtomicU64::new(0),
        })))
    }

    /// The file of a stored blob. Its content was verified when it was stored.
    pub fn get(&self, digest: &Digest) -> Option<PathBuf> {
        self.account().size(digest).map(|_| self.path(digest))
    }

    /// Changes whenever a blob was stored, whoever did.
    pub fn news(&self) -> watch::Receiver<()> {
        self.account().news.subscribe()
    }

    /// Whether a blob is stored. Whoever asks is about to need it.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.account().size(digest).is_some()
    }

    /// Whether a blob is stored, for somebody who is not to keep it here by asking.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.account().holds(digest)
    }

    /// The size of a stored blob, in bytes.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.account().size(digest)
    }

    /// Stores bytes; their reference.
    ///
    /// # Errors
    /// If the quota or the disk is full, or the disk fails.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<BlobRef, Error> {
        let blob = BlobRef::of(bytes);
        self.put_reader(blob, bytes)?;
        Ok(blob)
    }

    /// Stores what `reader` yields, which must be exactly the expected blob; at most one byte more
    /// than it should have is read. Nothing is stored otherwise.
    ///
    /// # Errors
    /// If the content has another size or digest, the reader fails, the quota or the disk is full,
    /// or the disk fails.
    pub fn put_reader(&self, expected: BlobRef, reader: impl Read) -> Result<PathBuf, Error> {
        if let Some(path) = self.get(&expected.digest) {
            return Ok(path);
        }
        self.reserve(expected)?;
        let (size, digest) = (expected.size, Some(expected.digest));
        let result = writing::write_new(self, size, digest, reader);
        self.account().release(expected);
        result?;
        Ok(self.path(&expected.digest))
    }

    /// Stores what `reader` yields, which must have exactly `size` bytes, whatever they are; their reference.
    ///
    /// # Errors
    /// As [`BlobStore::put_reader`].
    pub fn put_sized(&self, size: u64, reader: impl Read) -> Result<BlobRef, Error> {
        // Room is for a size, whatever the digest will be.
        let room = BlobRef {
            digest: Digest::default(),
            size,
        };
        self.reserve(room)?;
        let result = writing::write_new(self, size, None, reader);
        self.account().release(room);
        result
    }

    /// The bytes of a stored blob, verified once more: disks forget.
    ///
    /// # Errors
    /// If it is not stored, the disk fails, or its content is no longer the blob.
    pub fn read(&self, blob: &BlobRef) -> Result<Vec<u8>, Error> {
        // Whoever reads it needs it.
        self.account().size(&blob.digest);
        self.peek(blob)
    }

    /// As [`BlobStore::read`], of somebody who does not need the blob afterwards.
    ///
    /// # Errors
    /// As [`BlobStore::read`].
    pub fn peek(&self, blob: &BlobRef) -> Result<Vec<u8>, Error> {
        let digest = blob.digest;
        let path = self.path(&digest);
        if !self.account().holds(&digest) {
            return Err(Error::BlobMissing { digest });
        }
        let io = |error| Error::io("read", &path, error);
        let file = File::open(&path).map_err(io)?;
        let actual = file.metadata().map_err(io)?.len();
        if actual != blob.size {
            return Err(Error::BlobSize {
                digest,
                actual,
                expected: blob.size,
            });
        }
        let mut bytes = Vec::new();
        file.take(blob.size).read_to_end(&mut bytes).map_err(io)?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(Error::BlobDigest {
                expected: digest,
                actual,
            });
        }
        Ok(bytes)
    }

    /// Removes a blob. Returns whether there was one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        // Held throughout, so that nobody is told of a blob whose file is gone.
        let mut account = self.account();
        if account.size(digest).is_none() {
            return Ok(false);
        }
        self.delete(digest, &mut account)?;
        Ok(true)
    }

    /// Removes a blob that nobody has needed since `before`, and answers how many bytes that freed. One that
    /// somebody needed since, or may need because of a work under way, stays.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_idle(&self, digest: &Digest, before: Moment) -> Result<Option<u64>, Error> {
        let mut account = self.account();
        let Some(size) = account.idle(digest, before) else {
            return Ok(None);
        };
        self.delete(digest, &mut account)?;
        Ok(Some(cost(size)))
    }

    /// Whether [`BlobStore::remove_idle`] would remove a blob.
    pub fn is_idle(&self, digest: &Digest, before: Moment) -> bool {
        self.account().idle(digest, before).is_some()
    }

    fn delete(&self, digest: &Digest, account: &mut Account) -> Result<(), Error> {
        let (data, tree) = (self.path(digest), self.tree_path(digest));
        fs::remove_file(&data).map_err(|error| Error::io("remove", &data, error))?;
        account.remove(digest);
        fs::remove_file(&tree).map_err(|error| Error::io("remove", &tree, error))
    }

    /// Every stored blob, in no particular order.
    pub fn list(&self) -> Vec<BlobRef> {
        self.account().blobs().collect()
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        self.account().usage()
    }

    /// Begins or continues a fetch, whose file is called so. The caller holds [`BlobStore::fetch_lock`].
    pub(crate) fn begin(&self, name: Digest, blob: BlobRef) -> Result<Partial, Error> {
        let begun = self.account().take_partial(&name);
        if let Err(error) = self.reserve(blob) {
            // What came of it is as good when there is room again.
            if let Some(length) = begun {
                self.account().leave_partial(name, length);
            }
            return Err(error);
        }
        Partial::open(self.clone(), name, blob)
    }

    /// The lock that makes fetches of one blob take turns.
    pub(crate) fn fetch_lock(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetches = lock(&self.0.fetches);
        fetches.retain(|_, fetch| Arc::strong_count(fetch) > 1);
        fetches.entry(*digest).or_default().clone()
    }

    /// Reserves room, at the expense of partial blobs that nobody is fetching.
    fn reserve(&self, blob: BlobRef) -> Result<(), Error> {
        let mut account = self.account();
        loop {
            match (account.reserve(blob), account.any_partial()) {
                (Err(Error::QuotaFull { .. }), Some(partial)) => {
                    account.take_partial(&partial);
                    remove_if_there(&self.partial_path(&partial));
                }
                (result, _) => return result,
            }
        }
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.0.account)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        let fan: String = hex.chars().take(2).collect();
        self.0.dir.join(fan).join(hex)
    }

    pub(super) fn tree_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension(TREE)
    }

    pub(super) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.0.dir.join(PARTIAL).join(digest.to_hex())
    }

    /// A path nobody else writes to.
    pub(super) fn tmp_path(&self) -> PathBuf {
        let number = self.0.next_tmp.fetch_add(1, Ordering::Relaxed);
        self.0.dir.join(TMP).join(number.to_string())
    }
}

impl BlobSource for BlobStore {
    /// Serves every stored blob to everyone. That keeps none here: what a job needs, the job keeps.
    fn open(&self, _: ProviderId, digest: &Digest) -> Option<OpenBlob> {
        if !self.holds(digest) {
            return None;
        }
        OpenBlob::files(&self.path(digest), &self.tree_path(digest))
            .inspect_err(|error| warn!(%digest, %error, "stored blob cannot be opened"))
            .ok()
    }
}

/// A panic elsewhere cannot leave the books half-written: every change is one statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remove_if_there(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "could not remove a file");
        }
        _ => {}
    }
}

/// Enters what lies in the store's folders into the books, and removes halves of pairs.
fn scan(dir: &Path, account: &mut Account) -> Result<(), Error> {
    for (name, path, is_dir) in list(dir)? {
        if !is_dir || name == TMP {
            continue;
        }
        for (name, path, _) in list(&path)? {
            let Some(digest) = digest_of(name.trim_end_matches(".bao")) else {
                continue;
            };
            let size = fs::metadata(&path).map_err(|error| Error::io("read", &path, error))?;
            let size = size.len();
            if path
                .parent()
                .is_some_and(|parent| parent.ends_with(PARTIAL))
            {
                account.leave_partial(digest, size);
            } else if path.extension().is_some() {
                if !path.with_extension("").exists() {
                    remove_if_there(&path);
                }
            } else if path.with_extension(TREE).exists() {
                account.add(BlobRef { digest, size });
            } else {
                remove_if_there(&path);
            }
        }
    }
    Ok(())
}

/// Names, paths and whether they are folders.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf, bool)>, Error> {
    let io = |error| Error::io("list", dir, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let is_dir = entry.file_type().map_err(io)?.is_dir();
        // A name that is not text is not ours.
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path(), is_dir));
        }
    }
    Ok(entries)
}

fn digest_of(hex: &str) -> Option<Digest> {
    format!("{DIGEST_PREFIX}{hex}").parse().ok()
}

#[cfg(test)]
mod tests;

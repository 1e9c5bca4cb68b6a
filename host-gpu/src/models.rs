//! The model store: files named by the BLAKE3 digest of their contents, below a quota.
//!
//! Bytes enter through a temporary file that is hashed while it is written, synced, and renamed
//! only if the digest is the expected one. They leave through [`read_verified`], which hashes them
//! again: a disk may rot, and another process may write to it.

use crate::error::NnError;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 * 1024;
/// The end of a stored model's file name.
const SUFFIX: &str = ".model";
/// The start of a temporary file's name; one that is found at opening is left from a crash.
const TEMPORARY: &str = ".incoming-";
/// The longest text that is repeated when it is no digest, in bytes.
const MAX_SHOWN_BYTES: usize = 80;

/// The BLAKE3 digest of a model's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelDigest(pub [u8; 32]);

impl ModelDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({self})")
    }
}

impl FromStr for ModelDigest {
    type Err = NnError;

    fn from_str(text: &str) -> Result<Self, NnError> {
        let mut digest = [0; 32];
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) => Ok(Self(digest)),
            Err(_) => {
                let shown = text.chars().take(MAX_SHOWN_BYTES).collect();
                Err(NnError::BadDigest { text: shown })
            }
        }
    }
}

/// A directory of models with a bound on their total size.
#[derive(Debug)]
pub struct ModelStore {
    dir: PathBuf,
    cap_bytes: u64,
    /// Bytes on disk and bytes that writers have reserved.
    used: Mutex<u64>,
    sequence: AtomicU64,
}

impl ModelStore {
    /// Opens the store in `dir`, creating it, for at most `cap_bytes` in all.
    ///
    /// One process writes to a directory at a time; any number may read.
    pub fn open(dir: &Path, cap_bytes: u64) -> Result<Self, NnError> {
        fs::create_dir_all(dir).map_err(NnError::io("create", dir))?;
        let mut used: u64 = 0;
        for entry in fs::read_dir(dir).map_err(NnError::io("list", dir))? {
            let entry = entry.map_err(NnError::io("list", dir))?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path()).map_err(NnError::io("remove", &entry.path()))?;
            } else if name.to_string_lossy().ends_with(SUFFIX) {
                let meta = entry
                    .metadata()
                    .map_err(NnError::io("inspect", &entry.path()))?;
                used = used.saturating_add(meta.len());
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            cap_bytes,
            used: Mutex::new(used),
            sequence: AtomicU64::new(0),
        })
    }

    /// Where the model is. Its bytes are verified when it is loaded, not here.
    pub fn get(&self, digest: &ModelDigest) -> Result<PathBuf, NnError> {
        let path = self.path(digest);
        if path.is_file() {
            Ok(path)
        } else {
            Err(NnError::ModelMissing {
                digest: digest.to_string(),
            })
        }
    }

    /// Bytes in the store.
    pub fn used_bytes(&self) -> u64 {
        *self.used()
    }

    /// Stores what `reader` yields if it has the expected digest and at most `max_bytes`.
    ///
    /// An intact copy that is already there is kept; a damaged one is replaced.
    pub fn put_from_reader(
        &self,
        expected: &ModelDigest,
        reader: &mut dyn Read,
        max_bytes: u64,
    ) -> Result<PathBuf, NnError> {
        let path = self.path(expected);
        if self.is_intact(expected) {
            return Ok(path);
        }
        let temporary = self.dir.join(format!(
            "{TEMPORARY}{}",
            self.sequence.fetch_add(1, Ordering::Relaxed)
        ));
        let mut incoming = Incoming {
            store: self,
            path: temporary,
            reserved: 0,
            kept: false,
        };
        let found = incoming.copy(reader, max_bytes)?;
        if found != *expected {
            return Err(NnError::DigestMismatch {
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
        incoming.keep(&path)?;
        Ok(path)
    }

    /// Stores a copy of the file at `source` if it has the expected digest and at most `max_bytes`.
    pub fn put_file(
        &self,
        expected: &ModelDigest,
        source: &Path,
        max_bytes: u64,
    ) -> Result<PathBuf, NnError> {
        if self.is_intact(expected) {
            return Ok(self.path(expected));
        }
        let mut file = File::open(source).map_err(NnError::io("open", source))?;
        self.put_from_reader(expected, &mut file, max_bytes)
    }

    /// Removes a model, if it is there.
    pub fn remove(&self, digest: &ModelDigest) -> Result<(), NnError> {
        let path = self.path(digest);
        let mut used = self.used();
        let Ok(meta) = path.metadata() else {
            return Ok(());
        };
        fs::remove_file(&path).map_err(NnError::io("remove", &path))?;
        *used = used.saturating_sub(meta.len());
        Ok(())
    }

    fn is_intact(&self, digest: &ModelDigest) -> bool {
        file_digest(&self.path(digest)).is_ok_and(|found| found == *digest)
    }

    fn path(&self, digest: &ModelDigest) -> PathBuf {
        self.dir.join(format!("{digest}{SUFFIX}"))
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, bytes: u64) -> Result<(), NnError> {
        let mut used = self.used();
        let sum = used.saturating_add(bytes);
        if sum > self.cap_bytes {
            return Err(NnError::Quota {
                what: "the model store",
                value: sum,
                bound: self.cap_bytes,
            });
        }
        *used = sum;
        Ok(())
    }
}

/// A model on its way in. Whatever goes wrong, its file and its reservation go away with it.
struct Incoming<'a> {
    store: &'a ModelStore,
    path: PathBuf,
    reserved: u64,
    kept: bool,
}

impl Incoming<'_> {
    fn copy(&mut self, reader: &mut dyn Read, max_bytes: u64) -> Result<ModelDigest, NnError> {
        let mut file = File::create_new(&self.path).map_err(NnError::io("create", &self.path))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NnError::io("read into", &self.path)(error)),
            };
            let chunk = buffer.get(..read).unwrap_or_default();
            let total = self.reserved.saturating_add(chunk.len() as u64);
            if total > max_bytes {
                return Err(NnError::Quota {
                    what: "the model",
                    value: total,
                    bound: max_bytes,
                });
            }
            self.store.reserve(chunk.len() as u64)?;
            self.reserved = total;
            hasher.update(chunk);
            file.write_all(chunk)
                .map_err(NnError::io("write", &self.path))?;
        }
        file.sync_all().map_err(NnError::io("sync", &self.path))?;
        Ok(ModelDigest(*hasher.finalize().as_bytes()))
    }

    fn keep(&mut self, path: &Path) -> Result<(), NnError> {
        // A damaged copy that is replaced no longer counts.
        let mut used = self.store.used();
        let replaced = path.metadata().map_or(0, |meta| meta.len());
        fs::rename(&self.path, path).map_err(NnError::io("rename", &self.path))?;
        *used = used.saturating_sub(replaced);
        self.kept = true;
        drop(used);
        // The name is durable only once its directory is.
        let dir = File::open(&self.store.dir).map_err(NnError::io("open", &self.store.dir))?;
        dir.sync_all().map_err(NnError::io("sync", &self.store.dir))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // If it cannot be removed now, the next opening does it.
            let _ = fs::remove_file(&self.path);
            let mut used = self.store.used();
            *used = used.saturating_sub(self.reserved);
        }
    }
}

/// The digest of a file of any size, read piece by piece.
pub(crate) fn file_digest(path: &Path) -> Result<ModelDigest, NnError> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(NnError::io("open", path))?;
    hasher
        .update_reader(file)
        .map_err(NnError::io("read", path))?;
    Ok(ModelDigest(*hasher.finalize().as_bytes()))
}

/// Reads a model of at most `max_bytes` whole and refuses it unless its bytes have the digest.
///
/// What is returned is what was hashed: nobody can change the file in between.
pub(crate) fn read_verified(
    path: &Path,
    expected: &ModelDigest,
    max_bytes: u64,
) -> Result<Vec<u8>, NnError> {
    let file = File::open(path).map_err(NnError::io("open", path))?;
    let size = file.metadata().map_err(NnError::io("inspect", path))?.len();
    let too_large = |value| NnError::Quota {
        what: "the model",
        value,
        bound: max_bytes,
    };
    if size > max_bytes {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| too_large(size))?);
    // One byte more than allowed tells a file that grows from one that fits.
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(NnError::io("read", path))?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    let found = ModelDigest::of(&bytes);
    if found != *expected {
        return Err(NnError::DigestMismatch {
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    Ok(bytes)
}

//! Ways into the store. Every one hashes what it wrote before it counts, and ends in the same
//! install: tree first, then the blob, whose presence is what makes it stored.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use jobs::digest::{BlobRef, Digest};
use jobs::time::Timestamp;

use super::store::{BlobStore, remove_if_there};
use super::tree::{STEP, TreeHasher};
use crate::Error;
use crate::protocol::blob::CHUNK_MAX;

/// A file that is removed unless it was renamed away.
struct Tmp(PathBuf);

impl Drop for Tmp {
    fn drop(&mut self) {
        remove_if_there(&self.0);
    }
}

/// Writes a new blob of exactly `size` bytes, and of this digest if there is one. The caller has reserved room for it.
pub(super) fn write_new(
    store: &BlobStore,
    size: u64,
    digest: Option<Digest>,
    mut reader: impl Read,
) -> Result<BlobRef, Error> {
    let expected = BlobRef {
        digest: digest.unwrap_or_default(),
        size,
    };
    let (data, tree) = (Tmp(store.tmp_path()), Tmp(store.tmp_path()));
    let io = |error| Error::io("write", &data.0, error);
    let mut file = File::create(&data.0).map_err(io)?;
    let mut hasher =
        TreeHasher::create(&tree.0).map_err(|error| Error::io("write", &tree.0, error))?;
    let mut step = vec![0; STEP];
    let mut come = 0_u64;
    loop {
        let read = match reader.read(&mut step) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read into", &data.0, error)),
        };
        come = come.saturating_add(read as u64);
        if come > size {
            break;
        }
        let bytes = step.get(..read).unwrap_or_default();
        file.write_all(bytes).map_err(io)?;
        hasher.write(bytes).map_err(io)?;
    }
    check_size(expected, come)?;
    let actual = hasher.finish().map_err(io)?;
    if digest.is_some() {
        check_digest(expected, actual)?;
    }
    file.sync_all().map_err(io)?;
    let blob = BlobRef {
        digest: actual,
        size,
    };
    install(store, blob, &data.0, &tree.0)?;
    Ok(blob)
}

/// A blob that is being fetched. Every byte in it was verified when it was written. Dropped before
/// it is finished, it stays for a later fetch to continue.
#[derive(Debug)]
pub(crate) struct Partial {
    store: BlobStore,
    /// What its file is called: its digest, or what whoever writes it calls it.
    name: Digest,
    blob: BlobRef,
    path: PathBuf,
    file: File,
    offset: u64,
    finished: bool,
}

impl Partial {
    /// Opens what is there, or begins anew. The caller has reserved room for the whole blob.
    pub(super) fn open(store: BlobStore, name: Digest, blob: BlobRef) -> Result<Self, Error> {
        let path = store.partial_path(&name);
        match open_partial(&path, blob.size) {
            Ok((file, offset)) => Ok(Self {
                store,
                name,
                blob,
                path,
                file,
                offset,
                finished: false,
            }),
            Err(error) => {
                store.account().release(blob);
                Err(Error::io("open", &path, error))
            }
        }
    }

    /// Bytes that are there already.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what comes after the first `offset` bytes.
    fn cut(&mut self, offset: u64) -> Result<(), Error> {
        let offset = offset.min(self.offset);
        let cut = self.file.set_len(offset);
        let cut = cut.and_then(|()| io::Seek::seek(&mut self.file, io::SeekFrom::Start(offset)));
        cut.map_err(|error| Error::io("cut", &self.path, error))?;
        self.offset = offset;
        Ok(())
    }

    /// Appends verified bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let offset = self.offset.saturating_add(bytes.len() as u64);
        if offset > self.blob.size {
            return Err(size_error(self.blob, offset));
        }
        let written = self.file.write_all(bytes);
        if let Err(error) = written {
            // Part of the bytes may be there; what counts is what was there before.
            let _ = self.file.set_len(self.offset);
            return Err(Error::io("write", &self.path, error));
        }
        self.offset = offset;
        Ok(())
    }

    /// Checks the whole blob once more, and stores it. If it is not the blob (a disk may have lost
    /// what an earlier run wrote), nothing is kept.
    pub(crate) fn finish(mut self) -> Result<PathBuf, Error> {
        check_size(self.blob, self.offset)?;
        let tree = Tmp(self.store.tmp_path());
        let io = |error| Error::io("check", &self.path, error);
        self.file.sync_all().map_err(io)?;
        let actual = hash_file(&self.path, &tree.0).map_err(io)?;
        if let Err(error) = check_digest(self.blob, actual) {
            // Begin anew next time.
            self.file
                .set_len(0)
                .map_err(|error| Error::io("empty", &self.path, error))?;
            self.offset = 0;
            return Err(error);
        }
        install(&self.store, self.blob, &self.path, &tree.0)?;
        self.finished = true;
        Ok(self.store.path(&self.blob.digest))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut account = self.store.account();
        account.release(self.blob);
        if !self.finished {
            account.leave_partial(self.name, self.offset);
        }
    }
}

/// A blob that is being uploaded. Nothing in it is verified until it is whole. Dropped before it is finished, it stays for
/// a later upload of the same name to continue.
#[derive(Debug)]
pub struct Upload(Partial);

impl Upload {
    /// Bytes that are there already.
    pub const fn offset(&self) -> u64 {
        self.0.offset()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If there are more than the blob has, or the disk is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.append(bytes)
    }

    /// Checks the whole and stores it.
    ///
    /// # Errors
    /// If it is not whole, which leaves what there is, or not the blob, which leaves nothing; or if the disk fails.
    pub fn finish(self) -> Result<PathBuf, Error> {
        self.0.finish()
    }
}

impl BlobStore {
    /// Continues an upload from its first `offset` bytes; what comes after them is forgotten. The caller holds
    /// [`BlobStore::upload_lock`].
    ///
    /// # Errors
    /// If the quota or the disk is full, or the disk fails.
    pub fn begin_upload(&self, name: Digest, blob: BlobRef, offset: u64) -> Result<Upload, Error> {
        let mut partial = self.begin(name, blob)?;
        partial.cut(offset)?;
        Ok(Upload(partial))
    }

    /// The lock that makes uploads of one name take turns.
    pub fn upload_lock(&self, name: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        self.fetch_lock(name)
    }

    /// Bytes from which an upload can be continued that nobody is writing to.
    pub fn upload_offset(&self, name: &Digest) -> u64 {
        Self::resumable(self.account().partial(name))
    }

    /// Of bytes that were written, those that count: whole chunks.
    pub const fn resumable(written: u64) -> u64 {
        written - written % CHUNK_MAX as u64
    }

    /// Removes partial blobs that nobody has written to since `before`; how many.
    pub fn expire_partials(&self, before: Timestamp) -> usize {
        let mut account = self.account();
        let partials: Vec<Digest> = account.partials().collect();
        let old = partials.into_iter().filter(|name| {
            let modified = fs::metadata(self.partial_path(name)).and_then(|file| file.modified());
            let since = modified.map(|at| at.duration_since(UNIX_EPOCH));
            since.is_ok_and(|since| {
                since.is_ok_and(|since| since.as_millis() < u128::from(before.0))
            })
        });
        let old: Vec<Digest> = old.collect();
        for name in &old {
            account.take_partial(name);
            remove_if_there(&self.partial_path(name));
        }
        old.len()
    }
}

/// The file and how much of it counts: whole chunks, since a crash may have torn the last.
fn open_partial(path: &Path, size: u64) -> io::Result<(File, u64)> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let length = file.metadata()?.len();
    let offset = if length > size {
        0
    } else {
        BlobStore::resumable(length)
    };
    file.set_len(offset)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    Ok((file, offset))
}

fn hash_file(data: &Path, tree: &Path) -> io::Result<Digest> {
    let mut file = File::open(data)?;
    let mut hasher = TreeHasher::create(tree)?;
    let mut step = vec![0; STEP];
    loop {
        match file.read(&mut step)? {
            0 => return hasher.finish(),
            read => hasher.write(step.get(..read).unwrap_or_default())?,
        }
    }
}

/// Moves a checked and synced pair to its place.
fn install(store: &BlobStore, blob: BlobRef, data: &Path, tree: &Path) -> Result<(), Error> {
    let place = store.path(&blob.digest);
    let folder = place.parent().unwrap_or(&place);
    let io = |error| Error::io("store", &place, error);
    fs::create_dir_all(folder).map_err(io)?;
    // Held while the files move, so that a removal never sees half a pair.
    let mut account = store.account();
    fs::rename(tree, store.tree_path(&blob.digest)).map_err(io)?;
    fs::rename(data, &place).map_err(io)?;
    account.add(blob);
    drop(account);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

fn check_size(blob: BlobRef, actual: u64) -> Result<(), Error> {
    if actual == blob.size {
        return Ok(());
    }
    Err(size_error(blob, actual))
}

const fn size_error(blob: BlobRef, actual: u64) -> Error {
    Error::BlobSize {
        digest: blob.digest,
        actual,
        expected: blob.size,
    }
}

fn check_digest(blob: BlobRef, actual: Digest) -> Result<(), Error> {
    if actual == blob.digest {
        return Ok(());
    }
    Err(Error::BlobDigest {
        expected: blob.digest,
        actual,
    })
}

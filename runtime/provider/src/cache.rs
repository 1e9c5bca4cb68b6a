//! Blobs on disk, within a quota: the least recently used go first, never one that an open assignment
//! needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::ProviderId;
use network::Client;
use network::blobs::{BlobSource, BlobStore, OpenBlob};

use crate::clock::now;
use crate::control::BlobView;
use crate::journal::Journal;

/// Components remembered as checked.
const CHECKED_MAX: usize = 256;

/// Blobs removed for one other at most, before its fetch is refused.
const EVICTIONS_MAX: usize = 4096;

/// The store and what is known about the use of its blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    store: BlobStore,
    journal: Arc<Journal>,
    books: Arc<Mutex<Books>>,
    /// Requests of others for blobs, so far.
    served: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Books {
    /// When each blob was last used, in uses. Those from before the start are oldest.
    used: BTreeMap<Digest, u64>,
    uses: u64,
    /// By how many open assignments each blob is needed.
    pins: BTreeMap<Digest, usize>,
    /// Components that are jobs, at most [`CHECKED_MAX`].
    checked: BTreeSet<Digest>,
}

/// Holds blobs in the cache until it is dropped.
#[derive(Debug)]
pub(crate) struct Pins {
    digests: Vec<Digest>,
    books: Arc<Mutex<Books>>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut books = lock(&self.books);
        for digest in &self.digests {
            match books.pins.get_mut(digest) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    books.pins.remove(digest);
                }
            }
        }
    }
}

impl Cache {
    pub(crate) fn new(store: BlobStore, journal: Arc<Journal>) -> Self {
        let books = Books {
            used: store.list().iter().map(|blob| (blob.digest, 0)).collect(),
            ..Books::default()
        };
        Self {
            store,
            journal,
            books: Arc::new(Mutex::new(books)),
            served: Arc::default(),
        }
    }

    /// Requests of others for blobs, so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) const fn store(&self) -> &BlobStore {
        &self.store
    }

    /// Keeps blobs, there already or yet to come, until the pins are dropped.
    pub(crate) fn pin(&self, blobs: impl IntoIterator<Item = BlobRef>) -> Pins {
        let digests: Vec<Digest> = blobs.into_iter().map(|blob| blob.digest).collect();
        let mut books = lock(&self.books);
        for digest in &digests {
            *books.pins.entry(*digest).or_default() += 1;
            books.touch(*digest);
        }
        Pins {
            digests,
            books: Arc::clone(&self.books),
        }
    }

    /// Fetches a blob, at the expense of others that nobody needs. An open file stays readable.
    pub(crate) async fn fetch(
        &self,
        client: &Client,
        from: ProviderId,
        blob: BlobRef,
    ) -> Result<std::path::PathBuf, network::Error> {
        for _ in 0..EVICTIONS_MAX {
            match client.fetch_blob(&[from], blob, &self.store).await {
                Err(network::Error::QuotaFull { .. }) if self.evict_blocking().await? => {}
                result => {
                    lock(&self.books).touch(blob.digest);
                    return result;
                }
            }
        }
        client.fetch_blob(&[from], blob, &self.store).await
    }

    async fn evict_blocking(&self) -> Result<bool, network::Error> {
        let cache = self.clone();
        let done = tokio::task::spawn_blocking(move || cache.evict()).await;
        done.unwrap_or(Ok(false))
    }

    /// Stores bytes of our own. Blocks on the disk.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<BlobRef, network::Error> {
        for _ in 0..EVICTIONS_MAX {
            match self.store.put_bytes(bytes) {
                Err(network::Error::QuotaFull { .. }) if self.evict()? => {}
                result => {
                    let blob = result?;
                    lock(&self.books).touch(blob.digest);
                    return Ok(blob);
                }
            }
        }
        self.store.put_bytes(bytes)
    }

    /// Removes the least recently used blob that nobody needs. Returns whether there was one.
    fn evict(&self) -> Result<bool, network::Error> {
        // The books are held until the blob is gone, so that nobody pins it in between.
        let mut books = lock(&self.books);
        let time = now();
        let free =
            |digest: &Digest| !books.pins.contains_key(digest) && !self.journal.needs(digest, time);
        let unused = books.used.iter().filter(|(digest, _)| free(digest));
        let oldest = unused.min_by_key(|(_, used)| **used);
        let Some(digest) = oldest.map(|(digest, _)| *digest) else {
            return Ok(false);
        };
        tracing::debug!(%digest, "removed from the cache");
        books.used.remove(&digest);
        self.store.remove(&digest)?;
        Ok(true)
    }

    /// Every blob, and whether somebody needs it.
    pub(crate) fn list(&self) -> Vec<BlobView> {
        let (books, time) = (lock(&self.books), now());
        let blobs = self.store.list().into_iter();
        let views = blobs.map(|blob| BlobView {
            blob: blob.digest,
            bytes: blob.size,
            needed: books.pins.contains_key(&blob.digest) || self.journal.needs(&blob.digest, time),
        });
        views.collect()
    }

    /// Removes what nobody needs, the least recently used first, until at most `keep` bytes are used. Returns how many
    /// blobs went. Blocks on the disk.
    pub(crate) fn prune(&self, keep: u64) -> Result<usize, network::Error> {
        let mut removed = 0_usize;
        for _ in 0..self.store.list().len() {
            if self.store.usage().used <= keep || !self.evict()? {
                break;
            }
            removed = removed.saturating_add(1);
        }
        Ok(removed)
    }

    /// Removes one blob. `false`: somebody needs it; nothing: it is not there. Blocks on the disk.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<Option<bool>, network::Error> {
        let mut books = lock(&self.books);
        if !self.store.contains(digest) {
            return Ok(None);
        }
        if books.pins.contains_key(digest) || self.journal.needs(digest, now()) {
            return Ok(Some(false));
        }
        books.used.remove(digest);
        self.store.remove(digest)?;
        Ok(Some(true))
    }

    /// Whether the component was found to be a job before.
    pub(crate) fn is_checked(&self, component: &Digest) -> bool {
        lock(&self.books).checked.contains(component)
    }

    /// Notes that the component is a job.
    pub(crate) fn note_checked(&self, component: Digest) {
        let mut books = lock(&self.books);
        if books.checked.len() >= CHECKED_MAX {
            books.checked.clear();
        }
        books.checked.insert(component);
    }
}

impl Books {
    fn touch(&mut self, digest: Digest) {
        self.uses = self.uses.saturating_add(1);
        self.used.insert(digest, self.uses);
    }
}

impl BlobSource for Cache {
    /// Serves outputs, to the aggregator whose assignment they belong to, and nothing else.
    fn open(&self, from: ProviderId, digest: &Digest) -> Option<OpenBlob> {
        if !self.journal.may_fetch(from, digest) {
            return None;
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        self.store.open(from, digest)
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! What a store holds and how much room is left.

use std::collections::BTreeMap;

use jobs::digest::{BlobRef, Digest};
use tokio::sync::watch;

use super::idle::{Moment, Works};
use super::tree::tree_size;
use crate::Error;

/// How full a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of stored blobs, their trees and partial blobs.
    pub used: u64,
    /// Of those, bytes of partial blobs that nobody is writing to. They give way to whoever needs the room.
    pub partial: u64,
    /// Bytes promised to blobs that are being written.
    pub reserved: u64,
    /// Most bytes in all.
    pub quota: u64,
    /// Stored blobs.
    pub blobs: usize,
}

/// What a blob of `size` bytes takes, its tree included, in bytes.
pub fn cost(size: u64) -> u64 {
    size.saturating_add(tree_size(size))
}

/// A stored blob.
#[derive(Clone, Copy, Debug)]
struct Stored {
    size: u64,
    /// When it was last written, read or asked for.
    touched: Moment,
}

/// The books of a store. Whoever writes reserves first.
#[derive(Debug)]
pub(super) struct Account {
    quota: u64,
    stored: BTreeMap<Digest, Stored>,
    /// What is being done with blobs now.
    pub(super) works: Works,
    /// Lengths of partial blobs nobody is writing to.
    partial: BTreeMap<Digest, u64>,
    used: u64,
    reserved: u64,
    /// Told whenever a blob was stored.
    pub(super) news: watch::Sender<()>,
}

impl Account {
    pub(super) fn new(quota: u64) -> Self {
        Self {
            quota,
            stored: BTreeMap::new(),
            works: Works::default(),
            partial: BTreeMap::new(),
            used: 0,
            reserved: 0,
            news: watch::Sender::default(),
        }
    }

    /// The size of a stored blob. Whoever asks is about to need it.
    pub(super) fn size(&mut self, digest: &Digest) -> Option<u64> {
        let now = self.works.now();
        let stored = self.stored.get_mut(digest)?;
        stored.touched = now;
        Some(stored.size)
    }

    /// Whether a blob is stored.
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.stored.contains_key(digest)
    }

    /// Notes that somebody needs every stored blob.
    pub(super) fn touch_all(&mut self) {
        let now = self.works.now();
        for stored in self.stored.values_mut() {
            stored.touched = now;
        }
    }

    /// The size of a blob that nobody has needed since `before`, nor since the oldest work began.
    pub(super) fn idle(&self, digest: &Digest, before: Moment) -> Option<u64> {
        let stored = self.stored.get(digest)?;
        (stored.touched < self.works.oldest(before)).then_some(stored.size)
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobRef> + '_ {
        let stored = self.stored.iter();
        stored.map(|(digest, stored)| BlobRef {
            digest: *digest,
            size: stored.size,
        })
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            used: self.used,
            partial: self.partial.values().sum(),
            reserved: self.reserved,
            quota: self.quota,
            blobs: self.stored.len(),
        }
    }

    /// Promises room for `blob`.
    pub(super) fn reserve(&mut self, blob: BlobRef) -> Result<(), Error> {
        let needed = cost(blob.size);
        let used = self.used.saturating_add(self.reserved);
        if used.checked_add(needed).is_none_or(|all| all > self.quota) {
            return Err(Error::QuotaFull {
                blob,
                needed,
                used,
                quota: self.quota,
            });
        }
        self.reserved = self.reserved.saturating_add(needed);
        Ok(())
    }

    /// Takes a promise back.
    pub(super) fn release(&mut self, blob: BlobRef) {
        self.reserved = self.reserved.saturating_sub(cost(blob.size));
    }

    /// Notes a stored blob.
    pub(super) fn add(&mut self, blob: BlobRef) {
        let stored = Stored {
            size: blob.size,
            touched: self.works.now(),
        };
        if self.stored.insert(blob.digest, stored).is_none() {
            self.used = self.used.saturating_add(cost(blob.size));
        }
        self.news.send_replace(());
    }

    /// Forgets a stored blob. Returns whether there was one.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let removed = self.stored.remove(digest);
        let freed = removed.map_or(0, |stored| cost(stored.size));
        self.used = self.used.saturating_sub(freed);
        removed.is_some()
    }

    /// Notes a partial blob that was left.
    pub(super) fn leave_partial(&mut self, digest: Digest, length: u64) {
        self.take_partial(&digest);
        self.partial.insert(digest, length);
        self.used = self.used.saturating_add(length);
    }

    /// Forgets a partial blob, because it is written to again or was deleted. Returns its length, if there was one.
    pub(super) fn take_partial(&mut self, digest: &Digest) -> Option<u64> {
        let length = self.partial.remove(digest)?;
        self.used = self.used.saturating_sub(length);
        Some(length)
    }

    /// The length of a partial blob that nobody is writing to; 0 if there is none.
    pub(super) fn partial(&self, name: &Digest) -> u64 {
        self.partial.get(name).copied().unwrap_or(0)
    }

    /// Partial blobs that nobody is writing to.
    pub(super) fn partials(&self) -> impl Iterator<Item = Digest> + '_ {
        self.partial.keys().copied()
    }

    /// Any partial blob, to make room.
    pub(super) fn any_partial(&self) -> Option<Digest> {
        self.partial.keys().next().copied()
    }
}

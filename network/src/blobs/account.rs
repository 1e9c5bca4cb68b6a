//! What a store holds and how much room is left.

use std::collections::BTreeMap;

use jobs::digest::{BlobRef, Digest};

use super::tree::tree_size;
use crate::Error;

/// How full a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of stored blobs, their trees and partial blobs.
    pub used: u64,
    /// Bytes promised to blobs that are being written.
    pub reserved: u64,
    /// Most bytes in all.
    pub quota: u64,
    /// Stored blobs.
    pub blobs: usize,
}

/// What a blob of `size` bytes takes, its tree included, in bytes.
pub(super) fn cost(size: u64) -> u64 {
    size.saturating_add(tree_size(size))
}

/// The books of a store. Whoever writes reserves first.
#[derive(Debug)]
pub(super) struct Account {
    quota: u64,
    /// Sizes of stored blobs.
    stored: BTreeMap<Digest, u64>,
    /// Lengths of partial blobs nobody is writing to.
    partial: BTreeMap<Digest, u64>,
    used: u64,
    reserved: u64,
}

impl Account {
    pub(super) fn new(quota: u64) -> Self {
        Self {
            quota,
            stored: BTreeMap::new(),
            partial: BTreeMap::new(),
            used: 0,
            reserved: 0,
        }
    }

    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        self.stored.get(digest).copied()
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobRef> + '_ {
        let stored = self.stored.iter();
        stored.map(|(digest, size)| BlobRef {
            digest: *digest,
            size: *size,
        })
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            used: self.used,
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
        if self.stored.insert(blob.digest, blob.size).is_none() {
            self.used = self.used.saturating_add(cost(blob.size));
        }
    }

    /// Forgets a stored blob. Returns whether there was one.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let removed = self.stored.remove(digest);
        self.used = self.used.saturating_sub(removed.map_or(0, cost));
        removed.is_some()
    }

    /// Notes a partial blob that was left.
    pub(super) fn leave_partial(&mut self, digest: Digest, length: u64) {
        self.take_partial(&digest);
        self.partial.insert(digest, length);
        self.used = self.used.saturating_add(length);
    }

    /// Forgets a partial blob, because it is written to again or was deleted.
    pub(super) fn take_partial(&mut self, digest: &Digest) {
        let length = self.partial.remove(digest).unwrap_or(0);
        self.used = self.used.saturating_sub(length);
    }

    /// Any partial blob, to make room.
    pub(super) fn any_partial(&self) -> Option<Digest> {
        self.partial.keys().next().copied()
    }
}

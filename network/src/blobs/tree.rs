//! Hashing a blob while keeping its tree.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bao::encode::Encoder;
use jobs::digest::Digest;

use super::paged::Paged;

/// Bytes read at a time.
pub(super) const STEP: usize = 256 * 1024;

/// Size of the tree of a blob of `size` bytes, in bytes.
pub(super) fn tree_size(size: u64) -> u64 {
    u64::try_from(bao::encode::outboard_size(size)).unwrap_or(u64::MAX)
}

/// Hashes content that is written to it.
pub(super) struct TreeHasher {
    encoder: Encoder<Paged>,
}

impl TreeHasher {
    /// A hasher whose tree will be in a new file at `path`. The encoder writes 64 bytes at a time, one piece for every
    /// kilobyte of blob, and turns the tree round at the end: pages spare system calls, and memory that grows with the blob.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Self {
            encoder: Encoder::new_outboard(Paged::new(file)),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)
    }

    /// The digest of all that was written; the tree is in its file and synced.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        let root = self.encoder.finalize()?;
        self.encoder.into_inner().finish()?.sync_all()?;
        Ok(Digest::from_bytes(*root.as_bytes()))
    }
}
